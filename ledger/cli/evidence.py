"""``tdz-ledger verify`` on an evidence file: does it prove that a log forked."""

from __future__ import annotations

import sys
from collections.abc import Collection
from pathlib import Path

from ledger.canonical import JsonValue
from ledger.cli.output import print_json
from ledger.errors import FormatError, ProofError, SignatureError
from ledger.evidence import FORMAT, MAX_EVIDENCE_BYTES, Evidence

__all__ = ["is_evidence", "verify_evidence"]


def is_evidence(data: bytes) -> bool:
    """Whether a file says that it is evidence of a fork."""
    return data.startswith(b"{") and f'"format":"{FORMAT}"'.encode() in data[:MAX_EVIDENCE_BYTES]


def verify_evidence(path: Path, data: bytes, vkeys: Collection[str], *, as_json: bool) -> int:
    """Check an evidence file and say what it proves; 0 where it proves a fork, 1 where it proves nothing."""
    document: dict[str, JsonValue]
    try:
        evidence = Evidence.parse(data)
        if vkeys and evidence.vkey not in vkeys:
            raise SignatureError(f"its log's key {evidence.vkey} is none of those that were given")
    except (FormatError, ProofError, SignatureError) as error:
        lines, code = [f"NOT PROVED: {path}: {error.message}"], 1
        document = {"ok": False, "file": str(path), "text": error.message}
    else:
        first, second = evidence.first.checkpoint, evidence.second.checkpoint
        own = "" if vkeys else " (its key was taken from the evidence itself: compare it with the zone's card)"
        lines = [
            f"proved: {evidence.origin} signed two histories{own}",
            f"  size {first.size} with root {first.root.hex()}",
            f"  size {second.size} with root {second.root.hex()}",
        ]
        if first.size != second.size:
            lines.append(f"  which has at size {first.size} the root {evidence.old_root.hex()}")
        lines.append(f"  key {evidence.vkey}")
        document = {
            "ok": True,
            "file": str(path),
            "origin": evidence.origin,
            "vkey": evidence.vkey,
            "key_from_evidence": not vkeys,
            "first": {"size": first.size, "root": first.root.hex()},
            "second": {"size": second.size, "root": second.root.hex(), "root_at_first": evidence.old_root.hex()},
        }
        code = 0
    if as_json:
        print_json(document)
    else:
        sys.stdout.write("".join(f"{line}\n" for line in lines))
    return code
