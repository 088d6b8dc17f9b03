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
    TimeElapsedColumn,
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


class Steps(Protocol):
    """What is called at every step of something that has few of them."""

    def __call__(self, text: str, done: int, total: int, /) -> None:
        """Show what is done now, and how many of how many; a total of 0 is not known."""


@contextmanager
def steps(what: str, *, quiet: bool = False) -> Iterator[Steps]:
    """Steps on standard error for the time of a command.

    Args:
        what: names the thing that is worked at.
        quiet: show nothing.
    """
    if quiet:
        yield lambda _text, _done, _total: None
    elif stderr.is_terminal:
        columns = (
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.fields[note]}"),
            TimeElapsedColumn(),
        )
        with Bars(*columns, console=stderr, transient=True) as bars:
            task = bars.add_task(what, total=None, note="")
            yield lambda text, done, total: bars.update(task, completed=done, total=total or None, note=text)
    else:
        yield _StepLines(what)


class _StepLines:
    """A line for every other step, and now and then one for a step that goes on."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._text = ""
        self._last = time.monotonic()

    def __call__(self, text: str, done: int, total: int, /) -> None:
        now = time.monotonic()
        if text == self._text and now - self._last < _LINE_EVERY_S:
            return
        self._text, self._last = text, now
        stderr.print(f"{self._what}: {text}" + (f", {done} of {total}" if total else ""), markup=False)


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
