"""`tdz policy example` and `tdz policy eval`."""

from __future__ import annotations

import json

import pytest
from typer.testing import CliRunner

from gateway.cli.policy import app
from gateway.decisions.example import example

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
