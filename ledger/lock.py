"""The lock database: its compare-and-swap is the point at which a batch is committed."""

from __future__ import annotations

import errno
import os
import sqlite3
from collections.abc import Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ledger.errors import ContradictionError, OperationalError, StorageFullError
from ledger.storage import Storage

__all__ = ["LockDatabase", "Row", "is_full"]

_SCHEMA: Final = """
CREATE TABLE lock (origin TEXT PRIMARY KEY, note BLOB NOT NULL) WITHOUT ROWID;
CREATE TABLE entries (
    id TEXT PRIMARY KEY, seq INTEGER NOT NULL, size INTEGER NOT NULL, content BLOB NOT NULL
) WITHOUT ROWID;
CREATE TABLE staged (origin TEXT PRIMARY KEY, batch BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


class Row(NamedTuple):
    """Where an id was recorded: as the table has it.

    ``size`` is that of the checkpoint that first covered the entry at ``seq``; ``content`` is SHA-256 over kind,
    subject and body.
    """

    id: str
    seq: int
    size: int
    content: bytes


class LockDatabase:
    """One connection to ``state/lock.db``.

    Durability: when :meth:`swap` returns, the new note is on disk. Atomicity: note, staged batch and rows together or
    none of them.

    Raises:
        ContradictionError: the file is missing, or holds another log.
        OperationalError: SQLite does not give WAL with ``synchronous=FULL``.
    """

    def __init__(self, path: Path, origin: str, *, read_only: bool = False) -> None:
        self._origin = origin
        self._db = open_database(path, ContradictionError)
        if read_only:
            self._db.execute("PRAGMA query_only = ON")

    @staticmethod
    def create(path: Path, origin: str, note: bytes) -> None:
        """Make the database of a new log, which says that it has this signed checkpoint."""
        create_database(path, _SCHEMA, ("INSERT INTO lock VALUES (?, ?)", (origin, note)))

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def note(self) -> bytes:
        """The signed note of the newest committed checkpoint."""
        row = self._db.execute("SELECT note FROM lock WHERE origin = ?", (self._origin,)).fetchone()
        if row is None:
            raise ContradictionError(f"state/lock.db does not hold {self._origin}")
        return bytes(row[0])

    def find(self, ids: Sequence[str]) -> dict[str, Row]:
        """The rows of those ids that are recorded."""
        marks = ",".join("?" * len(ids))
        query = f"SELECT id, seq, size, content FROM entries WHERE id IN ({marks})"  # noqa: S608 (marks only)
        return {row[0]: Row(row[0], row[1], row[2], bytes(row[3])) for row in self._db.execute(query, ids)}

    def staged(self) -> bytes | None:
        """The batch that was committed last, as it was staged; None before the first."""
        row = self._db.execute("SELECT batch FROM staged WHERE origin = ?", (self._origin,)).fetchone()
        return None if row is None else bytes(row[0])

    def swap(self, old: bytes, new: bytes, batch: bytes, rows: Sequence[Row], storage: Storage) -> None:
        """Put the new note in the place of exactly the old one, with its staged batch and the rows of its entries.

        Raises:
            ContradictionError: the database holds another note than the old one: another process wrote it.
            StorageFullError: the disk is full, and nothing was committed.
            Exception: whether it happened is unknown.
        """
        try:
            self._db.execute("BEGIN IMMEDIATE")
            changed = self._db.execute(
                "UPDATE lock SET note = ? WHERE origin = ? AND note = ?", (new, self._origin, old)
            ).rowcount
            if changed != 1:
                raise ContradictionError("state/lock.db holds another checkpoint than the last one committed here")
            self._db.execute("INSERT OR REPLACE INTO staged VALUES (?, ?)", (self._origin, batch))
            self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
            storage.commit(self._db)
        except (OSError, sqlite3.Error) as error:
            self._roll_back()
            if not is_full(error) or self.note() != old:
                raise
            raise StorageFullError(
                "the disk is full", remedy="free space for the ledger; entries may be retried"
            ) from error
        except ContradictionError:
            self._roll_back()
            raise

    def fill(self, rows: Sequence[Row], storage: Storage) -> None:
        """Put in the rows of entries that are under the note already: for a log that is made anew from a copy."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            self._db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
        except sqlite3.IntegrityError as error:
            self._roll_back()
            raise ContradictionError("two entries of the copy have one id") from error
        storage.commit(self._db)

    def _roll_back(self) -> None:
        if self._db.in_transaction:  # a full disk may have ended it already
            self._db.execute("ROLLBACK")


def is_full(error: BaseException) -> bool:
    """Whether an error of a file or of SQLite says that the disk is full."""
    if isinstance(error, OSError):
        return error.errno in (errno.ENOSPC, errno.EDQUOT)
    return isinstance(error, sqlite3.Error) and getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL


def create_database(path: Path, schema: str, first: tuple[str, tuple[object, ...]] | None = None) -> None:
    """Make a new SQLite file in WAL mode, owner-only."""
    os.close(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600))
    db = sqlite3.connect(path, isolation_level=None)
    try:
        db.execute("PRAGMA journal_mode = WAL")
        db.execute("PRAGMA synchronous = FULL")
        db.executescript(schema)
        if first is not None:
            db.execute(*first)
    finally:
        db.close()


def create_missing(path: Path, schema: str, storage: Storage) -> None:
    """Make a SQLite file where there is none: the whole file or none, since a name never holds part of one."""
    if os.path.lexists(path):
        return
    fresh = path.with_name(f"{path.name}.new")
    for each in (fresh, Path(f"{fresh}-wal"), Path(f"{fresh}-shm")):
        if os.path.lexists(each):
            os.unlink(each)
    create_database(fresh, schema)
    storage.rename(str(fresh), str(path))
    storage.sync_directory(str(path.parent))


def open_database(path: Path, missing: type[Exception]) -> sqlite3.Connection:
    """Open an existing SQLite file in WAL mode with ``synchronous=FULL``, both set and read back.

    ``mode=rw``, since SQLite would silently make a missing file.
    """
    try:
        db = sqlite3.connect(
            f"{path.absolute().as_uri()}?mode=rw", uri=True, isolation_level=None, check_same_thread=False
        )
    except sqlite3.OperationalError as error:
        raise missing(f"cannot open {path}: {error}") from error
    try:
        db.execute("PRAGMA busy_timeout = 10000")
        mode = db.execute("PRAGMA journal_mode = WAL").fetchone()[0]
        db.execute("PRAGMA synchronous = FULL")
        full = db.execute("PRAGMA synchronous").fetchone()[0]
        version = db.execute("PRAGMA user_version").fetchone()[0]
    except sqlite3.DatabaseError as error:
        db.close()
        raise missing(f"{path} is not a readable database: {error}") from error
    if mode != "wal" or full != 2 or version != 1:
        db.close()
        raise OperationalError(f"{path}: journal {mode}, synchronous {full}, version {version}; needs wal, 2, 1")
    return db
