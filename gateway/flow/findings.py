"""Findings that the gateway itself makes: terms, places, peers. They say no or wait; they never allow."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Final

from gateway.errors import DeniedError, MirrorFullError, PeerUnavailableError, PolicyError, ReviewError
from gateway.model.decision import Decision, Finding, FindingEffect, strictest
from gateway.model.ids import uuid7
from gateway.model.policy_facts import Action
from gateway.model.terms import Terms

NOT_OFFERED: Final = Finding(
    code="TDZ-TERMS",
    effect="deny",
    authority="house",
    cite="the owner's terms do not offer it to this institution, or it does not exist",
    remedy="ask its owner to offer it, or see `tdz dataset list`",
)
STALE: Final = Finding(
    code="TDZ-TERMS",
    effect="deny",
    authority="house",
    cite="there is a newer version than the one asked for",
    remedy="request access again: the newest version is asked for by itself",
)
SAME_ZONE: Final = Finding(
    code="TDZ-SAME-ZONE",
    effect="deny",
    authority="house",
    cite="the corridor carries what crosses a border; this is in your own zone",
    remedy="ask its owner directly",
)
PEER: Final = Finding(
    code="TDZ-PEER",
    effect="deny",
    authority="house",
    cite="the other zone's gateway did not answer before the deadline, so it did not decide",
    remedy="try again when `tdz zone status` shows it reachable",
)
MIRROR_FULL: Final = Finding(
    code="TDZ-MIRROR-FULL",
    effect="deny",
    authority="house",
    cite="one zone has no room for more of the other's ledger, so nothing is opened between the two",
    remedy="tell your zone's administrator; what is open can still be closed",
)
BROKEN: Final = Finding(
    code="TDZ-PEER",
    effect="deny",
    authority="house",
    cite="the other zone's gateway refused, or answered with something else than was asked",
    remedy="report it to your zone's administrator; the gateway's log says more",
)
CLOCK: Final = Finding(
    code="TDZ-CLOCK",
    effect="deny",
    authority="house",
    cite="the two gateways' clocks are further apart than 30 s",
    remedy="set both gateways' clocks by NTP",
)
FORKED: Final = Finding(
    code="TDZ-FORK",
    effect="deny",
    authority="house",
    cite="a zone's ledger contradicts what it signed before, so nothing is opened with it",
    remedy="tell your zone's administrator; what is open can still be closed",
)


APPROVAL: Final = Finding(
    code="TDZ-APPROVAL",
    effect="review",
    authority="house",
    cite="policy allows it once the zone's administrators have approved it",
    remedy="wait for their answer: tdz request show ID",
)


def of_absence(error: PeerUnavailableError) -> Finding:
    """What a request is denied for where the other zone's answer, or its mirror, did not come."""
    return MIRROR_FULL if isinstance(error, MirrorFullError) else PEER


def terms_findings(terms: Terms, purpose: str, action: Action) -> list[Finding]:
    """What the owner's terms say to a purpose and an action, once they offer it to the institution at all."""
    found = []
    if purpose not in terms.purposes:
        found.append(
            _terms(
                "deny",
                f"the owner offers it for {', '.join(terms.purposes)}, not for {purpose}",
                "name one of these purposes if it is yours, or ask the owner",
            )
        )
    if action not in terms.actions:
        found.append(_terms("deny", f"the owner does not offer it for {action}", "ask the owner"))
    if terms.approval == "owner" or any(each.kind == "require_approval" for each in terms.obligations):
        found.append(_terms("review", "the owner approves each request", "wait for the owner's answer"))
    return found


def _terms(effect: FindingEffect, cite: str, remedy: str) -> Finding:
    return Finding(code="TDZ-TERMS", effect=effect, authority="house", cite=cite, remedy=remedy)


def tighten(decision: Decision, *further: Finding) -> Decision:
    """A decision with further findings; its effect can only become stricter."""
    effect = strictest((decision.effect, *(finding.effect for finding in further)))
    return replace(decision, effect=effect, findings=(*decision.findings, *further))


def refusal(zone: str, finding: Finding) -> Decision:
    """A denial by the gateway itself, without packs."""
    return Decision(
        effect="deny",
        findings=(finding,),
        obligations=(),
        packs=(),
        input_digest="",
        decision_id=uuid7(),
        zone=zone,
        policy_digest="",
        data_revision="",
    )


def raised(
    effect: str,
    found: Iterable[Finding],
    *,
    decision_id: str,
    request_id: str,
    held_by: str = "",
    show: str = "tdz request show",
) -> PolicyError:
    """The error that tells a partner of a denial or a review, with what may be said of it.

    Args:
        show: the command that follows what is held.
    """
    listed = [finding for finding in found if finding.effect in {"deny", "review"}]
    wire = tuple((f.code, f.effect, f.authority, f.cite, f.remedy) for f in listed)
    codes = ", ".join(dict.fromkeys(f.code for f in listed)) or "no finding"
    if effect == "review":
        return ReviewError(
            f"it is held for review by {held_by} ({codes})",
            remedy=f"follow it with `{show} {request_id}`",
            findings=wire,
            decision_id=decision_id,
            request_id=request_id,
        )
    return DeniedError(
        f"refused by policy ({codes})",
        remedy=next((f.remedy for f in listed if f.effect == "deny" and f.remedy), ""),
        findings=wire,
        decision_id=decision_id,
        request_id=request_id,
    )
