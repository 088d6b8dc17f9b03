"""A real file system of a few MiB, and storage that fills it at a chosen moment. Not a test."""

from __future__ import annotations

import contextlib
import os
import sqlite3
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from ledger.storage import DiskStorage

MIB = 1 << 20


@contextlib.contextmanager
def mounted(kind: str, work: Path, mib: int) -> Iterator[Path]:
    """A file system of so many MiB on memory, or ext4 on a loop device; skips where it cannot be mounted."""
    place = work / "disk"
    place.mkdir()
    if kind == "tmpfs":
        command = ["mount", "-t", "tmpfs", "-o", f"size={mib}m", "tmpfs", str(place)]
    else:
        image = work / "image"
        with image.open("wb") as file:
            file.truncate(mib * MIB)
        made = subprocess.run(["mkfs.ext4", "-q", "-m", "0", str(image)], capture_output=True, check=False)
        if made.returncode:
            pytest.skip(f"needs mkfs.ext4: {made.stderr.decode().strip()}")
        command = ["mount", "-o", "loop", str(image), str(place)]
    try:
        done = subprocess.run(command, capture_output=True, check=False)
    except FileNotFoundError:
        pytest.skip("needs mount")
    if done.returncode:
        pytest.skip(f"needs root and CAP_SYS_ADMIN to mount {kind}: {done.stderr.decode().strip()}")
    try:
        yield place
    finally:
        if subprocess.run(["umount", str(place)], capture_output=True, check=False).returncode:
            subprocess.run(["umount", "--lazy", str(place)], check=True)  # a failed test left a file open


def fill(place: Path, leave: int = 0) -> Path:
    """Write a file until only so many bytes are free, the last of them byte by byte where none may be."""
    filler = place / "filler"
    with filler.open("ab", buffering=0) as file:
        for size in (MIB, 4096, 1):
            with contextlib.suppress(OSError):
                while free(place) - size >= leave or not leave:
                    if file.write(b"\xff" * size) < size:
                        break
    return filler


def free(place: Path) -> int:
    status = os.statvfs(place)
    return status.f_bavail * status.f_frsize


class FillingStorage(DiskStorage):
    """A disk that somebody else fills just before one operation: ENOSPC comes from the file system itself.

    Args:
        operation: ``commit`` or ``create``; None for never.
    """

    def __init__(self, place: Path, operation: str | None) -> None:
        self._place = place
        self._operation = operation

    def commit(self, connection: sqlite3.Connection) -> None:
        self._fill("commit")
        super().commit(connection)

    def create(self, path: str, data: bytes) -> None:
        self._fill("create")
        super().create(path, data)

    def _fill(self, operation: str) -> None:
        if operation == self._operation:
            self._operation = None
            fill(self._place)
