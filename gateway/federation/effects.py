"""What recorded steps of a run do to its rows, on both sides; each may run again after a restart.

States move by the table in `gateway.model.run` alone; an event that does not fit the state any more was done before,
and changes nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, select
from sqlalchemy.dialects.sqlite import insert

from gateway.federation import rows
from gateway.flow import review_rows
from gateway.flow.steps import Effect
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.review import ReviewState
from gateway.model.run import RunEvent, RunState
from gateway.state.schema import runs

_ACTIVE: Final = (RunState.QUEUED, RunState.RUNNING)
_WAITING: Final = tuple(RunState(state) for state in rows.OPEN)
_ANSWERED_ANEW: Final = ("body_digest", "held_by", "deadline", "reason", "updated_at")


def _created(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    row = dict(arguments["row"])
    document = {**row["document"], "seq": recorded.seq, "ledger_size": recorded.size}
    row["document"] = canonical.encode(document).decode()
    connection.execute(insert(runs).values(**row).on_conflict_do_nothing())


def _answered(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    """A participant's answer: a new run, or one that waited and is decided anew."""
    row = arguments["row"]
    document = {**row["document"], "seq": recorded.seq, "ledger_size": recorded.size}
    standing = connection.execute(select(runs.c.id).where(runs.c.id == row["id"])).first()
    if standing is None:
        connection.execute(insert(runs).values(**{**row, "document": canonical.encode(document).decode()}))
    elif not rows.move(
        connection,
        row["id"],
        RunEvent(arguments["event"]),
        document=document,
        told=1,
        **{name: row[name] for name in _ANSWERED_ANEW},
    ):
        return
    review_rows.open_reviews(connection, row["id"], arguments["reviews"], row["updated_at"])


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
    event, values = RunEvent(arguments["event"]), arguments.get("values", {})
    if rows.move(connection, arguments["id"], event, document=document, held_by="", **values):
        review_rows.close_of(connection, arguments["id"], ReviewState.EXPIRED, values["updated_at"])


def _held(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """Persons of one of the zones have to look at the run."""
    moved = rows.move(
        connection,
        arguments["id"],
        RunEvent.HOLD,
        document=arguments["document"],
        held_by=arguments["held_by"],
        deadline=arguments["deadline"],
        peer_zone=arguments["peer_zone"],
        told=arguments["told"],
        updated_at=arguments["now"],
    )
    if moved:
        review_rows.open_reviews(connection, arguments["id"], arguments["reviews"], arguments["now"])


def _reviewed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """An answer to a review of a run stands; a denial ends the run, the last approval lets it go on."""
    if not review_rows.note_answer(connection, arguments):
        return
    run, now, follows = arguments["of"], arguments["now"], arguments["follows"]
    changed = {"held_by": "", "updated_at": now, **follows["values"]}
    if follows["event"]:
        rows.move(connection, run, RunEvent(follows["event"]), document=follows["document"], **changed)
        review_rows.close_of(connection, run, ReviewState.EXPIRED, now)
    elif not review_rows.still_open(connection, run):
        rows.change(connection, run, _WAITING, document=follows["document"], **changed)


def _released(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    rows.put_part(connection, arguments["part"])
    rows.add_bytes(connection, arguments["part"], "bytes_out")


def _accepted(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    part = arguments["part"]
    rows.move(connection, part["run_id"], RunEvent.START, updated_at=arguments["now"])
    rows.put_part(connection, part)
    rows.add_bytes(connection, part, "bytes_in")
    rows.change(
        connection, part["run_id"], _ACTIVE, deadline=arguments["deadline"], held_by="", updated_at=arguments["now"]
    )


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
    "run.answered": _answered,
    "run.proposed": _proposed,
    "run.held": _held,
    "run.reviewed": _reviewed,
    "run.moved": _moved,
    "run.released": _released,
    "run.accepted": _accepted,
    "run.round": _round,
}
"""What a run's recorded steps do, by name."""
