"""Landing one transfer from its first stream to its end on the ledger: the steps behind an arrival."""

from __future__ import annotations

import asyncio
from typing import Final

import structlog
from sqlalchemy import Connection, update

from gateway.decisions.inputs import KeptDecision, own_persons, transfer_input
from gateway.errors import (
    LedgerError,
    MirrorFullError,
    NotFoundError,
    PeerUnavailableError,
    StorageError,
    TdzError,
    TicketError,
    TransferAbortedError,
)
from gateway.exchange import honouring, rows
from gateway.exchange.house import House, agreement_body
from gateway.exchange.landing import Arrival
from gateway.exchange.outbox import Outbox
from gateway.flow import approved, findings
from gateway.flow.locks import both
from gateway.flow.steps import Step
from gateway.journal import Recorded
from gateway.model import canonical, limits
from gateway.model.negotiation import NegotiationState
from gateway.model.statements import Agreement, Receipt, card_of
from gateway.model.transfer import AbortReason, abort_reason
from gateway.model.transfer import TransferEvent as Event
from gateway.model.transfer import TransferState as State
from gateway.state.schema import agreements

_log = structlog.get_logger()
_RETRY_MAX_S: Final = 5.0


class Arriving:
    """Lands transfers of this zone's institutions.

    Args:
        house: this zone.
        outbox: brings receipts and aborts to the peer.
    """

    def __init__(self, house: House, outbox: Outbox) -> None:
        self._house = house
        self._outbox = outbox

    async def land(self, arrival: Arrival) -> None:
        """Stream until everything is here, then complete. What can be mended is tried again until the lease."""
        house = self._house
        wait = house.timing.retry
        while True:
            try:
                await self._stream(arrival)
                await self._finish(arrival)
                return
            except (StorageError, LedgerError, MirrorFullError) as error:
                # Not mended by asking again: stands still until the partner resumes.
                await self._suspend(arrival, str(error), 0)
                raise
            except (PeerUnavailableError, TicketError) as error:
                if not await self._suspend(arrival, str(error), wait):
                    raise
            except TdzError as error:
                refused = error.reason in {"TDZ-DENIED", "TDZ-REVIEW"}
                reason = AbortReason.POLICY if refused else error.reason
                told = "" if refused else f"{error.reason}: {error.message}"
                await self.abort(arrival.transfer_id, arrival.agreement.id, reason, told=told)
                raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RETRY_MAX_S)

    async def _finish(self, arrival: Arrival) -> None:
        """What landed becomes visible, then its end is recorded."""
        house = self._house
        await arrival.finish()
        async with house.transfers.hold(arrival.transfer_id):
            row = await rows.get_transfer(house.state, arrival.transfer_id)
            require_alive(row)
            if row.state != State.COMPLETED:
                await self._complete(arrival, row)
        arrival.complete()
        await self.clear(arrival.transfer_id)  # readers of it hold its files open

    async def _stream(self, arrival: Arrival) -> None:
        """One stream: a ticket while deciding again, record, then take chunks from the first one missing.

        The ticket comes before the entry: a peer that is away gives none, so no entry says that the transfer goes on.
        """
        house, agreement = self._house, arrival.agreement
        house.journal.require_open(agreement.peer_zone)
        body = agreement_body(agreement.envelope)
        arrival.decided_now()
        await self._require_in_force(arrival)
        (first_chunk, ticket), kept = await both(self._ready(arrival), self._decide_again(agreement, body))
        kept, approvals = await honouring.for_pull(house, kept, agreement)
        if kept.decision.effect != "allow":
            await self._record_refusal(arrival, kept)
            raise findings.raised(
                "deny",
                kept.decision.findings,
                decision_id=kept.decision.decision_id,
                request_id=agreement.negotiation_id,
            )
        async with house.transfers.hold(arrival.transfer_id):
            await self._require_in_force(arrival)  # of now: whoever ends it ends what is open under this lock
            recorded = await self._record_start(arrival, body, kept, first_chunk, approvals)
        peer = house.peers.get(agreement.peer_zone)
        async with peer.read(ticket, arrival.transfer_id, first_chunk, recorded.size) as frames:
            await arrival.take(frames, first_chunk)

    async def _require_in_force(self, arrival: Arrival) -> None:
        """Refuse to go on under an agreement that has been revoked meanwhile.

        Raises:
            TransferAbortedError: it has.
        """
        agreement = await rows.get_agreement(self._house.state, arrival.agreement.id)
        if agreement.state != NegotiationState.FINALIZED:
            raise TransferAbortedError(f"the agreement has ended: {agreement.reason}", remedy="request access again")

    async def _ready(self, arrival: Arrival) -> tuple[int, str]:
        return await arrival.prepare(), await self._peer_ticket(arrival)

    async def _decide_again(self, agreement: rows.AgreementRow, body: Agreement) -> KeptDecision:
        house = self._house
        card = card_of(agreement.card)
        subject = await house.subject(card)
        document = transfer_input(
            now=house.clock(),
            purpose=body.purpose,
            leaves=house.peer_site(agreement.peer_zone),
            enters=house.site(),
            exporter=card.exporter,
            recipient=await house.recipient(agreement.consumer),
            subject=subject,
            mechanisms=await house.mechanisms.serving(body.mechanisms),
            persons=own_persons(subject),
        )
        return await house.decide(document)

    async def _record_refusal(self, arrival: Arrival, kept: KeptDecision) -> None:
        await self._house.steps.run(
            Step(
                kind="decision",
                subject=f"transfers/{arrival.transfer_id}",
                body={**kept.entry(), "agreement": arrival.agreement.id, "effect": "deny"},
                kept=kept,
                closing=True,
            )
        )

    async def _record_start(
        self, arrival: Arrival, body: Agreement, kept: KeptDecision, first_chunk: int, approvals: tuple[str, ...]
    ) -> Recorded:
        """A3."""
        house, agreement = self._house, arrival.agreement
        now = house.clock()
        standing = await rows.known_transfer(self._house.state, arrival.transfer_id)
        if standing is not None:
            require_alive(standing)
        known = standing is not None
        # Only progress renews the lease, or a peer that opens and cuts streams could keep a transfer for ever.
        deadline = now + house.timing.lease if standing is None else standing.deadline
        row = {
            "id": arrival.transfer_id,
            "side": "consumer",
            "agreement_id": agreement.id,
            "participant": agreement.consumer,
            "peer_zone": agreement.peer_zone,
            "state": State.STARTED.value,
            "version": agreement.version,
            "view": body.view,
            "manifest": arrival.card.manifest.encode().decode(),
            "first_chunk": first_chunk,
            "deadline": deadline,
            "created_at": now,
            "updated_at": now,
        }
        return await house.steps.run(
            Step(
                kind="transfer.resumed" if known else "transfer.started",
                subject=f"transfers/{arrival.transfer_id}",
                body={
                    **kept.entry(),
                    **approved.named(approvals),
                    "agreement": agreement.id,
                    "version": agreement.version,
                    "view": body.view,
                    "first_chunk": first_chunk,
                    "chunks": arrival.card.manifest.chunks,
                },
                effect="consumer.resumed" if known else "consumer.started",
                arguments={"transfer": row},
                kept=kept,
            )
        )

    async def _peer_ticket(self, arrival: Arrival) -> str:
        """The ticket that came with Confirm while it is fresh, else a new one."""
        house, identifier = self._house, arrival.agreement.id
        now = house.clock()

        def take(connection: Connection) -> str:
            row = rows.agreement(connection, identifier)
            if row.peer_ticket:
                connection.execute(update(agreements).where(agreements.c.id == identifier).values(peer_ticket=""))
            return row.peer_ticket if row.peer_ticket_until > now + 10 else ""

        ticket = await house.state.write(take)
        if ticket:
            return ticket
        peer = house.peers.get(arrival.agreement.peer_zone)
        return (await peer.issue_ticket(identifier, arrival.transfer_id)).ticket

    async def _suspend(self, arrival: Arrival, reason: str, wait: float) -> bool:
        """Stand still; whether there is time to try again before the lease ends."""
        house = self._house
        now = house.clock()
        progressed = arrival.take_progress()

        def work(connection: Connection) -> bool:
            try:
                row = rows.transfer(connection, arrival.transfer_id)
            except NotFoundError:
                return False  # nothing was recorded: the partner hears the error and asks again
            deadline = now + house.timing.lease if progressed else row.deadline
            rows.advance_transfer(
                connection,
                arrival.transfer_id,
                Event.CUT,
                reason=reason[: limits.REASON_MAX_CHARS],
                deadline=deadline,
                updated_at=now,
            )
            return row.state != State.COMPLETED and now + wait < deadline

        return await house.state.write(work)

    async def _complete(self, arrival: Arrival, row: rows.TransferRow) -> None:
        """A4, after everything is verified, fsynced and visible; then the receipt goes to the peer."""
        house, manifest = self._house, arrival.card.manifest
        now = house.clock()
        receipt = Receipt(
            transfer=row.id,
            agreement=row.agreement_id,
            side="consumer",
            version=row.version,
            view=row.view,
            chunks=manifest.chunks,
            rows=manifest.rows,
            bytes=manifest.bytes,
            root=manifest.root,
            started_at=row.created_at,
            ended_at=now,
            checkpoint=house.journal.head(),
        )
        envelope = house.sign(receipt, to=row.peer_zone, process=row.id, ttl=house.timing.agreement)
        await house.steps.run(
            Step(
                kind="transfer.completed",
                subject=f"transfers/{row.id}",
                body={
                    "agreement": row.agreement_id,
                    "version": row.version,
                    "view": row.view,
                    "chunks": manifest.chunks,
                    "rows": manifest.rows,
                    "bytes": manifest.bytes,
                    "root": manifest.root,
                    "receipt": canonical.decode(envelope.encode()),
                },
                effect="consumer.completed",
                arguments={
                    "id": row.id,
                    "chunks": manifest.chunks,
                    "rows": manifest.rows,
                    "bytes": manifest.bytes,
                    "receipt": envelope,
                    "mail": self._outbox.mail("receipt", row.peer_zone, row.id, envelope),
                    "now": now,
                },
                closing=True,
            )
        )
        self._outbox.wake()

    async def abort(
        self, transfer_id: str, agreement_id: str, reason: str, *, told: str = "", due: int | None = None
    ) -> None:
        """Give a transfer up that has not ended, on the ledger.

        Args:
            transfer_id: the transfer.
            agreement_id: its agreement.
            reason: one of `gateway.model.transfer.ABORT_REASONS`, for both ledgers.
            told: for this zone's partner and log, where there is more to say; it may hold what the peer wrote.
            due: only if its deadline is before.
        """
        house = self._house
        reason = abort_reason(reason)
        async with house.transfers.hold(transfer_id):
            row = await rows.known_transfer(self._house.state, transfer_id)
            if row is None or not row.open or (due is not None and row.deadline >= due):
                return
            await house.steps.end(
                Step(
                    kind="transfer.aborted",
                    subject=f"transfers/{transfer_id}",
                    body={"agreement": agreement_id, "reason": reason, "version": row.version},
                    effect="consumer.aborted",
                    arguments={
                        "id": transfer_id,
                        "reason": (told or reason)[: limits.REASON_MAX_CHARS],
                        "mail": self._outbox.mail("abort", row.peer_zone, transfer_id, reason),
                        "now": house.clock(),
                    },
                    closing=True,
                )
            )
        self._outbox.wake()
        await self.clear(transfer_id)

    async def clear(self, transfer_id: str) -> None:
        """Remove the landing of a transfer that has ended; what cannot be removed waits for the next start."""
        landings = self._house.landings

        try:
            await self._house.chunks.run(lambda: landings.discard(transfer_id))
        except TdzError as error:
            _log.warning("a landing was not removed", transfer=transfer_id, error=str(error))


def require_alive(row: rows.TransferRow) -> None:
    """Refuse a transfer that was given up.

    Raises:
        TransferAbortedError: it was.
    """
    if row.state == State.TERMINATED:
        raise TransferAbortedError(f"the transfer was aborted: {row.reason}", remedy="pull again")
