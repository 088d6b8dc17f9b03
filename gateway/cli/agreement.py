"""`tdz agreement`: what was agreed."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import JsonOption, console, emit

if TYPE_CHECKING:
    from gateway.sdk import Agreement

app = typer.Typer(no_args_is_help=True, help="Agreements between institutions of both zones.")


@app.command("list")
def list_(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """List agreements, newest first.

    Example: tdz agreement list
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.agreements()

        def human() -> None:
            show.table(
                ("agreement", "resource", "purpose", "state", ">pulls", "until"),
                (
                    (a.id, a.resource, a.purpose, show.state(a.state), _pulls(a), show.moment(a.expires_at))
                    for a in found
                ),
                empty="no agreements",
            )

        emit({"agreements": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(
    agreement: Annotated[str, typer.Argument(help="agreements/ID or ID")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one agreement, with both gateways' signatures under --json.

    Example: tdz agreement show 0197a3c0-… --json
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.agreement(agreement)

        def human() -> None:
            signatures = len(json.loads(found.envelope)["signatures"]) if found.envelope else 0
            show.pairs(
                {
                    "resource": found.resource,
                    "version": found.version,
                    "provider": found.provider,
                    "consumer": found.consumer,
                    "purpose": found.purpose,
                    "state": show.state(found.state),
                    "obligations": ", ".join(found.obligations),
                    "pulls": _pulls(found),
                    "in force from": show.moment(found.created_at),
                    "until": show.moment(found.expires_at),
                    "signatures": signatures,
                    "reason": found.reason,
                },
                title=f"agreements/{found.id}",
            )

        emit(found.document(), human, as_json=as_json)


@app.command()
def revoke(
    agreement: Annotated[str, typer.Argument(help="agreements/ID or ID")],
    note: Annotated[str, typer.Option("--note", help="Why. It stays in your zone; the ledger has a commitment.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """End an agreement before its date, as its provider, its consumer or an administrator; open pulls end too.

    Example: tdz agreement revoke 0197a3c0-… --note "the study has ended"
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.revoke_agreement(agreement, note=note)
        emit(
            found.document(),
            lambda: console.print(f"[red]revoked[/]  agreements/{found.id}  {found.resource}"),
            as_json=as_json,
        )


def _pulls(agreement: Agreement) -> str:
    return f"{agreement.pulls_used}/{agreement.pulls_limit or '∞'}"
