"""`tdz policy check`: what is wrong with a policy directory, file by file. Needs no server and no OPA."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli.output import ExitCode, JsonOption, console, emit, failures

if TYPE_CHECKING:
    from gateway.decisions.authoring.check import Checked

app = typer.Typer(no_args_is_help=True)

OpaOption = Annotated[
    str, typer.Option("--opa", metavar="PATH", help="An OPA binary; default OPA_BIN or PATH. none does without.")
]
PolicyArgument = Annotated[
    Path | None, typer.Argument(metavar="[DIR]", help="A policy directory; the shipped one where left out.")
]
_COLOUR = {"error": "red", "warning": "yellow"}


@app.command()
def check(
    directory: PolicyArgument = None,
    opa: OpaOption = "",
    write: Annotated[
        bool, typer.Option("--fix", help="First write the code documents from the METADATA, and format where OPA is.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Check format, compilation, fields, metadata, builtins, packages and dates. Exits 1 where there is an error.

    Example: tdz policy check policy
    """
    with failures(as_json=as_json):
        from gateway.decisions.authoring.check import check as check_directory
        from gateway.decisions.authoring.check import fix
        from gateway.decisions.authoring.opa_binary import OpaBinary
        from gateway.decisions.policy_set import shipped

        root, binary = directory or shipped(), OpaBinary.find(opa)
        if write:
            fix(root, opa=binary)
        checked = asyncio.run(check_directory(root, opa=binary, now=int(time.time())))
        emit(checked.to_json(), lambda: _print(root, checked), as_json=as_json)
    raise typer.Exit(ExitCode.REFUSED if checked.errors else ExitCode.OK)


def _print(root: Path, checked: Checked) -> None:
    file = None
    for problem in checked.problems:
        if problem.file != file:
            file = problem.file
            console.print(f"[bold]{escape(file or str(root))}[/]")
        place = f"line {problem.line}: " if problem.line else ""
        console.print(f"  [{_COLOUR[problem.level]}]{problem.level}[/] {place}", end="")
        console.print(f"{problem.text} ({problem.check})", markup=False)
        console.print(f"    remedy: {problem.remedy}", markup=False)
    warnings = len(checked.problems) - checked.errors
    verdict = "[bold green]sound[/]" if not checked.errors else "[bold red]not sound[/]"
    console.print(f"{verdict}  {checked.errors} errors, {warnings} warnings in {escape(str(root))}")
    by: dict[str, list[str]] = {}
    for name, what in checked.made_by.items():
        by.setdefault(what, []).append(name)
    for what, names in by.items():
        console.print(f"  [dim]checked by {escape(what)}:[/] {', '.join(names)}")
