"""`peer.checkpoint`: what we saw of a paired zone's log, said on ours, so that its own signature stands there too.

Such an entry rides with another one, at most once in `RIDE_S`, or comes alone at most hourly. It says nothing where
the peer's log has grown by entries of this very kind alone: else two logs would feed each other for ever.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Final

from gateway.journal.peer_mirror import PeerMirror
from gateway.model.canonical import JsonValue

__all__ = ["KIND", "RIDE_S", "Heads"]

KIND: Final = "peer.checkpoint"
RIDE_S: Final = 60.0
ALONE_S: Final = 3_600.0
_READ_BYTES: Final = 256 * 1024


class Heads:
    """Chooses which paired zones' checkpoints are to be recorded.

    Args:
        mirrors: the mirrors by zone.
        ride: seconds between two that ride.
        alone: seconds between two that come alone.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        mirrors: Mapping[str, PeerMirror],
        *,
        ride: float = RIDE_S,
        alone: float = ALONE_S,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._mirrors = mirrors
        self._ride = ride
        self._alone = alone
        self._clock = clock
        self._said: dict[str, tuple[str, int]] = {}  # what was recorded last: origin and size
        self._looked: dict[str, tuple[str, int]] = {}  # up to where nothing but entries of this kind was found
        self._last = {ride: clock(), alone: clock()}

    async def riding(self) -> list[tuple[str, dict[str, JsonValue]]]:
        """What may ride with an entry now: subjects and bodies."""
        return await self._due(self._ride)

    async def alone(self) -> list[tuple[str, dict[str, JsonValue]]]:
        """What is to be recorded by itself now."""
        return await self._due(self._alone)

    def may_ride(self) -> bool:
        """Whether it is time for `riding`."""
        return self._clock() - self._last[self._ride] >= self._ride

    async def _due(self, every: float) -> list[tuple[str, dict[str, JsonValue]]]:
        now = self._clock()
        if now - self._last[every] < every:
            return []
        self._last[every] = now
        found = []
        for zone, mirror in sorted(self._mirrors.items()):
            note, size = mirror.note, mirror.size
            start = self._from(self._said, zone, mirror.origin)
            if not note or size <= start or not await self._says_more(zone, mirror, start, size):
                continue
            self._said[zone] = mirror.origin, size
            body: dict[str, JsonValue] = {
                "zone": zone,
                "origin": mirror.origin,
                "size": size,
                "note": note.decode(),
            }
            found.append((f"zones/{zone}", body))
        return found

    async def _says_more(self, zone: str, mirror: PeerMirror, start: int, size: int) -> bool:
        """Whether the peer's log has grown by anything but what it saw of others."""
        start = max(start, self._from(self._looked, zone, mirror.origin))
        while start < size:
            entries = await mirror.read(start, size, _READ_BYTES)
            for entry in entries:
                if json.loads(entry)["kind"] != KIND:  # the mirror judged it: it is an entry
                    return True
            start += len(entries)
            self._looked[zone] = mirror.origin, start
        return False

    @staticmethod
    def _from(table: Mapping[str, tuple[str, int]], zone: str, origin: str) -> int:
        known, size = table.get(zone, ("", 0))
        return size if known == origin else 0
