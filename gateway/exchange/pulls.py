"""The consumer's side of a transfer: it lands at its own pace, and the partner reads verified chunks meanwhile.

One owned task lands a transfer. A partner that is slow or goes away neither slows nor aborts it; the partner's next
stream joins it. A cut stream is taken up again at the first chunk not verified, until the lease ends.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

import structlog
from sqlalchemy import Connection, insert, update

from gateway.decisions.inputs import KeptDecision, own_persons, transfer_input
from gateway.errors import (
    ConflictError,
    LedgerError,
    NotFoundError,
    PeerUnavailableError,
    StorageError,
    TdzError,
    TicketError,
    TransferAbortedError,
)
from gateway.exchange import findings, rows
from gateway.exchange.house import House, agreement_body
from gateway.exchange.landing import Arrival
from gateway.exchange.outbox import Outbox
from gateway.exchange.steps import Step
from gateway.exchange.tickets import Redeemed, Tickets
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationState
from gateway.model.participant import Identity
from gateway.model.statements import Agreement, DatasetCard, Receipt
from gateway.model.transfer import TransferState as State
from gateway.state.schema import agreements, transfers

_log = structlog.get_logger()
_RETRY_MAX_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A ticket for a partner and what it will deliver; rows, bytes and chunks in all."""

    ticket: str
    transfer: str
    schema_message: bytes
    rows: int
    bytes: int
    chunks: int
    version: str


