"""Files that survive a power cut: write, sync, name, sync the directory; and scratch that dies with its process."""

from __future__ import annotations

import errno
import fcntl
import os
import shutil
import uuid
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Final

from gateway.errors import StorageError

Bytes = bytes | bytearray | memoryview

_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})
_IOV_MAX: Final = 512


@contextmanager
def storage_errors(what: str) -> Iterator[None]:
    """Turn the operating system's errors into ours.

    Raises:
        StorageError: with the remedy where the disk is full.
    """
    try:
        yield
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(
                f"the disk is full: {what}", remedy="free space on the gateway's storage disk, then try again"
            ) from error
        raise StorageError(
            f"{what}: {error.strerror or error}", remedy="check the gateway's storage disk and its permissions"
        ) from error


def sync_directory(path: Path) -> None:
    """Make the names in a directory durable."""
    descriptor = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def write_parts(descriptor: int, parts: Sequence[Bytes]) -> None:
    """Write buffers one after the other without joining them; short writes are taken up again."""
    views = [memoryview(part).cast("B") for part in parts if len(part)]
    position = 0
    while position < len(views):
        written = os.writev(descriptor, views[position : position + _IOV_MAX])
        while position < len(views) and written >= len(views[position]):
            written -= len(views[position])
            position += 1
        if written:
            views[position] = views[position][written:]


def write_new(path: Path, parts: Sequence[Bytes], *, mode: int = 0o600) -> None:
    """Write a file that does not exist yet and sync its contents (not its name).

    Raises:
        OSError: as the system gave it; the file is gone then.
    """
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, mode)
    try:
        try:
            write_parts(descriptor, parts)
            os.fdatasync(descriptor)
        finally:
            os.close(descriptor)
    except BaseException:
        path.unlink(missing_ok=True)
        raise


class Workspace:
    """A scratch directory of one process, on the same file system as what it becomes.

    The directory is locked while the process lives; the next one to open the same place removes what a dead
    process left. Nothing in it is ever visible.

    Args:
        root: the directory that holds the scratch directories of all processes.
    """

    def __init__(self, root: Path) -> None:
        with storage_errors(f"cannot open {root}"):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            gate = os.open(root, os.O_RDONLY | os.O_DIRECTORY)
            try:
                # One opener at a time: a directory is never seen between its making and its locking.
                fcntl.flock(gate, fcntl.LOCK_EX)
                self._sweep(root)
                self.path: Final = root / uuid.uuid4().hex
                self.path.mkdir(mode=0o700)
                self._lock = os.open(self.path, os.O_RDONLY | os.O_DIRECTORY)
                fcntl.flock(self._lock, fcntl.LOCK_EX)
            finally:
                os.close(gate)
        self._closed = False

    @staticmethod
    def _sweep(root: Path) -> None:
        for left in root.iterdir():
            try:
                descriptor = os.open(left, os.O_RDONLY)
            except FileNotFoundError:
                continue  # its owner closed it just now
            try:
                fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                continue
            finally:
                os.close(descriptor)
            if left.is_dir():
                shutil.rmtree(left)
            else:
                left.unlink()

    def new(self) -> Path:
        """A name that nothing has yet."""
        return self.path / uuid.uuid4().hex

    def close(self) -> None:
        """Remove the scratch directory."""
        if not self._closed:
            self._closed = True
            shutil.rmtree(self.path, ignore_errors=True)
            os.close(self._lock)
