"""What lies beside a log and is judged on its own: time stamps, evidence of forks, and what an export brings along.

None of it is needed to verify the log. Each file that is there must be what it says: a stamp is over the text of one
of the log's checkpoints, a proof of a fork proves one, a document has the digest that is its name, a card is whole.
"""

from __future__ import annotations

import hashlib
import importlib.util
import os
from collections.abc import Collection, Iterator
from pathlib import Path
from typing import Final

from ledger.card import MAX_CARD_BYTES, Card
from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, parse_time
from ledger.errors import LedgerError, OperationalError, TamperedError
from ledger.evidence import MAX_EVIDENCE_BYTES, Evidence
from ledger.export import MAX_DOCUMENT_BYTES
from ledger.report import Report
from ledger.tiles import TileReader, read_regular_file
from ledger.timestamps import FOLDER, Timestamp, verify_timestamps

__all__ = ["Companions"]

MAX_FILES: Final = 100_000
_EARLY_US: Final = 300_000_000
"""How far an entry's time may lie behind a stamp that covers it: clocks differ."""
_NO_LIBRARY: Final = "pip install 'tdz-gateway[timestamp]' to judge them"


class Companions:
    """Judges them for one log.

    Args:
        report: holds directory, origin, size and root; what is found goes there.
        vkeys: the log's own keys.
        trusted: keys of logs from a trusted place; none where the log's own was taken from the directory.
        tsa_ca: certificates of time-stamping authorities (PEM) that are trusted; without any no stamp's signature is
            judged.
    """

    def __init__(self, report: Report, vkeys: Collection[str], trusted: Collection[str], tsa_ca: bytes) -> None:
        self._report = report
        self._vkeys = frozenset(vkeys)
        self._trusted = frozenset(trusted)
        self._tsa_ca = tsa_ca

    def check(self) -> None:
        """Judge what is there.

        Raises:
            TooManyFindingsError: the report is full.
            OperationalError: a folder cannot be read, or ``tsa_ca`` holds no certificates.
        """
        self._timestamps()
        self._evidence()
        self._documents()
        self._card()

    # --- time stamps --------------------------------------------------------------------------------------

    def _timestamps(self) -> None:
        report = self._report
        count = sum(1 for _ in self._names(FOLDER))
        if not count:
            return
        if importlib.util.find_spec("rfc3161_client") is None:
            said = report.incomplete if self._tsa_ca else report.notices
            said.append(f"{_counted(count, 'time stamp')}, not judged: {_NO_LIBRARY}")
            return
        head = Checkpoint(report.origin, report.size, report.root)
        reader = TileReader(report.directory)
        good: list[Timestamp] = []
        for stamp in verify_timestamps(Path(report.directory), head, ca=self._tsa_ca):
            problem = stamp.problem or self._too_early(stamp, reader)
            report.timestamps.append({**stamp.as_json(), "problem": problem})
            if problem:
                report.find(stamp.file, problem)
            else:
                good.append(stamp)
        if not good:
            return
        last = max(good, key=lambda each: (each.size or 0, each.file))
        when = f"{last.time:%Y-%m-%dT%H:%M:%SZ}" if last.time else "no time"
        newest = f"the newest says that size {last.size} was there at {when} by {last.tsa}"
        if self._tsa_ca:
            report.notices.append(f"{_counted(len(good), 'time stamp')} verified; {newest}")
        else:
            text = "over checkpoints of this log, whose signatures were not judged (give --tsa-ca FILE)"
            report.notices.append(f"{_counted(len(good), 'time stamp')} {text}; {newest}")

    def _too_early(self, stamp: Timestamp, reader: TileReader) -> str:
        """A trusted stamp dates every entry that it covers: none says that it was made later."""
        if not stamp.trusted or not stamp.size or stamp.time is None:
            return ""
        seq = stamp.size - 1
        try:
            (data,) = reader.entries(seq, stamp.size, self._report.size)
            made = parse_time(Entry.parse(data, seq=seq).time)
        except LedgerError:
            return ""  # found by the scan
        stamped = int(stamp.time.timestamp() * 1_000_000)
        return f"it was stamped before entry {seq} says it was made" if made > stamped + _EARLY_US else ""

    # --- forks --------------------------------------------------------------------------------------------

    def _evidence(self) -> None:
        for name in self._names("evidence"):
            file = f"evidence/{name}"
            try:
                evidence = Evidence.parse(read_regular_file(f"{self._report.directory}/{file}", MAX_EVIDENCE_BYTES))
            except OperationalError:
                raise
            except LedgerError as error:
                self._report.find(file, f"it proves no fork: {error.message}")
                continue
            sizes = f"sizes {evidence.first.checkpoint.size} and {evidence.second.checkpoint.size}"
            text = f"{evidence.origin} signed two histories, at {sizes}"
            self._report.evidence.append(
                {
                    "file": file,
                    "origin": evidence.origin,
                    "sizes": [evidence.first.checkpoint.size, evidence.second.checkpoint.size],
                    "vkeys": [*evidence.vkeys],
                }
            )
            if _signed_both(evidence, self._vkeys):
                self._report.find(file, f"PROVED: this log, {text}")
            else:
                known = "" if _signed_both(evidence, self._trusted) else "; compare its key with that zone's card"
                self._report.notices.append(f"{file}: PROVED: {text}{known}")

    # --- what an export brings along ----------------------------------------------------------------------

    def _documents(self) -> None:
        count = 0
        for name in self._names("documents"):
            file = f"documents/{name}"
            try:
                data = read_regular_file(f"{self._report.directory}/{file}", MAX_DOCUMENT_BYTES)
            except TamperedError as error:
                self._report.find(file, error.message)
                continue
            if hashlib.sha256(data).hexdigest() == name:
                count += 1
            else:
                self._report.find(file, "its SHA-256 is not its name")
        if count:
            self._report.notices.append(f"{_counted(count, 'document')}, each with the SHA-256 that is its name")

    def _card(self) -> None:
        file = "identity/card.json"
        path = f"{self._report.directory}/{file}"
        if not os.path.lexists(path):
            return
        try:
            card = Card.parse(read_regular_file(path, MAX_CARD_BYTES))
        except OperationalError:
            raise
        except LedgerError as error:
            self._report.find(file, error.message)
            return
        if card.origin != self._report.origin:
            self._report.find(file, f"it is the card of another log, {card.origin}")
        elif str(card.log.vkey) not in self._vkeys:
            # A key that came after this copy's size, or one that is not the log's: the copy alone does not tell.
            self._report.incomplete.append(f"{file} names a key that this copy does not know: ask for a newer copy")
        else:
            text = f"serial {card.serial}, names this log's key; its fingerprint is {card.fingerprint}"
            self._report.notices.append(f"{file}: {text}")

    # --- folders ------------------------------------------------------------------------------------------

    def _names(self, folder: str) -> Iterator[str]:
        """What lies in a folder, by name; never through a symbolic link."""
        path = f"{self._report.directory}/{folder}"
        if os.path.islink(path):
            self._report.find(folder, "it is a symbolic link")
            return
        try:
            names = sorted(os.listdir(path))
        except FileNotFoundError:
            return
        except NotADirectoryError:
            self._report.find(folder, "it is no folder")
            return
        except OSError as error:
            raise OperationalError(f"cannot read {path}: {error.strerror}", remedy="check its rights") from error
        if len(names) > MAX_FILES:
            self._report.find(folder, f"it holds more than {MAX_FILES} files")
            return
        yield from (each for each in names if not each.startswith("."))  # others are being written


def _counted(number: int, name: str) -> str:
    return f"{number} {name}{'' if number == 1 else 's'}"


def _signed_both(evidence: Evidence, vkeys: Collection[str]) -> bool:
    """Whether each checkpoint is signed by one of these keys: a file may name others beside them."""
    return all(not set(signers).isdisjoint(vkeys) for signers in (evidence.first_by, evidence.second_by))
