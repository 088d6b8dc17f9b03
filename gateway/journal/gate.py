"""What may be opened now: how much of our ledger may be without a cosignature, and with whom nothing is opened."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

from gateway.errors import ForkError, MirrorFullError, UncosignedError
from gateway.journal.peer_mirror import FORK_REMEDY
from gateway.model import limits

__all__ = ["GOES_ON", "Bounds", "Gate"]

GOES_ON: Final = frozenset(
    {
        "policy.witnesses",
        "zone.paired",
        "fork.detected",
        "peer.checkpoint",
        "clock.corrected",
        "key.rotated",
        "erasure",
        "log.sealed",
    }
)
"""Kinds that open nothing across the border, and some of which mend what keeps cosignatures away."""

FULL_THERE: Final = "its operator raises [ledger] mirror_bytes or frees its disk; what closes goes on meanwhile"
_MARK_S: Final = 1.0


@dataclass(frozen=True, slots=True)
class Bounds:
    """How much of the ledger may be without a cosignature before nothing is opened any more."""

    entries: int = limits.UNCOSIGNED_ENTRIES
    seconds: int = limits.UNCOSIGNED_S


class Gate:
    """Knows what each paired zone holds and cosigned of ours, and what is not cosigned yet.

    Args:
        bounds: of what is not cosigned.
        clock: Unix seconds.
    """

    def __init__(self, bounds: Bounds, clock: Callable[[], float] = time.time) -> None:
        self._bounds = bounds
        self._clock = clock
        self._held: dict[str, int] = {}
        self._refused: dict[str, str] = {}
        self._full: dict[str, str] = {}
        # (size, time): what came up to that size is not older than that; one a second at most.
        self._marks: deque[tuple[int, float]] = deque()

    def held(self, zone: str) -> int:
        """How many of our entries a paired zone holds by its cosignature."""
        return self._held.get(zone, 0)

    def cosigned(self, zone: str, size: int) -> None:
        """A paired zone's mirror cosigned our log up to a size."""
        self._held[zone] = max(size, self.held(zone))
        self._refused.pop(zone, None)
        self._full.pop(zone, None)

    def refused(self, zone: str, why: str) -> None:
        """A paired zone's mirror takes nothing more of our log."""
        self._refused[zone] = why

    def full(self, zone: str, why: str) -> None:
        """A paired zone's mirror has no room for more of our log; it says so again, or cosigns."""
        self._full[zone] = why

    def forget(self, zone: str) -> None:
        """The zone is paired no more, or has a new card."""
        for known in (self._held, self._refused, self._full):
            known.pop(zone, None)

    def require_held_by(self, zone: str) -> None:
        """Refuse where a paired zone will never hold more of our log.

        Raises:
            ForkError: its mirror has frozen our origin.
            MirrorFullError: its mirror has no room for more of it now.
        """
        if (why := self._refused.get(zone)) is not None:
            raise ForkError(f"{zone} has frozen our ledger: {why}", remedy=FORK_REMEDY)
        if (why := self._full.get(zone)) is not None:
            raise MirrorFullError(f"{zone} has no room for more of our ledger: {why}", remedy=FULL_THERE)

    def grew(self, size: int, at: float | None = None) -> None:
        """The log has so many entries now."""
        now = self._clock() if at is None else at
        if self._marks and now - self._marks[-1][1] < _MARK_S:
            now = self._marks.pop()[1]
        self._marks.append((size, now))

    def require_room(self, committed: int, witnessed: int) -> None:
        """Refuse to open anything while too much is not cosigned.

        Raises:
            UncosignedError: too many entries, or too old ones.
        """
        while self._marks and self._marks[0][0] <= witnessed:
            self._marks.popleft()
        behind = committed - witnessed
        age = self._clock() - self._marks[0][1] if self._marks and behind > 0 else 0.0
        if behind < self._bounds.entries and age < self._bounds.seconds:
            return
        raise UncosignedError(
            f"{behind} entries of this zone's ledger are not cosigned, the oldest for {age:.0f} s; nothing is opened"
            f" past {self._bounds.entries} entries or {self._bounds.seconds} s",
            remedy="start the paired zone's gateway or mend the link to it (`tdz zone status`); then try again",
        )
