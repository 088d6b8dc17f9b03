"""A line of progress on a terminal's standard error."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Final

__all__ = ["progress_line"]

_EVERY_S: Final = 0.25


@contextmanager
def progress_line(what: str) -> Iterator[Callable[[int, int], None] | None]:
    """Something to call with entries done and in all; None where nobody watches."""
    if not sys.stderr.isatty():
        yield None
        return
    begun = last = time.monotonic()

    def show(done: int, total: int) -> None:
        nonlocal last
        now = time.monotonic()
        if now - last < _EVERY_S:
            return
        last = now
        left = (now - begun) * (total - done) / max(done, 1)
        sys.stderr.write(f"\r\x1b[K{what}: {done:,} of {total:,} entries, {left:.0f} s left")
        sys.stderr.flush()

    try:
        yield show
    finally:
        if last != begun:
            sys.stderr.write("\r\x1b[K")
