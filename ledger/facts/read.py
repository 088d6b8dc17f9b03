"""A log's entries, read from its files and proven to be the ones that were signed.

What is read is hashed on the way: the pass ends well only where chain and tree end in the signed checkpoint's root.
Memory holds one bundle and the tree's right edge.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Final

from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, first_prev
from ledger.errors import EntryError, TamperedError
from ledger.merkle import CompactRange, leaf_hash
from ledger.tiles import TileReader

__all__ = ["Place", "Progress", "proven_entries", "zone_of"]

Progress = Callable[[int, int], None]
"""Called with entries done and entries in all."""

_EVERY: Final = 256
_VERIFY: Final = "tdz-ledger verify names what is wrong"


@dataclass(frozen=True, slots=True)
class Place:
    """Where a pass may go on: entries read so far, their right edge and the last leaf hash."""

    size: int = 0
    edge: tuple[bytes, ...] = ()
    prev: bytes = b""


def zone_of(origin: str) -> str:
    """The zone of an origin ``tdz/<zone>/<label>``; the origin itself where it is another kind of name."""
    parts = origin.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "tdz" else origin


def proven_entries(
    reader: TileReader,
    checkpoint: Checkpoint,
    *,
    begin: Place | None = None,
    progress: Progress | None = None,
    ended: Callable[[Place], None] | None = None,
) -> Iterator[tuple[Entry, bytes]]:
    """Entries with their leaf hashes, in order.

    Args:
        reader: the log's files.
        checkpoint: signed; the caller has verified that.
        begin: where an earlier pass ended; that it belongs to this log shows at the end too.
        progress: told now and then.
        ended: told where the pass ended, after the root was found to be the signed one.

    Raises:
        TamperedError: an entry, the chain or the root is not as it was signed. It may come after the last entry, so
            what was made of the entries counts only when the iteration has ended.
    """
    place = begin or Place()
    tree = CompactRange(place.size, place.edge)
    prev = place.prev or first_prev(checkpoint.origin)
    size = checkpoint.size
    for seq, data in enumerate(reader.entries(place.size, size, size), place.size):
        try:
            entry = Entry.parse(data, seq=seq)
        except EntryError as error:
            raise TamperedError(f"entry {seq}: {error.message}", remedy=_VERIFY) from error
        if entry.prev != prev:
            text = f"entry {seq} is chained to another entry than {seq - 1}: one of the two was changed"
            raise TamperedError(text if seq else "entry 0 is not chained to the origin", remedy=_VERIFY)
        prev = leaf_hash(data)
        tree.append(prev)
        yield entry, prev
        if progress is not None and seq % _EVERY == 0:
            progress(seq, size)
    if tree.root() != checkpoint.root:
        raise TamperedError(
            f"the entries of {checkpoint.origin} do not give the root that was signed for size {size}",
            remedy=_VERIFY,
        )
    if ended is not None:
        ended(Place(size, tree.hashes, prev))