class Pulls:
    """Lands transfers for this zone's institutions."""

    def __init__(self, house: House, tickets: Tickets, outbox: Outbox) -> None:
        self._house = house
        self._tickets = tickets
        self._outbox = outbox
        self._active: dict[str, tuple[Arrival, asyncio.Task[None]]] = {}
        self._closing = False
        house.steps.register("consumer.started", _started)
        house.steps.register("consumer.resumed", _resumed)
        house.steps.register("consumer.completed", _completed)
        house.steps.register("consumer.aborted", _aborted)

    # --- for partners -----------------------------------------------------------------------------------

    async def open(
        self, caller: Identity, fingerprint: str, agreement_id: str, transfer_id: str = "", first_chunk: int = 0
    ) -> Opened:
        """A ticket for the partner. Nothing starts before it is presented.

        Args:
            caller: the partner.
            fingerprint: of the caller's certificate; the ticket is bound to it.
            agreement_id: an agreement of the caller's.
            transfer_id: a transfer to read on; "" takes the caller's unfinished one, or a new one.
            first_chunk: the first chunk to be sent to the partner.

        Raises:
            NotFoundError: not the caller's.
            ConflictError: not in force, or the transfer has ended.
        """
        agreement = await self._in_force(caller, agreement_id)
        card = DatasetCard.parse(canonical.decode(agreement.card.encode()))
        manifest = card.manifest
        if not 0 <= first_chunk <= manifest.chunks:
            raise ConflictError(f"the version has {manifest.chunks} chunks, not {first_chunk}")
        if transfer_id:
            await self._require_own(caller, agreement_id, transfer_id)
        else:
            unfinished = await rows.list_transfers(
                self._house.state,
                participant=caller.uri,
                agreement_id=agreement_id,
                side="consumer",
                where_state=[State.STARTED, State.SUSPENDED],
                size=1,
            )
            transfer_id = unfinished[0].id if unfinished else uuid7()
        granted = await self._tickets.issue(
            holder=caller.uri,
            fingerprint=fingerprint,
            agreement=agreement_id,
            transfer=transfer_id,
            view=agreement_body(agreement.envelope).view,
            first_chunk=first_chunk,
        )
        return Opened(
            granted.ticket,
            transfer_id,
            card.schema_bytes(),
            manifest.rows,
            manifest.bytes,
            manifest.chunks,
            manifest.version,
        )

    async def describe(self, caller: Identity, agreement_id: str) -> bytes:
        """The schema message of an agreement's dataset.

        Raises:
            NotFoundError, ConflictError: as `open`.
        """
        agreement = await self._in_force(caller, agreement_id)
        return DatasetCard.parse(canonical.decode(agreement.card.encode())).schema_bytes()

    async def redeem(self, caller: Identity, fingerprint: str, ticket: str) -> tuple[Arrival, Redeemed]:
        """Present a ticket: join or start the transfer behind it.

        Returns:
            The arrival to read from, to be left with `Arrival.leave`, and what the ticket was for.

        Raises:
            TicketError: unknown, another's, spent or expired.
            NotFoundError, ConflictError: the agreement has ended meanwhile.
        """
        redeemed = await self._tickets.redeem(ticket, holder=caller.uri, fingerprint=fingerprint)
        agreement = await self._in_force(caller, redeemed.agreement)
        arrival = self._start(redeemed.transfer, agreement)
        arrival.join()
        return arrival, redeemed

    def arrival(self, transfer_id: str) -> Arrival | None:
        """The running arrival of a transfer, for its progress."""
        active = self._active.get(transfer_id)
        return active[0] if active else None

    # --- for the gateway --------------------------------------------------------------------------------

    async def take_up(self) -> int:
        """After a restart: go on with every open transfer, and clear what ended ones left; the count of them."""
        house = self._house
        open_rows = await rows.list_transfers(
            house.state, side="consumer", where_state=[State.STARTED, State.SUSPENDED], size=None
        )
        open_ids = {row.id for row in open_rows}
        for identifier in await house.chunks.run(house.landings.ids):
            if identifier not in open_ids:
                await self._clear(identifier)
        for row in open_rows:
            if row.deadline >= house.clock():
                self._start(row.id, await rows.get_agreement(house.state, row.agreement_id))
        return len(open_rows)

    async def expire(self) -> int:
        """Abort transfers without progress; the count of them."""
        now = self._house.clock()
        due = await rows.list_transfers(
            self._house.state, side="consumer", where_state=[State.STARTED, State.SUSPENDED], due=now, size=None
        )
        reason = "no progress before the lease ended"
        for row in due:
            await self._stop(row.id, TransferAbortedError(f"the transfer was aborted: {reason}", remedy="pull again"))
            await self._abort(row.id, row.agreement_id, reason, due=now)
        return len(due)

    async def close(self) -> None:
        """Stop landing; what is open goes on after the next start."""
        self._closing = True
        stopping = PeerUnavailableError("the gateway is stopping", remedy="resume with `tdz pull`")
        await asyncio.gather(*(self._stop(identifier, stopping) for identifier in list(self._active)))

    async def _stop(self, identifier: str, why: TdzError) -> None:
        active = self._active.get(identifier)
        if active is not None:
            active[0].fail(why)
            active[1].cancel()
            await asyncio.gather(active[1], return_exceptions=True)

    async def _in_force(self, caller: Identity, agreement_id: str) -> rows.AgreementRow:
        agreement = await rows.get_agreement(self._house.state, agreement_id)
        if agreement.consumer != caller.uri or agreement.side != "consumer":
            raise NotFoundError(f"no agreement {agreement_id[:80]}", remedy="see `tdz agreement list`")
        if agreement.state != NegotiationState.FINALIZED:
            raise ConflictError(
                f"the agreement is not in force: {agreement.state} {agreement.reason}".rstrip(),
                remedy="request access again",
            )
        if agreement.expires_at <= self._house.clock():
            raise ConflictError("the agreement has expired", remedy="request access again")
        return agreement

    async def _require_own(self, caller: Identity, agreement_id: str, transfer_id: str) -> None:
        """The transfer is the caller's and may be read on; one that was promised may not have started yet."""
        row = await self._known(transfer_id)
        if row is None:
            own = await self._tickets.promised(transfer_id, holder=caller.uri, agreement=agreement_id)
        else:
            own = (row.participant, row.agreement_id, row.side) == (caller.uri, agreement_id, "consumer")
        if not own:
            raise NotFoundError(f"no transfer {transfer_id[:80]}", remedy="see `tdz transfer list`")
        if row is not None:
            _require_alive(row)

    # --- one transfer -----------------------------------------------------------------------------------

    def _start(self, transfer_id: str, agreement: rows.AgreementRow) -> Arrival:
        if self._closing:
            raise PeerUnavailableError("the gateway is stopping", remedy="resume with `tdz pull`")
        active = self._active.get(transfer_id)
        if active is not None and not active[0].settled:
            return active[0]
        arrival = Arrival(self._house, transfer_id, agreement)
        before = None if active is None else active[1]
        task = asyncio.create_task(self._run(arrival, before), name=f"transfer-{transfer_id}")
        self._active[transfer_id] = arrival, task
        task.add_done_callback(lambda done: self._ended(transfer_id, done))
        return arrival

    def _ended(self, transfer_id: str, task: asyncio.Task[None]) -> None:
        if (active := self._active.get(transfer_id)) is not None and active[1] is task:
            del self._active[transfer_id]

    async def _run(self, arrival: Arrival, before: asyncio.Task[None] | None) -> None:
        """Land, after an arrival of the same transfer that is being put away."""
        try:
            if before is not None:
                await asyncio.wait({before})
            await self._land(arrival)
        except asyncio.CancelledError:
            arrival.fail(PeerUnavailableError("the gateway is stopping", remedy="resume with `tdz pull`"))
            raise
        except TdzError as error:
            _log.warning("transfer stopped", transfer=arrival.transfer_id, reason=error.reason, error=str(error))
            arrival.fail(error)
        except Exception as error:
            _log.exception("transfer failed", transfer=arrival.transfer_id)
            arrival.fail(TdzError(f"internal error while landing: {type(error).__name__}"))
        finally:
            await arrival.settle()

    async def _land(self, arrival: Arrival) -> None:
        """Stream until everything is here, then complete. What can be mended is tried again until the lease."""
        house = self._house
        wait = house.timing.retry
        while True:
            try:
                await self._stream(arrival)
                await self._finish(arrival)
                return
            except (PeerUnavailableError, TicketError) as error:
                if not await self._suspend(arrival, str(error), wait):
                    raise
            except (StorageError, LedgerError) as error:
                # Not the peer's fault and not mended by asking again: stands still until the partner resumes.
                await self._suspend(arrival, str(error), 0)
                raise
            except TdzError as error:
                reason = (
                    "policy" if error.reason in {"TDZ-DENIED", "TDZ-REVIEW"} else f"{error.reason}: {error.message}"
                )
                await self._abort(arrival.transfer_id, arrival.agreement.id, reason)
                raise
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RETRY_MAX_S)

    async def _finish(self, arrival: Arrival) -> None:
        """What landed becomes visible, then its end is recorded."""
        house = self._house
        await arrival.finish()
        async with house.transfers.hold(arrival.transfer_id):
            row = await rows.get_transfer(house.state, arrival.transfer_id)
            _require_alive(row)
            if row.state != State.COMPLETED:
                await self._complete(arrival, row)
        arrival.complete()
        await self._clear(arrival.transfer_id)  # readers of it hold its files open

    async def _stream(self, arrival: Arrival) -> None:
        """One stream: a ticket, decide again, record, then take chunks from the first one missing.

        The ticket comes first: a peer that is away gives none, and so no entry says that the transfer goes on.
        """
        house, agreement = self._house, arrival.agreement
        first_chunk = await arrival.prepare()
        ticket = await self._peer_ticket(arrival)
        body = agreement_body(agreement.envelope)
        kept = await self._decide_again(agreement, body)
        if kept.decision.effect != "allow":
            await self._record_refusal(arrival, kept)
            raise findings.raised(
                "deny",
                kept.decision.findings,
                decision_id=kept.decision.decision_id,
                request_id=agreement.negotiation_id,
            )
        async with house.transfers.hold(arrival.transfer_id):
            recorded = await self._record_start(arrival, body, kept, first_chunk)
        peer = house.peers.get(agreement.peer_zone)
        async with peer.read(ticket, arrival.transfer_id, first_chunk, recorded.size) as frames:
            await arrival.take(frames, first_chunk)

    async def _decide_again(self, agreement: rows.AgreementRow, body: Agreement) -> KeptDecision:
        house = self._house
        card = DatasetCard.parse(canonical.decode(agreement.card.encode()))
        facts = card.facts()
        document = transfer_input(
            now=house.clock(),
            purpose=body.purpose,
            leaves=house.peer_site(agreement.peer_zone),
            enters=house.site(),
            exporter=card.exporter,
            recipient=await house.recipient(agreement.consumer),
            dataset=facts,
            mechanisms=await house.mechanisms.serving(body.mechanisms),
            persons=own_persons(facts),
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

    async def _record_start(self, arrival: Arrival, body: Agreement, kept: KeptDecision, first_chunk: int) -> Recorded:
        """A3."""
        house, agreement = self._house, arrival.agreement
        now = house.clock()
        standing = await self._known(arrival.transfer_id)
        if standing is not None:
            _require_alive(standing)
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

    async def _known(self, transfer_id: str) -> rows.TransferRow | None:
        try:
            return await rows.get_transfer(self._house.state, transfer_id)
        except NotFoundError:
            return None

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
                [State.STARTED, State.SUSPENDED],
                state=State.SUSPENDED.value,
                reason=reason[:300],
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
            )
        )
        self._outbox.wake()

    async def _abort(self, transfer_id: str, agreement_id: str, reason: str, *, due: int | None = None) -> None:
        """Give a transfer up that has not ended, on the ledger; with `due` only if its deadline is before."""
        house = self._house
        async with house.transfers.hold(transfer_id):
            row = await self._known(transfer_id)
            if row is None or not row.open or (due is not None and row.deadline >= due):
                return
            await house.steps.run(
                Step(
                    kind="transfer.aborted",
                    subject=f"transfers/{transfer_id}",
                    body={"agreement": agreement_id, "reason": reason[:300], "version": row.version},
                    effect="consumer.aborted",
                    arguments={
                        "id": transfer_id,
                        "reason": reason[:300],
                        "mail": self._outbox.mail("abort", row.peer_zone, transfer_id, reason[:300]),
                        "now": house.clock(),
                    },
                    closing=True,
                )
            )
        self._outbox.wake()
        await self._clear(transfer_id)

    async def _clear(self, transfer_id: str) -> None:
        """Remove the landing of a transfer that has ended; what cannot be removed waits for the next start."""
        landings = self._house.landings

        try:
            await self._house.chunks.run(lambda: landings.discard(transfer_id))
        except TdzError as error:
            _log.warning("a landing was not removed", transfer=transfer_id, error=str(error))


