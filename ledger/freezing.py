"""The operator's word that an origin is followed no more, in ``state/witness.db`` beside what was signed of it.

A mirror asks before each cosignature, so that it holds for a running process too.
"""

from __future__ import annotations

import sqlite3
from pathlib import Path
from typing import Final

from ledger.entry import new_id
from ledger.errors import FrozenError, OperationalError
from ledger.lock import open_database

__all__ = ["SCHEMA", "freeze", "frozen", "mirrored_origins", "require_open"]

# Also that of a fork: `document` is its evidence, `evidence` the file with the same bytes below the ledger's
# directory. Both are empty where there is none, as for an operator's word.
SCHEMA: Final = """
CREATE TABLE IF NOT EXISTS frozen (
    origin TEXT PRIMARY KEY, reason TEXT NOT NULL, entry_id TEXT NOT NULL,
    evidence TEXT NOT NULL DEFAULT '', document BLOB NOT NULL DEFAULT x''
) WITHOUT ROWID
"""


def freeze(ledger: Path, origin: str, reason: str) -> bool:
    """Take and cosign nothing more of an origin, for ever; durable when it returns.

    Args:
        ledger: our own log's directory.
        origin: the peer's log, mirrored here or not yet.
        reason: one line, for operators.

    Returns:
        Whether it was not frozen before; the first reason stands.

    Raises:
        OperationalError: there is no ``state/witness.db``.
    """
    db = open_database(ledger / "state" / "witness.db", OperationalError)
    try:
        db.execute(SCHEMA)
        row = origin, reason, new_id()
        add = "INSERT OR IGNORE INTO frozen (origin, reason, entry_id) VALUES (?, ?, ?)"
        return db.execute(add, row).rowcount == 1
    except sqlite3.Error as error:
        raise OperationalError(f"cannot freeze {origin}: {error}") from error
    finally:
        db.close()


def mirrored_origins(ledger: Path) -> list[str]:
    """The origins that are mirrored below our own log's directory."""
    db = open_database(ledger / "state" / "witness.db", OperationalError)
    try:
        return [str(row[0]) for row in db.execute("SELECT origin FROM mirror ORDER BY origin")]
    finally:
        db.close()


def frozen(db: sqlite3.Connection, origin: str) -> str | None:
    """Why an origin is frozen, None where it is not.

    Args:
        db: ``state/witness.db``.
    """
    if db.execute("SELECT 1 FROM sqlite_master WHERE name = 'frozen'").fetchone() is None:
        return None
    row = db.execute("SELECT reason FROM frozen WHERE origin = ?", (origin,)).fetchone()
    return None if row is None else str(row[0])


def require_open(db: sqlite3.Connection, origin: str) -> None:
    """Raise FrozenError where an origin is frozen."""
    reason = frozen(db, origin)
    if reason is not None:
        raise FrozenError(
            f"the log {origin} is frozen: {reason}", remedy="its zone must open a new origin and send a new card"
        )
