"""``tdz-ledger verify``."""

from __future__ import annotations

import argparse
import sys
import time

from ledger.cli.evidence import is_evidence, verify_evidence
from ledger.cli.output import key_argument, print_json
from ledger.verify import verify_directory

__all__ = ["verify"]


def verify(arguments: argparse.Namespace) -> int:
    """Verify a directory, or evidence of a fork, and print the report."""
    if is_evidence(arguments.directory):
        return verify_evidence(arguments.directory, key_argument(arguments.vkey), as_json=arguments.json)
    progress = _Progress() if sys.stderr.isatty() else None
    try:
        report = verify_directory(
            arguments.directory,
            vkey=key_argument(arguments.vkey),
            witness_vkeys=[key for each in arguments.witness_vkey if (key := key_argument(each))],
            progress=progress,
        )
    finally:
        if progress is not None:
            progress.clear()
    if arguments.json:
        print_json(report.as_json())
    else:
        sys.stdout.write("".join(f"{line}\n" for line in report.lines()))
    return report.exit_code


class _Progress:
    """A line on a terminal's standard error, a few times a second, once it takes longer than that."""

    def __init__(self) -> None:
        self._start = self._last = time.monotonic()
        self._shown = False

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._last < 0.25:
            return
        self._last = now
        left = (now - self._start) * (total - done) / max(done, 1)
        sys.stderr.write(f"\r\x1b[Kverifying: {done:,} of {total:,} entries, {left:.0f} s left")
        sys.stderr.flush()
        self._shown = True

    def clear(self) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")
