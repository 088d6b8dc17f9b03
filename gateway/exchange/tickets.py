"""Tickets: random ids for one stream each; the row behind one says who may do what with it.

Only the SHA-256 of a ticket is kept, so neither database nor backup opens a stream. Unknown, another's, spent and
expired tickets are refused alike; all but unknown ones are recorded.
"""

from __future__ import annotations

import hashlib
import secrets
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, delete, insert, select, update

from gateway.errors import TicketError
from gateway.exchange.house import House
from gateway.exchange.peer import Granted
from gateway.model.ids import uuid7
from gateway.state.schema import tickets

_TICKET_CHARS_MAX = 100
ISSUE: Final = insert(tickets)
_BY_DIGEST: Final = select(tickets).where(tickets.c.digest == bindparam("of"))
_SPEND: Final = update(tickets).where(tickets.c.digest == bindparam("of")).values(spent_at=bindparam("at"))


@dataclass(frozen=True, slots=True)
class Redeemed:
    """What a ticket was for."""

    agreement: str
    transfer: str
    view: str
    first_chunk: int


class Tickets:
    """This gateway's own tickets."""

    def __init__(self, house: House) -> None:
        self._house = house

    def prepare(
        self, *, holder: str, agreement: str, transfer: str, view: str, first_chunk: int, fingerprint: str = ""
    ) -> tuple[Granted, dict[str, Any]]:
        """A new ticket, and the row that makes it valid once it is written (`ISSUE`).

        Args:
            holder: URI of who may present it.
            agreement: what it gives access to.
            transfer: the transfer it belongs to; "" lets the holder name a new one.
            view: the governed view.
            first_chunk: where the stream begins.
            fingerprint: of the holder's certificate; "" binds to the URI alone (a gateway may renew meanwhile).
        """
        ticket = secrets.token_urlsafe(32)
        until = self._house.clock() + self._house.timing.ticket
        row = {
            "digest": _digest(ticket),
            "holder": holder,
            "fingerprint": fingerprint,
            "agreement_id": agreement,
            "transfer_id": transfer,
            "view": view,
            "first_chunk": first_chunk,
            "expires_at": until,
            "spent_at": 0,
        }
        return Granted(ticket, until), row

    async def issue(self, granted: Granted, row: dict[str, Any]) -> Granted:
        """Make a prepared ticket valid, durably."""
        await self._house.state.write(lambda connection: connection.execute(ISSUE, row))
        return granted

    async def redeem(self, ticket: str, *, holder: str, fingerprint: str, transfer: str = "") -> Redeemed:
        """Spend a ticket.

        Args:
            ticket: as presented.
            holder: URI of who presents it.
            fingerprint: of the certificate that presents it.
            transfer: the transfer that the holder names, where the ticket leaves it open.

        Raises:
            TicketError: unknown, another's, spent or expired.
        """
        now = self._house.clock()

        def work(connection: Connection) -> Redeemed | str:
            row = connection.execute(_BY_DIGEST, {"of": _digest(ticket)}).one_or_none()
            if row is None:
                return "unknown"
            if row.holder != holder or (row.fingerprint and row.fingerprint != fingerprint):
                return "another's"
            if row.spent_at:
                return "spent"
            if row.expires_at <= now:
                return "expired"
            if row.transfer_id and transfer and row.transfer_id != transfer:
                return "another transfer's"
            connection.execute(_SPEND, {"of": row.digest, "at": now})
            return Redeemed(row.agreement_id, row.transfer_id or transfer, row.view, row.first_chunk)

        found = "unknown" if len(ticket) > _TICKET_CHARS_MAX else await self._house.state.write(work)
        if isinstance(found, Redeemed):
            return found
        if found != "unknown":  # noise from anybody must not grow the ledger
            await self._house.journal.record(
                "ticket.refused",
                f"tickets/{_digest(ticket)[:16]}",
                {"presented_by": holder, "certificate": fingerprint, "why": found},
                entry_id=uuid7(),
            )
        raise TicketError("the ticket is not valid for you", remedy="ask for a new one: GetFlightInfo or `tdz pull`")

    async def promised(self, transfer: str, *, holder: str, agreement: str) -> bool:
        """Whether the holder was given a ticket for this transfer, spent or not."""
        query = select(tickets.c.digest).where(
            tickets.c.transfer_id == transfer, tickets.c.holder == holder, tickets.c.agreement_id == agreement
        )
        return await self._house.state.read(lambda connection: connection.execute(query.limit(1)).first() is not None)

    async def purge(self) -> None:
        """Forget tickets that expired an hour ago."""
        query = delete(tickets).where(tickets.c.expires_at < self._house.clock() - 3_600)
        await self._house.state.write(lambda connection: connection.execute(query))


def _digest(ticket: str) -> str:
    return hashlib.sha256(ticket.encode(errors="replace")).hexdigest()
