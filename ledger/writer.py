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
from ledger.checkpoint import Checkpoint, Growth, Published
from ledger.commit import RESERVE_PATH, Appended, Committer
from ledger.committing import CommittingThread, Fatal, Item, Outcome, conflict, end_process, stopped, tell_waiters
from ledger.create import DEFAULT_RESERVE_BYTES, create_log
from ledger.entry import Draft, Entry
from ledger.errors import (
    AppendError,
    ClockError,
    OperationalError,
    RolledBackError,
    TamperedError,
)
from ledger.files import FileWriter
from ledger.lock import LockDatabase, Row
from ledger.merkle import leaf_hash
from ledger.note import NoteSigner, open_note, verifier
from ledger.policy import TrustPolicy
from ledger.reads import LogReads
from ledger.recover import Recovered, recover
from ledger.staging import TEMPORARY
from ledger.storage import DiskStorage, Storage, lock_directory, refuse_remote_filesystem
from ledger.tiles import TileReader
from ledger.witnessed import CosignatureStore

__all__ = ["Appended", "LogWriter", "Published"]

CLOCK_DOUBT_SECONDS: Final = 300
"""How far a cosignature just received may lie from our clock before nothing is signed any more."""

KEEP_AFTER_SECONDS: Final = 0.25
"""How long ``checkpoints/`` and ``checkpoint.witnessed`` may lag behind the cosignatures received."""

_T = TypeVar("_T")
_log = logging.getLogger("ledger")


