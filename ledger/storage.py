"""The port to durable storage, and the disk behind it.

A commit does nothing to the disk but through these operations, in an order that the tests replay with each of
them failing, persisted or not.
"""

from __future__ import annotations

import fcntl
import os
import sqlite3
from typing import Final, Protocol

from ledger.errors import OperationalError

__all__ = ["DiskStorage", "Storage", "SyncError", "filesystem_of", "lock_directory", "refuse_remote_filesystem"]


class SyncError(Exception):
    """An fsync failed: the page cache may show bytes that the disk lacks, so the process must end."""


class Storage(Protocol):
    """What a commit asks of storage.

    Every operation either happened or raised; one that raised may have happened all the same. None is retried.
    Paths are absolute.
    """

    def create(self, path: str, data: bytes) -> None:
        """Write a new file; when it returns the content is durable, its name not yet.

        Raises:
            OSError: it exists, or the disk is full.
            SyncError: the content may not be durable.
        """
        ...

    def link(self, source: str, target: str) -> None:
        """Give a file a second name; an existing name is an error."""
        ...

    def rename(self, source: str, target: str) -> None:
        """Put a file in the place of another, atomically."""
        ...

    def unlink(self, path: str) -> None:
        """Remove a name."""
        ...

    def make_directory(self, path: str) -> None:
        """Make a directory; an existing one is fine. Its name is durable once its parent is synced."""
        ...

    def remove_directory(self, path: str) -> None:
        """Remove an empty directory."""
        ...

    def sync_directory(self, path: str) -> None:
        """Make the names in a directory durable.

        Raises:
            SyncError: they may not be.
        """
        ...

    def commit(self, connection: sqlite3.Connection) -> None:
        """Commit the open transaction durably."""
        ...

    def free_bytes(self, path: str) -> int:
        """The bytes that this process may still write there."""
        ...


class DiskStorage:
    """The file system."""

    def create(self, path: str, data: bytes) -> None:
        """See :class:`Storage`."""
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o644)
        try:
            view = memoryview(data)
            while view:
                view = view[os.write(handle, view) :]
            _sync(handle, path)
        finally:
            os.close(handle)

    def link(self, source: str, target: str) -> None:
        """See :class:`Storage`."""
        os.link(source, target)

    def rename(self, source: str, target: str) -> None:
        """See :class:`Storage`."""
        os.rename(source, target)

    def unlink(self, path: str) -> None:
        """See :class:`Storage`."""
        os.unlink(path)

    def make_directory(self, path: str) -> None:
        """See :class:`Storage`."""
        try:
            os.mkdir(path, 0o755)
        except FileExistsError:
            if not os.path.isdir(path):
                raise

    def remove_directory(self, path: str) -> None:
        """See :class:`Storage`."""
        os.rmdir(path)

    def sync_directory(self, path: str) -> None:
        """See :class:`Storage`."""
        handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            _sync(handle, path)
        finally:
            os.close(handle)

    def commit(self, connection: sqlite3.Connection) -> None:
        """See :class:`Storage`."""
        connection.execute("COMMIT")

    def free_bytes(self, path: str) -> int:
        """See :class:`Storage`."""
        status = os.statvfs(path)
        return status.f_bavail * status.f_frsize


_REMOTE: Final = ("nfs", "fuse", "cifs", "smb", "9p", "ceph", "afs")


def refuse_remote_filesystem(path: str) -> None:
    """Refuse file systems whose fsync, link or lock does not mean what a commit needs.

    Raises:
        OperationalError: the path lies on NFS, FUSE or another remote file system.
    """
    kind = filesystem_of(path)
    if kind.startswith(_REMOTE):
        raise OperationalError(
            f"{path} lies on {kind}", remedy="keep the ledger on a local disk: ext4, XFS, Btrfs or ZFS"
        )


def filesystem_of(path: str) -> str:
    """The kind of file system that a path lies on, as Linux names it; empty where nobody says."""
    try:
        device = os.stat(path).st_dev
        with open("/proc/self/mountinfo", encoding="utf-8", errors="replace") as mounts:
            lines = mounts.readlines()
    except OSError:
        return ""  # no Linux: nothing to ask
    wanted = f"{os.major(device)}:{os.minor(device)}"
    for line in lines:
        fields = line.split(" ")
        if fields[2] == wanted:
            return fields[fields.index("-") + 1]
    return ""


def lock_directory(path: str) -> int:
    """Take the one writer's lock on a directory; the handle holds it until it is closed.

    Raises:
        OperationalError: another process has it.
    """
    handle = os.open(path, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError as error:
        os.close(handle)
        raise OperationalError(f"another process has {path} open", remedy="stop it first") from error
    return handle


def _sync(handle: int, path: str) -> None:
    try:
        os.fsync(handle)
    except OSError as error:
        raise SyncError(f"fsync of {path}: {error.strerror}") from error
