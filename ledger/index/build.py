"""Fill a database from a log's entries; go on where an earlier filling ended."""

from __future__ import annotations

import contextlib
from collections import Counter, defaultdict
from dataclasses import dataclass
from typing import Any, Final

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.errors import LedgerError
from ledger.facts.read import Place, Progress, Rows, proven_rows
from ledger.facts.schema import SCHEMA_VERSION, TABLES, VIEWS, Table
from ledger.index.engine import engine
from ledger.tiles import TileReader
from ledger.workers import processors

__all__ = ["Built", "create", "fill", "read_built"]

_BATCH_ROWS: Final = 8192
_BATCH_CHARACTERS: Final = 8 * 1024 * 1024
_TYPES: Final = {"text": "VARCHAR", "int": "BIGINT", "bool": "BOOLEAN", "time": "TIMESTAMP", "json": "JSON"}
_BUILT: Final = "schema_version INTEGER, origin VARCHAR, size BIGINT, root VARCHAR, edge VARCHAR, prev VARCHAR"


@dataclass(frozen=True, slots=True)
class Built:
    """The checkpoint that a database was built from, and where its filling ended."""

    origin: str
    root: str
    place: Place


def create(database: Any) -> None:
    """Make the tables and views."""
    database.execute(f"CREATE TABLE built_from ({_BUILT})")
    database.execute("COMMENT ON TABLE built_from IS 'the signed checkpoint that these tables were built from'")
    for table in TABLES.values():
        columns = ", ".join(f'"{column.name}" {_TYPES[column.type]}' for column in table.columns)
        database.execute(f"CREATE TABLE {table.name} ({columns})")
        _comment(database, "TABLE", table.name, table.meaning)
        for column in table.columns:
            _comment(database, "COLUMN", f'{table.name}."{column.name}"', column.meaning)
    for name, (meaning, query) in VIEWS.items():
        database.execute(f"CREATE VIEW {name} AS {query}")
        _comment(database, "VIEW", name, meaning)


def _comment(database: Any, what: str, name: str, text: str) -> None:
    quoted = text.replace("'", "''")
    database.execute(f"COMMENT ON {what} {name} IS '{quoted}'")


def read_built(database: Any) -> Built | None:
    """What a database was built from; None where it is none of ours, or of another version."""
    try:
        rows = database.execute("SELECT schema_version, origin, size, root, edge, prev FROM built_from").fetchall()
        ((version, origin, size, root, edge, prev),) = rows
        if version != SCHEMA_VERSION:
            return None
        hashes = tuple(bytes.fromhex(each) for each in edge.split())
        return Built(str(origin), str(root), Place(int(size), hashes, bytes.fromhex(prev)))
    except (engine().Error, ValueError, TypeError, AttributeError):
        return None


def fill(
    database: Any,
    reader: TileReader,
    checkpoint: Checkpoint,
    *,
    begin: Place | None = None,
    progress: Progress | None = None,
) -> None:
    """Add the entries up to a checkpoint, all or none.

    Args:
        database: writable, with its tables made.
        reader: the log's files.
        checkpoint: verified.
        begin: where the database's filling of this log ended; from the first entry on where None.
        progress: told now and then.

    Raises:
        TamperedError: the entries, or what stands in the database before them, are not what was signed.
    """
    database.execute("BEGIN")
    try:
        ends: list[Place] = []
        writer = _Writer(database)
        for rows in proven_rows(
            reader, checkpoint, begin=begin, whole=True, progress=progress, ended=ends.append, workers=processors()
        ):
            writer.add(rows)
        writer.flush()
        (place,) = ends
        database.execute("DELETE FROM built_from WHERE origin = ?", [checkpoint.origin])
        edge = " ".join(each.hex() for each in place.edge)
        database.execute(
            "INSERT INTO built_from VALUES (?, ?, ?, ?, ?, ?)",
            [SCHEMA_VERSION, checkpoint.origin, place.size, checkpoint.root.hex(), edge, place.prev.hex()],
        )
        database.execute("COMMIT")
    except (LedgerError, engine().Error, KeyboardInterrupt):
        with contextlib.suppress(engine().Error):
            database.execute("ROLLBACK")
        raise


class _Writer:
    """Rows in batches of columns: one statement for each row would be a hundred times slower.

    Each table has a batch of its own, since planning a statement costs as much as some hundred rows.
    """

    def __init__(self, database: Any) -> None:
        self._database = database
        self._rows: dict[str, list[tuple[JsonValue, ...]]] = defaultdict(list)
        self._characters: Counter[str] = Counter()

    def add(self, found: Rows) -> None:
        for name, rows in found.items():
            waiting, characters = self._rows[name], self._characters[name]
            for values in rows:
                waiting.append(values)
                for each in values:
                    if type(each) is str:
                        characters += len(each)
                if characters >= _BATCH_CHARACTERS or len(waiting) >= _BATCH_ROWS:
                    self._flush(name)
                    characters = 0
            self._characters[name] = characters

    def flush(self) -> None:
        for name in [name for name, rows in self._rows.items() if rows]:
            self._flush(name)

    def _flush(self, name: str) -> None:
        columns = [list(column) for column in zip(*self._rows[name], strict=True)]
        self._database.execute(_insertion(TABLES[name]), columns)
        self._rows[name].clear()


def _insertion(table: Table) -> str:
    # Texts as they are; times and JSON are cast by DuckDB, which refuses what is neither.
    bound = {"text": "VARCHAR", "int": "BIGINT", "bool": "BOOLEAN"}
    columns = ", ".join(
        f"unnest(${at}::{bound.get(column.type, 'VARCHAR')}[])::{_TYPES[column.type]}"
        for at, column in enumerate(table.columns, 1)
    )
    return f"INSERT INTO {table.name} SELECT {columns}"
