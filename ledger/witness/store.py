"""What a witness knows and has signed: one SQLite file. Blocking; one thread at a time."""

from __future__ import annotations

import contextlib
import logging
import os
import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.checkpoint import Checkpoint
from ledger.errors import ClockError, ContradictionError, ForkError, LedgerError, OperationalError
from ledger.evidence import Evidence
from ledger.keys import create_key, load_key
from ledger.lock import create_database, is_full, open_database
from ledger.note import CosignatureSigner, CosignatureVerifier, Note, NoteVerifier, Signature, check_note
from ledger.storage import DiskStorage, refuse_remote_filesystem
from ledger.witness.judge import Followed, Offered, judge, read_offer
from ledger.witness.protocol import monitoring_path

__all__ = ["Cosigned", "ForkKept", "KnownLog", "WitnessStore", "create_witness"]

MAX_LOGS: Final = 10_000
MAX_BEHIND_S: Final = 300
"""How far the clock may lie behind the last cosignature before nothing is signed any more."""

_log = logging.getLogger("ledger.witness")
_KEY: Final = "witness.key"
_VKEY: Final = "vkey"
_DATABASE: Final = "witness.db"
_EVIDENCE: Final = "evidence"

# `note` is the log's own signed note, `line` our cosignature on it; both empty before the first time. `path` is where
# the two are served. Keys that are `trusted` no more stay: what they signed is evidence still. There is one evidence
# for a log and the keys that signed it, so that their number is bounded by what a person set up.
_SCHEMA: Final = """
CREATE TABLE witness (vkey TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE logs (
    origin TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, added INTEGER NOT NULL, frozen TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0, cosigned INTEGER NOT NULL DEFAULT 0,
    note BLOB NOT NULL DEFAULT x'', line TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE keys (
    origin TEXT NOT NULL, vkey TEXT NOT NULL, trusted INTEGER NOT NULL DEFAULT 1, PRIMARY KEY (origin, vkey)
) WITHOUT ROWID;
CREATE TABLE evidence (name TEXT PRIMARY KEY, document BLOB NOT NULL) WITHOUT ROWID;
PRAGMA user_version = 1;
"""


@dataclass(frozen=True, slots=True)
class KnownLog:
    """A log that the witness follows. ``cosigned`` is in Unix seconds, 0 before the first time."""

    origin: str
    vkeys: tuple[str, ...]
    size: int
    cosigned: int
    frozen: str


@dataclass(frozen=True, slots=True)
class Cosigned:
    """A cosignature that was given: its line without the newline, and over what."""

    line: str
    checkpoint: Checkpoint


class ForkKept(ForkError):
    """A fork whose log is frozen now.

    Args:
        held_size: the size cosigned last.
        old_size: what the request called it.
        path: the file with the evidence; None where no key that the log ever had here signed both.
    """

    def __init__(self, fork: ForkError, *, held_size: int, old_size: int, path: Path | None) -> None:
        super().__init__(
            fork.message,
            first_note=fork.first_note,
            second_note=fork.second_note,
            old_root=fork.old_root,
            proof=fork.proof,
        )
        self.held_size = held_size
        self.old_size = old_size
        self.path = path


@dataclass(frozen=True, slots=True)
class _Freeze:
    origin: str
    reason: str
    evidence: Evidence | None


def create_witness(directory: Path, name: str) -> str:
    """Make a witness: its key, its public key and its database, for the owner alone.

    Args:
        directory: must not exist, or be empty.
        name: a schema-less URL such as ``witness.example/w1``, unique in the world.

    Returns:
        The verifier key.

    Raises:
        OperationalError: the directory is not free.
        NoteError: the name is no key name.
    """
    try:
        if directory.exists() and (not directory.is_dir() or any(directory.iterdir())):
            raise OperationalError(f"{directory} is there already", remedy="name another directory")
        directory.mkdir(mode=0o700, parents=True, exist_ok=True)
        directory.chmod(0o700)
        refuse_remote_filesystem(str(directory))
        (directory / _EVIDENCE).mkdir(mode=0o700)
        vkey = CosignatureSigner(name, create_key(directory / _KEY)).vkey
        (directory / _VKEY).write_text(f"{vkey}\n", encoding="utf-8")
        # Last: a witness without it is none.
        create_database(directory / _DATABASE, _SCHEMA, ("INSERT INTO witness VALUES (?)", (vkey,)))
        DiskStorage().sync_directory(str(directory))
    except OSError as error:
        raise OperationalError(f"cannot make a witness in {directory}: {error.strerror}") from error
    return vkey


