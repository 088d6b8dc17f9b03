"""``tdz-ledger sql`` and ``tdz-ledger index``."""

from __future__ import annotations

import argparse
import csv
import itertools
import json
import sys
from collections.abc import Iterable, Sequence
from datetime import date, datetime
from pathlib import Path
from typing import Any, Final

from ledger.cli.output import open_log, print_json, printable
from ledger.cli.progress import progress_line
from ledger.cli.trust import add_trust, given
from ledger.errors import OperationalError
from ledger.index.keep import index_file, opened_index, rebuild
from ledger.index.query import Answer, ask

__all__ = ["add_index", "add_sql"]

_WIDEST: Final = 60
_SAMPLE_ROWS: Final = 1000


def add_sql(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register ``sql``."""
    command = commands.add_parser("sql", parents=[common], help="ask the ledger in SQL (needs the extra sql)")
    command.add_argument("query", metavar="QUERY", help="one SELECT; - reads it from standard input")
    command.add_argument("directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder")
    command.add_argument("--csv", action="store_true", help="print comma-separated values")
    command.add_argument("--peer", metavar="DIR", type=Path, help="another zone's ledger, asked together with it")
    command.add_argument("--peer-vkey", metavar="KEY", help="that log's verifier key, or a file that holds it")
    add_trust(command)
    command.add_argument("--index", metavar="FILE", type=Path, help="keep the index of an auditor's copy there")
    command.add_argument("--timeout", metavar="S", type=float, default=60, help="seconds a query may take; default 60")
    command.add_argument("--memory", metavar="MIB", type=int, default=1024, help="MiB a query may use; default 1024")
    command.set_defaults(command=_sql)


def add_index(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register ``index rebuild``."""
    command = commands.add_parser("index", parents=[common], help="build the SQL index anew (needs the extra sql)")
    command.add_argument("action", choices=["rebuild"], help="what to do with it")
    command.add_argument("directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder")
    command.add_argument("--index", metavar="FILE", type=Path, help="the file; default state/index.duckdb")
    add_trust(command)
    command.set_defaults(command=_rebuild)


def _sql(arguments: argparse.Namespace) -> int:
    query: str = sys.stdin.read() if arguments.query == "-" else arguments.query
    if arguments.timeout <= 0 or arguments.memory < 64:
        raise OperationalError("a query has some seconds and at least 64 MiB")
    keys = given(arguments)
    keys.tell()
    log = open_log(arguments.directory, keys.trust)
    logs = [(log.reader, log.checkpoint)]
    file: Path | None = arguments.index or index_file(arguments.directory)
    if arguments.peer is not None:
        if arguments.index is not None:
            raise OperationalError("--index keeps the index of one ledger", remedy="leave --index or --peer out")
        peer = open_log(arguments.peer, given(arguments, vkey="peer_vkey").trust)
        logs.append((peer.reader, peer.checkpoint))
        file = None
    with (
        progress_line("indexing") as progress,
        opened_index(
            logs,
            file=file,
            memory_mib=arguments.memory,
            progress=progress,
            say=lambda text: print(f"tdz-ledger: {text}", file=sys.stderr),
        ) as database,
    ):
        answer = ask(database, query, within_s=arguments.timeout)
        if arguments.json:
            _print_json(answer)
        elif arguments.csv:
            writer = csv.writer(sys.stdout)
            writer.writerow(answer.columns)
            writer.writerows([_csv(value) for value in row] for row in answer.rows)
        else:
            _print_table(answer)
    return 0


def _rebuild(arguments: argparse.Namespace) -> int:
    log = open_log(arguments.directory, given(arguments).trust)
    file: Path | None = arguments.index or index_file(arguments.directory)
    if file is None:
        raise OperationalError(
            "an auditor's copy keeps no index", remedy="name a file with --index; sql does without one"
        )
    with progress_line("indexing") as progress:
        rebuild((log.reader, log.checkpoint), file, progress)
    if arguments.json:
        print_json({"file": str(file), "root": log.checkpoint.root.hex(), "size": log.checkpoint.size})
    else:
        sys.stdout.write(f"built {file} from {log.checkpoint.size} entries of {log.checkpoint.origin}\n")
    return 0


def _print_json(answer: Answer) -> None:
    """One document, written row by row."""
    sys.stdout.write("[")
    for at, row in enumerate(answer.rows):
        document = {name: _plain(value) for name, value in zip(answer.columns, row, strict=True)}
        sys.stdout.write((",\n " if at else "") + json.dumps(document, ensure_ascii=False))
    sys.stdout.write("]\n")


def _print_table(answer: Answer) -> None:
    """Columns as wide as their first rows need."""
    rows = ([_cell(value) for value in row] for row in answer.rows)
    first = list(itertools.islice(rows, _SAMPLE_ROWS))
    widths = _head(answer.columns, first)
    count = len(first)
    for row in rows:
        _line(row, widths)
        count += 1
    sys.stdout.write(f"({count} {'row' if count == 1 else 'rows'})\n")


def _head(columns: Sequence[str], rows: list[list[str]]) -> list[int]:
    widths = [min(_WIDEST, max(map(len, column))) for column in zip(columns, *rows, strict=True)]
    _line(columns, widths)
    _line(["-" * width for width in widths], widths)
    for row in rows:
        _line(row, widths)
    return widths


def _line(cells: Iterable[str], widths: Sequence[int]) -> None:
    fitted = [
        f"{cell if len(cell) <= width else cell[: width - 1] + '…':<{width}}"
        for cell, width in zip(cells, widths, strict=True)
    ]
    sys.stdout.write(printable(fitted).rstrip() + "\n")


def _cell(value: Any) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    return "" if value is None else str(_plain(value))


def _csv(value: Any) -> str:
    """A spreadsheet must not take a log's text for a formula."""
    text = _cell(value)
    return f"'{text}" if isinstance(value, str) and text.startswith(("=", "+", "-", "@", "\t", "\r")) else text


def _plain(value: Any) -> Any:
    """A value as JSON has it."""
    if isinstance(value, datetime):
        return value.isoformat(timespec="microseconds") + ("Z" if value.tzinfo is None else "")
    if isinstance(value, date):
        return value.isoformat()
    if isinstance(value, dict):
        return {str(name): _plain(each) for name, each in value.items()}
    if isinstance(value, (list, tuple)):
        return [_plain(each) for each in value]
    if value is None or isinstance(value, (bool, int, str)):
        return value
    return str(value)
