"""`tdz run`: train on tables of both zones, while their rows stay where they are."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer
from rich.live import Live
from rich.markup import escape
from rich.table import Table

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit, stderr

if TYPE_CHECKING:
    from gateway.sdk import Run, RunStatus

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
    """Start a run and follow it: exit code 0 released, 1 refused, 2 failed or cancelled.

    Ctrl-C leaves it running: `tdz run show ID` finds it again, `tdz run cancel ID` ends it.

    Example: tdz run start RUN.yaml --detach
    """
    with connection.zone(profile, as_json=as_json) as zone:
        run = zone.run(file, request_id=request_id)
        if detach:
            status = run.last

            def human() -> None:
                console.print(f"submitted  runs/{status.id}\nfollow it with  [bold]tdz run show {status.id}[/]")

            emit(_document(status), human, as_json=as_json)
            return
        last = _follow(run, quiet=as_json)
        emit(_document(last), lambda: _human(last), as_json=as_json)
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
        found = zone.runs(state=state)

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

        emit({"runs": [_document(each) for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(
    run: Annotated[str, typer.Argument(help="runs/ID or ID")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one run: exit code 0 released, 1 refused, 2 failed or cancelled, 3 still under way.

    Example: tdz run show 0197a3bf-…
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.show_run(run).last
        emit(_document(found), lambda: _human(found), as_json=as_json)
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
        emit(_document(found), lambda: console.print(f"cancelled  runs/{found.id}"), as_json=as_json)


def _code(status: RunStatus) -> ExitCode:
    if status.state == "RELEASED":
        return ExitCode.OK
    if status.state == "REFUSED":
        return ExitCode.REFUSED
    return ExitCode.OPERATIONAL if status.ended else ExitCode.INCOMPLETE


def _document(status: RunStatus) -> dict[str, Any]:
    return status.document()


def _follow(run: Run, *, quiet: bool) -> RunStatus:
    """Watch a run to its end: a live table on a terminal, a line for each round elsewhere."""
    last, told = run.last, (-1, "")
    with _screen(quiet=quiet) as screen:
        for last in run.watch():
            if screen is not None:
                screen.update(_progress(last))
            elif not quiet and (last.round, last.state) != told:
                told = (last.round, last.state)
                stderr.print(_line(last))
    return last


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
    metrics = "; ".join(f"{zone.zone} {_metrics(zone.metrics)}" for each in newest for zone in each.zones)
    return f"{status.state} round {status.round}/{status.rounds}, {moved}{'; ' if metrics else ''}{metrics}"


def _progress(status: RunStatus) -> Table:
    table = _rounds(status)
    table.title = f"{escape(status.name)}  {show.state(status.state)}  round {status.round} of {status.rounds}"
    table.caption = f"over the border: {show.size(status.bytes_out)} out, {show.size(status.bytes_in)} in"
    return table


def _rounds(status: RunStatus) -> Table:
    table = Table("round", "zone", "rows", "metrics", "time", box=None, pad_edge=False)
    for each in status.history[-_ROUNDS_SHOWN:]:
        for place, zone in enumerate(each.zones):
            table.add_row(
                str(each.round) if not place else "",
                zone.zone,
                show.number(zone.examples),
                _metrics(zone.metrics),
                f"{each.milliseconds} ms" if not place else "",
            )
    return table


def _metrics(metrics: dict[str, str]) -> str:
    return "  ".join(f"{name} {value}" for name, value in metrics.items() if name != "steps")


def _human(status: RunStatus) -> None:
    show.pairs(
        {
            "name": escape(status.name),
            "state": show.state(status.state),
            "round": f"{status.round} of {status.rounds}",
            "app": f"{status.app}, {status.strategy}",
            "institution": status.participant,
            "side": f"{status.side}, with {status.peer_zone or '?'}",
            "out": show.size(status.bytes_out),
            "in": show.size(status.bytes_in),
            "outcome": status.outcome,
            "model": status.model,
            "reason": status.reason,
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
        console.print(_rounds(status))
    sys.stdout.flush()
