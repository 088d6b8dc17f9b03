"""What a witness knows and has signed: one SQLite file. Blocking; one thread at a time."""

from __future__ import annotations

import sqlite3
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.checkpoint import Checkpoint
from ledger.errors import ClockError, ContradictionError, ForkError, LedgerError, OperationalError
from ledger.keys import create_key, load_key
from ledger.lock import create_database, open_database
from ledger.note import CosignatureSigner, CosignatureVerifier, Note, NoteVerifier, Signature, check_note
from ledger.storage import DiskStorage, refuse_remote_filesystem
from ledger.witness.evidence import keep_evidence
from ledger.witness.judge import Followed, judge, read_offer
from ledger.witness.protocol import monitoring_path

__all__ = ["Cosigned", "ForkKept", "KnownLog", "WitnessStore", "create_witness"]

MAX_LOGS: Final = 10_000
MAX_BEHIND_S: Final = 300
"""How far the clock may lie behind the last cosignature before nothing is signed any more."""

_KEY: Final = "witness.key"
_VKEY: Final = "vkey"
_DATABASE: Final = "witness.db"
_EVIDENCE: Final = "evidence"

# `note` is the log's own signed note, `line` our cosignature on it; both empty before the first time. `path` is where
# the two are served.
_SCHEMA: Final = """
CREATE TABLE witness (vkey TEXT PRIMARY KEY) WITHOUT ROWID;
CREATE TABLE logs (
    origin TEXT PRIMARY KEY, path TEXT NOT NULL UNIQUE, added INTEGER NOT NULL, frozen TEXT NOT NULL DEFAULT '',
    size INTEGER NOT NULL DEFAULT 0, cosigned INTEGER NOT NULL DEFAULT 0,
    note BLOB NOT NULL DEFAULT x'', line TEXT NOT NULL DEFAULT ''
) WITHOUT ROWID;
CREATE TABLE keys (origin TEXT NOT NULL, vkey TEXT NOT NULL, PRIMARY KEY (origin, vkey)) WITHOUT ROWID;
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
    """A fork that is kept as evidence; the log is frozen.

    Args:
        held_size: the size cosigned last.
        old_size: what the request called it.
        path: the file.
    """

    def __init__(self, fork: ForkError, *, held_size: int, old_size: int, path: Path) -> None:
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
            ForkKept: refused; the evidence is durable and the log is frozen.
            ClockError: the clock lies far behind the last cosignature.
        """
        offered = read_offer(body)
        origin = offered.checkpoint.origin
        with self._transaction():
            followed, last = self._followed(origin)
            try:
                note = judge(offered, followed)
            except ForkError as fork:
                raise self._freeze_for(fork, followed, offered.request.old_size) from fork
            seconds = self._now(last)
            line = self._signer.cosign(offered.note.text, seconds)
            self._db.execute(
                "UPDATE logs SET size = ?, cosigned = ?, note = ?, line = ? WHERE origin = ?",
                (offered.checkpoint.size, seconds, note, line, origin),
            )
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
                self._db.execute("DELETE FROM keys WHERE origin = ?", (origin,))
            row = (origin, monitoring_path(origin), int(self._clock()))
            self._db.execute("INSERT OR IGNORE INTO logs (origin, path, added) VALUES (?, ?, ?)", row)
            self._db.execute("INSERT OR IGNORE INTO keys VALUES (?, ?)", (origin, vkey))
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
        except ForkKept:
            self._db.execute("COMMIT")  # refused, and frozen
            raise
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

    def _freeze_for(self, fork: ForkError, followed: Followed | None, old_size: int) -> ForkKept:
        if followed is None:
            raise fork
        # Durable before the row that names it.
        path = keep_evidence(self.directory / _EVIDENCE, followed.origin, fork, received=int(self._clock()))
        reason = f"{fork.message}; see {_EVIDENCE}/{path.name}"
        self._db.execute("UPDATE logs SET frozen = ? WHERE origin = ?", (reason, followed.origin))
        return ForkKept(fork, held_size=followed.size, old_size=old_size, path=path)

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
        return Followed(origin, verifiers, held, note, row[1]), row[2]

    def _known(self, origin: str) -> KnownLog:
        (found,) = (each for each in self.logs() if each.origin == origin)
        return found

    def _vkeys(self, origin: str) -> tuple[str, ...]:
        rows = self._db.execute("SELECT vkey FROM keys WHERE origin = ? ORDER BY vkey", (origin,))
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
