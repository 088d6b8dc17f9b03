"""`tdz mechanism`: the zone's register of legal mechanisms."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.documents import read_document
from gateway.cli.output import JsonOption, console, emit

if TYPE_CHECKING:
    from gateway.sdk.admin import Mechanism

app = typer.Typer(no_args_is_help=True, help="The register of legal mechanisms under this zone's law.")


@app.command()
def add(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="YAML or JSON: kind, ref, scope, dates, verified_by.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Register a mechanism; the ledger records its reference and digest.

    Example: tdz mechanism add pipia-2026-17.yaml
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.add_mechanism(read_document(file))
        emit(found.document(), lambda: console.print(f"[green]registered[/]  {found.ref}"), as_json=as_json)


@app.command("list")
def list_(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List mechanisms.

    Example: tdz mechanism list
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.mechanisms()

        def human() -> None:
            show.table(
                ("reference", "kind", "recipient", "until", "verified by", "withdrawn"),
                (_row(each) for each in found),
                empty="no mechanisms are registered",
            )

        emit({"mechanisms": [each.document() for each in found]}, human, as_json=as_json)


@app.command()
def withdraw(
    ref: Annotated[str, typer.Argument(metavar="REF", help="The mechanism's reference.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Withdraw a mechanism: from now on it serves nobody; agreements on it end.

    Example: tdz mechanism withdraw pipia-2026-17
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.withdraw_mechanism(ref)
        emit(found.document(), lambda: console.print(f"[yellow]withdrawn[/]  {found.ref}"), as_json=as_json)


def _row(mechanism: Mechanism) -> tuple[str, ...]:
    document = mechanism.mechanism
    return (
        mechanism.ref,
        document["kind"],
        document["scope"]["recipient_id"],
        show.moment(document["expires_at"]),
        document["verified_by"],
        show.moment(mechanism.withdrawn_at),
    )
