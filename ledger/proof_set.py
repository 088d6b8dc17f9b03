"""Several inclusion proofs in one file: what an institution keeps of one transfer, of one ledger or of both. No I/O.

Canonical JSON and a newline: ``{"proofs":[tlog-proof, ...],"subject":"transfers/...","v":"tdz-proof-set/v1"}``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Final

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.envelope import KnownKey
from ledger.errors import ProofError
from ledger.proof import INCLUSION_LINE, InclusionProof, Trust
from ledger.verify_file import FileReport, verify_file

__all__ = ["MAX_PROOFS", "MAX_SET_BYTES", "ProofSet", "SetReport", "is_proof_set", "verify_set"]

MAX_PROOFS: Final = 64
MAX_SET_BYTES: Final = 8 * 1024 * 1024
_VERSION: Final = "tdz-proof-set/v1"
_BEGINS: Final = b'{"proofs":["' + INCLUSION_LINE.encode()


@dataclass(frozen=True, slots=True)
class ProofSet:
    """Proofs of entries about one subject, each with its entry.

    Raises:
        ProofError: there are none or too many, or one does not carry its entry.
    """

    subject: str
    proofs: tuple[InclusionProof, ...]

    def __post_init__(self) -> None:
        if not 1 <= len(self.proofs) <= MAX_PROOFS:
            raise ProofError(f"a set has 1 to {MAX_PROOFS} proofs, not {len(self.proofs)}")
        if any(each.extra is None for each in self.proofs):
            raise ProofError("a proof of the set does not carry its entry")

    def encode(self) -> bytes:
        """The file's bytes."""
        texts: list[JsonValue] = [each.encode().decode() for each in self.proofs]
        return canonical.encode({"proofs": texts, "subject": self.subject, "v": _VERSION}) + b"\n"

    @classmethod
    def parse(cls, data: bytes) -> ProofSet:
        """Parse a set; every proof in its one form.

        Raises:
            ProofError: not one.
        """
        if len(data) > MAX_SET_BYTES:
            raise ProofError(f"a set of proofs has at most {MAX_SET_BYTES} bytes")
        try:
            value = canonical.decode(data.removesuffix(b"\n"))
        except CanonicalError as error:
            raise ProofError(f"the set of proofs is not canonical JSON: {error}") from error
        if not isinstance(value, dict) or value.keys() != {"proofs", "subject", "v"} or value["v"] != _VERSION:
            raise ProofError(f"a set of proofs has proofs, subject and v, which is {_VERSION}")
        texts, subject = value["proofs"], value["subject"]
        if not isinstance(texts, list) or not isinstance(subject, str) or len(texts) > MAX_PROOFS:
            raise ProofError("a member of the set of proofs has another type, or it has too many proofs")
        proofs = tuple(InclusionProof.parse(each.encode()) for each in texts if isinstance(each, str))
        found = cls(subject, proofs)
        if found.encode() != data:
            raise ProofError("the set of proofs is not in its one form")
        return found


@dataclass(slots=True)
class SetReport:
    """The reports of a set's proofs."""

    subject: str
    reports: list[FileReport] = field(default_factory=list)
    findings: list[str] = field(default_factory=list)
    notices: list[str] = field(default_factory=list)

    @property
    def exit_code(self) -> int:
        """0 verified, 1 refused, 3 incomplete: of all of them the worst."""
        codes = {each.exit_code for each in self.reports}
        return 1 if self.findings or 1 in codes else 3 if 3 in codes else 0

    def lines(self) -> list[str]:
        """The reports as text."""
        if self.findings:
            return [f"NOT VERIFIED: the set of proofs: {each}" for each in self.findings]
        word = {0: "verified", 1: "NOT VERIFIED", 3: "INCOMPLETE"}[self.exit_code]
        lines = [f"{word}: {len(self.reports)} entries about {self.subject}"]
        for each in self.reports:
            lines += ["", *each.lines()]
        return [*lines, *(f"  note: {each}" for each in self.notices)]

    def as_json(self) -> JsonValue:
        """The reports as one document."""
        return {
            "findings": [*self.findings],
            "kind": "set of proofs",
            "notices": [*self.notices],
            "ok": self.exit_code == 0,
            "proofs": [each.as_json() for each in self.reports],
            "subject": self.subject,
            "summary": self.lines()[0],
        }


def is_proof_set(data: bytes) -> bool:
    """Whether a file begins as a set of proofs does."""
    return data.startswith(_BEGINS)


def verify_set(
    data: bytes,
    trust: Trust,
    *,
    keys: Sequence[KnownKey] = (),
    max_age: int | None = None,
    now: int | None = None,
) -> SetReport:
    """Verify every proof of a set with nothing but its bytes and the keys that are trusted.

    An entry belongs to the set where it is about its subject, or about the agreement that such an entry names.

    Args:
        data: the file's bytes.
        trust: keys of the logs and of witnesses.
        keys: keys of statements that are known.
        max_age: as for :func:`~ledger.verify_file.verify_file`.
        now: as there.

    Raises:
        OperationalError: no log's key was given.
    """
    report = SetReport("")
    try:
        proofs = ProofSet.parse(data)
    except ProofError as error:
        report.findings.append(error.message)
        return report
    report.subject = proofs.subject
    for each in proofs.proofs:
        report.reports.append(verify_file(each.encode(), trust, keys=keys, max_age=max_age, now=now))
    entries = [each.entry for each in report.reports if each.entry is not None and not each.findings]
    own = [each for each in entries if each.subject == proofs.subject]
    belong = {proofs.subject, *(f"agreements/{each.body.get('agreement')}" for each in own)}
    for found in report.reports:
        if found.entry is not None and found.entry.subject not in belong:
            found.findings.append(f"entry {found.entry.seq} is not about {proofs.subject}")
    return report
