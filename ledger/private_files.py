"""What lies under ``state/``: the operator's own files, judged against the public ones and never changed."""

from __future__ import annotations

import os
import sqlite3
import stat
from collections.abc import Sequence
from pathlib import Path

from ledger.checkpoint import Checkpoint
from ledger.edge import TileEdge
from ledger.entry import Entry, first_prev
from ledger.errors import LedgerError, NoteError
from ledger.key_history import KeyHistory
from ledger.lock import open_database
from ledger.merkle import leaf_hash
from ledger.mirror_store import mirror_directory
from ledger.note import Verifier, open_note
from ledger.recover import load_edge
from ledger.report import Report
from ledger.reserve import chosen_size
from ledger.staging import Batch

__all__ = ["PrivateFiles"]


class PrivateFiles:
    """What lies under ``state/``: findings are collected first and reported once the report is there."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._findings: list[tuple[str, str]] = []
        self._notices: list[str] = []
        self.origin = ""
        self.mirrored: dict[str, str] = {}
        """The keys of the logs that are mirrored, by origin."""
        self._note = b""
        self._staged: bytes | None = None
        self._rows = 0

    def read_lock(self) -> None:
        """Read what ``lock.db`` says is committed."""
        path = self._directory / "state" / "lock.db"
        try:
            db = open_database(path, NoteError)
        except LedgerError as error:
            self._findings.append(("state/lock.db", error.message))
            return
        try:
            db.execute("PRAGMA query_only = ON")
            rows = db.execute("SELECT origin, note FROM lock LIMIT 2").fetchall()
            if len(rows) != 1:
                self._findings.append(("state/lock.db", f"it holds {len(rows)} logs, not one"))
                return
            if tuple(map(type, rows[0])) != (str, bytes):
                self._findings.append(("state/lock.db", "its row has values of other types"))
                return
            self.origin, self._note = rows[0]
            staged = db.execute("SELECT batch FROM staged WHERE origin = ?", (self.origin,)).fetchone()
            self._staged = staged[0] if staged and isinstance(staged[0], bytes) else None
            (self._rows,) = db.execute("SELECT COUNT(*) FROM entries").fetchone()
        except sqlite3.Error as error:
            self._findings.append(("state/lock.db", f"it cannot be read: {error}"))
            self.origin = ""
        finally:
            db.close()

    def judge(self, report: Report) -> None:
        """Compare with what the public files gave.

        Raises:
            TooManyFindingsError: the report is full.
        """
        if self.origin and report.origin:
            self._judge_lock(report)
        self._judge_modes()
        self._judge_reserve()
        self._judge_staging()
        for name in sorted(each.name for each in (self._directory / "state").glob("*.db")):
            self._judge_database(name)
        self._judge_witness()
        for file, text in self._findings:
            report.find(file, text)
        report.notices += self._notices

    def _judge_lock(self, report: Report) -> None:
        if self.origin != report.origin:
            self._findings.append(("state/lock.db", f"it is of the origin {self.origin}"))
            return
        try:
            head = _signed(self._note, report.keys or KeyHistory.of(report.vkey))
        except LedgerError as error:
            self._findings.append(("state/lock.db", f"its checkpoint: {error.message}"))
            return
        if head.size == report.size and head.root != report.root:
            self._findings.append(("state/lock.db", f"its root at size {head.size} is not that of checkpoint"))
        elif head.size > report.size:
            # Committed and not published: the next start publishes it from the staged batch.
            self._judge_staged(head, report)
        elif head.size < report.size and not self._grew(report.size):
            self._findings.append(
                ("state/lock.db", f"it has size {head.size}, checkpoint {report.size}: it was rolled back")
            )
        if self._rows < min(head.size, report.size):
            text = f"it knows {self._rows} ids of {min(head.size, report.size)} entries"
            self._findings.append(("state/lock.db", text))

    def _judge_staged(self, head: Checkpoint, report: Report) -> None:
        try:
            batch = Batch.parse(self._staged or b"")
        except ValueError as error:
            self._findings.append(("state/lock.db", f"its staged batch: {error}"))
            return
        if (batch.size, batch.root) != (head.size, head.root):
            self._findings.append(("state/lock.db", "its staged batch is not that of its checkpoint"))
        elif batch.old_size != report.size or batch.old_root != report.root:
            self._findings.append(("checkpoint", f"size {report.size} is not where the staged batch goes on"))
        else:
            self._notices.append(f"{head.size - report.size} entries are committed and not published yet")

    def _grew(self, size: int) -> bool:
        """Whether the log has been written since the lock was read: the gateway is running."""
        again = PrivateFiles(self._directory)
        again.read_lock()
        try:
            return int(again._note.split(b"\n")[1]) >= size
        except (IndexError, ValueError):
            return False

    def _judge_modes(self) -> None:
        for path in (self._directory / "state", *(self._directory / "state").glob("*.db")):
            if stat.S_IMODE(path.stat().st_mode) & 0o077:
                name = path.relative_to(self._directory)
                self._findings.append((str(name), "others may read it: it must be the owner's alone"))

    def _judge_reserve(self) -> None:
        path = self._directory / "state" / "reserve"
        if not path.is_file():
            self._notices.append("state/reserve is not there: the disk was full; the next start makes it again")
        elif path.stat().st_blocks * 512 < path.stat().st_size:
            self._findings.append(("state/reserve", "it is not really written: a full disk would stop what closes"))
        chosen = chosen_size(str(self._directory))
        if chosen is None and (self._directory / "state" / "reserve.size").exists():
            self._findings.append(("state/reserve.size", "it is no size; the next start takes that of the file"))
        elif chosen is not None and path.is_file() and path.stat().st_size != chosen:
            self._findings.append(("state/reserve", f"it is not of the {chosen} bytes that were chosen"))

    def _judge_staging(self) -> None:
        left = len(os.listdir(self._directory / "state" / "staging")) if self._staging() else 0
        if left:
            self._notices.append(f"{left} unfinished files in state/staging: being written, or left by a crash")

    def _staging(self) -> bool:
        return (self._directory / "state" / "staging").is_dir()

    def _judge_database(self, name: str) -> None:
        try:
            db = sqlite3.connect(f"{(self._directory / 'state' / name).absolute().as_uri()}?mode=ro", uri=True)
            try:
                (answer,) = db.execute("PRAGMA quick_check(1)").fetchone()
            finally:
                db.close()
        except sqlite3.Error as error:
            answer = str(error)
        if answer != "ok":
            self._findings.append((f"state/{name}", f"SQLite finds it damaged: {answer}"))

    def _judge_witness(self) -> None:
        path = self._directory / "state" / "witness.db"
        try:
            db = open_database(path, NoteError)
        except LedgerError as error:
            self._findings.append(("state/witness.db", error.message))
            return
        try:
            db.execute("PRAGMA query_only = ON")
            db.execute("BEGIN")  # one state of it, however the gateway goes on
            named = {column for _, column, *_ in db.execute("PRAGMA table_info(mirror)")}
            # A log that rotated its key has a history; one that did not may have none.
            keys = "keys" if "keys" in named else "''"
            query = f"SELECT origin, vkey, {keys}, size, note, filed FROM mirror ORDER BY origin"  # noqa: S608 (ours)
            for row in db.execute(query).fetchall():
                try:
                    if tuple(map(type, row)) != (str, str, str, int, bytes, bytes):
                        raise NoteError("its row has values of other types")
                    self._judge_mirrored(db, *row)
                except LedgerError as error:
                    self._findings.append(("state/witness.db", f"{row[0]}: {error.message}"))
        except sqlite3.Error as error:
            self._findings.append(("state/witness.db", f"it cannot be read: {error}"))
        finally:
            db.close()

    def _judge_mirrored(
        self, db: sqlite3.Connection, origin: str, vkey: str, keys: str, size: int, note: bytes, filed: bytes
    ) -> None:
        """What was cosigned must be held: the files up to ``filed``, the table from there on."""
        history = KeyHistory.parse(keys) if keys else KeyHistory.of(vkey)
        if vkey not in history.vkeys:
            raise NoteError("its key is not one of its history")
        if history.origin != origin:
            raise NoteError(f"its key is {history.origin}'s")
        self.mirrored[origin] = history.current
        mirrored = _opened(note, history.verifiers(), origin) if note else None
        if (mirrored.size if mirrored else 0) != size:
            raise NoteError(f"the signed note is not of size {size}")
        if mirrored is None:
            return
        base = _opened(filed, history.verifiers(), origin) if filed else None
        directory = str(mirror_directory(self._directory, origin))
        edge = load_edge(directory, base) if base else TileEdge(first_prev(origin))
        query = "SELECT seq, entry FROM held WHERE origin = ? AND seq >= ? ORDER BY seq"
        for seq, entry in db.execute(query, (origin, edge.size)):
            if seq != edge.size or not isinstance(entry, bytes):
                raise NoteError(f"entry {edge.size} is not held")
            Entry.parse(entry, seq=seq, prev=edge.prev)
            edge.append(entry, leaf_hash(entry))
        if (edge.size, edge.root()) != (mirrored.size, mirrored.root):
            raise NoteError(f"size {mirrored.size} was cosigned, and what is held is not that")


def _signed(note: bytes, keys: KeyHistory) -> Checkpoint:
    """A checkpoint that the log's key of its size signed, whichever that is: a rotation may be half done."""
    opened = open_note(note, keys.verifiers())
    checkpoint = Checkpoint.parse(opened.text)
    if checkpoint.origin != keys.origin:
        raise NoteError(f"it is of the origin {checkpoint.origin}")
    keys.require_signed({each.vkey for each in opened.verified}, checkpoint.size)
    return checkpoint


def _opened(note: bytes, verifiers: Sequence[Verifier], origin: str) -> Checkpoint:
    checkpoint = Checkpoint.parse(open_note(note, verifiers).text)
    if checkpoint.origin != origin:
        raise NoteError(f"it is of the origin {checkpoint.origin}")
    return checkpoint
