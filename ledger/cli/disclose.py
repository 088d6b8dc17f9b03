"""``tdz-ledger disclose`` and ``disclosed``: show a value behind a commitment, and check one that was shown."""

from __future__ import annotations

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from ledger import canonical
from ledger.cli.output import key_argument, print_json, printable
from ledger.disclosure import make_disclosure, read_disclosure, stored_entry, verify_disclosure
from ledger.errors import OperationalError, TamperedError
from ledger.report import Witnessed

__all__ = ["register"]


def register(commands: Any) -> None:
    """Add the two commands."""
    command = commands.add_parser("disclose", help="a small file that shows a value behind a commitment, and proves it")
    command.add_argument("seq", metavar="SEQ", type=int, help="the entry's number")
    command.add_argument("field", metavar="FIELD", help="the member of its body, as approver or /body/approver")
    command.add_argument("directory", metavar="DIR", type=Path, help="the ledger's folder, with its state/")
    command.add_argument("--output", "-o", metavar="FILE", type=Path, help="default: standard output")
    command.set_defaults(command=_disclose)
    command = commands.add_parser("disclosed", help="check a file that disclose made")
    command.add_argument("file", metavar="FILE", type=Path, help="the disclosure")
    command.add_argument("--vkey", metavar="KEY", required=True, help="the log's key or a file that holds it")
    command.add_argument("--witness-vkey", metavar="KEY", action="append", default=[], help="a witness's key")
    command.add_argument("--log", metavar="DIR", type=Path, help="compare with this copy of the log too")
    command.add_argument("--json", action="store_true", help="print one JSON document")
    command.set_defaults(command=_disclosed)


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
    sys.stdout.write(f"{output}: discloses {arguments.field} of entry {arguments.seq} to whoever has it\n")
    return 0


def _disclosed(arguments: argparse.Namespace) -> int:
    vkey = key_argument(arguments.vkey)
    witnesses = [key for each in arguments.witness_vkey if (key := key_argument(each))]
    data = read_disclosure(arguments.file)
    found = verify_disclosure(data.removesuffix(b"\n"), vkey=vkey or "", witness_vkeys=witnesses)
    entry = found.entry
    if arguments.log is not None and stored_entry(arguments.log, entry.seq) != entry.encode():
        raise TamperedError(f"entry {entry.seq} of {arguments.log} is another one")
    seen = Witnessed(found.checkpoint.size, found.cosignatures) if found.cosignatures else None
    if arguments.json:
        print_json(
            {
                "entry": entry.seq,
                "field": found.field,
                "kind": entry.kind,
                "ok": True,
                "origin": found.checkpoint.origin,
                "subject": entry.subject,
                "time": entry.time,
                "value": found.value,
                "witnessed": [*seen.names] if seen else [],
            }
        )
        return 0
    by = f"witnessed at {seen.time} by {', '.join(seen.names)}" if seen else "witnessed by no known key"
    value = canonical.encode(found.value).decode()
    sys.stdout.write(
        f"verified: {found.checkpoint.origin}, entry {entry.seq}, size {found.checkpoint.size}, {by}\n"
        + printable((entry.time, entry.kind, entry.subject))
        + "\n"
        + printable((found.field, value))
        + "\n"
    )
    return 0
