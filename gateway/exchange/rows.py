"""The exchange's rows as frozen objects, and guarded changes to them.

An effect may run again after a restart, so each change says from which states it may start; where the row is
already beyond, it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from enum import StrEnum
from typing import Any, Final

from sqlalchemy import Connection, Table, bindparam, select, update

from gateway.errors import ConflictError, NotFoundError
from gateway.model import canonical, limits
from gateway.model.negotiation import NegotiationEvent, NegotiationState
from gateway.model.negotiation import advance as move_negotiation
from gateway.model.transfer import TransferEvent, TransferState
from gateway.model.transfer import advance as move_transfer
from gateway.state import StateStore
from gateway.state.schema import agreements, negotiations, transfers


@dataclass(frozen=True, slots=True)
class NegotiationRow:
    """One negotiation. `document` holds request, decisions and the stored answer."""

    id: str
    side: str
    participant: str
    request_id: str
    body_digest: str
    peer_zone: str
    resource: str
    purpose: str
    state: str
    held_by: str
    effect: str
    deadline: int
    document: dict[str, Any]
    agreement_id: str
    created_at: int
    updated_at: int

    @property
    def open(self) -> bool:
        """Whether it can still come to an agreement."""
        return self.state not in {NegotiationState.FINALIZED, NegotiationState.TERMINATED}


@dataclass(frozen=True, slots=True)
class AgreementRow:
    """One agreement, or the offer that may become one."""

    id: str
    side: str
    negotiation_id: str
    peer_zone: str
    consumer: str
    provider: str
    resource: str
    version: str
    state: str
    envelope: str
    card: str
    confirm_before: int
    expires_at: int
    pulls: int
    rows: int
    bytes: int
    peer_ticket: str
    peer_ticket_until: int
    reason: str
    ended_as: str
    persons_non_sensitive: int
    persons_sensitive: int
    created_at: int
    updated_at: int


@dataclass(frozen=True, slots=True)
class TransferRow:
    """One transfer."""

    id: str
    side: str
    agreement_id: str
    participant: str
    peer_zone: str
    state: str
    version: str
    view: str
    manifest: str
    first_chunk: int
    chunks: int
    rows: int
    bytes: int
    reason: str
    receipt: str
    peer_receipt: str
    deadline: int
    created_at: int
    updated_at: int

    @property
    def open(self) -> bool:
        """Whether it still runs or may be taken up."""
        return self.state not in {TransferState.COMPLETED, TransferState.TERMINATED}


def negotiation(connection: Connection, identifier: str) -> NegotiationRow:
    """One negotiation.

    Raises:
        NotFoundError: there is none.
    """
    return _negotiation(_one(connection, negotiations, identifier, "request"))


def agreement(connection: Connection, identifier: str) -> AgreementRow:
    """One agreement.

    Raises:
        NotFoundError: there is none.
    """
    return AgreementRow(**_one(connection, agreements, identifier, "agreement"))


def transfer(connection: Connection, identifier: str) -> TransferRow:
    """One transfer.

    Raises:
        NotFoundError: there is none.
    """
    return TransferRow(**_one(connection, transfers, identifier, "transfer"))


def advance_negotiation(
    connection: Connection,
    identifier: str,
    event: NegotiationEvent,
    *,
    document: Mapping[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Move a negotiation by an event; members of `document` are added to its own. Whether the event fitted."""
    row = connection.execute(_NEGOTIATION_STATE, {"identifier": identifier}).one_or_none()
    if row is None or (state := _after(lambda: move_negotiation(NegotiationState(row.state), event))) is None:
        return False
    if document:
        values["document"] = canonical.encode(json.loads(row.document) | dict(document)).decode()
    return _change(connection, negotiations, identifier, [row.state], {**values, "state": state})


def advanced(
    row: NegotiationRow, event: NegotiationEvent, *, document: Mapping[str, Any], **values: Any
) -> NegotiationRow:
    """The row as `advance_negotiation` leaves it in the database."""
    state = _after(lambda: move_negotiation(NegotiationState(row.state), event))
    if state is None:
        return row
    merged = json.loads(canonical.encode(row.document | dict(document)))
    return replace(row, state=state, document=merged, **values)


def advance_agreement(connection: Connection, identifier: str, event: NegotiationEvent, **values: Any) -> bool:
    """Move an agreement by an event of its negotiation. Whether the event fitted."""
    row = connection.execute(_AGREEMENT_STATE, {"identifier": identifier}).one_or_none()
    if row is None or (state := _after(lambda: move_negotiation(NegotiationState(row.state), event))) is None:
        return False
    return _change(connection, agreements, identifier, [row.state], {**values, "state": state})


def end_agreement(connection: Connection, identifier: str, states: Sequence[NegotiationState], **values: Any) -> bool:
    """End an agreement by itself: its negotiation stays as it ended. Whether it was in one of the states."""
    return _change(connection, agreements, identifier, states, {**values, "state": NegotiationState.TERMINATED.value})


def advance_transfer(connection: Connection, identifier: str, event: TransferEvent, **values: Any) -> bool:
    """Move a transfer by an event. Whether the event fitted."""
    row = connection.execute(_TRANSFER_STATE, {"identifier": identifier}).one_or_none()
    if row is None or (state := _after(lambda: move_transfer(TransferState(row.state), event))) is None:
        return False
    return _change(connection, transfers, identifier, [row.state], {**values, "state": state})


def change_transfer(connection: Connection, identifier: str, states: Sequence[TransferState], **values: Any) -> bool:
    """Change a transfer without moving it, if it is in one of the states: progress, leases, receipts."""
    return _change(connection, transfers, identifier, states, values)


