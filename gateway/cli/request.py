"""`tdz request`: ask for access, and see what became of it."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer
from typer.core import TyperGroup

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.explain import explanation, look_up, print_refusal
from gateway.cli.outlook import code_of, print_outlooks
from gateway.cli.output import ExitCode, JsonOption, console, emit, exit_code
from gateway.errors import PolicyError

if TYPE_CHECKING:
    from gateway.sdk import AccessRequest


class RequestGroup(TyperGroup):
    """`tdz request NAME` beside `tdz request list`: what is no command of the group is a resource to ask for.

    A dataset named like a command is asked for as `datasets/list`.
    """

    def parse_args(self, ctx: Any, args: list[str]) -> list[str]:
        """Put the hidden command's name before a resource's name or an option of it."""
        if args and args[0] not in self.commands and args[0] not in ctx.help_option_names:
            args = ["for", *args]
        return super().parse_args(ctx, args)


app = typer.Typer(
    cls=RequestGroup,
    no_args_is_help=True,
    subcommand_metavar="NAME --purpose PURPOSE | COMMAND [ARGS]...",
    help="Ask for a dataset or model of the other zone (tdz request NAME --purpose …), and see what became of it.",
)


@app.command("for")
def ask(
    name: Annotated[str, typer.Argument(metavar="NAME", help="datasets/ID, its ID alone, or models/ID")],
    purpose: Annotated[str, typer.Option("--purpose", help="What for, e.g. research or public_health.")],
    mechanism: Annotated[
        list[str] | None, typer.Option("--mechanism", "-m", help="Reference of a registered mechanism; repeatable.")
    ] = None,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Repeating it gives the same answer for seven days.")
    ] = None,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Only say what both zones would answer: nothing is asked or recorded.")
    ] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Ask for access: the same as `tdz request NAME`.

    Example: tdz request datasets/nyc-flights --purpose research
    """
    with connection.zone(profile, as_json=as_json) as zone:
        if dry_run:
            full = name if "/" in name else f"datasets/{name}"
            outlooks = zone.preview(full, purposes=(purpose,), mechanisms=tuple(mechanism or ()))
            emit(
                {"outcome": "dry-run", "outlooks": [each.document() for each in outlooks]},
                lambda: print_outlooks(outlooks),
                as_json=as_json,
            )
            raise typer.Exit(max((code_of(each) for each in outlooks), default=ExitCode.OPERATIONAL))
        try:
            access = zone.request(name, purpose=purpose, mechanisms=tuple(mechanism or ()), request_id=request_id)
        except PolicyError as error:
            print_refusal(error, explanation(error, look_up(zone, error)), as_json=as_json)
            raise typer.Exit(exit_code(error)) from None
        found = access.request
        if found is None:
            raise AssertionError("a request answers with itself")

        def human() -> None:
            _human(found)
            target = "DIRECTORY" if found.resource.startswith("models/") else "FILE.parquet"
            console.print(f"\n[green]allowed[/]  pull it with  [bold]tdz pull {access.agreement} -o {target}[/]")

        emit({"outcome": "allowed", **found.document()}, human, as_json=as_json)


@app.command("list")
def list_(
    state: Annotated[str, typer.Option("--state", help="Only those in this state of negotiation.")] = "",
    held: Annotated[bool, typer.Option("--held", help="Only reviews that wait for a person.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List requests, newest first.

    Example: tdz request list --held
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.requests(state=state.upper(), held=held)

        def human() -> None:
            show.table(
                ("request", "resource", "purpose", "state", "effect", "held by", "asked"),
                (
                    (
                        r.id,
                        r.resource,
                        r.purpose,
                        show.state(r.state),
                        show.state(r.effect),
                        r.held_by,
                        show.moment(r.created_at),
                    )
                    for r in found
                ),
                empty="no requests",
            )

        emit({"requests": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one request: exit code 0 allowed, 1 refused, 3 still waiting for a person.

    Example: tdz request show 0197a3bf-…
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.show_request(request)
        emit(found.document(), lambda: _human(found), as_json=as_json)
        if found.state == "TERMINATED":
            raise typer.Exit(1)
        if not found.agreement:
            raise typer.Exit(3)


@app.command()
def appeal(
    request: Annotated[str, typer.Argument(help="The request's id.")],
    note: Annotated[str, typer.Option("--note", help="Why: whoever answers reads it; no ledger has it.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Appeal against a denial: administrators who took no part in it look at it again.

    Example: tdz request appeal 0197a3bf-… --note "the data holds no persons"
    """
    with connection.zone(profile, as_json=as_json) as zone:
        taken = zone.appeal(request, note=note)
        emit(
            taken.document(),
            lambda: console.print(
                f"[green]taken[/]  {taken.zone} answers until {show.moment(taken.deadline)}; "
                f"follow it with  [bold]tdz request show {request}[/]"
            ),
            as_json=as_json,
        )


def _human(request: AccessRequest) -> None:
    show.pairs(
        {
            "resource": request.resource,
            "purpose": request.purpose,
            "institution": request.participant,
            "state": show.state(request.state),
            "effect": show.state(request.effect),
            "held by": request.held_by,
            "until": "" if request.agreement else show.moment(request.deadline),
            "agreement": request.agreement,
            "obligations": ", ".join(request.obligations),
            "reason": request.reason,
            "denied by": request.denied_by,
            "appeal": request.appeal
            + (f" until {show.moment(request.appeal_deadline)}" if request.appeal_deadline else ""),
            "decided anew": f"tdz request show {request.anew}" if request.anew else "",
        },
        title=f"request {request.id}",
    )
    for decision in request.decisions:
        where = f"entry {decision.ledger_seq}" if decision.ledger_seq >= 0 else "no entry"
        console.print(f"  [dim]{decision.zone}[/] {show.state(decision.effect)}  {decision.decision_id}  {where}")
    for finding in request.findings:
        console.print(f"  {finding.code} ({finding.effect}, {finding.authority}) {finding.cite}")
        if finding.remedy:
            console.print(f"    [dim]remedy[/] {finding.remedy}")
