"""Where tiles and entry bundles lie (C2SP tlog-tiles), and reading them back from a directory."""

from __future__ import annotations

import os
import stat
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Final

from ledger.entry import MAX_ENTRY_BYTES
from ledger.errors import FormatError, OperationalError, TamperedError
from ledger.merkle import HASH_SIZE, CompactRange, NodeGetter, tree_root

__all__ = [
    "TILE_WIDTH",
    "TileReader",
    "encode_bundle",
    "entries_path",
    "read_entries",
    "read_regular_file",
    "split_bundle",
    "tile_path",
]

TILE_WIDTH: Final = 256
MAX_BUNDLE_BYTES: Final = TILE_WIDTH * (MAX_ENTRY_BYTES + 2)
_TILE_BYTES: Final = TILE_WIDTH * HASH_SIZE
_CACHED_TILES: Final = 128


def tile_path(level: int, index: int, width: int = TILE_WIDTH) -> str:
    """The path of a hash tile below the log's directory."""
    return f"tile/{level}/{_index_path(index)}{_partial(width)}"


def entries_path(index: int, width: int = TILE_WIDTH) -> str:
    """The path of an entry bundle below the log's directory."""
    return f"tile/entries/{_index_path(index)}{_partial(width)}"


def encode_bundle(entries: Iterable[bytes]) -> bytes:
    """Entries one after another, each after its length as a big-endian uint16."""
    parts: list[bytes] = []
    for each in entries:
        parts.append(len(each).to_bytes(2, "big"))
        parts.append(each)
    return b"".join(parts)


def split_bundle(data: bytes, count: int | None = None) -> tuple[list[bytes], str]:
    """Split a bundle.

    Args:
        count: how many entries are wanted; all of them where None.

    Returns:
        The entries up to the first fault, and the fault in words; empty where there is none. With a count, more
        entries behind it are no fault.
    """
    entries: list[bytes] = []
    at = 0
    while at < len(data) and (count is None or len(entries) < count):
        stop = at + 2 + int.from_bytes(data[at : at + 2], "big")
        if stop > len(data) or at + 2 > len(data):
            return entries, "the length before the entry does not fit the bundle"
        entries.append(data[at + 2 : stop])
        at = stop
    if count is not None and len(entries) < count:
        return entries, f"the bundle ends before its entry {len(entries)} of {count}"
    return entries, ""


def read_regular_file(path: str, limit: int) -> bytes:
    """Read a whole file, never following a last symbolic link, waiting on a pipe or filling the memory.

    Raises:
        TamperedError: missing, not a regular file, or longer than the limit in bytes.
        OperationalError: the system cannot read it.
    """
    try:
        handle = os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_NONBLOCK | os.O_CLOEXEC)
    except (FileNotFoundError, NotADirectoryError) as error:
        raise TamperedError(f"{path} is missing") from error
    except OSError as error:
        if os.path.islink(path):
            raise TamperedError(f"{path} is a symbolic link") from error
        raise OperationalError(f"cannot read {path}: {error.strerror}") from error
    try:
        status = os.fstat(handle)
        if not stat.S_ISREG(status.st_mode):
            raise TamperedError(f"{path} is not a regular file")
        if status.st_size > limit:
            raise TamperedError(f"{path} has {status.st_size} bytes, more than {limit}")
        parts: list[bytes] = []
        left = limit + 1
        while left > 0 and (part := os.read(handle, min(left, 1 << 20))):
            parts.append(part)
            left -= len(part)
        if left <= 0:
            raise TamperedError(f"{path} has more than {limit} bytes")
        return b"".join(parts)
    except OSError as error:
        raise OperationalError(f"cannot read {path}: {error.strerror}") from error
    finally:
        os.close(handle)


