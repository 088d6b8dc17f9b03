"""``tdz-ledger timestamp``: have a checkpoint stamped by an RFC 3161 authority, and verify stamps."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from ledger.cli.output import open_log, print_json, printable
from ledger.cli.trust import add_trust, add_tsa, given, tsa_authorities
from ledger.timestamps import Timestamp, request_timestamp, verify_timestamps

__all__ = ["register"]


def register(commands: Any) -> None:
    """Put the command into the command tree.

    Args:
        commands: the subparsers of ``tdz-ledger``.
    """
    command = commands.add_parser("timestamp", help="have a checkpoint time-stamped (RFC 3161), or verify the stamps")
    command.add_argument("--json", action="store_true", help="print one JSON document")
    command.add_argument("--vkey", metavar="KEY", help="the log's verifier key or a file that holds it")
    add_trust(command)
    what = command.add_mutually_exclusive_group(required=True)
    what.add_argument("--tsa", metavar="URL", help="ask this authority")
    what.add_argument("--verify", action="store_true", help="verify every stamp in timestamps/")
    add_tsa(command)
    command.add_argument("--name", default="", help="what the file calls the authority; default: its host")
    command.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder; default: here"
    )
    command.set_defaults(command=timestamp)


def timestamp(arguments: argparse.Namespace) -> int:
    """Ask for a stamp, or verify those that are there."""
    ca = tsa_authorities(arguments)
    log = open_log(arguments.directory, given(arguments).trust)
    if arguments.verify:
        stamps = list(verify_timestamps(arguments.directory, log.checkpoint, ca=ca))
    else:
        cosigned = log.cosigned()
        wanted = cosigned[0] if cosigned else log.checkpoint
        stamps = [
            request_timestamp(arguments.directory, log.checkpoint, wanted, arguments.tsa, ca=ca, name=arguments.name)
        ]
    bad = [each for each in stamps if each.problem]
    code = 1 if bad else 0 if stamps and all(each.trusted for each in stamps) else 3
    if arguments.json:
        print_json(
            {"ok": code == 0, "origin": log.checkpoint.origin, "timestamps": [each.as_json() for each in stamps]}
        )
    else:
        for each in stamps:
            sys.stdout.write(f"{_line(each)}\n")
        sys.stdout.write(f"{_conclusion(stamps, bad)}\n")
    return code


def _conclusion(stamps: list[Timestamp], bad: list[Timestamp]) -> str:
    if bad:
        return printable((f"NOT VERIFIED: {bad[0].file}: {bad[0].problem}",))
    if not stamps:
        return "no time stamps (ask for one: tdz-ledger timestamp --tsa URL)"
    if not all(each.trusted for each in stamps):
        return "digests agree; whose signatures they are was not judged (give --tsa-ca FILE)"
    return f"verified: {len(stamps)} time stamps"


def _line(stamp: Timestamp) -> str:
    when = f"{stamp.time:%Y-%m-%d %H:%M:%S} UTC" if stamp.time else "no time"
    state = stamp.problem or ("verified" if stamp.trusted else "signature not judged")
    return printable((stamp.file, when, state))
