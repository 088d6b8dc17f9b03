"""`tdz run`: train on tables of both zones, while their rows stay where they are."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, complain, console, emit, stderr
from gateway.errors import TdzError

if TYPE_CHECKING:
    from gateway.sdk import Run, RunStatus
    from gateway.sdk.runs import ZoneMetrics

_ROUNDS_SHOWN = 8

app = typer.Typer(no_args_is_help=True, help="Federated runs: the training goes to the tables, their rows stay.")


@app.command("start")
def start(
    file: Annotated[Path, typer.Argument(metavar="RUN.yaml", help="What to train, on which datasets, for how long.")],
    detach: Annotated[bool, typer.Option("--detach", "-d", help="Come back once it is recorded; it runs on.")] = False,
    request_id: Annotated[
        str | None, typer.Option("--request-id", help="Repeating it gives the same run, never a second one.")
    ] = None,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Start a run and follow it: exit code 0 released, 1 refused, 2 failed or cancelled, 3 it waits for persons.

    Ctrl-C (exit code 3) leaves it running: `tdz run show ID --follow` finds it again, `tdz run cancel ID` ends it.

    Example: tdz run start RUN.yaml --detach
    """
    with connection.zone(profile, as_json=as_json) as zone:
        try:
            run = zone.run(file, request_id=request_id)
        except KeyboardInterrupt:
            raise _interrupted("it may have been submitted", "tdz run list") from None
        if detach:
            status = run.last

            def human() -> None:
                console.print(f"submitted  runs/{status.id}")
                console.print(f"follow it with  [bold]tdz run show {status.id} --follow[/]")

            emit(status.document(), human, as_json=as_json)
            return
        last = _follow(run, quiet=as_json, through_reviews=False)
        emit(last.document(), lambda: _human(last), as_json=as_json)
        try:
            last.released()
        except TdzError as error:
            complain(error)
        raise typer.Exit(_code(last))


