"""The commit: from drafts to a published checkpoint, in five numbered steps. One thread, no asyncio."""

from __future__ import annotations

import contextlib
import errno
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Final, NamedTuple

from ledger.checkpoint import Checkpoint, Growth, Published
from ledger.edge import TileEdge
from ledger.entry import Draft, Entry, LoneDraft, format_time
from ledger.errors import ClockError, LedgerError, SealedError, StorageFullError
from ledger.files import FileWriter
from ledger.key_history import rotation_in
from ledger.keyring import Keyring
from ledger.lock import LockDatabase, Row
from ledger.merkle import consistency_proof, leaf_hash
from ledger.note import NoteSigner
from ledger.reserve import Reserve
from ledger.staging import Batch
from ledger.storage import Storage

__all__ = ["Appended", "Committer", "Staged"]

CLOCK_TOLERANCE_US: Final = 2_000_000
"""How far the clock may lie behind the last entry before nothing is signed any more, in microseconds."""

_OVERHEAD_BYTES: Final = 64 * 1024


class Appended(NamedTuple):
    """An entry that is committed; where the append was acknowledged, published: tiles and checkpoint are durable here.

    ``seq`` is its place in the log, ``leaf_hash`` serves the chain and the tree, ``size`` is that of the
    checkpoint that first covered it, ``time`` is the entry's.
    """

    seq: int
    leaf_hash: bytes
    size: int
    time: str


@dataclass(frozen=True, slots=True)
class Staged:
    """A batch after step 1: signed, and not committed."""

    batch: Batch
    edge: TileEdge
    time_us: int
    keyring: Keyring
    sealed: bool
    appended: list[Appended]
    rows: list[Row]
    growth: Growth


