"""The end of an origin at its mirror: the evidence durable first, then the word that nothing more is taken."""

from __future__ import annotations

import sqlite3
from dataclasses import dataclass
from pathlib import Path

from ledger.entry import first_prev, new_id
from ledger.errors import ForkError, FrozenError, LedgerError, OperationalError
from ledger.evidence import MAX_EVIDENCE_BYTES, Evidence
from ledger.files import FileWriter
from ledger.freezing import SCHEMA
from ledger.lock import open_database
from ledger.staging import TEMPORARY
from ledger.storage import Storage
from ledger.tiles import read_regular_file

__all__ = ["Freezer", "Frozen"]


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
        vkey: the peer log's key.
    """

    def __init__(self, ledger: Path, origin: str, vkey: str, storage: Storage) -> None:
        self._ledger = ledger.absolute()
        self._origin = origin
        self._vkey = vkey
        self._storage = storage
        prefix = f"{TEMPORARY}evidence-{first_prev(origin).hex()[:16]}-"
        self._files = FileWriter(storage, str(self._ledger), str(self._ledger / "state" / "staging"), prefix)
        self._files.sweep()
        self._db: sqlite3.Connection = open_database(self._ledger / "state" / "witness.db", OperationalError)
        self._db.execute(SCHEMA)
        self.frozen: Frozen | None = None
        self.look()
        if self.frozen is None:
            self._adopt()

    def look(self) -> None:
        """Look again: the operator's word may come at any time, from another process."""
        if self.frozen is None:
            query = "SELECT reason, evidence, entry_id FROM frozen WHERE origin = ?"
            row = self._db.execute(query, (self._origin,)).fetchone()
            self.frozen = None if row is None else Frozen(*row)

    def _adopt(self) -> None:
        """Evidence without its row: a crash came between the two."""
        folder = self._ledger / "evidence"
        for path in sorted(folder.glob(f"{first_prev(self._origin).hex()[:16]}-*.json")):
            try:
                found = Evidence.parse(read_regular_file(str(path), MAX_EVIDENCE_BYTES), vkey=self._vkey)
            except LedgerError:
                continue  # a copy that was cut short: it proves nothing
            if found.origin == self._origin:
                self.freeze(f"{self._origin} signed two histories", f"evidence/{path.name}")
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
        """Keep the evidence, then freeze; both are durable when it returns. A crash between leaves the evidence."""
        try:
            evidence = Evidence.of(fork, self._vkey)
        except LedgerError:  # signed by a key that has ended since: the notes prove it, this file's form does not
            self.freeze(fork.message)
            return
        path = f"evidence/{evidence.name}"
        self._files.add([(path, evidence.encode())], existing="replace")
        self.freeze(fork.message, path)

    def freeze(self, reason: str, evidence: str = "") -> None:
        """Take nothing more of this origin, for ever; its first reason stands."""
        self.look()
        if self.frozen is not None:
            return
        frozen = Frozen(reason, evidence, new_id())
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute(
            "INSERT INTO frozen VALUES (?, ?, ?, ?)",
            (self._origin, frozen.reason, frozen.evidence, frozen.entry_id),
        )
        self._storage.commit(self._db)
        self.frozen = frozen

    def evidence(self) -> Evidence | None:
        """The evidence behind the freezing; None where there is none, or it is not what was kept."""
        if self.frozen is None or not self.frozen.evidence:
            return None
        try:
            return Evidence.parse(read_regular_file(str(self._ledger / self.frozen.evidence), MAX_EVIDENCE_BYTES))
        except LedgerError:
            return None
