"""The one way from a flow to the ledger.

Durability: `record` returns when the entry is committed, that is durable on this machine under a signed checkpoint
and never undone; tiles and the file `checkpoint` follow within milliseconds, or at the next start (ledger.md,
section 4). Retry: the entry's id is chosen before the append; recording an id again with the same content returns
the first entry. A caller that is cancelled does not undo its entry.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from gateway.errors import IntegrityError, LedgerError, PeerUnavailableError
from gateway.model.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError as LedgerFailure
from ledger.errors import OperationalError
from ledger.keys import load_key
from ledger.mirror import Mirror
from ledger.note import CosignatureSigner, NoteSigner, Signature, VerifierKey
from ledger.policy import TrustPolicy, combined_policy
from ledger.writer import Appended, LogWriter, Published

__all__ = ["Journal", "Recorded"]


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry that is durable: its place, and the log's size that covers it."""

    entry_id: str
    seq: int
    size: int


@dataclass(frozen=True, slots=True)
class Batch:
    """A checkpoint to push: its size, text and signed note, the proof from the mirror's size, and first entries."""

    size: int
    text: str
    note: bytes
    proof: list[bytes]
    entries: list[bytes]


@contextmanager
def _refusals(what: str) -> Iterator[None]:
    """The ledger's errors as those of the gateway: what is refused, and what cannot be done now."""
    try:
        yield
    except OperationalError as error:
        raise LedgerError(f"{what}: {error}", remedy="see the gateway's log") from error
    except LedgerFailure as error:
        raise IntegrityError(f"{what}: {error}") from error


class PeerMirror:
    """The mirror of a paired zone's log (ledger.md, section 5).

    Raises (from every method): IntegrityError when what the peer sends is refused, LedgerError when storage fails.
    """

    def __init__(self, mirror: Mirror) -> None:
        self._mirror = mirror
        self._receiving = asyncio.Lock()

    @property
    def size(self) -> int:
        """Entries mirrored and cosigned."""
        return self._mirror.size

    @property
    def have(self) -> int:
        """The first entry that is missing."""
        return self._mirror.have

    async def begin(self, note: bytes, old_size: int, proof: list[bytes]) -> int:
        """Judge a checkpoint and persist it as pending; the first missing entry."""
        with _refusals("the mirror refuses a checkpoint"):
            return await self._mirror.begin(note, old_size, proof)

    async def receive(self, start: int, entries: list[bytes]) -> None:
        """Judge and store entries; those that are here already are passed over."""
        async with self._receiving:  # an older stream may still be at it when a newer one comes
            have = self._mirror.have
            if start > have:
                raise IntegrityError(f"entries begin at {start}, the mirror needs {have}")
            if fresh := entries[have - start :]:
                with _refusals("the mirror refuses entries"):
                    await self._mirror.receive(fresh)

    async def finish(self) -> str:
        """Make the pending checkpoint the mirrored one, durably; our cosignature line."""
        with _refusals("the mirror refuses a checkpoint"):
            return await self._mirror.finish()

    async def take(self, note: bytes, old_size: int, proof: list[bytes], start: int, entries: list[bytes]) -> str:
        """`begin`, `receive` and `finish` at once."""
        with _refusals("the mirror refuses a checkpoint"):
            return await self._mirror.take(note, old_size, proof, start, entries)

    async def wait(self, size: int, within: float) -> None:
        """Wait until `size` entries are mirrored.

        Raises:
            TimeoutError: they were not within so many seconds.
        """
        try:
            await self._mirror.wait(size, within)
        except LedgerFailure as error:
            if self._mirror.size < size:
                raise TimeoutError(str(error)) from error

    async def close(self) -> None:
        """Finish what runs."""
        await self._mirror.close()


