"""A log's directory made anew from a copy of its entries, after the loss of the whole directory.

It goes on at the newest checkpoint of ours that anyone holds, where all entries up to it are at hand. Where some are
lost, the old origin ends at the last one that is there, and a new origin names it as its predecessor: what was signed
and is gone must never be signed anew.
"""

from __future__ import annotations

import os
import shutil
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint, Published
from ledger.create import DEFAULT_RESERVE_BYTES, WITNESS_SCHEMA, create_log
from ledger.edge import TileEdge
from ledger.entry import Entry, content_of, first_prev
from ledger.errors import EntryError, LedgerError, OperationalError, TamperedError
from ledger.files import FileWriter
from ledger.lock import LockDatabase, Row, create_database
from ledger.merkle import leaf_hash
from ledger.note import MAX_NOTE_BYTES, Note, NoteSigner, NoteVerifier, open_note
from ledger.policy import default_policy
from ledger.reserve import Reserve
from ledger.scan import Progress
from ledger.staging import TEMPORARY
from ledger.storage import DiskStorage, Storage, refuse_remote_filesystem
from ledger.tiles import TILE_WIDTH, TileReader, read_regular_file

__all__ = ["Rebuilt", "Source", "newest_of", "read_source", "rebuild", "write_copy"]

_ROWS: Final = 4096


@dataclass(frozen=True, slots=True)
class Source:
    """A copy of a log: a mirror's directory, or any other in the same layout.

    ``note`` is that of its newest checkpoint, signed by the log.
    """

    directory: Path
    vkey: str
    checkpoint: Checkpoint
    note: bytes

    def entries(self) -> Iterator[bytes]:
        """Every entry up to the checkpoint, as bytes."""
        return TileReader(self.directory).entries(0, self.checkpoint.size, self.checkpoint.size)


@dataclass(frozen=True, slots=True)
class Rebuilt:
    """What was made.

    Args:
        origin: of the log that goes on.
        size: its number of entries.
        root: its root.
        lost: the first and the last entry that were signed and are gone; None where none is.
        predecessor: the origin that ended; empty where it goes on.
    """

    origin: str
    size: int
    root: bytes
    lost: tuple[int, int] | None
    predecessor: str


class EntriesLostError(LedgerError):
    """Entries that were signed are gone, and no new origin was named.

    Args:
        first: the first one that is gone.
        last: the last one that is known to have been signed.
    """

    def __init__(self, first: int, last: int) -> None:
        super().__init__(
            f"entries {first} to {last} were signed and are gone: the log cannot go on",
            remedy="look for a copy that has them, or open a new origin",
        )
        self.first = first
        self.last = last


def read_source(directory: Path, vkey: str | None = None) -> Source:
    """Open a copy of a log.

    Args:
        vkey: the log's key from a trusted place; without it the copy's own.

    Raises:
        OperationalError: there is none.
        TamperedError: the log did not sign it.
    """
    if not (directory / "checkpoint").is_file():
        raise OperationalError(
            f"{directory} is no copy of a log", remedy="name the folder that holds checkpoint and tile"
        )
    try:
        key = vkey or read_regular_file(str(directory / "vkey"), MAX_NOTE_BYTES).decode("utf-8").strip()
        note = read_regular_file(str(directory / "checkpoint"), MAX_NOTE_BYTES)
        newest = _signed(note, key)
    except (LedgerError, UnicodeDecodeError) as error:
        raise TamperedError(f"{directory}/checkpoint: {error}", remedy="is this the log's own key?") from error
    return Source(directory, key, newest.checkpoint, newest.note)


def newest_of(notes: Iterable[bytes], vkey: str) -> Published | None:
    """The largest checkpoint among notes that the log signed; those of others say nothing."""
    newest: Published | None = None
    for note in notes:
        try:
            found = _signed(note, vkey)
        except LedgerError:
            continue
        if newest is None or found.checkpoint.size > newest.checkpoint.size:
            newest = found
    return newest


