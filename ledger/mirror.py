"""The mirror of a peer's log, for asyncio callers: hold its entries, then say so with a cosignature."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from ledger.behind import WriteBehind
from ledger.checkpoint import Checkpoint
from ledger.committing import Fatal, end_process, stopped
from ledger.errors import ForkError, FrozenError, LedgerError, MirrorBehindError, MirrorFullError
from ledger.evidence import Evidence
from ledger.freezer import Freezer, Frozen
from ledger.mirror_store import MirrorStore, mirror_directory
from ledger.note import CosignatureSigner
from ledger.storage import DiskStorage, Storage
from ledger.tiles import read_entries

__all__ = ["DEFAULT_QUOTA_BYTES", "Mirror"]

DEFAULT_QUOTA_BYTES: Final = 64 * 1024**3
FILE_AFTER_S: Final = 1.0
"""How long tiles, bundles and the served checkpoint may lag behind what was cosigned."""

_T = TypeVar("_T")
_log = logging.getLogger("ledger")


def unix_seconds() -> int:
    """Whole seconds since 1970."""
    return int(time.time())


class Mirror:
    """One peer's log under ``mirror/<sha256 of its origin>/``, in the layout of any log.

    A push is ``begin``, then ``receive`` from :attr:`have` on until the pending size, then ``finish``. It may
    break off anywhere and go on after a restart. A repeat of the mirrored size gives a new cosignature.
    Requests run one after another on a thread of their own; none waits for an append. A push in one message
    (``take``) is held in ``state/witness.db``; the files follow within ``FILE_AFTER_S`` seconds.

    Made by :meth:`open`.
    """

    def __init__(
        self, store: MirrorStore, freezer: Freezer, worker: ThreadPoolExecutor, directory: Path, fatal: Fatal
    ) -> None:
        self._store = store
        self._freezer = freezer
        self._worker = worker
        self._directory = str(directory)
        self._fatal = fatal
        self._loop = asyncio.get_running_loop()
        self._waiters: list[tuple[int, asyncio.Future[None]]] = []
        self._ended: BaseException | None = None
        self._closed = False
        self._behind = WriteBehind(worker, self._file, FILE_AFTER_S)

    @classmethod
    async def open(
        cls,
        ledger_dir: Path,
        *,
        peer_vkey: str,
        cosigner: CosignatureSigner,
        clock: Callable[[], int] = unix_seconds,
        storage: Storage | None = None,
        quota_bytes: int = DEFAULT_QUOTA_BYTES,
        fatal: Fatal = end_process,
    ) -> Mirror:
        """Open the mirror of a peer, making it the first time.

        Args:
            ledger_dir: our own log's directory; it holds ``state/witness.db``, which is never restored.
            peer_vkey: the peer log's key, from its zone card.
            clock: whole seconds since 1970, for cosignatures.
            quota_bytes: how many bytes of entries the mirror may hold.
            fatal: called when storage failed and what is on disk is not known.

        Raises:
            ContradictionError: the files are not what was signed.
            OperationalError: another process has it open, or the origin is mirrored under another key.
        """
        worker = ThreadPoolExecutor(1, "ledger-mirror")

        def make() -> tuple[MirrorStore, Freezer]:
            disk = storage or DiskStorage()
            store = MirrorStore(
                ledger_dir, peer_vkey=peer_vkey, cosigner=cosigner, clock=clock, storage=disk, quota_bytes=quota_bytes
            )
            try:
                return store, Freezer(ledger_dir, store.origin, peer_vkey, disk)
            except BaseException:
                store.close()
                raise

        try:
            store, freezer = await asyncio.get_running_loop().run_in_executor(worker, make)
        except BaseException:
            worker.shutdown(wait=False)
            raise
        return cls(store, freezer, worker, mirror_directory(ledger_dir, store.origin), fatal)

    @property
    def origin(self) -> str:
        """The peer's origin."""
        return self._store.origin

    def knows(self, vkey: str) -> bool:
        """Whether the mirrored entries introduced this key of the log."""
        return self._store.keys.knows(vkey)

    @property
    def size(self) -> int:
        """The number of entries that are mirrored and cosigned."""
        return self._store.size

    @property
    def have(self) -> int:
        """The first entry that is missing, pending ones counted: where the pushing side goes on."""
        return self._store.have

    @property
    def checkpoint(self) -> Checkpoint | None:
        """The mirrored checkpoint."""
        return self._store.mirrored.checkpoint if self._store.mirrored else None

    @property
    def note(self) -> bytes:
        """The mirrored checkpoint's note exactly as it was verified; empty before the first."""
        return self._store.mirrored.note if self._store.mirrored else b""

    @property
    def pending(self) -> bytes:
        """The note of a larger checkpoint that was accepted and is not mirrored yet; empty where there is none."""
        pending = self._store.pending
        return pending.note if pending is not None and pending.checkpoint.size > self.size else b""

    @property
    def frozen(self) -> Frozen | None:
        """Why nothing more is taken of this origin; None where it is not frozen."""
        return self._freezer.frozen

    async def evidence(self) -> Evidence | None:
        """The evidence behind the freezing, as it lies on disk."""
        return await self._run(self._freezer.evidence)

    async def freeze(self, reason: str) -> None:
        """Take and cosign nothing more of this origin, for ever: its key is known to be another's, for one."""
        await self._run(lambda: self._freezer.freeze(reason))
        self._fail_waiters()

    async def begin(self, note: bytes, old_size: int, proof: list[bytes], own_root: bytes = b"") -> int:
        """Judge a checkpoint of the peer and persist it as pending.

        Args:
            note: the signed note.
            old_size: the size that was mirrored last, from which the proof goes.
            proof: the consistency proof; empty from 0 and for an equal size.
            own_root: the pushing log's root at the old size, where it has found that it is another than ours.

        Returns:
            The first missing entry.

        Raises:
            UnknownOriginError, BadSignatureError, OldSizeError, BadProofError, BadRequestError: refused.
            ForkError: it contradicts what the peer signed before. The evidence is kept, the origin frozen.
            FrozenError: it is frozen.
        """
        await self._judged(lambda: self._store.begin(note, old_size, proof, own_root))
        return self._store.have

    async def receive(self, entries: list[bytes]) -> None:
        """Judge and store the entries from :attr:`have` on, 8 MiB at most.

        Raises:
            BadRequestError: an entry may not stand there; none of these was taken.
            MirrorFullError: the quota or the disk is spent.
        """
        await self._judged(lambda: self._store.receive(entries))

    async def finish(self) -> str:
        """Make the pending checkpoint the mirrored one, durably, and return our cosignature line.

        Raises:
            BadRequestError: entries are missing, or nothing is pending.
            BadProofError: the entries do not give the signed root; they are forgotten.
        """
        line = await self._judged(self._store.finish)
        self._wake()
        return line

    async def take(self, note: bytes, old_size: int, proof: list[bytes], start: int, entries: list[bytes]) -> str:
        """`begin`, `receive` and `finish` at once, for a push that fits one message.

        Args:
            start: the first entry's number; entries that are here already are passed over.

        Durability: entries and row are in ``state/witness.db`` when it returns; the files follow.

        Raises:
            As the three.
        """
        line = await self._judged(lambda: self._store.take(note, old_size, proof, start, entries))
        self._behind.ask()
        self._wake()
        return line

    def _file(self) -> None:
        if self._ended is not None:
            return
        try:
            self._guarded(self._store.file)
        except MirrorFullError as error:  # held all the same; the next push or the next start files it
            _log.warning("the mirror of %s is not filed yet: %s", self.origin, error.message)
        except LedgerError as error:
            _log.error("the mirror of %s is not filed: %s", self.origin, error.message)

    def _wake(self) -> None:
        waiters, self._waiters = self._waiters, []
        for size, waiter in waiters:
            if self._store.size < size:
                self._waiters.append((size, waiter))
            elif not waiter.done():
                waiter.set_result(None)

    async def wait(self, size: int, timeout: float) -> None:
        """Wait until at least ``size`` entries are mirrored.

        Args:
            timeout: in seconds.

        Raises:
            MirrorBehindError: they are not, by then.
            FrozenError: the origin is frozen; they will not be.
        """
        if self._store.size >= size:
            return
        self._freezer.require_open()
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._waiters.append((size, waiter))
        try:
            async with asyncio.timeout(timeout):
                await waiter
        except TimeoutError as error:
            raise MirrorBehindError(
                f"the mirror of {self.origin} stands at {self._store.size}, not at {size}",
                remedy="is the peer connected?",
            ) from error
        finally:
            self._waiters = [each for each in self._waiters if each[1] is not waiter]

    async def read(self, start: int, stop: int, max_bytes: int) -> list[bytes]:
        """Mirrored entries as bytes, from ``start`` up to ``stop`` exclusive, at least one where there is one."""

        def work() -> list[bytes]:
            self._store.file()
            size = self._store.size
            return read_entries(self._directory, start, min(stop, size), size, max_bytes)

        return await self._run(work)

    async def close(self) -> None:
        """Finish the request that runs, bring the files up to date, then close. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        self._behind.close(last=self._ended is None)
        await asyncio.to_thread(self._worker.shutdown)
        self._fail_waiters()
        self._freezer.close()
        self._store.close()

    async def _judged(self, work: Callable[[], _T]) -> _T:
        """A step that takes something of the peer; what proves a fork is kept before anybody hears of it."""

        def step() -> _T:
            self._freezer.look()
            self._freezer.require_open()
            try:
                return work()
            except ForkError as fork:
                self._freezer.freeze_for(fork)
                raise

        try:
            return await self._run(step)
        except (ForkError, FrozenError):
            self._fail_waiters()
            raise

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._closed or self._ended is not None:
            raise stopped(self._ended)
        # A caller that goes away must not leave a step half done: the step runs on.
        step = self._loop.run_in_executor(self._worker, self._guarded, work)
        step.add_done_callback(lambda done: done.cancelled() or done.exception())  # who went away does not hear it
        return await asyncio.shield(step)

    def _guarded(self, work: Callable[[], _T]) -> _T:
        """Run one step; after a storage error what is on disk is not known, and the process must end."""
        try:
            return work()
        except LedgerError:
            raise
        except BaseException as error:
            if isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT):
                full = MirrorFullError("the disk is full", remedy="free space for the peer's entries")
                raise full from error
            self._ended = error
            with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
                self._loop.call_soon_threadsafe(self._fail_waiters)
            self._fatal(error)
            raise stopped(error) from error

    def _fail_waiters(self) -> None:
        waiters, self._waiters = self._waiters, []
        for _, waiter in waiters:
            if waiter.done():
                continue
            try:
                if self._ended is None and not self._closed:
                    self._freezer.require_open()
                waiter.set_exception(stopped(self._ended))
            except FrozenError as error:
                waiter.set_exception(error)
