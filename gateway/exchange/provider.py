"""The provider's side of a negotiation: verify, the owner's terms, own policy, ledger, signed offer or denial."""

from __future__ import annotations

import asyncio
from typing import Any, NamedTuple

from gateway.catalog.register import Published
from gateway.decisions.inputs import KeptDecision, Persons, Subject, action_of, transfer_input
from gateway.errors import ConflictError, IntegrityError, LimitError, NotFoundError, PeerError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.exchange.lineage import lineage
from gateway.exchange.peer import Answer, Granted
from gateway.exchange.tickets import Tickets
from gateway.exchange.usage import Usage, counted
from gateway.exchange.views import view_id
from gateway.flow import findings
from gateway.flow.house import parse_envelope
from gateway.flow.locks import KeyedLocks, both
from gateway.flow.steps import Step
from gateway.model import canonical, limits
from gateway.model.decision import Decision, Outcome, compose
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.model.negotiation import advance
from gateway.model.participant import Identity
from gateway.model.statements import (
    Agreement,
    AgreementLimits,
    DecisionIds,
    NegotiationRequest,
    ObligationPart,
    ZoneDecision,
)

_DAY_S = 86_400


class _Asked(NamedTuple):
    """What is asked for and offered to the one who asks, and how many persons it would export."""

    published: Published
    persons: Persons
    subject: Subject


class Provider:
    """Answers paired gateways. Every method may be called again with the same content and answers the same."""

    def __init__(self, house: House, tickets: Tickets, usage: Usage) -> None:
        self._house = house
        self._tickets = tickets
        self._usage = usage
        self._locks = KeyedLocks()

    async def negotiate(self, zone: str, envelope: str, ledger_size: int) -> Answer:
        """Decide on another zone's request.

        1. The peer signed the request for us; its participant is of its zone.
        2. A known id gives the stored answer, or a refusal if the content differs.
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
        async with self._locks.hold(request.id):
            standing = await self._standing(request.id, zone, digest)  # 2
            if standing is not None:
                return standing
            _, (asked, kept) = await both(
                house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror),  # 3
                self._own_decision(zone, request),  # 4
            )
            return await self._answer(zone, request, theirs, digest, asked, kept)

    async def _standing(self, identifier: str, zone: str, digest: str) -> Answer | None:
        try:
            row = await rows.get_negotiation(self._house.state, identifier)
        except NotFoundError:
            return None
        if row.side != "provider" or row.peer_zone != zone or row.body_digest != digest:
            raise ConflictError("this negotiation id is known with other content", remedy="use a new id")
        stored = row.document["answer"]
        return Answer(stored["decision"], stored["offer"], row.document["ledger_size"])

    async def _answer(
        self,
        zone: str,
        request: NegotiationRequest,
        theirs: Decision,
        digest: str,
        asked: _Asked | None,
        kept: KeptDecision,
    ) -> Answer:
        house = self._house
        now = house.clock()
        outcome = compose(theirs, kept.decision)
        held_by = ""
        if outcome.effect == "review":
            owner = any(f.code == "TDZ-TERMS" and f.effect == "review" for f in kept.decision.findings)
            reviewer = house.zone if kept.decision.effect == "review" else zone
            held_by = f"{house.zone}/owner" if owner else f"{reviewer}/admin"
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
            offer, agreement_row = self._offer(zone, request, asked, (theirs, kept.decision), outcome, now)
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
                    "effect": outcome.effect,
                    "request": request.summary(),
                    "peer_decision": parse_envelope(request.decision).to_json(),
                    "offer": parse_envelope(offer).to_json() if offer else None,
                    **({} if asked is None else lineage(asked.published, asked.subject)),
                },
                effect="provider.decided",
                arguments={"negotiation": row, "agreement": agreement_row},
                kept=kept,
            )
        )
        return Answer(decision, offer, recorded.size)

    async def _own_decision(self, zone: str, request: NegotiationRequest) -> tuple[_Asked | None, KeptDecision]:
        house = self._house
        asked = {"request": request.summary()}
        try:
            published = await house.catalog.get(request.resource)
        except NotFoundError:
            return None, house.refuse(asked, findings.NOT_OFFERED)
        terms = published.terms
        if terms is None or not terms.offers(zone=zone, participant=request.participant, now=house.clock()):
            return None, house.refuse(asked, findings.NOT_OFFERED)
        if published.version != request.version:
            return None, house.refuse(asked, findings.STALE)
        subject = await house.subject(published)
        exporter, mechanisms, persons = await asyncio.gather(
            house.exporter(published.owner),
            house.mechanisms.serving(request.mechanisms),
            self._usage.after(published.owner, published.version, subject),
        )
        document = transfer_input(
            now=house.clock(),
            purpose=request.purpose,
            leaves=house.site(),
            enters=house.peer_site(zone),
            exporter=exporter,
            recipient=request.recipient,
            subject=subject,
            mechanisms=mechanisms,
            persons=persons,
        )
        return _Asked(published, counted(subject), subject), await house.decide(
            document,
            *findings.terms_findings(terms, request.purpose, action_of(subject)),
            obligations=[each.obligation() for each in terms.obligations],
        )

    def _offer(
        self,
        zone: str,
        request: NegotiationRequest,
        asked: _Asked,
        decisions: tuple[Decision, Decision],
        outcome: Outcome,
        now: int,
    ) -> tuple[str, dict[str, Any]]:
        house, published = self._house, asked.published
        terms = published.terms
        if terms is None:
            raise IntegrityError("an offer needs the owner's terms")
        expiries = [now + (terms.limits.days * _DAY_S if terms.limits.days else house.timing.agreement)]
        expiries += [terms.until] if terms.until else []
        expiries += [pack.valid_until for each in decisions for pack in each.for_peer().packs if pack.valid_until]
        obligations = tuple(ObligationPart(kind=o.kind, params=dict(o.params)) for o in outcome.obligations)
        body = Agreement(
            id=uuid7(),
            negotiation=request.id,
            resource=request.resource,
            version=published.version,
            view=view_id(published.manifest, outcome.obligations),
            consumer=request.participant,
            provider=published.owner,
            consumer_zone=zone,
            provider_zone=house.zone,
            purpose=request.purpose,
            mechanisms=request.mechanisms,
            obligations=obligations,
            limits=AgreementLimits(
                expires_at=min(expiries),
                pulls=terms.limits.pulls or 0,
                rows=terms.limits.rows or 0,
                bytes=terms.limits.bytes or 0,
                onward=False,
            ),
            decisions=DecisionIds(consumer=decisions[0].decision_id, provider=decisions[1].decision_id),
            confirm_before=now + house.timing.confirm,
        )
        ttl = max(body.limits.expires_at - now, 1)
        envelope = house.sign(body, to=zone, process=request.id, ttl=ttl)
        if len(envelope) > limits.STATEMENT_MAX:
            raise LimitError("the agreement's obligations do not fit a ledger entry")
        row = {
            "id": body.id,
            "side": "provider",
            "negotiation_id": request.id,
            "peer_zone": zone,
            "consumer": body.consumer,
            "provider": body.provider,
            "resource": body.resource,
            "version": body.version,
            "state": advance(State.REQUESTED, Event.OFFER).value,
            "envelope": envelope,
            "confirm_before": body.confirm_before,
            "expires_at": body.limits.expires_at,
            "persons_non_sensitive": asked.persons.non_sensitive,
            "persons_sensitive": asked.persons.sensitive,
            "created_at": now,
            "updated_at": now,
        }
        return envelope, row

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
        async with self._locks.hold(body.negotiation):
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
            async with self._locks.hold(row.negotiation_id):
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