def write_copy(
    directory: Path, vkey: str, note: bytes, entries: Iterable[bytes], *, storage: Storage | None = None
) -> Source:
    """Write a copy of a log from its entries; it is judged on the way, as a mirror judges.

    Args:
        directory: must not exist.

    Raises:
        TamperedError: an entry may not stand there, or all of them do not give the signed root.
    """
    published = _signed(note, vkey)
    directory.mkdir(parents=True)
    _Filler(directory, directory, storage or DiskStorage()).log(published, vkey, entries)
    return Source(directory, vkey, published.checkpoint, published.note)


def rebuild(
    target: Path,
    source: Source,
    *,
    held: Sequence[bytes] = (),
    successor: NoteSigner | None = None,
    ended: bool = False,
    reserve_bytes: int = DEFAULT_RESERVE_BYTES,
    storage: Storage | None = None,
    clock: Callable[[], int] = time.time_ns,
    progress: Progress | None = None,
) -> Rebuilt:
    """Make a log's directory from a copy; after a crash it is there complete, or not at all.

    Args:
        target: must not exist, or be empty.
        source: the copy with the most entries.
        held: notes of ours that others hold, whoever they are.
        successor: the key and name of a new origin, used where the old one cannot go on.
        ended: it may not go on in any case: others have frozen it.
        progress: called with entries done and entries in all.

    Raises:
        EntriesLostError: it cannot go on, and no successor was named; nothing was made.
        TamperedError: the copy is not what the log signed.
        OperationalError: the directory is not free, or cannot be written.
    """
    disk = storage or DiskStorage()
    newest = newest_of([source.note, *held], source.vkey)
    size = source.checkpoint.size
    lost = None
    if newest is not None and newest.checkpoint.size > size:
        lost = size, newest.checkpoint.size - 1
    elif newest is not None and any(_contradicts(each, source) for each in held):
        ended = True
    if (lost or ended) and successor is None:
        if lost is None:
            raise OperationalError(
                f"{source.checkpoint.origin} was frozen and cannot go on", remedy="open a new origin"
            )
        raise EntriesLostError(*lost)
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise OperationalError(f"{target} is there already", remedy="move it away, never over another")
        target.parent.mkdir(parents=True, exist_ok=True)
        refuse_remote_filesystem(str(target.parent))
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
        try:
            made = work / "log"
            if lost or ended:
                rebuilt = _succeed(made, source, newest, lost, successor, reserve_bytes, disk, clock, progress)
            else:
                rebuilt = _go_on(made, source, reserve_bytes, disk, progress)
            os.chmod(made, 0o755)  # noqa: S103 (the log is public; state/ is not)
            disk.sync_directory(str(made))
            disk.rename(str(made), str(target))
            disk.sync_directory(str(target.parent))
        finally:
            shutil.rmtree(work, ignore_errors=True)
    except OSError as error:
        raise OperationalError(f"cannot make a ledger at {target}: {error.strerror}") from error
    return rebuilt


def _go_on(made: Path, source: Source, reserve_bytes: int, disk: Storage, progress: Progress | None) -> Rebuilt:
    state = made / "state"
    for path in (made, made / "tile", made / "checkpoints", made / "mirror"):
        path.mkdir(mode=0o755)
    for path in (state, state / "staging"):
        path.mkdir(mode=0o700)
    filler = _Filler(made, state / "staging", disk)
    published = Published(source.checkpoint, source.note)
    rows = filler.log(published, source.vkey, source.entries(), progress=progress, lock=state / "lock.db")
    filler.files.replace("vkeys", f"0 - {source.vkey}\n".encode())
    filler.files.replace("policy.tlog", default_policy(source.vkey).encode())
    Reserve.make(str(made), reserve_bytes, disk, filler.files)
    create_database(state / "witness.db", WITNESS_SCHEMA)
    for path in (made / "tile", state / "staging", state):
        disk.sync_directory(str(path))
    return Rebuilt(source.checkpoint.origin, rows, source.checkpoint.root, None, "")


