"""``tdz-ledger fsck``: the operator's verification."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path

from ledger.cli.output import print_json
from ledger.cli.trust import add_trust, given, read_input, tsa_authorities
from ledger.cli.verify import Progress, add_judging, plain
from ledger.envelope import load_public_key
from ledger.fsck import check_everything
from ledger.note import MAX_NOTE_BYTES

__all__ = ["add_fsck"]


def add_fsck(command: argparse.ArgumentParser) -> None:
    """Add the options of ``fsck``."""
    command.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder; default: here"
    )
    add_trust(command)
    add_judging(command)
    command.add_argument(
        "--against-peer",
        metavar="PATH",
        type=Path,
        help="the peer's ledger or an export of it, with its mirror of this log: compare with that too",
    )
    command.add_argument(
        "--statement-key",
        metavar="PEM",
        action="append",
        default=[],
        type=Path,
        help="a public key (Ed25519 or P-256) that signs statements, beside those of the cards; may be given again",
    )
    command.add_argument("--no-envelopes", action="store_true", help="leave the signed statements inside entries out")
    command.set_defaults(command=fsck)


def fsck(arguments: argparse.Namespace) -> int:
    """Verify everything and print the reports."""
    keys = given(arguments)
    others = [load_public_key(str(path), read_input(path, MAX_NOTE_BYTES)) for path in arguments.statement_key]
    with Progress("checking") as progress:
        check = check_everything(
            arguments.directory,
            trust=keys.trust,
            cards=keys.cards,
            keys=others,
            with_envelopes=not arguments.no_envelopes,
            against_peer=arguments.against_peer,
            seen=read_input(arguments.seen, MAX_NOTE_BYTES) if arguments.seen else None,
            max_age=arguments.max_age,
            progress=progress,
            workers=arguments.workers,
            tsa_ca=tsa_authorities(arguments),
        )
    check.log.notices[:0] = keys.lines
    if arguments.json:
        print_json(check.as_json())
    else:
        sys.stdout.write("".join(f"{plain(line)}\n" for line in check.lines()))
    return check.exit_code
