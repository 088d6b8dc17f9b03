"""What lies under ``tile/`` beside what a verification had to read: superseded partials, and files beyond."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterator
from typing import Final

from ledger.errors import TamperedError
from ledger.merkle import HASH_SIZE
from ledger.report import Report
from ledger.tiles import MAX_BUNDLE_BYTES, TILE_WIDTH, TileReader, encode_bundle, read_regular_file

__all__ = ["Leftovers"]

_TILE_NAME: Final = re.compile(r"tile/(0|[1-9]\d?|entries)/((?:x\d{3}/)*\d{3})(?:\.p/([1-9]\d{0,2}))?", re.ASCII)
_MOST_DEEP: Final = 16
"""Folders within folders; the path of the largest index has eight."""


class Leftovers:
    """The files under ``tile/`` that the scan had no need of: superseded partials, and what lies beyond."""

    def __init__(self, report: Report, reader: TileReader, size: int) -> None:
        self._report = report
        self._reader = reader
        self._size = size
        self._beyond = 0
        self._strange: list[str] = []

    def check(self) -> None:
        """Judge every file under ``tile/``."""
        for path in self._walk("tile"):
            match = _TILE_NAME.fullmatch(path)
            if match is None or int(match[3] or 1) >= TILE_WIDTH:
                self._strange.append(path)
            else:
                self._judge(path, match[1], int(match[2].replace("/", "").replace("x", "")), int(match[3] or 0))
        if self._beyond:
            self._report.notices.append(f"{self._beyond} files beyond the checkpoint, tolerated")
        if self._strange:
            self._report.notices.append(f"{len(self._strange)} files that are no tiles, as {self._strange[0]!r}")

    def _judge(self, path: str, level: str, index: int, width: int) -> None:
        """A superseded partial must be a prefix of its tile."""
        count = self._size if level == "entries" else self._size >> (8 * int(level))
        if index * TILE_WIDTH + (width or TILE_WIDTH) > count:
            self._beyond += 1
            return
        known = min(TILE_WIDTH, count - index * TILE_WIDTH)
        if not width or width == known:
            return  # the scan read it
        try:
            found = read_regular_file(f"{self._report.directory}/{path}", MAX_BUNDLE_BYTES)
            if level == "entries":
                same = found == encode_bundle(self._reader.bundle(index, known)[:width])
            else:
                same = found == self._reader.tile(int(level), index, known)[: width * HASH_SIZE]
        except TamperedError as error:
            if os.path.lexists(f"{self._report.directory}/{path}"):
                self._report.find(path, error.message)
            return
        if not same:
            self._report.find(path, "the partial file is not a prefix of what replaced it")

    def _walk(self, path: str, depth: int = 0) -> Iterator[str]:
        """The regular files below a folder; never through a symbolic link."""
        if depth > _MOST_DEEP:
            self._strange.append(path)
            return
        try:
            with os.scandir(f"{self._report.directory}/{path}") as listing:
                items = sorted(listing, key=lambda each: each.name)
        except FileNotFoundError:
            return  # a running writer removes superseded partials; what the scan needs it has read
        except OSError as error:
            self._report.find(path, f"it cannot be listed: {error.strerror}")
            return
        for item in items:
            below = f"{path}/{item.name}"
            try:
                mode = item.stat(follow_symlinks=False).st_mode
            except FileNotFoundError:
                continue
            if stat.S_ISDIR(mode):
                yield from self._walk(below, depth + 1)
            elif stat.S_ISREG(mode):
                yield below
            else:
                self._report.find(below, "it is neither a file nor a folder")