def _succeed(
    made: Path,
    source: Source,
    newest: Published | None,
    lost: tuple[int, int] | None,
    successor: NoteSigner | None,
    reserve_bytes: int,
    disk: Storage,
    clock: Callable[[], int],
    progress: Progress | None,
) -> Rebuilt:
    if successor is None or successor.name == source.checkpoint.origin:
        raise OperationalError("a new origin has another name than the old one", remedy="give it another label")
    old = source.checkpoint
    predecessor: dict[str, JsonValue] = {
        "checkpoint": source.note.decode(),
        "lost": None if lost is None else {"first": lost[0], "last": lost[1]},
        "newest": newest.note.decode() if newest is not None else source.note.decode(),
        "origin": old.origin,
        "vkey": source.vkey,
    }
    create_log(
        made,
        origin=successor.name,
        signer=successor,
        predecessor=predecessor,
        reserve_bytes=reserve_bytes,
        storage=disk,
        clock=clock,
    )
    # What is left of the old log stays with the new one, in the layout of any log.
    frozen = made / "mirror" / first_prev(old.origin).hex()
    frozen.mkdir()
    filler = _Filler(frozen, made / "state" / "staging", disk)
    filler.log(Published(old, source.note), source.vkey, source.entries(), progress=progress)
    disk.sync_directory(str(frozen.parent))
    (first,) = TileReader(made).entries(0, 1, 1)
    return Rebuilt(successor.name, 1, leaf_hash(first), lost, old.origin)


class _Filler:
    """Writes the public files of a log from its entries; memory holds one bundle and the right edge."""

    def __init__(self, directory: Path, temporary: Path, storage: Storage) -> None:
        self._storage = storage
        self.files = FileWriter(storage, str(directory.absolute()), str(temporary.absolute()), f"{TEMPORARY}rebuild-")

    def log(
        self,
        published: Published,
        vkey: str,
        entries: Iterable[bytes],
        *,
        progress: Progress | None = None,
        lock: Path | None = None,
    ) -> int:
        head = published.checkpoint
        database = None
        if lock is not None:
            LockDatabase.create(lock, head.origin, published.note)
            database = LockDatabase(lock, head.origin)
        edge = TileEdge(first_prev(head.origin))
        rows: list[Row] = []
        try:
            for seq, data in enumerate(entries):
                try:
                    entry = Entry.parse(data, seq=seq, prev=edge.prev)
                except EntryError as error:
                    raise TamperedError(f"entry {seq}: {error.message}", remedy="look for another copy") from error
                edge.append(data, leaf_hash(data))
                # Which checkpoint first covered it is not known any more; this one covers it.
                rows.append(Row(entry.id, seq, head.size, content_of(entry)))
                if (seq + 1) % TILE_WIDTH == 0:
                    self.files.add(edge.take_full(), existing="replace")
                if database is not None and len(rows) >= _ROWS:
                    database.fill(rows, self._storage)
                if len(rows) >= _ROWS:
                    rows.clear()
                    if progress is not None:
                        progress(seq + 1, head.size)
            if (edge.size, edge.root()) != (head.size, head.root):
                raise TamperedError(
                    f"{edge.size} entries do not give the root that was signed at size {head.size}",
                    remedy="look for another copy",
                )
            if database is not None:
                database.fill(rows, self._storage)
        finally:
            if database is not None:
                database.close()
        self.files.add(edge.partials(0), existing="replace")
        self.files.replace("vkey", f"{vkey}\n".encode())
        self.files.replace("checkpoint", published.note)
        return edge.size


def _signed(note: bytes, vkey: str) -> Published:
    """The checkpoint of a note with the log's own signature alone.

    Raises:
        NoteError, SignatureError: the log did not sign it.
    """
    verifier = NoteVerifier(vkey)
    checkpoint = Checkpoint.parse(open_note(note, [verifier]).text)
    if checkpoint.origin != verifier.vkey.name:
        raise TamperedError(f"it is of the origin {checkpoint.origin}")
    own = [each for each in Note.parse(note).signatures if each.key_id == verifier.vkey.key_id][:1]
    return Published(checkpoint, Note(checkpoint.text, tuple(own)).encode())


def _contradicts(note: bytes, source: Source) -> bool:
    """Whether the log signed something at that size which the copy does not hold: it forked."""
    try:
        held = _signed(note, source.vkey).checkpoint
    except LedgerError:
        return False
    return held.size <= source.checkpoint.size and TileReader(source.directory).root(held.size) != held.root
