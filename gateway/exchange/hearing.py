"""What the provider's zone answers: verified, composed with our own decision, countersigned and confirmed (A2)."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any

import structlog
from sqlalchemy import Connection

from gateway.errors import (
    ClockError,
    ForkError,
    LedgerError,
    PeerError,
    PeerUnavailableError,
    StorageError,
    TdzError,
)
from gateway.exchange import negotiation_effects, rows
from gateway.exchange.asking import denied_by, patiently
from gateway.exchange.house import House
from gateway.exchange.peer import Answer
from gateway.exchange.views import view_id
from gateway.flow import findings
from gateway.flow.house import parse_envelope
from gateway.flow.steps import Step
from gateway.model import canonical
from gateway.model.decision import Decision, Finding, Outcome, compose
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.model.negotiation import advance
from gateway.model.statements import Agreement, ResourceCard, ZoneDecision

_log = structlog.get_logger()
_RETRY_MAX_S = 5.0


@dataclass(frozen=True, slots=True)
class Countersigned:
    """An agreement that has both signatures and waits to be confirmed by its date, Unix seconds UTC."""

    id: str
    envelope: str
    confirm_before: int


class Hearing:
    """Takes a decided request to its end: an agreement in force, a review, or a denial."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def negotiate(self, row: rows.NegotiationRow) -> tuple[rows.NegotiationRow, Countersigned | None]:
        """Round trip 1, then A2: the peer's decision with the countersigned agreement, or the denial.

        Returns:
            The row as it is then, and what is to be confirmed.
        """
        card = ResourceCard.parse(row.document["card"])
        own = Decision.from_json(row.document["decision"])
        try:
            if (heard := await self._hear(row, card, own)) is not None:
                return heard
        except PeerUnavailableError as error:
            await self._deny(row, own, findings.of_absence(error), why="peer unreachable", reason=str(error))
        except ClockError as error:
            await self._deny(row, own, findings.CLOCK, why="clocks apart", reason=str(error))
        except ForkError as error:
            await self._deny(row, own, findings.FORKED, why="a ledger has forked", reason=str(error))
        except (LedgerError, StorageError):
            raise  # no decision of anybody's: the same request again, or a restart, goes on
        except TdzError as error:
            _log.error("the peer's answer does not hold", negotiation=row.id, reason=error.reason, error=str(error))
            await self._deny(row, own, findings.BROKEN, why=f"no valid answer: {error.reason}", reason=str(error))
        return await rows.get_negotiation(self._house.state, row.id), None

    async def _hear(
        self, row: rows.NegotiationRow, card: ResourceCard, own: Decision
    ) -> tuple[rows.NegotiationRow, Countersigned] | None:
        house = self._house
        envelope = str(row.document["asked"])
        answer = await patiently(house, row, lambda: self._answered(row, envelope))
        theirs = house.read(ZoneDecision, answer.decision, of=row.peer_zone, process=row.id)
        decision = theirs.peer_decision()
        outcome = compose(own, decision)
        if theirs.effect == "allow" and outcome.effect == "allow":
            return await self._countersign(row, card, answer, decision, outcome)
        if theirs.effect == "review" and outcome.effect != "deny":
            await self._hold(row, answer, theirs, decision, outcome)
        else:
            await self._denied_by_peer(row, answer, decision, outcome)
        return None

    async def _answered(self, row: rows.NegotiationRow, envelope: str) -> Answer:
        house = self._house
        house.journal.require_open(row.peer_zone)
        answer = await house.peers.get(row.peer_zone).negotiate(envelope, house.journal.committed_size)
        await house.journal.wait_mirrored(row.peer_zone, answer.ledger_size, house.timing.mirror)
        return answer

    async def _countersign(
        self, row: rows.NegotiationRow, card: ResourceCard, answer: Answer, theirs: Decision, outcome: Outcome
    ) -> tuple[rows.NegotiationRow, Countersigned]:
        house = self._house
        offer = parse_envelope(answer.offer)
        body = house.read(Agreement, answer.offer, of=row.peer_zone, process=row.id)
        self._check_offer(row, card, body, theirs)
        envelope = house.countersign(offer)
        now = house.clock()
        agreement = {
            "id": body.id,
            "side": "consumer",
            "negotiation_id": row.id,
            "peer_zone": row.peer_zone,
            "consumer": body.consumer,
            "provider": body.provider,
            "resource": body.resource,
            "version": body.version,
            "state": advance(State.REQUESTED, Event.COUNTERSIGN).value,
            "envelope": envelope,
            "card": canonical.encode(card.document()).decode(),
            "confirm_before": body.confirm_before,
            "expires_at": body.limits.expires_at,
            "created_at": now,
            "updated_at": now,
        }
        arguments = {"id": row.id, "agreement": agreement, "document": _heard(row, theirs, outcome), "now": now}
        recorded = await house.steps.run(
            Step(
                kind="agreement",
                subject=f"agreements/{body.id}",
                body={
                    "outcome": "countersigned",
                    "peer_decision": parse_envelope(answer.decision).to_json(),
                    "agreement": parse_envelope(envelope).to_json(),
                },
                effect="consumer.agreed",
                arguments=arguments,
            )
        )
        accepted = negotiation_effects.agreed(row, arguments, recorded)
        return accepted, Countersigned(body.id, envelope, body.confirm_before)

    def _check_offer(self, row: rows.NegotiationRow, card: ResourceCard, body: Agreement, theirs: Decision) -> None:
        """An offer must be what was asked for and decided; our signature stands under nothing else."""
        own = Decision.from_json(row.document["decision"])
        obligations = tuple(part.obligation() for part in body.obligations)
        expected = {
            "negotiation": row.id,
            "resource": row.resource,
            "version": card.version,
            "view": view_id(card.manifest, obligations),
            "consumer": row.participant,
            "provider": card.owner,
            "consumer_zone": self._house.zone,
            "provider_zone": row.peer_zone,
            "purpose": row.purpose,
            "mechanisms": tuple(row.document["mechanisms"]),
        }
        for name, value in expected.items():
            if getattr(body, name) != value:
                raise PeerError(f"the offer of {row.peer_zone} has another {name} than was asked for")
        if (body.decisions.consumer, body.decisions.provider) != (own.decision_id, theirs.decision_id):
            raise PeerError(f"the offer of {row.peer_zone} names other decisions")
        kinds = {canonical.encode(o.to_json()) for o in obligations}
        wanted = {canonical.encode(o.to_json()) for o in compose(own, theirs).obligations}
        if not wanted <= kinds or any(o.unknown() for o in obligations):
            raise PeerError(f"the offer of {row.peer_zone} leaves out an obligation or has one that is unknown here")
        if body.limits.expires_at <= self._house.clock():
            raise PeerError(f"the offer of {row.peer_zone} has expired already")

    async def _hold(
        self, row: rows.NegotiationRow, answer: Answer, theirs: ZoneDecision, decision: Decision, outcome: Outcome
    ) -> None:
        house = self._house
        now = house.clock()
        # An entry names it if the review expires, so it is one of those who can review at all, never a free text.
        reviewers = {f"{row.peer_zone}/owner", f"{row.peer_zone}/admin", f"{house.zone}/admin"}
        held_by = theirs.held_by if theirs.held_by in reviewers else f"{row.peer_zone}/admin"
        await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "review", "peer_decision": parse_envelope(answer.decision).to_json()},
                effect="consumer.decided",
                arguments={
                    "id": row.id,
                    "effect": "review",
                    "event": Event.HOLD.value,
                    "held_by": held_by,
                    "deadline": min(theirs.deadline, now + house.timing.review),
                    "peer_zone": row.peer_zone,
                    "document": _heard(row, decision, outcome),
                    "now": now,
                },
            )
        )

    async def _denied_by_peer(
        self, row: rows.NegotiationRow, answer: Answer, theirs: Decision, outcome: Outcome
    ) -> None:
        if any(finding.code == findings.STALE.code for finding in theirs.findings):
            # Version or terms are no longer those of the card that was kept: the next request asks for a new one.
            await self._house.catalog.drop_card(row.peer_zone, row.resource)
        await self._house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "deny", "peer_decision": parse_envelope(answer.decision).to_json()},
                effect="consumer.ended",
                arguments={
                    "id": row.id,
                    "effect": "deny",
                    "document": _heard(row, theirs, outcome) | {"denied_by": denied_by(row.peer_zone, theirs)},
                    "now": self._house.clock(),
                },
            )
        )

    async def _deny(self, row: rows.NegotiationRow, own: Decision, finding: Finding, *, why: str, reason: str) -> None:
        """The peer gave no decision that holds, so nothing is allowed.

        Args:
            why: for the ledger; nothing of what the peer wrote.
            reason: for the partner.
        """
        house = self._house
        decision = findings.tighten(own, finding)
        await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "deny", "finding": finding.for_peer().to_json(), "reason": why},
                effect="consumer.ended",
                arguments={
                    "id": row.id,
                    "effect": "deny",
                    "document": {
                        "findings": [f.to_json() for f in decision.findings],
                        "reason": reason[:300],
                    },
                    "now": house.clock(),
                },
            )
        )

    async def confirm(
        self, row: rows.NegotiationRow, agreement: Countersigned | rows.AgreementRow
    ) -> rows.NegotiationRow:
        """Round trip 2, repeated until the agreement's date; then it is recorded as not confirmed. The row after it."""
        house = self._house
        wait = house.timing.retry
        while True:
            try:
                house.journal.require_open(row.peer_zone)
                granted = await house.peers.get(row.peer_zone).confirm(agreement.envelope, house.journal.committed_size)
                await house.journal.wait_mirrored(row.peer_zone, granted.ledger_size, house.timing.mirror)
                break
            except (PeerUnavailableError, LedgerError, StorageError):  # the peer's: it may be able to yet
                if house.clock() + wait > agreement.confirm_before:
                    return await self._unconfirmed(row, "peer unreachable")
            except TdzError as error:
                return await self._unconfirmed(row, f"refused: {error.reason}")
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RETRY_MAX_S)
        now = house.clock()

        def work(connection: Connection) -> rows.NegotiationRow:
            rows.advance_agreement(
                connection,
                agreement.id,
                Event.CONFIRM,
                peer_ticket=granted.ticket,
                peer_ticket_until=granted.until,
                updated_at=now,
            )
            rows.advance_negotiation(connection, row.id, Event.CONFIRM, updated_at=now)
            return rows.negotiation(connection, row.id)

        return await house.state.write(work)

    async def _unconfirmed(self, row: rows.NegotiationRow, why: str) -> rows.NegotiationRow:
        await self._house.steps.run(
            Step(
                kind="agreement",
                subject=f"agreements/{row.agreement_id}",
                body={"outcome": "not_confirmed", "agreement": row.agreement_id, "reason": why[:200]},
                effect="consumer.ended",
                arguments={
                    "id": row.id,
                    "effect": "deny",
                    "document": {
                        "findings": [findings.PEER.to_json()],
                        "reason": f"not confirmed: {why[:200]}",
                    },
                    "now": self._house.clock(),
                },
                closing=True,
            )
        )
        return await rows.get_negotiation(self._house.state, row.id)


def _heard(row: rows.NegotiationRow, theirs: Decision, outcome: Outcome) -> dict[str, Any]:
    return {
        "findings": [finding.to_json() for finding in outcome.findings],
        "obligations": [obligation.to_json() for obligation in outcome.obligations],
        "decisions": [*row.document["decisions"], [theirs.zone, theirs.effect, theirs.decision_id]],
    }
