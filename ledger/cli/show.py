"""``tdz-ledger show``."""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Iterator

from ledger.canonical import JsonValue
from ledger.cli.output import OpenedLog, open_log, print_json, printable
from ledger.entry import Entry
from ledger.errors import EntryError, OperationalError, ProofError, TamperedError
from ledger.merkle import inclusion_proof, leaf_hash, verify_inclusion

__all__ = ["show"]


def show(arguments: argparse.Namespace) -> int:
    """Print one entry, proven to stand under the checkpoint, or the entries of a subject."""
    log = open_log(arguments.directory, arguments.vkey)
    what: str = arguments.what
    if what.isascii() and what.isdecimal():
        entry = _entry(log, int(what))
        if arguments.json:
            print_json(_document(entry))
        else:
            sys.stdout.write(json.dumps(_document(entry), indent=2, sort_keys=True) + "\n")
        return 0
    found = _of_subject(log, what)
    if arguments.json:
        print_json([_document(each) for each in found])
        return 0
    count = 0
    for count, each in enumerate(found, 1):  # noqa: B007 (counts)
        sys.stdout.write(printable((f"{each.seq:>8}", each.time, f"{each.kind:<20}", each.subject)) + "\n")
    if not count:
        raise OperationalError(f"no entry has the subject {what}", remedy="as transfers/<id>, or give a number")
    return 0


def _entry(log: OpenedLog, seq: int) -> Entry:
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


def _of_subject(log: OpenedLog, subject: str) -> Iterator[Entry]:
    size = log.checkpoint.size
    below = subject.rstrip("/") + "/"
    for seq, data in enumerate(log.reader.entries(0, size, size)):
        try:
            entry = Entry.parse(data, seq=seq)
        except EntryError as error:
            raise TamperedError(f"entry {seq}: {error.message}", remedy="run tdz-ledger verify") from error
        if entry.subject == subject or entry.subject.startswith(below):
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
