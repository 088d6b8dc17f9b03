"""What the US pack says stays on the Malaysian side: its findings and its very name cross nowhere."""

from __future__ import annotations

import dataclasses

import pytest

from gateway.decisions.example import example
from gateway.decisions.inputs import KeptDecision
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet, shipped
from gateway.model import canonical
from gateway.model.decision import compose

_FLOWS = [(a, "MY", "CN") for a in ("transfer_dataset", "transfer_model", "run_job", "release_output")]


def _files() -> dict[str, bytes]:
    root = shipped()
    kept = [p for p in root.rglob("*") if p.is_file() and not p.name.endswith(("_test.rego", "cases.yaml"))]
    return {p.relative_to(root).as_posix(): p.read_bytes() for p in kept}


async def _decide(policy_set: PolicySet, document, zone="cyberjaya"):
    point = DecisionPoint(policy_set, zone)
    await point.start()
    try:
        return await point.decide(document)
    finally:
        await point.close()


def _tells(document) -> list[str]:
    text = canonical.encode(document).decode()
    return [word for word in ("RF-", '"us"', "Country Group", "BIS guidance", "ECCN", "EAR ") if word in text]


@pytest.mark.parametrize(("action", "origin", "destination"), _FLOWS)
async def test_the_form_for_the_peer_and_the_ledger_has_nothing_of_it(action, origin, destination):
    decision = await _decide(PolicySet.load(), example(action, origin, destination))
    assert decision.effect == "allow"
    assert "RF-HQ" in {finding.code for finding in decision.findings}
    assert "us" in {pack.id for pack in decision.packs}
    assert _tells(decision.to_json())
    assert _tells(decision.for_peer().to_json()) == []
    assert _tells(KeptDecision(decision, example(action, origin, destination), 0).entry()) == []
    assert _tells([finding.for_peer().to_json() for finding in compose(decision.for_peer()).findings]) == []


async def test_with_and_without_the_pack_the_peer_hears_the_same():
    document = example("transfer_model", "MY", "CN")
    document["model"]["training"]["runs"][0]["hired"] = "yes"
    heard = []
    for policy_set in (PolicySet.load(), PolicySet.load().without({"us"})):
        told = (await _decide(policy_set, document)).for_peer()
        heard.append(dataclasses.replace(told, decision_id=""))
    assert heard[0] == heard[1]


async def test_without_the_pack_nothing_is_denied():
    decision = await _decide(PolicySet.load().without({"us"}), example("transfer_model", "MY", "CN"))
    assert (decision.effect, decision.findings) == ("allow", ())


async def test_the_other_zone_never_loads_it():
    policy = PolicySet.load().for_zone("lingang")
    assert not [name for name in policy.modules if "/us/" in name]
    assert "us" not in policy.data["tdz"]["packs"]
    assert "us" not in policy.data["tdz"]["lists"]
    assert '"us"' not in str(policy.data).replace("'", '"')


async def test_advice_that_asks_for_more_is_a_warning_and_obliges_nobody():
    files = _files()
    rules = files["tdz/packs/us/ear/rules.rego"].decode()
    rules += """
findings contains {"code": "RF-HQ", "effect": "deny", "fields": []}

findings contains {"code": "RF-OWN", "effect": "review", "fields": []}

obligations contains {"kind": "require_approval", "params": {"by": ["somebody abroad"]}}
"""
    files["tdz/packs/us/ear/rules.rego"] = rules.encode()
    decision = await _decide(PolicySet(files), example("transfer_model", "MY", "CN"))
    assert decision.effect == "allow"
    assert {finding.effect for finding in decision.findings} == {"info", "warn"}
    assert decision.obligations == ()


async def test_an_advisory_pack_out_of_date_or_without_a_verdict_denies_nothing():
    files = _files()
    manifest = files["tdz/packs/us/manifest/data.json"]
    for changed in (
        manifest.replace(b'"valid_until": 1830268800', b'"valid_until": 1'),
        manifest.replace(b'["ear"]', b'["ear", "unwritten"]'),
        manifest.replace(b'["ear"]', b"[]"),
    ):
        assert changed != manifest
        policy_set = PolicySet({**files, "tdz/packs/us/manifest/data.json": changed})
        assert (await _decide(policy_set, example("transfer_dataset", "MY", "CN"))).effect == "allow"
