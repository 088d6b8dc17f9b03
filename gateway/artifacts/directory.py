"""A model's directory on a local disk: walked without following links, hashed while it is read, cut into runs.

To be published it is planned, from names, sizes and safetensors headers, and then read once; to be verified it is
scanned.

Every file is opened relative to its directory's descriptor with ``O_NOFOLLOW``, so that a link put in place while
we look leads nowhere. A file that changes while it is read is refused. Two threads work at most: one reads ahead
into a second buffer while the other hashes and checks; hashlib gives the interpreter away meanwhile.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import stat
import threading
from collections.abc import Callable, Collection, Iterator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Queue
from typing import Final

from gateway.artifacts.formats import FileCheck, kind_of
from gateway.errors import DataFileError, StorageError
from gateway.model import limits
from gateway.model.artifact import FileEntry, PlannedFile, name_order, names_problem

# Passed over at the top of a directory, as OpenSSF Model Signing does by default; every other hidden file is refused.
IGNORED: Final = (".git", ".gitattributes", ".github", ".gitignore")
BLOCK: Final = 4 * limits.MIB

_FILE: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_NONBLOCK
_DIRECTORY: Final = os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC | os.O_DIRECTORY

Progress = Callable[[int, int], None]


@dataclass(frozen=True, slots=True)
class _Seen:
    """A file as it was found: its name, size, and what changes when it changes."""

    name: str
    bytes: int
    state: tuple[int, int, int, int]


@dataclass(frozen=True, slots=True)
class _Planned:
    """A file, and the check that was fed enough to say where it is cut."""

    chunks: int
    check: FileCheck


def _state(found: os.stat_result) -> tuple[int, int, int, int]:
    return found.st_dev, found.st_ino, found.st_mtime_ns, found.st_ctime_ns


class ModelDirectory:
    """The files of one artifact, found once; methods block, from any one thread.

    Args:
        path: the directory; it may itself be a link.
        ignore: further names at its top that are passed over, as where the manifest lies in it.

    Raises:
        DataFileError: a file that no artifact holds, a link, a device, too many files, or none; the text names it.
        StorageError: it cannot be read.
    """

    def __init__(self, path: Path, *, ignore: Collection[str] = ()) -> None:
        self.path: Final = path
        self._ignore = frozenset((*IGNORED, *ignore))
        self._seen = self._walk()
        self._planned: dict[str, _Planned] = {}

    @property
    def bytes(self) -> int:
        """Bytes over all files."""
        return sum(file.bytes for file in self._seen)

    @property
    def names(self) -> tuple[str, ...]:
        """The files' names, in order."""
        return tuple(file.name for file in self._seen)

    def scan(self, progress: Progress | None = None) -> tuple[FileEntry, ...]:
        """Read every file once: check it, hash it, and learn where it is cut.

        Args:
            progress: hears of bytes done and bytes in all, from this thread.

        Returns:
            The files as a submission and a description list them.

        Raises:
            DataFileError: content that is not what the name says, or a file that changed meanwhile.
            StorageError: a file cannot be read.
        """
        done, total = 0, self.bytes
        entries = []
        for file in self._seen:
            check = FileCheck(file.name, file.bytes)
            digest = hashlib.sha256()
            with self._blocks(file) as blocks:
                for block in blocks:
                    digest.update(block)
                    check.feed(block)
                    done += len(block)
                    if progress is not None:
                        progress(done, total)
            check.finish()
            chunks = sum(1 for _ in check.cuts())
            entries.append(FileEntry(name=file.name, bytes=file.bytes, digest=digest.hexdigest(), chunks=chunks))
        return tuple(entries)

    def plan(self) -> tuple[PlannedFile, ...]:
        """Learn where every file is cut, and check what is short: safetensors headers and text.

        Returns:
            The files as an announcement lists them.

        Raises:
            DataFileError: content that is not what the name says, or a file that changed meanwhile.
            StorageError: a file cannot be read.
        """
        planned = []
        for file in self._seen:
            check = FileCheck(file.name, file.bytes)
            if check.is_text or not check.cuts_known:
                with self._blocks(file) as blocks:
                    for block in blocks:
                        check.feed(block)
                        if check.cuts_known and not check.is_text:
                            break
            chunks = sum(1 for _ in check.cuts())
            self._planned[file.name] = _Planned(chunks, check)
            planned.append(PlannedFile(name=file.name, bytes=file.bytes, chunks=chunks))
        return tuple(planned)

    def runs(self, entries: list[FileEntry]) -> Iterator[memoryview]:
        """The runs of all files in order, one for each chunk; each is good until the next is asked for.

        Args:
            entries: gets each file, checked and hashed, once its last run was taken.

        Raises:
            DataFileError: content that is not what the name says, or a file that changed since it was planned.
            StorageError: it cannot be read.
        """
        if not self._planned:
            self.plan()
        buffer = memoryview(bytearray(limits.MODEL_CHUNK_DATA))
        for file in self._seen:
            planned, check, digest = self._planned[file.name], FileCheck(file.name, file.bytes), hashlib.sha256()
            descriptor = self._open(file)
            try:
                for length in planned.check.cuts():
                    view = buffer[:length]
                    _fill(descriptor, view, file.name)
                    digest.update(view)
                    check.feed(view)
                    yield view
                self._require_unchanged(descriptor, file)
            finally:
                os.close(descriptor)
            check.finish()
            entries.append(
                FileEntry(name=file.name, bytes=file.bytes, digest=digest.hexdigest(), chunks=planned.chunks)
            )

    def _walk(self) -> tuple[_Seen, ...]:
        found: list[_Seen] = []
        try:
            top = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
        except OSError as error:
            raise StorageError(
                f"cannot open the directory {self.path}: {error.strerror}", remedy="name the model's directory"
            ) from error
        try:
            self._look(top, "", found)
        except OSError as error:
            raise StorageError(f"cannot read {self.path}: {error.strerror}", remedy="check its permissions") from error
        finally:
            os.close(top)
        found.sort(key=lambda file: name_order(file.name))
        problem = names_problem(file.name for file in found)
        if problem:
            raise DataFileError(problem, remedy="rename one of them: some systems could not hold both")
        if not any(file.bytes for file in found):
            raise DataFileError(f"{self.path} holds nothing to publish", remedy="name the model's directory")
        return tuple(found)

    def _look(self, descriptor: int, prefix: str, found: list[_Seen]) -> None:
        for item in sorted(os.listdir(descriptor)):
            if not prefix and item in self._ignore:
                continue
            name = prefix + item
            about = os.stat(item, dir_fd=descriptor, follow_symlinks=False)
            if stat.S_ISDIR(about.st_mode):
                if name.count("/") >= limits.MODEL_FILE_DEPTH_MAX or item.startswith("."):
                    raise DataFileError(f"the directory {name[:80]!r} is hidden or too deep", remedy="leave it out")
                inner = os.open(item, _DIRECTORY, dir_fd=descriptor)
                try:
                    self._look(inner, f"{name}/", found)
                finally:
                    os.close(inner)
                continue
            if stat.S_ISLNK(about.st_mode):
                raise DataFileError(f"{name!r} is a symbolic link", remedy="put the file itself in its place")
            if not stat.S_ISREG(about.st_mode):
                raise DataFileError(f"{name!r} is a device, pipe or socket", remedy="leave it out")
            kind_of(name)
            found.append(_Seen(name, about.st_size, _state(about)))
            if len(found) > limits.MODEL_FILES_MAX:
                raise DataFileError(
                    f"{self.path} has more than {limits.MODEL_FILES_MAX} files", remedy="publish it in parts"
                )

    def _open(self, file: _Seen) -> int:
        """Open a file by its components, following nothing, and make sure it is the one that was found."""
        *directories, base = file.name.split("/")
        with contextlib.ExitStack() as stack:
            try:
                at = os.open(self.path, os.O_RDONLY | os.O_CLOEXEC | os.O_DIRECTORY)
                stack.callback(os.close, at)
                for directory in directories:
                    at = os.open(directory, _DIRECTORY, dir_fd=at)
                    stack.callback(os.close, at)
                descriptor = os.open(base, _FILE, dir_fd=at)
            except OSError as error:
                raise StorageError(
                    f"cannot open {file.name!r}: {error.strerror}", remedy="check its permissions"
                ) from error
        try:
            self._require_unchanged(descriptor, file)
        except BaseException:
            os.close(descriptor)
            raise
        return descriptor

    def _require_unchanged(self, descriptor: int, file: _Seen) -> None:
        about = os.fstat(descriptor)
        if not stat.S_ISREG(about.st_mode) or about.st_size != file.bytes or _state(about) != file.state:
            raise DataFileError(
                f"{file.name!r} changed while it was read", remedy="stop what writes to it, then publish again"
            )

    @contextlib.contextmanager
    def _blocks(self, file: _Seen) -> Iterator[Iterator[memoryview]]:
        """The blocks of a file; each is good until the next is asked for."""
        descriptor = self._open(file)
        try:
            if file.bytes <= BLOCK:
                yield self._plain(descriptor, file)
            else:
                with _ReadAhead(descriptor, file.bytes, file.name) as ahead:
                    yield iter(ahead)
            self._require_unchanged(descriptor, file)
        finally:
            os.close(descriptor)

    @staticmethod
    def _plain(descriptor: int, file: _Seen) -> Iterator[memoryview]:
        if file.bytes:
            view = memoryview(bytearray(file.bytes))
            _fill(descriptor, view, file.name)
            yield view


