"""Reviews: what a person was asked to approve, and which findings an approval lifts.

An approval is given for certain findings on certain facts under a certain policy. It lifts exactly these: a finding
that came later, another fact or another policy is not covered, and where anything denies it lifts nothing.
"""

from __future__ import annotations

import json
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final, Literal

from gateway.model import canonical
from gateway.model.decision import Decision, Finding, strictest

TERMS: Final = "TDZ-TERMS"
DENIED: Final = "TDZ-REVIEW"
_GATEWAY: Final = frozenset({TERMS, "TDZ-PEER", "TDZ-MIRROR-FULL", "TDZ-CLOCK", "TDZ-FORK", "TDZ-SAME-ZONE"})


class Holder(StrEnum):
    """Who answers: the administrators of a zone, or the institution that published."""

    ADMIN = "admin"
    OWNER = "owner"


class Process(StrEnum):
    """What waits for persons, by what its resource name begins with."""

    NEGOTIATION = "negotiations"
    RUN = "runs"


class ReviewKind(StrEnum):
    """What is asked: to approve what waits, or to look again at what was denied.

    An appeal that is overturned has the request decided anew. It lifts what persons denied in a review, and nothing
    else: what policy denies, by law or by a rule of the house, is denied again while facts and policy stay as they
    are. Policy has no obligations for what it denies, so nobody could say under which conditions it may go.
    """

    REVIEW = "review"
    APPEAL = "appeal"


class ReviewState(StrEnum):
    """Where a review stands. An appeal that is approved is overturned, one that is denied is upheld."""

    OPEN = "OPEN"
    APPROVED = "APPROVED"
    DENIED = "DENIED"
    EXPIRED = "EXPIRED"  # nobody answered, or what it was about has ended
    SUPERSEDED = "SUPERSEDED"  # decided anew on other facts or under another policy: another review stands for it


Verdict = Literal["approve", "deny"]


