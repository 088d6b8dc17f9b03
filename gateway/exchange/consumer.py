"""The consumer's side of a negotiation: from a partner's request to an agreement in force, in two round trips.

Each negotiation is driven by one owned task, which goes on where the row stands: a partner that goes away does not
stop it, the same request again joins it, and a restart takes it up.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar

import structlog
from sqlalchemy import Connection, insert, select

from gateway.decisions.inputs import KeptDecision, own_persons, transfer_input
from gateway.errors import (
    AlreadyExistsError,
    ClockError,
    IntegrityError,
    LedgerError,
    NotFoundError,
    PeerError,
    PeerUnavailableError,
    StorageError,
    TdzError,
)
from gateway.exchange import findings, rows
from gateway.exchange.house import House, parse_envelope
from gateway.exchange.offers import Offered, Offers
from gateway.exchange.peer import Answer
from gateway.exchange.steps import Step
from gateway.exchange.views import view_id
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.decision import Decision, Finding, Outcome, compose
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationState as State
from gateway.model.participant import Identity
from gateway.model.statements import Agreement, DatasetCard, NegotiationRequest, ZoneDecision
from gateway.state.schema import agreements, negotiations

_log = structlog.get_logger()
_RETRY_MAX_S = 5.0
T = TypeVar("T")


@dataclass(frozen=True, slots=True)
class Ask:
    """What a partner asks for; checked by whoever reads the wire."""

    resource: str
    purpose: str
    mechanisms: tuple[str, ...]
    request_id: str

    def digest(self) -> str:
        """What makes two requests the same."""
        return canonical.digest(
            {"resource": self.resource, "purpose": self.purpose, "mechanisms": list(self.mechanisms)}
        )


class Consumer:
    """Negotiates for this zone's institutions."""

    def __init__(self, house: House, offers: Offers) -> None:
        self._house = house
        self._offers = offers
        self._running: dict[str, asyncio.Task[None]] = {}
        self._closing = False
        house.steps.register("consumer.decided", _decided)
        house.steps.register("consumer.agreed", _agreed)
        house.steps.register("consumer.ended", _ended)

    async def request(self, caller: Identity, ask: Ask) -> rows.NegotiationRow:
        """Ask for access and wait for the outcome.

        Returns:
            The negotiation: FINALIZED with an agreement, or REQUESTED and held for review.

        Raises:
            AlreadyExistsError: the request id was used with another body.
            DeniedError: a zone refused; the findings say why.
            NotFoundError: no paired zone offers the resource to the caller.
            PeerUnavailableError: still under way at the deadline; the same request again joins it.
        """
        row = await self._create(caller, ask)
        if row.open and not row.held_by:
            task = self._drive(row.id)
            done, _ = await asyncio.wait({task}, timeout=self._house.timing.rpc)
            if not done:
                raise PeerUnavailableError(
                    "the negotiation is still under way", remedy="ask again with the same request id"
                )
            if task.cancelled():
                raise PeerUnavailableError("the gateway is stopping", remedy="ask again with the same request id")
            task.result()
            row = await rows.get_negotiation(self._house.state, row.id)
        return self.told(row)

    def told(self, row: rows.NegotiationRow) -> rows.NegotiationRow:
        """The row if it may lead on, else the error that tells why it does not.

        Raises:
            DeniedError, NotFoundError: it ended without an agreement.
        """
        if row.state != State.TERMINATED:
            return row
        if row.document.get("unknown"):
            raise NotFoundError(f"no dataset {row.resource} is offered to you", remedy="tdz dataset list")
        found = tuple(Finding.from_json(finding) for finding in row.document.get("findings", ()))
        last = row.document.get("decisions", [["", "", ""]])[-1]
        raise findings.raised("deny", found, decision_id=last[2], request_id=row.id)

    async def take_up(self) -> int:
        """After a restart: go on with every open negotiation; the count of them."""
        open_rows = await rows.list_negotiations(
            self._house.state,
            side="consumer",
            where_state=[State.REQUESTED, State.OFFERED, State.ACCEPTED],
            size=None,
        )
        for row in open_rows:
            if not row.held_by:
                self._drive(row.id)
        return len(open_rows)

    async def close(self) -> None:
        """Stop driving; what is open goes on after the next start."""
        self._closing = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def expire(self) -> int:
        """End what passed its deadline: held reviews, requests and confirmations that came to nothing.

        Returns:
            The count of them.
        """
        now = self._house.clock()
        late = await rows.list_negotiations(
            self._house.state, where_state=[State.REQUESTED, State.ACCEPTED], due=now, size=None
        )
        due = [row for row in late if row.id not in self._running]
        for row in due:
            # As its driver, so that nothing else goes on with it meanwhile; one more try ends a confirmation.
            await asyncio.wait({self._drive(row.id, late=row.state == State.REQUESTED)})
        return len(due)

    async def _end_late(self, identifier: str) -> None:
        house = self._house
        row = await rows.get_negotiation(house.state, identifier)
        now = house.clock()
        if row.state != State.REQUESTED or row.deadline >= now:
            return
        why = "review expired" if row.held_by else "deadline"
        await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "deny", "reason": why, "negotiation": row.id, "held_by": row.held_by},
                effect="consumer.ended",
                arguments={"id": row.id, "effect": "deny", "document": {"reason": why}, "now": now},
                closing=True,
            )
        )

    # --- one negotiation --------------------------------------------------------------------------------

    async def _create(self, caller: Identity, ask: Ask) -> rows.NegotiationRow:
        house = self._house
        now = house.clock()
        identifier = uuid7()
        request_id = ask.request_id or identifier
        row = {
            "id": identifier,
            "side": "consumer",
            "participant": caller.uri,
            "request_id": request_id,
            "body_digest": ask.digest(),
            "peer_zone": "",
            "resource": ask.resource,
            "purpose": ask.purpose,
            "state": State.REQUESTED.value,
            "deadline": now + int(house.timing.rpc) + house.timing.confirm,
            "document": canonical.encode({"mechanisms": list(ask.mechanisms)}).decode(),
            "created_at": now,
            "updated_at": now,
        }

        def work(connection: Connection) -> str:
            standing = connection.execute(
                select(negotiations.c.id, negotiations.c.body_digest).where(
                    negotiations.c.side == "consumer",
                    negotiations.c.participant == caller.uri,
                    negotiations.c.request_id == request_id,
                )
            ).one_or_none()
            if standing is None:
                connection.execute(insert(negotiations).values(**row))
                return identifier
            if standing.body_digest != row["body_digest"]:
                raise AlreadyExistsError(
                    f"request id {request_id[:80]} was used with another body", remedy="use a new request id"
                )
            return str(standing.id)

        return await rows.get_negotiation(house.state, await house.state.write(work))

    def _drive(self, identifier: str, *, late: bool = False) -> asyncio.Task[None]:
        """The one task that goes on with a negotiation, or ends one that is late."""
        if self._closing:
            raise PeerUnavailableError("the gateway is stopping", remedy="ask again with the same request id")
        task = self._running.get(identifier)
        if task is None:
            work = self._end_late(identifier) if late else self._run(identifier)
            task = asyncio.create_task(work, name=f"negotiation-{identifier}")
            self._running[identifier] = task
            task.add_done_callback(lambda done: self._finished(identifier, done))
        return task

    def _finished(self, identifier: str, task: asyncio.Task[None]) -> None:
        if self._running.get(identifier) is task:
            del self._running[identifier]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("negotiation stopped", negotiation=identifier, error=str(error))

    async def _run(self, identifier: str) -> None:
        house = self._house
        row = await rows.get_negotiation(house.state, identifier)
        if not row.effect:
            await self._decide_own(row)
            row = await rows.get_negotiation(house.state, identifier)
        if row.state == State.REQUESTED and not row.held_by:
            await self._negotiate(row)
            row = await rows.get_negotiation(house.state, identifier)
        if row.state == State.ACCEPTED:
            await self._confirm(row)

    async def _decide_own(self, row: rows.NegotiationRow) -> None:
        """A1: this zone's own decision, on the ledger before anybody hears it."""
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
            offered = await self._patiently(row, lambda: self._offers.find(row.resource, row.participant))
            zone = offered.zone
            await self._patiently(row, lambda: house.check_clock(zone))
        except NotFoundError:
            same_zone = await self._in_own_zone(row)
            unknown = not same_zone
            kept = house.refuse(asked, findings.SAME_ZONE if same_zone else findings.NOT_OFFERED)
        except PeerUnavailableError:
            kept = house.refuse(asked, findings.PEER)
        except ClockError:
            kept = house.refuse(asked, findings.CLOCK)
        except (IntegrityError, PeerError) as error:
            _log.error("a dataset card does not hold", resource=row.resource, reason=error.reason, error=str(error))
            kept = house.refuse(asked, findings.BROKEN)
        else:
            kept = await self._decide(row, offered, refs)
        decision = kept.decision
        held_by = f"{house.zone}/admin" if decision.effect == "review" else ""
        now = house.clock()
        document: dict[str, Any] = {
            "decision": decision.to_json(),
            "findings": [finding.to_json() for finding in decision.findings],
            "decisions": [[house.zone, decision.effect, decision.decision_id]],
            "unknown": unknown,
        }
        if offered is not None:
            document["card"] = offered.card.document()
            if decision.effect == "allow":
                document["asked"] = self._asked(row, offered, kept)
        state = State.TERMINATED if decision.effect == "deny" else State.REQUESTED
        await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={
                    **kept.entry(),
                    "effect": decision.effect,
                    "request": {**asked, "version": offered.card.version if offered is not None else ""},
                },
                effect="consumer.decided",
                arguments={
                    "id": row.id,
                    "effect": decision.effect,
                    "state": state.value,
                    "held_by": held_by,
                    "deadline": now + house.timing.review if held_by else row.deadline,
                    "peer_zone": offered.zone if offered is not None else "",
                    "document": document,
                    "now": now,
                },
                kept=kept,
            )
        )

    async def _in_own_zone(self, row: rows.NegotiationRow) -> bool:
        """Whether the resource is one of this zone's that the caller may know of."""
        try:
            published = await self._house.datasets.get(row.resource)
        except NotFoundError:
            return False
        terms = published.terms
        return published.owner == row.participant or (
            terms is not None
            and terms.offers(zone=self._house.zone, participant=row.participant, now=self._house.clock())
        )

    async def _decide(self, row: rows.NegotiationRow, offered: Offered, refs: tuple[str, ...]) -> KeptDecision:
        house = self._house
        facts = offered.card.facts()
        document = transfer_input(
            now=house.clock(),
            purpose=row.purpose,
            leaves=house.peer_site(offered.zone),
            enters=house.site(),
            exporter=offered.card.exporter,
            recipient=await house.recipient(row.participant),
            dataset=facts,
            mechanisms=await house.mechanisms.serving(refs),
            persons=own_persons(facts),
        )
        return await house.decide(document)

    async def _negotiate(self, row: rows.NegotiationRow) -> None:
        """Round trip 1, then A2: the peer's decision with the countersigned agreement, or the denial."""
        card = DatasetCard.parse(row.document["card"])
        own = Decision.from_json(row.document["decision"])
        try:
            await self._hear(row, card, own)
        except PeerUnavailableError as error:
            await self._deny(row, own, findings.PEER, why="peer unreachable", reason=str(error))
        except ClockError as error:
            await self._deny(row, own, findings.CLOCK, why="clocks apart", reason=str(error))
        except (LedgerError, StorageError):
            raise  # no decision of anybody's: the same request again, or a restart, goes on
        except TdzError as error:
            _log.error("the peer's answer does not hold", negotiation=row.id, reason=error.reason, error=str(error))
            await self._deny(row, own, findings.BROKEN, why=f"no valid answer: {error.reason}", reason=str(error))

    async def _hear(self, row: rows.NegotiationRow, card: DatasetCard, own: Decision) -> None:
        house = self._house
        envelope = str(row.document["asked"])
        answer = await self._patiently(row, lambda: self._answered(row, envelope))
        theirs = house.read(ZoneDecision, answer.decision, of=row.peer_zone, process=row.id)
        decision = theirs.peer_decision()
        outcome = compose(own, decision)
        if theirs.effect == "allow" and outcome.effect == "allow":
            await self._countersign(row, card, answer, decision, outcome)
        elif theirs.effect == "review" and outcome.effect != "deny":
            await self._hold(row, answer, theirs, decision, outcome)
        else:
            await self._denied_by_peer(row, answer, decision, outcome)

    async def _answered(self, row: rows.NegotiationRow, envelope: str) -> Answer:
        house = self._house
        answer = await house.peers.get(row.peer_zone).negotiate(envelope, house.journal.size)
        await house.journal.wait_mirrored(row.peer_zone, answer.ledger_size, house.timing.mirror)
        return answer

    async def _patiently(self, row: rows.NegotiationRow, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask the peer again while it does not answer, though not longer than a partner would wait.

        Raises:
            PeerUnavailableError: it did not answer.
        """
        house = self._house
        wait = house.timing.retry
        while True:
            try:
                return await ask()
            except PeerUnavailableError:
                if house.clock() + wait > row.created_at + house.timing.answer:
                    raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RETRY_MAX_S)

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

    async def _countersign(
        self, row: rows.NegotiationRow, card: DatasetCard, answer: Answer, theirs: Decision, outcome: Outcome
    ) -> None:
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
            "state": State.ACCEPTED.value,
            "envelope": envelope,
            "card": canonical.encode(card.document()).decode(),
            "confirm_before": body.confirm_before,
            "expires_at": body.limits.expires_at,
            "created_at": now,
            "updated_at": now,
        }
        await house.steps.run(
            Step(
                kind="agreement",
                subject=f"agreements/{body.id}",
                body={
                    "outcome": "countersigned",
                    "peer_decision": parse_envelope(answer.decision).to_json(),
                    "agreement": parse_envelope(envelope).to_json(),
                },
                effect="consumer.agreed",
                arguments={
                    "id": row.id,
                    "agreement": agreement,
                    "document": _heard(row, theirs, outcome),
                    "now": now,
                },
            )
        )

    def _check_offer(self, row: rows.NegotiationRow, card: DatasetCard, body: Agreement, theirs: Decision) -> None:
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
        await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "review", "peer_decision": parse_envelope(answer.decision).to_json()},
                effect="consumer.decided",
                arguments={
                    "id": row.id,
                    "effect": "review",
                    "state": State.REQUESTED.value,
                    "held_by": theirs.held_by or f"{row.peer_zone}/admin",
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
            await self._house.datasets.drop_card(row.peer_zone, row.resource.removeprefix("datasets/"))
        await self._house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "deny", "peer_decision": parse_envelope(answer.decision).to_json()},
                effect="consumer.ended",
                arguments={
                    "id": row.id,
                    "effect": "deny",
                    "document": _heard(row, theirs, outcome),
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

    async def _confirm(self, row: rows.NegotiationRow) -> None:
        """Round trip 2, repeated until the agreement's date; then it is recorded as not confirmed."""
        house = self._house
        agreement = await rows.get_agreement(house.state, row.agreement_id)
        wait = house.timing.retry
        while True:
            try:
                granted = await house.peers.get(row.peer_zone).confirm(agreement.envelope, house.journal.size)
                await house.journal.wait_mirrored(row.peer_zone, granted.ledger_size, house.timing.mirror)
                break
            except (PeerUnavailableError, LedgerError, StorageError):  # the peer's: it may be able to yet
                if house.clock() + wait > agreement.confirm_before:
                    await self._unconfirmed(row, "peer unreachable")
                    return
            except TdzError as error:
                await self._unconfirmed(row, f"refused: {error.reason}")
                return
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RETRY_MAX_S)
        now = house.clock()

        def work(connection: Connection) -> None:
            rows.advance_agreement(
                connection,
                agreement.id,
                [State.ACCEPTED],
                state=State.FINALIZED.value,
                peer_ticket=granted.ticket,
                peer_ticket_until=granted.until,
                updated_at=now,
            )
            rows.advance_negotiation(connection, row.id, [State.ACCEPTED], state=State.FINALIZED.value, updated_at=now)

        await house.state.write(work)

    async def _unconfirmed(self, row: rows.NegotiationRow, why: str) -> None:
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


