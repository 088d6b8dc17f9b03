"""`tdz pull`: rows of the other zone into a file, or a model of it into a directory."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Annotated

import typer

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit, stderr
from gateway.cli.progress import report
from gateway.errors import PeerUnavailableError


def pull(
    what: Annotated[
        str, typer.Argument(metavar="NAME|AGREEMENT", help="datasets/ID, models/ID, agreements/ID or an id.")
    ],
    output: Annotated[
        Path, typer.Option("--output", "-o", help="Where to: .parquet, .arrow or .csv; a new directory for a model.")
    ],
    format_: Annotated[
        str, typer.Option("--format", "-f", help="parquet, arrow or csv, where the suffix does not say.")
    ] = "",
    transfer: Annotated[str, typer.Option("--transfer", help="Read this transfer again or on.")] = "",
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Pull a dataset or model under an agreement in force; a cut connection is taken up again.

    File or directory appear under their name only when everything was verified. Stopped half way (exit code 3), the
    same command goes on: chunks that your zone has verified do not cross the border again.

    Example: tdz pull datasets/nyc-flights -o flights.parquet
    """
    with connection.zone(profile, as_json=as_json) as zone:
        from gateway.sdk import files

        if what.startswith("datasets/"):
            files.format_of(output, format_)  # before anything moves
        begun = time.monotonic()
        with report(what, quiet=as_json) as progress:
            opened = zone.pull(what, transfer=transfer, progress=progress)
            try:
                if opened.resource.startswith("models/"):
                    opened.to_directory(output)
                else:
                    opened.to_file(output, format=format_)
            except PeerUnavailableError as error:
                stderr.print(f"[bold yellow]incomplete[/] {error.message} [dim]→[/] run the same command again")
                raise typer.Exit(ExitCode.INCOMPLETE) from error
        seconds = time.monotonic() - begun
        done = opened.progress
        document = {
            "outcome": "complete",
            "resource": opened.resource,
            "file": str(output),
            "transfer": opened.transfer,
            "agreement": opened.agreement,
            "rows": done.rows,
            "chunks": done.chunks,
            "bytes": done.bytes,
            "reconnects": done.reconnects,
            "seconds": round(seconds, 3),
            "end": opened.end,
        }

        def human() -> None:
            rate = show.size(int(done.bytes / max(seconds, 1e-9)))
            rows = "" if opened.resource.startswith("models/") else f"{show.number(done.rows)} rows, "
            console.print(
                f"[green]complete[/]  {output}  {rows}{show.size(done.bytes)} in "
                f"{seconds:.1f} s ({rate}/s), {done.chunks} chunks verified"
            )
            console.print(f"  [dim]transfer[/] {opened.transfer}")

        emit(document, human, as_json=as_json)
