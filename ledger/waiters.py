"""Who waits for what, on the event loop's side of a writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Final, TypeAlias

from ledger.checkpoint import Published
from ledger.commit import Appended
from ledger.committing import Item, Outcome
from ledger.errors import LedgerError, StoppedError

__all__ = ["Waiters"]

MAX_QUEUED_ENTRIES: Final = 16_384
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024

_Watcher: TypeAlias = "tuple[int, asyncio.Future[Published]]"


class Waiters:
    """The entries that were handed over and not answered, and the futures of their callers.

    Each caller has a future of its own, so that one that is cancelled disturbs no other and undoes nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bytes = 0
        self._room: list[asyncio.Future[None]] = []
        self._watchers: list[_Watcher] = []
        self._growing: list[_Watcher] = []
        self.pending: dict[str, Item] = {}

    def has_room(self) -> bool:
        """Whether another entry may be handed over."""
        return len(self.pending) < MAX_QUEUED_ENTRIES and self._bytes < MAX_QUEUED_BYTES

    async def room(self) -> None:
        """Wait until a batch was answered."""
        space: asyncio.Future[None] = self._loop.create_future()
        self._room.append(space)
        await space

    def add(self, item: Item) -> None:
        """Count an item that is handed over."""
        self.pending[item.draft.id] = item
        self._bytes += item.draft.size

    async def outcome(self, item: Item, *, committed: bool = False) -> Appended:
        """Wait for an item's result or error.

        Args:
            committed: not longer than until it is committed.
        """
        if committed and item.committed is not None:
            return item.committed
        waiter: asyncio.Future[Appended] = self._loop.create_future()
        (item.early if committed else item.waiters).append(waiter)
        return await waiter

    async def published_after(self, size: int) -> Published:
        """Wait for a published checkpoint larger than a size."""
        return await self._watch(self._watchers, size)

    async def committed_after(self, size: int) -> Published:
        """Wait for a committed checkpoint larger than a size."""
        return await self._watch(self._growing, size)

    async def _watch(self, watchers: list[_Watcher], size: int) -> Published:
        watcher: asyncio.Future[Published] = self._loop.create_future()
        watchers.append((size, watcher))
        return await watcher

    def grown(self, committed: Published, placed: Sequence[tuple[Item, Appended]]) -> None:
        """Tell those who wait for a checkpoint, or for their entry, to be committed."""
        _tell(self._growing, committed)
        for item, appended in placed:
            item.committed = appended
            _answer(item.early, appended)

    def settle(self, outcomes: Sequence[tuple[Item, Outcome]], published: Published | None) -> None:
        """Answer the callers of a batch, and those who wait for one to be published."""
        if published is not None:
            _tell(self._watchers, published)
        for item, outcome in outcomes:
            if self.pending.pop(item.draft.id, None) is not None:
                self._bytes -= item.draft.size
            _answer(item.early, outcome)
            _answer(item.waiters, outcome)
        self._wake_room()

    def stop(self, error: StoppedError) -> None:
        """Fail everyone who still waits."""
        pending, self.pending = self.pending, {}
        self._bytes = 0
        watching = [*self._watchers, *self._growing]
        self._watchers.clear()
        self._growing.clear()
        for item in pending.values():
            _answer(item.early, error)
            _answer(item.waiters, error)
        for _, watcher in watching:
            if not watcher.done():
                watcher.set_exception(error)
        self._wake_room()

    def _wake_room(self) -> None:
        room, self._room = self._room, []
        for space in room:
            if not space.done():
                space.set_result(None)


def _answer(callers: list[asyncio.Future[Appended]], outcome: Appended | LedgerError) -> None:
    """Answer those that wait for an entry; each once."""
    for caller in callers:
        if caller.done():
            continue
        if isinstance(outcome, Appended):
            caller.set_result(outcome)
        else:
            caller.set_exception(outcome)
    callers.clear()


def _tell(watchers: list[_Watcher], newest: Published) -> None:
    """Answer those who wait for less, and keep the others."""
    waiting = watchers.copy()
    watchers.clear()
    for after, watcher in waiting:
        if after >= newest.checkpoint.size:
            watchers.append((after, watcher))
        elif not watcher.done():
            watcher.set_result(newest)
