"""What recorded steps of a negotiation do to its rows, on both sides; each may run again after a restart.

States move by the table in `gateway.model.negotiation` alone; an event that does not fit the state any more was
done before, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, bindparam, func, insert, select

from gateway.exchange import rows
from gateway.flow.review_rows import close_of, open_review
from gateway.flow.steps import Effect
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.negotiation import AgreementEnd
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.review import ReviewState
from gateway.state.schema import agreements, negotiations, tickets

_DECIDED_ANEW: Final = ("body_digest", "held_by", "effect", "deadline", "agreement_id", "updated_at")


def _with_seq(document: dict[str, Any], recorded: Recorded) -> dict[str, Any]:
    """Say where the newest decision stands on this ledger."""
    if "decisions" in document:
        *before, last = document["decisions"]
        document = {**document, "decisions": [*before, [*last[:3], recorded.seq]]}
    return document


def _decision(arguments: Mapping[str, Any], recorded: Recorded) -> dict[str, Any]:
    """What `consumer.decided` sets."""
    set_as_given = {name: arguments[name] for name in ("effect", "held_by", "deadline", "peer_zone")}
    return {**set_as_given, "document": _with_seq(arguments["document"], recorded), "updated_at": arguments["now"]}


def decided(row: rows.NegotiationRow, arguments: Mapping[str, Any], recorded: Recorded) -> rows.NegotiationRow:
    """The row as `consumer.decided` leaves it, so that its driver goes on without reading it again."""
    return rows.advanced(
        row,
        Event(arguments["event"]),
        **_decision(arguments, recorded),
    )


def agreed(row: rows.NegotiationRow, arguments: Mapping[str, Any], recorded: Recorded) -> rows.NegotiationRow:
    """The row as `consumer.agreed` leaves it."""
    return rows.advanced(
        row,
        Event.COUNTERSIGN,
        document=_with_seq(arguments["document"], recorded),
        agreement_id=arguments["agreement"]["id"],
        updated_at=arguments["now"],
    )


def _consumer_decided(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    moved = rows.advance_negotiation(
        connection,
        arguments["id"],
        Event(arguments["event"]),
        **_decision(arguments, recorded),
    )
    if moved and arguments.get("review"):
        open_review(connection, arguments["review"])


def _consumer_agreed(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    agreement = arguments["agreement"]
    if rows.advance_negotiation(
        connection,
        arguments["id"],
        Event.COUNTERSIGN,
        document=_with_seq(arguments["document"], recorded),
        agreement_id=agreement["id"],
        updated_at=arguments["now"],
    ):
        connection.execute(insert(agreements).values(**agreement))


def _consumer_ended(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    now = arguments["now"]
    row = rows.negotiation(connection, arguments["id"])
    rows.advance_negotiation(
        connection,
        row.id,
        Event.TERMINATE,
        document=_with_seq(arguments["document"], recorded),
        effect=arguments["effect"],
        held_by="",
        updated_at=now,
    )
    close_of(connection, row.id, ReviewState.EXPIRED, now)
    if row.agreement_id:
        reason = arguments["document"].get("reason", "")[:300]
        ended = {"reason": reason, "ended_as": AgreementEnd.NOT_CONFIRMED.value}
        rows.advance_agreement(connection, row.agreement_id, Event.TERMINATE, updated_at=now, **ended)


def _provider_decided(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    row = dict(arguments["negotiation"])
    document = {**row["document"], "ledger_size": recorded.size, "seq": recorded.seq}
    if connection.execute(select(func.count()).where(negotiations.c.id == row["id"])).scalar_one():
        # Decided anew, after a review: what was decided before stands on the ledger.
        changed = {name: row[name] for name in _DECIDED_ANEW}
        event = Event(arguments["event"])
        if not rows.advance_negotiation(connection, row["id"], event, document=document, **changed):
            return
    else:
        connection.execute(insert(negotiations).values(**row | {"document": canonical.encode(document).decode()}))
    if arguments["agreement"] is not None:
        connection.execute(insert(agreements).values(**arguments["agreement"]))
    if arguments["review"] is not None:
        open_review(connection, arguments["review"])
    else:
        close_of(connection, row["id"], ReviewState.SUPERSEDED, row["updated_at"])


def _provider_confirmed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    now = arguments["now"]
    rows.advance_agreement(
        connection,
        arguments["agreement"],
        Event.CONFIRM,
        envelope=arguments["envelope"],
        created_at=now,
        updated_at=now,
    )
    rows.advance_negotiation(connection, arguments["negotiation"], Event.CONFIRM, updated_at=now)
    if connection.execute(_TICKET, {"of": arguments["ticket"]["digest"]}).first() is None:
        connection.execute(_ISSUE, arguments["ticket"])


def _provider_unconfirmed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    now, reason = arguments["now"], "not confirmed"
    ended = {"reason": reason, "ended_as": AgreementEnd.NOT_CONFIRMED.value}
    rows.advance_agreement(connection, arguments["agreement"], Event.TERMINATE, updated_at=now, **ended)
    rows.advance_negotiation(
        connection, arguments["negotiation"], Event.TERMINATE, document={"reason": reason}, updated_at=now
    )


_ISSUE: Final = insert(tickets)
_TICKET: Final = select(tickets.c.digest).where(tickets.c.digest == bindparam("of"))

EFFECTS: Final[Mapping[str, Effect]] = {
    "consumer.decided": _consumer_decided,
    "consumer.agreed": _consumer_agreed,
    "consumer.ended": _consumer_ended,
    "provider.decided": _provider_decided,
    "provider.confirmed": _provider_confirmed,
    "provider.unconfirmed": _provider_unconfirmed,
}
