"""`tdz policy check`: each kind of problem is found at its line, with a remedy, without an OPA; with one still more."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gateway.cli.policy_check import app
from gateway.decisions.authoring.check import check, read
from gateway.decisions.authoring.sources import Sources
from gateway.errors import ConfigError

NOW = 1_795_305_600
ZONE = "package tdz.zone.lingang\n\n"
EXPLAINED = """\
# METADATA
# title: A rule
# custom:
#   code: ZL-RULE
#   authority: house
#   cite: House rule
#   remedy: Ask
"""


def own(policy):
    """All checks that need no engine."""
    return [*read(Sources.read(policy), now=NOW)]


def errors(policy):
    return [problem for problem in own(policy) if problem.level == "error"]


def test_the_shipped_policy_has_no_error_and_one_expired_list(policy):
    (warning,) = own(policy)
    assert (warning.level, warning.check) == ("warning", "dates")
    assert warning.file == "tdz/lists/cn/lingang-general/data.json"
    assert "2025-05-17" in warning.text


RULES = {
    "another zone's package": ("package tdz.zone.cyberjaya\n", 1, "roots", "tdz.zone.cyberjaya"),
    "a pack's package": ("package tdz.packs.cn.data_security\n", 1, "roots", "tdz.packs.cn.data_security"),
    "no package": ("x := 1\n", 1, "roots", "no package"),
    "a field that no input has": (ZONE + "x if input.request.nowe == 1\n", 3, "schema", "request.nowe"),
    "a field below a scalar": (ZONE + 'x if input.request.now.year == "2026"\n', 3, "schema", "request.now.year"),
    "a field in brackets": (ZONE + 'x if input["reqest"].now == 1\n', 3, "schema", "reqest"),
    "a field of an item": (ZONE + "x if input.mechanisms[_].kid == 1\n", 3, "schema", "mechanisms[_].kid"),
    "a builtin that reaches out": (ZONE + 'x := http.send({"url": ""})\n', 3, "capabilities", "http.send"),
    "with": (ZONE + "x if y with input as {}\n", 3, "capabilities", "with"),
    "an unused import": (
        "package tdz.zone.lingang\n\nimport data.tdz.lib.given\n\nx := 1\n",
        3,
        "strict",
        "given is imported and not used",
    ),
    "an import of nothing": (
        "package tdz.zone.lingang\n\nimport data.tdz.lib.verdit\n\nx := verdit.of\n",
        3,
        "strict",
        "nothing stands at data.tdz.lib.verdit",
    ),
    "a variable without a value": (ZONE + "x if input.dataset.sector == secto\n", 3, "strict", "the variable secto"),
    "a finding's field that no input has": (
        ZONE
        + EXPLAINED
        + 'findings contains {"code": "ZL-RULE", "effect": "deny", "fields": ["dataset.sectr"]} if true\n',
        10,
        "metadata",
        "fields names dataset.sectr",
    ),
    "a hidden input": (ZONE + "x if {\n\tinput := 1\n}\n", 4, "strict", "input is hidden"),
    "blanks as indentation": (ZONE + "x if {\n  true\n}\n", 4, "format", "tabs"),
    "blanks at an end": (ZONE + "x := 1 \n", 3, "format", "end of the line"),
    "no line feed at the end": (ZONE + "x := 1", 3, "format", "line feed"),
    "a code without METADATA": (
        ZONE + 'findings contains {"code": "ZL-NEW", "effect": "deny", "fields": []} if true\n',
        3,
        "metadata",
        "ZL-NEW has no METADATA",
    ),
    "a code of the house": (
        ZONE
        + EXPLAINED.replace("ZL-RULE", "TDZ-ROWS")
        + 'findings contains {"code": "TDZ-ROWS", "effect": "deny", "fields": []} if true\n',
        3,
        "metadata",
        "belongs to",
    ),
    "no remedy": (ZONE + EXPLAINED.replace("#   remedy: Ask\n", "") + "x := 1\n", 3, "metadata", "no remedy"),
    "an authority that is none": (
        ZONE + EXPLAINED.replace("authority: house", "authority: law") + "x := 1\n",
        3,
        "metadata",
        "authority",
    ),
    "a code that is none": (ZONE + EXPLAINED.replace("ZL-RULE", "zl rule") + "x := 1\n", 3, "metadata", "reason code"),
    "METADATA that is no YAML": (ZONE + "# METADATA\n# title: [\nx := 1\n", 4, "metadata", "YAML"),
    "an effect that is none": (
        ZONE + EXPLAINED + 'findings contains {"code": "ZL-RULE", "effect": "dney", "fields": []} if true\n',
        10,
        "metadata",
        "dney",
    ),
    "an obligation that is none": (
        ZONE + 'obligations contains {"kind": "mask_colums", "params": {}} if true\n',
        3,
        "metadata",
        "mask_colums",
    ),
}


@pytest.mark.parametrize("name", RULES)
def test_a_problem_of_a_rule_is_named_with_its_line_and_remedy(name, policy, write):
    text, line, kind, says = RULES[name]
    write("tdz/zone/lingang/own.rego", text)
    found = [each for each in errors(policy) if each.file == "tdz/zone/lingang/own.rego" and each.check == kind]
    assert [each for each in found if each.line == line and says in each.text], own(policy)
    assert all(each.remedy for each in found)


def test_what_strings_and_comments_say_is_no_code(policy, write):
    write("tdz/zone/lingang/own.rego", ZONE + '# input.request.nowe, http.send(1)\nx := "input.request.nowe"\n')
    assert [each for each in errors(policy) if each.file == "tdz/zone/lingang/own.rego"] == []


FILES = {
    "a file outside": ("other/x.rego", "package other\n", "roots"),
    "data of another name": ("tdz/zone/lingang/extra.json", "{}", "roots"),
    "the generated module": ("tdz/local/loaded.rego", "package tdz.local\n", "roots"),
    "a pack without a manifest": ("tdz/packs/xx/a/rules.rego", "package tdz.packs.xx.a\n", "manifest"),
    "a part without a verdict": (
        "tdz/packs/my/strategic_trade/rules.rego",
        "package tdz.packs.my.strategic_trade\n\nfindings := set()\n",
        "no verdict",
    ),
    "a part that no manifest names": ("tdz/packs/my/extra/rules.rego", "package tdz.packs.my.extra\n", "never count"),
    "cases that are none": ("tdz/zone/lingang/cases.yaml", "- name: x\n  expcet: {}\n", "expcet"),
    "a case of a path that is none": (
        "tdz/zone/lingang/cases.yaml",
        "- name: x\n  set: {dataset.cn.no: 1}\n  expect: {effect: deny, codes: [], obligations: []}\n",
        "dataset.cn.no",
    ),
    "a registry that is no JSON": ("tdz/registry/data.json", "{", "not JSON"),
    "a required pack that is not there": (
        "tdz/registry/data.json",
        '{"lingang": {"jurisdiction": "CN", "required": ["no"]}, "cyberjaya": {"jurisdiction": "MY", "required": []}}',
        "requires the pack no",
    ),
    "a code document that says otherwise": ("tdz/packs/my/codes/data.json", "{}", "METADATA"),
    "codes of nobody": ("tdz/zone/lingang/codes/data.json", "{}", "no rule names"),
    "a list without a date": ("tdz/lists/cn/new/data.json", '{"source": "x"}', "valid_until"),
    "a list without a source": ("tdz/lists/cn/new/data.json", '{"valid_until": 1795305601}', "source"),
    "an odd revision": (
        "tdz/packs/my/manifest/data.json",
        '{"id": "my", "revision": "new", "legal_as_of": 1, "valid_until": 1830268800, "parts": ["personal_data"]}',
        "serial number",
    ),
    "a mask that is none": ("tdz/zone/lingang/log/data.json", '{"masks": []}', "mask"),
}


@pytest.mark.parametrize("name", FILES)
def test_a_problem_of_a_file_is_named(name, policy, write):
    file, text, says = FILES[name]
    write(file, text)
    found = errors(policy)
    assert any(says in f"{each.check} {each.text}" for each in found), found


def test_a_pack_out_of_date_is_an_error_and_one_that_ends_soon_a_warning(policy):
    manifest = policy / "tdz/packs/my/manifest/data.json"
    for until, level in ((NOW, "error"), (NOW + 30 * 86_400, "warning"), (NOW + 91 * 86_400, "")):
        document = json.loads(manifest.read_text())
        manifest.write_text(json.dumps({**document, "valid_until": until}))
        found = [each.level for each in own(policy) if each.file == "tdz/packs/my/manifest/data.json"]
        assert found == ([level] if level else [])


def test_links_and_what_is_no_text_are_refused(policy, write):
    (policy / "tdz/zone/lingang/link.rego").symlink_to(policy / "tdz/main/main.rego")
    (policy / "tdz/zone/lingang/raw.rego").write_bytes(b"\xff")
    assert {each.text for each in errors(policy)} >= {"it is a link", "it is not UTF-8"}
    with pytest.raises(ConfigError):
        Sources.read(policy / "nothing")


async def test_the_embedded_engine_names_file_and_line_of_what_does_not_parse(policy, write):
    write("tdz/zone/lingang/one.rego", ZONE + "x := 1 +\n")
    write("tdz/zone/lingang/two.rego", ZONE + "y := 2\n\nz := [\n")
    checked = await check(policy, opa=None, now=NOW)
    found = {(each.file, each.check) for each in checked.problems if each.level == "error"}
    assert found >= {("tdz/zone/lingang/one.rego", "compile"), ("tdz/zone/lingang/two.rego", "compile")}
    assert {each.line for each in checked.problems if each.file == "tdz/zone/lingang/one.rego"} == {3}
    assert checked.made_by["compile"] == "embedded engine"


async def test_a_policy_that_comes_to_no_decision_is_an_error(policy, write):
    write("tdz/zone/lingang/own.rego", ZONE + "findings contains 1 if true\n")  # the shipped one is `:=`
    checked = await check(policy, opa=None, now=NOW)
    assert any(each.check == "compile" for each in checked.problems), checked.problems


async def test_an_opa_finds_what_own_checks_cannot(policy, write, opa):
    write("tdz/zone/lingang/own.rego", ZONE + "x if {\n\ty := 1\n}\n\nz if q.r\n")
    without = await check(policy, opa=None, now=NOW)
    checked = await check(policy, opa=opa, now=NOW)
    found = [each for each in checked.problems if each.file == "tdz/zone/lingang/own.rego"]
    assert {each.line for each in found} >= {7}
    assert any("q" in each.text for each in found)
    assert len(found) > len([each for each in without.problems if each.file == "tdz/zone/lingang/own.rego"])
    assert checked.made_by["strict"] == f"OPA {opa.version()}"


def test_the_command_says_what_was_checked_by_what_and_exits_1_on_errors(policy, write):
    runner = CliRunner()
    good = runner.invoke(app, [str(policy), "--opa", "none"])
    assert good.exit_code == 0, good.output
    for part in ("sound", "checked by embedded engine: compile", "warning"):
        assert part in good.output
    write("tdz/zone/lingang/own.rego", ZONE + "x if input.request.nowe == 1\n")
    bad = runner.invoke(app, [str(policy), "--opa", "none", "--json"])
    document = json.loads(bad.stdout)
    assert (bad.exit_code, document["ok"]) == (1, False)
    assert [each["line"] for each in document["problems"] if each["level"] == "error"] == [3]
    assert runner.invoke(app, [str(policy / "no"), "--opa", "none"]).exit_code == 2
    assert runner.invoke(app, [str(policy), "--opa", "/no/opa"]).exit_code == 2


def test_fix_writes_the_code_documents(policy, write):
    write(
        "tdz/zone/lingang/own.rego",
        ZONE + EXPLAINED + 'findings contains {"code": "ZL-RULE", "effect": "deny", "fields": []} if {\n\t1 == 2\n}\n',
    )
    rules = policy / "tdz/zone/lingang/rules.rego"
    rules.write_text(rules.read_text().replace("findings := set()\n\n", ""))
    assert "it is missing" in {each.text.partition(":")[0] for each in errors(policy)}
    run = CliRunner().invoke(app, [str(policy), "--opa", "none", "--fix"])
    assert run.exit_code == 0, run.output
    written = json.loads((policy / "tdz/zone/lingang/codes/data.json").read_text())
    assert written == {"ZL-RULE": {"authority": "house", "cite": "House rule", "remedy": "Ask"}}
