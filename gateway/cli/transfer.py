"""`tdz transfer`: what moved, and how far it came."""

from __future__ import annotations

from typing import Annotated

import typer

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import JsonOption, emit

app = typer.Typer(no_args_is_help=True, help="Transfers: what moved, and how far it came.")


@app.command("list")
def list_(
    agreement: Annotated[str, typer.Option("--agreement", help="Only those of this agreement.")] = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List transfers, newest first.

    Example: tdz transfer list
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.transfers(agreement=agreement)

        def human() -> None:
            show.table(
                ("transfer", "resource", "side", "state", ">chunks", ">rows", ">bytes", "started"),
                (
                    (
                        t.id,
                        t.resource,
                        t.side,
                        show.state(t.state),
                        f"{t.chunks_done}/{t.chunks or '?'}",
                        show.number(t.rows),
                        show.size(t.bytes),
                        show.moment(t.created_at),
                    )
                    for t in found
                ),
                empty="no transfers",
            )

        emit({"transfers": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(
    transfer: Annotated[str, typer.Argument(help="transfers/ID or ID")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one transfer, with both sides' signed receipts under --json.

    Example: tdz transfer show 0197a3c1-…
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.transfer(transfer)

        def human() -> None:
            show.pairs(
                {
                    "resource": found.resource,
                    "version": found.version,
                    "agreement": found.agreement,
                    "institution": found.participant,
                    "side": found.side,
                    "state": show.state(found.state),
                    "chunks": f"{found.chunks_done} of {found.chunks or '?'}",
                    "rows": show.number(found.rows),
                    "bytes": show.size(found.bytes),
                    "started": show.moment(found.created_at),
                    "ends without progress": "" if found.ended else show.moment(found.deadline),
                    "own receipt": "signed" if found.receipt else "",
                    "peer's receipt": "signed" if found.peer_receipt else "",
                    "reason": found.reason,
                },
                title=f"transfers/{found.id}",
            )

        emit(found.document(), human, as_json=as_json)
