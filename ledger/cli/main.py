"""Entry point of ``tdz-ledger``. Exit codes: 0 verified, 1 tampering found, 2 operational error, 3 incomplete."""

from __future__ import annotations

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import NoReturn

from ledger.cli.commands import add
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
    parsed = _parser(next(iter(arguments), "")).parse_args(arguments)
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


def _parser(wanted: str = "") -> argparse.ArgumentParser:
    """The parser of one command, or of all."""
    parser = _Parser(prog="tdz-ledger", description="Read and verify a zone's ledger, offline and without trust.")
    commands = parser.add_subparsers(metavar="COMMAND", required=True)
    common = _Parser(add_help=False)
    common.add_argument("--json", action="store_true", help="print one JSON document")
    common.add_argument(
        "--vkey", metavar="KEY", help="the log's verifier key or a file that holds it; default: the directory's own"
    )
    add(wanted, commands, common)
    return parser
