"""`tdz transfer`: what moved, and how far it came."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit, stderr
from gateway.errors import PeerUnavailableError

if TYPE_CHECKING:
    from gateway.sdk.accounts import Timeline

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


@app.command()
def receipt(
    transfer: Annotated[str, typer.Argument(help="transfers/ID or ID")],
    output: Annotated[Path, typer.Option("--output", "-o", help="The file to write; one that is there is replaced.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Write a file to keep: agreement and both receipts, which tdz-ledger verifies offline with the zones' cards.

    Exit code 3: the other zone has not cosigned them yet; try again.

    Example: tdz transfer receipt 0197a3c1-… -o flights.receipt
    """
    with connection.zone(profile, as_json=as_json) as zone:
        from gateway.config import write_file

        try:
            found = zone.transfer_receipt(transfer)
        except PeerUnavailableError as error:
            stderr.print(f"[bold yellow]incomplete[/] {escape(error.message)} [dim]→[/] {escape(error.remedy)}")
            raise typer.Exit(ExitCode.INCOMPLETE) from error
        write_file(output, found.proofs, mode=0o644)

        def human() -> None:
            console.print(
                f"[green]written[/]  {escape(str(output))}  {found.entries} entries of {found.origin} "
                f"at size {found.size}, {show.size(len(found.proofs))}"
            )
            console.print(
                f"  [dim]verify it with[/] tdz-ledger verify {escape(str(output))} "
                "--card YOUR-ZONE.json --card OTHER-ZONE.json"
            )

        emit({"file": str(output), **found.document()}, human, as_json=as_json)


@app.command()
def explain(
    what: Annotated[str, typer.Argument(metavar="ID", help="transfers/ID, agreements/ID or requests/ID; or its ID.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Tell how a request, an agreement or a transfer went, by both zones' ledgers, and what comes next.

    Example: tdz transfer explain 0197a3c1-…
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.explain(what)
        emit(found.document(), lambda: _timeline(found), as_json=as_json)


def _timeline(found: Timeline) -> None:
    console.print(f"[bold]{escape(found.id)}[/]  {escape(found.resource)} for {escape(found.participant)}")
    if found.cut:
        console.print("  [dim]… earlier steps are left out[/]")
    for step in found.steps:
        moment = step.time[:19].replace("T", " ")
        console.print(f"  [dim]{moment}[/]  {escape(step.said)}  [dim]{step.zone}'s ledger, entry {step.ledger_seq}[/]")
        for finding in step.findings:
            console.print(f"      {finding.code} ({finding.effect}, {finding.authority}) {escape(finding.cite)}")
            if finding.remedy:
                console.print(f"        [dim]remedy[/] {escape(finding.remedy)}")
        if step.waiting_for:
            until = f" until {show.moment(step.deadline)}" if step.deadline else ""
            console.print(f"      [dim]for a decision of[/] {escape(step.waiting_for)}{until}")
    mirrored = f"{found.peer_zone} to entry {found.peer_size - 1}, as mirrored here" if found.peer_size > 0 else ""
    show.pairs(
        {
            "state": show.state(found.state),
            "reason": escape(found.reason),
            "waiting for": escape(found.waiting_for),
            "until": show.moment(found.deadline) if found.deadline else "",
            "next": escape(found.next),
            "read": ", ".join(filter(None, [f"{found.own_zone} to entry {found.own_size - 1}", mirrored])),
        }
    )
