"""Who waits for what, on the event loop's side of a writer."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any, Final

from ledger.checkpoint import Published
from ledger.commit import Appended
from ledger.committing import Item, Outcome
from ledger.errors import StoppedError

__all__ = ["Waiters"]

MAX_QUEUED_ENTRIES: Final = 16_384
MAX_QUEUED_BYTES: Final = 64 * 1024 * 1024


class Waiters:
    """The entries that were handed over and not answered, and the futures of their callers.

    Each caller has a future of its own, so that one that is cancelled disturbs no other and undoes nothing.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._bytes = 0
        self._room: list[asyncio.Future[None]] = []
        self._watchers: list[tuple[int, asyncio.Future[Published]]] = []
        self._publishings: list[asyncio.Future[None]] = []
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

    async def outcome(self, item: Item) -> Appended:
        """Wait for an item's result or error."""
        waiter: asyncio.Future[Appended] = self._loop.create_future()
        item.waiters.append(waiter)
        return await waiter

    async def committed_after(self, size: int) -> Published:
        """Wait for a committed checkpoint larger than a size."""
        watcher: asyncio.Future[Published] = self._loop.create_future()
        self._watchers.append((size, watcher))
        return await watcher

    async def published(self) -> None:
        """Wait until another batch is published."""
        waiter: asyncio.Future[None] = self._loop.create_future()
        self._publishings.append(waiter)
        await waiter

    def grown(self, committed: Published) -> None:
        """Tell those who wait for a checkpoint that is committed."""
        watchers, self._watchers = self._watchers, []
        for after, watcher in watchers:
            if after >= committed.checkpoint.size:
                self._watchers.append((after, watcher))
            elif not watcher.done():
                watcher.set_result(committed)

    def settle(self, outcomes: Sequence[tuple[Item, Outcome]], published: Published | None) -> None:
        """Answer the callers of a batch, and those who wait for one to be published."""
        if published is not None:
            publishings, self._publishings = self._publishings, []
            for waiter in publishings:
                if not waiter.done():
                    waiter.set_result(None)
        for item, outcome in outcomes:
            if self.pending.pop(item.draft.id, None) is not None:
                self._bytes -= item.draft.size
            for caller in item.waiters:
                if caller.done():
                    continue
                if isinstance(outcome, Appended):
                    caller.set_result(outcome)
                else:
                    caller.set_exception(outcome)
        self._wake_room()

    def stop(self, error: StoppedError) -> None:
        """Fail everyone who still waits."""
        pending, self.pending = self.pending, {}
        self._bytes = 0
        watchers, self._watchers = self._watchers, []
        for waiter in (each for item in pending.values() for each in item.waiters):
            if not waiter.done():
                waiter.set_exception(error)
        publishings, self._publishings = self._publishings, []
        waiting: list[asyncio.Future[Any]] = [*(watcher for _, watcher in watchers), *publishings]
        for one in waiting:
            if not one.done():
                one.set_exception(error)
        self._wake_room()

    def _wake_room(self) -> None:
        room, self._room = self._room, []
        for space in room:
            if not space.done():
                space.set_result(None)
