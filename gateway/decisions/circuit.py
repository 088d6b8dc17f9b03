"""A circuit breaker: what failed several times in a row is left alone for a while, then tried by one."""

from __future__ import annotations

from collections.abc import Callable

from gateway.errors import DecisionUnavailableError


class Circuit:
    """Closed, open, or half open (Nygard, Release It!, 2007): one probe at a time after the rest.

    Every `admit` that returns is followed by exactly one of `succeeded`, `failed` and `abandoned`.

    Args:
        failures: so many in a row open it.
        rest_s: seconds that it stays open.
        clock: monotonic seconds.
    """

    def __init__(self, *, failures: int, rest_s: float, clock: Callable[[], float]) -> None:
        self._most = failures
        self._rest_s = rest_s
        self._clock = clock
        self._failed = 0
        self._opened_at = 0.0
        self._probing = False

    @property
    def state(self) -> str:
        """`closed`, `open` or `half-open`."""
        if self._failed < self._most:
            return "closed"
        return "half-open" if self._clock() - self._opened_at >= self._rest_s else "open"

    def admit(self) -> None:
        """Let one through.

        Raises:
            DecisionUnavailableError: open, or half open with a probe under way.
        """
        state = self.state
        if state == "closed":
            return
        if state == "open" or self._probing:
            raise DecisionUnavailableError(
                f"the policy engine failed {self._failed} times in a row and is left alone for {self._rest_s:g} s"
            )
        self._probing = True

    def succeeded(self) -> None:
        """It works: closed."""
        self._failed = 0
        self._probing = False

    def failed(self) -> None:
        """It does not work; at the bound, and after a failed probe, it opens."""
        self._failed += 1
        self._opened_at = self._clock()
        self._probing = False

    def abandoned(self) -> None:
        """The caller went away before anything was known."""
        self._probing = False
