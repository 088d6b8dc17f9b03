"""A row of a table, from named columns."""

from __future__ import annotations

from typing import Final, TypeAlias

from ledger.canonical import JsonValue
from ledger.entry import Entry
from ledger.facts.schema import TABLES

__all__ = ["Row", "row"]

Row: TypeAlias = tuple[str, tuple[JsonValue, ...]]
"""A table's name, and a value for each of its columns in order."""


def row(table: str, log: str, entry: Entry, **columns: JsonValue) -> Row:
    """One row; a column that is not named is empty.

    Raises:
        KeyError: the table has no such column.
    """
    empty, timed = _EMPTY[table]
    values = empty.copy()
    values["log"], values["seq"] = log, entry.seq
    if timed:
        values["time"] = entry.time
    values.update(columns)
    if len(values) != len(empty):
        raise KeyError(f"{table} has no column {', '.join(sorted(values.keys() - empty.keys()))}")
    return table, tuple(values.values())


_EMPTY: Final[dict[str, tuple[dict[str, JsonValue], bool]]] = {
    name: (dict.fromkeys(table.names), "time" in table.names) for name, table in TABLES.items()
}
"""An empty row of each table, and whether it has the entry's time."""
