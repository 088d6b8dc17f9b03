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
