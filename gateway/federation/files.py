"""A run's directory: the containers of parameters by round, whole and durable, and the scratch of its views.

    data/runs/<id>/out-0003   what this zone released in round 3 (0000: the sums)
    data/runs/<id>/in-0003    what the other zone released in it
    data/runs/<id>/own-0003   the coordinator's own update, never sent as it is
    data/runs/<id>/initial    what the run's app and seed give; both zones compute it
    data/runs/<id>/total      what features are scaled with
    data/runs/<id>/views/     rows; removed when the run ends

Methods block, but for those that begin with `a`. A name never holds part of a file.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import shutil
from collections.abc import AsyncGenerator, AsyncIterable, Callable
from pathlib import Path
from typing import Final, TypeVar

from gateway.errors import IntegrityError, LimitError, PeerUnavailableError, StorageError
from gateway.flow.locks import settled
from gateway.model import limits
from gateway.model.ids import parse_uuid7
from gateway.storage.durable import storage_errors, sync_directory

T = TypeVar("T")
OUT: Final = "out"
IN: Final = "in"
OWN: Final = "own"
TOTAL: Final = "total"
INITIAL: Final = "initial"
OUTCOME: Final = "outcome"
_VIEWS: Final = "views"


class RunFiles:
    """All runs' directories.

    Args:
        root: `data/runs`; made where it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self._root: Final = root
        with storage_errors(f"cannot open {root}"):
            root.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(root.parent)

    def directory(self, run: str) -> Path:
        """The run's directory, made where it does not exist."""
        path = self._root / parse_uuid7(run)
        with storage_errors("cannot make a run's directory"):
            if not path.is_dir():
                path.mkdir(mode=0o700, exist_ok=True)
                sync_directory(self._root)
        return path

    def views(self, run: str) -> Path:
        """The scratch for rows, made where it does not exist."""
        path = self.directory(run) / _VIEWS
        with storage_errors("cannot make a run's directory"):
            path.mkdir(mode=0o700, exist_ok=True)
        return path

    def path(self, run: str, name: str, round_: int | None = None) -> Path:
        """Where one of the run's files lies or would lie."""
        return self.directory(run) / (name if round_ is None else f"{name}-{round_:04d}")

    async def atake(self, path: Path, pieces: AsyncIterable[bytes], *, size: int, digest: str) -> None:
        """Store bytes as they come, once they are all there and their digest is right.

        Raises:
            PeerUnavailableError: fewer bytes than announced.
            IntegrityError: another digest.
            LimitError: a piece that is too long, or more bytes.
            StorageError: the disk is full or failed.
        """
        staged = path.with_name(f".{path.name}.{os.urandom(6).hex()}")
        descriptor = await _blocking(
            lambda: os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        )
        try:
            found, taken = hashlib.sha256(), 0
            async for piece in pieces:
                taken += len(piece)
                if len(piece) > limits.RUN_PIECE or taken > size:
                    raise LimitError("more bytes of parameters than were said")
                found.update(piece)
                await _blocking(lambda data=piece: _write(descriptor, data))  # type: ignore[misc]
            if taken < size:  # a connection that breaks looks like an end
                raise PeerUnavailableError("parameters were cut short", remedy="send them again")
            if found.hexdigest() != digest:
                raise IntegrityError("parameters arrived otherwise than they were announced")

            def settle() -> None:
                os.fsync(descriptor)
                os.rename(staged, path)
                sync_directory(path.parent)

            await _blocking(settle)
        finally:
            os.close(descriptor)
            staged.unlink(missing_ok=True)

    @staticmethod
    async def pieces(path: Path) -> AsyncGenerator[bytes, None]:
        """The bytes of a file, in order."""
        descriptor = await _blocking(lambda: os.open(path, os.O_RDONLY | os.O_CLOEXEC))
        try:
            while data := await _blocking(lambda: os.read(descriptor, limits.RUN_PIECE)):
                yield data
        finally:
            os.close(descriptor)

    @staticmethod
    def measure(path: Path) -> tuple[str, int]:
        """Digest and size of a file.

        Raises:
            StorageError: it is not there.
        """
        found, size = hashlib.sha256(), 0
        with storage_errors(f"cannot read {path.name} of a run"), path.open("rb") as file:
            while data := file.read(limits.MIB):
                found.update(data)
                size += len(data)
        return found.hexdigest(), size

    def forget(self, run: str, before: int) -> None:
        """Remove the files of rounds before one; the sums stay, they are small."""
        for path in self.directory(run).iterdir():
            name, _, number = path.name.partition("-")
            if name in {OUT, IN, OWN} and number.isdecimal() and 0 < int(number) < before:
                path.unlink(missing_ok=True)

    def unfinished(self) -> list[str]:
        """The runs whose directories hold more than an outcome: open ones, and what a crash left of ended ones."""
        with storage_errors("cannot look into the runs' directories"):
            runs = [path for path in self._root.iterdir() if path.is_dir()]
            found = [path for path in runs if any(each.name != OUTCOME for each in path.iterdir())]
        return sorted(path.name for path in found)

    def scrub(self, run: str, *, keep: str = "") -> None:
        """Remove the rows and everything else but one file; for a run that has ended. Again changes nothing."""
        directory = self._root / parse_uuid7(run)
        if not directory.is_dir():
            return
        shutil.rmtree(directory / _VIEWS, ignore_errors=True)
        for path in directory.iterdir():
            if path.name != keep and path.is_file():
                path.unlink(missing_ok=True)
        if (directory / _VIEWS).exists():
            raise StorageError(f"the views of run {run} cannot be removed", remedy=f"remove {directory / _VIEWS}")


def _write(descriptor: int, data: bytes) -> None:
    view = memoryview(data)
    while view:
        view = view[os.write(descriptor, view) :]


async def _blocking(work: Callable[[], T]) -> T:
    """Blocking work in a thread; the operating system's errors as ours."""
    with storage_errors("cannot store or read a run's parameters"):
        return await settled(asyncio.to_thread(work))
