"""The growing right side of a log: what must be known to write the next tiles. No I/O."""

from __future__ import annotations

from ledger.merkle import HASH_SIZE, CompactRange
from ledger.tiles import TILE_WIDTH, encode_bundle, entries_path, tile_path

__all__ = ["TileEdge"]


class TileEdge:
    """The incomplete tile of each level, the incomplete bundle, and the compact range over them.

    Args:
        prev: the leaf hash of the last entry; of an empty log, what entry 0 names.
        size: the number of entries.
        levels: the incomplete tile of each level, as concatenated hashes, level 0 first.
        bundle: the entries of the incomplete bundle.

    Raises:
        ValueError: the widths are not those of the size.
    """

    def __init__(
        self, prev: bytes, size: int = 0, levels: list[bytes] | None = None, bundle: list[bytes] | None = None
    ) -> None:
        self.prev = prev
        self._levels = [_hashes(each) for each in levels or []]
        self._bundle = list(bundle or [])
        self._full: list[tuple[str, bytes]] = []
        widths = [len(each) for each in self._levels]
        if widths != edge_widths(size) or len(self._bundle) != size % TILE_WIDTH:
            raise ValueError(f"tiles of widths {widths} are not the edge of a log of size {size}")
        # The subtrees of the compact range are folded from the same hashes, so one root check covers them all.
        hashes: list[bytes] = []
        for level in reversed(self._levels):
            part = CompactRange()
            for each in level:
                part.append(each)
            hashes.extend(part.hashes)
        self._range = CompactRange(size, hashes)

    @property
    def size(self) -> int:
        """The number of entries."""
        return self._range.size

    def root(self) -> bytes:
        """The root over all entries."""
        return self._range.root()

    def copy(self) -> TileEdge:
        """An independent copy, without the full tiles that were not taken."""
        other = TileEdge(self.prev)
        other._levels = [each.copy() for each in self._levels]
        other._bundle = self._bundle.copy()
        other._range = self._range.copy()
        return other

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        """The largest complete subtrees by height and index."""
        return self._range.subtrees()

    def append(self, entry: bytes, leaf: bytes) -> list[bytes]:
        """Add one entry by its bytes and its leaf hash; the subtrees that it completes, from height 0 upwards."""
        completed = self._range.append(leaf)
        self.prev = leaf
        self._bundle.append(entry)
        self._fill(0, completed)
        return completed

    def append_tile(self, root: bytes, last_leaf: bytes) -> None:
        """Add 256 entries by the root over their tile and the last leaf hash: for readers, which keep no bundles.

        The size so far is a multiple of 256. The tile and its bundle are not among those that became full.
        """
        self.prev = last_leaf
        if not self._levels:
            self._levels.append([])
        self._fill(1, self._range.append(root, 8))

    def _fill(self, first: int, completed: list[bytes]) -> None:
        """Put completed subtrees into the tiles from a level upwards."""
        size = self._range.size
        for level in range(first, first + ((len(completed) + 7) >> 3)):
            if level == len(self._levels):
                self._levels.append([])
            hashes = self._levels[level]
            hashes.append(completed[8 * (level - first)])
            if len(hashes) == TILE_WIDTH:
                index = (size >> (8 * level + 8)) - 1
                self._full.append((tile_path(level, index), b"".join(hashes)))
                hashes.clear()
                if level == 0:
                    self._full.append((entries_path(index), encode_bundle(self._bundle)))
                    self._bundle.clear()

    def take_full(self) -> list[tuple[str, bytes]]:
        """The tiles and bundles that became full since the last call, by path."""
        full, self._full = self._full, []
        return full

    def partials(self, since: int) -> list[tuple[str, bytes]]:
        """The partial tiles and the partial bundle of this size that the size ``since`` did not have."""
        size = self.size
        files: list[tuple[str, bytes]] = []
        for level, hashes in enumerate(self._levels):
            count = size >> (8 * level)
            if hashes and count != since >> (8 * level):
                files.append((tile_path(level, count >> 8, len(hashes)), b"".join(hashes)))
        if self._bundle and size != since:
            files.append((entries_path(size >> 8, len(self._bundle)), encode_bundle(self._bundle)))
        return files

    def partial_bytes(self) -> int:
        """The bytes of the incomplete bundle, which each batch writes again."""
        return sum(map(len, self._bundle))


def edge_widths(size: int) -> list[int]:
    """The width of the incomplete tile of each level, 0 where it is empty."""
    widths = []
    while size:
        widths.append(size % TILE_WIDTH)
        size //= TILE_WIDTH
    return widths


def _hashes(data: bytes) -> list[bytes]:
    return [data[at : at + HASH_SIZE] for at in range(0, len(data), HASH_SIZE)]
