"""How often one caller may have something recorded: a bucket of tokens each, in memory.

A log can never forget, so what anybody may add to it is bounded in time. A token is taken before anything is read
or written; a refusal for want of one leaves no entry.
"""

from __future__ import annotations

import math
import time
from collections import OrderedDict
from collections.abc import Callable

from gateway.errors import PaceError
from gateway.model import limits


class Pace:
    """One token bucket a caller.

    Args:
        what: what a token is for, in the plural, as the refusal says it.
        burst: tokens of a full bucket.
        per_second: tokens that come back in a second.
        callers: the most buckets kept; the one that was used longest ago is forgotten first, as if it were full.
        clock: seconds, monotonic.
    """

    def __init__(
        self,
        what: str,
        *,
        burst: int,
        per_second: int,
        callers: int = limits.PACE_CALLERS_MAX,
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        self._what = what
        self._burst = burst
        self._per_second = per_second
        self._callers = callers
        self.clock = clock
        self._buckets: OrderedDict[str, tuple[float, float]] = OrderedDict()  # tokens, and when there were so many

    def __len__(self) -> int:
        return len(self._buckets)

    def take(self, caller: str) -> None:
        """Take one token of a caller's.

        Raises:
            PaceError: there is none; the remedy says when there will be.
        """
        now = self.clock()
        tokens, at = self._buckets.pop(caller, (float(self._burst), now))
        tokens = min(float(self._burst), tokens + max(0.0, now - at) * self._per_second)
        missing = 1 - tokens
        self._buckets[caller] = (tokens, now) if missing > 0 else (tokens - 1, now)
        while len(self._buckets) > self._callers:
            self._buckets.popitem(last=False)
        if missing > 0:
            raise PaceError(
                f"more than {self._burst} {self._what} at once, or {self._per_second} a second",
                remedy=f"wait {max(1, math.ceil(missing / self._per_second))} s",
            )


class Paces:
    """The buckets of one gateway."""

    def __init__(self) -> None:
        self.requests = Pace("requests", burst=limits.REQUESTS_BURST, per_second=limits.REQUESTS_PER_S)
        self.tickets = Pace("presented tickets", burst=limits.TICKETS_BURST, per_second=limits.TICKETS_PER_S)
        self.previews = Pace("dry runs", burst=limits.PREVIEWS_BURST, per_second=limits.PREVIEWS_PER_S)
        self.peers = Pace("calls of one zone", burst=limits.PEER_CALLS_BURST, per_second=limits.PEER_CALLS_PER_S)
