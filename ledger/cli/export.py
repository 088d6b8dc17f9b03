"""``tdz-ledger export``: a self-contained copy to hand on."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledger.cli.output import key_argument, print_json
from ledger.cli.verify import Progress, plain
from ledger.export import export_log
from ledger.verify import verify_directory
from ledger.workers import processors

__all__ = ["add_export"]


def add_export(command: argparse.ArgumentParser) -> None:
    """Add the options of ``export``."""
    command.add_argument("target", metavar="DIR", type=Path, help="the folder to make; must not exist")
    command.add_argument(
        "directory", metavar="LEDGER", type=Path, nargs="?", default=Path(), help="the ledger's folder; default: here"
    )
    command.add_argument("--mirrors", action="store_true", help="the mirrored logs of the peers too")
    command.add_argument(
        "--documents",
        metavar="PATH",
        action="append",
        default=[],
        type=Path,
        help="a file or folder: what an entry names by its SHA-256 is copied too; may be given again",
    )
    command.add_argument(
        "--unwitnessed", action="store_true", help="up to the newest checkpoint though nobody cosigned it"
    )
    command.set_defaults(command=export)


def export(arguments: argparse.Namespace) -> int:
    """Copy, verify the copy, and say what it holds."""
    vkey = key_argument(arguments.vkey)
    with Progress("copying") as progress:
        made = export_log(
            arguments.directory,
            arguments.target,
            vkey=vkey,
            unwitnessed=arguments.unwitnessed,
            with_mirrors=arguments.mirrors,
            documents=arguments.documents,
            progress=progress,
        )
    with Progress("verifying") as progress:
        report = verify_directory(made.target, vkey=vkey, progress=progress, workers=processors())
    if arguments.json:
        print_json(
            {
                "directory": str(made.target),
                "documents": dict(made.documents),
                "identity": [*made.identity],
                "mirrors": [*made.mirrors],
                "verification": report.as_json(),
            }
        )
        return report.exit_code
    lines = report.lines()
    lines.append(f"{made.target}: {made.size} entries of {made.origin}")
    lines += (f"  {each}" for each in made.identity)
    lines += (f"  mirror of {each}" for each in made.mirrors)
    lines += (f"  documents/{digest}, named by entry {seq}" for digest, seq in made.documents.items())
    sys.stdout.write("".join(f"{plain(line)}\n" for line in lines))
    return report.exit_code
