"""Replaying without the gateway: the kept policy, the record, and the judgement. What is compared, is compared."""

from __future__ import annotations

import copy
import json
import os
from pathlib import Path
from typing import Any

import pytest

from gateway.decisions.example import example
from gateway.decisions.kept_policy import keep_policy
from gateway.decisions.log.record import Record as LogRecord
from gateway.decisions.log.segments import Segments
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from ledger.errors import IncompleteError, OperationalError, TamperedError
from ledger.replay.engine import evaluate
from ledger.replay.judge import judge
from ledger.replay.policy import load_policy
from ledger.replay.record import find_record, read_record

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture(scope="module")
def policy_set():
    return PolicySet.load(ROOT / "policy")


@pytest.fixture
def kept(tmp_path, policy_set):
    """The policy of lingang, as its gateway keeps it."""
    policy = policy_set.for_zone("lingang")
    return keep_policy(tmp_path / "in-force", policy), policy


async def decided(policy_set: PolicySet, document: dict[str, Any]) -> LogRecord:
    point = DecisionPoint(policy_set, "lingang")
    await point.start()
    try:
        decision = await point.decide(document)
    finally:
        await point.close()
    return LogRecord(document["request"]["now"], decision, os.urandom(32), document, {})


@pytest.mark.parametrize("zone", ["lingang", "cyberjaya"])
def test_what_is_loaded_is_exactly_what_the_gateway_loads(zone, tmp_path, policy_set):
    policy = policy_set.for_zone(zone)
    loaded = load_policy(keep_policy(tmp_path, policy), policy.digest)
    assert dict(loaded.modules) == dict(policy.modules)
    assert loaded.data == policy.data


def test_another_policy_a_broken_one_and_a_missing_one_are_told_apart(kept, tmp_path):
    path, policy = kept
    with pytest.raises(TamperedError):
        load_policy(path, "0" * 64)
    with pytest.raises(IncompleteError):
        load_policy(tmp_path / "no", policy.digest)
    document = json.loads(path.read_text())
    for broken in ("", "[]", "{}", json.dumps({**document, "files": {"../x": ""}})):
        path.write_text(broken)
        with pytest.raises(TamperedError):
            load_policy(path, policy.digest)


def test_a_policy_that_could_reach_out_is_not_evaluated(tmp_path, policy_set):
    files = dict(policy_set.for_zone("lingang").files)
    capabilities = json.loads(files["capabilities.json"])
    capabilities["builtins"].append({"name": "http.send", "decl": {"type": "function"}})
    files["capabilities.json"] = json.dumps(capabilities).encode()
    policy = PolicySet(files).for_zone("lingang")
    with pytest.raises(TamperedError, match=r"http\.send"):
        load_policy(keep_policy(tmp_path, policy), policy.digest)


async def test_a_decision_is_the_same_again_and_each_thing_that_differs_is_named(kept, policy_set):
    path, _ = kept
    document = example()
    document["recipient"]["screening"]["result"] = "hit"
    record = read_record((await decided(policy_set, document)).encode())
    record.require_input()
    policy = load_policy(path, record.decision["policy_digest"])
    answer, engine = evaluate(policy, record.input, engine="regopy")
    assert engine == "regopy"
    found = judge(record, policy, answer)
    assert (found.same, found.effect, found.codes) == (True, ("deny", "deny"), ["TDZ-SCREENING"])

    for change, says in (
        (lambda a: a.update(effect="allow"), "effect: recorded deny, now allow"),
        (lambda a: a["findings"].clear(), "finding: recorded TDZ-SCREENING"),
        (lambda a: a["findings"].append({"code": "CN-CORE", "effect": "deny", "fields": []}), "finding: now CN-CORE"),
        (lambda a: a["findings"][0].update(effect="review"), "finding: now TDZ-SCREENING review"),
        (lambda a: a["packs"][0].update(revision="2020010101"), "pack: now cn 2020010101"),
    ):
        other = copy.deepcopy(answer)
        change(other)
        differences = judge(record, policy, other).differences
        assert any(says in line for line in differences), (says, differences)


