"""`tdz policy explain`: rule, values, remedies, and changes that were tried."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gateway.cli.policy_explain import app
from gateway.decisions.authoring.explaining import explain, shown
from gateway.decisions.example import NOW, example
from gateway.decisions.policy_set import PolicySet


@pytest.fixture
def policy_set(policy):
    return PolicySet.load(policy)


def over_the_threshold():
    document = example()
    document["usage"]["cn"]["non_sensitive_after"] = 110_000
    document["mechanisms"] = [each for each in document["mechanisms"] if each["kind"] == "pipia"]
    return document


async def test_a_denial_names_rule_values_and_each_single_change_that_mends_it(policy_set):
    told = await explain(policy_set, "lingang", over_the_threshold())
    (reason,) = told.reasons
    assert reason.finding.code == "CN-CBDF-MECH"
    assert reason.rule.file == "tdz/packs/cn/personal_information/rules.rego"
    assert reason.rule.title == "No mechanism for this many persons"
    assert dict(reason.values)["usage.cn.non_sensitive_after"] == "110,000"
    changes = {mend.change: mend.effect for mend in reason.mends}
    assert changes["usage.cn.non_sensitive_after were 99,999 or less"] == "allow"
    (mechanism,) = [change for change in changes if change.startswith("there were a valid")]
    for kind in ("standard_contract", "security_assessment", "certification"):
        assert kind in mechanism
    assert "pipia" not in mechanism


async def test_of_the_rules_that_share_a_code_the_one_that_spoke_is_named(policy_set):
    document = example()
    document["usage"]["cn"]["non_sensitive_after"] = 110_000
    for mechanism in document["mechanisms"]:
        mechanism["expires_at"] = NOW - 1
    told = await explain(policy_set, "lingang", document, try_changes=False)
    rule = next(reason.rule for reason in told.reasons if reason.finding.code == "CN-MECH-EXPIRED")
    text = policy_set.for_zone("lingang").modules[rule.file].splitlines()[rule.line - 1]
    assert rule.file == "tdz/packs/cn/personal_information/rules.rego"
    assert text.startswith('findings contains {"code": "CN-MECH-EXPIRED"')
    assert rule.title == "A mechanism is out of date"


async def test_what_mends_one_finding_says_what_is_left(policy_set):
    document = over_the_threshold()
    document["recipient"]["screening"]["result"] = "hit"
    told = await explain(policy_set, "lingang", document)
    screening = next(reason for reason in told.reasons if reason.finding.code == "TDZ-SCREENING")
    (mend,) = screening.mends
    assert (mend.change, mend.effect, mend.codes) == (
        "recipient.screening.result were clear",
        "deny",
        ("CN-CBDF-MECH",),
    )


async def test_thresholds_that_are_near_are_named_with_their_first_value(policy_set):
    document = example()
    document["mechanisms"] = [each for each in document["mechanisms"] if each["kind"] == "pipia"]
    told = await explain(policy_set, "lingang", document)
    assert told.decision.effect == "allow"
    near = {each.path: each for each in told.near}
    assert (near["usage.cn.non_sensitive_after"].at, near["usage.cn.non_sensitive_after"].effect) == (100_000, "deny")
    assert near["usage.cn.non_sensitive_after"].codes == ("CN-CBDF-MECH",)
    ends = example()
    ends["mechanisms"][0]["expires_at"] = NOW + 10 * 86_400
    told = await explain(policy_set, "lingang", ends)
    (edge,) = [each for each in told.near if each.path == "request.now"]
    assert edge.at == NOW + 10 * 86_400


async def test_an_input_that_is_none_is_explained_by_its_fields_and_nothing_is_tried(policy_set):
    document = example()
    document["usage"]["cn"]["non_sensitive_after"] = "60000"
    told = await explain(policy_set, "lingang", document)
    (reason,) = told.reasons
    assert reason.finding.code == "TDZ-INPUT-INCOMPLETE"
    assert reason.values == (("usage.cn.non_sensitive_after", "60000"),)
    assert (reason.mends, told.near) == ((), ())
    document["usage"]["cn"] = {"year": 2027, "non_sensitive_after": 60_000, "sensitive_after": 0}
    told = await explain(policy_set, "lingang", document)
    (reason,) = told.reasons
    assert dict(reason.values) == {"usage.cn.year": "2027", "request.now": "2026-11-22T00:00:00Z"}


async def test_a_mechanism_for_something_else_is_shown_beside_what_was_asked(policy_set):
    document = over_the_threshold()
    contract = example()["mechanisms"][1]
    contract["scope"] |= {"recipient_id": "mmu", "purposes": ["research"]}
    document["mechanisms"].append(contract)
    told = await explain(policy_set, "lingang", document)
    (reason,) = told.reasons
    assert reason.finding.code == "CN-MECH-SCOPE"
    assert dict(reason.values)["recipient.id"] == "um"
    assert "datasets/traffic-survey to mmu for research" in dict(reason.values)["mechanisms"]


async def test_a_claim_of_transit_that_is_not_borne_out_shows_the_origins(policy_set):
    document = over_the_threshold()
    document["dataset"]["origin"] = "foreign_in_transit"
    document["dataset"]["cn"]["exemption"] = "transit"
    told = await explain(policy_set, "lingang", document)
    (reason,) = told.reasons
    assert dict(reason.values)["dataset.origin_jurisdictions"] == '["CN"]'


def test_the_command_explains_in_sentences_and_exits_as_eval(policy, tmp_path):
    path = tmp_path / "input.json"
    path.write_text(json.dumps(over_the_threshold()))
    done = CliRunner().invoke(app, [str(path), "--gateway", "lingang", "--policy", str(policy)])
    assert done.exit_code == 1
    for part in (
        "deny by lingang, for 1 reason",
        "because    Order 16",
        "looked at  usage.cn.non_sensitive_after = 110,000",
        "would not stand if usage.cn.non_sensitive_after were 99,999 or less; then allow",
    ):
        assert part in done.output
    done = CliRunner().invoke(app, [str(path), "--gateway", "lingang", "--no-try", "--json"])
    document = json.loads(done.stdout)
    assert document["reasons"][0]["would_not_stand_if"] == []
    path.write_text(json.dumps({**example(), "usage": None}))
    done = CliRunner().invoke(app, [str(path), "--gateway", "lingang"])
    assert (done.exit_code, "no single change" in done.output) == (1, False)
    path.write_text(json.dumps(example()))
    done = CliRunner().invoke(app, [str(path), "--gateway", "cyberjaya"])
    assert (done.exit_code, "no rule has anything against it" in done.output) == (0, True)


def test_values_are_shown_short():
    assert shown(None) == "not there"
    assert shown([]) == "[]"
    assert shown("") == '""'
    assert shown(1234567) == "1,234,567"
    assert shown(2026, "usage.cn.year") == "2026"
    assert shown(NOW, "request.now") == "2026-11-22T00:00:00Z"
    assert shown(0, "dataset.retention_until") == "0 (no date)"
    assert len(shown("x" * 10_000)) < 200
