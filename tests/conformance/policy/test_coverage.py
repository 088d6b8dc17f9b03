"""What the tests and cases reach: every line of the shipped rules, and every sentence that the coverage page lists."""

from __future__ import annotations

import json
import re
import subprocess
from collections import defaultdict
from pathlib import Path
from typing import Any

from gateway.decisions import codes
from gateway.decisions.cases import load

_ROOT = Path(__file__).resolve().parents[3]
_POLICY = _ROOT / "policy"
_PAGE = _ROOT / "docs/policy/coverage.md"
_QUERY = "[d | some document in input; d := data.tdz.main.decision with input as document]"


def _all_cases():
    return [(path, case) for path in sorted(_POLICY.rglob("cases.yaml")) for case in load(path)]


def _numbers(ranges: Any) -> set[int]:
    return {row for each in ranges or () for row in range(each["start"]["row"], each["end"]["row"] + 1)}


def _add(report: dict[str, Any], reached: dict[str, set[int]], missed: dict[str, set[int]]) -> None:
    for name, file in report["files"].items():
        key = name[name.index("tdz/") :]
        reached[key] |= _numbers(file.get("covered"))
        missed[key] |= _numbers(file.get("not_covered"))


def test_rego_tests_and_cases_together_reach_every_line(opa, policy_set, tmp_path):
    reached: dict[str, set[int]] = defaultdict(set)
    missed: dict[str, set[int]] = defaultdict(set)
    run = subprocess.run(
        [opa, "test", "--coverage", "--fail-on-empty", "-b", str(_POLICY)], capture_output=True, check=True
    )
    _add(json.loads(run.stdout), reached, missed)
    groups = defaultdict(list)
    for _, case in _all_cases():
        groups[case.gateway, case.absent].append(case)
    for number, cases in enumerate(groups.values()):
        policy = cases[0].policy(policy_set)
        folder = tmp_path / str(number)
        for name, text in policy.modules.items():
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_text(text, "utf-8")
        (folder / "data.json").write_text(json.dumps(policy.data), "utf-8")
        (folder / "input.json.txt").write_text(json.dumps([case.document for case in cases]), "utf-8")
        command = [opa, "eval", "--coverage", "-b", ".", "-i", "input.json.txt", "-f", "json", _QUERY]
        run = subprocess.run(command, capture_output=True, check=True, cwd=folder)
        _add(json.loads(run.stdout)["coverage"], reached, missed)
    rules = [name for name in reached if not name.endswith(("_test.rego", "loaded.rego"))]
    total = sum(len(reached[name] | missed[name]) for name in rules)
    left = {name: sorted(missed[name] - reached[name]) for name in rules if missed[name] - reached[name]}
    print(f"{total - sum(map(len, left.values()))} of {total} lines reached by Rego tests and cases; left: {left}")
    assert left == {}


def _rows() -> list[tuple[str, str, list[str]]]:
    rows = [line.strip("| ").split(" | ") for line in _PAGE.read_text("utf-8").splitlines() if line.startswith("| ")]
    return [
        (sentence, rule, re.findall(r"`([^`]+)`", cases))
        for sentence, rule, cases in rows
        if sentence not in {"The law says", "---"}
    ]


def test_the_coverage_page_names_cases_rules_and_codes_that_exist():
    names = {case.name for _, case in _all_cases()}
    explained = {code for document in codes.documents(_POLICY).values() for code in document}
    rows = _rows()
    assert len(rows) > 60
    for sentence, rule, cases in rows:
        assert cases, sentence
        assert [case for case in cases if case not in names] == [], sentence
        assert [code for code in re.findall(r"\b[A-Z]{2,4}(?:-[A-Z0-9]+)+\b", rule) if code not in explained] == []
        for place in re.findall(r"\b(?:my|cn|us)/[a-z_]+", rule):
            assert (_POLICY / "tdz/packs" / place / "rules.rego").is_file(), sentence


def test_every_code_is_reached_by_a_case_and_named_on_the_page():
    explained = {code for document in codes.documents(_POLICY).values() for code in document}
    reached = {code for _, case in _all_cases() for code in case.codes}
    assert explained <= reached
    page = _PAGE.read_text("utf-8")
    assert [code for code in sorted(explained) if code not in page and code not in _BY_WAY] == []


# Told in prose or come by way of others: mechanisms out of date or scope, a model out of a job, no rule at all.
_BY_WAY = {"CN-MECH-EXPIRED", "CN-MECH-SCOPE", "MY-MECH-EXPIRED", "MY-MECH-SCOPE", "TDZ-JOB-MODEL", "TDZ-NO-MATCH"}


def test_every_golden_case_is_written_with_its_number():
    names = " ".join(case.name for _, case in _all_cases())
    written = {int(number) for number in re.findall(r"\(golden (\d+)", names)}
    assert written == {1, 2, 4, 5, 7, 8, 10, 12, 13, 15}
