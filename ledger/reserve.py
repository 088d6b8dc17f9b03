"""``state/reserve``: space that is really written, so that what closes something still fits on a full disk.

It is given up where it is needed, and written again when there is space. Its size is chosen when the log is made and
stands in ``state/reserve.size``, since a reserve that was given up has none.
"""

from __future__ import annotations

import contextlib
import os
import re
from typing import Final

from ledger.errors import LedgerError
from ledger.files import FileWriter
from ledger.storage import Storage
from ledger.tiles import read_regular_file

__all__ = ["DEFAULT_RESERVE_BYTES", "Reserve", "chosen_size"]

DEFAULT_RESERVE_BYTES: Final = 16 * 1024 * 1024
RESERVE_PATH: Final = "state/reserve"
SIZE_PATH: Final = "state/reserve.size"
MAX_RESERVE_BYTES: Final = 1 << 40
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,15})\n")


class Reserve:
    """The reserve of one log.

    Args:
        directory: the log's directory, absolute.
        size: in bytes.
        storage: the port.
    """

    def __init__(self, directory: str, size: int, storage: Storage) -> None:
        self.size: Final = size
        self._path = f"{directory}/{RESERVE_PATH}"
        self._storage = storage

    @classmethod
    def make(cls, directory: str, size: int, storage: Storage, files: FileWriter) -> Reserve:
        """The reserve of a new log, written."""
        files.replace(SIZE_PATH, b"%d\n" % size)
        made = cls(directory, size, storage)
        made.write(files)
        return made

    @classmethod
    def take_up(cls, directory: str, storage: Storage, files: FileWriter) -> Reserve:
        """The reserve of a log that is there, of the size that was chosen; before anything gives it up.

        Where the size was never written down it is that of the file.
        """
        size = chosen_size(directory)
        if size is None:
            try:
                size = os.path.getsize(f"{directory}/{RESERVE_PATH}")
            except FileNotFoundError:
                size = DEFAULT_RESERVE_BYTES
            with contextlib.suppress(OSError):  # the disk is full: the next start says it
                files.replace(SIZE_PATH, b"%d\n" % size)
        return cls(directory, size, storage)

    @property
    def held(self) -> bool:
        """Whether it is there."""
        return os.path.exists(self._path)

    def write(self, files: FileWriter) -> None:
        """Write it anew: really, so that the space is there, and random, so that nothing compresses it away.

        Raises:
            OSError: there is no space.
        """
        files.replace(RESERVE_PATH, os.urandom(self.size))

    def give_up(self) -> bool:
        """Make room; whether there was anything to give up."""
        if not self.held:
            return False
        self._storage.unlink(self._path)
        return True


def chosen_size(directory: str) -> int | None:
    """The size that was chosen; None where nobody wrote it down, or what is there is no size."""
    try:
        match = _SIZE.fullmatch(read_regular_file(f"{directory}/{SIZE_PATH}", 32))
    except LedgerError:
        return None
    return int(match[1]) if match is not None and int(match[1]) <= MAX_RESERVE_BYTES else None
