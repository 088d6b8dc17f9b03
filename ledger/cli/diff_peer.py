"""``tdz-ledger diff-peer``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from itertools import chain
from pathlib import Path
from typing import Any, Final

from ledger.canonical import JsonValue
from ledger.cli.output import printable
from ledger.cli.pair import add_peer, fill, two
from ledger.cli.trust import given
from ledger.compare.item import Item, Standing, Tally
from ledger.compare.judge import Judge, agreements, transfers
from ledger.compare.judge_decisions import decisions, negotiations
from ledger.compare.judge_runs import receipts, rounds, runs
from ledger.facts.store import FactStore

__all__ = ["add_diff_peer", "compared", "older"]

_LISTED: Final = 200
_QUIET: Final = (Standing.SAME, Standing.OPEN, Standing.ENDED_ALONE)


def add_diff_peer(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register ``diff-peer``."""
    command = commands.add_parser("diff-peer", parents=[common], help="what stands on both zones' ledgers, and not")
    command.add_argument("directory", metavar="DIR", type=Path, help="one zone's ledger")
    add_peer(command)
    command.add_argument("--all", action="store_true", help="list what is the same too")
    command.set_defaults(command=_diff_peer)


def compared(judge: Judge) -> Iterator[Item]:
    """Everything that is compared, in the order in which it happens."""
    return chain(*(each(judge) for each in (negotiations, decisions, agreements, transfers, receipts, runs, rounds)))


def _diff_peer(arguments: argparse.Namespace) -> int:
    one, other = two(arguments)
    with FactStore() as store:
        fill(store, [one, other])
        judge = Judge(store, one, other)
        print_items = _print_json if arguments.json else _print_text
        return print_items(judge, arguments.all, given(arguments).lines)


def _exit_code(judge: Judge, tally: Tally) -> int:
    code = tally.exit_code
    return 3 if code == 0 and older(judge) else code


def older(judge: Judge) -> list[str]:
    """Sides of which the other has seen more than the copy here has."""
    return [
        f"this copy of {side.zone} has {side.size} entries; the other zone has seen {side.seen}"
        for side in (judge.one, judge.two)
        if side.seen > side.size
    ]


def _head(judge: Judge) -> list[str]:
    lines = []
    for side in (judge.one, judge.two):
        own = "; its key was taken from the directory itself" if side.log.own_key else ""
        lines.append(
            f"{side.zone}: {side.size} entries to {side.until or 'none'}, "
            f"{side.mirrored} of them mirrored by the other zone{own}"
        )
    return lines


def _print_text(judge: Judge, everything: bool, cards: list[str]) -> int:
    tally, listed = Tally(), 0
    first: Item | None = None
    sys.stdout.write("".join(f"{line}\n" for line in (*_head(judge), *cards)))
    for item in compared(judge):
        tally.add(item)
        if item.standing.bad and first is None:
            first = item
        if not everything and item.standing in _QUIET:
            continue
        listed += 1
        if everything or listed <= _LISTED:
            entries = ", ".join(f"{zone} {seq}" for zone, seq in sorted(item.seqs.items()))
            text = f": {item.text}" if item.text else ""
            sys.stdout.write(printable([f"  {item.standing.value}: {item.kind} {item.id}{text} ({entries})"]) + "\n")
    if not everything and listed > _LISTED:
        sys.stdout.write(f"  and {listed - _LISTED} more; --json lists all\n")
    for kind, counts in tally.counts.items():
        told = ", ".join(f"{count} {standing.value}" for standing, count in sorted(counts.items()))
        sys.stdout.write(f"{kind}s: {told}\n")
    sys.stdout.write("".join(f"note: {line}\n" for line in older(judge)))
    code = _exit_code(judge, tally)
    if first is not None and first.entry is not None:
        bad = tally.total(Standing.ONE_SIDE) + tally.total(Standing.DIFFERS)
        sys.stdout.write(f"DIVERGENCE: {bad}; the first rests on entry {first.entry[1]} of {first.entry[0]}\n")
    else:
        sys.stdout.write("both ledgers say the same\n" if code == 0 else "INCOMPLETE: not everything could be judged\n")
    return code


def _print_json(judge: Judge, everything: bool, cards: list[str]) -> int:
    tally = Tally()
    sys.stdout.write('{"items": [')
    separator = "\n "
    for item in compared(judge):
        tally.add(item)
        if everything or item.standing not in _QUIET:
            sys.stdout.write(separator + json.dumps(item.as_json(), ensure_ascii=False, sort_keys=True))
            separator = ",\n "
    code = _exit_code(judge, tally)
    rest: dict[str, JsonValue] = {
        "cards": [*cards],
        "counts": tally.as_json(),
        "exit_code": code,
        "ledgers": {
            side.zone: {
                "key_from_directory": side.log.own_key,
                "last_entry_time": side.until,
                "mirrored": side.mirrored,
                "seen": side.seen,
                "size": side.size,
            }
            for side in (judge.one, judge.two)
        },
        "notices": [*older(judge)],
        "ok": code == 0,
    }
    sys.stdout.write(f"],\n{json.dumps(rest, ensure_ascii=False, sort_keys=True)[1:]}\n")
    return code
