"""Where the index lies, and what makes it current before anybody asks it.

An operator's stands in ``state/index.duckdb``; an auditor's copy has no ``state/``, so its index is a temporary file
or one that the auditor names. The checkpoint that it was built from stands in it: one of an older size is extended,
and the extension holds only if its root comes out as signed; one of another log, version or history is built anew.
"""

from __future__ import annotations

import fcntl
import os
import shutil
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

from ledger.checkpoint import Checkpoint
from ledger.errors import OperationalError, TamperedError
from ledger.facts.read import Progress
from ledger.index.build import Built, create, fill, read_built
from ledger.index.engine import connect, engine
from ledger.tiles import TileReader

__all__ = ["index_file", "opened_index", "rebuild"]

_NAME: Final = "index.duckdb"
Log = tuple[TileReader, Checkpoint]
Say = Callable[[str], None]


def index_file(directory: Path) -> Path | None:
    """Where an operator's index lies; None for an auditor's copy."""
    state = directory / "state"
    return state / _NAME if state.is_dir() and os.access(state, os.W_OK) else None


@contextmanager
def opened_index(
    logs: list[Log], *, file: Path | None, memory_mib: int, progress: Progress | None, say: Say
) -> Iterator[Any]:
    """A read-only database of the logs, current and proven.

    Args:
        logs: their files and verified checkpoints; one only where a file is given.
        file: the index to use and to bring up to date; a temporary one where None.
        memory_mib: what a query may use.
        progress: told now and then while the index is built.
        say: told in one line what was done with a file that was not current.

    Raises:
        TamperedError: the log's entries are not what was signed.
        OperationalError: the file cannot be written, or another process is at it.
    """
    if file is None:
        with tempfile.TemporaryDirectory(prefix="tdz-index-") as scratch:
            path = Path(scratch) / _NAME
            _build(path, logs, progress)
            yield from _serve(path, memory_mib)
        return
    (log,) = logs
    with _locked(file):
        _bring_up_to_date(file, log, progress, say)
    yield from _serve(file, memory_mib)


def rebuild(log: Log, file: Path, progress: Progress | None) -> None:
    """Build an index anew and put it in the place of the old one.

    Raises:
        TamperedError: the log's entries are not what was signed; the old index stays.
        OperationalError: the file cannot be written, or another process is at it.
    """
    with _locked(file):
        _replace(file, log, progress)


def _serve(path: Path, memory_mib: int) -> Iterator[Any]:
    try:
        database = connect(str(path), read_only=True, memory_mib=memory_mib)
    except engine().Error as error:
        raise OperationalError(f"{path} cannot be opened", remedy="run tdz-ledger index rebuild") from error
    try:
        yield database
    finally:
        database.close()


def _bring_up_to_date(file: Path, log: Log, progress: Progress | None, say: Say) -> None:
    checkpoint = log[1]
    built = _built(file)
    if built is None:
        if file.exists():
            say(f"{file} is no index of this version; it is built anew")
        _replace(file, log, progress)
        return
    at = built.place.size
    if (at, built.root, built.origin) == (checkpoint.size, checkpoint.root.hex(), checkpoint.origin):
        return
    if built.origin != checkpoint.origin or at >= checkpoint.size:
        say(f"{file} is of another log or history ({built.origin}, size {at}); it is built anew")
        _replace(file, log, progress)
        return
    try:
        _extend(file, log, built, progress)
    except TamperedError:
        # Either the index or the log is not what it says; the log alone tells.
        say(f"{file} does not belong to this log; it is built anew")
        _replace(file, log, progress)


def _extend(file: Path, log: Log, built: Built, progress: Progress | None) -> None:
    reader, checkpoint = log
    try:
        database = connect(str(file), read_only=False)
    except engine().Error:
        # Another process reads it. It keeps what it has; a copy grows and takes the name.
        fresh = file.with_name(f"{file.name}.new")
        try:
            shutil.copyfile(file, fresh)
            os.chmod(fresh, 0o600)
            database = connect(str(fresh), read_only=False)
            _filled(database, reader, checkpoint, built, progress)
            os.replace(fresh, file)
        except engine().Error as error:
            raise OperationalError(f"{file} cannot be extended: {_first_line(error)}") from error
        finally:
            fresh.unlink(missing_ok=True)
            Path(f"{fresh}.wal").unlink(missing_ok=True)
        return
    try:
        _filled(database, reader, checkpoint, built, progress)
    except engine().Error as error:
        raise OperationalError(f"{file} cannot be extended: {_first_line(error)}") from error


def _filled(database: Any, reader: TileReader, checkpoint: Checkpoint, built: Built, progress: Progress | None) -> None:
    try:
        fill(database, reader, checkpoint, begin=built.place, progress=progress)
    finally:
        database.close()


def _built(file: Path) -> Built | None:
    if not file.exists():
        return None
    try:
        database = connect(str(file), read_only=True)
    except engine().Error:
        return None
    try:
        return read_built(database)
    finally:
        database.close()


def _replace(file: Path, log: Log, progress: Progress | None) -> None:
    fresh = file.with_name(f"{file.name}.new")
    for each in (fresh, Path(f"{fresh}.wal")):
        each.unlink(missing_ok=True)
    try:
        _build(fresh, [log], progress)
        os.replace(fresh, file)
        Path(f"{file}.wal").unlink(missing_ok=True)
    finally:
        fresh.unlink(missing_ok=True)
        Path(f"{fresh}.wal").unlink(missing_ok=True)


def _build(path: Path, logs: list[Log], progress: Progress | None) -> None:
    try:
        database = connect(str(path), read_only=False)
    except engine().Error as error:
        raise OperationalError(f"{path} cannot be written", remedy="name another file with --index") from error
    try:
        os.chmod(path, 0o600)
        create(database)
        for reader, checkpoint in logs:
            fill(database, reader, checkpoint, progress=progress)
    except engine().Error as error:
        raise OperationalError(f"the index cannot be built: {_first_line(error)}") from error
    finally:
        database.close()


@contextmanager
def _locked(file: Path) -> Iterator[None]:
    """One process at a time changes an index."""
    handle = os.open(f"{file}.lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
    try:
        fcntl.flock(handle, fcntl.LOCK_EX)
        yield
    finally:
        os.close(handle)


def _first_line(error: BaseException) -> str:
    return str(error).partition("\n")[0][:300]
