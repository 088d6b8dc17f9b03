"""A decision explained: which rule, on which values, where it is written, and what would change it.

Every sentence comes from the decision, the rule's METADATA, the input, or from trying a change.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from pydantic import ValidationError

from gateway.decisions.authoring.evaluating import DEADLINE_S, Answer, Evaluators
from gateway.decisions.authoring.paths import lookup
from gateway.decisions.authoring.rules import Rule, rules_of
from gateway.decisions.authoring.what_if import Mend, Near, WhatIf, day
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from gateway.model.decision import OBLIGATION_KINDS, Decision, Finding
from gateway.model.policy_facts import TIME_MAX_S, Mechanism

_SHOWN: Final = 160
_INCOMPLETE: Final = "TDZ-INPUT-INCOMPLETE"
_TIMES: Final = ("request.now", "_at", "_until")


@dataclass(frozen=True, slots=True)
class Reason:
    """One finding, explained.

    Args:
        finding: as it was decided.
        rule: where it is written; None for a finding that the gateway itself made.
        values: path and value of each fact that the rule looked at.
        mends: single changes with which it would not stand.
    """

    finding: Finding
    rule: Rule | None
    values: tuple[tuple[str, str], ...]
    mends: tuple[Mend, ...]


@dataclass(frozen=True, slots=True)
class Explanation:
    """A whole decision, explained."""

    decision: Decision
    reasons: tuple[Reason, ...]
    near: tuple[Near, ...]

    def to_json(self) -> dict[str, Any]:
        """The explanation as plain JSON values."""
        return {
            "decision": self.decision.to_json(),
            "reasons": [
                {
                    "code": reason.finding.code,
                    "effect": reason.finding.effect,
                    "rule": asdict(reason.rule) if reason.rule else None,
                    "values": dict(reason.values),
                    "would_not_stand_if": [asdict(mend) for mend in reason.mends],
                }
                for reason in self.reasons
            ],
            "near": [asdict(near) for near in self.near],
        }


async def explain(
    policy_set: PolicySet, zone: str, document: Mapping[str, Any], *, try_changes: bool = True
) -> Explanation:
    """Decide as a gateway would, and explain it.

    Args:
        policy_set: the policy.
        zone: that decides.
        document: a policy input, or what claims to be one.
        try_changes: put changed inputs to the policy, some hundred at most.

    Raises:
        ConfigError: the policy cannot be loaded.
        DecisionUnavailableError: the engine cannot be started, or fails on a changed input.
    """
    point = DecisionPoint(policy_set, zone, enforces=OBLIGATION_KINDS, deadline_s=DEADLINE_S)
    await point.start()
    try:
        decision = await point.decide(document)
    finally:
        await point.close()
    mends: dict[Finding, list[Mend]] = {}
    near: list[Near] = []
    complete = all(finding.code != _INCOMPLETE for finding in decision.findings)
    if try_changes and complete and not _engine_failed(decision):
        async with Evaluators(point.policy) as evaluators:
            answer: Answer = await evaluators.one(dict(document))
            what_if = WhatIf(evaluators, document, answer)
            for finding in decision.findings:
                if finding.effect in {"deny", "review"}:
                    mends[finding] = await what_if.mends(finding)
            near = await what_if.near()
    rules = await rules_of(point.policy, document, {finding.code for finding in decision.findings})
    reasons = tuple(
        Reason(
            finding,
            rules.get(finding.code),
            tuple((path, shown(lookup(document, path), path)) for path in finding.fields),
            tuple(mends.get(finding, ())),
        )
        for finding in decision.findings
    )
    return Explanation(decision, reasons, tuple(near))


def shown(value: Any, path: str = "") -> str:
    """A value in one short line; a time as people write it, by the name of its field."""
    if value is None:
        return "not there"
    if type(value) is int and path.endswith(_TIMES):
        return day(value) if 0 < value <= TIME_MAX_S else f"{value} (no date)"
    if type(value) is int and path.endswith(".year"):
        return str(value)
    if mechanisms := _mechanisms(value):
        return "; ".join(_mechanism(each) for each in mechanisms)
    if type(value) is int:
        return f"{value:,}"
    text = value if isinstance(value, str) and value else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= _SHOWN else f"{text[:_SHOWN]}… ({len(text):,} characters)"


def _mechanisms(value: Any) -> list[Mechanism]:
    """The mechanisms in a list of nothing else."""
    try:
        return [Mechanism.model_validate(each) for each in value] if isinstance(value, list) else []
    except ValidationError:
        return []


def _mechanism(each: Mechanism) -> str:
    dates = f"{day(each.issued_at)[:10]} to {day(each.expires_at)[:10]}" if each.expires_at else "no dates"
    purposes = each.scope.purposes
    covers = f"{', '.join(each.scope.dataset_ids) or 'nothing'} to {each.scope.recipient_id}"
    meant = f"{len(purposes)} purposes" if len(purposes) > 2 else " and ".join(purposes) or "no purpose"
    return f"{each.kind} {each.ref} ({dates}, verified by {each.verified_by}; {covers} for {meant})"


def _engine_failed(decision: Decision) -> bool:
    return any(finding.code == "TDZ-DECISION-UNAVAILABLE" for finding in decision.findings)
