"""One pass over a log's entries: bytes, canonical form, chain, tiles and every signed root on the way.

Bundles that are whole arrive summed up, from several processes where there are many; the others are read entry by
entry here, to name the first bad one. Memory holds a few bundles and the right edge, whatever the log's size.
"""

from __future__ import annotations

import bisect
from collections.abc import Callable, Iterator, Sequence
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from ledger.bundle import LOG_KINDS, BundleChecker, Checked, Task
from ledger.edge import TileEdge
from ledger.entry import Entry, first_prev, parse_time
from ledger.errors import EntryError, TamperedError
from ledger.merkle import HASH_SIZE, leaf_hash
from ledger.report import MAX_FINDINGS, Report
from ledger.tiles import (
    MAX_BUNDLE_BYTES,
    TILE_WIDTH,
    TileReader,
    entries_path,
    read_regular_file,
    split_bundle,
    tile_path,
)
from ledger.workers import checked_bundles

__all__ = ["Progress", "Scanned", "SignedRoot", "scan"]

Progress = Callable[[int, int], None]
"""Called with entries done and entries in all."""

_EARLY_US: Final = 300_000_000
"""By how much an entry's time may lie after a cosignature that covers it: what two clocks may differ."""
_LATE_US: Final = 3_600_000_000
"""By how much an entry's time may lie before a cosignature that does not cover it yet: a cosigner signs once it holds
the entries, and on a slow line that is later than the next entry."""
_UNKNOWN: Final = b"\0" * HASH_SIZE


@dataclass(frozen=True, slots=True)
class SignedRoot:
    """A root that the log signed, and the earliest time at which somebody cosigned it, if anybody did."""

    file: str
    size: int
    root: bytes
    time: int | None = None


