"""The end of an origin at its mirror: nothing more is taken of it, and what proves the fork is kept.

The row with reason and evidence is durable first, in one transaction, so that no full folder and no crash keeps a log
from being frozen; the file in ``evidence/`` follows from it, at the next try or start if need be.
"""

from __future__ import annotations

import logging
import os
import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ledger.entry import new_id
from ledger.errors import ForkError, FrozenError, LedgerError, OperationalError
from ledger.evidence import MAX_EVIDENCE_BYTES, Evidence, evidence_prefix
from ledger.files import FileWriter
from ledger.freezing import SCHEMA
from ledger.key_history import KeyHistory
from ledger.lock import is_full, open_database
from ledger.staging import TEMPORARY
from ledger.storage import Storage
from ledger.tiles import read_regular_file

__all__ = ["Freezer", "Frozen"]

_log = logging.getLogger("ledger")


@dataclass(frozen=True, slots=True)
class Frozen:
    """Why an origin was frozen.

    ``evidence`` is the file below the ledger's directory, empty where there is none; ``entry_id`` is that of the
    entry that tells of it on our own log, chosen with the freezing so that it is recorded once.
    """

    reason: str
    evidence: str
    entry_id: str


class Freezer:
    """Whether one origin is frozen, in ``state/witness.db``. One thread at a time.

    Args:
        ledger: our own log's directory.
        vkey: the key of the peer's card; those that its entries introduced stand in ``state/witness.db``.
    """

    def __init__(self, ledger: Path, origin: str, vkey: str, storage: Storage) -> None:
        self._ledger = ledger.absolute()
        self._origin = origin
        self._vkey = vkey
        self._storage = storage
        prefix = f"{TEMPORARY}evidence-{evidence_prefix(origin)}"
        self._files = FileWriter(storage, str(self._ledger), str(self._ledger / "state" / "staging"), prefix)
        self._files.sweep()
        self._db: sqlite3.Connection = open_database(self._ledger / "state" / "witness.db", OperationalError)
        self._db.execute(SCHEMA)
        self.frozen: Frozen | None = None
        self._document = b""
        self._recorded = self._filed = False
        self.look()
        if self.frozen is None:
            self._adopt()

    def look(self) -> None:
        """Look again: the operator's word may come at any time, from another process. What a full disk kept from
        being written is tried again."""
        if self.frozen is None:
            query = "SELECT reason, evidence, entry_id, document FROM frozen WHERE origin = ?"
            row = self._db.execute(query, (self._origin,)).fetchone()
            if row is None:
                return
            self.frozen, self._document, self._recorded = Frozen(*row[:3]), bytes(row[3]), True
        self._write()

    def _adopt(self) -> None:
        """Evidence without its row: ``state/witness.db`` was made anew, and what was known must not be forgotten."""
        for path in sorted((self._ledger / "evidence").glob(f"{evidence_prefix(self._origin)}*.json")):
            try:
                found = Evidence.parse(read_regular_file(str(path), MAX_EVIDENCE_BYTES), vkeys=self._vkeys())
            except LedgerError:
                continue  # a copy that was cut short, or of other keys: it proves nothing
            if found.origin == self._origin:
                self._freeze(f"{self._origin} signed two histories", f"evidence/{path.name}", found.encode())
                return

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    def require_open(self) -> None:
        """Raise FrozenError where the origin is frozen."""
        if self.frozen is not None:
            raise FrozenError(
                f"the log {self._origin} is frozen: {self.frozen.reason}",
                remedy="its zone must recover and open a new origin",
            )

    def freeze_for(self, fork: ForkError) -> None:
        """Freeze, with the evidence; both are durable when it returns, but on a disk that is full.

        There it is frozen in this process, nothing is cosigned, and the next :meth:`look` writes it.
        """
        try:
            evidence = Evidence.of(fork, self._origin, self._vkeys())
        except LedgerError as error:
            _log.error("what shows the fork of %s is no evidence for others: %s", self._origin, error.message)
            self._freeze(fork.message, "", b"")
        else:
            self._freeze(fork.message, f"evidence/{evidence.name}", evidence.encode())

    def freeze(self, reason: str) -> None:
        """Take nothing more of this origin, for ever; its first reason stands."""
        self._freeze(reason, "", b"")

    def evidence(self) -> Evidence | None:
        """The evidence behind the freezing; None where there is none, or it is not what was kept."""
        if not self._document:
            return None
        try:
            return Evidence.parse(self._document, vkeys=self._vkeys())
        except LedgerError:
            return None

    def _freeze(self, reason: str, evidence: str, document: bytes) -> None:
        self.look()
        if self.frozen is None:
            self.frozen, self._document, self._recorded = Frozen(reason, evidence, new_id()), document, False
            self._write()

    def _write(self) -> None:
        """The row, then the file; a full disk leaves what is missing for the next time."""
        if self.frozen is None or (self._recorded and self._filed):
            return
        try:
            if not self._recorded:
                self._record(self.frozen)
            if self._document and not os.path.lexists(self._ledger / self.frozen.evidence):
                self._files.replace(self.frozen.evidence, self._document)
            self._filed = True
        except (OSError, sqlite3.Error) as error:
            if not is_full(error):
                raise
            where = "the evidence folder" if self._recorded else "state/witness.db"
            _log.error("%s is frozen; the disk is full, and %s does not say so yet", self._origin, where)

    def _record(self, frozen: Frozen) -> None:
        row = self._origin, frozen.reason, frozen.entry_id, frozen.evidence, self._document
        try:
            self._db.execute("BEGIN IMMEDIATE")
            self._db.execute("INSERT OR IGNORE INTO frozen VALUES (?, ?, ?, ?, ?)", row)
            self._storage.commit(self._db)
        except sqlite3.Error:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise
        self._recorded = True

    def _vkeys(self) -> set[str]:
        """The keys that may have signed what was taken: that of the card, and those of the log's own history."""
        row = self._db.execute("SELECT keys FROM mirror WHERE origin = ?", (self._origin,)).fetchone()
        return {self._vkey, *(KeyHistory.parse(row[0]).vkeys if row and row[0] else ())}
