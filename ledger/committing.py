"""The committing thread: it takes what collected while the last batch synced, and does all the fsync work."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import queue
import threading
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import Final, TypeAlias

from ledger.checkpoint import Growth, Published
from ledger.commit import Appended, Committer
from ledger.entry import Draft
from ledger.errors import AppendError, ConflictingEntryError, StoppedError, StorageFullError
from ledger.lock import Row

__all__ = ["CommittingThread", "Fatal", "Item", "Outcome", "end_process"]

MAX_BATCH_ENTRIES: Final = 1024
MAX_BATCH_BYTES: Final = 8 * 1024 * 1024

Fatal: TypeAlias = Callable[[BaseException], None]
Outcome: TypeAlias = "Appended | AppendError"

_log = logging.getLogger("ledger")


@dataclass(slots=True)
class Item:
    """An entry that waits for its batch, with the callers that wait for it.

    ``early`` are content once it is committed, which is what ``committed`` then says.
    """

    draft: Draft
    closing: bool
    waiters: list[asyncio.Future[Appended]] = field(default_factory=list)
    early: list[asyncio.Future[Appended]] = field(default_factory=list)
    committed: Appended | None = None


def end_process(error: BaseException) -> None:
    """End the process at once: what is committed and not published is replayed at the next start."""
    _log.critical("the ledger ends the process: %s", error)
    os._exit(70)


class CommittingThread:
    """One thread around a :class:`Committer`.

    Args:
        recorded: makes the result of an id that is recorded already.
        committed: called on this thread once a batch is committed, before it is published, with its items.
        settle: called on this thread with the outcome of items, and the new checkpoint where there is one.
        refuse: called before each batch; its error, if any, fails the batch.
        fail: called on this thread when the log must end; returns when every waiter was told or time is up.
        fatal: called last; by default it ends the process.
    """

    def __init__(
        self,
        committer: Committer,
        *,
        recorded: Callable[[Row], Appended],
        committed: Callable[[Growth, list[tuple[Item, Appended]]], None],
        settle: Callable[[list[tuple[Item, Outcome]], Published | None], None],
        refuse: Callable[[], AppendError | None],
        fail: Callable[[BaseException], None],
        fatal: Fatal,
    ) -> None:
        self._committer = committer
        self._recorded = recorded
        self._committed = committed
        self._settle = settle
        self._refuse = refuse
        self._fail = fail
        self._fatal = fatal
        self._queue: queue.SimpleQueue[Item | None] = queue.SimpleQueue()
        self._next: Item | None = None
        self._closing = False
        self._thread = threading.Thread(target=self._run, name="ledger-commit", daemon=True)
        self._thread.start()

    def put(self, item: Item) -> None:
        """Hand an item over; the caller bounds how many wait."""
        self._queue.put(item)

    def stop(self) -> None:
        """Commit what waits, then end. Blocks until then."""
        self._queue.put(None)
        self._thread.join()

    def _run(self) -> None:
        try:
            while batch := self._take():
                self._commit(batch)
        except BaseException as error:
            # Any error past step 1 fails every waiting caller and ends the process.
            self._fail(error)
            self._fatal(error)

    def _take(self) -> list[Item]:
        """Wait for the next batch; an empty one says that the writer closes."""
        item, self._next = self._next, None
        if item is None and not self._closing:
            item = self._queue.get()
        batch: list[Item] = []
        size = 0
        while item is not None:
            size += item.draft.size
            if batch and (size > MAX_BATCH_BYTES or item.draft.alone):
                self._next = item
                break
            batch.append(item)
            if len(batch) == MAX_BATCH_ENTRIES or item.draft.alone:
                break
            try:
                item = self._queue.get_nowait()
            except queue.Empty:
                break
        else:
            self._closing = True
        return batch

    def _commit(self, batch: list[Item]) -> None:
        refused = self._refuse()
        if refused is not None:
            self._settle([(item, refused) for item in batch], None)
            return
        outcomes: list[tuple[Item, Outcome]] = []
        fresh = self._without_recorded(batch, outcomes)
        fresh = self._with_room(fresh, outcomes)
        if not fresh:
            self._settle(outcomes, None)
            return
        try:
            staged = self._committer.stage([item.draft for item in fresh])
            self._committer.commit(staged)
            placed = list(zip(fresh, staged.appended, strict=True))
            self._committed(staged.growth, placed)
        except AppendError as error:  # before the commit point: the batch fails, the log lives
            self._settle([*outcomes, *((item, error) for item in fresh)], None)
            return
        full = self._committer.publish(staged)
        self._settle([*outcomes, *placed], self._committer.published)
        self._committer.clean(full)

    def _without_recorded(self, batch: list[Item], outcomes: list[tuple[Item, Outcome]]) -> list[Item]:
        """Answer the items whose ids are recorded: the first result, or a conflict."""
        rows = self._committer.find([item.draft for item in batch])
        if not rows:
            return batch
        fresh: list[Item] = []
        for item in batch:
            row = rows.get(item.draft.id)
            if row is None:
                fresh.append(item)
            elif row.content == item.draft.content:
                outcomes.append((item, self._recorded(row)))
            else:
                outcomes.append((item, conflict(item.draft.id, row.seq)))
        return fresh

    def _with_room(self, items: list[Item], outcomes: list[tuple[Item, Outcome]]) -> list[Item]:
        """Keep what the disk has room for: all, or else what closes something."""
        if not items or self._room(items, closing=all(item.closing for item in items)):
            return items
        closing = [item for item in items if item.closing]
        if closing and not self._room(closing, closing=True):
            closing = []
        full = StorageFullError(
            "too little disk space for the ledger", remedy="free space; closing entries may still pass"
        )
        outcomes += ((item, full) for item in items if item not in closing)
        return closing

    def _room(self, items: Sequence[Item], *, closing: bool) -> bool:
        return self._committer.room([item.draft for item in items], closing=closing)


def conflict(entry_id: str, seq: int) -> ConflictingEntryError:
    """The error of an id that is used for two contents."""
    return ConflictingEntryError(
        f"the id {entry_id} is recorded at {seq} with other content", remedy="give each event an id of its own"
    )


def tell_waiters(loop: asyncio.AbstractEventLoop, tell: Callable[[], None]) -> None:
    """Run ``tell`` on the loop and wait, a second at most, until those that it woke have run once."""
    told = threading.Event()

    def run() -> None:
        tell()
        loop.call_soon(told.set)

    with contextlib.suppress(RuntimeError):  # the loop is closed: nobody waits
        loop.call_soon_threadsafe(run)
        told.wait(1.0)


def stopped(error: BaseException | None) -> StoppedError:
    """The error of every caller of a writer that has ended."""
    reason = f": {error}" if error is not None else ""
    return StoppedError(
        f"the ledger's writer has ended{reason}", remedy="start again and retry by id: recorded entries are found"
    )
