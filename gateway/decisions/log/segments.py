"""The decision log's files: one JSON document a line, for each day (of the decision's id, UTC) one or more segments.

    decisions/2026-11-26.000.jsonl

A segment only grows, up to a size. Retention takes away whole segments, the oldest first. The folder is 0700 and the
files 0600: inputs name institutions and facts that stay in this zone.
"""

from __future__ import annotations

import datetime
import os
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import BinaryIO, Final

from gateway.decisions.log.record import LINE_MAX, Record
from gateway.errors import IntegrityError, NotFoundError, StorageError
from gateway.model.ids import parse_uuid7, uuid7_unix_ms
from gateway.model.limits import MIB

SEGMENT_MAX: Final = 64 * MIB
_STEP: Final = 64 * 1024
_NAME: Final = re.compile(r"(?P<day>\d{4}-\d\d-\d\d)\.(?P<number>\d{3,6})\.jsonl", re.ASCII)


class Segments:
    """The files of one zone's decision log. Blocking; callers on the event loop use a thread.

    Durability: `append` returns after the lines are on disk. A line that a crash tore is cut off by the next append.

    Args:
        folder: `decisions` of the zone's directory.
        segment_max: bytes after which a new segment is begun.
    """

    def __init__(self, folder: Path, *, segment_max: int = SEGMENT_MAX) -> None:
        self._folder = folder
        self._segment_max = segment_max

    def append(self, records: Sequence[Record]) -> None:
        """Write records, each into its day.

        Raises:
            StorageError: they could not be made durable; some may stand there all the same.
        """
        by_day: dict[str, list[bytes]] = {}
        for record in records:
            by_day.setdefault(day_of(record.id), []).append(record.encode())
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            for day, lines in by_day.items():
                self._write(day, lines)
        except OSError as error:
            raise StorageError(
                f"the decision log cannot be written: {error.strerror}", remedy=f"look after {self._folder}"
            ) from error

    def _write(self, day: str, lines: list[bytes]) -> None:
        existing = self.files(day, day)
        number = int(_NAME.fullmatch(existing[-1].name)["number"]) if existing else 0  # type: ignore[index]  # listed
        while lines:
            path = self._folder / f"{day}.{number:03}.jsonl"
            fresh = not path.exists()
            handle = os.open(path, os.O_RDWR | os.O_CREAT | os.O_NOFOLLOW | os.O_CLOEXEC, 0o600)
            with os.fdopen(handle, "r+b") as file:
                size = _cut(file)
                taken = 0
                while taken < len(lines) and (size == 0 or size < self._segment_max):
                    file.write(lines[taken])
                    size += len(lines[taken])
                    taken += 1
                file.flush()
                os.fsync(file.fileno())
            if fresh:
                _sync_folder(self._folder)
            lines = lines[taken:]
            number += 1

    def files(self, first: str = "", last: str = "9999") -> list[Path]:
        """The segments of days from `first` to `last`, both included, in their order."""
        try:
            names = os.listdir(self._folder)
        except FileNotFoundError:
            return []
        except OSError as error:
            raise StorageError(f"{self._folder} cannot be read: {error.strerror}", remedy="check its rights") from error
        found = [match for name in names if (match := _NAME.fullmatch(name)) and first <= match["day"] <= last]
        return [self._folder / m[0] for m in sorted(found, key=lambda m: (m["day"], int(m["number"])))]

    def records(self, since: int = 0) -> Iterator[Record]:
        """All records decided at or after a time, by day and in the order they were written.

        Args:
            since: Unix seconds UTC.

        Raises:
            StorageError: a file cannot be read.
            IntegrityError: a line is damaged.
        """
        first = _day(max(0, since - 86_400))  # the id's clock and the decision's differ at midnight
        for path in self.files(first):
            for line in _lines(path):
                record = Record.read(line)
                if record.at >= since:
                    yield record

    def find(self, decision_id: str) -> Record:
        """One record.

        Raises:
            NotFoundError: it is not here (any more).
            IntegrityError: its line is damaged.
            InputError: that is no decision's id.
        """
        day = day_of(parse_uuid7(decision_id))
        mark = f'"id":"{decision_id}"'.encode()
        for path in self.files(day, day):
            for line in _lines(path):
                if mark in line and (record := Record.read(line)).id == decision_id:
                    return record
        raise NotFoundError(
            f"no decision {decision_id} in {self._folder}", remedy="it was never recorded, or retention took it away"
        )

    def known(self, decision_ids: Sequence[str]) -> set[str]:
        """Which of some decisions are here already."""
        wanted = set(decision_ids)
        days = sorted({day_of(each) for each in wanted})
        found: set[str] = set()
        for day in days:
            for path in self.files(day, day):
                found |= {record.id for line in _lines(path) if (record := Record.read(line)).id in wanted}
        return found

    def retain(self, *, days: int, most: int, now: int) -> int:
        """Take away segments of days that are over for longer than `days`, and the oldest beyond `most` bytes.

        Returns:
            How many segments were taken away. The newest segment always stays.
        """
        files = self.files()
        oldest = _day(max(0, now - days * 86_400))
        sizes = {path: path.stat().st_size for path in files}
        total = sum(sizes.values())
        removed = 0
        for path in files[:-1]:
            if path.name[:10] >= oldest and total <= most:
                break
            try:
                path.unlink()
            except OSError as error:
                raise StorageError(f"{path} cannot be taken away: {error.strerror}", remedy="check rights") from error
            total -= sizes[path]
            removed += 1
        return removed


def day_of(decision_id: str) -> str:
    """The day of a decision's id, UTC."""
    return _day(uuid7_unix_ms(decision_id) // 1_000)


def _day(seconds: int) -> str:
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).date().isoformat()


def _cut(file: BinaryIO) -> int:
    """Cut a torn last line off; where to write on."""
    size = file.seek(0, os.SEEK_END)
    end = size
    while end > 0:
        start = max(0, end - _STEP)
        file.seek(start)
        at = file.read(end - start).rfind(b"\n")
        if at >= 0:
            end = start + at + 1
            break
        end = start
    if end != size:
        file.truncate(end)
    return file.seek(end)


def _sync_folder(folder: Path) -> None:
    handle = os.open(folder, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def _lines(path: Path) -> Iterator[bytes]:
    """Whole lines; a last one without its line feed was torn by a crash and does not count."""
    try:
        with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
            while line := file.readline(LINE_MAX + 1):
                if len(line) > LINE_MAX:
                    raise IntegrityError(f"{path}: a line is longer than {LINE_MAX} bytes")
                if line.endswith(b"\n"):
                    yield line
    except OSError as error:
        raise StorageError(f"{path} cannot be read: {error.strerror}", remedy="check its rights") from error