@app.command("list")
def list_(
    state: Annotated[str, typer.Option("--state", help="Only those in this state, e.g. RUNNING.")] = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List runs that you started or have a dataset in, newest first.

    Example: tdz run list --state RUNNING
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.runs(state=state.upper())

        def human() -> None:
            show.table(
                ("run", "name", "app", "strategy", "state", ">round", "side", "with", "started"),
                (
                    (
                        r.id,
                        escape(r.name),
                        r.app,
                        r.strategy,
                        show.state(r.state),
                        f"{r.round}/{r.rounds}",
                        r.side,
                        r.peer_zone,
                        show.moment(r.created_at),
                    )
                    for r in found
                ),
                empty="no runs",
            )

        emit({"runs": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(
    run: Annotated[str, typer.Argument(help="runs/ID or ID")],
    follow: Annotated[bool, typer.Option("--follow", "-f", help="Watch it until it has ended.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: exit code 0 released, 1 refused, 2 failed or cancelled, 3 still under way.

    Example: tdz run show 0197a3bf-… --follow
    """
    with connection.zone(profile, as_json=as_json) as zone:
        shown = zone.show_run(run)
        found = _follow(shown, quiet=as_json, through_reviews=True) if follow else shown.last
        emit(found.document(), lambda: _human(found), as_json=as_json)
        raise typer.Exit(_code(found))


@app.command("cancel")
def cancel(
    run: Annotated[str, typer.Argument(help="runs/ID or ID")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a run at once, in both zones: its partner may, and the owner of a dataset in it.

    Example: tdz run cancel 0197a3bf-…
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.show_run(run).cancel()
        emit(found.document(), lambda: console.print(f"cancelled  runs/{found.id}"), as_json=as_json)


def _code(status: RunStatus) -> ExitCode:
    if status.state == "RELEASED":
        return ExitCode.OK
    if status.state == "REFUSED":
        return ExitCode.REFUSED
    return ExitCode.OPERATIONAL if status.ended else ExitCode.INCOMPLETE


def _follow(run: Run, *, quiet: bool, through_reviews: bool) -> RunStatus:
    """Watch a run to its end: a live table on a terminal, a line for each round elsewhere.

    Args:
        run: the run.
        quiet: show nothing.
        through_reviews: go on while it waits for persons, which may take two weeks.
    """
    last, told = run.last, (-1, "", "")
    try:
        with _screen(quiet=quiet) as screen:
            for last in run.watch():
                if screen is not None:
                    screen.update(_progress(last))
                elif not quiet and (last.round, last.state, last.held_by) != told:
                    told = (last.round, last.state, last.held_by)
                    stderr.print(_line(last))
                if last.held_by and not through_reviews:
                    break
    except KeyboardInterrupt:
        commands = f"tdz run show {run.id} --follow, or tdz run cancel {run.id}"
        raise _interrupted("the run goes on", commands) from None
    return last


def _interrupted(what: str, commands: str) -> typer.Exit:
    """Say what Ctrl-C left: the same command again would start a second run."""
    stderr.print(f"[bold yellow]interrupted[/] {what} [dim]→[/] {commands}")
    return typer.Exit(ExitCode.INCOMPLETE)


@contextmanager
def _screen(*, quiet: bool) -> Iterator[Live | None]:
    if quiet or not stderr.is_terminal:
        yield None
        return
    with Live(console=stderr, refresh_per_second=8, transient=True) as live:
        yield live


def _line(status: RunStatus) -> str:
    moved = f"{show.size(status.bytes_out)} out, {show.size(status.bytes_in)} in"
    newest = status.history[-1:] if status.round else ()
    metrics = "; ".join(
        " ".join((zone.zone, *(f"{name} {value}" for name, value in _metrics(zone).items())))
        for each in newest
        for zone in each.zones
    )
    waits = f", waits for {status.held_by}" if status.held_by else ""
    return f"{status.state}{waits} round {status.round}/{status.rounds}, {moved}{'; ' if metrics else ''}{metrics}"


def _progress(status: RunStatus) -> Table:
    table = _rounds(status)
    table.title = f"{escape(status.name)}  {show.state(status.state)}  round {status.round} of {status.rounds}"
    table.caption = f"over the border: {show.size(status.bytes_out)} out, {show.size(status.bytes_in)} in"
    return table


def _rounds(status: RunStatus) -> Table:
    shown = status.history[-_ROUNDS_SHOWN:]
    names = list(dict.fromkeys(name for each in shown for zone in each.zones for name in _metrics(zone)))
    table = Table("round", "zone", "rows", *names, "time", box=None, pad_edge=False)
    for column in table.columns[2:]:
        column.justify = "right"
    for each in shown:
        for place, zone in enumerate(each.zones):
            measured = _metrics(zone)
            table.add_row(
                str(each.round) if not place else "",
                zone.zone,
                show.number(zone.examples),
                *(measured.get(name, "") for name in names),
                f"{each.milliseconds} ms" if not place else "",
            )
    return table


def _metrics(zone: ZoneMetrics) -> dict[str, str]:
    """What people look at, to four digits: how many steps and how long it took are for --json."""
    return {name: f"{float(value):.4g}" for name, value in zone.metrics.items() if name not in {"steps", "seconds"}}


def _human(status: RunStatus) -> None:
    show.pairs(
        {
            "name": escape(status.name),
            "state": show.state(status.state),
            "waits for": f"{status.held_by}, until {show.moment(status.deadline)}" if status.held_by else "",
            "round": f"{status.round} of {status.rounds}",
            "app": f"{status.app}, {status.strategy}",
            "institution": status.participant,
            "side": f"{status.side}, with {status.peer_zone}" if status.peer_zone else status.side,
            "out": show.size(status.bytes_out),
            "in": show.size(status.bytes_in),
            "outcome": status.outcome,
            "model": status.model,
            "reason": status.reason,
            "remedy": escape(status.remedy),
            "started": show.moment(status.created_at),
        },
        title=f"runs/{status.id}",
    )
    for dataset in status.datasets:
        console.print(f"  [dim]{dataset.zone}[/] {dataset.resource}  {dataset.owner}")
    for decision in status.decisions:
        console.print(f"  [dim]{decision.zone}[/] {show.state(decision.effect)}  {decision.decision_id}")
    for finding in status.findings:
        console.print(f"  {finding.code} ({finding.effect}, {finding.authority}) {escape(finding.cite)}")
        if finding.remedy:
            console.print(f"    [dim]remedy[/] {escape(finding.remedy)}")
    if status.history:
        show.whole(_rounds(status))
