"""``tdz-ledger lineage``."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ledger.cli.output import print_json, printable
from ledger.cli.pair import add_peer, loaded
from ledger.cli.trust import given
from ledger.lineage.draw import draw
from ledger.lineage.trace import trace
from ledger.lineage.tree import tree

__all__ = ["add_lineage"]


def add_lineage(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register ``lineage``."""
    command = commands.add_parser(
        "lineage", parents=[common], help="what a dataset or model came from, and where it went"
    )
    command.add_argument("what", metavar="datasets/ID|models/ID", help="one dataset or model")
    command.add_argument("directory", metavar="DIR", type=Path, help="one zone's ledger")
    add_peer(command)
    command.add_argument("--svg", metavar="FILE", type=Path, help="draw it into a file too")
    command.set_defaults(command=_lineage)


def _lineage(arguments: argparse.Namespace) -> int:
    keys = given(arguments)
    keys.tell()
    with loaded(arguments) as (store, sides):
        graph = trace(store, arguments.what)
    if arguments.svg is not None:
        arguments.svg.write_text(draw(graph).standalone(), encoding="utf-8")
    if arguments.json:
        print_json(graph.as_json())
        return 0
    alone = "" if len(sides) == 2 else " alone; what the other zone did with it is not there"
    sys.stdout.write(f"from the ledger{'s' if len(sides) == 2 else ''} of {' and '.join(sides)}{alone}\n")
    for line in tree(graph):
        sys.stdout.write(printable([line]) + "\n")
    return 0
