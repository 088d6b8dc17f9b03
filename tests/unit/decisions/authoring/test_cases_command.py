"""`tdz policy test` and `new-pack`: expected against found, coverage, both engines; skeletons pass both commands."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gateway.cli.policy_cases import app as cases_app
from gateway.cli.policy_new import app as new_app
from gateway.decisions.authoring import skeleton
from gateway.decisions.authoring.check import check
from gateway.decisions.authoring.testing import run
from gateway.errors import InputError

NOW = 1_795_305_600
MINE = "tdz/zone/lingang/cases.yaml"
CASES = """\
- name: the example is allowed
  expect: {effect: allow, codes: [], obligations: [ledger_add]}
- name: expected is wrong
  set: {recipient.screening.result: hit}
  expect: {effect: review, codes: [TDZ-PURPOSE], obligations: [require_approval]}
"""


def invoke(policy, *arguments):
    return CliRunner().invoke(cases_app, [str(policy), *arguments])


def test_a_failing_case_shows_what_was_expected_and_what_was_found(policy, write):
    write(MINE, CASES)
    done = invoke(policy, "--opa", "none", "-k", "zone/lingang")
    assert done.exit_code == 1
    for part in (
        "failed expected is wrong",
        "effect: expected review, found deny",
        "code: expected TDZ-PURPOSE, not found",
        "code: found TDZ-SCREENING, not expected (it looked at recipient.screening.result)",
        "obligation: expected require_approval, not found",
        "1 of 2 cases passed",
    ):
        assert part in done.output
    document = json.loads(invoke(policy, "--opa", "none", "-k", "expected is wrong", "--json").stdout)
    assert (document["ok"], document["cases"], document["failed"]) == (False, 1, 1)
    assert document["outcomes"][0]["found"]["codes"] == ["TDZ-SCREENING"]


def test_a_filter_that_finds_nothing_and_an_engine_that_is_not_here_are_errors(policy):
    assert invoke(policy, "--opa", "none", "-k", "no such case").exit_code == 2
    assert invoke(policy, "--opa", "none", "-k", "(").exit_code == 2
    assert invoke(policy, "--opa", "none", "--engine", "opa").exit_code == 2
    assert invoke(policy, "--opa", "none", "--engine", "magic").exit_code == 2


async def test_an_opa_measures_lines_runs_the_rego_tests_and_answers_as_the_embedded_engine(policy, write, opa):
    write(MINE, CASES)
    tested = await run(policy, opa=opa)
    assert [outcome.case.name for outcome in tested.outcomes if not outcome.passed] == ["expected is wrong"]
    assert tested.covered is not None
    assert 80 < tested.covered < 100
    assert tested.rego_passed
    assert tested.codes["TDZ-SCREENING"] > 0
    by_opa = await run(policy, engine="opa", opa=opa)
    assert [o.found for o in by_opa.outcomes] == [o.found for o in tested.outcomes] or [
        o.found.to_json() for o in by_opa.outcomes
    ] == [o.found.to_json() for o in tested.outcomes]


async def test_a_rego_test_that_fails_is_a_failure(policy, write, opa):
    write("tdz/zone/lingang/own_test.rego", "package tdz.zone.lingang_test\n\ntest_no if 1 == 2\n")
    write(MINE, CASES.partition("- name: expected")[0])
    tested = await run(policy, opa=opa)
    assert (tested.failed, tested.ok) == (0, False)
    assert "test_no" in tested.rego


async def test_skeletons_pass_check_and_test_side_by_side(policy):
    skeleton.new_zone_rule(policy, "bulk", zone="lingang")
    skeleton.new_zone_rule(policy, "second", zone="lingang")
    skeleton.new_zone_rule(policy, "bulk", zone="cyberjaya")
    skeleton.new_pack(policy, "my_health", title="Health", zone="cyberjaya", now=NOW)
    skeleton.new_pack(policy, "cn_extra", title="Extra", zone="lingang", now=NOW)
    checked = await check(policy, opa=None, now=NOW)
    assert [each for each in checked.problems if each.level == "error"] == []
    tested = await run(policy)
    assert [outcome.case.name for outcome in tested.outcomes if not outcome.passed] == []
    for code in ("LINGANG-BULK", "LINGANG-SECOND", "CYBERJAY-BULK", "MYHEALTH-SECTOR", "CNEXTRA-SECTOR"):
        assert tested.codes[code] == 1


async def test_skeletons_are_what_an_opa_finds_good(policy, opa):
    skeleton.new_zone_rule(policy, "bulk", zone="lingang")
    skeleton.new_pack(policy, "my_health", title="Health", zone="cyberjaya", now=NOW)
    checked = await check(policy, opa=opa, now=NOW)
    assert [each for each in checked.problems if each.level == "error"] == []
    tested = await run(policy, opa=opa)
    assert tested.ok, tested.rego


@pytest.mark.parametrize("name", ["", "Bulk", "../x", "a b", "rules", "x" * 40])
def test_names_that_are_none_are_refused(policy, name):
    with pytest.raises(InputError):
        skeleton.new_zone_rule(policy, name, zone="lingang")


def test_a_name_that_is_taken_and_an_unknown_zone_are_refused(policy, tmp_path):
    with pytest.raises(InputError):
        skeleton.new_pack(policy, "my", title="", zone="cyberjaya", now=NOW)
    with pytest.raises(InputError):
        skeleton.new_zone_rule(policy, "bulk", zone="atlantis")
    made = tmp_path / "made"
    arguments = ["bulk", "--zone-rule", "lingang", "--dir", str(made), "--json"]
    first = CliRunner().invoke(new_app, arguments)
    assert (first.exit_code, json.loads(first.stdout)["copied"]) == (0, True)
    assert (made / "tdz/zone/lingang/bulk.rego").is_file()
    assert CliRunner().invoke(new_app, arguments).exit_code == 2
