"""Whatever a valid entry holds, what reads it tells of it or passes it over: no traceback, no second error."""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import pytest

from ledger import canonical
from ledger.cli.main import main
from ledger.entry import new_id
from ledger.facts.schema import VIEWS
from tests.unit.ledger.twin import CYBERJAYA, LINGANG, VERSION, Twin, dsse

KINDS = (
    "decision", "agreement", "transfer.started", "transfer.resumed", "transfer.completed", "transfer.aborted",
    "receipt", "release", "job.submitted", "job.decided", "job.proposed", "run.agreed", "run.started",
    "run.completed", "run.failed", "round.started", "round.accepted", "round.completed", "round.refused",
    "identity.issued", "identity.revoked", "participant.registered", "mechanism.added", "zone.paired",
    "policy.activated", "revocation", "never.heard_of",
)  # fmt: skip
NAMES = (
    "agreement", "app", "artifact", "base", "body", "bytes", "checkpoint", "chunks", "consumer", "consumer_zone",
    "count", "data", "datasets", "decision", "decision_id", "decisions", "devices", "digest", "direction", "effect",
    "ended_at", "event", "examples", "expires_at", "findings", "finding", "heard", "held_by", "id", "identity",
    "issuer", "limits",
    "lineage", "mechanisms", "model", "name", "negotiation", "obligations", "offer", "outcome", "owner", "packs",
    "participant", "payload", "payloadType", "peer_decision", "peer_decisions", "platforms", "provenance", "provider",
    "provider_zone", "purpose", "reason", "receipt", "receipts", "recipient", "request", "resource", "role", "root",
    "round", "rounds", "rows", "runs", "side", "signatures", "sku", "spec", "statement", "transfer", "updates",
    "valid_until", "version", "view", "what", "zone",
)  # fmt: skip
TEXTS = (
    "", "allow", "deny", "review", "in_force", "out", "in", "update", "datasets/x", "models/x", "models/", "/", "tdz://",
    "tdz://cyberjaya/partner/um", CYBERJAYA, LINGANG, VERSION, "0", "\x00", "'; DROP TABLE agreed; --", "<b>", "\u202e",
    "9" * 300, "e" * 64,
)  # fmt: skip
SUBJECTS = ("transfers/x", "agreements/x", "negotiations/x", "runs/x", "x", "/", "runs/", "'", "transfers/" + "y" * 400)


def value(chance: random.Random, depth: int = 0) -> Any:
    """Something that may stand in a body: the right names with the wrong things behind them."""
    kind = chance.randrange(11 if depth < 3 else 6)
    if kind < 3:
        return chance.choice(TEXTS)
    if kind < 6:
        return chance.choice((None, True, False, 0, 1, -1, 2**53 - 1, -(2**53 - 1), 1800000000))
    if kind == 6:
        return [value(chance, depth + 1) for _ in range(chance.randrange(2))]
    if kind == 7:
        return dsse(chance.choice((CYBERJAYA, LINGANG, "")), body(chance, depth + 1), chance.randrange(3))
    return body(chance, depth + 1)


def body(chance: random.Random, depth: int = 0) -> dict[str, Any]:
    """An object with names that are known."""
    return {name: value(chance, depth) for name in chance.sample(NAMES, chance.randrange(2, 24 >> depth // 2))}


@pytest.mark.parametrize("seed", range(2))
async def test_no_entry_makes_a_command_stumble(
    twin: Twin, tmp_path: Path, seed: int, capsys: pytest.CaptureFixture[str]
) -> None:
    chance = random.Random(seed)
    for zone in (CYBERJAYA, LINGANG):
        written = 0
        while written < 120:
            what = body(chance)
            if len(canonical.encode(what)) < 60_000:
                kind, subject = chance.choice(KINDS), chance.choice(SUBJECTS)
                await twin.writers[zone].append(id=new_id(), kind=kind, subject=subject, body=what)
                written += 1
    await twin.mirrored()
    paths = [str(twin.export(zone)) for zone in (CYBERJAYA, LINGANG)]
    views = "UNION ALL ".join(f"SELECT count(*) FROM {name} " for name in VIEWS)
    for arguments, codes in (
        (["verify", paths[0]], {0}),
        (["diff-peer", *paths], {0, 1, 3}),
        (["diff-peer", *paths, "--json", "--all"], {0, 1, 3}),
        (["report", *paths], {0, 1, 3}),
        (["report", *paths, "-o", str(tmp_path / "report.html")], {0, 1, 3}),
        (["report", *paths, "--json", "--participant", "um"], {0, 1, 3}),
        (["report", *paths, "--model", "x", "-o", str(tmp_path / "model.html")], {0, 1, 3}),
        (["lineage", "models/x", *paths, "--svg", str(tmp_path / "x.svg")], {0, 2}),
        (["lineage", "datasets/x", *paths, "--json"], {0, 2}),
        (["sql", views, paths[0], "--peer", paths[1], "--json"], {0}),
        (["show", "all", paths[0]], {0}),
    ):
        code = main(arguments)
        captured = capsys.readouterr()
        assert code in codes, (arguments, captured.err)
        assert "\x00" not in captured.out
        assert captured.err.count("\n") == (code == 2)
