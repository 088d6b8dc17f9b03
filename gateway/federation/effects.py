"""What recorded steps of a run do to its rows, on both sides; each may run again after a restart.

States move by the table in `gateway.model.run` alone; an event that does not fit the state any more was done before,
and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection
from sqlalchemy.dialects.sqlite import insert

from gateway.federation import rows
from gateway.flow.steps import Effect
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.run import RunEvent, RunState
from gateway.state.schema import runs

_ACTIVE: Final = (RunState.QUEUED, RunState.RUNNING)


def _created(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    row = dict(arguments["row"])
    document = {**row["document"], "seq": recorded.seq, "ledger_size": recorded.size}
    row["document"] = canonical.encode(document).decode()
    connection.execute(insert(runs).values(**row).on_conflict_do_nothing())


def _proposed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    rows.change(
        connection,
        arguments["id"],
        (RunState.SUBMITTED,),
        document=arguments["document"],
        peer_zone=arguments["peer_zone"],
        updated_at=arguments["now"],
    )


def _moved(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    document = {**arguments.get("document", {}), "ledger_size": recorded.size}
    rows.move(
        connection, arguments["id"], RunEvent(arguments["event"]), document=document, **arguments.get("values", {})
    )


def _released(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    rows.put_part(connection, arguments["part"])
    rows.add_bytes(connection, arguments["part"], "bytes_out")


def _accepted(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    part = arguments["part"]
    rows.move(connection, part["run_id"], RunEvent.START, updated_at=arguments["now"])
    rows.put_part(connection, part)
    rows.add_bytes(connection, part, "bytes_in")
    rows.change(connection, part["run_id"], _ACTIVE, deadline=arguments["deadline"], updated_at=arguments["now"])


def _round(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    row = arguments["round"]
    rows.put_round(connection, {**row, "document": canonical.encode(row["document"]).decode()})
    if (part := arguments.get("part")) is not None:
        rows.put_part(connection, part)
    if (released := arguments.get("released")) is not None:
        rows.put_part(connection, released)
        rows.add_bytes(connection, released, "bytes_out")
    rows.complete_round(
        connection, row["run_id"], row["round"], deadline=arguments["deadline"], updated_at=arguments["now"]
    )


EFFECTS: Final[Mapping[str, Effect]] = {
    "run.created": _created,
    "run.proposed": _proposed,
    "run.moved": _moved,
    "run.released": _released,
    "run.accepted": _accepted,
    "run.round": _round,
}
"""What a run's recorded steps do, by name."""