def _require_alive(row: rows.TransferRow) -> None:
    if row.state == State.TERMINATED:
        raise TransferAbortedError(f"the transfer was aborted: {row.reason}", remedy="pull again")


def _started(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    row = arguments["transfer"]
    try:
        rows.transfer(connection, row["id"])
    except NotFoundError:
        connection.execute(insert(transfers).values(**row))


def _resumed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    row = arguments["transfer"]
    rows.advance_transfer(
        connection,
        row["id"],
        [State.STARTED, State.SUSPENDED],
        state=State.STARTED.value,
        first_chunk=row["first_chunk"],
        reason="",
        deadline=row["deadline"],
        updated_at=row["updated_at"],
    )


def _completed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    if rows.advance_transfer(
        connection,
        arguments["id"],
        [State.STARTED, State.SUSPENDED],
        state=State.COMPLETED.value,
        chunks=arguments["chunks"],
        rows=arguments["rows"],
        bytes=arguments["bytes"],
        receipt=arguments["receipt"],
        reason="",
        updated_at=arguments["now"],
    ):
        Outbox.post(connection, arguments["mail"])


def _aborted(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    if rows.advance_transfer(
        connection,
        arguments["id"],
        [State.REQUESTED, State.STARTED, State.SUSPENDED],
        state=State.TERMINATED.value,
        reason=arguments["reason"],
        updated_at=arguments["now"],
    ):
        Outbox.post(connection, arguments["mail"])
