"""Transfer process: the five states of the Dataspace Protocol and what moves between them, on both sides."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from gateway.errors import ConflictError


class TransferState(StrEnum):
    """Where a transfer stands."""

    REQUESTED = "REQUESTED"
    STARTED = "STARTED"
    SUSPENDED = "SUSPENDED"
    COMPLETED = "COMPLETED"
    TERMINATED = "TERMINATED"


class TransferEvent(StrEnum):
    """What happens to a transfer."""

    START = "start"
    CUT = "cut"  # the stream ended before its end
    RESUME = "resume"
    COMPLETE = "complete"
    ABORT = "abort"
    LATE_RECEIPT = "late receipt"  # the consumer's receipt after the provider gave up: it prevails


_S, _E = TransferState, TransferEvent

TRANSITIONS: Final[dict[tuple[TransferState, TransferEvent], TransferState]] = {
    (_S.REQUESTED, _E.START): _S.STARTED,
    (_S.REQUESTED, _E.ABORT): _S.TERMINATED,
    (_S.STARTED, _E.CUT): _S.SUSPENDED,
    (_S.STARTED, _E.RESUME): _S.STARTED,  # the consumer came back before the provider saw the cut
    (_S.STARTED, _E.COMPLETE): _S.COMPLETED,
    (_S.STARTED, _E.ABORT): _S.TERMINATED,
    (_S.SUSPENDED, _E.CUT): _S.SUSPENDED,
    (_S.SUSPENDED, _E.RESUME): _S.STARTED,
    (_S.SUSPENDED, _E.COMPLETE): _S.COMPLETED,  # all chunks had arrived before the cut
    (_S.SUSPENDED, _E.ABORT): _S.TERMINATED,
    (_S.COMPLETED, _E.RESUME): _S.COMPLETED,  # the partner reads on what has landed; nothing crosses again
    (_S.COMPLETED, _E.COMPLETE): _S.COMPLETED,
    (_S.TERMINATED, _E.LATE_RECEIPT): _S.COMPLETED,
}

FINAL: Final = frozenset({_S.COMPLETED, _S.TERMINATED})


def advance(state: TransferState, event: TransferEvent) -> TransferState:
    """The state after an event.

    Raises:
        ConflictError: the event does not fit the state.
    """
    try:
        return TRANSITIONS[state, event]
    except KeyError:
        raise ConflictError(f"a transfer in state {state} cannot {event}") from None
