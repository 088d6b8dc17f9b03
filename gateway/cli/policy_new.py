"""`tdz policy new-pack`: a skeleton to write policy from. Needs no server."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated, Any

import typer

from gateway.cli.output import JsonOption, console, emit, failures

app = typer.Typer(no_args_is_help=True)


@app.command("new-pack")
def new_pack(
    name: Annotated[str, typer.Argument(metavar="ID", help="The pack's id, or the rule's name.")],
    directory: Annotated[
        Path, typer.Option("--dir", metavar="DIR", help="A policy directory; a copy of the shipped one is made.")
    ] = Path("policy"),
    zone_rule: Annotated[
        str, typer.Option("--zone-rule", metavar="ZONE", help="Write a rule of this zone's own instead of a pack.")
    ] = "",
    zone: Annotated[str, typer.Option(help="The zone that will require the pack.")] = "lingang",
    title: Annotated[str, typer.Option(help="The pack's title.")] = "A new pack",
    as_json: JsonOption = False,
) -> None:
    """Write a pack, or with --zone-rule a zone's own rule: rules, codes, cases and tests that pass check and test.

    Example: tdz policy new-pack night_freeze --zone-rule lingang
    """
    with failures(as_json=as_json):
        from gateway.decisions.authoring import skeleton

        copied = skeleton.ready(directory)
        if zone_rule:
            written = skeleton.new_zone_rule(directory, name, zone=zone_rule)
        else:
            written = skeleton.new_pack(directory, name, title=title, zone=zone, now=int(time.time()))
        document: dict[str, Any] = {"directory": str(directory), "copied": copied, "written": written}

        def human() -> None:
            if copied:
                console.print(f"copied the shipped policy to {directory}", markup=False)
            for file in written:
                console.print(f"wrote  {directory / file}", markup=False)
            console.print(f"next: edit them, then `tdz policy check {directory}` and `tdz policy test {directory}`")

        emit(document, human, as_json=as_json)
