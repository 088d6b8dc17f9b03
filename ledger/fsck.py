"""The operator's verification: the public files, the private ones under ``state/``, the mirrors and the envelopes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from ledger.bundle import BundleChecker
from ledger.canonical import JsonValue
from ledger.card import Card
from ledger.card_history import judge_cards, statement_keys
from ledger.entry import first_prev
from ledger.envelope import KnownKey
from ledger.errors import OperationalError, TamperedError
from ledger.merkle import HASH_SIZE
from ledger.mirror_store import mirror_directory
from ledger.private_files import PrivateFiles
from ledger.proof import Trust
from ledger.report import Report, TooManyFindingsError
from ledger.scan import Progress
from ledger.tiles import TILE_WIDTH, TileReader, entries_path
from ledger.verify import claimed_origin, verify_directory

__all__ = ["Check", "check_everything"]


@dataclass(slots=True)
class Check:
    """The log's own report, one for each mirror of another log, and one for the peer's mirror of this log."""

    log: Report
    mirrors: list[Report] = field(default_factory=list)
    at_peer: Report | None = None

    @property
    def reports(self) -> list[Report]:
        """All of them, the log's first."""
        return [self.log, *self.mirrors, *([self.at_peer] if self.at_peer else ())]

    @property
    def exit_code(self) -> int:
        """0 verified, 1 something is wrong anywhere, 3 incomplete."""
        codes = {each.exit_code for each in self.reports}
        return 1 if 1 in codes else 3 if 3 in codes else 0

    def lines(self) -> list[str]:
        """The reports as text."""
        lines = [*self.log.lines(), *(f"  {each}" for each in self.log.envelopes.lines)]
        for each in self.mirrors:
            lines += ["", f"mirror of {each.origin or each.directory}:", *each.lines()]
        if self.at_peer:
            lines += ["", "this log as the peer holds it:", *self.at_peer.lines()]
        return lines

    def as_json(self) -> JsonValue:
        """The reports as one document."""
        return {
            "at_peer": self.at_peer.as_json() if self.at_peer else None,
            "envelopes": self.log.envelopes.as_json(),
            "log": self.log.as_json(),
            "mirrors": [each.as_json() for each in self.mirrors],
            "ok": self.exit_code == 0,
            "summary": self.log.first_line,
        }


def check_everything(
    directory: Path,
    *,
    trust: Trust | None = None,
    cards: Sequence[Card] = (),
    keys: Sequence[KnownKey] = (),
    with_envelopes: bool = True,
    against_peer: Path | None = None,
    seen: bytes | None = None,
    max_age: int | None = None,
    progress: Progress | None = None,
    workers: int = 1,
    tsa_ca: bytes = b"",
) -> Check:
    """Verify a log as its operator can: public and private files, every envelope, every mirror.

    No file's content is changed, and a running gateway is not disturbed.

    Args:
        directory: the log's, with ``state/``.
        trust: as for :func:`~ledger.verify.verify_directory`.
        cards: cards of zones, superseded ones too: the statement key of each is known, and held against the entries
            that say when it spoke for its zone.
        keys: other keys of statements that are known; signatures of keys that are not are counted.
        with_envelopes: verify the envelopes inside the entries.
        against_peer: the peer's ledger or an export of it, with its mirror of this log; or that mirror itself.
        seen: as there.
        max_age: as there.
        progress: called with entries done and entries in all, of one log after another.
        workers: how many processes.
        tsa_ca: as there.

    Raises:
        OperationalError: there is no log, or it has no ``state/``: an auditor's copy is for ``verify``.
    """
    if not (directory / "state").is_dir():
        raise OperationalError(f"{directory} has no state/", remedy="verify a copy with tdz-ledger verify")
    # The lock first: what is published afterwards is never behind it.
    private = PrivateFiles(directory)
    private.read_lock()
    checker = BundleChecker(
        str(directory),
        keys={each.keyid: each for each in (*keys, *statement_keys(cards))} if with_envelopes else None,
        lock=private.origin or None,
    )
    report = verify_directory(
        directory,
        trust=trust,
        seen=seen,
        max_age=max_age,
        progress=progress,
        workers=workers,
        checker=checker,
        tsa_ca=tsa_ca,
    )
    check = Check(report)
    try:
        private.judge(report)
        if with_envelopes:
            judge_cards(report, report.envelopes, cards)
    except TooManyFindingsError:
        report.notices.append("stopped: more findings would say nothing new")
    # A mirror is judged by the key that a card gave, or else by the one under which it was begun.
    keyring = {**private.mirrored, **{each.vkey.name: str(each.vkey) for each in (trust or Trust(())).all_logs}}
    for origin in sorted(private.mirrored):
        mirror = mirror_directory(directory, origin)
        if (mirror / "checkpoint").exists():
            mirrored = verify_directory(mirror, vkey=keyring[origin], progress=progress, workers=workers)
            check.mirrors.append(mirrored)
    if against_peer is not None:
        check.at_peer = _at_peer(against_peer, report, progress, workers)
    return check


def _at_peer(peer: Path, ours: Report, progress: Progress | None, workers: int) -> Report:
    """The peer's copy of this log: it verifies by our key, and one of the two is a prefix of the other.

    Raises:
        OperationalError: no copy of this log lies there.
    """
    folder = f"mirror/{first_prev(ours.origin).hex()}"
    found = next((each for each in (peer / folder, peer) if claimed_origin(str(each)) == ours.origin), None)
    if found is None:
        raise OperationalError(
            f"{peer} holds no copy of {ours.origin}", remedy=f"name the peer's ledger, which has {folder}, or an export"
        )
    report = verify_directory(found, vkey=ours.vkey or None, progress=progress, workers=workers)
    common = min(report.size, ours.size)
    if report.size > ours.size:
        text = f"the peer holds {report.size} entries, here are {ours.size}: this log was rolled back"
        _find(report, "checkpoint", text, ours.size)
    seq = _first_difference(TileReader(ours.directory), TileReader(found), ours.size, report.size, common)
    if seq is not None:
        _find(report, entries_path(seq // TILE_WIDTH), f"the peer holds another entry {seq} than this log", seq)
    return report


def _find(report: Report, file: str, text: str, seq: int) -> None:
    try:
        report.find(file, text, seq)
    except TooManyFindingsError:
        report.notices.append(text)


def _first_difference(ours: TileReader, theirs: TileReader, our_size: int, their_size: int, common: int) -> int | None:
    """The first entry whose leaf hashes differ; what cannot be read was reported before."""
    for index in range((common + TILE_WIDTH - 1) // TILE_WIDTH):
        start = index * TILE_WIDTH
        try:
            one = ours.tile(0, index, min(TILE_WIDTH, our_size - start))
            other = theirs.tile(0, index, min(TILE_WIDTH, their_size - start))
        except TamperedError:
            return None
        length = min(TILE_WIDTH, common - start) * HASH_SIZE
        if one[:length] != other[:length]:
            return start + next(at for at in range(length) if one[at] != other[at]) // HASH_SIZE
    return None
