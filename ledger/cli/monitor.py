"""``tdz-ledger monitor``: follow a log and alert."""

from __future__ import annotations

import argparse
import json
import sys
import time
from pathlib import Path

from ledger.cli.trust import add_trust, duration, given
from ledger.cli.verify import Progress, plain
from ledger.monitor import Event, Monitor
from ledger.workers import processors

__all__ = ["add_monitor"]


def add_monitor(command: argparse.ArgumentParser) -> None:
    """Add the options of ``monitor``."""
    command.add_argument("directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the log's folder")
    add_trust(command)
    command.add_argument("--once", action="store_true", help="look once and end: for timers; needs --state to compare")
    command.add_argument("--state", metavar="FILE", type=Path, help="where to keep what was seen, for the next start")
    command.add_argument(
        "--interval", metavar="D", type=duration, default=10, help="how often to look, as 10s or 5m; default 10s"
    )
    command.add_argument(
        "--max-age", metavar="D", type=duration, help="alert when the newest cosignature is older, as 15m, 24h or 7d"
    )
    command.set_defaults(command=monitor)


def monitor(arguments: argparse.Namespace) -> int:
    """Print a line an event until an alert, which ends with exit code 1."""
    watching = Monitor(arguments.directory, given(arguments).trust, state=arguments.state, max_age=arguments.max_age)
    while True:
        with Progress("verifying") as progress:
            events = watching.look(progress, processors())
        for event in events:
            _print(event, as_json=arguments.json)
        if any(event.kind == "alert" for event in events):
            return 1
        if arguments.once:
            return 0
        time.sleep(arguments.interval)  # the directory tells nobody when it grows


def _print(event: Event, *, as_json: bool) -> None:
    """One line an event: with ``--json`` one document a line."""
    text = json.dumps(event.as_json(), sort_keys=True) if as_json else plain(event.line)
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()
