"""A row of a table, from named columns."""

from __future__ import annotations

from typing import TypeAlias

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
    names = TABLES[table].names
    values: dict[str, JsonValue] = dict.fromkeys(names)
    values |= {"log": log, "seq": entry.seq}
    if "time" in values:
        values["time"] = entry.time
    unknown = columns.keys() - values.keys()
    if unknown:
        raise KeyError(f"{table} has no column {', '.join(sorted(unknown))}")
    values |= columns
    return table, tuple(values.values())
