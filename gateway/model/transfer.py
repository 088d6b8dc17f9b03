"""Transfer process: the five states of the Dataspace Protocol and what moves between them, on both sides."""

from __future__ import annotations

from enum import StrEnum
from typing import Final

from gateway.errors import REASON_STATUS, ConflictError


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


class AbortReason(StrEnum):
    """Why a transfer was given up, where no error's own reason (`TdzError.reason`) says it."""

    POLICY = "policy"
    NO_PROGRESS = "no progress before the lease ended"
    NO_RECEIPT = "no receipt"
    REVOKED = "revoked"
    OTHER = "other"


# All that a ledger entry may say: what another wrote could be anything, also about a person, and stands for ever.
ABORT_REASONS: Final = frozenset({*(reason.value for reason in AbortReason), *REASON_STATUS})


def abort_reason(said: str, *, by: str = "") -> str:
    """A reason as an entry may say it; what is none of `ABORT_REASONS` is `other`.

    Args:
        said: by whoever gives the transfer up.
        by: `consumer`, where the provider's ledger records what its peer said.
    """
    known = said if said in ABORT_REASONS else AbortReason.OTHER.value
    return f"{by}: {known}" if by else known


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
