"""The mirror of a paired zone's log, with its refusals as the gateway's errors."""

from __future__ import annotations

import asyncio
import hashlib
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from gateway.errors import ForkError, IntegrityError, LedgerError, MirrorFullError
from gateway.model.canonical import JsonValue
from ledger.errors import ForkError as ForkFound
from ledger.errors import FrozenError, OperationalError
from ledger.errors import LedgerError as LedgerFailure
from ledger.errors import MirrorFullError as MirrorFull
from ledger.evidence import Evidence
from ledger.freezer import Frozen
from ledger.mirror import Mirror

__all__ = ["PeerMirror", "refusals"]

FULL_HERE = "raise [ledger] mirror_bytes or free the disk, then start the gateway again; what closes goes on meanwhile"
FORK_REMEDY = "the administrators of both zones must settle it: see the operator's guide, recovery"


@contextmanager
def refusals(what: str) -> Iterator[None]:
    """The ledger's errors as those of the gateway: what is refused, and what cannot be done now."""
    try:
        yield
    except OperationalError as error:
        raise LedgerError(f"{what}: {error}", remedy="see the gateway's log") from error
    except (ForkFound, FrozenError) as error:
        raise ForkError(f"{what}: {error.message}", remedy=FORK_REMEDY) from error
    except MirrorFull as error:
        raise MirrorFullError(f"{what}: {error.message}", remedy=FULL_HERE) from error
    except LedgerFailure as error:
        raise IntegrityError(f"{what}: {error}") from error


class PeerMirror:
    """The mirror of a paired zone's log (ledger.md, section 5).

    Args:
        mirror: the mirror.
        froze: hears that the origin was frozen, once that and its evidence are durable.

    Raises (from every method): ForkError when the peer's log is frozen or has to be, IntegrityError when what it
        sends is refused, LedgerError when storage fails.
    """

    def __init__(self, mirror: Mirror, froze: Callable[[], None]) -> None:
        self._mirror = mirror
        self._froze = froze
        self._receiving = asyncio.Lock()
        self.full = ""
        """Why the last push was not taken for want of room; empty once one is."""

    @property
    def origin(self) -> str:
        """The origin of the log that is mirrored."""
        return self._mirror.origin

    def knows(self, vkey: str) -> bool:
        """Whether the mirrored entries introduced this key of the log."""
        return self._mirror.knows(vkey)

    @property
    def size(self) -> int:
        """Entries mirrored and cosigned."""
        return self._mirror.size

    @property
    def have(self) -> int:
        """The first entry that is missing."""
        return self._mirror.have

    @property
    def note(self) -> bytes:
        """The mirrored checkpoint's note as the peer signed it; empty before the first."""
        return self._mirror.note

    @property
    def pending(self) -> bytes:
        """The note of a larger checkpoint whose entries are still missing; empty where there is none."""
        return self._mirror.pending

    @property
    def frozen(self) -> Frozen | None:
        """Why nothing more of this log is taken; None where it is not frozen."""
        return self._mirror.frozen

    def require_open(self) -> None:
        """Refuse where nothing more of the log is taken.

        Raises:
            ForkError: it is frozen.
            MirrorFullError: there is no room for more of it.
        """
        if (frozen := self._mirror.frozen) is not None:
            raise ForkError(f"the ledger of the other zone is frozen here: {frozen.reason}", remedy=FORK_REMEDY)
        if self.full:
            raise MirrorFullError(
                f"there is no room for more of the other zone's ledger: {self.full}", remedy=FULL_HERE
            )

    async def evidence(self) -> Evidence | None:
        """The evidence behind the freezing."""
        with refusals("the evidence cannot be read"):
            return await self._mirror.evidence()

    async def told(self) -> JsonValue:
        """What an entry says of the evidence: both checkpoints, and the digest of the file, which has the proof."""
        if (evidence := await self.evidence()) is None:
            return None
        return {
            "first": evidence.first.note.decode(),
            "second": evidence.second.note.decode(),
            "sha256": hashlib.sha256(evidence.encode()).hexdigest(),
        }

    async def begin(self, note: bytes, old_size: int, proof: list[bytes], own_root: bytes = b"") -> int:
        """Judge a checkpoint and persist it as pending; the first missing entry."""
        with self._judging("the mirror refuses a checkpoint"):
            return await self._mirror.begin(note, old_size, proof, own_root)

    async def receive(self, start: int, entries: list[bytes]) -> None:
        """Judge and store entries; those that are here already are passed over."""
        async with self._receiving:  # an older stream may still be at it when a newer one comes
            have = self._mirror.have
            if start > have:
                raise IntegrityError(f"entries begin at {start}, the mirror needs {have}")
            if fresh := entries[have - start :]:
                with self._judging("the mirror refuses entries"):
                    await self._mirror.receive(fresh)

    async def finish(self) -> str:
        """Make the pending checkpoint the mirrored one, durably; our cosignature line."""
        with self._judging("the mirror refuses a checkpoint"):
            return await self._mirror.finish()

    async def take(self, note: bytes, old_size: int, proof: list[bytes], start: int, entries: list[bytes]) -> str:
        """`begin`, `receive` and `finish` at once."""
        with self._judging("the mirror refuses a checkpoint"):
            return await self._mirror.take(note, old_size, proof, start, entries)

    async def read(self, start: int, stop: int, max_bytes: int) -> list[bytes]:
        """Mirrored entries as bytes, at least one where there is one."""
        with refusals("the mirror cannot be read"):
            return await self._mirror.read(start, stop, max_bytes)

    async def wait(self, size: int, within: float) -> None:
        """Wait until `size` entries are mirrored.

        Raises:
            TimeoutError: they were not within so many seconds.
        """
        try:
            await self._mirror.wait(size, within)
        except LedgerFailure as error:
            self.require_open()
            if self._mirror.size < size:
                raise TimeoutError(str(error)) from error

    async def close(self) -> None:
        """Finish what runs."""
        await self._mirror.close()

    @contextmanager
    def _judging(self, what: str) -> Iterator[None]:
        before = self._mirror.frozen
        try:
            with refusals(what):
                yield
            self.full = ""
        except MirrorFullError as error:
            self.full = error.message
            raise
        finally:
            if before is None and self._mirror.frozen is not None:
                self._froze()