class Journal:
    """This zone's own log, and the mirrors of the paired zones' logs.

    Raises (from every method that writes): LedgerError when the entry could not be made durable.
    """

    def __init__(self, directory: Path, writer: LogWriter, cosigner: CosignatureSigner, vkey: str) -> None:
        self._directory = directory
        self.vkey = vkey
        self._cosigner = cosigner
        self.writer = writer
        self._mirrors: dict[str, PeerMirror] = {}
        self._cosigners: Mapping[str, str] = {}  # by zone, of the paired zones' mirrors
        self._signers: list[tuple[str, bytes]] = []  # the same, as signature lines name them
        self._held: dict[tuple[str, bytes], int] = {}  # how far each of them said that it holds our entries
        self._witnesses = ""
        self._cosigned = asyncio.Event()

    @classmethod
    async def open(cls, directory: Path, *, origin: str, log_key: Path, mirror_key: Path) -> Journal:
        """Open the ledger in `directory`, recovering what a crash left.

        Raises:
            LedgerError: the ledger is missing, contradictory or held by another process.
        """
        zone = origin.split("/")[1]
        try:
            signer = NoteSigner(origin, await asyncio.to_thread(load_key, log_key))
            cosigner = CosignatureSigner(f"tdz/{zone}/mirror", await asyncio.to_thread(load_key, mirror_key))
            writer = await LogWriter.open(directory, signer)
        except LedgerFailure as error:
            raise LedgerError(str(error), remedy="see the ledger section of the operator's guide") from error
        return cls(directory, writer, cosigner, signer.vkey)

    @property
    def size(self) -> int:
        """Entries published."""
        return self.writer.published.checkpoint.size

    @property
    def committed_size(self) -> int:
        """Entries that cannot be undone any more; those past `size` are published in a moment."""
        return self.writer.committed.checkpoint.size

    @property
    def witnessed_size(self) -> int:
        """Entries covered by a checkpoint that satisfies the witness policy."""
        witnessed = self.writer.witnessed
        return 0 if witnessed is None else witnessed.checkpoint.size

    @property
    def held_size(self) -> int:
        """Entries that every paired zone's mirror holds and has cosigned, whoever else must for a policy."""
        return max(self.witnessed_size, min((self._held.get(each, 0) for each in self._signers), default=0))

    def head(self) -> str:
        """The newest witnessed checkpoint's note, which may leave this machine; empty before the first."""
        witnessed = self.writer.witnessed
        return "" if witnessed is None else witnessed.note.decode()

    async def record(
        self, kind: str, subject: str, body: Mapping[str, JsonValue], *, entry_id: str, closing: bool = False
    ) -> Recorded:
        """Append an entry and wait until it is durable.

        Args:
            kind: one of the ledger's kinds.
            subject: resource name such as transfers/ID.
            body: canonical JSON; no personal data.
            entry_id: UUIDv7 of the event, chosen before.
            closing: the entry ends something: it may use the disk reserve.

        Raises:
            LedgerError: it could not be made durable, or the id stands with another content.
        """
        try:
            appended = await self.writer.append(
                id=entry_id, kind=kind, subject=subject, body=dict(body), closing=closing, committed=True
            )
        except LedgerFailure as error:
            raise LedgerError(f"the ledger refused an entry: {error}", remedy="see the gateway's log") from error
        return _recorded(entry_id, appended)

    async def find(self, entry_id: str) -> Recorded | None:
        """The entry of an id, if it was appended.

        Raises:
            LedgerError: the log has ended, so nobody knows before the next start.
        """
        with _refusals("the log cannot be read"):
            appended = await self.writer.find(entry_id)
        return None if appended is None else _recorded(entry_id, appended)

    async def open_mirror(self, zone: str, vkey: str, mirror_vkeys: Mapping[str, str]) -> None:
        """Start or take up the mirror of a paired zone's log, and let its mirror witness ours.

        Args:
            zone: the peer's zone.
            vkey: the peer log's key.
            mirror_vkeys: cosigner keys by zone of all paired zones: who must cosign our log.
        """
        try:
            mirror = await Mirror.open(self._directory, peer_vkey=vkey, cosigner=self._cosigner)
            await self._set_policy(mirror_vkeys, self._witnesses)
        except LedgerFailure as error:
            raise LedgerError(f"the mirror of {zone} cannot be opened: {error}") from error
        self._mirrors[zone] = PeerMirror(mirror)

    async def close_mirror(self, zone: str, mirror_vkeys: Mapping[str, str]) -> None:
        """Stop mirroring a zone that is no longer paired; what was mirrored stays."""
        mirror = self._mirrors.pop(zone, None)
        if mirror is not None:
            await mirror.close()
        await self._set_policy(mirror_vkeys, self._witnesses)

    async def _set_policy(self, cosigners: Mapping[str, str], witnesses: str) -> None:
        text = _policy(self.vkey, cosigners, witnesses)
        if text != self.writer.policy.text:
            await self.writer.set_policy(text)
        self._cosigners, self._witnesses = dict(cosigners), witnesses
        self._signers = [(key.name, key.key_id) for key in map(VerifierKey.parse, cosigners.values())]

    def expect_witnesses(self, text: str) -> TrustPolicy:
        """Say before the first mirror is opened who else must cosign: no policy without them is ever in force.

        Raises:
            IntegrityError: it is no tlog-policy.
        """
        with _refusals("the policy of the witnesses"):
            policy = TrustPolicy(_policy(self.vkey, {}, text))
        self._witnesses = text
        return policy

    async def set_witnesses(self, text: str) -> TrustPolicy:
        """Let further witnesses cosign our log, and say how many of them must.

        Args:
            text: a C2SP tlog-policy of the witnesses; empty for none. Every paired zone's mirror must cosign besides.

        Returns:
            The whole policy, in force from now on.

        Raises:
            IntegrityError: it is none, or has a name or a key that a mirror has; the one before stays in force.
        """
        with _refusals("the policy of the witnesses"):
            await self._set_policy(self._cosigners, text)
        return self.writer.policy

    def mirror(self, zone: str) -> PeerMirror:
        """The mirror of a paired zone's log.

        Raises:
            PeerUnavailableError: the zone is not paired.
        """
        try:
            return self._mirrors[zone]
        except KeyError:
            raise PeerUnavailableError(f"zone {zone} is not paired", remedy="tdz zone pair CARD") from None

    async def wait_mirrored(self, zone: str, size: int, within: float) -> None:
        """Wait until our mirror of the zone's log holds `size` entries, verified and durable.

        Raises:
            PeerUnavailableError: it did not within so many seconds.
        """
        try:
            await self.mirror(zone).wait(size, within)
        except TimeoutError as error:
            raise PeerUnavailableError(
                f"the ledger of {zone} did not reach entry {size} here in {within:g} s",
                remedy="check the link between the gateways, then try again",
            ) from error

    async def newer(self, size: int) -> None:
        """Wait until more than `size` entries are committed: a mirror may have them.

        Raises:
            LedgerError: the log has ended.
        """
        with _refusals("the log cannot be read"):
            await self.writer.grown(size)

    async def since(self, size: int, max_bytes: int) -> Batch:
        """What a mirror that holds `size` entries needs next."""
        with _refusals("the log cannot be read"):
            newest, proof, entries = await self.writer.since(size, max_bytes)
        return Batch(newest.checkpoint.size, newest.checkpoint.text, newest.note, proof, entries)

    async def entries(self, start: int, stop: int, max_bytes: int) -> list[bytes]:
        """Published entries as bytes, at least one where there is one."""
        with _refusals("the log cannot be read"):
            return await self.writer.read(start, stop, max_bytes)

    async def add_cosignature(self, note_text: str, line: str) -> None:
        """Take a cosignature that a paired zone's mirror or another witness gave to a checkpoint of ours.

        Raises:
            IntegrityError: it is none of a known cosigner over a checkpoint of ours.
        """
        with _refusals("a cosignature does not hold"):
            await self.writer.add_cosignature(note_text, line)
            signature = Signature.parse(line)
            signer, size = (signature.name, signature.key_id), Checkpoint.parse(note_text).size
        self._held[signer] = max(size, self._held.get(signer, 0))
        done, self._cosigned = self._cosigned, asyncio.Event()
        done.set()

    async def wait_witnessed(self, size: int, within: float) -> None:
        """Wait until the peer holds and cosigned our first `size` entries.

        Raises:
            PeerUnavailableError: it did not within so many seconds.
        """
        try:
            async with asyncio.timeout(within):
                while self.held_size < size:
                    await self._cosigned.wait()
        except TimeoutError as error:
            raise PeerUnavailableError(
                f"the peer did not cosign our ledger to entry {size} in {within:g} s",
                remedy="check the link between the gateways, then try again",
            ) from error

    async def stirred(self, within: float) -> None:
        """Wait until a cosignature came, or so many seconds."""
        try:
            async with asyncio.timeout(within):
                await self._cosigned.wait()
        except TimeoutError:
            return

    @property
    def offered_size(self) -> int:
        """The size of the checkpoint that further witnesses should see next."""
        return self.held_size if self._cosigners else self.size

    async def offer(self, *, mirrored: bool = True) -> Published:
        """The checkpoint that further witnesses should see next: the newest that every paired zone has cosigned.

        Args:
            mirrored: whether the paired zones' cosignatures matter; without, the newest published one.
        """
        with _refusals("the log cannot be read"):
            return await self.writer.offer(list(self._cosigners.values()) if mirrored else [])

    async def close(self) -> None:
        """Finish what is queued and let the directory go."""
        try:
            for mirror in self._mirrors.values():
                await mirror.close()
            self._mirrors.clear()
        finally:
            await self.writer.close()


def _recorded(entry_id: str, appended: Appended) -> Recorded:
    return Recorded(entry_id=entry_id, seq=appended.seq, size=appended.seq + 1)


def _policy(vkey: str, cosigners: Mapping[str, str], witnesses: str) -> str:
    """Every paired zone's mirror must cosign, and the witnesses as their own policy says."""
    return combined_policy(vkey, {f"{zone}-mirror": key for zone, key in sorted(cosigners.items())}, witnesses)
