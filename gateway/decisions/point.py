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

from gateway.decisions.compile_errors import readable
from gateway.decisions.engine import EmbeddedEngine, Engine
from gateway.decisions.engines import Engines
from gateway.decisions.in_force import PolicyInForce
from gateway.decisions.loaded import Borrowed, LoadedPolicy
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import ConfigError, DecisionUnavailableError, InputError
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

_WITHOUT: Final = "House rule; without a decision nothing is allowed: "
_NO_TEXT: Final = "the policy engine failed: <error>"
_TWO_VALUES: Final = "the engine failed on a rule, as it does where one rule comes to two values"
_STRICTNESS: Final = {"deny": 0, "review": 1, "warn": 2, "info": 3}
_PATHS_MAX: Final = 32
_NO_DECISION: Final = frozenset({"TDZ-DECISION-UNAVAILABLE", "TDZ-INPUT-INCOMPLETE", "TDZ-NO-MATCH", "TDZ-OBLIGATION"})
"""Findings that a complete, consistent input never comes to under a policy that works."""


class DecisionPoint:
    """Decides for one zone.

    Args:
        policy: the policy in force at the start: a policy directory, or the zone's own part of one.
        zone: the zone whose decision this is.
        engine: evaluates this first policy and is somebody else's to end; where none is given, `engines` makes one.
        engines: make the engines of policies, which this manages; the embedded engine unless others are given.
        enforces: the obligation kinds that this gateway fulfils on `transfer_dataset`; others deny there.
        deadline_s: seconds for one evaluation.
    """

    def __init__(
        self,
        policy: PolicySet | ZonePolicy,
        zone: str,
        *,
        engine: Engine | None = None,
        engines: Engines | None = None,
        enforces: frozenset[str] = OBLIGATION_KINDS - NOT_YET_ENFORCED,
        deadline_s: float = DECISION_DEADLINE_S,
    ) -> None:
        self._engines = engines or Engines(lambda of: EmbeddedEngine(of, deadline_s=deadline_s))
        at_start = policy.for_zone(zone) if isinstance(policy, PolicySet) else policy
        deciding = self._engines.deciding(at_start) if engine is None else Borrowed(engine)
        self._in_force = PolicyInForce(LoadedPolicy(at_start, deciding), self._engines)
        self._enforces = enforces

    @property
    def policy(self) -> ZonePolicy:
        """The policy in force: digest, data revision, packs and their dates."""
        return self._in_force.loaded.policy

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the embedded engine's workers."""
        engine = self._in_force.loaded.engine
        return engine.worker_pids if isinstance(engine, EmbeddedEngine) else ()

    @property
    def engine_state(self) -> str:
        """How the engine is, in words for an operator."""
        return self._in_force.state

    async def start(self) -> None:
        """Start the engine.

        Raises:
            ConfigError: the policy does not compile.
            DecisionUnavailableError: the engine cannot be started.
        """
        loaded = self._in_force.loaded
        try:
            await loaded.engine.start()
        except ConfigError as error:
            raise readable(error, loaded.policy.modules) from error

    async def in_force(self, timeout_s: float) -> None:
        """Return once the engine evaluates the policy in force.

        Raises:
            DecisionUnavailableError: it does not in time.
        """
        await self._in_force.loaded.engine.in_force(timeout_s)

    async def close(self) -> None:
        """End the engine; later decisions deny."""
        await self._in_force.close()

    # --- another policy -----------------------------------------------------------------------------------

    async def prepare(
        self,
        policy: ZonePolicy,
        trials: Iterable[Mapping[str, Any]] = (),
        trying: Callable[[int], None] = lambda _: None,
    ) -> LoadedPolicy:
        """Start an engine of its own for a policy that is not in force yet, and try it there.

        Args:
            policy: the policy.
            trials: complete policy inputs; each must come to a decision, whatever it is.
            trying: hears before each of them how many are done.

        Raises:
            ConfigError: it does not compile, or a trial comes to no decision or to an obligation nobody knows.
            DecisionUnavailableError: the engine cannot be started.
        """
        loaded = LoadedPolicy(policy, self._engines.own(policy))
        try:
            await loaded.engine.start()
            for done, document in enumerate(trials):
                trying(done)
                decision = await self._decide(loaded, document, enforces=OBLIGATION_KINDS)
                failed = next((each for each in decision.findings if each.code in _NO_DECISION), None)
                if failed is not None:
                    action = document["request"]["action"]
                    why = failed.cite.removeprefix(_WITHOUT).replace(_NO_TEXT, _TWO_VALUES)
                    raise ConfigError(
                        f"the policy was tried on an example of {action} and came to {failed.code}: {why}",
                        remedy="try its directory with `tdz policy check` and `tdz policy eval`; "
                        "the previous policy stays in force",
                    )
        except BaseException as error:
            await loaded.engine.close()
            if isinstance(error, ConfigError):
                raise readable(error, policy.modules) from error
            raise
        return loaded

    def switch(self, loaded: LoadedPolicy) -> None:
        """Decide on a prepared policy from now on; see `PolicyInForce`."""
        self._in_force.switch(loaded)

    def withhold(self, why: str) -> None:
        """Deny everything from now on: it is not known which policy is in force."""
        self._in_force.withhold(why)

    async def decide(self, document: PolicyInput | Mapping[str, Any]) -> Decision:
        """Decide on one input; never raises for what the input, the policy or the engine did.

        Args:
            document: the policy input, or a document that claims to be one.
        """
        loaded = self._in_force.loaded
        with loaded.at_work():
            return await self._decide(loaded, document, enforces=self._enforces)

    async def _decide(
        self, loaded: LoadedPolicy, document: PolicyInput | Mapping[str, Any], *, enforces: frozenset[str]
    ) -> Decision:
        policy = loaded.policy
        try:
            parsed = document if isinstance(document, PolicyInput) else PolicyInput.model_validate(document)
        except ValidationError as error:
            return _denied(policy, _incomplete(error), input_digest=_digest(document))
        except RecursionError:
            return _denied(policy, _finding("TDZ-INPUT-INCOMPLETE", "nested too deep"), input_digest="")
        try:
            body = canonical.encode(parsed.document())
        except CanonicalError as error:
            return _denied(policy, _finding("TDZ-INPUT-INCOMPLETE", str(error)), input_digest="")
        input_digest = hashlib.sha256(body).hexdigest()
        if len(body) > DECISION_INPUT_MAX:
            reason = f"the input is longer than {DECISION_INPUT_MAX} bytes"
            return _denied(policy, _finding("TDZ-INPUT-INCOMPLETE", reason), input_digest=input_digest)
        if policy.until and parsed.request.now >= policy.until:
            return _denied(policy, _out_of_date(), input_digest=input_digest)
        try:
            answer = await loaded.engine.evaluate(body)
            return self._decision(policy, answer, parsed, input_digest, enforces)
        except DecisionUnavailableError as error:
            return _denied(policy, _finding("TDZ-DECISION-UNAVAILABLE", error.message), input_digest=input_digest)
        except InputError as error:
            reason = f"the policy's answer is no decision: {error.message}"
            return _denied(policy, _finding("TDZ-DECISION-UNAVAILABLE", reason), input_digest=input_digest)

    def _decision(
        self, policy: ZonePolicy, answer: object, document: PolicyInput, input_digest: str, enforces: frozenset[str]
    ) -> Decision:
        """Read the engine's answer as strictly as a peer's; what is not understood denies."""
        if not isinstance(answer, dict):
            raise InputError("not an object")
        decision = Decision.from_json(
            {
                **answer,
                "input_digest": input_digest,
                "decision_id": uuid7(),
                "zone": policy.zone,
                "policy_digest": policy.digest,
                "data_revision": policy.data_revision,
            }
        )
        findings = list(decision.findings)
        if decision.effect != "deny":
            request = document.request
            findings.extend(_unfulfillable(decision.obligations, request.action, request.now, enforces))
        effect = strictest((decision.effect, *(finding.effect for finding in findings)))
        return Decision(
            effect=effect,
            findings=tuple(sorted(findings, key=lambda f: (_STRICTNESS[f.effect], f.code, f.fields))),
            # Sets in the policy: each engine lists them in an order of its own.
            obligations=() if effect == "deny" else tuple(sorted(decision.obligations, key=_in_order)),
            packs=decision.packs,
            input_digest=decision.input_digest,
            decision_id=decision.decision_id,
            zone=decision.zone,
            policy_digest=decision.policy_digest,
            data_revision=decision.data_revision,
        )

    def bind(self, decision: Decision, obligations: Iterable[Obligation], *, action: str, now: int) -> Decision:
        """A decision with further obligations, those of an owner's terms; what cannot be fulfilled denies.

        Args:
            decision: this zone's decision.
            obligations: added to its own.
            action: of the policy input.
            now: of the policy input.
        """
        bound = combine((*decision.obligations, *obligations))
        found = tuple(_unfulfillable(bound, action, now, self._enforces))
        effect = strictest((decision.effect, *(finding.effect for finding in found)))
        findings = tuple(dict.fromkeys((*decision.findings, *found)))
        return replace(decision, effect=effect, findings=findings, obligations=bound)


