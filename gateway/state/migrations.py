"""How a state database of an older schema becomes one of this: statements for each number, run once, in order.

A table that is new is made by `metadata.create_all` before them. Each step is what SQLite can do to a table in place,
so that it is one transaction with the new number: a crash leaves the old schema or the new one.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

from sqlalchemy import Connection, text

from gateway.state.schema import SCHEMA_VERSION, metadata

FIRST: Final = 5
"""The oldest schema that is migrated; what is older was never released."""

STATEMENTS: Final[Mapping[int, tuple[str, ...]]] = {
    6: (
        "ALTER TABLE runs ADD COLUMN held_by VARCHAR(100) NOT NULL DEFAULT ''",
        "ALTER TABLE reviews RENAME COLUMN negotiation_id TO process_id",
        "ALTER TABLE reviews ADD COLUMN process VARCHAR(12) NOT NULL DEFAULT 'negotiations'",
        "DROP INDEX IF EXISTS ix_reviews_negotiation_id",
        "CREATE INDEX ix_reviews_process_id ON reviews (process_id)",
        "ALTER TABLE agreements ADD COLUMN ended_as VARCHAR(16) NOT NULL DEFAULT ''",
        # Until now a revoked agreement was told by its reason; whatever else ended early was not confirmed.
        "UPDATE agreements SET ended_as = CASE WHEN reason LIKE 'revoked by %' THEN 'revoked' ELSE 'not_confirmed' END "
        "WHERE state = 'TERMINATED'",
    ),
}


def migrate(connection: Connection, version: int) -> None:
    """Bring the tables of a database to this program's schema, within the caller's transaction.

    Args:
        version: its number; 0 for a database without tables.
    """
    if version >= SCHEMA_VERSION:
        return
    metadata.create_all(connection)
    for number in range(version + 1, SCHEMA_VERSION + 1) if version >= FIRST else ():
        for statement in STATEMENTS.get(number, ()):
            connection.execute(text(statement))
    connection.execute(text(f"PRAGMA user_version = {SCHEMA_VERSION}"))
