"""``tdz-ledger recover``: a log's directory from a copy of its entries, after its loss."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ledger.canonical import JsonValue
from ledger.cli.output import key_argument, print_json
from ledger.errors import OperationalError
from ledger.keys import create_key, load_key
from ledger.note import MAX_NOTE_BYTES, NoteSigner
from ledger.rebuild import EntriesLostError, Rebuilt, read_source, rebuild
from ledger.tiles import read_regular_file

__all__ = ["add_recover", "recovered_lines"]


def add_recover(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register the command."""
    command = commands.add_parser(
        "recover", parents=[common], help="make a lost log anew from the peer's mirror of it, in an empty folder"
    )
    command.add_argument("directory", metavar="DIR", type=Path, help="where the log is to stand: empty, or not there")
    command.add_argument(
        "--from",
        dest="source",
        metavar="MIRROR",
        type=Path,
        required=True,
        help="a copy of the peer's mirror/<hash> folder, or any other copy of the log",
    )
    command.add_argument(
        "--held",
        metavar="NOTE",
        type=Path,
        action="append",
        default=[],
        help="a checkpoint of the log that somebody holds; may be given again: it shows whether entries are lost",
    )
    command.add_argument(
        "--new-origin", metavar="ORIGIN", help="tdz/<zone>/<label> of the log that follows, where entries are lost"
    )
    command.add_argument("--new-key", metavar="FILE", type=Path, help="its private key; made where it is not there")
    command.add_argument("--ended", action="store_true", help="others have frozen the log: open a new origin anyway")
    command.set_defaults(command=_recover)


def _recover(arguments: argparse.Namespace) -> int:
    """0 where the log goes on or is followed, 3 where entries are lost and no new origin was named."""
    if (arguments.new_origin is None) != (arguments.new_key is None):
        raise OperationalError("a new origin needs its key", remedy="give --new-origin and --new-key together")
    source = read_source(arguments.source, key_argument(arguments.vkey))
    successor = None
    if arguments.new_origin is not None:
        path: Path = arguments.new_key
        successor = NoteSigner(arguments.new_origin, load_key(path) if path.exists() else create_key(path))
    try:
        rebuilt = rebuild(
            arguments.directory,
            source,
            held=[read_regular_file(str(each), MAX_NOTE_BYTES) for each in arguments.held],
            successor=successor,
            ended=arguments.ended,
        )
    except EntriesLostError as error:
        if arguments.json:
            lost: JsonValue = {"first": error.first, "last": error.last}
            print_json({"ok": False, "lost": lost, "origin": source.checkpoint.origin, "text": error.message})
        sys.stderr.write(f"tdz-ledger: {error} (--new-origin ORIGIN --new-key FILE)\n")
        return 3
    if arguments.json:
        print_json(_document(rebuilt))
    else:
        sys.stdout.write("".join(f"{line}\n" for line in recovered_lines(rebuilt)))
    return 0


def recovered_lines(rebuilt: Rebuilt) -> list[str]:
    """What was made, for people."""
    if not rebuilt.predecessor:
        return [
            f"recovered: {rebuilt.origin} goes on at size {rebuilt.size}",
            f"  root {rebuilt.root.hex()}",
        ]
    lines = [f"recovered: {rebuilt.predecessor} has ended; {rebuilt.origin} follows it"]
    if rebuilt.lost:
        first, last = rebuilt.lost
        lines.append(f"  LOST: entries {first} to {last} of {rebuilt.predecessor} were signed and are gone")
    return lines


def _document(rebuilt: Rebuilt) -> JsonValue:
    lost: JsonValue = None if rebuilt.lost is None else {"first": rebuilt.lost[0], "last": rebuilt.lost[1]}
    return {
        "ok": True,
        "origin": rebuilt.origin,
        "size": rebuilt.size,
        "root": rebuilt.root.hex(),
        "lost": lost,
        "predecessor": rebuilt.predecessor or None,
    }
