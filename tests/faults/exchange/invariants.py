"""What must hold whatever died when: read from both ledgers' public files and both state databases."""

from __future__ import annotations

import hashlib
import re
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from ledger.verify import verify_directory
from tests.e2e.small import directory_entries
from tests.faults.exchange.stage import Found, Gate, Stage

# One letter an entry: started, resumed, completed, aborted. A provider's late receipt prevails over its abort.
_CONSUMER = re.compile(r"SR*(CR*|A)")
_PROVIDER = re.compile(r"SR*(CR*|AC?R*)")
_LETTERS = {f"transfer.{word}": word[0].upper() for word in ("started", "resumed", "completed", "aborted")}


def check(stage: Stage) -> None:
    """Check everything; both gateways must have ended, so that nothing moves."""
    for gate, other in ((stage.a, stage.b), (stage.b, stage.a)):
        _ledger_verifies(gate, other)
        assert gate.rows("SELECT * FROM pending") == []
        assert gate.rows("SELECT * FROM outbox") == []
    a, b = stage.a.entries(), stage.b.entries()
    _ids_are_unique(a)
    _ids_are_unique(b)
    _one_agreement_for_each_request(stage, a, b)
    _transfers_in_legal_order(stage, a, b)
    _receipts_agree(a, b)


def _ledger_verifies(gate: Gate, other: Gate) -> None:
    report = verify_directory(gate.layout.ledger)
    assert not report.findings, report.findings
    origin = other.zone.settings.origin
    mirror = gate.layout.ledger / "mirror" / hashlib.sha256(origin.encode()).hexdigest()
    mirrored = verify_directory(mirror)
    assert not mirrored.findings, mirrored.findings
    real, copy = other.entries(), list(directory_entries(mirror))
    assert copy == real[: len(copy)], f"the mirror of {origin} is no prefix of it"
    assert not (gate.layout.ledger / "evidence").exists(), "a fork was found"
    assert not [entry for entry in gate.entries() if entry["kind"] == "fork.detected"]


def _ids_are_unique(entries: Iterable[Found]) -> None:
    ids = [entry["id"] for entry in entries]
    assert len(ids) == len(set(ids))


def _of(entries: Iterable[Found], kind: str, subject: str) -> list[Found]:
    return [entry for entry in entries if entry["kind"] == kind and entry["subject"] == subject]


def _one_agreement_for_each_request(stage: Stage, a: list[Found], b: list[Found]) -> None:
    for negotiation, state, agreement in stage.a.rows(
        "SELECT id, state, agreement_id FROM negotiations WHERE side='consumer'"
    ):
        subject = f"negotiations/{negotiation}"
        assert len(_of(b, "decision", subject)) <= 1, f"lingang decided twice on {negotiation}"
        in_force = [
            gate.rows("SELECT id FROM agreements WHERE negotiation_id=? AND state='FINALIZED'", negotiation)
            for gate in (stage.a, stage.b)
        ]
        assert all(len(rows) <= 1 for rows in in_force)
        if state == "FINALIZED":
            assert in_force[0] == in_force[1] == [(agreement,)]
            assert len(_of(a, "decision", subject)) == 1, f"cyberjaya decided twice on {negotiation}"
            outcomes = [_outcomes(entries, agreement) for entries in (a, b)]
            assert outcomes == [["countersigned"], ["in_force"]]
        else:
            assert in_force[0] == [], f"{negotiation} is {state}, yet an agreement is in force"


def _outcomes(entries: Iterable[Found], agreement: str) -> list[str]:
    return [entry["body"]["outcome"] for entry in _of(entries, "agreement", f"agreements/{agreement}")]


def transfer_letters(entries: Iterable[Found]) -> dict[str, str]:
    """What happened to each transfer, in the ledger's order."""
    found: dict[str, str] = defaultdict(str)
    for entry in entries:
        if entry["kind"] in _LETTERS:
            found[entry["subject"].removeprefix("transfers/")] += _LETTERS[entry["kind"]]
    return dict(found)


def _transfers_in_legal_order(stage: Stage, a: list[Found], b: list[Found]) -> None:
    consumer, provider = transfer_letters(a), transfer_letters(b)
    for transfer, letters in consumer.items():
        assert _CONSUMER.fullmatch(letters), f"cyberjaya on {transfer}: {letters}"
    for transfer, letters in provider.items():
        assert _PROVIDER.fullmatch(letters), f"lingang on {transfer}: {letters}"
        assert transfer in consumer, f"only lingang knows {transfer}"
        assert ("C" in letters) == ("C" in consumer[transfer]), (letters, consumer[transfer])
    for transfer, letters in consumer.items():
        assert "C" not in letters or transfer in provider, f"only cyberjaya knows {transfer}: {letters}"
    for gate, letters_of in ((stage.a, consumer), (stage.b, provider)):
        states = dict(gate.rows("SELECT id, state FROM transfers"))
        assert set(states) == set(letters_of)
        for transfer, state in states.items():
            assert state == ("COMPLETED" if "C" in letters_of[transfer] else "TERMINATED")


def _receipts_agree(a: list[Found], b: list[Found]) -> None:
    ours = {entry["subject"]: entry["body"]["receipt"] for entry in a if entry["kind"] == "transfer.completed"}
    theirs = {entry["subject"]: entry["body"]["receipt"] for entry in a if entry["kind"] == "receipt"}
    both = {entry["subject"]: entry["body"]["receipts"] for entry in b if entry["kind"] == "transfer.completed"}
    assert set(ours) == set(theirs) == set(both)
    for subject, receipts in both.items():
        assert receipts == [ours[subject], theirs[subject]], f"the ledgers differ on {subject}"


def no_landing_is_left(data: Path) -> None:
    """Nothing half-landed lies about."""
    assert list((data / "landing").iterdir()) == []


def state_of(gate: Gate, transfer: str) -> Any:
    """A transfer's state and reason on one side; None before it began."""
    rows = gate.rows("SELECT state, reason FROM transfers WHERE id=?", transfer)
    return rows[0] if rows else None