class Committer:
    """The state of the log's end and the steps that move it.

    Args:
        directory: the log's directory, absolute.
        published: the newest checkpoint.
        edge: the log's right edge at that checkpoint.
        time_us: the time of the last entry, microseconds since 1970.
        sealed: its last entry is ``log.sealed``.
        clock: nanoseconds since 1970.
        reserve: ``state/reserve``.
    """

    def __init__(
        self,
        directory: str,
        *,
        storage: Storage,
        lock: LockDatabase,
        keyring: Keyring,
        files: FileWriter,
        published: Published,
        edge: TileEdge,
        time_us: int,
        sealed: bool,
        clock: Callable[[], int],
        reserve: Reserve,
    ) -> None:
        self._directory = directory
        self._storage = storage
        self._lock = lock
        self.keyring = keyring
        self._files = files
        self._edge = edge
        self.time_us = time_us
        """The time of the last entry, microseconds since 1970."""
        self._clock = clock
        self._reserve = reserve
        self.sealed = sealed
        self.published = published
        self.next_key: NoteSigner | None = None
        """The private half of the key that a rotation brings in."""
        self.seen_by_all: Callable[[int], bool] = lambda _: False
        """Whether every cosigner has signed a checkpoint of at least so many entries."""

    def room(self, drafts: Sequence[Draft], *, closing: bool) -> bool:
        """Whether the disk has room for a batch.

        Free space covers the reserve and four times the batch. Where every entry of the batch closes something, it
        need not cover the reserve, and where it does not cover the batch either, the reserve itself is given up.
        """
        reserve = self._reserve
        batch = sum(each.size for each in drafts) + self._edge.partial_bytes() + _OVERHEAD_BYTES
        free = self._storage.free_bytes(self._directory)
        if free >= reserve.size + 4 * batch:
            if free >= 2 * reserve.size + 4 * batch and not reserve.held:
                with contextlib.suppress(OSError):  # the disk filled meanwhile: the next batch looks again
                    reserve.write(self._files)
            return True
        if not closing:
            return False
        if free < 4 * batch and reserve.give_up():
            free = self._storage.free_bytes(self._directory)
        return free >= 4 * batch

    def stage(self, drafts: Sequence[Draft]) -> Staged:
        """Step 1, in memory.

        Raises:
            ClockError: the clock lies 2 s or more behind the last entry; nothing happened.
            SealedError: the log has ended; nothing happened.
            Exception: anything else ends the process.
        """
        # 1. Give places, hash the batch's own bytes, fold them onto a copy of the right edge, sign.
        old = self.published.checkpoint
        if self.sealed:
            raise SealedError("the log is sealed: it has ended", remedy="append to the log that follows it")
        time_us = self._time_for(drafts)
        time, before = format_time(time_us), format_time(self.time_us)
        edge = self._edge.copy()
        size = old.size + len(drafts)
        nodes = edge.subtrees()
        entries: list[bytes] = []
        appended: list[Appended] = []
        rows: list[Row] = []
        for seq, draft in enumerate(drafts, old.size):
            entry = draft.at(seq, before).place(seq, edge.prev, time)
            leaf = leaf_hash(entry)
            for height, each in enumerate(edge.append(entry, leaf)):
                nodes[height, (edge.size >> height) - 1] = each
            entries.append(entry)
            appended.append(Appended(seq, leaf, size, time))
            rows.append(Row(draft.id, seq, size, draft.content))
        checkpoint = Checkpoint(old.origin, size, edge.root())
        keyring = self._keyring_for(drafts, entries, old.size)
        note = keyring.note(checkpoint)
        batch = Batch(old.size, old.root, size, checkpoint.root, note, tuple(entries))
        # Every subtree of the proof was complete before or is completed by this batch.
        proof = consistency_proof(lambda height, index: nodes[height, index], old.size, size) if old.size else []
        growth = Growth(old.size, Published(checkpoint, note), tuple(proof), batch.entries)
        sealed = drafts[-1].kind == "log.sealed"
        return Staged(batch, edge, time_us, keyring, sealed, appended, rows, growth)

    def _time_for(self, drafts: Sequence[Draft]) -> int:
        """The time of a batch: never before the last entry, but where the operator says that entry's was wrong."""
        now = self._clock() // 1000
        if drafts[0].kind == "clock.corrected":
            return now
        if now <= self.time_us - CLOCK_TOLERANCE_US:
            raise ClockError(
                f"the clock is {(self.time_us - now) / 1e6:.1f} s behind the last entry",
                remedy="set the clock right; if it is right, say so: clock accept",
            )
        return max(now, self.time_us)

    def _keyring_for(self, drafts: Sequence[Draft], entries: Sequence[bytes], old_size: int) -> Keyring:
        """Who signs the checkpoint of a batch: a rotation brings its key in, and the old one goes once all saw it."""
        keyring = self.keyring
        if keyring.retiring is not None and self.seen_by_all(keyring.history.ranges[-1].first):
            keyring = keyring.ended(old_size)
        if drafts[0].kind == "key.rotated" and isinstance(drafts[0], LoneDraft) and self.next_key is not None:
            rotation = rotation_in(Entry.parse(entries[0]), keyring.origin)
            if rotation and (rotation.old, rotation.new) == (keyring.current.vkey, self.next_key.vkey):
                keyring = keyring.rotated(self.next_key, rotation.first)
        return keyring

    def commit(self, staged: Staged) -> None:
        """Steps 2 and 3, the commit point: staged batch and compare-and-swap in one transaction of the lock database.

        Raises:
            StorageFullError: the disk is full; nothing happened.
            Exception: whether it happened is unknown; the process must end.
        """
        batch = staged.batch
        changed = staged.keyring is not self.keyring
        # Before the commit point: who verifies the new checkpoint must find its key. What never came to stand in
        # the log is taken back here, or by the next start.
        try:
            if changed:
                self._write_keys(staged.keyring)
        except OSError as error:
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                raise StorageFullError("the disk is full", remedy="free space for the ledger") from error
            raise
        try:
            self._lock.swap(self.published.note, batch.note, batch.encode(), staged.rows, self._storage)
        except StorageFullError:
            if changed:
                self._write_keys(self.keyring)
            raise
        self.keyring = staged.keyring

    def _write_keys(self, keyring: Keyring) -> None:
        self._files.replace("vkeys", keyring.history.encode())

    def publish(self, staged: Staged) -> list[str]:
        """Steps 4 and 5.

        Returns:
            The paths of tiles and bundles that became full.

        Raises:
            Exception: the batch is committed and not published; the process must end and replay it.
        """
        batch, edge = staged.batch, staged.edge
        # 4. Tiles and bundles: temp, fsync, link, fsync each directory; the temps go later.
        full = edge.take_full()
        self._files.add(full)
        self._files.add(edge.partials(batch.old_size))
        # 5. checkpoint: temp, fsync, rename, fsync directory.
        self._files.replace("checkpoint", batch.note)
        if batch.size == batch.old_size + 1 and self.keyring.history.ranges[-1].first == batch.size:
            self._files.replace("vkey", f"{self.keyring.current.vkey}\n".encode())
        self._edge = edge
        self.sealed = staged.sealed
        self.time_us = staged.time_us
        self.published = staged.growth.committed
        return [path for path, _ in full]

    def clean(self, full: Sequence[str]) -> None:
        """After the acknowledgement: delete temporary names and superseded partial files."""
        self._files.discard()
        self._files.remove_partials(full)

    def commit_now(self, drafts: Sequence[Draft]) -> list[Appended]:
        """All steps at once, for the first entry of a new log."""
        if not self.room(drafts, closing=False):
            raise LedgerError("not enough free space for a ledger", remedy="free space or name another directory")
        staged = self.stage(drafts)
        self.commit(staged)
        self.clean(self.publish(staged))
        return staged.appended

    def find(self, drafts: Sequence[Draft]) -> dict[str, Row]:
        """The rows of the drafts whose ids are recorded already."""
        return self._lock.find([each.id for each in drafts])
