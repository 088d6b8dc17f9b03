"""The one writer of a log, for asyncio callers."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final, TypeVar

from ledger.behind import WriteBehind
from ledger.canonical import JsonValue
from ledger.checkpoint import Growth, Published
from ledger.commit import Appended, Committer
from ledger.committing import CommittingThread, Fatal, Item, Outcome, conflict, end_process, stopped, tell_waiters
from ledger.create import DEFAULT_RESERVE_BYTES, create_log
from ledger.entry import Draft, Entry
from ledger.errors import EntryError, OperationalError, TamperedError
from ledger.files import FileWriter
from ledger.lock import LockDatabase, Row
from ledger.marker import Marker
from ledger.merkle import leaf_hash
from ledger.note import NoteSigner
from ledger.operations import take_up_vault
from ledger.recover import Recovered, recover
from ledger.reserve import Reserve
from ledger.seen_by_others import KEEP_AFTER_SECONDS, CosignedWriter
from ledger.staging import TEMPORARY
from ledger.standing import Standing
from ledger.storage import DiskStorage, Storage, lock_directory, refuse_remote_filesystem
from ledger.tiles import TileReader
from ledger.witnessed import CosignatureStore

__all__ = ["Appended", "LogWriter", "Published"]

OWN_KINDS: Final = frozenset({"log.opened", "log.sealed", "key.rotated", "clock.corrected", "erasure"})
"""Kinds on which the log itself depends: they are made by its own operations only."""

_T = TypeVar("_T")
_log = logging.getLogger("ledger")


class LogWriter(CosignedWriter):
    """Appends to one log directory, which no other process may have open.

    An append is acknowledged when it is published: its tiles and a checkpoint over it are durable here; a caller
    may ask to go on once it is committed. Any error after a batch is staged fails every waiting caller and ends
    the process through ``fatal``; the next start finishes what was committed, and a retry by id finds it.

    Made by :meth:`create` (once) and :meth:`open`.
    """

    def __init__(
        self, directory: Path, signers: Sequence[NoteSigner], clock: Callable[[], int], storage: Storage, fatal: Fatal
    ) -> None:
        super().__init__(os.path.abspath(directory))
        self._signers = signers
        self._clock = clock
        self._storage = storage
        self._fatal = fatal
        self._standing = Standing(clock, asked=True)
        self._marker = None
        self._behind = WriteBehind(self._side, self._keep, KEEP_AFTER_SECONDS)

    @staticmethod
    def create(
        directory: Path,
        *,
        origin: str,
        signer: NoteSigner,
        predecessor: JsonValue = None,
        reserve_bytes: int = DEFAULT_RESERVE_BYTES,
        storage: Storage | None = None,
        clock: Callable[[], int] = time.time_ns,
    ) -> Appended:
        """Make a new log with its entry 0, ``log.opened``. See :func:`ledger.create.create_log`."""
        return create_log(
            directory,
            origin=origin,
            signer=signer,
            predecessor=predecessor,
            reserve_bytes=reserve_bytes,
            storage=storage or DiskStorage(),
            clock=clock,
        )

    @classmethod
    async def open(
        cls,
        directory: Path,
        signer: NoteSigner,
        *,
        others: Sequence[NoteSigner] = (),
        clock: Callable[[], int] = time.time_ns,
        storage: Storage | None = None,
        fatal: Fatal = end_process,
        marker: Marker | None = None,
        ask: bool = False,
    ) -> LogWriter:
        """Open a log, finishing what a crash interrupted.

        Args:
            signer: the log's key.
            others: further keys of the log at hand, as the one that a rotation is replacing; the log's own history
                says which of all these sign.
            clock: nanoseconds since 1970.
            fatal: called on the committing thread, once, after every waiter was failed.
            marker: keeps what was committed last, where a reboot clears it.
            ask: others hold this log: nothing is signed before :meth:`vouch`, unless the marker vouches for it.

        Raises:
            RolledBackError: the marker knows a checkpoint of ours that is not in this log.
            ContradictionError: the files contradict each other; the text names the file.
            OperationalError: another process has it open, or its file system will not do.
        """
        self = cls(directory, (signer, *others), clock, storage or DiskStorage(), fatal)
        self._marker = marker
        self._standing.asked = not ask
        try:
            await self._run(self._start)
        except BaseException:
            self._side.shutdown()
            raise
        return self

    def _start(self) -> None:
        if not os.path.isdir(f"{self._directory}/state/staging"):
            raise OperationalError(
                f"{self._directory} is no ledger that can be written", remedy="make one, or name its directory"
            )
        refuse_remote_filesystem(self._directory)
        self._flock = lock_directory(f"{self._directory}/state")
        try:
            path = Path(self._directory) / "state" / "lock.db"
            origin = self._signers[0].name
            lock = LockDatabase(path, origin)
            files = FileWriter(
                self._storage, self._directory, f"{self._directory}/state/staging", f"{TEMPORARY}commit-"
            )
            reserve = Reserve.take_up(self._directory, self._storage, files)
            found = recover(self._directory, lock, self._signers, files, reserve)
            seen, keys = self._marker.read() if self._marker else None, found.keyring.history.verifiers()
            self._standing.consult(seen, keys, found.published.checkpoint, TileReader(self._directory).root)
            self._committer = self._make_committer(found, lock, files, reserve)
            self._cosignatures = CosignatureStore(self._directory, lambda: self._committer.keyring, self._storage)
            self._committer.seen_by_all = self._cosignatures.seen_by_all
            self._rows = LockDatabase(path, origin, read_only=True)
            size = found.published.checkpoint.size
            self._vault = take_up_vault(self._directory, self._storage, self._rows, size, reserve)
        except OSError as error:
            os.close(self._flock)
            raise OperationalError(f"cannot open the ledger {self._directory}: {error.strerror}") from error
        except BaseException:
            os.close(self._flock)
            raise
        self._published = self._committed = found.published
        self._lock = lock
        self._thread = CommittingThread(
            self._committer,
            recorded=self._recorded,
            committed=self._committed_from_thread,
            settle=self._settle_from_thread,
            refuse=self._standing.refusal,
            fail=self._fail_from_thread,
            fatal=self._fatal,
        )

    def _make_committer(self, found: Recovered, lock: LockDatabase, files: FileWriter, reserve: Reserve) -> Committer:
        return Committer(
            self._directory,
            storage=self._storage,
            lock=lock,
            keyring=found.keyring,
            files=files,
            published=found.published,
            edge=found.edge,
            time_us=found.time_us,
            sealed=found.sealed,
            clock=self._clock,
            reserve=reserve,
        )

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self._signers[0].name

    async def append(
        self,
        *,
        id: str,  # noqa: A002
        kind: str,
        subject: str,
        body: dict[str, JsonValue],
        closing: bool = False,
        committed: bool = False,
    ) -> Appended:
        """Append one entry and wait until it is published.

        A second append of an id returns the first result. A caller that is cancelled does not undo its entry.

        Args:
            id: UUIDv7 of the event, chosen before.
            closing: it ends something; such entries may use the disk's reserve.
            committed: go on once it is committed, that is durable and never undone, while it is being published.

        Raises:
            EntryError: it is not an entry.
            ConflictingEntryError: the id is recorded with other kind, subject or body.
            ClockError, StorageFullError: nothing was recorded; try again later.
            StoppedError: the writer has ended; whether it is recorded shows after the next start.
        """
        if kind in OWN_KINDS:
            raise EntryError(f"{kind} is the log's own", remedy="rotate, seal, erase or accept the clock")
        return await self.append_draft(Draft(id, kind, subject, body), closing=closing, committed=committed)

    async def append_draft(self, draft: Draft, *, closing: bool = False, committed: bool = False) -> Appended:
        """Append a draft and wait for it, as :meth:`append` does."""
        while True:
            if self._closed or self._ended is not None:
                raise stopped(self._ended)
            item = self._waiters.pending.get(draft.id)
            if item is not None:
                if item.draft.content != draft.content:
                    raise conflict(draft.id, self._published.checkpoint.size)
                break
            if self._waiters.has_room():
                item = Item(draft, closing)
                self._waiters.add(item)
                self._thread.put(item)
                break
            await self._waiters.room()
        return await self._waiters.outcome(item, committed=committed)

    async def find(self, id: str) -> Appended | None:  # noqa: A002
        """The entry of an id once it is published, None where none is committed.

        Raises:
            StoppedError: the writer has ended: whether it is recorded shows after the next start.
        """
        self._require_running()
        await self.changed(self._committed.checkpoint.size - 1)

        def look() -> Appended | None:
            row = self._rows.find([id]).get(id)
            return self._recorded(row) if row and row.seq < self._published.checkpoint.size else None

        return await self._run(look)

    async def close(self) -> None:
        """Commit what waits, then end. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._thread.stop)
        self._waiters.stop(stopped(self._ended))
        self._behind.close(last=self._ended is None)
        await asyncio.to_thread(self._side.shutdown)
        self._vault.close()
        self._rows.close()
        self._lock.close()
        os.close(self._flock)

    def _recorded(self, row: Row) -> Appended:
        """The first result of an id that is recorded, read back from its bundle."""
        size = max(self._published.checkpoint.size, row.seq + 1)
        (data,) = TileReader(self._directory).entries(row.seq, row.seq + 1, size)
        entry = Entry.parse(data, seq=row.seq)
        if entry.id != row.id:
            raise TamperedError(f"entry {row.seq} is not that of {row.id}", remedy="run tdz-ledger verify")
        return Appended(row.seq, leaf_hash(data), row.size, entry.time)

    def _committed_from_thread(self, growth: Growth, placed: list[tuple[Item, Appended]]) -> None:
        with contextlib.suppress(RuntimeError):  # a closed loop has nobody who waits
            self._loop.call_soon_threadsafe(self._grow, growth, placed)
        if self._marker is not None:
            self._marker.write(growth.committed.note)

    def _grow(self, growth: Growth, placed: list[tuple[Item, Appended]]) -> None:
        self._growth, self._committed = growth, growth.committed
        self._waiters.grown(growth.committed, placed)

    def _settle_from_thread(self, outcomes: list[tuple[Item, Outcome]], published: Published | None) -> None:
        try:
            self._loop.call_soon_threadsafe(self._settle, outcomes, published)
        except RuntimeError:
            if not self._loop.is_closed():  # a closed loop has nobody who waits
                raise

    def _settle(self, outcomes: Sequence[tuple[Item, Outcome]], published: Published | None) -> None:
        if published is not None:
            self._published = published
        self._waiters.settle(outcomes, published)

    def _fail_from_thread(self, error: BaseException) -> None:
        self._ended = error
        tell_waiters(self._loop, lambda: self._waiters.stop(stopped(error)))