def _in_order(obligation: Obligation) -> bytes:
    return canonical.encode(obligation.to_json())  # the kind comes first in it


def _unfulfillable(
    obligations: tuple[Obligation, ...], action: str, now: int, enforces: frozenset[str]
) -> list[Finding]:
    found = [obligation_finding(reason) for reason in (o.unknown() for o in obligations) if reason]
    if any(_at(each) <= now for each in obligations if each.kind == "delete_by" and not each.unknown()):
        late = "delete_by asks that the data be deleted before it may be used"
        found.append(obligation_finding(late, remedy="ask the zone's administrator which rule sets the date"))
    if action == "transfer_dataset":
        found.extend(
            obligation_finding(
                f"this gateway cannot fulfil {obligation.kind} on a transfer",
                remedy="ask for the data in a form that needs no such obligation, or for a job instead",
            )
            for obligation in obligations
            if obligation.kind in OBLIGATION_KINDS - enforces
        )
    return found


def _at(delete_by: Obligation) -> int:
    at = delete_by.params["at"]
    return at if isinstance(at, int) else 0


def _denied(policy: ZonePolicy, finding: Finding, *, input_digest: str) -> Decision:
    return Decision(
        effect="deny",
        findings=(finding,),
        obligations=(),
        packs=tuple(PackVerdict(pack.id, pack.revision, pack.valid_until, "incomplete") for pack in policy.packs),
        input_digest=input_digest,
        decision_id=uuid7(),
        zone=policy.zone,
        policy_digest=policy.digest,
        data_revision=policy.data_revision,
    )


def _out_of_date() -> Finding:
    return Finding(
        code="TDZ-PACK-EXPIRED",
        effect="deny",
        authority="house",
        cite="House rule; a bundle that counsel has not looked at since its date decides nothing",
        remedy="Activate a current revision of the bundle (tdz policy status shows which)",
        fields=("request.now",),
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
        cite=f"{_WITHOUT}{' '.join(reason.split())}"[:1_000],
        remedy=remedies[code],
        fields=tuple(path[:200] for path in fields),
    )


def _digest(document: object) -> str:
    """The digest of what came, where it has a canonical form."""
    try:
        return canonical.digest(document)  # type: ignore[arg-type]
    except (CanonicalError, RecursionError):
        return ""