@dataclass(frozen=True, slots=True)
class Basis:
    """What an approval is bound to.

    Args:
        facts: SHA-256 over the policy input without what moves by itself; see `facts_digest`.
        policy: digest of the policy that decided; empty where the owner is asked, whose word no policy changes.
        data: revision of the policy's data; empty likewise.
        findings: SHA-256 of each finding that an approval lifts, sorted.
        codes: their reason codes, sorted.
    """

    facts: str
    policy: str
    data: str
    findings: tuple[str, ...]
    codes: tuple[str, ...]

    def to_json(self) -> dict[str, Any]:
        """As plain JSON values."""
        return {
            "facts": self.facts,
            "policy": self.policy,
            "data": self.data,
            "findings": list(self.findings),
            "codes": list(self.codes),
        }

    def encode(self) -> str:
        """Canonical JSON."""
        return canonical.encode(self.to_json()).decode()

    @classmethod
    def decode(cls, text: str) -> Basis:
        """Read what `encode` wrote."""
        document = json.loads(text)
        return cls(
            document["facts"],
            document["policy"],
            document["data"],
            tuple(document["findings"]),
            tuple(document["codes"]),
        )

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical JSON. It covers counts that could be guessed back, so it stays in its own zone."""
        return canonical.digest(self.to_json())


@dataclass(frozen=True, slots=True)
class Granted:
    """A review that was approved."""

    id: str
    holder: Holder
    basis: Basis


def facts_digest(document: Mapping[str, Any]) -> str:
    """What was decided on, without what moves though no fact does.

    Left out are the clock, the exporter's usage of the year (each other agreement moves it; a threshold that it
    crosses is a finding of its own), and which revision of the lists the recipient was screened against last (its
    result counts).
    """
    kept = {name: value for name, value in document.items() if name != "usage"}
    if isinstance(request := kept.get("request"), Mapping):
        kept["request"] = {name: value for name, value in request.items() if name != "now"}
    if isinstance(recipient := kept.get("recipient"), Mapping) and isinstance(recipient.get("screening"), Mapping):
        kept["recipient"] = {**recipient, "screening": {"result": recipient["screening"].get("result")}}
    return canonical.digest(kept)


def _covering(document: Mapping[str, Any]) -> frozenset[str]:
    """Digests of the facts that an approval may have been given on, to count for a decision on a document.

    What a run releases is decided on each time, on the run's facts with what the gateway measured beside them. So what
    was approved of the run holds for its releases, and what was approved of one release for that one alone.
    """
    found = {facts_digest(document)}
    request = document.get("request")
    if isinstance(request, Mapping) and request.get("action") == "release_output":
        found.add(facts_digest({**document, "request": {**request, "action": "run_job"}, "release": None}))
    return frozenset(found)


def waits_for(decision: Decision) -> Holder:
    """Who answers next: the owner before the administrators, who need not look at what the owner does not want."""
    owner = any(_of_owner(finding) for finding in decision.findings if finding.effect == "review")
    return Holder.OWNER if owner else Holder.ADMIN


def basis_of(decision: Decision, document: Mapping[str, Any], holder: Holder) -> Basis:
    """What an approval by a holder would be bound to: the findings that ask for a review by them.

    Args:
        decision: this zone's decision.
        document: the policy input that it was made on.
        holder: who is asked.
    """
    own = [f for f in decision.findings if f.effect == "review" and _of_owner(f) == (holder is Holder.OWNER)]
    policy = holder is Holder.ADMIN
    return Basis(
        facts=facts_digest(document),
        policy=decision.policy_digest if policy else "",
        data=decision.data_revision if policy else "",
        findings=tuple(sorted({_digest(finding) for finding in own})),
        codes=tuple(sorted({finding.code for finding in own})),
    )


def lift(
    decision: Decision, document: Mapping[str, Any], granted: Iterable[Granted]
) -> tuple[Decision, tuple[str, ...]]:
    """A decision with the findings lifted that were approved, and the reviews that lifted one.

    A lifted finding stays in the decision as a warning that names its approval. Where anything denies, or the effect
    is not what the findings ask for, nothing is lifted.

    Args:
        decision: this zone's fresh decision.
        document: the policy input that it was made on.
        granted: approved reviews of the same request.
    """
    if decision.effect != "review" or strictest(finding.effect for finding in decision.findings) != "review":
        return decision, ()
    facts = _covering(document)
    by: dict[tuple[str, bool], str] = {}
    for each in granted:
        owner = each.holder is Holder.OWNER
        if each.basis.facts not in facts:
            continue
        if not owner and (each.basis.policy, each.basis.data) != (decision.policy_digest, decision.data_revision):
            continue
        by.update({(finding, owner): each.id for finding in each.basis.findings})
    found, used = [], []
    for finding in decision.findings:
        review = by.get((_digest(finding), _of_owner(finding))) if finding.effect == "review" else None
        if review is not None:
            used.append(review)
            finding = replace(finding, effect="warn", remedy=f"lifted by the approval reviews/{review}")
        found.append(finding)
    effect = strictest(finding.effect for finding in found)
    return replace(decision, effect=effect, findings=tuple(found)), tuple(sorted(set(used)))


def denial(zone: str, holder: Holder, *, process: Process = Process.NEGOTIATION) -> Finding:
    """What is told of a review that a person denied; their note stays in their zone."""
    who = "the owner" if holder is Holder.OWNER else f"an administrator of {zone}"
    ask = "appeal: tdz request appeal ID --note …" if process is Process.NEGOTIATION else "ask them, then start anew"
    mend = "ask the owner" if holder is Holder.OWNER else ask
    return Finding(
        code=TERMS if holder is Holder.OWNER else DENIED,
        effect="deny",
        authority="house",
        cite=f"{who} looked at it and did not approve it",
        remedy=mend,
    )


def by_policy(findings: Iterable[Finding]) -> bool:
    """Whether a denial is one that administrators can look at again: a policy's, or their own.

    What the owner's terms deny is the owner's; what a gateway could not do is asked for again.
    """
    codes = {finding.code for finding in findings if finding.effect == "deny"}
    return bool(codes - _GATEWAY)


def _of_owner(finding: Finding) -> bool:
    return finding.code == TERMS


def _digest(finding: Finding) -> str:
    return canonical.digest(finding.to_json())
