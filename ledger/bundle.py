"""One bundle judged on its own: what a worker process can say of 256 entries without the rest of the log.

A bundle that is whole is summed up in a few hashes and times. One that is not is left to the sequential scan, which
reads it again and says what is wrong with which entry.
"""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final

from ledger.entry import Entry
from ledger.envelope import EnvelopeCheck, KnownKey, Pairing
from ledger.errors import EntryError, LedgerError
from ledger.lock import LockDatabase
from ledger.merkle import leaf_hash, node_hash
from ledger.tiles import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    TileReader,
    entries_path,
    read_regular_file,
    split_bundle,
)

__all__ = ["LOG_KINDS", "BundleChecker", "Checked", "Task"]

LOG_KINDS: Final = frozenset({"log.opened", "log.sealed", "key.rotated", "clock.corrected"})
"""The kinds that say something about the log itself: the scan looks at these entries one by one."""


_PLACED: Final = frozenset({"key.rotated", "clock.corrected"})
"""Their bodies say what their place is, and the lock database has what a retry repeats."""


@dataclass(frozen=True, slots=True)
class Task:
    """A bundle to judge: its index, its width, and whether a signed root falls inside it."""

    index: int
    width: int
    detail: bool


@dataclass(slots=True)
class Checked:
    """What one bundle says.

    Args:
        whole: every entry is canonical, chained to the one before and hashed as the tile has it.
        prev: what its first entry is chained to.
        first: its first entry's time.
        last: its last entry's time.
        root: the root over its leaves.
        leaves: its leaf hashes, one after another; of a whole bundle without detail the last one alone.
        times: the times of its entries, where detail was asked for.
        log_entries: entries of kinds that concern the log itself, with their numbers.
        envelopes: what its envelopes gave; of a bundle that is not whole too, as far as its entries are read.
        faults: what the private files have otherwise, with the entry's number.
    """

    whole: bool = False
    prev: bytes = b""
    first: str = ""
    last: str = ""
    root: bytes = b""
    leaves: bytes = b""
    times: list[str] = field(default_factory=list)
    log_entries: list[tuple[int, bytes]] = field(default_factory=list)
    envelopes: EnvelopeCheck = field(default_factory=EnvelopeCheck)
    faults: list[tuple[int, str]] = field(default_factory=list)


@dataclass(slots=True)
class BundleChecker:
    """Judges bundles of one directory. Pickles, so that each worker process has its own.

    Args:
        directory: the log's.
        keys: the keys of statements that are known, by keyid; None where envelopes are not looked at.
        lock: the origin whose rows in ``state/lock.db`` are compared too; None where they are not.
    """

    directory: str
    keys: Mapping[str, KnownKey] | None = None
    lock: str | None = None
    _rows: LockDatabase | None = field(default=None, init=False, repr=False)

    def check(self, task: Task) -> Checked:
        """Judge one bundle; never raises for what is wrong with it."""
        checked = Checked()
        entries = self._entries(task)
        parsed: list[Entry] = []
        try:
            for seq, data in enumerate(entries, task.index * TILE_WIDTH):
                parsed.append(Entry.parse(data, seq=seq))
        except EntryError:
            entries = entries[: len(parsed)]
        leaves = [leaf_hash(each) for each in entries]
        whole = len(parsed) == task.width and b"".join(leaves) == self._tile(task)
        whole = whole and all(entry.prev == leaf for entry, leaf in zip(parsed[1:], leaves, strict=False))
        times = [each.time for each in parsed]
        whole = whole and times == sorted(times)
        if whole:
            checked.whole = True
            checked.prev, checked.first, checked.last = parsed[0].prev, times[0], times[-1]
            checked.root = _root(leaves) if task.width == TILE_WIDTH else b""
            checked.leaves = b"".join(leaves) if task.detail or task.width < TILE_WIDTH else leaves[-1]
            checked.times = times if task.detail else []
            checked.log_entries = [
                (entry.seq, data) for entry, data in zip(parsed, entries, strict=True) if entry.kind in LOG_KINDS
            ]
        if self.keys is not None:
            for entry in parsed:
                checked.envelopes.check(entry.seq, entry.body, self.keys)
                if entry.kind == "zone.paired" and (pairing := Pairing.of(entry.seq, entry.time, entry.body)):
                    checked.envelopes.pairings.append(pairing)
        if self.lock is not None and parsed:
            checked.faults = self._compare_rows(parsed, entries)
        return checked

    def close(self) -> None:
        """Close the database."""
        if self._rows is not None:
            self._rows.close()
            self._rows = None

    def _entries(self, task: Task) -> list[bytes]:
        for width in {task.width: None, TILE_WIDTH: None}:
            try:
                data = read_regular_file(f"{self.directory}/{entries_path(task.index, width)}", MAX_BUNDLE_BYTES)
            except LedgerError:
                continue
            entries, fault = split_bundle(data)
            return [] if fault or len(entries) != width else entries[: task.width]
        return []

    def _tile(self, task: Task) -> bytes:
        try:
            return TileReader(self.directory).tile(0, task.index, task.width)
        except LedgerError:
            return b""

    def _compare_rows(self, entries: Sequence[Entry], stored: Sequence[bytes]) -> list[tuple[int, str]]:
        """The lock database must know each entry by its id, at its place and with its content."""
        if self._rows is None:
            self._rows = LockDatabase(Path(self.directory, "state", "lock.db"), self.lock or "", read_only=True)
        try:
            rows = self._rows.find([each.id for each in entries])
        except (sqlite3.Error, TypeError) as error:  # a damaged row may hold values of other types
            return [(entries[0].seq, f"state/lock.db cannot be read: {error}")]
        faults = []
        for entry, data in zip(entries, stored, strict=True):
            row = rows.get(entry.id)
            if row is None:
                faults.append((entry.seq, "state/lock.db does not know its id: a retry would append it again"))
            elif row.seq != entry.seq or row.size <= entry.seq:
                faults.append((entry.seq, f"state/lock.db has its id at {row.seq}"))
            elif entry.kind not in _PLACED and row.content != _content(entry, data):
                faults.append((entry.seq, "state/lock.db has its id with other content"))
        return faults


def _content(entry: Entry, data: bytes) -> bytes:
    """As :func:`ledger.entry.content_of`, cut out of an entry's canonical bytes: body and subject stand there."""
    mark = b',"id":"%b","kind":"%b","prev":"%b","seq":%d,"subject":' % (
        entry.id.encode(),
        entry.kind.encode(),
        entry.prev.hex().encode(),
        entry.seq,
    )
    at = data.rindex(mark)
    subject = data[at + len(mark) : data.rindex(b',"time":"')]
    return hashlib.sha256(b"%b\n%b\n%b" % (entry.kind.encode(), subject, data[len(b'{"body":') : at])).digest()


def _root(hashes: Sequence[bytes]) -> bytes:
    while len(hashes) > 1:
        hashes = [node_hash(left, right) for left, right in zip(hashes[::2], hashes[1::2], strict=True)]
    return hashes[0]
