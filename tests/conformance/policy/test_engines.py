"""One contract, two engines: whatever stands behind the port, the same policy says the same about the same input."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections import defaultdict
from pathlib import Path

import pytest

from gateway.decisions.cases import load
from gateway.decisions.example import example
from gateway.decisions.point import DecisionPoint
from gateway.errors import DecisionUnavailableError
from gateway.model import canonical
from gateway.model.policy_input import PolicyInput

_POLICY = Path(__file__).resolve().parents[3] / "policy"
_LONG_S = 60.0  # what is asked here takes milliseconds; a loaded machine may take longer


def _policy(policy_set, rule: str, data: dict | None = None):
    """A policy of one rule: `decision` is what it says."""
    whole = policy_set.for_zone("lingang")
    modules = {"tdz/main/main.rego": f"package tdz.main\n\n{rule}\n"}
    return dataclasses.replace(whole, modules=modules, data={"tdz": {"local": {"zone": "lingang"}, **(data or {})}})


async def test_every_case_of_every_pack_gives_exactly_its_findings_and_obligations(policy_set, engine_of):
    groups = defaultdict(list)
    for path in sorted(_POLICY.rglob("cases.yaml")):
        for case in load(path):
            groups[case.gateway, case.absent].append(case)
    assert sum(map(len, groups.values())) > 600
    for (zone, _), cases in groups.items():
        engine = await engine_of(cases[0].policy(policy_set), deadline_s=_LONG_S)
        wrong = []
        for case in cases:
            answer = await engine.evaluate(json.dumps(case.document, ensure_ascii=False).encode())
            found = (
                answer["effect"],
                frozenset(finding["code"] for finding in answer["findings"]),
                frozenset(obligation["kind"] for obligation in answer["obligations"]),
            )
            if found != (case.effect, case.codes, case.obligations):
                wrong.append((zone, case.name, found))
        assert wrong == []


async def test_the_decision_point_reads_both_engines_alike(policy_set, engine_of):
    engine = await engine_of(policy_set.for_zone("lingang"), deadline_s=_LONG_S)
    point = DecisionPoint(policy_set, "lingang", engine=engine)
    allowed = await point.decide(example())
    assert (allowed.effect, [o.kind for o in allowed.obligations]) == ("allow", ["ledger_add"])
    document = example()
    document["recipient"]["screening"]["result"] = "hit"
    refused = await point.decide(document)
    assert (refused.effect, [f.code for f in refused.findings]) == ("deny", ["TDZ-SCREENING"])
    document = example()
    document["dataset"]["cn"]["class"] = "important"  # what was not notified is reviewed
    reviewed = await point.decide(document)
    assert [o.kind for o in reviewed.obligations] == ["ledger_add", "require_approval"]


async def test_answers_are_not_mixed_up_between_callers(policy_set, engine_of):
    engine = await engine_of(_policy(policy_set, "decision := input.n"), deadline_s=_LONG_S)
    answers = await asyncio.gather(*(engine.evaluate(b'{"n":%d}' % n) for n in range(200)))
    assert answers == list(range(200))


async def test_a_caller_that_goes_away_takes_no_answer_of_another(policy_set, engine_of):
    engine = await engine_of(_policy(policy_set, "decision := input.n"), deadline_s=_LONG_S)
    for n in range(10):
        asked = asyncio.create_task(engine.evaluate(b'{"n":%d}' % n))
        for _ in range(n):
            await asyncio.sleep(0)
        asked.cancel()
        await asyncio.gather(asked, return_exceptions=True)  # it may have its answer already
        assert await engine.evaluate(b'{"n":%d}' % (n + 100)) == n + 100


@pytest.mark.parametrize(
    "value",
    [
        {"text": 'a"b\\c\n\t\u0001 \u00fc \u5317\u4eac \U0001f600 \u2028 </script> ${x} {{y}}'},
        {"": "", " ": [], "a.b": {}, "$ref": None},
        [[], [[]], {"a": {"b": {"c": [1, True, False, None, -1]}}}],
        [0, -0, 9_007_199_254_740_991, -9_007_199_254_740_991],
        "x" * 100_000,
        {f"k{n}": n for n in range(2_000)},
    ],
    ids=["text", "names", "nested", "integers", "long", "wide"],
)
async def test_what_an_input_holds_comes_through_as_it_is(policy_set, engine_of, value):
    engine = await engine_of(_policy(policy_set, "decision := input.value"), deadline_s=_LONG_S)
    assert await engine.evaluate(canonical.encode({"value": value})) == value


async def test_data_of_the_policy_comes_through_as_it_is(policy_set, engine_of):
    data = {"lists": {"b c": [1, {"b": None}], "a": {"x": 'a"b\\c \u5317\u4eac \U0001f600'}}}
    rule = "decision := [data.tdz.lists, input.x == data.tdz.lists.a.x, input.x in {data.tdz.lists.a.x}]"
    engine = await engine_of(_policy(policy_set, rule, data), deadline_s=_LONG_S)
    for asked in (json.dumps(data["lists"]["a"]), json.dumps(data["lists"]["a"], ensure_ascii=False)):
        assert await engine.evaluate(asked.encode()) == [data["lists"], True, True]


@pytest.mark.parametrize(
    "rule",
    [
        "decision := 1 if input.there",
        "decision := data.tdz.nothing.there",
        "decision := 1 if count(input.there) > 0",
    ],
)
async def test_an_undefined_decision_is_none(policy_set, engine_of, rule):
    engine = await engine_of(_policy(policy_set, rule), deadline_s=_LONG_S)
    with pytest.raises(DecisionUnavailableError, match="no result"):
        await engine.evaluate(b"{}")


async def test_two_values_of_one_rule_are_no_decision_and_say_nothing_against_the_engine(policy_set, engine_of):
    rule = 'decision := "allow" if input.a\n\ndecision := "deny" if input.b'
    engine = await engine_of(_policy(policy_set, rule), deadline_s=_LONG_S)
    for _ in range(20):
        with pytest.raises(DecisionUnavailableError, match="failed"):
            await engine.evaluate(b'{"a":true,"b":true}')
    assert await engine.evaluate(b'{"a":true}') == "allow"


@pytest.mark.parametrize("answer", ["null", "true", '"allow"', "[]", "{}", '{"effect": "allow"}', "{1, 2}"])
async def test_an_answer_that_is_no_decision_denies(policy_set, engine_of, answer):
    policy = _policy(policy_set, f"decision := {answer}")
    engine = await engine_of(policy, deadline_s=_LONG_S)
    decision = await DecisionPoint(policy_set, "lingang", engine=engine).decide(PolicyInput.model_validate(example()))
    assert decision.effect == "deny"
    assert [finding.code for finding in decision.findings] == ["TDZ-DECISION-UNAVAILABLE"]


async def test_an_answer_without_bound_is_none(policy_set, engine_of):
    rule = 'decision := [concat("", [input.text, input.text]) | some n in numbers.range(1, 4000)]'
    engine = await engine_of(_policy(policy_set, rule), deadline_s=_LONG_S)
    with pytest.raises(DecisionUnavailableError, match="too long"):
        await engine.evaluate(json.dumps({"text": "x" * 1_000}).encode())
    small = _policy(policy_set, "decision := 1")
    assert await (await engine_of(small, deadline_s=_LONG_S)).evaluate(b"{}") == 1


async def test_more_than_may_wait_are_refused_at_once_and_the_others_are_answered(policy_set, engine_of):
    engine = await engine_of(_policy(policy_set, "decision := input.n"), deadline_s=_LONG_S, waiting=20)
    asked = (engine.evaluate(b'{"n":%d}' % n) for n in range(50))
    answers = await asyncio.gather(*asked, return_exceptions=True)
    assert answers[:20] == list(range(20))
    assert all(isinstance(answer, DecisionUnavailableError) for answer in answers[20:])
    assert "20 decisions wait" in answers[20].message
    assert await engine.evaluate(b'{"n":7}') == 7


async def test_the_policy_is_in_force_once_started_and_not_after_the_end(policy_set, engine_of):
    engine = await engine_of(_policy(policy_set, "decision := 1"), deadline_s=_LONG_S)
    await engine.in_force(_LONG_S)
    assert engine.state
    await engine.close()
    with pytest.raises(DecisionUnavailableError, match="closed"):
        await engine.evaluate(b"{}")
    with pytest.raises(DecisionUnavailableError, match="closed"):
        await engine.in_force(0.5)
