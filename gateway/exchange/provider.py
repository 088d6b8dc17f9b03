"""The provider's side of a negotiation: verify, the owner's terms, own policy, ledger, signed offer or denial."""

from __future__ import annotations

from typing import Any

from gateway.decisions.inputs import KeptDecision
from gateway.errors import ConflictError, IntegrityError, LimitError, NotFoundError, PeerError
from gateway.exchange import honouring, rows
from gateway.exchange.asking import denied_by
from gateway.exchange.house import House
from gateway.exchange.lineage import lineage
from gateway.exchange.offering import signed_offer
from gateway.exchange.peer import Answer, Granted
from gateway.exchange.tickets import Tickets
from gateway.exchange.weighing import Asked, Question, Weighing
from gateway.flow import approved, findings
from gateway.flow.house import parse_envelope
from gateway.flow.locks import both
from gateway.flow.steps import Step
from gateway.model import canonical, limits
from gateway.model.decision import Decision, compose
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.model.negotiation import advance
from gateway.model.participant import Identity
from gateway.model.review import Process
from gateway.model.statements import (
    Agreement,
    NegotiationRequest,
    ZoneDecision,
)


class Provider:
    """Answers paired gateways. Every method may be called again with the same content and answers the same."""

    def __init__(self, house: House, tickets: Tickets, weighing: Weighing) -> None:
        self._house = house
        self._tickets = tickets
        self._weighing = weighing

    async def negotiate(self, zone: str, envelope: str, ledger_size: int) -> Answer:
        """Decide on another zone's request.

        1. The peer signed the request for us; its participant is of its zone.
        2. A known id gives the stored answer, or a refusal if the content differs; what waits for a review is decided
           anew, on what the peer says now and with what was approved.
        3. Our mirror holds the peer's entry of its own decision.
        4. Owner's terms and own policy decide; both decisions compose, the stricter wins.
        5. Decision and offer are on our ledger before the answer leaves.

        Raises:
            IntegrityError, PeerError: the request is not what the peer may send.
            ConflictError: the id is known with other content.
            PeerUnavailableError: our mirror did not reach the peer's size.
        """
        house = self._house
        if len(envelope) > limits.STATEMENT_MAX:
            raise LimitError(f"a negotiation request has at most {limits.STATEMENT_MAX} bytes")
        request = house.read(NegotiationRequest, envelope, of=zone)  # 1
        if Identity.parse(request.participant).zone != zone or request.recipient.id != request.participant:
            raise PeerError(f"{zone} asks for an institution that is not its own")
        theirs = house.read(ZoneDecision, request.decision, of=zone, process=request.id).peer_decision()
        if theirs.zone != zone or theirs.effect == "deny":
            raise PeerError(f"{zone} asks without a decision of its own that lets it ask")
        digest = canonical.digest(request.document())
        async with house.negotiations.hold(request.id):
            standing = await self._standing(request, zone, digest)  # 2
            if standing is not None:
                return standing
            _, (asked, kept) = await both(
                house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror),  # 3
                self._weighing.decide(zone, _question(request)),  # 4
            )
            kept, approvals = await honouring.for_negotiation(
                house, kept, negotiation=request.id, participant=request.participant, resource=request.resource
            )
            return await self._answer(zone, request, theirs, digest, asked, kept, approvals)

    async def _standing(self, request: NegotiationRequest, zone: str, digest: str) -> Answer | None:
        try:
            row = await rows.get_negotiation(self._house.state, request.id)
        except NotFoundError:
            return None
        known = row.side == "provider" and row.peer_zone == zone
        if known and row.body_digest != digest and row.state == State.REQUESTED and _asks_the_same(row, request):
            return None
        if not known or row.body_digest != digest:
            raise ConflictError("this negotiation id is known with other content", remedy="use a new id")
        stored = row.document["answer"]
        return Answer(stored["decision"], stored["offer"], row.document["ledger_size"])

    async def _answer(
        self,
        zone: str,
        request: NegotiationRequest,
        theirs: Decision,
        digest: str,
        asked: Asked | None,
        kept: KeptDecision,
        approvals: tuple[str, ...],
    ) -> Answer:
        house = self._house
        now = house.clock()
        outcome = compose(theirs, kept.decision)
        held_by, review = "", None
        if outcome.effect == "review" and kept.decision.effect != "review":
            held_by = f"{zone}/admin"
        elif outcome.effect == "review":
            review = approved.review_for(
                house,
                kept,
                process=Process.NEGOTIATION,
                process_id=request.id,
                participant=request.participant,
                peer_zone=zone,
                resource=request.resource,
                purpose=request.purpose,
                owner="" if asked is None else asked.published.owner,
            )
            held_by = f"{house.zone}/{review['holder']}"
        deadline = now + (house.timing.review if held_by else house.timing.confirm)
        said = kept.decision.for_peer()
        if outcome.effect != kept.decision.effect and outcome.effect == "deny":
            said = findings.tighten(said, *(f.for_peer() for f in outcome.findings if f.code == "TDZ-OBLIGATION"))
        decision = house.sign(
            ZoneDecision(
                negotiation=request.id,
                decision=said.to_json(),
                effect=outcome.effect,
                held_by=held_by,
                deadline=deadline,
            ),
            to=zone,
            process=request.id,
        )
        offer, agreement_row = "", None
        if outcome.effect == "allow" and asked is not None:
            offer, agreement_row = signed_offer(
                house, zone, request, asked.published, asked.persons, (theirs, kept), outcome, now
            )
        event = Event.OFFER if offer else Event.HOLD if held_by else Event.TERMINATE
        row = {
            "id": request.id,
            "side": "provider",
            "participant": request.participant,
            "request_id": request.id,
            "body_digest": digest,
            "peer_zone": zone,
            "resource": request.resource,
            "purpose": request.purpose,
            "state": advance(State.REQUESTED, event).value,
            "held_by": held_by,
            "effect": outcome.effect,
            "deadline": deadline,
            "document": {
                "answer": {"decision": decision, "offer": offer},
                "request": request.summary(),
                "recipient": request.recipient.document(),  # for the decision at each pull; never on a ledger
                "published_at": 0 if asked is None else asked.published.published_at,
                "findings": [finding.for_peer().to_json() for finding in outcome.findings],
                "obligations": [obligation.to_json() for obligation in outcome.obligations],
                "approvals": list(approvals),
                "denied_by": denied_by(house.zone, kept.decision) if outcome.effect == "deny" else None,
                "decisions": [[zone, theirs.effect, theirs.decision_id], [house.zone, said.effect, said.decision_id]],
            },
            "agreement_id": "" if agreement_row is None else agreement_row["id"],
            "created_at": now,
            "updated_at": now,
        }
        recorded = await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{request.id}",
                body={
                    **kept.entry(),
                    **approved.named(approvals),
                    "effect": outcome.effect,
                    "request": request.summary(),
                    "peer_decision": parse_envelope(request.decision).to_json(),
                    "offer": parse_envelope(offer).to_json() if offer else None,
                    **({} if asked is None else lineage(asked.published, asked.subject)),
                },
                effect="provider.decided",
                arguments={
                    "negotiation": row,
                    "agreement": agreement_row,
                    "event": event.value,
                    "review": review,
                },
                kept=kept,
            )
        )
        return Answer(decision, offer, recorded.size)

    # --- confirm ----------------------------------------------------------------------------------------

    async def confirm(self, zone: str, envelope: str, ledger_size: int) -> Granted:
        """Record a countersigned offer: from then on the agreement is in force.

        Raises:
            IntegrityError: not the bytes that we offered, or a signature fails.
            ConflictError: too late, or ended.
            PeerUnavailableError: our mirror did not reach the peer's size.
        """
        house = self._house
        if len(envelope) > limits.STATEMENT_MAX:
            raise LimitError(f"an agreement has at most {limits.STATEMENT_MAX} bytes")
        parsed = parse_envelope(envelope)
        body = house.read(Agreement, envelope, of=house.zone, to=zone)
        parsed.require_signature(house.card(zone).verification_key())
        async with house.negotiations.hold(body.negotiation):
            row = await rows.get_agreement(house.state, body.id)
            if row.side != "provider" or row.peer_zone != zone:
                raise NotFoundError("no such agreement")
            if parse_envelope(row.envelope).payload != parsed.payload:
                raise IntegrityError("the agreement is not the one that was offered")
            if row.state == State.OFFERED:
                if house.clock() > row.confirm_before:
                    raise ConflictError("the offer was not confirmed in time", remedy="request access again")
                await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror)
                granted, ticket = self._first_ticket(zone, body)
                recorded = await house.steps.run(
                    Step(
                        kind="agreement",
                        subject=f"agreements/{body.id}",
                        body={"outcome": "in_force", "agreement": parsed.to_json()},
                        effect="provider.confirmed",
                        arguments={
                            "agreement": body.id,
                            "negotiation": body.negotiation,
                            "envelope": envelope,
                            "ticket": ticket,
                            "now": house.clock(),
                        },
                    )
                )
                return Granted(granted.ticket, granted.until, recorded.size)
            if row.state != State.FINALIZED:
                raise ConflictError(f"the agreement has ended: {row.reason}", remedy="request access again")
        granted = await self._tickets.issue(*self._first_ticket(zone, body))
        return Granted(granted.ticket, granted.until, house.journal.committed_size)

    def _first_ticket(self, zone: str, body: Agreement) -> tuple[Granted, dict[str, Any]]:
        """The ticket of the first pull is bound to no transfer yet: the consumer chooses the transfer's id."""
        return self._tickets.prepare(
            holder=f"tdz://{zone}/gateway/gateway", agreement=body.id, transfer="", view=body.view, first_chunk=0
        )

    async def expire_offers(self) -> int:
        """Record offers that nobody confirmed in time; the count of them."""
        house = self._house
        now = house.clock()
        offered = await rows.list_agreements(house.state, side="provider", where_state=[State.OFFERED])
        late = [row for row in offered if now > row.confirm_before + limits.CLOCK_LEEWAY_S]
        for row in late:
            async with house.negotiations.hold(row.negotiation_id):
                if (await rows.get_agreement(house.state, row.id)).state != State.OFFERED:
                    continue
                await house.steps.run(
                    Step(
                        kind="agreement",
                        subject=f"agreements/{row.id}",
                        body={"outcome": "not_confirmed", "agreement": row.id},
                        effect="provider.unconfirmed",
                        arguments={"agreement": row.id, "negotiation": row.negotiation_id, "now": now},
                        closing=True,
                    )
                )
        return len(late)


def _asks_the_same(row: rows.NegotiationRow, request: NegotiationRequest) -> bool:
    """Whether a request that is sent again asks for what the row stands for; its version may be a newer one."""
    before, now = row.document["request"], request.summary()
    return all(before[name] == now[name] for name in ("participant", "resource", "purpose", "mechanisms"))


def _question(request: NegotiationRequest) -> Question:
    return Question(
        participant=request.participant,
        resource=request.resource,
        version=request.version,
        purpose=request.purpose,
        mechanisms=request.mechanisms,
        recipient=request.recipient,
    )
