"""A variable that never gets a value: refused as OPA refuses it, and nothing that OPA takes."""

from __future__ import annotations

import json
import subprocess
import time
from pathlib import Path

import pytest

from gateway.decisions.policy_set import PolicySet, shipped
from gateway.decisions.variables import check, unbound
from gateway.errors import ConfigError
from tests.opa_server import opa_or_skip

NAME = "tdz/zone/lingang/own.rego"
HEAD = "package tdz.zone.lingang\n\nimport data.tdz.lib.given\nimport data.tdz.lib.ids as known\n\n"

UNBOUND = {
    "x if input.dataset.sector == secto": "secto",
    "x if input.dataset.sector != secto": "secto",
    "f(a) := b if {\n\tb := a + c\n}": "c",
    "x if {\n\tsome y in input.mechanisms\n\ty.kind == z\n}": "z",
    'findings contains {"code": "LG-X", "effect": effec, "fields": []} if input.request.now > 0': "effec",
    "findings contains finding if input.request.now > 0": "finding",
    "x if {\n\tnot helper(q)\n}\n\nhelper(a) if a == 1": "q",
    'x if {\n\t"a" in tagz\n}': "tagz",
    'x := "a" if input.request.now == 1 else := secto': "secto",
    "x if time.add_date(n, 1, 2, 3) > 0": "n",
    "x if count({m | some m in input.mechanisms; m.kind == w}) > 0": "w",
    "x if {\n\ty := 1\n\ty == list.a\n}": "list",
    "x if {\n\tevery m in input.mechanisms {\n\t\tm.kind == w\n\t}\n}": "w",
    'x := {"a": w}': "w",
    "x := {w: 1}": "w",
    "x if gven.valid": "gven",
}
BOUND = [
    "x if {\n\tsome k, v in input.mechanisms\n\tk != v.kind\n}",
    "x if {\n\tsome k,\n\t\tv in input.mechanisms\n\tk != v.kind\n}",
    'x if {\n\tsome {"kind": k} in input.mechanisms\n\tk == "tia"\n}',
    "x := {a | some a in input.mechanisms}",
    "x := {k: v | some k, v in input.mechanisms}",
    "x if {\n\tevery m in input.mechanisms {\n\t\tm.kind == given.kind\n\t}\n}",
    "x if {\n\tevery k, m in input.mechanisms {\n\t\tm.kind != k\n\t}\n}",
    "x if input.mechanisms[i].kind == i",
    'x if input["mechanisms"][i].kind == i',
    "x if input.mechanisms[_].kind == known.kind",
    "x if [a, b] = input.mechanisms",
    "x if {\n\t[a, b] := input.mechanisms\n\ta == b\n}",
    'x if {\n\t{"kind": k} := input.mechanisms[0]\n\tk == "tia"\n}',
    "x if {\n\t1 = y\n\ty == input.request.now\n}",
    "x if {\n\tsome a\n\tinput.mechanisms[a].kind == a\n}",
    "y if x\n\nx if true",
    "default z := 1\n\nx if z == 1",
    "x if walk(input, [p, v])",
    "x if {some c in input.mechanisms; c.kind == c.ref}",
    "f(a, b) := a + b",
    "f([a, b]) := a + b",
    "p.q := 1\n\nx if p.q == 1",
    "p[a] := b if some a, b in input.mechanisms",
    'x := "secto" # secto',
    "x := `secto` if input.request.now in [1, 2]",
]


@pytest.mark.parametrize("rule", UNBOUND)
def test_a_variable_that_never_gets_a_value_is_named_with_its_line(rule: str) -> None:
    found = list(unbound({NAME: f"{HEAD}{rule}\n"}))
    assert [each.name for each in found] == [UNBOUND[rule]]
    lines = f"{HEAD}{rule}\n".split("\n")
    assert UNBOUND[rule] in lines[found[0].line - 1]
    with pytest.raises(ConfigError, match=rf"own\.rego, line {found[0].line}: the variable {UNBOUND[rule]} never"):
        check({NAME: f"{HEAD}{rule}\n"})


@pytest.mark.parametrize("rule", BOUND)
def test_what_may_have_a_value_is_let_be(rule: str) -> None:
    assert list(unbound({NAME: f"{HEAD}{rule}\n"})) == []


def test_opa_finds_the_same(tmp_path: Path) -> None:
    opa = opa_or_skip()
    for number, rule in enumerate((*UNBOUND, *BOUND)):
        text = f"{HEAD}{rule}\n".replace("tdz.zone.lingang", f"tdz.zone.z{number}", 1)
        (tmp_path / f"{number}.rego").write_text(text, "utf-8")
    found: set[int] = set()
    while True:  # one stage of OPA's compiler after the other: what one finds hides what the next would
        command = [opa, "check", "--format", "json", "--max-errors", "0", str(tmp_path)]
        run = subprocess.run(command, capture_output=True, check=False, text=True)
        errors = json.loads(run.stderr or "{}").get("errors", [])
        if not errors:
            break
        assert {each["code"] for each in errors} == {"rego_unsafe_var_error"}
        for path in {Path(each["location"]["file"]) for each in errors}:
            found.add(int(path.stem))
            path.unlink()
    assert found == set(range(len(UNBOUND)))


def test_a_rule_of_another_file_of_its_folder_is_one_of_its_package() -> None:
    both = {NAME: f"{HEAD}x if helper\n", NAME.replace("own", "more"): "package tdz.zone.lingang\n\nhelper if true\n"}
    assert list(unbound(both)) == []
    elsewhere = {NAME: f"{HEAD}x if helper\n", "tdz/zone/cyberjaya/own.rego": "package a\n\nhelper if true\n"}
    assert [each.name for each in unbound(elsewhere)] == ["helper"]


def test_a_policy_directory_with_one_is_not_loaded(tmp_path: Path) -> None:
    root = shipped()
    files = {
        path.relative_to(root).as_posix(): path.read_bytes()
        for path in root.rglob("*")
        if path.name in ("data.json", "capabilities.json")
        or (path.suffix == ".rego" and not path.name.endswith("_test.rego"))
    }
    files["tdz/zone/lingang/rules.rego"] = (
        b'package tdz.zone.lingang\n\nfindings contains {"code": "LG-OWN", "effect": "deny", "fields": []} if {\n'
        b"\tinput.dataset.sector == secto\n}\n\nobligations := set()\n"
    )
    with pytest.raises(ConfigError, match="line 4: the variable secto never gets a value") as refused:
        PolicySet(files)
    assert refused.value.remedy


LONG = {
    "indexes": "a[" * 100_000,
    "brackets": "[" * 100_000 + "=",
    "words": "some " * 100_000,
    "values": "x=[" * 50_000,
    "closed": "(" * 9 + ")" * 99,
}


@pytest.mark.parametrize("text", LONG.values(), ids=LONG)
def test_what_is_made_to_take_long_does_not(text: str) -> None:
    began = time.monotonic()
    list(unbound({NAME: f"package tdz.zone.lingang\n\nx if {text}"}))
    assert time.monotonic() - began < 30
