"""`tdz policy example` and `tdz policy eval`."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest
from typer.testing import CliRunner

from gateway.cli.policy import app
from gateway.cli.policy_bundles import app as bundles
from gateway.cli.policy_cases import app as cases
from gateway.cli.policy_compare import app as compare
from gateway.decisions.example import example
from gateway.decisions.policy_set import shipped
from tests.unit.decisions.bundles import material

_runner = CliRunner()


def _eval(document, *arguments, gateway="lingang"):
    text = document if isinstance(document, str) else json.dumps(document)
    return _runner.invoke(app, ["eval", "-", "--gateway", gateway, *arguments], input=text)


def test_an_example_can_be_evaluated_as_it_is_printed(tmp_path):
    printed = _runner.invoke(app, ["example", "--action", "transfer_dataset", "--from", "MY", "--to", "CN"])
    assert printed.exit_code == 0
    path = tmp_path / "input.json"
    path.write_text(printed.stdout, "utf-8")
    for zone in ("lingang", "cyberjaya"):
        run = _runner.invoke(app, ["eval", str(path), "--gateway", zone, "--json"])
        assert run.exit_code == 0
        assert json.loads(run.stdout)["effect"] == "allow"


def test_a_denial_exits_1_and_says_why():
    document = example()
    document["recipient"]["screening"]["result"] = "hit"
    run = _eval(document)
    assert run.exit_code == 1
    for part in ("deny", "TDZ-SCREENING", "remedy:", "recipient.screening.result"):
        assert part in run.stdout


def test_a_review_exits_3():
    document = example()
    document["dataset"]["cn"]["class"] = "important"
    run = _eval(document, "--json")
    assert run.exit_code == 3
    decision = json.loads(run.stdout)
    assert decision["effect"] == "review"
    assert [finding["code"] for finding in decision["findings"]] == ["CN-IMPORTANT"]


def test_a_mistyped_field_is_a_denial_that_names_it():
    document = example()
    document["usage"]["cn"]["non_sensitive_after"] = "60000"
    run = _eval(document, "--json")
    assert run.exit_code == 1
    (finding,) = json.loads(run.stdout)["findings"]
    assert finding["code"] == "TDZ-INPUT-INCOMPLETE"
    assert finding["fields"] == ["usage.cn.non_sensitive_after"]


@pytest.mark.parametrize("text", ["", "{", "[1]", '"x"', '{"a":1,"a":2}'])
def test_what_is_no_json_object_exits_2_with_one_line(text):
    run = _eval(text, "--json")
    assert run.exit_code == 2
    assert run.stdout == ""
    assert len(run.stderr.strip().splitlines()) == 1


def test_unknown_files_zones_directories_and_options_exit_2(tmp_path):
    assert _runner.invoke(app, ["eval", "/no/such", "--gateway", "lingang"]).exit_code == 2
    assert _eval(example(), gateway="nowhere").exit_code == 2
    assert _eval(example(), "--policy", str(tmp_path)).exit_code == 2
    assert _runner.invoke(app, ["example", "--action", "fly"]).exit_code == 2
    assert _runner.invoke(app, ["example", "--from", "MY", "--to", "MY"]).exit_code == 2


def test_masked_vehicle_data_is_allowed_with_its_obligation():
    document = example()
    document["dataset"]["category"] = "vehicle"
    document["dataset"]["cn"]["list_item_id"] = "vehicle-after-sales"
    document["dataset"]["deid"]["method"] = "blurred"
    document["dataset"]["columns"] = [{"name": "vin", "arrow_type": "string", "tags": ["vin"]}]
    document["mechanisms"][1]["kind"] = "general_list_filing"
    run = _eval(document, "--json")
    decision = json.loads(run.stdout)
    assert (run.exit_code, decision["effect"], decision["findings"]) == (0, "allow", [])
    assert decision["obligations"] == [{"kind": "mask_columns", "params": {"columns": {"vin": "keyed_hash"}}}]


_OPEN = "package tdz.zone.lingang\n\nfindings contains {\n"


def test_rules_that_do_not_compile_are_neither_signed_nor_verified_nor_tried_and_are_named_by_line(tmp_path):
    assert _runner.invoke(bundles, ["keygen", "k1", "-d", str(tmp_path)]).exit_code == 0
    root = Path(shutil.copytree(shipped(), tmp_path / "policy"))
    signing = ("--key", str(tmp_path / "k1.key"), "--keyid", "k1")
    of = ("--part", "zone", "--zone", "lingang", "--revision", "1", "--legal-as-of", "2025-11-22")
    bundle = ["bundle", str(root), "-o", str(tmp_path / "x.tar.gz"), *of, "--valid-until", "2099-12-31", *signing]
    says = "TDZ-{}: the policy does not compile: tdz/zone/lingang/rules.rego, line 3: what is opened here"
    assert _runner.invoke(bundles, bundle).exit_code == 0
    (root / "tdz/zone/lingang/rules.rego").write_text(_OPEN, "utf-8")
    refused = _runner.invoke(bundles, bundle)
    assert (refused.exit_code, refused.stderr.count("\n")) == (1, 1)
    assert says.format("BUNDLE") in refused.stderr
    for command in (["test", str(root)], ["diff", "shipped", str(root)]):
        failed = _runner.invoke(cases if command[0] == "test" else compare, command[command[0] == "test" :])
        assert failed.exit_code == 2
        assert says.format("CONFIG") in failed.stderr
    foreign = tmp_path / "foreign.tar.gz"  # signed by a program that does not look
    files = {".manifest": material.manifest(1, ("tdz/zone/lingang",)).encode()}
    foreign.write_bytes(material.raw({**files, "tdz/zone/lingang/rules.rego": _OPEN.encode()}))
    (tmp_path / "zone.pem").write_bytes(material.pem(material.key("zone")))
    key = ("--zone", "lingang", "--key", str(tmp_path / "zone.pem"), "--keyid", material.ZONE)
    verified = _runner.invoke(bundles, ["verify", str(foreign), *key])
    assert verified.exit_code == 1
    assert says.format("BUNDLE") in verified.stderr
