"""Durable files on top of the storage port: a name never holds part of a file."""

from __future__ import annotations

import itertools
import os
from collections.abc import Iterable
from typing import Literal

from ledger.errors import ContradictionError
from ledger.storage import Storage

__all__ = ["FileWriter"]


class FileWriter:
    """Writes files below one log directory, with temporary names in a private one on the same file system.

    One thread at a time.

    Args:
        storage: the port.
        directory: the log's directory, absolute.
        temporary: where unfinished files lie, absolute; its leftovers are removed at the next start.
        prefix: what the temporary names begin with; :meth:`sweep` removes those only.
    """

    def __init__(self, storage: Storage, directory: str, temporary: str, prefix: str) -> None:
        self._storage = storage
        self._directory = directory
        self._temporary = temporary
        self._prefix = prefix
        self._numbers = itertools.count()
        self._known = {directory}
        self._linked: list[str] = []

    def free_bytes(self) -> int:
        """The bytes that may still be written here."""
        return self._storage.free_bytes(self._directory)

    def sweep(self) -> None:
        """Remove what an earlier process left unfinished."""
        for name in os.listdir(self._temporary):
            if name.startswith(self._prefix):
                self._storage.unlink(os.path.join(self._temporary, name))

    def temporary(self, data: bytes) -> str:
        """Write a durable file under a temporary name and return its path.

        A name that a failed write leaves behind is removed first.
        """
        path = f"{self._temporary}/{self._prefix}{next(self._numbers)}"
        try:
            self._storage.create(path, data)
        except OSError:
            if os.path.exists(path):
                os.unlink(path)
            raise
        return path

    def add(
        self,
        files: Iterable[tuple[str, bytes]],
        *,
        existing: Literal["refuse", "rewrite", "replace"] = "refuse",
    ) -> None:
        """Write files and make their names durable.

        Args:
            files: path below the log's directory, and content.
            existing: what an existing name means. ``refuse``: none should be there, so one with other bytes is
                fatal. ``rewrite``: the same, and it is written anew, as recovery must: what a crash left may be
                in the page cache only. ``replace``: it holds nothing that was signed.

        Raises:
            ContradictionError: a name is there with other bytes.
        """
        directories: dict[str, None] = {}
        for path, data in files:
            target = f"{self._directory}/{path}"
            parent = os.path.dirname(target)
            self._make(parent, directories)
            if existing == "rewrite":
                _compare(target, data)
            temporary = self.temporary(data)
            if existing != "refuse":
                self._storage.rename(temporary, target)
            else:
                try:
                    self._storage.link(temporary, target)
                except FileExistsError:
                    _compare(target, data)
                    self._storage.rename(temporary, target)
                else:
                    self._linked.append(temporary)
            directories[parent] = None
        for parent in directories:
            self._storage.sync_directory(parent)

    def discard(self) -> None:
        """Remove the temporary names of files that have their real ones."""
        linked, self._linked = self._linked, []
        for temporary in linked:
            self._storage.unlink(temporary)

    def replace(self, path: str, data: bytes) -> None:
        """Put a file in the place of an older one, durably and atomically."""
        target = f"{self._directory}/{path}"
        parent = os.path.dirname(target)
        self._make(parent, {})
        temporary = self.temporary(data)
        try:
            self._storage.rename(temporary, target)
        except OSError:
            if os.path.exists(temporary):
                os.unlink(temporary)
            raise
        self._storage.sync_directory(parent)

    def repeat(self, path: str, existing: str) -> None:
        """Put a file that is there in the place of another one too, durably and atomically: one file, two names."""
        temporary = f"{self._temporary}/{self._prefix}{next(self._numbers)}"
        target = f"{self._directory}/{path}"
        self._storage.link(f"{self._directory}/{existing}", temporary)
        self._storage.rename(temporary, target)
        self._storage.sync_directory(os.path.dirname(target))

    def remove(self, path: str) -> None:
        """Remove a file durably; one that is not there is fine."""
        target = f"{self._directory}/{path}"
        if os.path.lexists(target):
            self._storage.unlink(target)
        self._storage.sync_directory(os.path.dirname(target))

    def remove_all(self, paths: Iterable[str]) -> None:
        """Remove files that nothing signed covers, durably."""
        parents: dict[str, None] = {}
        for path in paths:
            target = f"{self._directory}/{path}"
            if os.path.lexists(target):
                self._storage.unlink(target)
                parents[os.path.dirname(target)] = None
        for parent in parents:
            self._storage.sync_directory(parent)

    def remove_partials(self, full: Iterable[str]) -> None:
        """Remove the partial files of tiles and bundles whose full ones are durable."""
        for path in full:
            directory = f"{self._directory}/{path}.p"
            if directory not in self._known and not os.path.isdir(directory):
                continue
            for name in os.listdir(directory):
                self._storage.unlink(f"{directory}/{name}")
            self._storage.remove_directory(directory)
            self._known.discard(directory)

    def _make(self, directory: str, directories: dict[str, None]) -> None:
        """Make a directory and its parents; their names become durable with ``directories`` or here."""
        if directory in self._known:
            return
        parent = os.path.dirname(directory)
        self._make(parent, directories)
        if not os.path.isdir(directory):
            self._storage.make_directory(directory)
        self._storage.sync_directory(parent)
        self._known.add(directory)


def _compare(target: str, data: bytes) -> None:
    try:
        with open(target, "rb") as file:
            if file.read(len(data) + 1) != data:
                raise ContradictionError(f"{target} is there with other bytes", remedy="run tdz-ledger verify")
    except FileNotFoundError:
        return
