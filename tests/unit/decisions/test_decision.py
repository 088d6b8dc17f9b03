"""Decisions: strict reading, what crosses the border, and how several compose."""

from __future__ import annotations

import itertools

import pytest

from gateway.errors import InputError
from gateway.model.decision import Decision, Finding, Obligation, PackVerdict, compose, strictest
from gateway.model.ids import parse_uuid7, uuid7, uuid7_unix_ms


def _decision(effect="allow", findings=(), obligations=(), packs=()) -> Decision:
    return Decision(
        effect=effect,
        findings=tuple(findings),
        obligations=tuple(obligations),
        packs=tuple(packs),
        input_digest="0" * 64,
        decision_id=uuid7(),
        zone="lingang",
        policy_digest="1" * 64,
        data_revision="2" * 64,
    )


def _finding(code="CN-CORE", effect="deny") -> Finding:
    return Finding(code, effect, "binding", "DSL art 21", "none", ("dataset.cn.class",))


def test_a_decision_survives_the_round_trip():
    decision = _decision(
        "deny", [_finding()], [Obligation("delete_by", {"at": 5})], [PackVerdict("cn", "1", 9, "deny")]
    )
    assert Decision.from_json(decision.to_json()) == decision


@pytest.mark.parametrize(
    "change",
    [
        {"effect": "alow"},
        {"effect": "Allow"},
        {"effect": None},
        {"extra": 1},
        {"findings": {}},
        {"findings": [{"code": "X"}]},
        {"packs": [{"id": "cn", "revision": "1", "valid_until": "9", "verdict": "pass"}]},
        {"packs": [{"id": "cn", "revision": "1", "valid_until": 9, "verdict": "maybe"}]},
        {"obligations": [{"kind": "delete_by"}]},
        {"obligations": [{"kind": "delete_by", "params": {"at": 1.5}}]},
        {"input_digest": "xyz"},
        {"decision_id": "00000000-0000-4000-8000-000000000000"},
    ],
)
def test_what_is_not_exactly_a_decision_is_refused(change):
    with pytest.raises(InputError):
        Decision.from_json({**_decision().to_json(), **change})


def test_an_allowance_over_a_denying_finding_is_refused():
    with pytest.raises(InputError):
        Decision.from_json({**_decision().to_json(), "findings": [_finding().to_json()]})


def test_a_missing_member_is_refused():
    document = _decision().to_json()
    del document["zone"]
    with pytest.raises(InputError):
        Decision.from_json(document)


def test_the_peer_sees_no_fields_no_screening_no_advice_and_no_digests():
    decision = _decision(
        "deny",
        [
            _finding("TDZ-SCREENING"),
            _finding("RF-DEV-PRC", "warn"),
            _finding(),
            Finding("TDZ-INPUT-INCOMPLETE", "deny", "house", "usage.cn: 2000000 is wrong", "mend usage", ("usage",)),
        ],
        packs=[PackVerdict("my", "1", 9, "deny"), PackVerdict("us", "1", 9, "pass")],
    )
    peer = decision.for_peer()
    assert [f.code for f in peer.findings] == ["TDZ-NOT-ELIGIBLE", "CN-CORE", "TDZ-INPUT-INCOMPLETE"]
    assert all(f.fields == () for f in peer.findings)
    assert [pack.id for pack in peer.packs] == ["my"]
    text = str(peer.to_json())
    assert not any(word in text for word in ("SCREEN", "RF-", "'us'", "2000000", "usage", decision.input_digest))
    assert Decision.from_json(peer.to_json()) == peer


def test_the_strictest_effect_wins_in_any_order():
    for effects in itertools.permutations(["allow", "review", "deny"]):
        assert compose(*(_decision(effect) for effect in effects)).effect == "deny"
    assert compose(_decision("allow"), _decision("review")).effect == "review"
    assert compose(_decision("allow"), _decision("allow")).effect == "allow"
    assert strictest(["allow", "unheard-of"]) == "deny"


def test_no_decision_at_all_denies():
    assert compose().effect == "deny"


def test_obligations_add_up():
    ours = _decision(
        obligations=[
            Obligation("mask_columns", {"columns": {"a": "drop", "b": "generalise"}}),
            Obligation("row_filter", {"all": [{"column": "x", "op": "==", "value": 1}]}),
            Obligation("delete_by", {"at": 90}),
            Obligation("aggregate_only", {"min_group": 5}),
            Obligation("notify", {"who": ["a"]}),
        ]
    )
    theirs = _decision(
        obligations=[
            Obligation("mask_columns", {"columns": {"a": "null", "b": "keyed_hash", "c": "null"}}),
            Obligation("row_filter", {"all": [{"column": "y", "op": ">", "value": 2}]}),
            Obligation("delete_by", {"at": 80}),
            Obligation("aggregate_only", {"min_group": 10}),
            Obligation("notify", {"who": ["b", "a"]}),
            Obligation("no_onward", {}),
        ]
    )
    together = {o.kind: dict(o.params) for o in compose(ours, theirs).obligations}
    assert together == {
        "mask_columns": {"columns": {"a": "drop", "b": "keyed_hash", "c": "null"}},
        "row_filter": {"all": [{"column": "x", "op": "==", "value": 1}, {"column": "y", "op": ">", "value": 2}]},
        "delete_by": {"at": 80},
        "aggregate_only": {"min_group": 10},
        "notify": {"who": ["a", "b"]},
        "no_onward": {},
    }
    assert compose(theirs, ours).obligations == compose(ours, theirs).obligations


@pytest.mark.parametrize(
    "odd",
    [
        Obligation("encrypt_twice", {}),
        Obligation("delete_by", {"at": "tomorrow"}),
        Obligation("delete_by", {}),
        Obligation("no_onward", {"unless": "asked"}),
        Obligation("mask_columns", {"columns": {"a": "blur"}}),
        Obligation("row_filter", {}),
        Obligation("row_filter", {"all": []}),
    ],
)
def test_an_obligation_that_is_not_understood_denies(odd):
    outcome = compose(_decision("allow"), _decision("allow", obligations=[odd]))
    assert outcome.effect == "deny"
    assert [finding.code for finding in outcome.findings] == ["TDZ-OBLIGATION"]


def test_ids_are_uuid7_and_sort_by_time():
    early, late = uuid7(unix_ms=1), uuid7(unix_ms=2)
    assert early < late
    assert uuid7_unix_ms(late) == 2
    assert parse_uuid7(early) == early
    assert len({uuid7() for _ in range(100)}) == 100


@pytest.mark.parametrize(
    "text",
    [
        "",
        "x",
        "00000000-0000-4000-8000-000000000000",
        "01A20217-B933-75BF-810A-58E017D90DDD",
        pytest.param(" " + uuid7(), id="a space before it"),
        None,
    ],
)
def test_what_is_no_uuid7_is_refused(text):
    with pytest.raises(InputError):
        parse_uuid7(text)
