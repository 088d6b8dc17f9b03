"""``tdz-ledger verify`` on an evidence file: does it prove that a log forked."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from ledger.canonical import JsonValue
from ledger.cli.output import print_json, printable
from ledger.errors import FormatError, ProofError, SignatureError
from ledger.evidence import FORMAT, MAX_EVIDENCE_BYTES, Evidence

__all__ = ["is_evidence", "verify_evidence"]


def is_evidence(data: bytes) -> bool:
    """Whether a file says that it is evidence of a fork."""
    return data.startswith(b"{") and f'"format":"{FORMAT}"'.encode() in data[:MAX_EVIDENCE_BYTES]


def verify_evidence(path: Path, data: bytes, vkeys: Collection[str], *, as_json: bool) -> int:
    """Check an evidence file and say what it proves; 0 where it proves a fork, 1 where it proves nothing.

    Args:
        path: its name, for what is printed.
        data: its bytes.
        vkeys: the keys that are trusted. Of several, as from several zones' cards, those that are named as the log
            count; where none is, all of them, and it is said that their name is another.
    """
    document: dict[str, JsonValue]
    try:
        evidence = Evidence.parse(data)
        given = [each for each in vkeys if each.partition("+")[0] == evidence.origin] or list(vkeys)
        if given:
            evidence = Evidence.parse(data, vkeys=given)
    except (FormatError, ProofError, SignatureError) as error:
        lines, code = [f"NOT PROVED: {path}: {error}"], 1
        document = {"ok": False, "file": str(path), "text": str(error)}
    else:
        lines, document, code = _lines(evidence, given), {"ok": True, "file": str(path), **_said(evidence, given)}, 0
    if as_json:
        print_json(document)
    else:
        sys.stdout.write("".join(f"{printable((line,))}\n" for line in lines))
    return code


def _lines(evidence: Evidence, given: Collection[str]) -> list[str]:
    first, second = evidence.first.checkpoint, evidence.second.checkpoint
    note = "" if given else " (its keys were taken from the evidence itself: compare them with the log's)"
    lines = [f"proved: {evidence.origin} signed two histories{note}"]
    for checkpoint, signers in ((first, evidence.first_by), (second, evidence.second_by)):
        lines.append(f"  size {checkpoint.size} with root {checkpoint.root.hex()}")
        lines += [f"    signed by {each}{_trusted(each, given)}" for each in signers]
    if first.size != second.size:
        lines.append(f"  which has at size {first.size} the root {evidence.old_root.hex()}")
    if any(each.partition("+")[0] != evidence.origin for each in evidence.vkeys):
        lines.append("  note: a key's name is not the log's: make sure that it is a key of this log")
    return lines


def _trusted(vkey: str, given: Collection[str]) -> str:
    return ", which was not given" if given and vkey not in given else ""


def _said(evidence: Evidence, given: Collection[str]) -> dict[str, JsonValue]:
    first, second = evidence.first.checkpoint, evidence.second.checkpoint
    by: list[list[JsonValue]] = [[*evidence.first_by], [*evidence.second_by]]
    return {
        "origin": evidence.origin,
        "vkeys": [*evidence.vkeys],
        "keys_from_evidence": not given,
        "first": {"size": first.size, "root": first.root.hex(), "signed_by": by[0]},
        "second": {
            "size": second.size,
            "root": second.root.hex(),
            "signed_by": by[1],
            "root_at_first": evidence.old_root.hex(),
        },
    }
