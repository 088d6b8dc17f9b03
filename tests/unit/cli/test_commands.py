"""The commands of `tdz` against a small gateway, each run as a process would: arguments in, text and exit code out."""

from __future__ import annotations

import json
import re
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow.parquet as pq
import pytest
import yaml
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.output import ExitCode
from tests.unit.sdk.process import ROOT, SmallZone
from tests.unit.sdk.small_gateway import CHUNKS, ROWS_PER_CHUNK, rows
from tests.unit.sdk.test_zone import MANIFEST

ROWS = CHUNKS * ROWS_PER_CHUNK


@pytest.fixture
def tdz(small_zone: SmallZone, monkeypatch: pytest.MonkeyPatch) -> Any:
    """Run a command as the partner; `tdz(…, who="admin")` as the administrator."""

    def run(*arguments: str, who: str = "partner") -> Result:
        monkeypatch.setenv("TDZ_PROFILE", str(getattr(small_zone, who)))
        return CliRunner().invoke(app, [str(argument) for argument in arguments])

    return run


def document(result: Result) -> Any:
    return json.loads(result.stdout)


def one_line(text: str) -> str:
    return " ".join(text.split())


def test_a_request_prints_the_agreement_and_what_to_type_next(tdz: Any) -> None:
    result = tdz("request", "datasets/flights", "--purpose", "research")
    assert result.exit_code == ExitCode.OK
    assert "tdz pull flights -o" in result.stdout


def test_a_request_may_begin_with_its_options(tdz: Any) -> None:
    result = tdz("request", "--purpose", "research", "flights", "--json")
    assert result.exit_code == ExitCode.OK
    assert document(result)["outcome"] == "allowed"


def test_a_dataset_named_like_a_command_is_asked_for_by_its_full_name(tdz: Any) -> None:
    assert document(tdz("request", "datasets/list", "--purpose", "research", "--json"))["resource"] == "datasets/list"


def test_request_list_lists(tdz: Any) -> None:
    assert document(tdz("request", "list", "--json"))["requests"][0]["id"] == "flights"
    assert "FINALIZED" in tdz("request", "list").stdout


@pytest.mark.parametrize(("name", "code"), [("flights", 0), ("denied", 1), ("review", 3)])
def test_request_show_ends_with_how_the_request_stands(tdz: Any, name: str, code: int) -> None:
    result = tdz("request", "show", name)
    assert result.exit_code == code
    assert f"datasets/{name}" in result.stdout


def test_a_denial_is_explained_with_rule_citation_remedy_decision_and_entry(tdz: Any) -> None:
    result = tdz("request", "datasets/denied", "--purpose", "research")
    assert result.exit_code == ExitCode.REFUSED
    text = one_line(result.stderr)
    for part in ("MY-BASIS", "PDPA 2010 s.129", "transfer impact assessment", "d-1", "entry 7"):
        assert part in text
    assert "Traceback" not in result.output


def test_a_denial_as_json_is_one_document(tdz: Any) -> None:
    result = tdz("request", "datasets/denied", "--purpose", "research", "--json")
    assert result.exit_code == ExitCode.REFUSED
    found = document(result)
    assert found["outcome"] == "denied"
    assert found["findings"][0]["code"] == "MY-BASIS"
    assert found["decisions"] == [{"zone": "cyberjaya", "effect": "deny", "decision_id": "d-1", "ledger_seq": 7}]


def test_a_review_ends_with_incomplete(tdz: Any) -> None:
    result = tdz("request", "datasets/review", "--purpose", "research", "--json")
    assert result.exit_code == ExitCode.INCOMPLETE
    assert document(result)["held_by"] == "lingang/admin"


@pytest.mark.parametrize("suffix", ["parquet", "arrow", "csv"])
def test_a_pull_writes_the_file_in_the_format_of_its_suffix(tdz: Any, tmp_path: Path, suffix: str) -> None:
    target = tmp_path / f"flights.{suffix}"
    result = tdz("pull", "datasets/flights", "-o", target, "--json")
    assert result.exit_code == ExitCode.OK
    found = document(result)
    assert (found["outcome"], found["rows"], found["chunks"]) == ("complete", ROWS, CHUNKS)
    assert target.stat().st_size > 0


