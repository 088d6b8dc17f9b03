"""What recorded steps of a transfer do to its rows, on both sides; each may run again after a restart.

States move by the table in `gateway.model.transfer` alone; an event that does not fit the state any more was done
before, and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, delete, update
from sqlalchemy.dialects.sqlite import insert

from gateway.errors import NotFoundError
from gateway.exchange import rows
from gateway.flow.steps import Effect
from gateway.journal import Recorded
from gateway.model.transfer import TransferEvent as Event
from gateway.model.transfer import TransferState
from gateway.state.schema import agreements, exports, outbox, transfers

_COUNTS: Final = ("chunks", "rows", "bytes")


def _start(connection: Connection, row: Mapping[str, Any]) -> bool:
    try:
        rows.transfer(connection, row["id"])
    except NotFoundError:
        connection.execute(insert(transfers).values(**row))
        return True
    return False


def _consumer_started(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    _start(connection, arguments["transfer"])


def _provider_started(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """The limits of the agreement are taken in the transaction that records the start."""
    row = arguments["transfer"]
    if not _start(connection, row):
        return
    taken = {name: agreements.c[name] + arguments[name] for name in ("pulls", "rows", "bytes")}
    connection.execute(
        update(agreements).where(agreements.c.id == row["agreement_id"]).values(**taken, updated_at=row["updated_at"])
    )
    _exported(connection, arguments)


def _exported(connection: Connection, arguments: Mapping[str, Any]) -> None:
    """The persons that leave are counted in the transaction that records the start, or a resume in another year."""
    if arguments["export"] is not None:
        connection.execute(insert(exports).values(**arguments["export"]).on_conflict_do_nothing())


def _provider_resumed(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    _resumed(connection, arguments, recorded)
    _exported(connection, arguments)


def _resumed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    row = arguments["transfer"]
    rows.advance_transfer(
        connection,
        row["id"],
        Event.RESUME,
        first_chunk=row["first_chunk"],
        reason="",
        deadline=row["deadline"],
        updated_at=row["updated_at"],
    )


def _consumer_completed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    if rows.transfer(connection, arguments["id"]).state == TransferState.COMPLETED:
        return
    if rows.advance_transfer(
        connection,
        arguments["id"],
        Event.COMPLETE,
        **{name: arguments[name] for name in _COUNTS},
        receipt=arguments["receipt"],
        reason="",
        updated_at=arguments["now"],
    ):
        connection.execute(insert(outbox).values(**arguments["mail"]))


def _consumer_receipt(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    rows.change_transfer(
        connection,
        arguments["id"],
        [TransferState.COMPLETED],
        peer_receipt=arguments["receipt"],
        updated_at=arguments["now"],
    )
    connection.execute(delete(outbox).where(outbox.c.id == arguments["mail"]))


def _provider_completed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """A receipt that comes after the transfer was given up prevails."""
    state = rows.transfer(connection, arguments["id"]).state
    rows.advance_transfer(
        connection,
        arguments["id"],
        Event.LATE_RECEIPT if state == TransferState.TERMINATED else Event.COMPLETE,
        **{name: arguments[name] for name in _COUNTS},
        receipt=arguments["receipt"],
        peer_receipt=arguments["peer_receipt"],
        reason="",
        updated_at=arguments["now"],
    )


def _aborted(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """The consumer's side tells the provider; the provider's side has nobody to tell."""
    ended = rows.advance_transfer(
        connection, arguments["id"], Event.ABORT, reason=arguments["reason"], updated_at=arguments["now"]
    )
    if ended and "mail" in arguments:
        connection.execute(insert(outbox).values(**arguments["mail"]))


EFFECTS: Final[Mapping[str, Effect]] = {
    "consumer.started": _consumer_started,
    "consumer.resumed": _resumed,
    "consumer.completed": _consumer_completed,
    "consumer.aborted": _aborted,
    "consumer.receipt": _consumer_receipt,
    "provider.started": _provider_started,
    "provider.resumed": _provider_resumed,
    "provider.completed": _provider_completed,
    "provider.aborted": _aborted,
}