def _fill(descriptor: int, view: memoryview, name: str) -> None:
    """Fill a buffer from where the file stands.

    Raises:
        DataFileError: the file ends before.
        StorageError: it cannot be read.
    """
    filled = 0
    while filled < len(view):
        try:
            more = os.readv(descriptor, [view[filled:]])
        except OSError as error:
            raise StorageError(f"cannot read {name!r}: {error.strerror}", remedy="check the disk") from error
        if not more:
            raise DataFileError(f"{name!r} became shorter while it was read", remedy="publish it again")
        filled += more


class _ReadAhead:
    """Reads a file in a thread of its own, one block ahead; the thread has ended when the context has."""

    def __init__(self, descriptor: int, size: int, name: str) -> None:
        self._descriptor = descriptor
        self._size = size
        self._name = name
        self._free: Queue[bytearray | None] = Queue()
        self._full: Queue[memoryview | BaseException | None] = Queue()
        for _ in range(2):
            self._free.put(bytearray(BLOCK))
        self._thread = threading.Thread(target=self._read, name="read-ahead", daemon=True)

    def __enter__(self) -> _ReadAhead:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        with contextlib.suppress(Empty):
            while True:
                self._free.get_nowait()
        self._free.put(None)
        self._thread.join()

    def _read(self) -> None:
        left = self._size
        try:
            while left:
                buffer = self._free.get()
                if buffer is None:
                    return
                view = memoryview(buffer)[: min(left, BLOCK)]
                _fill(self._descriptor, view, self._name)
                left -= len(view)
                self._full.put(view)
            self._full.put(None)
        except BaseException as error:  # raised again where the blocks are taken
            self._full.put(error)

    def __iter__(self) -> Iterator[memoryview]:
        while True:
            block = self._full.get()
            if block is None:
                return
            if isinstance(block, BaseException):
                raise block
            yield block
            whole = block.obj
            block.release()
            if isinstance(whole, bytearray):
                self._free.put(whole)
