"""A decision's record: one line of a zone's decision log, or the file that its administrator handed out."""

from __future__ import annotations

import hashlib
import json
import os
import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

from ledger import canonical
from ledger.canonical import CanonicalError
from ledger.commitment import commitment
from ledger.entry import Entry
from ledger.errors import EntryError, IncompleteError, TamperedError
from ledger.tiles import read_regular_file

__all__ = ["Record", "find_record", "read_record", "read_record_file"]

_MEMBERS: Final = {"v", "id", "at", "decision", "salt", "input", "erased"}
_LINE_MAX: Final = 4 * 1024 * 1024
_SEGMENT: Final = re.compile(r"(\d{4}-\d\d-\d\d)\.(\d{3,6})\.jsonl", re.ASCII)
_SALT: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_TEXTS: Final = ("effect", "input_digest", "decision_id", "zone", "policy_digest")
_LISTS: Final = ("findings", "obligations", "packs")


@dataclass(frozen=True, slots=True)
class Record:
    """What a zone kept of a decision.

    Args:
        id: the decision's id.
        decision: the whole decision, as only its zone sees it.
        salt: opens the commitment in the entry.
        input: the policy input; None where it was masked whole.
        erased: what the zone's mask erased, by pointer; empty where the input is whole.
    """

    id: str
    decision: dict[str, Any]
    salt: bytes = field(repr=False)
    input: Any = field(repr=False)
    erased: dict[str, int]

    def require_recorded(self, entry: Entry) -> None:
        """Make sure that the entry commits to this decision, and to no other.

        Raises:
            IncompleteError: the entry records no decision.
            TamperedError: it commits to something else.
        """
        held = entry.body.get("commitment")
        if not isinstance(held, str) or not isinstance(entry.body.get("decision"), dict):
            raise IncompleteError(
                f"entry {entry.seq} ({entry.kind}) records no decision", remedy="name one with a decision in its body"
            )
        try:
            expected = commitment(self.salt, entry.id, "/body/decision", self.decision)
        except EntryError as error:
            raise TamperedError(f"the record of {self.id}: {error.message}") from error
        if held != expected:
            raise TamperedError(f"entry {entry.seq} does not commit to the decision that the zone's log has for it")

    def require_input(self) -> None:
        """Make sure that the input is whole, and the one that was decided on.

        Raises:
            IncompleteError: it was masked, or policy decided on none.
            TamperedError: it is another one.
        """
        if not self.decision["policy_digest"]:
            codes = ", ".join(each["code"] for each in self.decision["findings"])
            raise IncompleteError(f"no policy decided: the gateway refused by itself ({codes})")
        if self.input is None or self.erased:
            masked = ", ".join(self.erased) or "all of it"
            raise IncompleteError(
                f"the input of {self.id} is masked ({masked}), so it cannot be replayed",
                remedy="the zone's policy data say what its log leaves out",
            )
        try:
            data = canonical.encode(self.input)
        except CanonicalError as error:
            raise TamperedError(f"the input of {self.id}: {error}") from error
        if hashlib.sha256(data).hexdigest() != self.decision["input_digest"]:
            raise TamperedError(f"the input in the zone's log is not the one that {self.id} was decided on")


def find_record(folder: Path, decision_id: str) -> Record:
    """Look a decision up in a zone's decision log.

    Args:
        folder: ``decisions`` of the zone's directory.
        decision_id: UUIDv7; its time names the day.

    Raises:
        IncompleteError: it is not there (any more).
        TamperedError: its line is none.
    """
    milliseconds = int(decision_id.replace("-", "")[:12], 16)
    day = datetime.fromtimestamp(milliseconds / 1000, tz=UTC).date().isoformat()
    mark = f'"id":"{decision_id}"'.encode()
    for path in _segments(folder, day):
        for line in _lines(path):
            if mark in line:
                record = read_record(line)
                if record.id == decision_id:
                    return record
    raise IncompleteError(
        f"{folder} has no decision {decision_id}", remedy="retention may have taken it away; or name --zone or --record"
    )


def read_record(data: bytes) -> Record:
    """Read a record.

    Raises:
        TamperedError: it is none.
    """
    try:
        document = json.loads(data)
        if not isinstance(document, dict) or set(document) != _MEMBERS or document["v"] != 1:
            raise TamperedError("a decision's record has another form, or another version")
        decision, erased = document["decision"], document["erased"]
        whole = (
            isinstance(decision, dict)
            and all(isinstance(decision.get(name), str) for name in _TEXTS)
            and all(isinstance(decision.get(name), list) for name in _LISTS)
            and all(isinstance(each, dict) for name in _LISTS for each in decision[name])
            and isinstance(erased, dict)
            and decision["decision_id"] == document["id"]
            and isinstance(document["salt"], str)
            and _SALT.fullmatch(document["salt"])
        )
    except (ValueError, RecursionError, KeyError, TypeError) as error:
        raise TamperedError(f"a decision's record is damaged: {error}") from error
    if not whole:
        raise TamperedError("a decision's record is damaged: a member is of another form")
    return Record(document["id"], decision, bytes.fromhex(document["salt"]), document["input"], erased)


def read_record_file(path: Path) -> Record:
    """The record in a file; errors as `read_record`, and those of the file."""
    return read_record(read_regular_file(str(path), _LINE_MAX))


def _segments(folder: Path, day: str) -> list[Path]:
    try:
        names = os.listdir(folder)
    except FileNotFoundError as error:
        raise IncompleteError(f"there is no decision log at {folder}", remedy="name --zone or --record") from error
    found = [match for name in names if (match := _SEGMENT.fullmatch(name)) and match[1] == day]
    return [folder / match[0] for match in sorted(found, key=lambda match: int(match[2]))]


def _lines(path: Path) -> Iterator[bytes]:
    with os.fdopen(os.open(path, os.O_RDONLY | os.O_NOFOLLOW | os.O_CLOEXEC), "rb") as file:
        while line := file.readline(_LINE_MAX + 1):
            if len(line) > _LINE_MAX:
                raise TamperedError(f"{path}: a line is longer than {_LINE_MAX} bytes")
            if line.endswith(b"\n"):  # a last one without its end is being written, or was torn by a crash
                yield line
