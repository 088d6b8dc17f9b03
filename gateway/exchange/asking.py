"""A1: this zone's own decision on its institution's request, and the signed request that follows from it."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

import structlog

from gateway.decisions.inputs import KeptDecision, own_persons, transfer_input
from gateway.errors import (
    ClockError,
    ForkError,
    IntegrityError,
    NotFoundError,
    PeerError,
    PeerUnavailableError,
)
from gateway.exchange import honouring, negotiation_effects, rows
from gateway.exchange.house import House
from gateway.exchange.offers import Offered, Offers
from gateway.flow import approved, findings
from gateway.flow.steps import Step
from gateway.model import review
from gateway.model.decision import Decision
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.review import Process
from gateway.model.statements import NegotiationRequest, ZoneDecision

_log = structlog.get_logger()
_RETRY_MAX_S = 5.0
T = TypeVar("T")


class Asking:
    """Decides for this zone before anything is asked of another."""

    def __init__(self, house: House, offers: Offers) -> None:
        self._house = house
        self._offers = offers

    async def decide(self, row: rows.NegotiationRow) -> rows.NegotiationRow:
        """A1: this zone's own decision, on the ledger before anybody hears it; the row with it."""
        house = self._house
        refs = tuple(row.document["mechanisms"])
        asked = {
            "participant": row.participant,
            "resource": row.resource,
            "purpose": row.purpose,
            "mechanisms": list(refs),
        }
        offered: Offered | None = None
        unknown = False
        try:
            offered = await patiently(house, row, lambda: self._offers.find(row.resource, row.participant))
            zone = offered.zone
            house.journal.require_open(zone)
            await patiently(house, row, lambda: house.check_clock(zone))
        except NotFoundError:
            same_zone = await self._in_own_zone(row)
            unknown = not same_zone
            kept = house.refuse(asked, findings.SAME_ZONE if same_zone else findings.NOT_OFFERED)
        except PeerUnavailableError as error:
            kept = house.refuse(asked, findings.of_absence(error))
        except ClockError:
            kept = house.refuse(asked, findings.CLOCK)
        except ForkError as error:
            _log.error("nothing is opened", zone=offered.zone if offered else "", error=str(error))
            kept = house.refuse(asked, findings.FORKED)
        except (IntegrityError, PeerError) as error:
            _log.error("a card does not hold", resource=row.resource, reason=error.reason, error=str(error))
            kept = house.refuse(asked, findings.BROKEN)
        else:
            kept = await self._decision(row, offered, refs)
        kept, approvals = await honouring.for_negotiation(
            house,
            kept,
            negotiation=row.id,
            participant=row.participant,
            resource=row.resource,
            earlier=str(row.document.get("appeal_of", "")),
        )
        decision = kept.decision
        held_by = f"{house.zone}/admin" if decision.effect == "review" else ""
        now = house.clock()
        document: dict[str, Any] = {
            "approvals": list(approvals),
            "decision": decision.to_json(),
            "findings": [finding.to_json() for finding in decision.findings],
            "decisions": [[house.zone, decision.effect, decision.decision_id]],
            "unknown": unknown,
        }
        if decision.effect == "deny":
            document["denied_by"] = denied_by(house.zone, decision)
        if offered is not None:
            document["card"] = offered.card.document()
            if decision.effect == "allow":
                document["asked"] = self._asked(row, offered, kept)
        event = {"deny": Event.TERMINATE, "review": Event.HOLD, "allow": Event.DECIDE}[decision.effect]
        arguments = {
            "id": row.id,
            "effect": decision.effect,
            "event": event.value,
            "held_by": held_by,
            "deadline": now + house.timing.review if held_by else row.deadline,
            "peer_zone": offered.zone if offered is not None else "",
            "document": document,
            "review": None,
            "now": now,
        }
        if held_by:
            arguments["review"] = approved.review_for(
                house,
                kept,
                process=Process.NEGOTIATION,
                process_id=row.id,
                participant=row.participant,
                peer_zone=offered.zone if offered is not None else "",
                resource=row.resource,
                purpose=row.purpose,
            )
        recorded = await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={
                    **kept.entry(),
                    **approved.named(approvals),
                    "effect": decision.effect,
                    "request": {**asked, "version": offered.card.version if offered is not None else ""},
                },
                effect="consumer.decided",
                arguments=arguments,
                kept=kept,
            )
        )
        return negotiation_effects.decided(row, arguments, recorded)

    async def _in_own_zone(self, row: rows.NegotiationRow) -> bool:
        """Whether the resource is one of this zone's that the caller may know of."""
        try:
            published = await self._house.catalog.get(row.resource)
        except NotFoundError:
            return False
        return published.known_to(row.participant, zone=self._house.zone, now=self._house.clock())

    async def _decision(self, row: rows.NegotiationRow, offered: Offered, refs: tuple[str, ...]) -> KeptDecision:
        house = self._house
        subject = await house.subject(offered.card)
        document = transfer_input(
            now=house.clock(),
            purpose=row.purpose,
            leaves=house.peer_site(offered.zone),
            enters=house.site(),
            exporter=offered.card.exporter,
            recipient=await house.recipient(row.participant),
            subject=subject,
            mechanisms=await house.mechanisms.serving(refs),
            persons=own_persons(subject),
        )
        return await house.decide(document)

    def _asked(self, row: rows.NegotiationRow, offered: Offered, kept: KeptDecision) -> str:
        """The signed request, with the facts that were decided on.

        It is kept with the decision, before it is sent, so that a restart sends the same.
        """
        house, zone, own = self._house, offered.zone, kept.decision
        decision = house.sign(
            ZoneDecision(
                negotiation=row.id, decision=own.for_peer().to_json(), effect=own.effect, held_by="", deadline=0
            ),
            to=zone,
            process=row.id,
        )
        body = NegotiationRequest.parse(
            {
                "id": row.id,
                "participant": row.participant,
                "resource": row.resource,
                "version": offered.card.version,
                "purpose": row.purpose,
                "mechanisms": row.document["mechanisms"],
                "recipient": kept.document["recipient"],
                "decision": decision,
            }
        )
        return house.sign(body, to=zone, process=row.id)


def denied_by(zone: str, decision: Decision, holder: str = "") -> dict[str, str]:
    """Who said no, for whoever wants to appeal.

    Args:
        zone: whose decision it is.
        decision: the denial.
        holder: `admin` or `owner` where a person denied a review.
    """
    by = holder or ("policy" if review.by_policy(decision.findings) else "")
    return {"zone": zone, "by": by, "decision": decision.decision_id}


async def patiently(house: House, row: rows.NegotiationRow, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the peer again while it does not answer, though not longer than a partner would wait.

    What persons have approved is asked for as long as their review might have taken.

    Raises:
        PeerUnavailableError: it did not answer.
    """
    wait = house.timing.retry
    while True:
        try:
            return await ask()
        except PeerUnavailableError:
            if house.clock() + wait > max(row.created_at + house.timing.answer, row.document.get("until", 0)):
                raise
        await asyncio.sleep(wait)
        wait = min(2 * wait, _RETRY_MAX_S)
