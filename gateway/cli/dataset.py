"""`tdz dataset`: publish, list, show, verify."""

from __future__ import annotations

import time
from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.outlook import print_outlooks
from gateway.cli.output import JsonOption, console, emit
from gateway.cli.progress import report
from gateway.errors import TdzError

if TYPE_CHECKING:
    from gateway.sdk import Outlook, Zone

app = typer.Typer(no_args_is_help=True, help="Datasets: your own, and what the other zone offers you.")

NameArgument = Annotated[str, typer.Argument(metavar="NAME", help="datasets/ID or ID")]


@app.command()
def publish(
    file: Annotated[Path, typer.Argument(metavar="FILE", help="Parquet, CSV, Arrow IPC or DuckDB.")],
    manifest: Annotated[Path, typer.Option("--manifest", help="YAML: facts for policy, and your terms.")],
    format_: Annotated[str, typer.Option("--format", "-f", help="Where the suffix does not say.")] = "",
    table: Annotated[str, typer.Option("--table", help="The table inside a DuckDB file.")] = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Publish a dataset; the same rows again store nothing twice.

    Example: tdz dataset publish flights.parquet --manifest flights.yaml
    """
    with connection.zone(profile, as_json=as_json) as zone:
        begun = time.monotonic()
        with report(file.name, quiet=as_json) as progress:
            done = zone.publish(file, manifest, format=format_, table=table, progress=progress)
        seconds = time.monotonic() - begun

        def human() -> None:
            console.print(
                f"[green]published[/]  {done.name}  {show.number(done.rows)} rows, {show.size(done.bytes)}, "
                f"{done.chunks} chunks in {seconds:.1f} s"
            )
            console.print(f"  [dim]version[/] {done.version}")

        emit({**done.document(), "seconds": round(seconds, 3)}, human, as_json=as_json)


@app.command("list")
def list_(
    query: Annotated[str, typer.Argument(metavar="[WORDS]", help="Words that must all occur.")] = "",
    own: Annotated[bool, typer.Option("--own", help="Only this zone's.")] = False,
    peer: Annotated[bool, typer.Option("--peer", help="Only what the other zone offers.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """List datasets, own and offered, each as its terms show it to you.

    Example: tdz dataset list flights --peer
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.datasets(query, scope="own" if own and not peer else "peer" if peer and not own else "")

        def human() -> None:
            show.table(
                ("name", "zone", "title", ">rows", ">bytes", "purposes", "approval"),
                (
                    (
                        d.name,
                        d.zone,
                        escape(d.title),
                        show.number(d.rows),
                        show.size(d.bytes),
                        ", ".join(d.purposes),
                        d.approval,
                    )
                    for d in found
                ),
                empty="no datasets: nothing is published here or offered to you",
            )

        emit({"datasets": [each.document() for each in found]}, human, as_json=as_json)


@app.command("show")
def show_(
    name: NameArgument,
    mechanism: Annotated[
        list[str] | None, typer.Option("--mechanism", "-m", help="A registered mechanism to rely on; repeatable.")
    ] = None,
    access: Annotated[bool, typer.Option(help="Ask both zones who could get it and what is missing.")] = True,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Show one dataset with its columns, and who could get it: you, or of your own the institutions it is offered to.

    Example: tdz dataset show datasets/nyc-flights
    """
    with connection.zone(profile, as_json=as_json) as zone:
        found = zone.dataset(name)
        outlooks, unasked = _outlooks(zone, found.name, tuple(mechanism or ())) if access else ([], "")

        def human() -> None:
            show.pairs(
                {
                    "zone": found.zone,
                    "owner": found.owner,
                    "title": escape(found.title),
                    "description": escape(found.description),
                    "licence": escape(found.licence),
                    "version": found.version,
                    "rows": show.number(found.rows),
                    "bytes": f"{show.size(found.bytes)} in {found.chunks} chunks",
                    "purposes": ", ".join(found.purposes),
                    "approval": found.approval,
                    "obligations": ", ".join(found.obligations),
                    "published": show.moment(found.published_at),
                    "offered until": show.moment(found.offered_until) if found.offered_until else "",
                },
                title=found.name,
            )
            show.table(
                ("column", "type", "tags"),
                ((escape(c.name), escape(c.arrow_type), ", ".join(c.tags)) for c in found.columns),
                empty="no columns",
            )
            print_outlooks(outlooks)
            if unasked:
                console.print(f"[dim]who could get it: {escape(unasked)}[/]")

        document = (
            {**found.document(), "access": [each.document() for each in outlooks]} if access else found.document()
        )
        emit(document, human, as_json=as_json)


def _outlooks(zone: Zone, name: str, mechanisms: tuple[str, ...]) -> tuple[list[Outlook], str]:
    """Who could get it, or why that cannot be told now: the dataset itself is shown all the same."""
    try:
        return zone.preview(name, mechanisms=mechanisms), ""
    except TdzError as error:
        return [], error.message


@app.command()
def verify(name: NameArgument, profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Have your gateway hash every stored chunk of an own dataset again; exit code 1 where one differs.

    Example: tdz dataset verify datasets/nyc-flights
    """
    with connection.zone(profile, as_json=as_json) as zone:
        with report(name, quiet=as_json) as progress:
            root = zone.verify(name, progress=progress)
        emit(
            {"outcome": "verified", "name": name, "root": root},
            lambda: console.print(f"[green]verified[/]  {name}  root {root}"),
            as_json=as_json,
        )
