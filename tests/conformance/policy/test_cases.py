"""Every case of every pack, with its exact findings and obligations, on both engines."""

from __future__ import annotations

from collections import defaultdict
from pathlib import Path

import pytest

from gateway.decisions.cases import Case, load
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.model.policy_input import PolicyInput

_POLICY = Path(__file__).resolve().parents[3] / "policy"
_FILES = sorted(_POLICY.rglob("cases.yaml"))


def _short(answer: dict) -> tuple:
    return (
        answer["effect"],
        frozenset(finding["code"] for finding in answer["findings"]),
        frozenset(obligation["kind"] for obligation in answer["obligations"]),
    )


def _canonical(answer: dict) -> tuple:
    return (
        answer["effect"],
        sorted(map(repr, ({**f, "fields": sorted(f["fields"])} for f in answer["findings"]))),
        sorted(repr(sorted(o.items())) for o in answer["obligations"]),
        sorted(repr(sorted(p.items())) for p in answer["packs"]),
    )


def _by_policy(cases: list[Case], policy_set: PolicySet) -> list[tuple[ZonePolicy, list[Case]]]:
    groups = defaultdict(list)
    for case in cases:
        groups[case.gateway, case.absent].append(case)
    return [(group[0].policy(policy_set), group) for group in groups.values()]


@pytest.mark.parametrize("path", _FILES, ids=lambda p: p.parent.name)
def test_cases_give_exactly_their_findings(path, policy_set, embedded):
    wrong = []
    for policy, cases in _by_policy(list(load(path)), policy_set):
        answers = embedded(policy, [case.document for case in cases])
        for case, answer in zip(cases, answers, strict=True):
            if _short(answer) != (case.effect, case.codes, case.obligations):
                wrong.append((case.name, _short(answer), (case.effect, case.codes, case.obligations)))
    assert wrong == []


def test_both_engines_answer_every_case_alike(policy_set, embedded, real_opa):
    everything = [case for path in _FILES for case in load(path)]
    for policy, cases in _by_policy(everything, policy_set):
        documents = [case.document for case in cases]
        ours, theirs = embedded(policy, documents), real_opa(policy, documents)
        assert [_canonical(a) for a in ours] == [_canonical(a) for a in theirs]


@pytest.mark.parametrize("path", _FILES, ids=lambda p: p.parent.name)
def test_a_case_is_a_valid_input_unless_it_is_about_incomplete_ones(path):
    for case in load(path):
        if "TDZ-INPUT-INCOMPLETE" not in case.codes:
            PolicyInput.model_validate(case.document)


def test_every_pack_has_cases_and_tests():
    packs = sorted(path.parent for path in _POLICY.glob("tdz/packs/*/*/rules.rego"))
    assert packs
    for pack in packs:
        assert (pack / "cases.yaml").is_file(), pack
        assert (pack / "rules_test.rego").is_file(), pack
