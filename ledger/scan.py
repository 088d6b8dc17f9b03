"""One pass over a log's entries: bytes, canonical form, chain, tiles and every signed root on the way.

Memory holds one bundle and the right edge, whatever the log's size.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger.edge import TileEdge
from ledger.entry import Entry, first_prev, parse_time
from ledger.errors import EntryError, TamperedError
from ledger.merkle import HASH_SIZE, leaf_hash
from ledger.report import Report
from ledger.tiles import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    TileReader,
    entries_path,
    read_regular_file,
    split_bundle,
    tile_path,
)

__all__ = ["Progress", "SignedRoot", "scan"]

Progress = Callable[[int, int], None]
"""Called with entries done and entries in all."""

_TIME_TOLERANCE_US: Final = 300_000_000
_UNKNOWN: Final = b"\0" * HASH_SIZE


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root that the log signed, and the earliest time at which somebody cosigned it, if anybody did."""

    file: str
    size: int
    root: bytes
    time: int | None = None


@dataclass(slots=True)
class _Held:
    """An entry whose hash waits for the next entry's ``prev``: the third witness between bundle and tile."""

    seq: int
    computed: bytes | None
    tile: bytes | None
    time: str = ""


class _Scan:
    def __init__(self, report: Report, reader: TileReader, roots: Iterator[SignedRoot]) -> None:
        self._report = report
        self._reader = reader
        self._edge = TileEdge(first_prev(report.origin))
        self._roots = roots
        self._root = next(roots, None)
        self._good = 0
        self._time = ""
        self._held: _Held | None = None

    def run(self, progress: Progress | None) -> None:
        size = self._report.size
        self._check_roots()
        for index in range((size + TILE_WIDTH - 1) // TILE_WIDTH):
            width = min(TILE_WIDTH, size - index * TILE_WIDTH)
            leaves = self._leaves(index, width)
            entries = self._bundle(index, width)
            for place in range(width):
                seq = index * TILE_WIDTH + place
                data = entries[place] if place < len(entries) else None
                tile = leaves[place * HASH_SIZE : (place + 1) * HASH_SIZE] if leaves else None
                self._entry(seq, data, tile)
            if progress is not None:
                progress(index * TILE_WIDTH + width, size)
        self._resolve(None)
        self._compare(self._edge.partials(0))

    def _entry(self, seq: int, data: bytes | None, tile: bytes | None) -> None:
        file = entries_path(seq // TILE_WIDTH)
        entry = None
        if data is not None:
            try:
                entry = Entry.parse(data, seq=seq)
            except EntryError as error:
                # An entry whose bytes were changed says so through its hash; one that was hashed so is malformed.
                self._report.find(file, error.message, seq)
        self._resolve(entry.prev if entry else None)
        if entry:
            if entry.prev != self._edge.prev and self._edge.prev != _UNKNOWN:
                self._report.find(
                    file,
                    f"entry {seq} is chained to another entry than {seq - 1}: one of the two was changed"
                    if seq
                    else "entry 0 is not chained to the origin",
                    max(seq - 1, 0),
                )
            if entry.time < self._time:
                self._report.find(file, f"its time {entry.time} is before that of an earlier entry", seq)
            self._time = max(self._time, entry.time)
            self._report.entries += 1
        self._held = _Held(seq, leaf_hash(data) if data is not None else None, tile, entry.time if entry else "")

    def _resolve(self, next_prev: bytes | None) -> None:
        """Settle the hash of the entry before and fold it in."""
        held, self._held = self._held, None
        if held is None:
            return
        leaf = held.computed if held.computed is not None else held.tile
        if held.computed is not None and held.tile is not None and held.computed != held.tile:
            if self._speaks_for(held.computed, next_prev):
                self._report.find(
                    tile_path(0, held.seq // TILE_WIDTH), f"its hash of entry {held.seq} is not the entry's", held.seq
                )
            else:
                self._report.find(
                    entries_path(held.seq // TILE_WIDTH), "the entry's bytes are not those that were hashed", held.seq
                )
                leaf = held.tile
        self._edge.append(b"", leaf or next_prev or _UNKNOWN)
        self._compare(self._edge.take_full())
        self._check_roots(held)

    def _speaks_for(self, computed: bytes, next_prev: bytes | None) -> bool:
        """Whether the next entry, or behind the last one the root, agrees with the entry's bytes."""
        if next_prev is not None:
            return next_prev == computed
        if self._edge.size + 1 < self._report.size:
            return False
        trial = self._edge.copy()
        trial.append(b"", computed)
        return trial.root() == self._report.root

    def _check_roots(self, held: _Held | None = None) -> None:
        """Compare every root that was signed at this size."""
        while self._root is not None and self._root.size <= self._edge.size:
            signed = self._root
            if signed.size == self._edge.size:
                if signed.root == self._edge.root():
                    self._good = signed.size
                else:
                    first = self._report.first_bad_entry
                    self._report.find(
                        signed.file,
                        f"its root is not that of the first {signed.size} entries; up to {self._good} they are signed",
                        min(self._good, signed.size - 1) if first is None and signed.size else None,
                    )
                self._check_time(signed, held)
            self._root = next(self._roots, None)

    def _check_time(self, signed: SignedRoot, held: _Held | None) -> None:
        """Entries lie before the cosignature that covers them."""
        if held is None or not held.time or signed.time is None:
            return
        if parse_time(held.time) > signed.time * 1_000_000 + _TIME_TOLERANCE_US:
            text = f"was cosigned before entry {held.seq} says it was made"
            self._report.find(signed.file, text, held.seq)

    def _compare(self, tiles: list[tuple[str, bytes]]) -> None:
        """Compare the tiles above level 0 with what the leaves give; level 0 was compared hash by hash."""
        for path, data in tiles:
            if path.startswith(("tile/0/", "tile/entries/")):
                continue
            full = path.partition(".p/")[0]
            try:
                found = read_regular_file(f"{self._report.directory}/{path}", TILE_WIDTH * HASH_SIZE)
            except TamperedError as error:
                try:
                    if path == full:
                        raise
                    found = read_regular_file(f"{self._report.directory}/{full}", TILE_WIDTH * HASH_SIZE)[: len(data)]
                except TamperedError:
                    self._report.find(path, error.message)
                    continue
            if found != data:
                self._report.find(path, "the tile is not what the entries below it give")

    def _leaves(self, index: int, width: int) -> bytes:
        try:
            return self._reader.tile(0, index, width)
        except TamperedError as error:
            self._report.find(tile_path(0, index, width), error.message)
            return b""

    def _bundle(self, index: int, width: int) -> list[bytes]:
        """The entries that the bundle gives, up to a first fault, which is a finding."""
        path = entries_path(index, width)
        try:
            try:
                data, count = read_regular_file(f"{self._report.directory}/{path}", MAX_BUNDLE_BYTES), width
            except TamperedError:
                full = entries_path(index)
                if width == TILE_WIDTH:
                    raise
                data, count = read_regular_file(f"{self._report.directory}/{full}", MAX_BUNDLE_BYTES), TILE_WIDTH
        except TamperedError as error:
            self._report.find(path, error.message, index * TILE_WIDTH)
            return []
        entries, fault = split_bundle(data)
        if fault or len(entries) != count:
            seq = index * TILE_WIDTH + min(len(entries), width - 1)
            self._report.find(path, fault or f"it holds {len(entries)} entries, not {count}", seq)
        return entries[:width]


def scan(report: Report, reader: TileReader, roots: Iterator[SignedRoot], progress: Progress | None) -> None:
    """Read every entry up to the report's size and add what is not as it was signed.

    Args:
        report: holds directory, origin, size and root.
        roots: every signed root up to that size, by ascending size.

    Raises:
        TooManyFindingsError: the report is full.
    """
    _Scan(report, reader, roots).run(progress)