def test_a_pull_for_people_says_rows_rate_and_transfer(tdz: Any, tmp_path: Path) -> None:
    result = tdz("pull", "agreements/flights", "-o", tmp_path / "out", "--format", "parquet")
    assert result.exit_code == ExitCode.OK
    assert re.search(r"complete .* 6,000 rows, .* \d+ chunks verified", one_line(result.stdout))
    assert pq.read_table(tmp_path / "out").num_rows == ROWS


def test_an_unknown_format_is_refused_before_anything_moves(tdz: Any, tmp_path: Path) -> None:
    result = tdz("pull", "datasets/flights", "-o", tmp_path / "flights.xls")
    assert result.exit_code == ExitCode.OPERATIONAL
    assert "→" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_pull_that_does_not_verify_fails_and_leaves_nothing(tdz: Any, tmp_path: Path) -> None:
    result = tdz("pull", "agreements/damaged", "-o", tmp_path / "flights.parquet")
    assert result.exit_code == ExitCode.REFUSED
    assert "TDZ-INTEGRITY" in result.stderr
    assert list(tmp_path.iterdir()) == []


def test_datasets_are_listed_shown_and_verified(tdz: Any) -> None:
    assert document(tdz("dataset", "list", "--json"))["datasets"][0]["name"] == "datasets/flights"
    assert "weather" in tdz("dataset", "list", "weather").stdout
    assert "location" in tdz("dataset", "show", "flights").stdout
    assert document(tdz("dataset", "verify", "flights", "--json"))["root"] == "ab" * 32


def test_a_dataset_is_published_from_a_file_and_its_manifest(tdz: Any, tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "flights.parquet")
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump(MANIFEST))
    command = ("dataset", "publish", tmp_path / "flights.parquet", "--manifest", tmp_path / "flights.yaml")
    found = document(tdz(*command, "--json"))
    assert (found["name"], found["rows"]) == ("datasets/flights", ROWS)
    assert "published" in tdz(*command).stdout


def test_a_wrong_manifest_names_file_field_and_remedy(tdz: Any, tmp_path: Path) -> None:
    pq.write_table(rows(), tmp_path / "flights.parquet")
    (tmp_path / "flights.yaml").write_text(yaml.safe_dump({**MANIFEST, "titel": "x"}))
    result = tdz("dataset", "publish", tmp_path / "flights.parquet", "--manifest", tmp_path / "flights.yaml")
    assert result.exit_code == ExitCode.OPERATIONAL
    assert "flights.yaml" in result.stderr
    assert "titel" in result.stderr


def test_agreements_and_transfers_are_listed_and_shown(tdz: Any) -> None:
    assert len(document(tdz("agreement", "list", "--json"))["agreements"]) == 2
    assert "FINALIZED" in tdz("agreement", "show", "flights").stdout
    assert "t-1" in tdz("transfer", "list").stdout
    assert document(tdz("transfer", "show", "t-1", "--json"))["state"] == "COMPLETED"


def test_the_status_shows_the_paired_zones(tdz: Any) -> None:
    assert document(tdz("zone", "status", "--json", who="admin"))["peers"][0]["zone"] == "lingang"
    assert "lingang" in tdz("zone", "status", who="admin").stdout


def test_an_unknown_thing_is_one_line_with_the_remedy(tdz: Any) -> None:
    result = tdz("dataset", "show", "nothing")
    assert result.exit_code == ExitCode.OPERATIONAL
    assert one_line(result.stderr) == "error TDZ-NOT-FOUND: datasets/nothing is not known → list the datasets"


