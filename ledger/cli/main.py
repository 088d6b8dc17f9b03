"""Entry point of ``tdz-ledger``. Exit codes: 0 verified, 1 tampering found, 2 operational error, 3 incomplete."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import NoReturn

from ledger.cli import disclose, operate
from ledger.cli.diff_peer import add_diff_peer
from ledger.cli.export import add_export
from ledger.cli.fsck import add_fsck
from ledger.cli.head import head
from ledger.cli.lineage import add_lineage
from ledger.cli.monitor import add_monitor
from ledger.cli.prove import add_prove
from ledger.cli.recover import add_recover
from ledger.cli.replay import add_replay
from ledger.cli.report import add_report
from ledger.cli.show import add_filters, show
from ledger.cli.sql import add_index, add_sql
from ledger.cli.timestamp import register as register_timestamp
from ledger.cli.trust import add_trust
from ledger.cli.verify import add_verify
from ledger.cli.witness import register as register_witness
from ledger.errors import IncompleteError, LedgerError, TamperedError

__all__ = ["main", "run"]


class _Parser(argparse.ArgumentParser):
    """Errors as one line with a remedy, as everywhere."""

    def error(self, message: str) -> NoReturn:
        sys.stderr.write(f"{self.prog}: {message} (see {self.prog} --help)\n")
        raise SystemExit(2)


def run() -> None:
    """The console script."""
    sys.exit(main(sys.argv[1:]))


def main(arguments: Sequence[str]) -> int:
    """Run one command.

    Returns:
        The exit code.
    """
    parsed = _parser().parse_args(arguments)
    command: Callable[[argparse.Namespace], int] = parsed.command
    try:
        code = command(parsed)
        sys.stdout.flush()
    except BrokenPipeError:
        # The reader of a pipe went away; nobody is left to tell.
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 2
    except TamperedError as error:
        return _fail(str(error), 1)
    except IncompleteError as error:
        return _fail(str(error), 3)
    except LedgerError as error:
        return _fail(str(error), 2)
    except OSError as error:
        return _fail(f"{error.filename or 'input or output'}: {error.strerror} (check the path and its rights)", 2)
    except KeyboardInterrupt:
        return _fail("interrupted; nothing was judged to the end (run it again)", 3)
    return code


def _fail(text: str, code: int) -> int:
    sys.stderr.write(f"tdz-ledger: {text}\n")
    return code


def _parser() -> argparse.ArgumentParser:
    parser = _Parser(prog="tdz-ledger", description="Read and verify a zone's ledger, offline and without trust.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document")
    common.add_argument(
        "--vkey", metavar="KEY", help="the log's verifier key or a file that holds it; default: the directory's own"
    )

    operate.register(commands)
    disclose.register(commands)

    command = commands.add_parser("head", parents=[common], help="what the log says about itself, and who saw it")
    _directory(command)
    add_trust(command)
    command.set_defaults(command=head)

    command = commands.add_parser("show", parents=[common], help="one entry by number, or all of a subject")
    command.add_argument("what", metavar="SEQ|SUBJECT", help="an entry's number, a subject or its first parts, or all")
    _directory(command)
    add_trust(command)
    add_filters(command)
    command.set_defaults(command=show)

    add_prove(
        commands.add_parser("prove", help="a small file that proves an entry, or a checkpoint from another"), common
    )
    add_verify(
        commands.add_parser("verify", parents=[common], help="every entry, chain, tile and signature; or a proof")
    )
    add_fsck(commands.add_parser("fsck", parents=[common], help="the operator's: private files and statements too"))
    add_export(commands.add_parser("export", parents=[common], help="a self-contained copy, verified"))
    add_monitor(commands.add_parser("monitor", parents=[common], help="follow a log, verify what is new, alert"))
    add_recover(commands, common)
    register_timestamp(commands)
    register_witness(commands)
    add_sql(commands, common)
    add_index(commands, common)
    add_diff_peer(commands, common)
    add_lineage(commands, common)
    add_report(commands, common)
    add_replay(commands, common)
    return parser


def _directory(command: argparse.ArgumentParser) -> None:
    command.add_argument(
        "directory", metavar="DIR", type=Path, nargs="?", default=Path(), help="the ledger's folder; default: here"
    )
