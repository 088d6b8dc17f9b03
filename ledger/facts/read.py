"""A log's entries, read from its files into rows, and proven to be the ones that were signed.

What is read is hashed on the way: the pass ends well only where chain and tree end in the signed checkpoint's root.
Bundles are parsed by several processes; memory holds a few of them and the tree's right edge.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Iterator
from contextlib import closing
from dataclasses import dataclass, field
from typing import Final

from ledger.canonical import JsonValue
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, first_prev
from ledger.errors import EntryError, TamperedError
from ledger.facts.extract import rows_of, whole_row
from ledger.merkle import HASH_SIZE, CompactRange, leaf_hash
from ledger.origin import zone_of
from ledger.tiles import TILE_WIDTH, TileReader
from ledger.workers import checked_bundles

__all__ = ["Place", "Progress", "Rows", "proven_rows"]

Progress = Callable[[int, int], None]
"""Called with entries done and entries in all."""

Rows = dict[str, list[tuple[JsonValue, ...]]]
"""Rows by table, in the order of their entries."""

_VERIFY: Final = "tdz-ledger verify names what is wrong"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pass may go on: entries read so far, their right edge and the last leaf hash."""

    size: int = 0
    edge: tuple[bytes, ...] = ()
    prev: bytes = b""


@dataclass(frozen=True, slots=True)
class _Task:
    """A bundle to read: its index, its width, and the place in it to begin at."""

    index: int
    width: int
    first: int


@dataclass(slots=True)
class _Read:
    """What a bundle holds: what its first entry is chained to, its leaf hashes one after another, and its rows."""

    prev: bytes = b""
    leaves: bytes = b""
    rows: Rows = field(default_factory=dict)


@dataclass(slots=True)
class _Reader:
    """Reads bundles of one log. Pickles, so that each worker process has its own.

    Args:
        directory: the log's.
        zone: whose it is, for the rows.
        whole: the table ``entries`` too.
    """

    directory: str
    zone: str
    whole: bool

    def check(self, task: _Task) -> _Read:
        """Read one bundle; its entries are canonical and chained to each other.

        Raises:
            TamperedError: they are not, or it cannot be read.
        """
        read, rows = _Read(), defaultdict[str, list[tuple[JsonValue, ...]]](list)
        leaves: list[bytes] = []
        start = task.index * TILE_WIDTH + task.first
        for seq, data in enumerate(TileReader(self.directory).bundle(task.index, task.width)[task.first :], start):
            try:
                entry = Entry.parse(data, seq=seq)
            except EntryError as error:
                raise TamperedError(f"entry {seq}: {error.message}", remedy=_VERIFY) from error
            if not leaves:
                read.prev = entry.prev
            elif entry.prev != leaves[-1]:
                raise _unchained(seq)
            leaves.append(leaf_hash(data))
            if self.whole:
                name, values = whole_row(self.zone, entry, data, leaves[-1])
                rows[name].append(values)
            for name, values in rows_of(self.zone, entry):
                rows[name].append(values)
        read.leaves, read.rows = b"".join(leaves), dict(rows)
        return read

    def close(self) -> None:
        """Nothing is kept open."""


def proven_rows(
    reader: TileReader,
    checkpoint: Checkpoint,
    *,
    begin: Place | None = None,
    whole: bool = False,
    progress: Progress | None = None,
    ended: Callable[[Place], None] | None = None,
    workers: int = 1,
) -> Iterator[Rows]:
    """What a log's entries say, a bundle at a time, in order.

    Args:
        reader: the log's files.
        checkpoint: signed; the caller has verified that.
        begin: where an earlier pass ended; that it belongs to this log shows at the end too.
        whole: the rows of the table ``entries`` too.
        progress: told now and then.
        ended: told where the pass ended, after the root was found to be the signed one.
        workers: how many processes parse bundles.

    Raises:
        TamperedError: an entry, the chain or the root is not as it was signed. It may come after the last row, so
            what was made of the rows counts only when the iteration has ended.
        OperationalError: a worker process died, or the system cannot read a file.
    """
    place = begin or Place()
    tree = CompactRange(place.size, place.edge)
    prev = place.prev or first_prev(checkpoint.origin)
    size = checkpoint.size
    first, stop = place.size // TILE_WIDTH, (size + TILE_WIDTH - 1) // TILE_WIDTH
    tasks = (
        _Task(index, min(TILE_WIDTH, size - index * TILE_WIDTH), max(place.size - index * TILE_WIDTH, 0))
        for index in range(first, stop)
        if place.size < size
    )
    one = _Reader(reader.directory, zone_of(checkpoint.origin), whole)
    with closing(checked_bundles(one, tasks, max(stop - first, 0), workers)) as found:
        for read in found:
            if read.prev != prev:
                raise _unchained(tree.size)
            for at in range(0, len(read.leaves), HASH_SIZE):
                prev = read.leaves[at : at + HASH_SIZE]
                tree.append(prev)
            yield read.rows
            if progress is not None:
                progress(tree.size, size)
    if (tree.size, tree.root()) != (size, checkpoint.root):
        raise TamperedError(
            f"the entries of {checkpoint.origin} do not give the root that was signed for size {size}",
            remedy=_VERIFY,
        )
    if ended is not None:
        ended(Place(size, tree.hashes, prev))


def _unchained(seq: int) -> TamperedError:
    text = f"entry {seq} is chained to another entry than {seq - 1}: one of the two was changed"
    return TamperedError(text if seq else "entry 0 is not chained to the origin", remedy=_VERIFY)
