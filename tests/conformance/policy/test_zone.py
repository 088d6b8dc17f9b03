"""The administrators' own rules may only tighten: whatever they write, nothing of the packs' answer goes away."""

from __future__ import annotations

import json
import subprocess

import pytest

from gateway.decisions.example import example
from gateway.decisions.policy_set import PolicySet
from gateway.errors import ConfigError
from gateway.model.decision import Obligation
from gateway.model.obligation import combine

_ORDER = ("allow", "review", "deny")


@pytest.fixture(scope="module")
def files(policy_dir):
    return {
        path.relative_to(policy_dir).as_posix(): path.read_bytes()
        for path in policy_dir.rglob("*")
        if path.is_file() and not path.name.endswith(("_test.rego", "cases.yaml"))
    }


def _zone(files, text, more=None):
    rules = {"tdz/zone/lingang/rules.rego": f"package tdz.zone.lingang\n\n{text}\n".encode()}
    return PolicySet({**files, **rules, **(more or {})}).for_zone("lingang")


def _documents():
    denied = example()
    denied["dataset"]["cn"]["class"] = "core"
    reviewed = example()
    reviewed["dataset"]["cn"]["class"] = "important"
    bound = example()
    bound["usage"]["cn"]["non_sensitive_after"] = 110_000
    return [example(), reviewed, denied, bound, example("release_output")]


def _set(values):
    return {json.dumps(value, sort_keys=True) for value in values}


_ATTEMPTS = [
    'findings contains {"code": "LG-X1", "effect": "allow", "fields": []}',
    'findings contains {"code": "LG-X1", "effect": "info", "fields": []}',
    'findings contains {"code": "CN-CORE", "effect": "info", "fields": ["dataset.cn.class"]}',
    'findings contains {"code": "CN-IMPORTANT", "effect": "pass", "fields": []}',
    'findings := set()\n\nverdict := "pass"\n\neffect := "allow"\n\ndecision := {"effect": "allow"}',
    "findings := set()\n\nallow := true\n\nobligations := set()",
    'findings contains {"code": "LG-X1"}',
    'findings contains "allow"',
    "findings contains null",
    'findings := set()\n\nobligations contains {"kind": "ledger_add", "params": {}}',
    'findings := set()\n\nobligations contains {"kind": "aggregate_only", "params": {"min_group": 1}}',
    'findings := set()\n\ncodes := {"CN-CORE": {"authority": "house", "cite": "none", "remedy": "none"}}',
]


@pytest.mark.parametrize("text", _ATTEMPTS, ids=range(len(_ATTEMPTS)))
def test_nothing_that_a_zone_writes_loosens_a_decision(text, files, policy_set, embedded, real_opa):
    documents = _documents()
    plain = embedded(policy_set.for_zone("lingang"), documents)
    policy = _zone(files, text)
    for answers in (embedded(policy, documents), real_opa(policy, documents)):
        for before, after in zip(plain, answers, strict=True):
            assert _ORDER.index(after["effect"]) >= _ORDER.index(before["effect"])
            assert _set(before["findings"]) <= _set(after["findings"])
            if after["effect"] != "deny":
                assert _set(before["obligations"]) <= _set(after["obligations"])


def test_a_rule_of_the_zone_tightens(files, embedded, real_opa):
    rule = """# METADATA
# title: Nothing about traffic in this zone
# custom:
#   code: LG-TRAFFIC
#   authority: house
#   cite: the zone's own rule 7
#   remedy: ask for something else
findings contains {"code": "LG-TRAFFIC", "effect": "deny", "fields": ["dataset.sector"]} if {
\tinput.dataset.sector == "mobility"
}"""
    words = {"LG-TRAFFIC": {"authority": "house", "cite": "the zone's own rule 7", "remedy": "ask for something else"}}
    policy = _zone(files, rule, {"tdz/zone/lingang/codes/data.json": json.dumps(words).encode()})
    for (answer,) in (embedded(policy, [example()]), real_opa(policy, [example()])):
        assert answer["effect"] == "deny"
        (finding,) = answer["findings"]
        assert (finding["code"], finding["cite"]) == ("LG-TRAFFIC", "the zone's own rule 7")


@pytest.mark.parametrize(
    "package",
    ["tdz.main", "tdz.main.house", "tdz.packs.cn.personal_information", "tdz.lib.given", "tdz.local", "tdz.zone"],
)
def test_rules_in_another_package_are_refused(package, files):
    more = {"tdz/zone/lingang/more.rego": f"package {package}\n\nexempt := true\n".encode()}
    with pytest.raises(ConfigError, match="package"):
        PolicySet({**files, **more})


@pytest.mark.parametrize(
    "text",
    [
        'deny contains "everything"',
        'findings := {"CN-CORE": "none"}',
        'findings := ["x"]',
        'findings[code] := "info" if code := "X"',
        'findings := set()\n\nobligations := {"no_onward": {}}',
        "default findings := set()",
    ],
)
def test_rules_that_would_never_reach_a_decision_are_refused(text, files):
    with pytest.raises(ConfigError, match="findings"):
        _zone(files, text)


@pytest.mark.parametrize(
    "text",
    [
        'x := 1\n\nx := 2\n\nfindings contains {"code": "AB-1", "effect": "info", "fields": [x]}',
        'findings contains {"code": "AB-1", "effect": "info", "fields": [data.tdz.main.effect]}',
        "findings contains {",
    ],
    ids=["two values", "recursion", "no Rego"],
)
def test_rules_that_do_not_compile_decide_nowhere(text, files, embedded, real_opa):
    policy = _zone(files, text)
    assert embedded(policy, [example()]) == [None]
    with pytest.raises(subprocess.CalledProcessError):
        real_opa(policy, [example()])


def test_another_zones_rules_are_not_heard(files, embedded):
    text = 'package tdz.zone.cyberjaya\n\nfindings contains {"code": "CJ-1", "effect": "deny", "fields": []}\n'
    policy = PolicySet({**files, "tdz/zone/cyberjaya/rules.rego": text.encode()}).for_zone("lingang")
    (answer,) = embedded(policy, [example()])
    assert answer["effect"] == "allow"


def test_obligations_of_a_zone_only_add_to_those_of_a_pack():
    packs = [
        Obligation("mask_columns", {"columns": {"vin": "keyed_hash", "plate": "drop"}}),
        Obligation("aggregate_only", {"min_group": 10}),
        Obligation("delete_by", {"at": 2_000}),
        Obligation("row_filter", {"all": [{"column": "age", "op": ">=", "value": 18}]}),
        Obligation("require_approval", {"by": ["zone_admin"]}),
    ]
    milder = [
        Obligation("mask_columns", {"columns": {"vin": "generalise", "plate": "null", "name": "null"}}),
        Obligation("aggregate_only", {"min_group": 2}),
        Obligation("delete_by", {"at": 9_000}),
        Obligation("row_filter", {"all": [{"column": "age", "op": ">=", "value": 0}]}),
        Obligation("require_approval", {"by": ["owner"]}),
    ]
    bound = {each.kind: dict(each.params) for each in combine([*packs, *milder])}
    assert bound["mask_columns"] == {"columns": {"name": "null", "plate": "drop", "vin": "keyed_hash"}}
    assert bound["aggregate_only"] == {"min_group": 10}
    assert bound["delete_by"] == {"at": 2_000}
    assert len(bound["row_filter"]["all"]) == 2
    assert bound["require_approval"] == {"by": ["owner", "zone_admin"]}
    assert combine([*milder, *packs]) == combine([*packs, *milder])
