"""What was recorded against what the policy says now. No I/O.

The gateway adds to a policy's answer and never takes from it: its own findings (an owner's terms, a clock, what it
cannot fulfil), which no code document of the policy explains, and an owner's obligations. So policy's findings must be
the same ones, policy's obligations must all be there, and the effect must be the strictest of both.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.errors import IncompleteError
from ledger.replay.policy import KeptPolicy
from ledger.replay.record import Record

__all__ = ["Replayed", "judge"]

_ORDER: Final = ("allow", "review", "deny")
_MILD: Final = {"info": "allow", "warn": "allow"}
_INCOMPLETE: Final = "TDZ-INPUT-INCOMPLETE"


@dataclass(slots=True)
class Replayed:
    """The comparison.

    Args:
        effect: recorded, and what it comes to now.
        codes: of policy's findings, recorded.
        differences: one line each; empty where it is the same verdict.
        gateways: the gateway's own findings, which policy knows nothing of.
        further: kinds of obligations that the record has besides policy's: an owner's.
    """

    effect: tuple[str, str]
    codes: list[str]
    differences: list[str] = field(default_factory=list)
    gateways: list[str] = field(default_factory=list)
    further: list[str] = field(default_factory=list)

    @property
    def same(self) -> bool:
        """Whether it is the same verdict."""
        return not self.differences


def judge(record: Record, policy: KeptPolicy, answer: Any) -> Replayed:
    """Compare a record with a policy's answer to its input.

    Raises:
        IncompleteError: the answer is no decision, or policy was not asked then.
    """
    if not isinstance(answer, dict) or not all(isinstance(answer.get(n), list) for n in ("findings", "obligations")):
        raise IncompleteError("the policy gives no decision on this input")
    decision = record.decision
    policys = [each for each in decision["findings"] if _explained(each, policy)]
    gateways = [each for each in decision["findings"] if not _explained(each, policy)]
    _require_asked(decision, policys, gateways, answer)
    effect = _strictest([str(answer.get("effect")), *(str(each["effect"]) for each in gateways)])
    found = Replayed(
        effect=(decision["effect"], effect),
        codes=sorted({str(each["code"]) for each in policys}),
        gateways=sorted({str(each["code"]) for each in gateways}),
    )
    if found.effect[0] != effect:
        found.differences.append(f"effect: recorded {found.effect[0]}, now {effect}")
    if not (_codes(gateways) & {_INCOMPLETE}):  # the gateway found it first, and says more of it than policy
        _compare(found, "finding", map(_finding, policys), map(_finding, answer["findings"]))
        _compare(found, "pack", map(_pack, decision["packs"]), map(_pack, answer.get("packs", [])))
    if decision["effect"] != "deny":
        _obligations(found, decision["obligations"], answer["obligations"])
    return found


def _explained(finding: Mapping[str, Any], policy: KeptPolicy) -> bool:
    """Whether the policy's words stand behind a finding; the zone's own may be without any."""
    words = policy.words.get(str(finding.get("code")))
    if words is None:
        return finding.get("cite") == "A rule of the zone without a citation"
    return finding.get("cite") == words.get("cite")


def _require_asked(
    decision: Mapping[str, Any],
    policys: list[Mapping[str, Any]],
    gateways: list[Mapping[str, Any]],
    answer: Mapping[str, Any],
) -> None:
    """A gateway that could not ask the policy denies: there is nothing to compare."""
    asked = policys or not gateways or any(pack.get("verdict") != "incomplete" for pack in decision["packs"])
    if asked or _INCOMPLETE in _codes(gateways) & _codes(answer["findings"]):
        return
    raise IncompleteError(
        f"the gateway denied without policy ({', '.join(sorted(_codes(gateways)))}); "
        f"policy says {answer.get('effect')} to this input"
    )


def _codes(findings: list[Any]) -> set[str]:
    return {str(each.get("code")) for each in findings}


def _finding(finding: Mapping[str, Any]) -> str:
    fields = ", ".join(sorted(map(str, finding.get("fields", ()))))
    return f"{finding.get('code')} {finding.get('effect')} ({fields})"


def _pack(pack: Mapping[str, Any]) -> str:
    return f"{pack.get('id')} {pack.get('revision')}: {pack.get('verdict')}"


def _compare(found: Replayed, what: str, recorded: Any, now: Any) -> None:
    before, after = set(recorded), set(now)
    found.differences += [f"{what}: recorded {each}, not now" for each in sorted(before - after)]
    found.differences += [f"{what}: now {each}, not recorded" for each in sorted(after - before)]


def _obligations(found: Replayed, recorded: list[Any], now: list[Any]) -> None:
    """Each of policy's stands in the record, as it is or combined with an owner's of its kind."""
    kinds = {str(each.get("kind")) for each in recorded}
    mine = {str(each.get("kind")) for each in now}
    found.differences += [f"obligation: now {kind}, not recorded" for kind in sorted(mine - kinds)]
    found.further = sorted(kinds - mine)
    found.further += sorted(
        {str(each.get("kind")) for each in now if each not in recorded and str(each.get("kind")) in kinds}
    )


def _strictest(effects: list[str]) -> str:
    known = [_MILD.get(each, each) for each in effects]
    return max((each if each in _ORDER else "deny" for each in known), key=_ORDER.index)
