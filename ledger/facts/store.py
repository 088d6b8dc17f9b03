"""The rows of one or two logs in a temporary SQLite file: comparing and reporting needs no extra and little memory."""

from __future__ import annotations

import os
import sqlite3
import tempfile
from collections.abc import Iterator, Sequence
from types import TracebackType
from typing import Any, Final, Self

from ledger.checkpoint import Checkpoint
from ledger.errors import OperationalError
from ledger.facts.read import Progress, Rows, proven_rows
from ledger.facts.schema import TABLES
from ledger.origin import zone_of
from ledger.tiles import TileReader

__all__ = ["FactStore"]

_CACHE_KIB: Final = 8_192
_LEFT_OUT: Final = frozenset({"entries"})
"""What nobody asks here: bodies are in the log."""

_INDEXES: Final = (
    "transfer_entries (id)",
    "transfer_entries (agreement)",
    "agreement_entries (id)",
    "agreement_entries (resource)",
    "agreement_entries (negotiation)",
    "decisions (decision_id)",
    "receipts (transfer)",
    "run_entries (run)",
    "run_datasets (run)",
    "run_datasets (resource)",
    "releases (run)",
    "round_entries (run)",
    "decisions (subject)",
    "findings (subject)",
    "packs (decision_id)",
    "run_entries (model)",
    "releases (resource)",
    "model_inputs (input_digest)",
    "devices (run)",
    "model_inputs (resource)",
)


class FactStore:
    """Tables as in `ledger.facts.schema`, in a file that is gone when the store is closed."""

    def __init__(self) -> None:
        self._scratch = tempfile.TemporaryDirectory(prefix="tdz-facts-")
        self.zones: list[str] = []
        try:
            self._database = sqlite3.connect(os.path.join(self._scratch.name, "facts.db"), isolation_level=None)
        except sqlite3.Error as error:
            self._scratch.cleanup()
            raise OperationalError(f"no room for temporary tables: {error}") from error
        self._database.row_factory = sqlite3.Row
        for pragma in ("journal_mode = OFF", "synchronous = OFF", f"cache_size = -{_CACHE_KIB}", "temp_store = FILE"):
            self._database.execute(f"PRAGMA {pragma}")
        for table in TABLES.values():
            if table.name not in _LEFT_OUT:
                self._database.execute(f"CREATE TABLE {table.name} ({', '.join(_quoted(table.names))})")

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self._database.close()
        self._scratch.cleanup()

    def load(
        self, reader: TileReader, checkpoint: Checkpoint, progress: Progress | None = None, *, workers: int = 1
    ) -> str:
        """Read a log into the tables, proving it on the way, with so many processes.

        Returns:
            Its zone.

        Raises:
            TamperedError: the entries are not what was signed; the store is of no use then.
            OperationalError: a log of that zone is here already, or the disk is full.
        """
        zone = zone_of(checkpoint.origin)
        if zone in self.zones:
            raise OperationalError(f"both directories are ledgers of {zone}", remedy="name one of each zone")
        self.zones.append(zone)
        try:
            self._database.execute("BEGIN")
            for rows in proven_rows(reader, checkpoint, progress=progress, workers=workers):
                self._insert(rows)
            self._database.execute("COMMIT")
        except sqlite3.Error as error:
            raise OperationalError(f"temporary tables cannot be written: {error}", remedy="free space") from error
        return zone

    def ready(self) -> None:
        """Make the indexes, once everything is loaded."""
        for at, columns in enumerate(_INDEXES):
            self._database.execute(f"CREATE INDEX i{at} ON {columns}")

    def rows(self, query: str, parameters: Sequence[Any] = ()) -> Iterator[sqlite3.Row]:
        """The rows of a query of ours, as they come."""
        return iter(self._database.execute(query, parameters))

    def one(self, query: str, parameters: Sequence[Any] = ()) -> sqlite3.Row:
        """The single row of a query that always has one."""
        found: sqlite3.Row = self._database.execute(query, parameters).fetchone()
        return found

    def execute(self, statement: str) -> None:
        """A statement of ours that makes a table or view of what is loaded."""
        self._database.execute(statement)

    def _insert(self, found: Rows) -> None:
        for name, rows in found.items():
            places = ", ".join("?" * len(TABLES[name].columns))
            statement = f"INSERT INTO {name} VALUES ({places})"  # noqa: S608 (our own names)
            self._database.executemany(statement, rows)


def _quoted(names: Sequence[str]) -> list[str]:
    return [f'"{name}"' for name in names]