def test_without_a_profile_the_remedy_is_said(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.delenv("TDZ_PROFILE", raising=False)
    monkeypatch.chdir(tmp_path)
    result = CliRunner().invoke(app, ["agreement", "list"])
    assert result.exit_code == ExitCode.OPERATIONAL
    assert "--profile FILE" in result.stderr


def test_a_profile_in_the_working_directory_is_used(monkeypatch: pytest.MonkeyPatch, small_zone: SmallZone) -> None:
    monkeypatch.delenv("TDZ_PROFILE", raising=False)
    monkeypatch.chdir(small_zone.partner.parent)
    assert CliRunner().invoke(app, ["agreement", "list", "--json"]).exit_code == ExitCode.OK


def test_a_document_that_is_no_object_is_refused(tdz: Any, tmp_path: Path) -> None:
    (tmp_path / "mechanism.yaml").write_text("- one\n")
    result = tdz("mechanism", "add", tmp_path / "mechanism.yaml", who="admin")
    assert result.exit_code == ExitCode.OPERATIONAL
    assert "holds no object" in result.stderr


def test_an_unknown_reason_to_revoke_names_the_known_ones(tdz: Any) -> None:
    result = tdz("identity", "revoke", "tdz://cyberjaya/partner/um", "--reason", "because", who="admin")
    assert result.exit_code == ExitCode.OPERATIONAL
    assert "key-compromise" in result.stderr


def commands(group: Any, path: tuple[str, ...] = ()) -> list[tuple[str, ...]]:
    context = group.make_context("tdz", [], resilient_parsing=True)
    found = []
    for name in group.list_commands(context):
        here = (*path, name)
        sub = group.get_command(context, name)
        found += commands(sub, here) if hasattr(sub, "list_commands") and sub.commands else [here]
    return found


def test_every_command_has_help_with_an_example() -> None:
    from typer.main import get_command

    found = commands(get_command(app))
    assert ("dataset", "publish") in found
    for path in found:
        result = CliRunner().invoke(app, [*path, "--help"])
        assert result.exit_code == ExitCode.OK, path
        if path[-1] not in {"zone", "identity", "policy"}:
            assert "Example: tdz" in one_line(result.stdout).replace(" │ ", ""), path


@pytest.mark.parametrize("group", ["zone", "identity"])
def test_offline_and_online_commands_stand_in_one_group(group: str) -> None:
    text = CliRunner().invoke(app, [group, "--help"]).stdout
    expected = {"zone": ("init", "card", "pair", "serve"), "identity": ("request", "approve", "revoke", "renew")}
    assert all(f" {name} " in text for name in expected[group])


def test_help_imports_neither_grpc_nor_pyarrow() -> None:
    program = (
        "import sys, gateway.cli.app; print([m for m in ('grpc', 'pyarrow', 'duckdb', 'pydantic') if m in sys.modules])"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=ROOT, capture_output=True, text=True, timeout=60, check=True
    )
    assert done.stdout.strip() == "[]"


@pytest.mark.parametrize(("missing", "extra"), [("typer", "sdk"), ("grpc", "sdk")])
def test_a_plain_install_says_what_to_install(tmp_path: Path, missing: str, extra: str, small_zone: SmallZone) -> None:
    (tmp_path / "sitecustomize.py").write_text(f"import sys\nsys.modules[{missing!r}] = None\n")
    done = subprocess.run(
        [sys.executable, "-m", "gateway.cli.main", "agreement", "list", "--profile", str(small_zone.partner)],
        cwd=ROOT,
        env={"PYTHONPATH": str(tmp_path), "PATH": "/usr/bin:/bin"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert done.returncode == ExitCode.OPERATIONAL
    assert done.stderr.strip().splitlines() == [
        f"error: tdz needs {missing}, which is not installed → pip install 'tdz-gateway[{extra}]'"
    ]


@pytest.mark.usefixtures("heeded_interrupt")
def test_an_interrupted_pull_ends_with_incomplete_and_leaves_nothing(small_zone: SmallZone, tmp_path: Path) -> None:
    command = [sys.executable, "-m", "gateway.cli.main", "pull", "agreements/stall", "-o", str(tmp_path / "f.parquet")]
    with subprocess.Popen(
        [*command, "--profile", str(small_zone.partner)], cwd=ROOT, stderr=subprocess.PIPE, text=True
    ) as process:
        try:
            until = time.monotonic() + 60
            while not any(tmp_path.iterdir()) and process.poll() is None and time.monotonic() < until:
                time.sleep(0.02)  # the partial file appears when the first chunk was verified
            process.send_signal(signal.SIGINT)
            errors = process.communicate(timeout=60)[1]
        finally:
            process.kill()
    assert process.returncode == ExitCode.INCOMPLETE
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert list(tmp_path.iterdir()) == []
