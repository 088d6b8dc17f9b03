"""`tdz policy`: what is in force at a running gateway, and the way to another policy."""

from __future__ import annotations

import hashlib
import re
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit
from gateway.cli.policy_bundles import FileArgument, print_bundle, read_file
from gateway.cli.progress import Steps, steps

if TYPE_CHECKING:
    from gateway.sdk.admin import PolicyBundle, PolicyStatus, PolicyWork

app = typer.Typer(no_args_is_help=True)

_HEX: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_STEPS: Final = {
    "verify": "verifies signature, roots and dates",
    "compile": "puts the policy together and compiles it",
    "try": "tries it on the example inputs",
    "record": "records it",
}


@app.command()
def activate(file: FileArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Ask the gateway to put a bundle in force. Exits 3 while another administrator must ask for the same file.

    It is verified and tried first; whatever is refused leaves the policy in force.

    Example: tdz policy activate zone.tar.gz --profile alice.toml
    """
    with connection.admin(profile, as_json=as_json) as admin:
        data = read_file(file, "bundle")
        with steps(file.name, quiet=as_json) as told:
            standing = admin.propose_policy(data, progress=_progress(data, told))

        def human() -> None:
            if standing.active:
                print_bundle("in force", standing.bundle.document())
                console.print(f"  [dim]policy[/] {standing.policy_digest}")
                return
            print_bundle("proposed", standing.bundle.document())
            console.print(
                f"  {standing.missing} more administrator{'s' * (standing.missing > 1)} must activate the same file "
                f"until {show.moment(standing.expires_at)} UTC"
            )
            console.print(f"  [dim]taken back by[/] tdz policy withdraw {standing.bundle.digest}")

        emit(standing.document(), human, as_json=as_json)
    if not standing.active:
        raise typer.Exit(ExitCode.INCOMPLETE)


@app.command()
def withdraw(
    bundle: Annotated[
        str, typer.Argument(metavar="BUNDLE", help="The bundle's file, or its digest as `tdz policy status` shows it.")
    ],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Take back a bundle that waits for another administrator, whoever asked for it. The policy in force stays.

    One administrator's no is enough, and the ledger says whose. Asked for again, it needs all words anew.

    Example: tdz policy withdraw zone.tar.gz
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.withdraw_policy(_digest(bundle))
        emit(found.document(), lambda: print_bundle("withdrawn", found.bundle.document()), as_json=as_json)


@app.command()
def status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show what a gateway decides on: digests, revisions, dates, and what is asked for, by whom, until when.

    Example: tdz policy status
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.policy_status()
        emit(found.document(), lambda: _print_status(found), as_json=as_json)
    if found.withheld:
        raise typer.Exit(ExitCode.REFUSED)


def _progress(data: bytes, told: Steps) -> Callable[[PolicyWork], None]:
    """Says what the gateway does, also where it is still at the bundle of another."""
    digest = hashlib.sha256(data).hexdigest()

    def said(work: PolicyWork) -> None:
        if work.digest != digest:
            told("waits until the gateway is done with another bundle", 0, 0)
        else:
            told(_STEPS.get(work.step, work.step), work.tried, work.examples if work.step == "try" else 0)

    return said


def _digest(bundle: str) -> str:
    """The digest that somebody gave, or that of a file."""
    if _HEX.fullmatch(bundle) is not None:
        return bundle
    return hashlib.sha256(read_file(Path(bundle), "bundle")).hexdigest()


def _print_status(found: PolicyStatus) -> None:
    if found.withheld:
        console.print(f"[bold red]everything is denied[/]: {found.withheld}")
    console.print(f"[bold]{found.zone}[/]  policy {found.policy_digest}")
    console.print(f"  [dim]data revision[/] {found.data_revision}")
    if found.parts:
        names = ("part", "revision", "law as of", "valid until", "key", "entry", "digest")
        show.table(names, (_row(each) for each in found.parts), empty="")
    else:
        console.print("  the policy that the gateway started with; nothing was activated yet")
    for pack in found.packs:
        console.print(f"  pack {pack.id} revision {pack.revision}, valid until {show.moment(pack.valid_until)}")
    console.print(f"  [dim]engine[/] {escape(found.engine)}")
    for each in found.proposals:
        console.print(
            f"[yellow]proposed[/]  {each.bundle.part} revision {each.bundle.revision} {each.bundle.digest} "
            f"by {', '.join(each.approved_by)}; {each.missing} more until {show.moment(each.expires_at)}"
        )
    for withdrawn in found.withdrawals:
        console.print(
            f"[yellow]withdrawn[/]  {withdrawn.bundle.part} revision {withdrawn.bundle.revision} "
            f"{withdrawn.bundle.digest} by {withdrawn.withdrawn_by} on {show.moment(withdrawn.withdrawn_at)}"
        )
    if found.work is not None:
        console.print(f"[yellow]at work[/]  {_STEPS.get(found.work.step, found.work.step)} {found.work.digest}")
    console.print(f"  [dim]administrators for an activation[/] {found.administrators}")


def _row(part: PolicyBundle) -> tuple[str, ...]:
    return (
        part.part,
        part.revision,
        show.moment(part.legal_as_of),
        show.moment(part.valid_until),
        part.keyid,
        str(part.ledger_seq),
        part.digest,
    )
