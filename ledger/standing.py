"""Whether a log may sign now: was it asked about, does anybody contradict it, may its clock be trusted."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterable
from typing import Final

from ledger.checkpoint import Checkpoint
from ledger.errors import AppendError, ClockError, ContradictedError, LedgerError, RolledBackError, UnaskedError
from ledger.note import Verifier, open_note

__all__ = ["Standing", "compare", "held_checkpoint"]

CLOCK_DOUBT_SECONDS: Final = 300
"""How far a cosignature just received may lie from our clock before nothing is signed any more."""

_REMEDY: Final = "this log was rolled back: move it away and recover it from the peer's mirror"


class Standing:
    """Written on the event loop, read on the committing thread.

    Args:
        clock: nanoseconds since 1970.
        asked: nobody need be asked before the first signature.
    """

    def __init__(self, clock: Callable[[], int], *, asked: bool) -> None:
        self._clock = clock
        self.asked = asked
        self._doubt: tuple[int, float] | None = None
        self.contradiction: RolledBackError | None = None

    def consult(
        self, seen: bytes | None, keys: Iterable[Verifier], ours: Checkpoint, root: Callable[[int], bytes]
    ) -> None:
        """Whether what this machine's memory holds vouches for the log, or contradicts it.

        Raises:
            RolledBackError: it is a checkpoint of ours that is not in this log.
        """
        if seen is None:
            return
        try:
            held = held_checkpoint(seen, keys)
        except LedgerError:
            return  # not ours: it says nothing
        compare(held, ours, root, "this machine's memory")
        if held == ours:
            self.asked = True

    def cosigned(self, seconds: int) -> None:
        """A cosignature with this time was just received."""
        self._doubt = (seconds, time.monotonic())

    def refusal(self) -> AppendError | None:
        """Why nothing may be signed now."""
        if self.contradiction is not None:
            return ContradictedError(self.contradiction.message, remedy=self.contradiction.remedy)
        if not self.asked:
            return UnaskedError(
                "nobody has said yet what they hold of this log", remedy="start the paired zone's gateway"
            )
        if self._doubt is None:
            return None
        peer, received = self._doubt
        apart = self._clock() / 1e9 - (peer + time.monotonic() - received)
        if abs(apart) <= CLOCK_DOUBT_SECONDS:
            return None
        return ClockError(
            f"our clock is {apart:+.0f} s from that of a cosigner", remedy="set the clock right, here or there"
        )


def held_checkpoint(note: bytes, keys: Iterable[Verifier]) -> Checkpoint:
    """The checkpoint of ours in a note that another holds.

    Raises:
        NoteError, SignatureError: it is none of ours, and so says nothing.
    """
    return Checkpoint.parse(open_note(note, keys).text)


def compare(held: Checkpoint, ours: Checkpoint, root: Callable[[int], bytes], who: str) -> None:
    """Look whether a checkpoint that we signed is in our log.

    Args:
        held: carries our valid signature.
        ours: the newest that we know of.
        root: our root at a smaller size.
        who: holds it, for the error's text.

    Raises:
        RolledBackError: it is not.
    """
    if held.size < ours.size:
        try:
            mine = root(held.size)
        except LedgerError as error:
            raise RolledBackError(f"our root at size {held.size} cannot be read: {error.message}") from error
        if mine == held.root:
            return
        raise RolledBackError(f"{who} holds our size {held.size} with another root than this log has", remedy=_REMEDY)
    if held.size == ours.size:
        if held.root == ours.root:
            return
        raise RolledBackError(f"{who} holds our size {held.size} with another root than this log has", remedy=_REMEDY)
    raise RolledBackError(
        f"{who} holds our checkpoint of size {held.size}, this log has only {ours.size} entries", remedy=_REMEDY
    )
