"""What this machine saw committed last, in memory that a reboot clears.

A start that finds here the very checkpoint of its lock database follows a crash or a stop within one boot: nobody
can have put an older log in its place, so nobody needs to be asked what they hold of it.
"""

from __future__ import annotations

import contextlib
import hashlib
import logging
import os
import stat
import threading
from pathlib import Path
from typing import Final

from ledger.errors import LedgerError, OperationalError
from ledger.note import MAX_NOTE_BYTES
from ledger.storage import filesystem_of
from ledger.tiles import read_regular_file

__all__ = ["Marker", "marker_folder"]

_BOOT_ID: Final = "/proc/sys/kernel/random/boot_id"
_MEMORY: Final = ("tmpfs", "ramfs")
_log = logging.getLogger("ledger")


def marker_folder() -> Path | None:
    """The folder in memory where markers lie by default; None where this machine has none."""
    for base in (os.environ.get("XDG_RUNTIME_DIR", ""), "/run", "/dev/shm"):  # noqa: S108 (owned and checked below)
        if base and os.access(base, os.W_OK | os.X_OK) and filesystem_of(base) in _MEMORY:
            return Path(base) / f"tdz-ledger-{os.geteuid()}"
    return None


class Marker:
    """The marker of one log; whoever writes it holds the log's lock.

    Args:
        folder: lies in memory; made where it is not there, for this user alone.
        vkey: the log's key, which names the file.

    Raises:
        OperationalError: the folder is not this user's alone, or lies on a disk.
    """

    def __init__(self, folder: Path, vkey: str) -> None:
        try:
            folder.mkdir(mode=0o700, exist_ok=True)
            status = os.lstat(folder)
        except OSError as error:
            raise OperationalError(f"cannot make {folder}: {error.strerror}") from error
        if not stat.S_ISDIR(status.st_mode) or status.st_uid != os.geteuid() or status.st_mode & 0o077:
            raise OperationalError(f"{folder} is not a folder of this user alone", remedy=f"remove {folder}")
        if filesystem_of(str(folder)) not in _MEMORY:
            raise OperationalError(
                f"{folder} does not lie in memory: what is there could be put back with the log",
                remedy="name a folder on tmpfs",
            )
        self._path = str(folder / hashlib.sha256(vkey.encode()).hexdigest())
        self._boot = _boot_id()
        self._lock = threading.Lock()

    def write(self, note: bytes) -> None:
        """Say what was committed last; where that fails, the next start asks."""
        if not self._boot:
            return
        try:
            with self._lock, open(f"{self._path}.new", "wb") as file:
                file.write(self._boot + b"\n" + note)
                file.flush()
                os.rename(f"{self._path}.new", self._path)
        except OSError as error:
            # An older marker would only make the next start ask; one that is half there must not be read.
            _log.warning("no marker is kept: %s", error.strerror)
            with contextlib.suppress(OSError):
                os.unlink(f"{self._path}.new")

    def read(self) -> bytes | None:
        """The note of what was committed last since the machine booted; None where nothing is known."""
        try:
            boot, newline, note = read_regular_file(self._path, MAX_NOTE_BYTES + 64).partition(b"\n")
        except LedgerError:
            return None
        return note if newline and self._boot and boot == self._boot else None


def _boot_id() -> bytes:
    try:
        with open(_BOOT_ID, "rb") as file:
            return file.read(64).strip()
    except OSError:
        return b""
