"""What a verification found, for people and for programs."""

from __future__ import annotations

from dataclasses import dataclass, field
from datetime import UTC, datetime
from typing import Final

from ledger.canonical import JsonValue
from ledger.envelope import EnvelopeCheck
from ledger.key_history import KeyHistory
from ledger.note import Verified

__all__ = ["Finding", "Report", "TooManyFindingsError", "Witnessed"]

MAX_FINDINGS: Final = 100


class TooManyFindingsError(Exception):
    """The report is full; more findings would say nothing new."""


@dataclass(frozen=True, slots=True)
class Finding:
    """Something that is not as it was signed.

    ``seq`` is the entry that it concerns, None where it concerns no entry.
    """

    file: str
    text: str
    seq: int | None = None


@dataclass(frozen=True, slots=True)
class Witnessed:
    """A checkpoint that others cosigned, with the cosignatures of known keys."""

    size: int
    cosignatures: tuple[Verified, ...]

    @property
    def seconds(self) -> int:
        """The newest cosignature's time in seconds since 1970."""
        return max(each.time or 0 for each in self.cosignatures)

    @property
    def time(self) -> str:
        """The newest cosignature's time, UTC."""
        seconds = self.seconds
        try:
            return f"{datetime.fromtimestamp(seconds, UTC):%Y-%m-%dT%H:%M:%SZ}"
        except (ValueError, OverflowError, OSError):
            return f"{seconds} s after 1970"

    @property
    def names(self) -> list[str]:
        """Who cosigned."""
        return sorted({each.name for each in self.cosignatures})


@dataclass(slots=True)
class Report:
    """The result of verifying one directory.

    Findings are tampering or damage; what is incomplete could not be judged; notices are neither.
    """

    directory: str
    vkey: str = ""
    keys: KeyHistory | None = None
    keys_from_directory: tuple[str, ...] = ()
    origin: str = ""
    size: int = 0
    root: bytes = b""
    entries: int = 0
    witnessed: Witnessed | None = None
    envelopes: EnvelopeCheck = field(default_factory=EnvelopeCheck)
    findings: list[Finding] = field(default_factory=list)
    incomplete: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)
    timestamps: list[JsonValue] = field(default_factory=list)
    evidence: list[JsonValue] = field(default_factory=list)

    def find(self, file: str, text: str, seq: int | None = None) -> None:
        """Add a finding.

        Raises:
            TooManyFindingsError: the report is full.
        """
        self.findings.append(Finding(file, text, seq))
        if len(self.findings) >= MAX_FINDINGS:
            raise TooManyFindingsError

    @property
    def exit_code(self) -> int:
        """0 verified, 1 tampering found, 3 incomplete."""
        return 1 if self.findings else 3 if self.incomplete else 0

    @property
    def first_bad_entry(self) -> int | None:
        """The lowest entry that a finding names."""
        return min((each.seq for each in self.findings if each.seq is not None), default=None)

    @property
    def first_line(self) -> str:
        """How far others vouch for the log, and whose keys that rests on."""
        seen = self.witnessed.size if self.witnessed else 0
        if self.witnessed:
            text = f"witnessed to size {seen} at {self.witnessed.time} by {', '.join(self.witnessed.names)}; "
        else:
            text = "witnessed by nobody; "
        text += f"{max(self.size - seen, 0)} entries beyond rest on the log's word alone"
        if self.keys_from_directory:
            text += f" (keys of {' and '.join(self.keys_from_directory)} were taken from the directory itself)"
        return text

    def lines(self) -> list[str]:
        """The report as text."""
        lines = [self.first_line]
        if self.findings:
            first = self.first_bad_entry
            where = f"; the first bad entry is {first}" if first is not None else ""
            found = "1 finding" if len(self.findings) == 1 else f"{len(self.findings)} findings"
            lines.append(f"NOT VERIFIED: {self.origin or self.directory}: {found}{where}")
            for each in self.findings:
                place = f"entry {each.seq}, " if each.seq is not None else ""
                lines.append(f"  {place}{each.file}: {each.text}")
        else:
            lines.append(f"{'INCOMPLETE' if self.incomplete else 'verified'}: {self.origin}")
            lines.append(f"  {self.entries} entries, root {self.root.hex()}")
        lines += (f"  not judged: {each}" for each in self.incomplete)
        lines += (f"  note: {each}" for each in self.notices)
        return lines

    def as_json(self) -> JsonValue:
        """The report as one document."""
        findings: list[JsonValue] = [{"file": each.file, "seq": each.seq, "text": each.text} for each in self.findings]
        witnessed: JsonValue = None
        if self.witnessed:
            witnessed = {
                "by": [*self.witnessed.names],
                "size": self.witnessed.size,
                "time": self.witnessed.time,
            }
        return {
            "directory": self.directory,
            "entries": self.entries,
            "evidence": [*self.evidence],
            "findings": findings,
            "first_bad_entry": self.first_bad_entry,
            "incomplete": [*self.incomplete],
            "keys_from_directory": [*self.keys_from_directory],
            "notices": [*self.notices],
            "ok": self.exit_code == 0,
            "origin": self.origin,
            "root": self.root.hex(),
            "size": self.size,
            "summary": self.first_line,
            "timestamps": [*self.timestamps],
            "vkey": self.vkey,
            "witnessed": witnessed,
        }
