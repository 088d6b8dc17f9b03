"""The decision point: a document in, a decision out, whatever happens.

Nothing that goes wrong with the input, the policy or the engine becomes an exception or an allowance: it becomes
a denial with its reason, which the caller records as any other decision.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Mapping
from dataclasses import replace
from typing import Any, Final

from pydantic import ValidationError

from gateway.decisions.engine import EmbeddedEngine, Engine
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import DecisionUnavailableError, InputError
from gateway.model import canonical
from gateway.model.canonical import CanonicalError
from gateway.model.decision import (
    OBLIGATION_KINDS,
    Decision,
    Finding,
    Obligation,
    PackVerdict,
    obligation_finding,
    strictest,
)
from gateway.model.ids import uuid7
from gateway.model.limits import DECISION_DEADLINE_S, DECISION_INPUT_MAX
from gateway.model.obligation import combine
from gateway.model.policy_input import PolicyInput, problems

NOT_YET_ENFORCED: Final = frozenset({"mask_columns", "row_filter", "aggregate_only"})
"""What a governed view must do before a dataset may be transferred under it; jobs have their own road."""

_STRICTNESS: Final = {"deny": 0, "review": 1, "warn": 2, "info": 3}
_PATHS_MAX: Final = 32


class DecisionPoint:
    """Decides for one zone.

    Args:
        policy_set: the policy in force.
        zone: the zone whose decision this is.
        engine: evaluates the policy, started and closed by who gives it.
        engines: makes the engine where none is given, which `start` and `close` manage; the embedded one unless said.
        enforces: the obligation kinds that this gateway fulfils on `transfer_dataset`; others deny there.
        deadline_s: seconds for one evaluation.
    """

    def __init__(
        self,
        policy_set: PolicySet,
        zone: str,
        *,
        engine: Engine | None = None,
        engines: Callable[[ZonePolicy], Engine] | None = None,
        enforces: frozenset[str] = OBLIGATION_KINDS - NOT_YET_ENFORCED,
        deadline_s: float = DECISION_DEADLINE_S,
    ) -> None:
        self._policy = policy_set.for_zone(zone)
        make = engines or (lambda policy: EmbeddedEngine(policy, deadline_s=deadline_s))
        self._own = make(self._policy) if engine is None else None
        self._engine = engine if engine is not None else self._own
        self._enforces = enforces

    @property
    def policy(self) -> ZonePolicy:
        """The policy in force: digest, data revision, packs and their dates."""
        return self._policy

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the embedded engine's workers."""
        return self._own.worker_pids if isinstance(self._own, EmbeddedEngine) else ()

    @property
    def engine_state(self) -> str:
        """How the engine is, in words for an operator."""
        return self._engine.state if self._engine is not None else "none"

    async def start(self) -> None:
        """Start the engine.

        Raises:
            ConfigError: the policy does not compile.
            DecisionUnavailableError: the engine cannot be started.
        """
        if self._own is not None:
            await self._own.start()

    async def close(self) -> None:
        """End the engine; later decisions deny."""
        if self._own is not None:
            await self._own.close()

    async def decide(self, document: PolicyInput | Mapping[str, Any]) -> Decision:
        """Decide on one input; never raises for what the input, the policy or the engine did.

        Args:
            document: the policy input, or a document that claims to be one.
        """
        try:
            parsed = document if isinstance(document, PolicyInput) else PolicyInput.model_validate(document)
        except ValidationError as error:
            return self._deny(_incomplete(error), input_digest=_digest(document))
        except RecursionError:
            return self._deny(_finding("TDZ-INPUT-INCOMPLETE", "nested too deep"), input_digest="")
        try:
            body = canonical.encode(parsed.document())
        except CanonicalError as error:
            return self._deny(_finding("TDZ-INPUT-INCOMPLETE", str(error)), input_digest="")
        input_digest = hashlib.sha256(body).hexdigest()
        if len(body) > DECISION_INPUT_MAX:
            reason = f"the input is longer than {DECISION_INPUT_MAX} bytes"
            return self._deny(_finding("TDZ-INPUT-INCOMPLETE", reason), input_digest=input_digest)
        try:
            if self._engine is None:
                raise DecisionUnavailableError("there is no policy engine")
            answer = await self._engine.evaluate(body)
            return self._decision(answer, parsed, input_digest)
        except DecisionUnavailableError as error:
            return self._deny(_finding("TDZ-DECISION-UNAVAILABLE", error.message), input_digest=input_digest)
        except InputError as error:
            reason = f"the policy's answer is no decision: {error.message}"
            return self._deny(_finding("TDZ-DECISION-UNAVAILABLE", reason), input_digest=input_digest)

    def _decision(self, answer: object, document: PolicyInput, input_digest: str) -> Decision:
        """Read the engine's answer as strictly as a peer's; what is not understood denies."""
        if not isinstance(answer, dict):
            raise InputError("not an object")
        decision = Decision.from_json(
            {
                **answer,
                "input_digest": input_digest,
                "decision_id": uuid7(),
                "zone": self._policy.zone,
                "policy_digest": self._policy.digest,
                "data_revision": self._policy.data_revision,
            }
        )
        findings = list(decision.findings)
        if decision.effect != "deny":
            findings.extend(self._unfulfillable(decision.obligations, document.request.action))
        effect = strictest((decision.effect, *(finding.effect for finding in findings)))
        return Decision(
            effect=effect,
            findings=tuple(sorted(findings, key=lambda f: (_STRICTNESS[f.effect], f.code, f.fields))),
            obligations=() if effect == "deny" else decision.obligations,
            packs=decision.packs,
            input_digest=decision.input_digest,
            decision_id=decision.decision_id,
            zone=decision.zone,
            policy_digest=decision.policy_digest,
            data_revision=decision.data_revision,
        )

    def bind(self, decision: Decision, obligations: Iterable[Obligation], *, action: str) -> Decision:
        """A decision with further obligations, those of an owner's terms; what cannot be fulfilled denies.

        Args:
            decision: this zone's decision.
            obligations: added to its own.
            action: of the policy input.
        """
        bound = combine((*decision.obligations, *obligations))
        found = tuple(self._unfulfillable(bound, action))
        effect = strictest((decision.effect, *(finding.effect for finding in found)))
        findings = tuple(dict.fromkeys((*decision.findings, *found)))
        return replace(decision, effect=effect, findings=findings, obligations=bound)

    def _unfulfillable(self, obligations: tuple[Obligation, ...], action: str) -> list[Finding]:
        found = [obligation_finding(reason) for reason in (o.unknown() for o in obligations) if reason]
        if action == "transfer_dataset":
            found.extend(
                obligation_finding(
                    f"this gateway cannot fulfil {obligation.kind} on a transfer",
                    remedy="ask for the data in a form that needs no such obligation, or for a job instead",
                )
                for obligation in obligations
                if obligation.kind in OBLIGATION_KINDS - self._enforces
            )
        return found

    def _deny(self, finding: Finding, *, input_digest: str) -> Decision:
        return Decision(
            effect="deny",
            findings=(finding,),
            obligations=(),
            packs=tuple(
                PackVerdict(pack.id, pack.revision, pack.valid_until, "incomplete") for pack in self._policy.packs
            ),
            input_digest=input_digest,
            decision_id=uuid7(),
            zone=self._policy.zone,
            policy_digest=self._policy.digest,
            data_revision=self._policy.data_revision,
        )


def _incomplete(error: ValidationError) -> Finding:
    found = problems(error)
    fields = tuple(dict.fromkeys(path for problem in found for path in problem.fields))
    text = "; ".join(f"{', '.join(problem.fields)}: {problem.text}" for problem in found[:8])
    return _finding("TDZ-INPUT-INCOMPLETE", text, fields=fields[:_PATHS_MAX])


def _finding(code: str, reason: str, *, fields: tuple[str, ...] = ()) -> Finding:
    remedies = {
        "TDZ-INPUT-INCOMPLETE": "complete or correct the named fields; tdz policy example prints a complete document",
        "TDZ-DECISION-UNAVAILABLE": "try again; if it stays, report it to the zone's administrator",
    }
    return Finding(
        code=code,
        effect="deny",
        authority="house",
        cite=f"House rule; without a decision nothing is allowed: {' '.join(reason.split())}"[:1_000],
        remedy=remedies[code],
        fields=tuple(path[:200] for path in fields),
    )


def _digest(document: object) -> str:
    """The digest of what came, where it has a canonical form."""
    try:
        return canonical.digest(document)  # type: ignore[arg-type]
    except (CanonicalError, RecursionError):
        return ""
