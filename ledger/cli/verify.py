"""``tdz-ledger verify``: a directory, a proof, a disclosure, a checkpoint or evidence of a fork."""

from __future__ import annotations

import argparse
import sys
import time
from pathlib import Path

from ledger.cli.evidence import is_evidence, verify_evidence
from ledger.cli.output import print_json
from ledger.cli.trust import Given, add_trust, add_tsa, duration, given, read_input, tsa_authorities
from ledger.entry import MAX_ENTRY_BYTES
from ledger.note import MAX_NOTE_BYTES
from ledger.proof_set import MAX_SET_BYTES, SetReport, is_proof_set, verify_set
from ledger.report import Report
from ledger.verify import verify_directory
from ledger.verify_file import FileReport, verify_file
from ledger.workers import processors

MAX_WORKERS = 256

__all__ = ["Progress", "add_judging", "add_verify", "emit", "plain"]


def add_verify(command: argparse.ArgumentParser) -> None:
    """Add the options of ``verify``."""
    command.add_argument(
        "what",
        metavar="DIR|FILE",
        type=Path,
        nargs="?",
        default=Path(),
        help="a ledger's folder; or one file: a proof, a disclosure, a signed checkpoint, evidence; default: here",
    )
    add_trust(command)
    add_judging(command)
    command.add_argument(
        "--entry", metavar="FILE", type=Path, help="the bytes of the entry, for a proof that does not carry them"
    )
    command.set_defaults(command=verify)


def add_judging(command: argparse.ArgumentParser) -> None:
    """Add what verifications of directories share."""
    command.add_argument(
        "--seen", metavar="CHECKPOINT", type=Path, help="a signed checkpoint that you kept: it must be a prefix"
    )
    command.add_argument(
        "--max-age", metavar="D", type=duration, help="how old the newest cosignature may be, as 90s, 15m, 24h or 7d"
    )
    add_tsa(command)
    command.add_argument(
        "--workers", metavar="N", type=_workers, default=processors(), help="processes; default: one for each processor"
    )


def _workers(text: str) -> int:
    if not text.isascii() or not text.isdecimal() or not 1 <= int(text[:9]) <= MAX_WORKERS:
        raise argparse.ArgumentTypeError(f"{text!r} is no number of processes from 1 to {MAX_WORKERS}")
    return int(text)


def verify(arguments: argparse.Namespace) -> int:
    """Verify what is named and print the report."""
    keys = given(arguments)
    seen = read_input(arguments.seen, MAX_NOTE_BYTES) if arguments.seen else None
    if arguments.what.is_file():
        entry = read_input(arguments.entry, MAX_ENTRY_BYTES) if arguments.entry else None
        data = read_input(arguments.what, MAX_SET_BYTES)
        if is_evidence(data):
            vkeys = [str(each.vkey) for each in keys.trust.all_logs]
            return verify_evidence(arguments.what, data, vkeys, as_json=arguments.json)
        statement_keys = keys.statement_keys
        if is_proof_set(data):
            return emit(verify_set(data, keys.trust, keys=statement_keys, max_age=arguments.max_age), keys, arguments)
        single = verify_file(data, keys.trust, entry=entry, keys=statement_keys, seen=seen, max_age=arguments.max_age)
        return emit(single, keys, arguments)
    with Progress("verifying") as progress:
        report = verify_directory(
            arguments.what,
            trust=keys.trust,
            seen=seen,
            max_age=arguments.max_age,
            progress=progress,
            workers=arguments.workers,
            tsa_ca=tsa_authorities(arguments),
        )
    return emit(report, keys, arguments)


def emit(report: Report | FileReport | SetReport, keys: Given, arguments: argparse.Namespace) -> int:
    """Print a report; returns its exit code."""
    report.notices[:0] = keys.lines
    if arguments.json:
        print_json(report.as_json())
    else:
        sys.stdout.write("".join(f"{plain(line)}\n" for line in report.lines()))
    return report.exit_code


class Progress:
    """A line on a terminal's standard error, a few times a second, once it takes longer than that."""

    def __init__(self, what: str) -> None:
        self._what = what
        self._start = self._last = time.monotonic()
        self._terminal = sys.stderr.isatty()
        self._shown = False

    def __enter__(self) -> Progress:
        return self

    def __exit__(self, *_: object) -> None:
        if self._shown:
            sys.stderr.write("\r\x1b[K")

    def __call__(self, done: int, total: int) -> None:
        now = time.monotonic()
        if not self._terminal or now - self._last < 0.25:
            return
        self._last = now
        left = (now - self._start) * (total - done) / max(done, 1)
        sys.stderr.write(f"\r\x1b[K{self._what}: {done:,} of {total:,} entries, {left:.0f} s left")
        sys.stderr.flush()
        self._shown = True


def plain(line: str) -> str:
    """What a log says must not move a terminal's cursor."""
    return "".join(each if each.isprintable() else "\ufffd" for each in line)
