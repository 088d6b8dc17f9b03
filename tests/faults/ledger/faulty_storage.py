"""Storage that fails at a chosen operation: the port's second implementation."""

from __future__ import annotations

import enum
import os
import signal
import sqlite3
import threading
from collections.abc import Callable

from ledger.storage import DiskStorage, SyncError


class Mode(enum.Enum):
    """How the chosen operation fails."""

    NOT_PERSISTED = "not persisted"
    """It fails and did not happen."""
    PERSISTED = "persisted anyway"
    """It fails although it happened."""
    POWER_LOSS = "power loss"
    """It fails, and every name that no directory sync covers is lost with it."""
    KILL = "kill -9"
    """The process is killed before it."""


class FaultyStorage(DiskStorage):
    """A disk on which operation number ``at`` fails, from 0; afterwards nothing works any more.

    Args:
        at: None to count only.
        error: what is raised; ENOSPC leaves the disk alive.
    """

    def __init__(self, at: int | None, mode: Mode, error: OSError | None = None) -> None:
        self.operations = 0
        self.names: list[str] = []
        self.failed = ""
        self._at = at
        self._mode = mode
        self._error = error
        self._turn = threading.RLock()  # a log's two threads take turns, so that each operation has its number
        self._undo: list[tuple[str, Callable[[], None]]] = []

    def create(self, path: str, data: bytes) -> None:
        self._do("create", path, lambda: super(FaultyStorage, self).create(path, data), lambda: _unlink(path))

    def link(self, source: str, target: str) -> None:
        self._do("link", target, lambda: super(FaultyStorage, self).link(source, target), lambda: _unlink(target))

    def rename(self, source: str, target: str) -> None:
        old = _content(target)
        new = _content(source)

        def undo() -> None:
            _restore(target, old)
            _restore(source, new)

        self._do("rename", target, lambda: super(FaultyStorage, self).rename(source, target), undo)

    def unlink(self, path: str) -> None:
        old, when = _content(path), os.path.getmtime(path) if os.path.lexists(path) else 0.0

        def undo() -> None:
            _restore(path, old)
            os.utime(path, (when, when))

        self._do("unlink", path, lambda: super(FaultyStorage, self).unlink(path), undo)

    def make_directory(self, path: str) -> None:
        self._do("mkdir", path, lambda: super(FaultyStorage, self).make_directory(path), lambda: os.rmdir(path))

    def remove_directory(self, path: str) -> None:
        self._do("rmdir", path, lambda: super(FaultyStorage, self).remove_directory(path), lambda: os.mkdir(path))

    def sync_directory(self, path: str) -> None:
        def sync() -> None:
            super(FaultyStorage, self).sync_directory(path)
            self._undo = [each for each in self._undo if each[0] != path]

        self._do("sync", path, sync, None)

    def commit(self, connection: sqlite3.Connection) -> None:
        self._do("commit", "database", lambda: super(FaultyStorage, self).commit(connection), None)
        if self.failed and connection.in_transaction:
            connection.rollback()

    def _do(self, name: str, path: str, work: Callable[[], None], undo: Callable[[], None] | None) -> None:
        with self._turn:
            self._next(name, path, work, undo)

    def _next(self, name: str, path: str, work: Callable[[], None], undo: Callable[[], None] | None) -> None:
        if self.failed and self._error is None:
            raise SyncError("the process is dead already")
        number = self.operations
        self.operations += 1
        self.names.append(name)
        if number != self._at:
            work()
            if undo is not None:
                self._undo.append((os.path.dirname(path), undo))
            return
        self.failed = f"{name} {path}"
        if self._mode is Mode.KILL:
            os.kill(os.getpid(), signal.SIGKILL)
        if self._mode is Mode.PERSISTED:
            work()
        if self._mode is Mode.POWER_LOSS:
            for _, step in reversed(self._undo):
                step()
        if self._error is not None:
            raise self._error
        raise SyncError(f"injected: {self.failed}")


def _unlink(path: str) -> None:
    if os.path.lexists(path):
        os.unlink(path)


def _content(path: str) -> bytes | None:
    if not os.path.isfile(path):
        return None
    with open(path, "rb") as file:
        return file.read()


def _restore(path: str, content: bytes | None) -> None:
    _unlink(path)
    if content is not None:
        with open(path, "xb") as file:
            file.write(content)
