"""Bundles judged by several processes at once, handed on in their order."""

from __future__ import annotations

import multiprocessing
import os
import signal
from collections import deque
from collections.abc import Generator, Iterable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from typing import Any, Final, Protocol, TypeVar

from ledger.errors import OperationalError

__all__ = ["Checker", "checked_bundles", "processors"]

T = TypeVar("T")
R = TypeVar("R")
T_contra = TypeVar("T_contra", contravariant=True)
R_co = TypeVar("R_co", covariant=True)

_TASKS_AT_ONCE: Final = 8
"""Bundles in one message to a worker."""
_AHEAD: Final = 3
"""Messages for each worker that may wait: what bounds the memory."""
_WORTH_IT: Final = 24
"""Below so many bundles the processes take longer to start than to work."""


def processors() -> int:
    """The processors that this process may use."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


class Checker(Protocol[T_contra, R_co]):
    """Judges one bundle after another. Pickles, so that each worker process has its own."""

    def check(self, task: T_contra, /) -> R_co:
        """Judge one bundle."""

    def close(self) -> None:
        """Let go of what it opened."""


def checked_bundles(checker: Checker[T, R], tasks: Iterable[T], count: int, workers: int) -> Generator[R, None, None]:
    """Judge bundles, in this process or in others.

    Args:
        checker: judges them.
        tasks: by ascending index; taken as they are needed.
        count: how many they are.
        workers: how many processes; 0 and 1 mean this one.

    Raises:
        OperationalError: a worker process died.
        LedgerError: what the checker raises.
    """
    if workers < 2 or count < _WORTH_IT:
        try:
            for task in tasks:
                yield checker.check(task)
        finally:
            checker.close()
        return
    # Started anew, never forked: the caller may have threads.
    context = multiprocessing.get_context("spawn")
    pool = ProcessPoolExecutor(workers, context, _start, (checker,))
    waiting: deque[Future[list[R]]] = deque()
    batches = _batches(tasks)
    try:
        for batch in islice(batches, workers * _AHEAD):
            waiting.append(pool.submit(_check, batch))
        while waiting:
            done = waiting.popleft().result()
            for batch in islice(batches, 1):
                waiting.append(pool.submit(_check, batch))
            yield from done
    except BrokenProcessPool as error:
        raise OperationalError("a worker process ended", remedy="free memory, or use --workers 1") from error
    finally:
        pool.shutdown(wait=True, cancel_futures=True)


def _batches(tasks: Iterable[T]) -> Iterator[tuple[T, ...]]:
    left = iter(tasks)
    while batch := tuple(islice(left, _TASKS_AT_ONCE)):
        yield batch


_checker: Any = None


def _start(checker: Any) -> None:
    global _checker
    _checker = checker
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # the first process says what happened


def _check(tasks: tuple[Any, ...]) -> list[Any]:
    if _checker is None:
        raise OperationalError("a worker process has nothing to judge by")
    return [_checker.check(task) for task in tasks]
