"""``tdz-ledger report``."""

from __future__ import annotations

import argparse
import os
import sys
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ledger.canonical import JsonValue
from ledger.cli.diff_peer import compared, older
from ledger.cli.output import print_json, printable
from ledger.cli.pair import add_peer, fill, one_or_two, trusts
from ledger.cli.progress import progress_line
from ledger.cli.trust import given
from ledger.compare.item import Item, Tally
from ledger.compare.judge import Judge
from ledger.compare.sides import Side
from ledger.errors import OperationalError
from ledger.facts.merged import merge
from ledger.facts.store import FactStore
from ledger.reporting.account import Account, give_account
from ledger.reporting.page import Verdict, page
from ledger.reporting.scope import Scope
from ledger.reporting.terminal import lines
from ledger.verify import verify_directory
from ledger.workers import processors

__all__ = ["add_report"]

_MOST_ITEMS: Final = 100
_MOST_ROWS: Final = 50_000


def add_report(commands: Any, common: argparse.ArgumentParser) -> None:
    """Register ``report``."""
    command = commands.add_parser("report", parents=[common], help="what crossed, who, why: a page for people")
    command.add_argument("directory", metavar="DIR", type=Path, help="one zone's ledger")
    add_peer(command)
    command.add_argument("-o", "--output", metavar="FILE", type=Path, help="write an HTML page; else print a summary")
    command.add_argument("--participant", metavar="ID|URI", default="", help="only what an institution takes part in")
    named = command.add_mutually_exclusive_group()
    named.add_argument("--dataset", metavar="ID", default="", help="only this dataset")
    named.add_argument("--model", metavar="ID", default="", help="only this model")
    command.add_argument("--from", metavar="DAY", dest="since", default="", help="from this day on, YYYY-MM-DD")
    command.add_argument("--to", metavar="DAY", dest="until", default="", help="up to this day, YYYY-MM-DD")
    command.add_argument("--rows", metavar="N", type=int, default=1000, help="rows of each list; default 1000")
    command.set_defaults(command=_report)


def _report(arguments: argparse.Namespace) -> int:
    if not 1 <= arguments.rows <= _MOST_ROWS:
        raise OperationalError(f"--rows is 1 to {_MOST_ROWS}")
    scope = Scope(arguments.participant, _resource(arguments), arguments.since, arguments.until)
    sides = one_or_two(arguments)
    verdict = Verdict(_verified(sides, arguments), None, [], [], given(arguments).lines)
    with FactStore() as store:
        account: Account | None = None
        if not any(each.findings for each in verdict.reports):
            fill(store, sides)
            merge(store)
            if len(sides) == 2:
                _compare(store, sides, verdict)
            account = give_account(store, scope, limit=arguments.rows)
        if arguments.output is not None:
            _write(arguments.output, account, store, verdict)
    if arguments.json:
        print_json(_document(account, verdict))
    elif arguments.output is not None:
        sys.stdout.write(f"{verdict.words()}\nwrote {arguments.output}\n")
    else:
        for line in lines(account, verdict):
            sys.stdout.write(printable([line]) + "\n")
    return verdict.exit_code


def _resource(arguments: argparse.Namespace) -> str:
    for kind, name in (("datasets", arguments.dataset), ("models", arguments.model)):
        if name:
            return str(name if name.startswith(f"{kind}/") else f"{kind}/{name}")
    return ""


def _verified(sides: list[Side], arguments: argparse.Namespace) -> list[Any]:
    reports = []
    for side, trust in zip(sides, trusts(arguments), strict=False):
        with progress_line(f"verifying {side.zone}") as progress:
            reports.append(verify_directory(side.log.directory, trust=trust, progress=progress, workers=processors()))
    return reports


def _compare(store: FactStore, sides: list[Side], verdict: Verdict) -> None:
    judge = Judge(store, sides[0], sides[1])
    verdict.tally, waiting = Tally(), list[Item]()
    for item in compared(judge):
        verdict.tally.add(item)
        if item.standing.bad and len(verdict.items) < _MOST_ITEMS:
            verdict.items.append(item)
        elif item.standing.undecided and len(waiting) < _MOST_ITEMS:
            waiting.append(item)
    verdict.items += waiting[: _MOST_ITEMS - len(verdict.items)]
    verdict.notices += older(judge)


def _write(output: Path, account: Account | None, store: FactStore, verdict: Verdict) -> None:
    """The whole file or none."""
    made_at = f"{datetime.now(UTC):%Y-%m-%dT%H:%M:%S}"
    part = output.with_name(f".{output.name}.part")
    try:
        with part.open("w", encoding="utf-8") as file:
            file.writelines(page(account, store, verdict, made_at))
        os.replace(part, output)
    finally:
        part.unlink(missing_ok=True)


def _document(account: Account | None, verdict: Verdict) -> JsonValue:
    return {
        "account": account.as_json() if account else None,
        "cards": [*verdict.cards],
        "compared": verdict.tally.as_json() if verdict.tally else None,
        "exit_code": verdict.exit_code,
        "items": [item.as_json() for item in verdict.items],
        "notices": [*verdict.notices],
        "ok": verdict.exit_code == 0,
        "summary": verdict.words(),
        "verified": [report.as_json() for report in verdict.reports],
    }