async def test_what_the_gateway_added_is_told_from_what_policy_said(kept, policy_set):
    path, _ = kept
    record = (await decided(policy_set, example())).to_json()
    policy = load_policy(path, record["decision"]["policy_digest"])
    answer, _ = evaluate(policy, record["input"], engine="regopy")
    terms = {"code": "TDZ-TERMS", "effect": "review", "authority": "house", "cite": "t", "remedy": "", "fields": []}
    record["decision"] |= {"effect": "review", "findings": [terms]}
    record["decision"]["obligations"].append({"kind": "notify", "params": {"who": ["owner"]}})
    found = judge(read_record(json.dumps(record).encode()), policy, answer)
    assert (found.same, found.gateways, found.further) == (True, ["TDZ-TERMS"], ["notify"])
    record["decision"]["effect"] = "allow"
    assert not judge(read_record(json.dumps(record).encode()), policy, answer).same
    record["decision"] |= {"effect": "review", "obligations": []}
    assert judge(read_record(json.dumps(record).encode()), policy, answer).differences == [
        "obligation: now ledger_add, not recorded"
    ]


async def test_a_decision_without_policy_cannot_be_replayed(kept, policy_set):
    path, _ = kept
    record = (await decided(policy_set, example())).to_json()
    policy = load_policy(path, record["decision"]["policy_digest"])
    answer, _ = evaluate(policy, record["input"], engine="regopy")
    failed = {"code": "TDZ-DECISION-UNAVAILABLE", "effect": "deny", "cite": "x", "fields": []}
    packs = [{**pack, "verdict": "incomplete"} for pack in record["decision"]["packs"]]
    record["decision"] |= {"effect": "deny", "findings": [failed], "packs": packs}
    with pytest.raises(IncompleteError, match="without policy"):
        judge(read_record(json.dumps(record).encode()), policy, answer)
    record["decision"]["policy_digest"] = ""
    with pytest.raises(IncompleteError, match="refused by itself"):
        read_record(json.dumps(record).encode()).require_input()


async def test_an_input_that_the_gateway_found_wanting_replays(kept, policy_set):
    path, _ = kept
    document = example()
    del document["exporter"]["ciio"]
    record = read_record((await decided(policy_set, document)).encode())
    policy = load_policy(path, record.decision["policy_digest"])
    answer, _ = evaluate(policy, record.input, engine="regopy")
    found = judge(record, policy, answer)
    assert (found.same, found.gateways) == (True, ["TDZ-INPUT-INCOMPLETE"])


async def test_a_record_is_found_by_the_day_of_its_id(tmp_path, policy_set):
    record = await decided(policy_set, example())
    Segments(tmp_path / "decisions").append([record])
    assert find_record(tmp_path / "decisions", record.id).decision == record.decision.to_json()
    with pytest.raises(IncompleteError):
        find_record(tmp_path / "decisions", "0199aaaa-0000-7000-8000-000000000000")
    with pytest.raises(IncompleteError):
        find_record(tmp_path / "nowhere", record.id)


@pytest.mark.parametrize(
    "text", ["", "[]", "{}", '{"v":1,"id":"x","at":1,"decision":[],"salt":"","input":null,"erased":{}}']
)
def test_what_is_no_record_is_refused(text):
    with pytest.raises(TamperedError):
        read_record(text.encode())


def test_an_engine_that_is_not_here_is_said(kept, monkeypatch):
    path, policy = kept
    loaded = load_policy(path, policy.digest)
    with pytest.raises(OperationalError):
        evaluate(loaded, {}, engine="magic")
    with pytest.raises(OperationalError):
        evaluate(loaded, {}, opa="/no/opa")
    monkeypatch.setattr("ledger.replay.engine.find_spec", lambda _name: None)
    monkeypatch.setenv("PATH", "")
    monkeypatch.delenv("OPA_BIN", raising=False)
    with pytest.raises(IncompleteError, match="no Rego engine"):
        evaluate(loaded, {})
