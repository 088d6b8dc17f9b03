"""``tdz-ledger show``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator
from typing import Final, NoReturn

from ledger.canonical import JsonValue
from ledger.cli.output import OpenedLog, open_log, print_json, printable
from ledger.cli.trust import given
from ledger.entry import Entry
from ledger.errors import EntryError, OperationalError, ProofError, TamperedError
from ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion

__all__ = ["add_filters", "proven_entry", "show"]

_EVERY: Final = "all"


def add_filters(command: argparse.ArgumentParser) -> None:
    """The options that narrow a list of entries."""
    command.add_argument("--kind", metavar="KIND", default="", help="only this kind, as transfer or transfer.completed")
    command.add_argument("--from", metavar="DAY", dest="since", default="", help="from this day on, YYYY-MM-DD")
    command.add_argument("--to", metavar="DAY", dest="until", default="", help="up to this day, YYYY-MM-DD")


def show(arguments: argparse.Namespace) -> int:
    """Print one entry, proven to stand under the checkpoint, or the entries of a subject."""
    keys = given(arguments)
    keys.tell()
    log = open_log(arguments.directory, keys.trust)
    what: str = arguments.what
    if what.isascii() and what.isdecimal():
        entry = proven_entry(log, int(what))
        if arguments.json:
            print_json(_document(entry))
        else:
            sys.stdout.write(json.dumps(_document(entry), indent=2, sort_keys=True) + "\n")
        return 0
    found, count = _of_subject(log, what, arguments), 0
    if arguments.json:
        for count, each in enumerate(found, 1):
            text = json.dumps(_document(each), ensure_ascii=False, indent=2, sort_keys=True)
            sys.stdout.write(f"{'[' if count == 1 else ','}\n{text}")
        sys.stdout.write("\n]\n" if count else "[]\n")
        return 0 if count else _nothing(arguments)
    for count, each in enumerate(found, 1):  # noqa: B007 (counts)
        sys.stdout.write(printable((f"{each.seq:>8}", each.time, f"{each.kind:<20}", each.subject)) + "\n")
    return 0 if count else _nothing(arguments)


def _nothing(arguments: argparse.Namespace) -> NoReturn:
    narrowed = " within --kind, --from and --to" if arguments.kind or arguments.since or arguments.until else ""
    text = f"no entry has the subject {arguments.what}{narrowed}"
    raise OperationalError(text, remedy="as transfers/<id>, or give a number")


def proven_entry(log: OpenedLog, seq: int) -> Entry:
    """An entry, proven to stand under the checkpoint.

    Raises:
        OperationalError: there is none of this number.
        TamperedError: it does not stand there.
    """
    size = log.checkpoint.size
    if seq >= size:
        raise OperationalError(f"the log has {size} entries", remedy=f"name one from 0 to {size - 1}")
    (data,) = log.reader.entries(seq, seq + 1, size)
    try:
        proof = inclusion_proof(log.reader.nodes(size), seq, size)
        verify_inclusion(leaf_hash(data), seq, size, proof, log.checkpoint.root)
        return Entry.parse(data, seq=seq)
    except (ProofError, EntryError) as error:
        raise TamperedError(f"entry {seq}: {error.message}", remedy="run tdz-ledger verify") from error


def _of_subject(log: OpenedLog, subject: str, arguments: argparse.Namespace) -> Iterator[Entry]:
    """The entries of a subject, or of every one; narrowed by kind and days."""
    size = log.checkpoint.size
    kind: str = arguments.kind
    below = subject.rstrip("/") + "/"
    for seq, data in enumerate(log.reader.entries(0, size, size)):
        try:
            entry = Entry.parse(data, seq=seq)
        except EntryError as error:
            raise TamperedError(f"entry {seq}: {error.message}", remedy="run tdz-ledger verify") from error
        if subject != _EVERY and entry.subject != subject and not entry.subject.startswith(below):
            continue
        if kind and entry.kind != kind and not entry.kind.startswith(f"{kind}."):
            continue
        if arguments.since <= entry.time and (not arguments.until or entry.time[:10] <= arguments.until):
            yield entry


def _document(entry: Entry) -> JsonValue:
    return {
        "body": entry.body,
        "id": entry.id,
        "kind": entry.kind,
        "prev": entry.prev.hex(),
        "seq": entry.seq,
        "subject": entry.subject,
        "time": entry.time,
    }