class TileReader:
    """Reads the tiles of one log directory. It trusts nothing: callers compare with a root.

    Args:
        directory: the folder that holds ``tile/``.
    """

    def __init__(self, directory: Path | str) -> None:
        self.directory = os.fspath(directory)
        self._cache: dict[tuple[int, int], bytes] = {}

    def tile(self, level: int, index: int, width: int) -> bytes:
        """The first ``width`` hashes of a tile, from the partial file or else from the full one.

        Raises:
            TamperedError: neither is there, or the file has another length.
        """
        cached = self._cache.get((level, index))
        if cached is None or len(cached) < width * HASH_SIZE:
            path, data = self._read(tile_path(level, index, width), tile_path(level, index), width, _TILE_BYTES)
            if len(data) != (_TILE_BYTES if path == tile_path(level, index) else width * HASH_SIZE):
                raise TamperedError(f"{path} has {len(data)} bytes")
            if len(self._cache) >= _CACHED_TILES:
                self._cache.pop(next(iter(self._cache)))
            self._cache[level, index] = cached = data
        return cached[: width * HASH_SIZE]

    def bundle(self, index: int, width: int) -> list[bytes]:
        """The first ``width`` entries of a bundle, from the partial file or else from the full one.

        Raises:
            TamperedError: neither is there, or it does not hold that many.
        """
        path, data = self._read(entries_path(index, width), entries_path(index), width, MAX_BUNDLE_BYTES)
        full = TILE_WIDTH if path == entries_path(index) else width
        entries, fault = split_bundle(data)
        if fault or len(entries) != full:
            raise TamperedError(f"{path}: {fault or f'holds {len(entries)} entries, not {full}'}")
        return entries[:width]

    def entries(self, start: int, stop: int, size: int) -> Iterator[bytes]:
        """Entries by sequence number, of a log whose newest size is ``size``."""
        while start < stop:
            index, first = divmod(start, TILE_WIDTH)
            width = min(TILE_WIDTH, size - index * TILE_WIDTH)
            part = self.bundle(index, width)[first : stop - index * TILE_WIDTH]
            yield from part
            start += len(part)

    def nodes(self, size: int) -> NodeGetter:
        """The hashes of complete subtrees of the first ``size`` leaves."""

        def node(height: int, index: int) -> bytes:
            level, rest = divmod(height, 8)
            first = index << rest
            tile_index, offset = divmod(first, TILE_WIDTH)
            width = min(TILE_WIDTH, (size >> (8 * level)) - tile_index * TILE_WIDTH)
            count = 1 << rest
            if offset + count > width:
                raise FormatError(f"node {height}/{index} is not complete at size {size}")
            hashes = self.tile(level, tile_index, width)
            if count == 1:
                return hashes[offset * HASH_SIZE : (offset + 1) * HASH_SIZE]
            subtree = CompactRange()
            for place in range(offset, offset + count):
                subtree.append(hashes[place * HASH_SIZE : (place + 1) * HASH_SIZE])
            return subtree.root()

        return node

    def root(self, size: int) -> bytes:
        """The root of the first ``size`` leaves as the tiles have it."""
        return tree_root(self.nodes(size), size)

    def _read(self, partial: str, full: str, width: int, limit: int) -> tuple[str, bytes]:
        if width < TILE_WIDTH:
            try:
                return partial, read_regular_file(f"{self.directory}/{partial}", limit)
            except TamperedError:
                # SPEC tlog-tiles: a partial tile MAY go once the full one is there.
                if not os.path.exists(f"{self.directory}/{full}"):
                    raise
        return full, read_regular_file(f"{self.directory}/{full}", limit)


def read_entries(directory: str, start: int, stop: int, size: int, max_bytes: int) -> list[bytes]:
    """Entries as bytes up to a limit, at least one where there is one."""
    if start < 0:
        raise FormatError("entries are numbered from 0")
    entries: list[bytes] = []
    used = 0
    for entry in TileReader(directory).entries(start, stop, size):
        used += len(entry)
        if entries and used > max_bytes:
            break
        entries.append(entry)
    return entries


def _index_path(index: int) -> str:
    # SPEC tlog-tiles: zero-padded 3-digit path elements, all but the last beginning with x.
    path = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        path = f"x{index % 1000:03d}/{path}"
    return path


def _partial(width: int) -> str:
    return "" if width == TILE_WIDTH else f".p/{width}"