@dataclass(slots=True)
class Scanned:
    """What the entries themselves say of the log's keys: the entries of ``key.rotated``."""

    rotations: list[Entry] = field(default_factory=list)


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
        self._held: _Held | None = None
        self._clock = _Clock(report)
        self._sealed: int | None = None
        self.scanned = Scanned()

    def run(self, checker: BundleChecker, sizes: Sequence[int], workers: int, progress: Progress | None) -> None:
        size = self._report.size
        count = (size + TILE_WIDTH - 1) // TILE_WIDTH
        self._check_roots()
        tasks = (_task(index, size, sizes) for index in range(count))
        with closing(checked_bundles(checker, tasks, count, workers)) as found:
            for index, checked in enumerate(found):
                width = min(TILE_WIDTH, size - index * TILE_WIDTH)
                if checked.whole:
                    self._whole(index, width, checked)
                else:
                    self._each(index, width)
                self._count(index, checked)
                if progress is not None:
                    progress(index * TILE_WIDTH + width, size)
        self._resolve(None)
        self._compare(self._edge.partials(0))
        self._clock.finish()

    def _count(self, index: int, checked: Checked) -> None:
        """Envelopes, and what the private files have otherwise."""
        self._report.envelopes.add(checked.envelopes)
        for seq, text in checked.envelopes.faults:
            self._report.find(entries_path(index), text, seq)
        for seq, text in checked.faults:
            self._report.find("state", text, seq)

    # --- a bundle that is whole ---------------------------------------------------------------------------

    def _whole(self, index: int, width: int, checked: Checked) -> None:
        start = index * TILE_WIDTH
        self._resolve(checked.prev)
        self._chained(start, checked.prev)
        self._report.entries += width
        if checked.times:
            for place, time in enumerate(checked.times):
                leaf = checked.leaves[place * HASH_SIZE : (place + 1) * HASH_SIZE]
                self._clock.entry(start + place, time)
                self._edge.append(b"", leaf)
                self._compare(self._edge.take_full())
                self._check_roots(start + place, time)
        else:
            self._clock.entry(start, checked.first)
            self._clock.entry(start + width - 1, checked.last)
            self._edge.append_tile(checked.root, checked.leaves)
            self._compare(self._edge.take_full())
            self._check_roots(start + width - 1, checked.last)
        for seq, data in checked.log_entries:
            self._log_entry(Entry.parse(data, seq=seq))
        if not start and not any(seq == 0 for seq, _ in checked.log_entries):
            self._unopened()
        self._after_seal(start + width - 1)

    # --- entry by entry -----------------------------------------------------------------------------------

    def _each(self, index: int, width: int) -> None:
        leaves = self._leaves(index, width)
        entries = self._bundle(index, width)
        for place in range(width):
            seq = index * TILE_WIDTH + place
            data = entries[place] if place < len(entries) else None
            tile = leaves[place * HASH_SIZE : (place + 1) * HASH_SIZE] if leaves else None
            self._entry(seq, data, tile)

    def _entry(self, seq: int, data: bytes | None, tile: bytes | None) -> None:
        entry = None
        if data is not None:
            try:
                entry = Entry.parse(data, seq=seq)
            except EntryError as error:
                # An entry whose bytes were changed says so through its hash; one that was hashed so is malformed.
                self._report.find(entries_path(seq // TILE_WIDTH), error.message, seq)
        self._resolve(entry.prev if entry else None)
        if entry:
            self._chained(seq, entry.prev)
            self._clock.entry(seq, entry.time)
            self._report.entries += 1
            if entry.kind in LOG_KINDS:
                self._log_entry(entry)
            elif not seq:
                self._unopened()
            self._after_seal(seq)
        self._held = _Held(seq, leaf_hash(data) if data is not None else None, tile, entry.time if entry else "")

    def _chained(self, seq: int, prev: bytes) -> None:
        if prev != self._edge.prev and self._edge.prev != _UNKNOWN:
            self._report.find(
                entries_path(seq // TILE_WIDTH),
                f"entry {seq} is chained to another entry than {seq - 1}: one of the two was changed"
                if seq
                else "entry 0 is not chained to the origin",
                max(seq - 1, 0),
            )

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
        self._check_roots(held.seq, held.time)

    def _speaks_for(self, computed: bytes, next_prev: bytes | None) -> bool:
        """Whether the next entry, or behind the last one the root, agrees with the entry's bytes."""
        if next_prev is not None:
            return next_prev == computed
        if self._edge.size + 1 < self._report.size:
            return False
        trial = self._edge.copy()
        trial.append(b"", computed)
        return trial.root() == self._report.root

    # --- what the log says of itself ----------------------------------------------------------------------

    def _log_entry(self, entry: Entry) -> None:
        if entry.kind == "log.opened":
            if entry.seq or entry.body.get("origin") != self._report.origin:
                self._report.find(entries_path(entry.seq // TILE_WIDTH), "it opens another log than this", entry.seq)
        elif entry.kind == "key.rotated":
            self.scanned.rotations.append(entry)
        elif entry.kind == "clock.corrected":
            self._clock.corrected(entry.seq)
        elif self._sealed is None:
            self._sealed = entry.seq

    def _unopened(self) -> None:
        self._report.find(entries_path(0), "entry 0 is not log.opened", 0)

    def _after_seal(self, last: int) -> None:
        if self._sealed is not None and last > self._sealed:
            file = entries_path(self._sealed // TILE_WIDTH)
            self._report.find(file, f"the log was sealed at entry {self._sealed} and goes on", self._sealed + 1)
            self._sealed = self._report.size

    # --- signed roots and tiles ---------------------------------------------------------------------------

    def _check_roots(self, seq: int = -1, time: str = "") -> None:
        """Compare every root that was signed at this size, behind the entry `seq`."""
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
                self._clock.cosigned(signed, seq, time)
            self._root = next(self._roots, None)

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


class _Clock:
    """Entry times: never backwards, and between the cosignature times around them.

    A log that was told that its clock is right (``clock.corrected``) has said so itself: what is odd before that
    entry is a notice.
    """

    def __init__(self, report: Report) -> None:
        self._report = report
        self._last = ""
        self._floor: SignedRoot | None = None
        self._faults: list[tuple[str, str, int]] = []

    def entry(self, seq: int, time: str) -> None:
        """An entry, in order; of entries in order the first and the last are enough."""
        if time < self._last:
            self._fault(entries_path(seq // TILE_WIDTH), f"its time {time} is before that of an earlier entry", seq)
        self._last = max(self._last, time)
        floor, self._floor = self._floor, None
        since = floor.time * 1_000_000 - _LATE_US if floor is not None and floor.time is not None else 0
        if floor is not None and parse_time(time) < since:
            self._fault(
                floor.file, f"was cosigned long after entry {seq}, which it does not hold, says it was made", seq
            )

    def cosigned(self, signed: SignedRoot, seq: int, time: str) -> None:
        """A cosigned root behind an entry."""
        if signed.time is None:
            return
        if time and parse_time(time) > signed.time * 1_000_000 + _EARLY_US:
            self._fault(signed.file, f"was cosigned before entry {seq} says it was made", seq)
        self._floor = signed

    def corrected(self, seq: int) -> None:
        """The entry `seq` says that the clock was corrected."""
        if self._faults:
            first = self._faults[0][2]
            text = f"times from entry {first} on are odd; entry {seq} says that the clock was corrected"
            self._report.notices.append(text)
            self._faults.clear()
        self._last = ""

    def finish(self) -> None:
        """Report what no later entry explained."""
        for fault in self._faults:
            self._report.find(*fault)

    def _fault(self, file: str, text: str, seq: int) -> None:
        if len(self._faults) < MAX_FINDINGS:
            self._faults.append((file, text, seq))


def _task(index: int, size: int, sizes: Sequence[int]) -> Task:
    """A bundle's task; in detail where a signed root falls inside it."""
    start = index * TILE_WIDTH
    width = min(TILE_WIDTH, size - start)
    inside = bisect.bisect_right(sizes, start)
    return Task(index, width, width < TILE_WIDTH or (inside < len(sizes) and sizes[inside] < start + width))


def scan(
    report: Report,
    reader: TileReader,
    roots: Iterator[SignedRoot],
    progress: Progress | None,
    *,
    checker: BundleChecker,
    sizes: Sequence[int],
    workers: int = 1,
) -> Scanned:
    """Read every entry up to the report's size and add what is not as it was signed.

    Args:
        report: holds directory, origin, size and root.
        roots: every signed root up to that size, by ascending size.
        checker: judges the bundles.
        sizes: the sizes of these roots, ascending; there may be more of them.
        workers: how many processes judge bundles.

    Raises:
        TooManyFindingsError: the report is full.
        OperationalError: a worker process died, or the system cannot read a file.
    """
    scanning = _Scan(report, reader, roots)
    scanning.run(checker, sizes, workers, progress)
    return scanning.scanned
