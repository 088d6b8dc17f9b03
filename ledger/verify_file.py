"""Verify one file on its own: a proof of inclusion or consistency, a disclosure or a signed checkpoint. No I/O."""

from __future__ import annotations

import json
import time as _time
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Literal

from ledger import canonical
from ledger.canonical import JsonValue
from ledger.disclosure import Disclosed, is_disclosure, verify_disclosure
from ledger.entry import Entry
from ledger.envelope import EnvelopeCheck, KnownKey
from ledger.errors import LedgerError, NoteError, OperationalError
from ledger.proof import (
    CONSISTENCY_LINE,
    INCLUSION_LINE,
    ConsistencyProof,
    InclusionProof,
    SignedCheckpoint,
    Trust,
    own_mirror,
    verify_consistency_proof,
    verify_inclusion_proof,
)
from ledger.report import Witnessed

__all__ = ["FileReport", "verify_file"]

Kind = Literal["inclusion proof", "consistency proof", "disclosure", "checkpoint"]


@dataclass(slots=True)
class FileReport:
    """The result of verifying one file.

    Findings refuse it; what is incomplete could not be judged; notices are neither.
    """

    kind: Kind
    origin: str = ""
    size: int = 0
    root: bytes = b""
    old_size: int | None = None
    witnessed: Witnessed | None = None
    entry: Entry | None = None
    disclosed: Disclosed | None = None
    envelopes: EnvelopeCheck = field(default_factory=EnvelopeCheck)
    findings: list[str] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 verified, 1 refused, 3 incomplete."""
        return 1 if self.findings else 3 if self.incomplete else 0

    @property
    def first_line(self) -> str:
        """Who vouches for the checkpoint beside the log."""
        seen = self.witnessed
        if self.findings:
            return f"NOT VERIFIED: the {self.kind}: {self.findings[0]}"
        if seen is None:
            return f"witnessed by nobody whose key was given; size {self.size} rests on the log's word alone"
        return f"witnessed to size {seen.size} at {seen.time} by {', '.join(seen.names)}"

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [self.first_line]
        if not self.findings:
            word = "INCOMPLETE" if self.incomplete else "verified"
            lines.append(f"{word}: {self._said()}")
            if self.entry is not None:
                lines += (f"  {line}" for line in [*_shown(self.entry).splitlines(), *self.envelopes.lines])
            if self.disclosed is not None:
                value = canonical.encode(self.disclosed.value).decode()
                lines.append(f"  discloses {self.disclosed.field}: {value}")
        lines += (f"  {each}" for each in self.findings[1:])
        lines += (f"  not judged: {each}" for each in self.incomplete)
        lines += (f"  note: {each}" for each in self.notices)
        return lines

    def as_json(self) -> JsonValue:
        """The report as one document."""
        seen: JsonValue = None
        if self.witnessed:
            seen = {"by": [*self.witnessed.names], "size": self.witnessed.size, "time": self.witnessed.time}
        entry: JsonValue = None
        if self.entry is not None:
            entry = {
                "body": self.entry.body,
                "id": self.entry.id,
                "kind": self.entry.kind,
                "seq": self.entry.seq,
                "subject": self.entry.subject,
                "time": self.entry.time,
            }
        return {
            "disclosed": {"field": self.disclosed.field, "value": self.disclosed.value} if self.disclosed else None,
            "entry": entry,
            "envelopes": self.envelopes.as_json(),
            "findings": [*self.findings],
            "incomplete": [*self.incomplete],
            "kind": self.kind,
            "notices": [*self.notices],
            "ok": self.exit_code == 0,
            "old_size": self.old_size,
            "origin": self.origin,
            "root": self.root.hex(),
            "size": self.size,
            "summary": self.first_line,
            "witnessed": seen,
        }

    def _said(self) -> str:
        if self.entry is not None:
            return f"entry {self.entry.seq} stands in {self.origin}, as it had {self.size} entries"
        if self.old_size is not None:
            return (
                f"the first {self.old_size} of {self.size} entries of {self.origin} are those that were signed before"
            )
        return f"{self.origin} signed {self.size} entries with the root {self.root.hex()}"


def verify_file(
    data: bytes,
    trust: Trust,
    *,
    entry: bytes | None = None,
    keys: Sequence[KnownKey] = (),
    seen: bytes | None = None,
    max_age: int | None = None,
    now: int | None = None,
) -> FileReport:
    """Verify a proof, a disclosure or a checkpoint with nothing but its bytes and the keys that are trusted.

    Args:
        data: the file's bytes.
        trust: the keys; at least one of a log.
        entry: the bytes of the entry that an inclusion proof is about, where it does not carry them.
        keys: keys of statements that are known, for the envelopes inside a proven entry.
        seen: a signed checkpoint that was seen before, which must not contradict this one.
        max_age: seconds that the newest cosignature may be old.
        now: Unix seconds for ``max_age``; by default the clock's.

    Raises:
        OperationalError: no log's key was given, or no entry where the proof does not carry it.
    """
    if not trust.all_logs:
        raise OperationalError("no log's key was given", remedy="give --vkey, the zone's --card or a --policy")
    report = FileReport(_kind(data))
    try:
        signed = _verify(report, data, trust, entry)
    except OperationalError:
        raise
    except LedgerError as error:
        report.findings.append(str(error))
        return report
    if report.entry is not None:
        report.envelopes.check(report.entry.seq, report.entry.body, {each.keyid: each for each in keys})
        report.findings += (text for _, text in report.envelopes.faults)
    newest = signed[-1]
    report.origin, report.size, report.root = newest.checkpoint.origin, newest.checkpoint.size, newest.checkpoint.root
    if newest.cosignatures:
        report.witnessed = Witnessed(report.size, newest.cosignatures)
    elif any(each.vkey.name != own_mirror(report.origin) for each in trust.all_witnesses):
        report.incomplete.append("no cosignature of a witness whose key was given")
    if unknown := sum(each.unknown for each in signed):
        report.notices.append(f"{unknown} signatures of unknown keys")
    if seen is not None:
        _compare(report, signed, seen, trust)
    if max_age is not None:
        _check_age(report, max_age, int(_time.time()) if now is None else now)
    return report


def _kind(data: bytes) -> Kind:
    first = data[:64].split(b"\n", 1)[0]
    if first == INCLUSION_LINE.encode():
        return "inclusion proof"
    if is_disclosure(data):
        return "disclosure"
    return "consistency proof" if first == CONSISTENCY_LINE.encode() else "checkpoint"


def _verify(report: FileReport, data: bytes, trust: Trust, entry: bytes | None) -> list[SignedCheckpoint]:
    """The checkpoints in the file, oldest first."""
    if report.kind == "inclusion proof":
        proof = InclusionProof.parse(data)
        if proof.extra is None and entry is None:
            remedy = "hand the entry's bytes over with --entry"
            raise OperationalError("the proof does not carry its entry", remedy=remedy)
        signed, report.entry = verify_inclusion_proof(proof, trust, entry=entry)
        return [signed]
    if report.kind == "consistency proof":
        both = verify_consistency_proof(ConsistencyProof.parse(data), trust)
        report.old_size = both[0].checkpoint.size
        return [*both]
    if report.kind == "disclosure":
        report.disclosed = verify_disclosure(data.removesuffix(b"\n"), trust)
        report.entry = report.disclosed.entry
        return [report.disclosed.signed]
    return [trust.open(data)]


def _compare(report: FileReport, signed: list[SignedCheckpoint], seen: bytes, trust: Trust) -> None:
    """What was seen before must be what one of these says, or it takes a consistency proof to tell."""
    try:
        before = Trust(trust.all_logs, trust.all_witnesses).open(seen).checkpoint
        if before.origin != report.origin:
            raise NoteError(f"it is of the origin {before.origin}")
    except LedgerError as error:
        report.findings.append(f"the checkpoint seen before: {error.message}")
        return
    for each in signed:
        if each.checkpoint.size == before.size:
            if each.checkpoint.root != before.root:
                text = f"{report.origin} signed two roots of size {before.size}: keep both files, they prove a fork"
                report.findings.append(text)
            return
    report.incomplete.append(
        f"whether size {report.size} holds the size {before.size} seen before: "
        f"ask for the output of tdz-ledger prove consistency {min(before.size, report.size)} "
        f"{max(before.size, report.size)}"
    )


def _check_age(report: FileReport, most: int, now: int) -> None:
    seen = report.witnessed
    if seen is None or seen.seconds < now - most:
        age = "there is none" if seen is None else f"it is {now - seen.seconds} s old"
        report.incomplete.append(f"the newest cosignature may be {most} s old: {age}")


def _shown(entry: Entry) -> str:
    document = {"time": entry.time, "kind": entry.kind, "subject": entry.subject, "id": entry.id, "body": entry.body}
    return json.dumps(document, indent=2)
