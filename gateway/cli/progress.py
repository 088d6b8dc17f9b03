"""How far a long command is: a bar with rate and time left on a terminal, plain lines elsewhere."""

from __future__ import annotations

import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final, Protocol

from rich.progress import (
    BarColumn,
    DownloadColumn,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)
from rich.progress import Progress as Bars

from gateway.cli import show
from gateway.cli.output import stderr

if TYPE_CHECKING:
    from gateway.sdk import Progress

_LINE_EVERY_S: Final = 2.0


class Report(Protocol):
    """What the SDK calls after every step."""

    def __call__(self, progress: Progress, /) -> None:
        """Show it."""


@contextmanager
def report(what: str, *, quiet: bool = False) -> Iterator[Report]:
    """A report on standard error for the time of a command.

    Args:
        what: names the thing that moves.
        quiet: show nothing.
    """
    if quiet:
        yield lambda _progress: None
    elif stderr.is_terminal:
        with _bars() as bars:
            yield _Bar(bars, bars.add_task(what, total=None, note=""))
    else:
        yield _Lines(what)


class _Bar:
    def __init__(self, bars: Bars, task: TaskID) -> None:
        self._bars = bars
        self._task = task

    def __call__(self, progress: Progress, /) -> None:
        by_bytes = progress.bytes_total >= 0
        total: int | None = progress.bytes_total if by_bytes else progress.chunks_total
        fields: dict[str, Any] = {"note": f"reconnected {progress.reconnects}×" if progress.reconnects else ""}
        self._bars.update(
            self._task,
            completed=progress.bytes if by_bytes or total is None or total < 0 else progress.chunks,
            total=None if total is None or total < 0 else total,
            **fields,
        )


class _Lines:
    def __init__(self, what: str) -> None:
        self._what = what
        self._begun = self._last = time.monotonic()

    def __call__(self, progress: Progress, /) -> None:
        now = time.monotonic()
        if now - self._last < _LINE_EVERY_S:
            return
        self._last = now
        rate = progress.bytes / (now - self._begun)
        of = f" of {show.size(progress.bytes_total)}" if progress.bytes_total >= 0 else ""
        chunks = f", chunk {progress.chunks}" + (f" of {progress.chunks_total}" if progress.chunks_total >= 0 else "")
        stderr.print(f"{self._what}: {show.size(progress.bytes)}{of}{chunks}, {show.size(int(rate))}/s")


def _bars() -> Bars:
    return Bars(
        TextColumn("{task.description}"),
        BarColumn(),
        DownloadColumn(binary_units=True),
        TransferSpeedColumn(),
        TimeRemainingColumn(),
        TextColumn("[yellow]{task.fields[note]}"),
        console=stderr,
        transient=True,
    )
