"""Which kept checkpoints stay: all of a day, then one an hour, and those that a receipt of this log names."""

from __future__ import annotations

import base64
import binascii
import json
import logging
import os
import sqlite3
from collections import defaultdict
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final, NamedTuple

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from ledger.errors import LedgerError, NoteError, OperationalError
from ledger.files import FileWriter
from ledger.lock import create_missing, open_database
from ledger.storage import Storage
from ledger.tiles import TileReader

__all__ = ["Kept", "Thinner", "named_checkpoints", "superseded"]

DAY_S: Final = 86_400
HOUR_S: Final = 3_600
SCAN_ENTRIES: Final = 8_192
"""Entries that one step looks through for receipts, so that no reader waits long."""

_log = logging.getLogger("ledger")
_KINDS: Final = (b'"kind":"receipt"', b'"kind":"transfer.completed"')
# Made anew from the log where it is lost: `scanned` says up to which entry the receipts were looked through.
_SCHEMA: Final = """
CREATE TABLE named (size INTEGER PRIMARY KEY);
CREATE TABLE scanned (size INTEGER NOT NULL);
INSERT INTO scanned VALUES (0);
PRAGMA user_version = 1;
"""


class Kept(NamedTuple):
    """A file ``checkpoints/<size>``, and when it was written, in seconds since 1970."""

    size: int
    time: float


def superseded(kept: Sequence[Kept], now: float) -> list[int]:
    """The sizes that may go, as far as no receipt names them: older than a day, and not the largest of their hour.

    The largest of all stays. A file whose time was put forward by copying stays longer.
    """
    largest: dict[int, int] = defaultdict(int)
    for each in kept:
        hour = int(each.time // HOUR_S)
        largest[hour] = max(largest[hour], each.size)
    newest = max((each.size for each in kept), default=0)
    return sorted(
        each.size
        for each in kept
        if now - each.time > DAY_S and each.size not in (newest, largest[int(each.time // HOUR_S)])
    )


def named_checkpoints(entry: Entry, origin: str) -> set[int]:
    """The sizes of the checkpoints of an origin that an entry carries, in signed statements too."""
    sizes = set()
    for text in _texts(entry.body):
        head, separator, _ = text.partition("\n\n")
        if separator and head.startswith(f"{origin}\n"):
            try:
                sizes.add(Checkpoint.parse(head + "\n").size)
            except NoteError:
                continue
    return sizes


def _texts(value: JsonValue) -> Iterator[str]:
    """Every string within a value; the payload of a DSSE envelope is looked into."""
    if isinstance(value, str):
        yield value
    elif isinstance(value, list):
        for each in value:
            yield from _texts(each)
    elif isinstance(value, dict):
        payload = value.get("payload")
        if isinstance(payload, str) and "payloadType" in value:
            try:
                yield from _texts(json.loads(base64.b64decode(payload, validate=True)))
            except (binascii.Error, ValueError, RecursionError):
                yield payload
        for each in value.values():
            yield from _texts(each)


class Thinner:
    """Thins ``checkpoints/`` of one log. One thread at a time.

    Atomicity: each file goes or stays; what a crash leaves is thinned the next time.

    Args:
        directory: the log's directory, absolute.
    """

    def __init__(self, directory: str, origin: str, storage: Storage, files: FileWriter) -> None:
        self._directory = directory
        self._origin = origin
        self._storage = storage
        self._files = files
        self._next = 0.0

    def step(self, published: int, now: float) -> bool:
        """Do a part of what is due, at most once an hour.

        Args:
            published: the number of entries that may be read.
            now: seconds since 1970.

        Returns:
            Whether more waits at once.
        """
        if now < self._next:
            return False
        try:
            candidates = superseded(self._kept(), now)
            if candidates and not self._remove(candidates, published):
                return True
        except (OSError, sqlite3.Error, LedgerError) as error:  # nothing is lost: it is tried again
            _log.warning("checkpoints are not thinned yet: %s", error)
        self._next = now + HOUR_S
        return False

    def _remove(self, candidates: Sequence[int], published: int) -> bool:
        """Look through further entries for receipts; once all are, remove what none names."""
        path = Path(self._directory) / "state" / "kept.db"
        create_missing(path, _SCHEMA, self._storage)
        db = open_database(path, OperationalError)
        try:
            (scanned,) = db.execute("SELECT size FROM scanned").fetchone()
            stop = min(published, scanned + SCAN_ENTRIES)
            if scanned < stop:
                named = self._named(scanned, stop, published)
                db.execute("BEGIN IMMEDIATE")
                db.executemany("INSERT OR IGNORE INTO named VALUES (?)", [(size,) for size in named])
                db.execute("UPDATE scanned SET size = ?", (stop,))
                self._storage.commit(db)
            if stop < published:
                return False
            query = "SELECT 1 FROM named WHERE size = ?"
            gone = [size for size in candidates if db.execute(query, (size,)).fetchone() is None]
        finally:
            db.close()
        self._files.remove_all(f"checkpoints/{size}" for size in gone)
        return True

    def _named(self, start: int, stop: int, size: int) -> set[int]:
        found: set[int] = set()
        for seq, data in enumerate(TileReader(self._directory).entries(start, stop, size), start):
            if any(kind in data for kind in _KINDS):
                found |= named_checkpoints(Entry.parse(data, seq=seq), self._origin)
        return found

    def _kept(self) -> list[Kept]:
        with os.scandir(f"{self._directory}/checkpoints") as listing:
            return [Kept(int(each.name), each.stat().st_mtime) for each in listing if each.name.isdecimal()]
