"""``state/vault.db``: the values behind commitments, with their salts, until they are erased.

A row is durable before its entry is staged, and deleted only after the entry ``erasure`` stands in the log. The file
never leaves the machine. A row that is deleted is overwritten (``secure_delete``), in the journal too.
"""

from __future__ import annotations

import errno
import logging
import os
import sqlite3
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ledger import canonical
from ledger.canonical import JsonValue
from ledger.commitment import SALT_BYTES
from ledger.entry import Entry
from ledger.errors import ConflictingEntryError, EntryError, OperationalError, StorageFullError
from ledger.lock import create_missing, open_database
from ledger.storage import Storage

__all__ = ["Secret", "Vault", "erasure_in"]

_log = logging.getLogger("ledger")

# `settled` rows belong to entries that are known to stand in the log; `erased` says up to which size of the log
# every erasure was carried out here.
_SCHEMA: Final = """
CREATE TABLE secrets (
    id TEXT NOT NULL, pointer TEXT NOT NULL, salt BLOB NOT NULL, value BLOB NOT NULL, settled INTEGER NOT NULL,
    PRIMARY KEY (id, pointer)
) WITHOUT ROWID;
CREATE INDEX unsettled ON secrets (id) WHERE settled = 0;
CREATE TABLE erased (size INTEGER NOT NULL);
INSERT INTO erased VALUES (0);
PRAGMA user_version = 1;
"""
_SETTLED_AT_ONCE: Final = 500


class Secret(NamedTuple):
    """A value and its salt."""

    salt: bytes
    value: JsonValue


class Vault:
    """One connection to the vault. One thread at a time.

    Args:
        path: the file.
        storage: the port.
        create: make it where it is missing; a log that lost its vault goes on with an empty one.

    Durability: what a method wrote is on disk when it returns.

    Raises:
        OperationalError: the file is missing or no vault, or SQLite does not overwrite what it deletes.
    """

    def __init__(self, path: Path, storage: Storage, *, create: bool = True) -> None:
        self._storage = storage
        if create:
            create_missing(path, _SCHEMA, storage)
        self._db = open_database(path, OperationalError)
        secure = self._db.execute("PRAGMA secure_delete = ON").fetchone()
        if secure is None or secure[0] != 1:
            self._db.close()
            raise OperationalError(f"{path}: this SQLite does not overwrite what it deletes")

    def close(self) -> None:
        """Close the connection."""
        self._db.close()

    def keep(self, entry_id: str, values: Mapping[str, JsonValue], *, recorded: bool) -> dict[str, bytes]:
        """Keep the values of an entry that is about to be appended.

        Retry: the same values of the same id have the same salts.

        Args:
            values: by JSON pointer.
            recorded: the entry stands in the log already, so nothing may be added.

        Returns:
            The salt of each.

        Raises:
            ConflictingEntryError: other values are kept for the id, or the entry stands and they were erased.
            EntryError: a value has no canonical form.
            StorageFullError: the disk is full; nothing was kept.
        """
        try:
            encoded = {pointer: canonical.encode(value) for pointer, value in values.items()}
        except canonical.CanonicalError as error:
            raise EntryError(f"a value has no canonical form: {error}") from error
        query = "SELECT pointer, salt, value FROM secrets WHERE id = ?"
        held = {row[0]: (bytes(row[1]), bytes(row[2])) for row in self._db.execute(query, (entry_id,))}
        if held or recorded:
            if {pointer: value for pointer, (_, value) in held.items()} != encoded:
                raise ConflictingEntryError(
                    f"for the id {entry_id} other values were kept, or they were erased since",
                    remedy="give each event an id of its own",
                )
            return {pointer: salt for pointer, (salt, _) in held.items()}
        salts = {pointer: os.urandom(SALT_BYTES) for pointer in encoded}
        rows = [(entry_id, pointer, salts[pointer], value) for pointer, value in encoded.items()]
        self._write([("INSERT INTO secrets VALUES (?, ?, ?, ?, 0)", row) for row in rows])
        return salts

    def get(self, entry_id: str, pointer: str) -> Secret | None:
        """A value that is kept, None where it never was or was erased."""
        query = "SELECT salt, value FROM secrets WHERE id = ? AND pointer = ?"
        row = self._db.execute(query, (entry_id, pointer)).fetchone()
        return None if row is None else Secret(bytes(row[0]), canonical.decode(bytes(row[1])))

    def erase(self, erasures: Iterable[tuple[str, str]], *, erased_to: int | None) -> int:
        """Delete rows whose erasure stands in the log, so that nothing of them is left in the file.

        Args:
            erasures: id and pointer of each.
            erased_to: the size of the log up to which every erasure is carried out then; None where one is not.

        Returns:
            How many were there.
        """
        before = self._db.total_changes
        work: list[tuple[str, tuple[object, ...]]] = [
            ("DELETE FROM secrets WHERE id = ? AND pointer = ?", each) for each in erasures
        ]
        if erased_to is not None:
            self._write([*work, ("UPDATE erased SET size = ?", (erased_to,))])
            deleted = self._db.total_changes - before - 1
        else:
            self._write(work)
            deleted = self._db.total_changes - before
        self._cut_off()
        return deleted

    @property
    def erased_to(self) -> int:
        """The size of the log up to which every erasure was carried out."""
        return int(self._db.execute("SELECT size FROM erased").fetchone()[0])

    def holds_any(self) -> bool:
        """Whether any value is kept."""
        return self._db.execute("SELECT 1 FROM secrets LIMIT 1").fetchone() is not None

    def settle(self, recorded: Callable[[Sequence[str]], Iterable[str]]) -> None:
        """At a start: forget the values of entries that never came to stand in the log.

        Args:
            recorded: gives those of some ids that stand.
        """
        ids = [row[0] for row in self._db.execute("SELECT DISTINCT id FROM secrets WHERE settled = 0")]
        for at in range(0, len(ids), _SETTLED_AT_ONCE):
            part = ids[at : at + _SETTLED_AT_ONCE]
            standing = set(recorded(part))
            self._write(
                [
                    ("UPDATE secrets SET settled = 1 WHERE id = ?", (each,))
                    if each in standing
                    else ("DELETE FROM secrets WHERE id = ?", (each,))
                    for each in part
                ]
            )
        if ids:
            self._cut_off()

    def _cut_off(self) -> None:
        """What was deleted stands in the write-ahead log still, until that is written back and cut off."""
        busy, _, _ = self._db.execute("PRAGMA wal_checkpoint(TRUNCATE)").fetchone()
        if busy:  # somebody read for longer than the busy timeout; the next one, or the close, does it
            _log.warning("vault.db-wal still holds what was deleted: another process is reading it")

    def _write(self, work: Sequence[tuple[str, tuple[object, ...]]]) -> None:
        try:
            self._db.execute("BEGIN IMMEDIATE")
            for statement, values in work:
                self._db.execute(statement, values)
            self._storage.commit(self._db)
        except (OSError, sqlite3.Error) as error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            full = isinstance(error, OSError) and error.errno in (errno.ENOSPC, errno.EDQUOT)
            if full or getattr(error, "sqlite_errorcode", None) == sqlite3.SQLITE_FULL:
                raise StorageFullError("the disk is full", remedy="free space for the ledger") from error
            raise


def erasure_in(entry: Entry) -> tuple[str, str] | None:
    """Id and pointer that an entry ``erasure`` names, None where it names none."""
    entry_id, pointer = entry.body.get("id"), entry.body.get("field")
    if entry.kind != "erasure" or not isinstance(entry_id, str) or not isinstance(pointer, str):
        return None
    return entry_id, pointer