class WitnessStore:
    """A witness's directory. Several processes may have it open: each step is one transaction.

    ``witness.db`` says what was signed. It is never restored from a copy: a witness that lost it takes a new key.

    Args:
        directory: made by :func:`create_witness`.
        clock: Unix seconds.

    Raises:
        OperationalError: it is no witness's directory, or the key is another than the database's.
        ContradictionError: the database is missing, or holds what this key did not sign.
    """

    def __init__(self, directory: Path, *, clock: Callable[[], float] = time.time) -> None:
        self.directory = directory
        self._clock = clock
        self._unrecorded: dict[str, _Freeze] = {}  # frozen here, and a full disk did not take it yet
        if not (directory / _KEY).exists():
            raise OperationalError(f"{directory} is no witness", remedy="make one: tdz-ledger witness init")
        refuse_remote_filesystem(str(directory))
        try:
            name = (directory / _VKEY).read_text(encoding="utf-8").partition("+")[0]
        except (OSError, UnicodeDecodeError) as error:
            raise OperationalError(f"cannot read {directory / _VKEY}") from error
        self._signer = CosignatureSigner(name, load_key(directory / _KEY))
        try:
            self._db = open_database(directory / _DATABASE, ContradictionError)
        except ContradictionError as error:
            error.remedy = "what was signed is not known any more: make a new witness, with a new key"
            raise
        try:
            self._check()
            self._file_evidence()
        except BaseException:
            self._db.close()
            raise

    @property
    def vkey(self) -> str:
        """The witness's verifier key."""
        return self._signer.vkey

    def close(self) -> None:
        """Close the database."""
        self._db.close()

    # --- the protocol -----------------------------------------------------------------------------------

    def add_checkpoint(self, body: bytes) -> Cosigned:
        """Judge a checkpoint and cosign it.

        Durability: the record is on disk when it returns. Atomicity: the check against what was cosigned last and
        the new record are one transaction, over all processes. A repeat of the same size gives a new cosignature.

        Raises:
            MirrorError: refused, as :func:`ledger.witness.judge.judge` has it.
            ForkKept: refused; the log is frozen, durably together with the evidence. On a full disk it is frozen in
                this process, and the next request of this log writes that.
            ClockError: the clock lies far behind the last cosignature.
        """
        offered = read_offer(body)
        origin = offered.checkpoint.origin
        if (freeze := self._unrecorded.get(origin)) is not None:
            self._record(freeze)
        try:
            with self._transaction():
                followed, last = self._followed(origin)
                note = judge(offered, followed)
                seconds = self._now(last)
                line = self._signer.cosign(offered.note.text, seconds)
                self._db.execute(
                    "UPDATE logs SET size = ?, cosigned = ?, note = ?, line = ? WHERE origin = ?",
                    (offered.checkpoint.size, seconds, note, line, origin),
                )
        except ForkError as fork:
            raise self._freeze_for(fork, offered) from fork
        return Cosigned(line, offered.checkpoint)

    def served(self, path: str) -> bytes | None:
        """The note cosigned last of the log with this monitoring path, with the log's signatures and ours."""
        query = "SELECT note, line FROM logs WHERE path = ? AND line <> ''"
        row = self._db.execute(query, (path,)).fetchone()
        if row is None:
            return None
        parsed = Note.parse(row[0])
        return Note(parsed.text, (*parsed.signatures, Signature.parse(row[1]))).encode()

    # --- the list of logs -------------------------------------------------------------------------------

    def logs(self) -> list[KnownLog]:
        """The logs that are followed, by origin."""
        query = "SELECT origin, size, cosigned, frozen FROM logs ORDER BY origin"
        rows = self._db.execute(query).fetchall()
        return [KnownLog(row[0], self._vkeys(row[0]), *row[1:]) for row in rows]

    def add_log(self, vkey: str, *, origin: str = "", other_keys: str = "refuse") -> KnownLog:
        """Follow a log.

        Args:
            vkey: the log's verifier key.
            origin: its origin line where that is not the key's name.
            other_keys: what a key that is trusted for the origin already means: ``refuse``, ``keep`` both while the
                log rotates its key, or ``replace`` it.

        Raises:
            NoteError: it is no log's key.
            OperationalError: another key is trusted for this origin, or there are ten thousand logs.
        """
        key = NoteVerifier(vkey).vkey
        origin = origin or key.name
        with self._transaction():
            known = self._vkeys(origin)
            if any(each != vkey for each in known) and other_keys == "refuse":
                raise OperationalError(
                    f"another key is trusted for {origin}", remedy="--also trusts both, --replace this one alone"
                )
            if not known and self._db.execute("SELECT count(*) FROM logs").fetchone()[0] >= MAX_LOGS:
                raise OperationalError(f"a witness follows at most {MAX_LOGS} logs")
            if other_keys == "replace":
                self._db.execute("UPDATE keys SET trusted = 0 WHERE origin = ?", (origin,))
            row = (origin, monitoring_path(origin), int(self._clock()))
            self._db.execute("INSERT OR IGNORE INTO logs (origin, path, added) VALUES (?, ?, ?)", row)
            self._db.execute("INSERT OR REPLACE INTO keys VALUES (?, ?, 1)", (origin, vkey))
        return self._known(origin)

    def freeze(self, origin: str, reason: str) -> KnownLog:
        """Trust the keys of a log no more, or again with an empty reason.

        Raises:
            OperationalError: the log is not followed.
        """
        with self._transaction():
            changed = self._db.execute("UPDATE logs SET frozen = ? WHERE origin = ?", (reason, origin)).rowcount
            if changed != 1:
                raise OperationalError(f"{origin} is not followed here", remedy="see tdz-ledger witness logs")
        return self._known(origin)

    # --- inside -----------------------------------------------------------------------------------------

    @contextmanager
    def _transaction(self) -> Iterator[None]:
        """One transaction that no other process's crosses; a refusal leaves everything as it was."""
        self._db.execute("BEGIN IMMEDIATE")
        try:
            yield
        except BaseException:
            if self._db.in_transaction:  # a full disk may have ended it already
                self._db.execute("ROLLBACK")
            raise
        try:
            self._db.execute("COMMIT")
        except sqlite3.Error:
            if self._db.in_transaction:
                self._db.execute("ROLLBACK")
            raise

    def _freeze_for(self, fork: ForkError, offered: Offered) -> ForkKept:
        origin = offered.checkpoint.origin
        try:
            evidence = Evidence.of(fork, origin, self._vkeys(origin, trusted=0))
        except LedgerError as error:
            _log.error("what shows the fork of %s is no evidence for others: %s", origin, error.message)
            evidence = None
        where = f"; see {_EVIDENCE}/{evidence.name}" if evidence else ""
        self._record(_Freeze(origin, f"{fork.message}{where}", evidence))
        (held,) = self._db.execute("SELECT size FROM logs WHERE origin = ?", (origin,)).fetchone()
        path = self.directory / _EVIDENCE / evidence.name if evidence else None
        return ForkKept(fork, held_size=held, old_size=offered.request.old_size, path=path)

    def _record(self, freeze: _Freeze) -> None:
        """Freeze a log durably together with the evidence, which then becomes a file."""
        self._unrecorded[freeze.origin] = freeze
        try:
            with self._transaction():
                if freeze.evidence is not None:
                    row = freeze.evidence.name, freeze.evidence.encode()
                    self._db.execute("INSERT OR IGNORE INTO evidence VALUES (?, ?)", row)
                self._db.execute("UPDATE logs SET frozen = ? WHERE origin = ?", (freeze.reason, freeze.origin))
        except sqlite3.Error as error:
            if not is_full(error):
                raise
            _log.error("%s is frozen; the disk is full, and %s does not say so yet", freeze.origin, _DATABASE)
            return
        del self._unrecorded[freeze.origin]
        self._file_evidence()

    def _file_evidence(self) -> None:
        """Write the files of `evidence/` that are missing: people copy them, the database knows them."""
        storage, folder = DiskStorage(), self.directory / _EVIDENCE
        for (name,) in self._db.execute("SELECT name FROM evidence").fetchall():
            if os.path.lexists(folder / name):
                continue
            (document,) = self._db.execute("SELECT document FROM evidence WHERE name = ?", (name,)).fetchone()
            temporary = f"{folder}/.new-{os.getpid()}"
            try:
                storage.make_directory(str(folder))
                with contextlib.suppress(FileNotFoundError):  # what a killed process of this number left
                    os.unlink(temporary)
                storage.create(temporary, bytes(document))
                storage.rename(temporary, str(folder / name))
                storage.sync_directory(str(folder))
            except OSError as error:
                _log.error("%s is kept in %s alone: %s", folder / name, _DATABASE, error.strerror)

    def _now(self, last: int) -> int:
        """The time of a new cosignature: never before that of the last one on the same log."""
        now = int(self._clock())
        if now < last - MAX_BEHIND_S:
            raise ClockError(f"the clock is {last - now} s behind the last cosignature", remedy="set the clock right")
        return max(now, last, 1)  # SPEC tlog-witness: the timestamp MUST NOT be zero

    def _followed(self, origin: str) -> tuple[Followed | None, int]:
        query = "SELECT note, frozen, cosigned FROM logs WHERE origin = ?"
        row = self._db.execute(query, (origin,)).fetchone()
        if row is None:
            return None, 0
        note = bytes(row[0])
        held = Checkpoint.split(Note.parse(note).text)[0] if note else None
        verifiers = tuple(map(NoteVerifier, self._vkeys(origin)))
        unrecorded = self._unrecorded.get(origin)
        return Followed(origin, verifiers, held, note, unrecorded.reason if unrecorded else row[1]), row[2]

    def _known(self, origin: str) -> KnownLog:
        (found,) = (each for each in self.logs() if each.origin == origin)
        return found

    def _vkeys(self, origin: str, *, trusted: int = 1) -> tuple[str, ...]:
        """The keys of a log; with `trusted` 0 also those that were replaced."""
        query = "SELECT vkey FROM keys WHERE origin = ? AND trusted >= ? ORDER BY vkey"
        rows = self._db.execute(query, (origin, trusted))
        return tuple(row[0] for row in rows)

    def _check(self) -> None:
        """The database is this key's, and every record in it carries its signature."""
        keys = [row[0] for row in self._db.execute("SELECT vkey FROM witness")]
        if keys != [self.vkey]:
            raise OperationalError(
                f"{_DATABASE} is not that of {_KEY} and {_VKEY}", remedy="a new key needs a new witness: init"
            )
        own = CosignatureVerifier(self.vkey)
        for origin, size, note, line in self._db.execute("SELECT origin, size, note, line FROM logs WHERE line <> ''"):
            try:
                text = Note.parse(note).text
                checkpoint, _ = Checkpoint.split(text)
                signed = check_note(Note(text, (Signature.parse(line),)), [own]).verified
            except LedgerError as error:
                raise ContradictionError(f"{_DATABASE}: {origin}: {error.message}") from error
            if not signed or (checkpoint.origin, checkpoint.size) != (origin, size):
                raise ContradictionError(f"{_DATABASE}: what stands there of {origin} is not what was signed")
