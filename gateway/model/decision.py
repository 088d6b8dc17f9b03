"""A zone's decision, the form of it that crosses the border, and how several decisions make one outcome."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final, Literal, TypeVar, get_args

from gateway.errors import InputError
from gateway.model.canonical import JsonValue
from gateway.model.ids import parse_uuid7
from gateway.model.limits import FINDINGS_MAX, OBLIGATIONS_MAX
from gateway.model.obligation import OBLIGATION_KINDS, Obligation, combine

__all__ = [
    "EFFECTS",
    "OBLIGATION_KINDS",
    "Authority",
    "Decision",
    "Effect",
    "Finding",
    "FindingEffect",
    "Obligation",
    "Outcome",
    "PackVerdict",
    "Verdict",
    "compose",
    "strictest",
]

Effect = Literal["allow", "review", "deny"]
FindingEffect = Literal["info", "warn", "review", "deny"]
Authority = Literal["binding", "advisory", "house"]
Verdict = Literal["pass", "review", "deny", "not_applicable", "incomplete"]

EFFECTS: Final[tuple[Effect, ...]] = ("allow", "review", "deny")
"""From the mildest to the strictest."""

_PACKS_MAX: Final = 16
_FIELDS_MAX: Final = 64
_TEXT_MAX: Final = 2_000
_DIGEST: Final = re.compile(r"[0-9a-f]{64}")
_CODE: Final = re.compile(r"[A-Z]{2,8}(-[A-Z0-9]{2,16}){1,4}")

# What only the own ledger may show. China's commerce ministry (21 May 2025) says that implementing the US
# guidance may breach Anti-Foreign Sanctions Law art 12, so the pack's very id stays at home.
_HOME_PACKS: Final = frozenset({"us"})
_HOME_CODES: Final = "RF-"
_SCREENING: Final = "TDZ-SCREENING"
_NOT_ELIGIBLE: Final = "TDZ-NOT-ELIGIBLE"
_OWN_TEXTS: Final[Mapping[str, str]] = {
    "TDZ-INPUT-INCOMPLETE": "House rule; a fact is missing, mistyped or contradicts another",
    "TDZ-DECISION-UNAVAILABLE": "House rule; without a decision nothing is allowed",
    "TDZ-OBLIGATION": "House rule; what cannot be fulfilled is not allowed",
}


@dataclass(frozen=True, slots=True)
class Finding:
    """One reason: what was found, with which effect, on which authority, and what would mend it.

    Args:
        code: stable reason code, `CN-CBDF-MECH`.
        effect: what the finding asks for.
        authority: binding law, advice, or a rule of the house.
        cite: where the rule stands.
        remedy: what would mend it; empty where nothing would.
        fields: paths of the policy input that the rule looked at.
    """

    code: str
    effect: FindingEffect
    authority: Authority
    cite: str
    remedy: str
    fields: tuple[str, ...] = ()

    def to_json(self) -> dict[str, Any]:
        """The finding as plain JSON values."""
        return {
            "code": self.code,
            "effect": self.effect,
            "authority": self.authority,
            "cite": self.cite,
            "remedy": self.remedy,
            "fields": list(self.fields),
        }

    @classmethod
    def from_json(cls, value: object) -> Finding:
        """Read a finding.

        Raises:
            InputError: members missing or extra, or a value that is not of its enumeration.
        """
        doc = _closed(value, "finding", ("code", "effect", "authority", "cite", "remedy", "fields"))
        code = _text(doc["code"], "finding.code")
        if _CODE.fullmatch(code) is None:
            raise InputError(f"finding.code {code[:40]!r} is no reason code such as ZONE-PURPOSE")
        return cls(
            code=code,
            effect=_one_of(doc["effect"], get_args(FindingEffect), "finding.effect"),
            authority=_one_of(doc["authority"], get_args(Authority), "finding.authority"),
            cite=_text(doc["cite"], "finding.cite"),
            remedy=_text(doc["remedy"], "finding.remedy"),
            fields=_list(doc["fields"], "finding.fields", _FIELDS_MAX, lambda v: _text(v, "finding.fields")),
        )

    def for_peer(self) -> Finding:
        """The finding without fields; a screening result is not told across the border.

        Texts that the gateway wrote about this very input, not taken from a rule, are left out too.
        """
        if self.code == _SCREENING or self.code in _OWN_TEXTS:
            return Finding(
                code=_NOT_ELIGIBLE if self.code == _SCREENING else self.code,
                effect=self.effect,
                authority="house",
                cite=_OWN_TEXTS.get(self.code, "House rule of the deciding zone"),
                remedy="Ask the administrator of the deciding zone",
            )
        return replace(self, fields=())


@dataclass(frozen=True, slots=True)
class PackVerdict:
    """What one pack answered. Revisions are dated serial numbers; `valid_until` is Unix seconds UTC."""

    id: str
    revision: str
    valid_until: int
    verdict: Verdict

    def to_json(self) -> dict[str, Any]:
        """The verdict as plain JSON values."""
        return {
            "id": self.id,
            "revision": self.revision,
            "valid_until": self.valid_until,
            "verdict": self.verdict,
        }

    @classmethod
    def from_json(cls, value: object) -> PackVerdict:
        """Read a pack's verdict.

        Raises:
            InputError: members missing or extra, or a value of another type.
        """
        doc = _closed(value, "pack", ("id", "revision", "valid_until", "verdict"))
        if type(doc["valid_until"]) is not int or doc["valid_until"] < 0:
            raise InputError("pack.valid_until is Unix seconds")
        return cls(
            id=_text(doc["id"], "pack.id"),
            revision=_text(doc["revision"], "pack.revision"),
            valid_until=doc["valid_until"],
            verdict=_one_of(doc["verdict"], get_args(Verdict), "pack.verdict"),
        )


@dataclass(frozen=True, slots=True)
class Decision:
    """One zone's decision on one policy input.

    Args:
        effect: allow, review or deny.
        findings: the reasons, the strictest first.
        obligations: what must be done where the effect is not deny.
        packs: the packs that answered.
        input_digest: SHA-256 over the canonical policy input; empty where what came has no canonical form.
        decision_id: UUIDv7.
        zone: the zone that decided.
        policy_digest: SHA-256 over the policy files in force; empty where none was.
        data_revision: SHA-256 over the policy's data documents in force; empty where there were none.
    """

    effect: Effect
    findings: tuple[Finding, ...]
    obligations: tuple[Obligation, ...]
    packs: tuple[PackVerdict, ...]
    input_digest: str
    decision_id: str
    zone: str
    policy_digest: str
    data_revision: str

    def to_json(self) -> dict[str, Any]:
        """The decision as plain JSON values, which have a canonical form."""
        return {
            "effect": self.effect,
            "findings": [finding.to_json() for finding in self.findings],
            "obligations": [obligation.to_json() for obligation in self.obligations],
            "packs": [pack.to_json() for pack in self.packs],
            "input_digest": self.input_digest,
            "decision_id": self.decision_id,
            "zone": self.zone,
            "policy_digest": self.policy_digest,
            "data_revision": self.data_revision,
        }

    @classmethod
    def from_json(cls, value: object) -> Decision:
        """Read a decision; nothing unknown passes but the kind of an obligation, which `compose` refuses.

        Raises:
            InputError: members missing or extra, an unknown effect, too many items, or effect and findings
                that contradict each other.
        """
        doc = _closed(value, "decision", tuple(cls.__slots__))
        decision = cls(
            effect=_one_of(doc["effect"], EFFECTS, "decision.effect"),
            findings=_list(doc["findings"], "decision.findings", FINDINGS_MAX, Finding.from_json),
            obligations=_list(doc["obligations"], "decision.obligations", OBLIGATIONS_MAX, Obligation.from_json),
            packs=_list(doc["packs"], "decision.packs", _PACKS_MAX, PackVerdict.from_json),
            input_digest=_digest(doc["input_digest"], "decision.input_digest"),
            decision_id=parse_uuid7(doc["decision_id"]),
            zone=_text(doc["zone"], "decision.zone"),
            policy_digest=_digest(doc["policy_digest"], "decision.policy_digest"),
            data_revision=_digest(doc["data_revision"], "decision.data_revision"),
        )
        if EFFECTS.index(decision.effect) < EFFECTS.index(strictest(f.effect for f in decision.findings)):
            raise InputError(f"decision.effect is {decision.effect}, but a finding asks for more")
        return decision

    def for_peer(self) -> Decision:
        """The decision as the other zone may see it.

        Left out: fields, screening results, advisory findings and packs of the home side, and the digests
        over facts and policy (a count could be guessed back from the one, a loaded pack from the other).
        """
        return replace(
            self,
            findings=tuple(f.for_peer() for f in self.findings if not f.code.startswith(_HOME_CODES)),
            packs=tuple(pack for pack in self.packs if pack.id not in _HOME_PACKS),
            input_digest="",
            policy_digest="",
            data_revision="",
        )


@dataclass(frozen=True, slots=True)
class Outcome:
    """What several decisions come to together."""

    effect: Effect
    findings: tuple[Finding, ...]
    obligations: tuple[Obligation, ...]


def strictest(effects: Iterable[str]) -> Effect:
    """The strictest of effects of findings or decisions; info and warn allow, anything unknown denies."""
    result: Effect = "allow"
    for effect in effects:
        if effect == "review" and result == "allow":
            result = "review"
        elif effect not in {"allow", "info", "warn", "review"}:
            return "deny"
    return result


def compose(*decisions: Decision) -> Outcome:
    """Compose decisions, those of two zones on one request or those on the datasets of one job.

    deny > review > allow; obligations add up; nothing at all denies; an obligation that is not understood
    denies (`TDZ-OBLIGATION`). The order of the arguments does not change the effect or the obligations.
    """
    if not decisions:
        return Outcome("deny", (_NO_DECISION,), ())
    findings = list(dict.fromkeys(finding for decision in decisions for finding in decision.findings))
    effect = strictest(decision.effect for decision in decisions)
    obligations = combine(obligation for decision in decisions for obligation in decision.obligations)
    unknown = [reason for reason in (obligation.unknown() for obligation in obligations) if reason]
    if unknown:
        findings.append(obligation_finding("; ".join(unknown)))
        effect = "deny"
    return Outcome(effect, tuple(findings), obligations)


def obligation_finding(reason: str, *, remedy: str = "") -> Finding:
    """The denial for an obligation that cannot be fulfilled."""
    return Finding(
        code="TDZ-OBLIGATION",
        effect="deny",
        authority="house",
        cite=f"what cannot be fulfilled is not allowed: {reason}"[:_TEXT_MAX],
        remedy=remedy or "ask for what this gateway can fulfil, or update the gateway",
    )


_NO_DECISION: Final = Finding(
    code="TDZ-NO-MATCH",
    effect="deny",
    authority="house",
    cite="nobody decided, so nothing is allowed",
    remedy="report this to the zone's administrator",
)

_T = TypeVar("_T")


def _closed(value: object, name: str, members: tuple[str, ...]) -> Mapping[str, Any]:
    if not isinstance(value, dict):
        raise InputError(f"{name} is not an object")
    if set(value) != set(members):
        odd = sorted(str(key) for key in set(value) ^ set(members))
        raise InputError(f"{name}: members missing or unknown: {', '.join(odd)[:200]}")
    return value


def _one_of(value: object, allowed: tuple[Any, ...], name: str) -> Any:
    if not isinstance(value, str) or value not in allowed:
        raise InputError(f"{name} is none of {', '.join(allowed)}")
    return value


def _text(value: object, name: str) -> str:
    if not isinstance(value, str) or len(value) > _TEXT_MAX:
        raise InputError(f"{name} is not a text of at most {_TEXT_MAX} characters")
    return value


def _digest(value: object, name: str) -> str:
    if not isinstance(value, str) or (value and _DIGEST.fullmatch(value) is None):
        raise InputError(f"{name} is not a SHA-256 in hexadecimal")
    return value


def _list(value: JsonValue, name: str, limit: int, read: Callable[[object], _T]) -> tuple[_T, ...]:
    if not isinstance(value, list) or len(value) > limit:
        raise InputError(f"{name} is not a list of at most {limit}")
    return tuple(read(item) for item in value)
