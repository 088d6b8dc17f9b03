"""``tdz-ledger head``."""

from __future__ import annotations

import argparse
import sys

from ledger.canonical import JsonValue
from ledger.cli.output import open_log, print_json
from ledger.cli.trust import given
from ledger.entry import Entry
from ledger.errors import EntryError, TamperedError
from ledger.report import Witnessed

__all__ = ["head"]


def head(arguments: argparse.Namespace) -> int:
    """Print the newest checkpoint, the last entry's time, and the newest cosigned checkpoint."""
    keys = given(arguments)
    log = open_log(arguments.directory, keys.trust)
    size = log.checkpoint.size
    time = None
    if size:
        (last,) = log.reader.entries(size - 1, size, size)
        try:
            time = Entry.parse(last, seq=size - 1).time
        except EntryError as error:
            raise TamperedError(f"entry {size - 1}: {error.message}", remedy="run tdz-ledger verify") from error
    cosigned = log.cosigned()
    witnessed = Witnessed(cosigned[0].size, tuple(cosigned[1])) if cosigned else None
    if arguments.json:
        seen: JsonValue = None
        if witnessed:
            seen = {"by": [*witnessed.names], "size": witnessed.size, "time": witnessed.time}
        print_json(
            {
                "cards": [*keys.lines],
                "key_from_directory": log.own_key,
                "last_entry_time": time,
                "origin": log.checkpoint.origin,
                "root": log.checkpoint.root.hex(),
                "size": size,
                "vkey": log.vkey,
                "witnessed": seen,
            }
        )
        return 0
    lines = [
        f"origin     {log.checkpoint.origin}",
        f"size       {size}",
        f"root       {log.checkpoint.root.hex()}",
        f"last entry {time or 'none'}",
        f"witnessed  to size {witnessed.size} at {witnessed.time} by {', '.join(witnessed.names)}"
        if witnessed
        else "witnessed  by nobody",
        f"key        {log.vkey}{' (taken from the directory itself)' if log.own_key else ''}",
        *keys.lines,
    ]
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    return 0
