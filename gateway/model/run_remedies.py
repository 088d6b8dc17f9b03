"""What to do about a run that ended without an outcome, by the reason that stands on the ledger.

A ledger entry says why a run ended in one of few words (`END_REASONS`), because both zones hold it for ever. What a
person can do about it is said here.
"""

from __future__ import annotations

from typing import Final

from gateway.model.run import RunEnd

_AGAIN: Final = "start it again"
_COLUMNS: Final = (
    "every feature is a column of finite numbers without nulls in every dataset, and every value of the target is "
    "named under classes: compare RUN.yaml with `tdz dataset show`"
)
_SLOWER: Final = "a lower local.rate, or scaling: standard"
_SAME_CODE: Final = "run the same version of the gateway in both zones, then start it again"
_ASK: Final = "tell your administrator the run's id: the gateway's log says more"

REMEDIES: Final[dict[str, str]] = {
    RunEnd.POLICY: "a zone's policy or an owner's terms allow it no more: see `tdz dataset show`, ask the owner",
    RunEnd.PEER_AWAY: f"{_AGAIN} once the other zone answers, or raise round_deadline_s",
    RunEnd.DEADLINE: f"{_AGAIN}; raise round_deadline_s where a round takes longer",
    RunEnd.ENDED_THERE: "the other zone's administrator can say why",
    RunEnd.NOT_CONFIRMED: f"{_AGAIN} once the other zone answers",
    RunEnd.CANCELLED: f"{_AGAIN} where it is still wanted",
    RunEnd.WITHDRAWN: "ask the owners of its datasets, or leave theirs out",
    RunEnd.ADMINISTRATOR: "ask your administrator",
    RunEnd.DENIED: "ask the administrators of the zone that looked at it",
    RunEnd.DENIED_BY_OWNER: "ask the owner, or leave the dataset out",
    RunEnd.UNREVIEWED: f"{_AGAIN} once a person has time for it",
    "TDZ-DATA-FILE": _COLUMNS,
    "TDZ-ROWS": "take a larger dataset, or leave the small one out",
    "TDZ-TRAINING": _SLOWER,
    "TDZ-UPDATE-VALUE": _SLOWER,
    "TDZ-UPDATE-NORM": "a lower local.rate, or a higher norm_bound",
    "TDZ-UPDATE-SHAPE": _SAME_CODE,
    "TDZ-ACCELERATOR": "ask for a device that both zones have (`tdz accelerators`), or leave device out",
    "TDZ-COMPUTE": f"{_AGAIN}; raise round_deadline_s where a round takes longer",
    "TDZ-CONFLICT": "choose another id under result.model, or wait until the other run has ended",
    "TDZ-STORAGE": "an administrator makes room; then start it again",
    "TDZ-PEER-UNAVAILABLE": f"{_AGAIN} once the other zone answers",
}


def remedy_of(reason: str) -> str:
    """What to do about a run that ended for this reason; empty for no reason."""
    return REMEDIES.get(reason, _ASK) if reason else ""
