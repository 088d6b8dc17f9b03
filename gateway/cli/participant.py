"""`tdz participant`: the zone's register of institutions."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.documents import read_document
from gateway.cli.output import JsonOption, console, emit
from gateway.errors import InputError

if TYPE_CHECKING:
    from gateway.sdk.admin import Participant

app = typer.Typer(no_args_is_help=True, help="The register of institutions; its facts fill the policy input.")

IdArgument = Annotated[str, typer.Argument(metavar="ID", help="The institution's id, as in its certificate.")]


@app.command()
def add(
    id_: IdArgument,
    facts: Annotated[Path, typer.Option("--facts", help="YAML or JSON with the parts `exporter` and `recipient`.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register an institution or replace its facts; a new one starts unscreened.

    Example: tdz participant add um --facts um.yaml
    """
    with connection.admin(profile, as_json=as_json) as admin:
        document = read_document(facts)
        parts = [document.pop(name, None) for name in ("exporter", "recipient")]
        if document or not all(isinstance(part, dict) for part in parts):
            raise InputError(
                f"{facts} does not have exactly the parts exporter and recipient",
                remedy="see policy input, exporter and recipient",
            )
        found = admin.put_participant(id_, *parts)
        emit(found.document(), lambda: _human(found), as_json=as_json)


@app.command("show")
def show_(
    id_: Annotated[str, typer.Argument(metavar="[ID]", help="One institution; all where left out.")] = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one institution, or list all.

    Example: tdz participant show um
    """
    with connection.admin(profile, as_json=as_json) as admin:
        if id_:
            found = admin.participant(id_)
            emit(found.document(), lambda: _human(found), as_json=as_json)
            return
        listed = admin.participants()

        def human() -> None:
            show.table(
                ("institution", "name", "kind", "screening", "changed"),
                (
                    (
                        p.uri,
                        escape(p.exporter["legal_name"]),
                        p.exporter["kind"],
                        p.recipient["screening"]["result"],
                        show.moment(p.updated_at),
                    )
                    for p in listed
                ),
                empty="no institutions are registered",
            )

        emit({"participants": [each.document() for each in listed]}, human, as_json=as_json)


@app.command()
def screen(
    id_: IdArgument,
    result: Annotated[str, typer.Option("--result", help="clear, hit or unknown.")],
    lists: Annotated[str, typer.Option("--lists", help="Revision of the lists that were searched.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Set the result of screening an institution; anything but clear denies.

    Example: tdz participant screen um --result clear --lists 2026-11-20
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.screen(id_, list_revision=lists, result=result)
        emit(found.document(), lambda: _human(found), as_json=as_json)


def _human(participant: Participant) -> None:
    console.print(f"[bold]{participant.uri}[/]  [dim]changed {show.moment(participant.updated_at)}[/]")
    for name, part in (("exporter", participant.exporter), ("recipient", participant.recipient)):
        show.pairs({key: escape(str(value)) for key, value in part.items() if key != "id"}, title=f" {name}")
