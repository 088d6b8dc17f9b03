"""`tdz policy diff` and `backtest`: what another policy would have said. Needs no server."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any

import typer

from gateway.cli.output import ExitCode, JsonOption, console, emit, failures, stderr
from gateway.cli.policy_log import opened
from gateway.cli.times import since as time_since

if TYPE_CHECKING:
    from gateway.decisions.authoring.comparing import Comparison, Flip
    from gateway.decisions.policy_set import ZonePolicy

app = typer.Typer(no_args_is_help=True)

ShownOption = Annotated[int, typer.Option("--show", min=0, help="Print at most so many flips.")]
_COLOURS = {"allow": "green", "review": "yellow", "deny": "red"}
_LINE_EVERY_S = 5.0
_SHIPPED = "shipped"


@app.command()
def diff(
    old: Annotated[Path, typer.Argument(metavar="OLD", help="A policy directory, or the word shipped.")],
    new: Annotated[Path, typer.Argument(metavar="NEW", help="Another one.")],
    zone: Annotated[
        Path | None, typer.Option("--log", metavar="DIR", help="A zone's directory: its logged inputs count too.")
    ] = None,
    since: Annotated[str, typer.Option(help="Logged inputs from when on: 30d, 12h, or a day.")] = "30d",
    shown: ShownOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Put both policies' cases, and logged inputs, to both, and show each flip. Exits 1 where one flips.

    Example: tdz policy diff shipped policy --log /srv/lingang
    """
    with failures(as_json=as_json):
        from gateway.decisions.authoring.comparing import Comparison
        from gateway.decisions.policy_set import shipped

        comparison = Comparison()
        if str(old) == _SHIPPED and not old.exists():
            old = shipped()
        asyncio.run(_diff(old, new, zone, time_since(since), comparison))
        emit(comparison.to_json(), lambda: _print(comparison, shown), as_json=as_json)
    raise typer.Exit(ExitCode.REFUSED if comparison.flipped else ExitCode.OK)


@app.command()
def backtest(
    new: Annotated[Path, typer.Argument(metavar="NEW", help="A policy directory.")],
    zone: Annotated[Path, typer.Option("--log", metavar="DIR", help="The zone's directory; its gateway may run.")],
    since: Annotated[str, typer.Option(help="Recorded inputs from when on: 30d, 12h, or a day.")] = "30d",
    shown: ShownOption = 50,
    as_json: JsonOption = False,
) -> None:
    """Put the zone's recorded inputs to a policy and compare with what was decided. Exits 1 where one flips.

    Example: tdz policy backtest policy.new --log /srv/lingang --since 30d
    """
    with failures(as_json=as_json):
        from gateway.config import load_settings
        from gateway.decisions.authoring.comparing import Comparison, compare_records
        from gateway.decisions.policy_set import PolicySet

        comparison, settings = Comparison(), load_settings(zone)
        policy = PolicySet.load(new).for_zone(settings.zone)
        begun = time.monotonic()
        with _progress(as_json=as_json) as progress:
            records = opened(zone).records(time_since(since))
            kept = _kept(zone)
            asyncio.run(compare_records(policy, records, comparison, kept=kept, progress=progress))
        document = {**comparison.to_json(), "seconds": round(time.monotonic() - begun, 1)}
        emit(document, lambda: _print(comparison, shown), as_json=as_json)
    raise typer.Exit(ExitCode.REFUSED if comparison.flipped else ExitCode.OK)


async def _diff(old: Path, new: Path, zone: Path | None, since: int, into: Comparison) -> None:
    from gateway.config import load_settings
    from gateway.decisions.authoring.comparing import compare_cases, compare_inputs
    from gateway.decisions.authoring.sources import Sources
    from gateway.decisions.authoring.testing import grouped, load_cases
    from gateway.decisions.policy_set import PolicySet

    olds, news = PolicySet.load(old), PolicySet.load(new)
    cases = {(file, case.name): case for root in (new, old) for file, case in load_cases(Sources.read(root))}
    every = list(cases.values())
    for places in grouped(every):
        chosen = [every[place] for place in places]
        await compare_cases(chosen[0].policy(olds), chosen[0].policy(news), chosen, into)
    if zone is not None:
        name, records = load_settings(zone).zone, opened(zone).records(since)
        await compare_inputs(olds.for_zone(name), news.for_zone(name), records, into)


def _kept(zone: Path) -> Callable[[str], ZonePolicy | None]:
    from gateway.config import load_settings
    from gateway.decisions.kept_policy import load_policy

    folder = load_settings(zone).layout.policies
    return lambda digest: load_policy(folder, digest)


@contextmanager
def _progress(*, as_json: bool) -> Iterator[Callable[[int], None]]:
    """How far it is: a line on standard error now and then, rewritten on a terminal."""
    begun = last = time.monotonic()

    def said(done: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < (0.2 if stderr.is_terminal else _LINE_EVERY_S):
            return
        last = now
        stderr.print(
            f"{done:,} inputs, {done / (now - begun):,.0f}/s", end="\r" if stderr.is_terminal else "\n", markup=False
        )

    yield (lambda _done: None) if as_json and not stderr.is_terminal else said


def _print(comparison: Comparison, shown: int) -> None:
    for flip in comparison.flips[:shown]:
        _flip(flip)
    if comparison.flipped > shown:
        console.print(f"… and {comparison.flipped - min(shown, len(comparison.flips)):,} more; --json has up to 1,000")
    colour = "yellow" if comparison.flipped else "green"
    console.print(f"[bold {colour}]{comparison.flipped:,} of {comparison.compared:,} verdicts flip[/]")
    for change, count in sorted(comparison.changes.items()):
        console.print(f"  {change}: {count:,}", markup=False)
    for reason, count in sorted(comparison.skipped.items()):
        console.print(f"  not compared, {reason}: {count:,}", markup=False)


def _flip(flip: Flip) -> None:
    mark = "[red]looser[/] " if flip.looser else ""
    console.print(f"{mark}", end="")
    console.print(f"{flip.name}  input {flip.input_digest[:16]}", markup=False)
    for what, answer in (("before", flip.before), ("after", flip.after)):
        said: list[Any] = [f"[{_COLOURS[answer.effect]}]{answer.effect}[/]", *answer.codes]
        bound = f"; bound to {', '.join(answer.kinds)}" if answer.kinds and answer.effect != "deny" else ""
        console.print(f"  {what:<6} {' '.join(said)}{bound}{f'; {answer.failure}' if answer.failure else ''}")