def _heard(row: rows.NegotiationRow, theirs: Decision, outcome: Outcome) -> dict[str, Any]:
    return {
        "findings": [finding.to_json() for finding in outcome.findings],
        "obligations": [obligation.to_json() for obligation in outcome.obligations],
        "decisions": [*row.document["decisions"], [theirs.zone, theirs.effect, theirs.decision_id]],
    }


def _with_seq(document: dict[str, Any], recorded: Recorded) -> dict[str, Any]:
    """Say where the newest decision stands on this ledger."""
    if "decisions" in document:
        *before, last = document["decisions"]
        document = {**document, "decisions": [*before, [*last[:3], recorded.seq]]}
    return document


def _decided(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    rows.advance_negotiation(
        connection,
        arguments["id"],
        [State.REQUESTED],
        document=_with_seq(arguments["document"], recorded),
        state=arguments["state"],
        effect=arguments["effect"],
        held_by=arguments["held_by"],
        deadline=arguments["deadline"],
        peer_zone=arguments["peer_zone"],
        updated_at=arguments["now"],
    )


def _agreed(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    agreement = arguments["agreement"]
    if rows.advance_negotiation(
        connection,
        arguments["id"],
        [State.REQUESTED],
        document=_with_seq(arguments["document"], recorded),
        state=State.ACCEPTED.value,
        agreement_id=agreement["id"],
        updated_at=arguments["now"],
    ):
        connection.execute(insert(agreements).values(**agreement))


def _ended(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    now = arguments["now"]
    row = rows.negotiation(connection, arguments["id"])
    rows.advance_negotiation(
        connection,
        row.id,
        [State.REQUESTED, State.OFFERED, State.ACCEPTED],
        document=_with_seq(arguments["document"], recorded),
        state=State.TERMINATED.value,
        effect=arguments["effect"],
        updated_at=now,
    )
    if row.agreement_id:
        rows.advance_agreement(
            connection,
            row.agreement_id,
            [State.OFFERED, State.ACCEPTED],
            state=State.TERMINATED.value,
            reason=arguments["document"].get("reason", "")[:300],
            updated_at=now,
        )