def _after(move: Callable[[], StrEnum]) -> str | None:
    try:
        return move().value
    except ConflictError:
        return None  # done before, or overtaken: the guard of an effect that runs again


def _change(
    connection: Connection, table: Table, identifier: str, states: Sequence[str], values: Mapping[str, Any]
) -> bool:
    query = update(table).where(table.c.id == identifier, table.c.state.in_([str(s) for s in states]))
    return connection.execute(query.values(**values)).rowcount == 1


_NEGOTIATION_STATE: Final = select(negotiations.c.state, negotiations.c.document).where(
    negotiations.c.id == bindparam("identifier")
)
_AGREEMENT_STATE: Final = select(agreements.c.state).where(agreements.c.id == bindparam("identifier"))
_TRANSFER_STATE: Final = select(transfers.c.state).where(transfers.c.id == bindparam("identifier"))
_BY_ID: Final = {  # built once: these are the hot reads
    table.name: select(table).where(table.c.id == bindparam("identifier"))
    for table in (negotiations, agreements, transfers)
}


def _one(connection: Connection, table: Table, identifier: str, name: str) -> dict[str, Any]:
    row = connection.execute(_BY_ID[table.name], {"identifier": identifier}).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no {name} {identifier[:80]}", remedy=f"see `tdz {name} list`")
    return dict(row)


def _negotiation(values: dict[str, Any]) -> NegotiationRow:
    return NegotiationRow(**(values | {"document": json.loads(values["document"])}))


async def get_negotiation(state: StateStore, identifier: str) -> NegotiationRow:
    """One negotiation.

    Raises:
        NotFoundError: there is none.
    """
    return await state.read(lambda connection: negotiation(connection, identifier))


async def get_agreement(state: StateStore, identifier: str) -> AgreementRow:
    """One agreement.

    Raises:
        NotFoundError: there is none.
    """
    return await state.read(lambda connection: agreement(connection, identifier))


async def get_transfer(state: StateStore, identifier: str) -> TransferRow:
    """One transfer.

    Raises:
        NotFoundError: there is none.
    """
    return await state.read(lambda connection: transfer(connection, identifier))


def unfinished_transfer(connection: Connection, participant: str, agreement_id: str) -> str:
    """The newest open transfer of an own institution under an agreement, "" where there is none."""
    found = connection.execute(_UNFINISHED, {"participant": participant, "agreement_id": agreement_id}).scalar()
    return str(found or "")


_UNFINISHED: Final = (
    select(transfers.c.id)
    .where(
        transfers.c.participant == bindparam("participant"),
        transfers.c.agreement_id == bindparam("agreement_id"),
        transfers.c.side == "consumer",
        transfers.c.state.in_([TransferState.STARTED.value, TransferState.SUSPENDED.value]),
    )
    .order_by(transfers.c.id.desc())
    .limit(1)
)


async def known_transfer(state: StateStore, transfer_id: str) -> TransferRow | None:
    """A transfer's row, None before its start."""
    try:
        return await get_transfer(state, transfer_id)
    except NotFoundError:
        return None


async def list_negotiations(
    state: StateStore,
    *,
    participant: str = "",
    side: str = "",
    where_state: Sequence[str] = (),
    held: bool = False,
    due: int | None = None,
    before: str = "",
    size: int | None = limits.LIST_PAGE_MAX,
) -> list[NegotiationRow]:
    """Negotiations, newest first: ids are UUIDv7, so they sort by time; `due` takes those whose deadline is before."""
    table = negotiations
    query = select(table).order_by(table.c.id.desc()).limit(size)
    query = query.where(table.c.held_by != "", table.c.state == NegotiationState.REQUESTED) if held else query
    query = _filtered(query, table, participant=participant, side=side, where_state=where_state, before=before)
    query = query if due is None else query.where(table.c.deadline < due)
    return await state.read(lambda connection: [_negotiation(dict(r)) for r in connection.execute(query).mappings()])


async def list_agreements(
    state: StateStore,
    *,
    party: str = "",
    side: str = "",
    where_state: Sequence[str] = (),
    before: str = "",
    size: int | None = limits.LIST_PAGE_MAX,
) -> list[AgreementRow]:
    """Agreements, newest first."""
    table = agreements
    query = select(table).order_by(table.c.id.desc()).limit(size)
    if party:
        query = query.where((table.c.consumer == party) | (table.c.provider == party))
    query = _filtered(query, table, participant="", side=side, where_state=where_state, before=before)
    return await state.read(lambda connection: [AgreementRow(**r) for r in connection.execute(query).mappings()])


async def list_transfers(
    state: StateStore,
    *,
    participant: str = "",
    agreement_id: str = "",
    side: str = "",
    where_state: Sequence[str] = (),
    due: int | None = None,
    before: str = "",
    size: int | None = limits.LIST_PAGE_MAX,
) -> list[TransferRow]:
    """Transfers, newest first; `due` takes those whose deadline is before."""
    table = transfers
    query = select(table).order_by(table.c.id.desc()).limit(size)
    if agreement_id:
        query = query.where(table.c.agreement_id == agreement_id)
    query = _filtered(query, table, participant=participant, side=side, where_state=where_state, before=before)
    query = query if due is None else query.where(table.c.deadline < due)
    return await state.read(lambda connection: [TransferRow(**r) for r in connection.execute(query).mappings()])


def _filtered(query: Any, table: Table, *, participant: str, side: str, where_state: Sequence[str], before: str) -> Any:
    if participant:
        query = query.where(table.c.participant == participant)
    if side:
        query = query.where(table.c.side == side)
    if where_state:
        query = query.where(table.c.state.in_([str(s) for s in where_state]))
    if before:
        query = query.where(table.c.id < before)
    return query
