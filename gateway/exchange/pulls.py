"""The consumer's side of a transfer: it lands at its own pace, and the partner reads verified chunks meanwhile.

One owned task lands a transfer. A partner that is slow or goes away neither slows nor aborts it; the partner's next
stream joins it. A cut stream is taken up again at the first chunk not verified, until the lease ends.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection

from gateway.errors import (
    ConflictError,
    NotFoundError,
    PeerUnavailableError,
    TdzError,
    TransferAbortedError,
)
from gateway.exchange import rows
from gateway.exchange.arriving import Arriving, require_alive
from gateway.exchange.house import House, agreement_body
from gateway.exchange.landing import Arrival
from gateway.exchange.outbox import Outbox
from gateway.exchange.peer import Granted
from gateway.exchange.tickets import ISSUE, Redeemed, Tickets
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationState
from gateway.model.participant import Identity
from gateway.model.statements import ResourceCard, card_of
from gateway.model.transfer import AbortReason
from gateway.model.transfer import TransferState as State

_log = structlog.get_logger()
_RETRY_MAX_S: Final = 5.0


@dataclass(frozen=True, slots=True)
class Opened:
    """A ticket for a partner, and the card of what it will deliver."""

    ticket: str
    transfer: str
    card: ResourceCard


class Pulls:
    """Lands transfers for this zone's institutions."""

    def __init__(self, house: House, tickets: Tickets, outbox: Outbox) -> None:
        self._house = house
        self._tickets = tickets
        self._arriving = Arriving(house, outbox)
        self._active: dict[str, tuple[Arrival, asyncio.Task[None]]] = {}
        self._closing = False

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
        house = self._house
        if transfer_id:
            await self._require_own(caller, agreement_id, transfer_id)

        def work(connection: Connection) -> tuple[Granted, str, ResourceCard]:
            agreement = self._require_in_force(caller, rows.agreement(connection, agreement_id))
            card = card_of(agreement.card)
            if not 0 <= first_chunk <= card.manifest.chunks:
                raise ConflictError(f"the version has {card.manifest.chunks} chunks, not {first_chunk}")
            transfer = transfer_id or rows.unfinished_transfer(connection, caller.uri, agreement_id) or uuid7()
            granted, row = self._tickets.prepare(
                holder=caller.uri,
                fingerprint=fingerprint,
                agreement=agreement_id,
                transfer=transfer,
                view=agreement_body(agreement.envelope).view,
                first_chunk=first_chunk,
            )
            connection.execute(ISSUE, row)
            return granted, transfer, card

        granted, transfer_id, card = await house.state.write(work)
        return Opened(granted.ticket, transfer_id, card)

    async def describe(self, caller: Identity, agreement_id: str) -> bytes:
        """The schema message of an agreement's dataset.

        Raises:
            NotFoundError, ConflictError: as `open`.
        """
        agreement = await self._in_force(caller, agreement_id)
        return card_of(agreement.card).schema_bytes()

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

    def decide_again(self, mechanism: str = "") -> None:
        """No further chunk is taken before both zones decided again.

        Args:
            mechanism: only of transfers that rely on this one, which was withdrawn; empty where another policy is in
                force.
        """
        for arrival, _ in self._active.values():
            if not mechanism or mechanism in agreement_body(arrival.agreement.envelope).mechanisms:
                arrival.decide_again()

    def cut(self, agreement_id: str) -> None:
        """Take no further chunk under an agreement, and hand none on, from now on; `end_all` records it."""
        why = _aborted(AbortReason.REVOKED)
        for arrival, task in self._active.values():
            if arrival.agreement.id == agreement_id:
                arrival.fail(why)
                task.cancel()

    async def take_up(self) -> int:
        """After a restart: go on with every open transfer, and clear what ended ones left; the count of them."""
        house = self._house
        open_rows = await rows.list_transfers(
            house.state, side="consumer", where_state=[State.STARTED, State.SUSPENDED], size=None
        )
        open_ids = {row.id for row in open_rows}
        for identifier in await house.chunks.run(house.landings.ids):
            if identifier not in open_ids:
                await self._arriving.clear(identifier)
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
        reason = AbortReason.NO_PROGRESS
        for row in due:
            await self._stop(row.id, TransferAbortedError(f"the transfer was aborted: {reason}", remedy="pull again"))
            await self._arriving.abort(row.id, row.agreement_id, reason, due=now)
        return len(due)

    async def end_all(self, agreement_id: str, reason: AbortReason) -> None:
        """Abort every transfer of an agreement that has ended, those that are just starting too."""
        why = _aborted(reason)
        for identifier, (arrival, _) in list(self._active.items()):
            if arrival.agreement.id == agreement_id:
                await self._stop(identifier, why)
        open_rows = await rows.list_transfers(
            self._house.state,
            agreement_id=agreement_id,
            side="consumer",
            where_state=[State.STARTED, State.SUSPENDED],
            size=None,
        )
        for row in open_rows:
            await self._arriving.abort(row.id, agreement_id, reason)

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
        return self._require_in_force(caller, await rows.get_agreement(self._house.state, agreement_id))

    def _require_in_force(self, caller: Identity, agreement: rows.AgreementRow) -> rows.AgreementRow:
        if agreement.consumer != caller.uri or agreement.side != "consumer":
            raise NotFoundError(f"no agreement {agreement.id}", remedy="see `tdz agreement list`")
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
        row = await rows.known_transfer(self._house.state, transfer_id)
        if row is None:
            own = await self._tickets.promised(transfer_id, holder=caller.uri, agreement=agreement_id)
        else:
            own = (row.participant, row.agreement_id, row.side) == (caller.uri, agreement_id, "consumer")
        if not own:
            raise NotFoundError(f"no transfer {transfer_id[:80]}", remedy="see `tdz transfer list`")
        if row is not None:
            require_alive(row)

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
            await self._arriving.land(arrival)
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


def _aborted(reason: AbortReason) -> TransferAbortedError:
    return TransferAbortedError(f"the transfer was aborted: {reason}", remedy="request access again")
