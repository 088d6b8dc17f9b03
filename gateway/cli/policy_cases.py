"""`tdz policy test`: the cases of a policy directory, expected against found. Needs no server and no OPA."""

from __future__ import annotations

import asyncio
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli.output import ExitCode, JsonOption, console, emit, failures
from gateway.cli.policy_check import OpaOption, PolicyArgument

if TYPE_CHECKING:
    from gateway.decisions.authoring.testing import Tested

app = typer.Typer(no_args_is_help=True)


@app.command("test")
def run_cases(
    directory: PolicyArgument = None,
    pattern: Annotated[
        str, typer.Option("--filter", "-k", metavar="TEXT", help="Only cases whose name or file has it; a regex.")
    ] = "",
    engine: Annotated[str, typer.Option(help="What answers: embedded, or opa.")] = "embedded",
    opa: OpaOption = "",
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="List the cases that pass, and missed lines.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Run the cases in cases.yaml: exact effect, codes and obligations. Exits 1 where one fails.

    Example: tdz policy test policy -k 'art 8'
    """
    with failures(as_json=as_json):
        from gateway.decisions.authoring.opa_binary import OpaBinary
        from gateway.decisions.authoring.testing import run
        from gateway.decisions.policy_set import shipped

        root: Path = directory or shipped()
        tested = asyncio.run(run(root, pattern=pattern, engine=engine, opa=OpaBinary.find(opa)))
        emit(tested.to_json(), lambda: _print(root, tested, whole=not pattern, verbose=verbose), as_json=as_json)
    raise typer.Exit(ExitCode.OK if tested.ok else ExitCode.REFUSED)


def _print(root: Path, tested: Tested, *, whole: bool, verbose: bool) -> None:
    file = None
    for outcome in tested.outcomes:
        if outcome.passed and not verbose:
            continue
        if outcome.file != file:
            file = outcome.file
            console.print(f"[bold]{escape(file)}[/]")
        mark = "[green]passed[/]" if outcome.passed else "[red]failed[/]"
        console.print(f"  {mark} {escape(outcome.case.name)} [dim](decided by {outcome.case.gateway})[/]")
        if not outcome.passed:
            for line in outcome.differences():
                console.print(f"    {line}", markup=False)
    passed = len(tested.outcomes) - tested.failed
    colour = "red" if tested.failed else "green"
    console.print(
        f"[bold {colour}]{passed} of {len(tested.outcomes)} cases passed[/] in {escape(str(root))}, "
        f"engine {tested.engine}"
    )
    if tested.rego:
        console.print(f"  Rego tests: {tested.rego}", markup=False)
    if whole:  # a part of the cases says nothing about the whole
        _coverage(tested, verbose=verbose)


def _coverage(tested: Tested, *, verbose: bool) -> None:
    never = [code for code, count in tested.codes.items() if not count]
    said = f"; none for {', '.join(never)}" if never else ""
    console.print(f"  codes that a case brings out: {len(tested.codes) - len(never)} of {len(tested.codes)}{said}")
    if tested.covered is None:
        console.print("  lines that cases reach: only an OPA can say (OPA_BIN, PATH or --opa)")
        return
    console.print(f"  lines that cases reach: {tested.covered} %")
    if verbose:
        for name, lines in tested.lines.items():
            console.print(f"    {name}: not {', '.join(map(str, lines))}", markup=False)
