"""What recorded steps of reviews, appeals and revocations do to rows; each may run again after a restart."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, Final

from sqlalchemy import Connection, insert, select, update

from gateway.exchange import rows
from gateway.flow import review_rows
from gateway.flow.steps import Effect
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.negotiation import AgreementEnd
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.state.schema import negotiations, outbox

_POST: Final = insert(outbox)


def _answered(connection: Connection, arguments: Mapping[str, Any], recorded: Recorded) -> None:
    """An answer to a review stands; where it decides the review, what follows from it is done with it."""
    if not review_rows.note_answer(connection, arguments):
        return
    follows = arguments["follows"]
    _MOVES[follows["move"]](connection, arguments["of"], follows, recorded, arguments["now"])
    if "mail" in follows:
        connection.execute(_POST.values(**follows["mail"]))


def _release(
    connection: Connection, negotiation: str, follows: Mapping[str, Any], _recorded: Recorded, now: int
) -> None:
    rows.advance_negotiation(
        connection,
        negotiation,
        Event.DECIDE,
        document=follows["document"],
        held_by="",
        effect=follows["effect"],
        deadline=follows["deadline"],
        updated_at=now,
    )


def _deny(connection: Connection, negotiation: str, follows: Mapping[str, Any], recorded: Recorded, now: int) -> None:
    *before, last = follows["document"]["decisions"]
    document = {**follows["document"], "decisions": [*before, [*last, recorded.seq]]}
    rows.advance_negotiation(
        connection, negotiation, Event.TERMINATE, document=document, held_by="", effect="deny", updated_at=now
    )


def _appeal(
    connection: Connection, negotiation: str, follows: Mapping[str, Any], _recorded: Recorded, _now: int
) -> None:
    note_appeal(connection, negotiation, follows["document"]["appeal"])
    if "anew" in follows:
        create_anew(connection, follows["anew"])


_MOVES: Final = {"release": _release, "deny": _deny, "appeal": _appeal}


def note_appeal(connection: Connection, negotiation: str, appeal: Mapping[str, Any]) -> None:
    """Say in a negotiation's row where an appeal against its end stands; its state stays as it is."""
    row = rows.negotiation(connection, negotiation)
    document = canonical.encode({**row.document, "appeal": dict(appeal)}).decode()
    connection.execute(update(negotiations).where(negotiations.c.id == negotiation).values(document=document))


def create_anew(connection: Connection, row: Mapping[str, Any]) -> None:
    """Ask again as a negotiation of its own, once."""
    if connection.execute(select(negotiations.c.id).where(negotiations.c.id == row["id"])).first() is None:
        text = canonical.encode(dict(row["document"])).decode()
        connection.execute(insert(negotiations).values(**{**row, "document": text}))


def _appealed(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """An appeal stands: here, where this zone answers it; and in the negotiation's row, of either zone."""
    if arguments["review"] is not None:
        review_rows.open_review(connection, arguments["review"])
    note_appeal(connection, arguments["negotiation"], arguments["appeal"])


def _appeal_upheld(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    note_appeal(connection, arguments["negotiation"], arguments["appeal"])


def _revoked(connection: Connection, arguments: Mapping[str, Any], _recorded: Recorded | None) -> None:
    """An agreement has ended; that may be before its entry is recorded."""
    ended = rows.end_agreement(
        connection,
        arguments["agreement"],
        [State.OFFERED, State.ACCEPTED, State.FINALIZED],
        reason=arguments["reason"],
        ended_as=AgreementEnd.REVOKED.value,
        updated_at=arguments["now"],
    )
    if ended and arguments["kept"]:
        row = rows.negotiation(connection, arguments["negotiation"])
        document = canonical.encode({**row.document, "revocation": arguments["kept"]}).decode()
        connection.execute(update(negotiations).where(negotiations.c.id == row.id).values(document=document))
    if ended and arguments["mail"] is not None:
        connection.execute(_POST.values(**arguments["mail"]))


EFFECTS: Final[Mapping[str, Effect]] = {
    "review.answered": _answered,
    "review.appealed": _appealed,
    "review.upheld": _appeal_upheld,
    "agreement.revoked": _revoked,
}