class LogWriter(LogReads):
    """Appends to one log directory, which no other process may have open.

    An append is acknowledged when it is published: its tiles and a checkpoint over it are durable here; a caller
    may ask to go on once it is committed. Any error after a batch is staged fails every waiting caller and ends
    the process through ``fatal``; the next start finishes what was committed, and a retry by id finds it.

    Made by :meth:`create` (once) and :meth:`open`.
    """

    def __init__(
        self, directory: Path, signer: NoteSigner, clock: Callable[[], int], storage: Storage, fatal: Fatal
    ) -> None:
        super().__init__(os.path.abspath(directory))
        self._signer = signer
        self._clock = clock
        self._storage = storage
        self._fatal = fatal
        self._doubt: tuple[int, float] | None = None
        self._rolled_back: RolledBackError | None = None
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
        clock: Callable[[], int] = time.time_ns,
        storage: Storage | None = None,
        fatal: Fatal = end_process,
    ) -> LogWriter:
        """Open a log, finishing what a crash interrupted.

        Args:
            clock: nanoseconds since 1970.
            fatal: called on the committing thread, once, after every waiter was failed.

        Raises:
            ContradictionError: the files contradict each other; the text names the file.
            OperationalError: another process has it open, or its file system will not do.
        """
        self = cls(directory, signer, clock, storage or DiskStorage(), fatal)
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
            lock = LockDatabase(path, self._signer.name)
            files = FileWriter(
                self._storage, self._directory, f"{self._directory}/state/staging", f"{TEMPORARY}commit-"
            )
            found = recover(self._directory, lock, self._signer.vkey, files, self._storage)
            self._cosignatures = CosignatureStore(self._directory, self._signer, self._storage)
            self._rows = LockDatabase(path, self._signer.name, read_only=True)
        except OSError as error:
            os.close(self._flock)
            raise OperationalError(f"cannot open the ledger {self._directory}: {error.strerror}") from error
        except BaseException:
            os.close(self._flock)
            raise
        self._published = self._committed = found.published
        self._lock = lock
        self._thread = CommittingThread(
            self._committer(found, lock, files),
            recorded=self._recorded,
            committed=self._committed_from_thread,
            settle=self._settle_from_thread,
            refuse=self._refusal,
            fail=self._fail_from_thread,
            fatal=self._fatal,
        )

    def _committer(self, found: Recovered, lock: LockDatabase, files: FileWriter) -> Committer:
        try:
            reserve_bytes = os.path.getsize(f"{self._directory}/{RESERVE_PATH}")
        except FileNotFoundError:
            reserve_bytes = DEFAULT_RESERVE_BYTES
        return Committer(
            self._directory,
            storage=self._storage,
            lock=lock,
            signer=self._signer,
            files=files,
            published=found.published,
            edge=found.edge,
            time_us=found.time_us,
            clock=self._clock,
            reserve_bytes=reserve_bytes,
        )

    @property
    def origin(self) -> str:
        """The log's origin."""
        return self._signer.name

    @property
    def witnessed(self) -> Published | None:
        """The newest checkpoint that satisfies the policy: the one that leaves this machine."""
        return self._cosignatures.witnessed

    @property
    def policy(self) -> TrustPolicy:
        """Who must cosign."""
        return self._cosignatures.policy

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
        draft = Draft(id, kind, subject, body)
        while True:
            if self._closed or self._ended is not None:
                raise stopped(self._ended)
            item = self._waiters.pending.get(id)
            if item is not None:
                if item.draft.content != draft.content:
                    raise conflict(id, self._published.checkpoint.size)
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

    async def add_cosignature(self, note_text: str, line: str) -> Published | None:
        """Take a cosignature that was just received on one of our checkpoints.

        Durability: where the policy is now satisfied, ``checkpoint.witnessed`` and ``checkpoints/<size>`` follow
        within ``KEEP_AFTER_SECONDS``; the cosigner gives again what a crash loses of them. A time more than 5 min
        from our clock stops appends until the two agree again.

        Args:
            note_text: the text of the checkpoint's note.
            line: the signature line.

        Returns:
            The newest witnessed checkpoint.

        Raises:
            NoteError, SignatureError: no cosignature of a known witness over a checkpoint of ours.
        """
        committed = self._committed.checkpoint
        cosignature, witnessed = await self._run(lambda: self._cosignatures.add(note_text, line, committed))
        if cosignature.time is not None:
            self._doubt = (cosignature.time, time.monotonic())
        self._behind.ask()
        return witnessed

    async def offer(self, cosigners: Sequence[str]) -> Published:
        """The published checkpoint that further witnesses should see next: the newest that these cosigners have signed.

        Where they have signed none that is at hand it is the newest.
        """
        published = self._published.checkpoint
        return await self._run(lambda: self._cosignatures.offer(cosigners, published))

    async def keep(self) -> None:
        """Write now what cosignatures are not on disk yet.

        Raises:
            StoppedError: the writer has ended.
        """
        await self._run(self._keep)

    def _keep(self) -> None:
        try:
            if self._cosignatures.keep(self._published.checkpoint.size):  # not before the checkpoint itself
                self._loop.call_soon_threadsafe(self._behind.ask)
        except OSError as error:  # the next cosignature tries again
            _log.warning("cosignatures are not kept yet: %s", error.strerror)
        except BaseException as error:
            self._fail_from_thread(error)
            self._fatal(error)

    async def set_policy(self, text: str) -> Published | None:
        """Put another tlog-policy in force, durably; returns the newest checkpoint that satisfies it.

        Raises:
            NoteError: not a policy, or one of other logs.
        """
        witnessed = await self._run(lambda: self._cosignatures.set_policy(text, self._published.checkpoint.size))
        self._behind.ask()
        return witnessed

    async def check_held(self, note: bytes) -> None:
        """Compare what a peer or witness holds of ours; after a contradiction nothing is signed any more.

        Raises:
            RolledBackError: it carries our valid signature, and is larger than our log or has another root.
            NoteError, SignatureError: it is no checkpoint of ours, and so says nothing.
        """
        held = Checkpoint.parse(open_note(note, [verifier(self._signer.vkey)]).text)
        ours = self._published.checkpoint
        reader = TileReader(self._directory)
        if held.size <= ours.size and await self._run(lambda: reader.root(held.size)) == held.root:
            return
        self._rolled_back = RolledBackError(
            f"another holds our checkpoint of size {held.size}; it is not in this log of size {ours.size}",
            remedy="this log was rolled back: recover it from the peer's mirror",
        )
        raise self._rolled_back

    async def close(self) -> None:
        """Commit what waits, then end. Closing twice is fine."""
        if self._closed:
            return
        self._closed = True
        await asyncio.to_thread(self._thread.stop)
        self._waiters.stop(stopped(self._ended))
        self._behind.close(last=self._ended is None)
        await asyncio.to_thread(self._side.shutdown)
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

    def _refusal(self) -> AppendError | None:
        """Why nothing may be signed now; on the committing thread."""
        if self._rolled_back is not None:
            return AppendError(self._rolled_back.message, remedy=self._rolled_back.remedy)
        if self._doubt is None:
            return None
        peer, received = self._doubt
        apart = self._clock() / 1e9 - (peer + time.monotonic() - received)
        if abs(apart) <= CLOCK_DOUBT_SECONDS:
            return None
        return ClockError(
            f"our clock is {apart:+.0f} s from that of a cosigner", remedy="set the clock right, here or there"
        )

    def _committed_from_thread(self, growth: Growth, placed: list[tuple[Item, Appended]]) -> None:
        with contextlib.suppress(RuntimeError):  # a closed loop has nobody who waits
            self._loop.call_soon_threadsafe(self._grow, growth, placed)

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
