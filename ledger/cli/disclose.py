"""``tdz-ledger disclose``: show a value behind a commitment to whoever gets the file; ``verify`` checks it."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ledger.cli.output import print_json
from ledger.disclosure import make_disclosure
from ledger.errors import OperationalError

__all__ = ["register"]


def register(commands: Any) -> None:
    """Add the command."""
    command = commands.add_parser("disclose", help="a small file that shows a value behind a commitment, and proves it")
    command.add_argument("seq", metavar="SEQ", type=int, help="the entry's number")
    command.add_argument("field", metavar="FIELD", help="the member of its body, as approver or /body/approver")
    command.add_argument("directory", metavar="DIR", type=Path, help="the ledger's folder, with its state/")
    command.add_argument("--output", "-o", metavar="FILE", type=Path, help="default: standard output")
    command.add_argument("--json", action="store_true", help="print one JSON document: the disclosure, or its file")
    command.set_defaults(command=_disclose)


def _disclose(arguments: argparse.Namespace) -> int:
    data = make_disclosure(arguments.directory, arguments.seq, arguments.field)
    output: Path | None = arguments.output
    if output is None:
        sys.stdout.write(data.decode() + "\n")
        return 0
    # It holds what may be personal data: for its maker alone, until they pass it on.
    try:
        handle = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
    except FileExistsError as error:
        raise OperationalError(f"{output} is there already", remedy="name another file") from error
    with os.fdopen(handle, "wb") as file:
        file.write(data)
    if arguments.json:
        print_json({"entry": arguments.seq, "field": arguments.field, "file": str(output)})
        return 0
    sys.stdout.write(f"{output}: discloses {arguments.field} of entry {arguments.seq} to whoever has it\n")
    return 0
