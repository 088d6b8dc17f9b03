"""`tdz demo` as a person runs it: the story, what it leaves, starting it again, ending it under way."""

from __future__ import annotations

import json
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
import pyarrow.parquet as pq
import pytest

ROOT = Path(__file__).parents[2]
TDZ = (sys.executable, "-m", "gateway.cli.main")
DEADLINE_S = 180

pytestmark = pytest.mark.e2e


def tdz(*arguments: object, code: int = 0) -> subprocess.CompletedProcess[str]:
    done = subprocess.run(
        [*TDZ, *map(str, arguments)], cwd=ROOT, capture_output=True, text=True, timeout=DEADLINE_S, check=False
    )
    assert done.returncode == code, done.stdout + done.stderr
    return done


def processes(directory: Path) -> list[psutil.Process]:
    """What runs on a demo's directory."""
    found = []
    for process in psutil.process_iter():
        try:
            if any(str(directory) in part for part in process.cmdline()):
                found.append(process)
        except psutil.Error:
            continue
    return found


def assert_nothing_runs(directory: Path) -> None:
    left = psutil.wait_procs(processes(directory), timeout=10)[1]
    assert left == []


@pytest.fixture(scope="module")
def kept(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A kept directory and the story's document."""
    directory = tmp_path_factory.mktemp("demo") / "corridor"
    return directory, json.loads(tdz("demo", "--keep", directory, "--json").stdout)


def step(document: dict[str, Any], outcome: str) -> dict[str, Any]:
    detail: dict[str, Any] = next(each["detail"] for each in document["steps"] if each["outcome"] == outcome)
    return detail


def test_every_step_comes_out_as_it_should(kept: tuple[Path, dict[str, Any]]) -> None:
    document = kept[1]
    assert document["ok"]
    outcomes = [each["outcome"] for each in document["steps"]]
    moved, trained = ["allowed", "refused", "resumed"], ["trained", "pulled", "compared", "held"]
    assert outcomes[-9:] == [*moved, *trained, "verified", "detected"]
    assert all(set(each) == {"name", "outcome", "seconds", "detail"} for each in document["steps"])


def test_the_allowed_transfer_delivered_every_flight(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, document = kept
    detail = step(document, "allowed")
    assert detail["rows"] == 336_776
    assert [each["effect"] for each in detail["decisions"]] == ["allow", "allow"]
    table = pq.read_table(directory / "partners" / "flights.parquet")
    assert table.num_rows == 336_776
    assert {"carrier", "dep_delay", "time_hour"} <= set(table.column_names)


def test_the_training_beats_each_zone_alone_and_no_row_crossed(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, document = kept
    trained, compared, pulled = (step(document, name) for name in ("trained", "compared", "pulled"))
    assert (trained["state"], trained["rounds"]) == ("RELEASED", 20)
    assert trained["bytes_out"] + trained["bytes_in"] < 30_000  # the tables have 95 KiB
    assert compared["federated"] >= max(compared["cyberjaya alone"], compared["lingang alone"])
    assert abs(compared["federated"] - compared["pooled"]) < 0.02
    assert (pulled["provenance"], len(pulled["trained_on"])) == ("verified", 2)
    assert {each["site"] for each in pulled["sites"]} == {"cyberjaya", "lingang"}
    assert (directory / "partners" / "cell-classifier" / "model.safetensors").is_file()


def test_a_model_of_unknown_origin_waits_for_a_person(kept: tuple[Path, dict[str, Any]]) -> None:
    held = step(kept[1], "held")
    assert "TDZ-PROVENANCE" in {finding["code"] for finding in held["findings"]}
    assert held["held_by"].endswith("/admin")


def test_the_refusal_names_rule_citation_and_remedy(kept: tuple[Path, dict[str, Any]]) -> None:
    detail = step(kept[1], "refused")
    codes = {finding["code"] for finding in detail["findings"] if finding["effect"] == "deny"}
    assert {"MY-BASIS", "MY-SENSITIVE"} <= codes
    assert all(finding["cite"] and finding["remedy"] for finding in detail["findings"])
    assert any("PDPA" in finding["cite"] for finding in detail["findings"])
    assert {each["zone"]: each["effect"] for each in detail["decisions"]}["cyberjaya"] == "deny"


def test_the_killed_pull_goes_on_where_it_was_under_the_same_id(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, document = kept
    detail = step(document, "resumed")
    assert detail["same_transfer_id"]
    assert detail["state"] == "COMPLETED"
    assert 0 < detail["killed_at_chunk"] <= detail["resumed_at_chunk"] < detail["chunks"]
    assert pq.read_metadata(directory / "partners" / "flights-weather.parquet").num_rows == 336_776


def test_both_ledgers_verify_and_are_cosigned_by_the_other_zone(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, document = kept
    detail = step(document, "verified")
    for zone, other in (("cyberjaya", "lingang"), ("lingang", "cyberjaya")):
        assert detail[zone]["witnesses"] == [f"tdz/{other}/mirror"]
        assert 0 < detail[zone]["witnessed"] <= detail[zone]["entries"]
        done = subprocess.run(
            [sys.executable, "-m", "ledger", "verify", str(directory / zone / "ledger")],
            cwd=ROOT,
            timeout=DEADLINE_S,
            check=False,
        )
        assert done.returncode == 0


def test_the_changed_byte_is_found_in_its_entry(kept: tuple[Path, dict[str, Any]]) -> None:
    directory, document = kept
    detail = step(document, "detected")
    assert detail["named_by_verifier"] == detail["entry"]
    copy = directory / "tampered-copy-of-lingang-ledger"
    done = subprocess.run(
        [sys.executable, "-m", "ledger", "verify", str(copy)],
        cwd=ROOT,
        capture_output=True,
        text=True,
        timeout=DEADLINE_S,
        check=False,
    )
    assert done.returncode == 1
    assert f"entry {detail['entry']}" in done.stdout


def test_what_is_kept_is_complete_and_nothing_runs(kept: tuple[Path, dict[str, Any]]) -> None:
    directory = kept[0]
    for zone, identity in (("cyberjaya", "um"), ("lingang", "ai-lab")):
        for name in ("gateway.toml", "card.json", "ca.pem", "ledger", "gateway.log"):
            assert (directory / zone / name).exists(), name
        for name in ("profile.toml", "cert.pem", "key.pem"):
            assert (directory / zone / "identities" / identity / name).is_file(), name
    assert_nothing_runs(directory)


@contextmanager
def resumed(directory: Path) -> Iterator[dict[str, Any]]:
    """The gateways of a kept directory, serving; ended by SIGTERM."""
    command = [*TDZ, "demo", "--resume", str(directory), "--json"]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            text = ""
            while not text.endswith("}\n") or text.count("{") != text.count("}"):
                line = process.stdout.readline()
                assert line, "it ended before both gateways served"
                text += line
            yield json.loads(text)
            process.send_signal(signal.SIGTERM)
            assert process.wait(DEADLINE_S) == 0
        finally:
            process.kill()


def test_a_kept_corridor_serves_again_and_its_commands_work(kept: tuple[Path, dict[str, Any]], tmp_path: Path) -> None:
    directory = kept[0]
    with resumed(directory) as document:
        assert [zone["zone"] for zone in document["zones"]] == ["cyberjaya", "lingang"]
        assert len(document["commands"]) == 3
        for command in document["commands"]:
            words = command.replace("-o flights.parquet", f"-o {tmp_path / 'flights.parquet'}").split()
            assert words[0] == "tdz"
            tdz(*words[1:])
        profile = document["zones"][1]["identities"]["ai-lab"]["profile"]
        refused = tdz("request", "datasets/breast-cancer", "--purpose", "research", "--profile", profile, code=1)
        assert "MY-BASIS" in refused.stderr
        assert "Traceback" not in refused.stderr
    assert pq.read_metadata(tmp_path / "flights.parquet").num_rows == 336_776
    assert_nothing_runs(directory)


def test_a_directory_in_use_is_refused_with_the_remedy(tmp_path: Path) -> None:
    (tmp_path / "mine").write_text("keep me")
    done = tdz("demo", "--keep", tmp_path, code=2)
    assert "not empty" in done.stderr
    assert (tmp_path / "mine").read_text() == "keep me"


def test_a_directory_that_is_no_demo_cannot_be_resumed(tmp_path: Path) -> None:
    assert "tdz zone init" in tdz("demo", "--resume", tmp_path, code=2).stderr


def test_ended_under_way_it_leaves_no_process(tmp_path: Path) -> None:
    directory = tmp_path / "corridor"
    command = [*TDZ, "demo", "--keep", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert any("start both gateways" in line for line in process.stdout)
            assert processes(directory)
            process.send_signal(signal.SIGTERM)
            errors = process.communicate(timeout=DEADLINE_S)[1]
        finally:
            process.kill()
    assert process.returncode == 3
    assert "interrupted" in errors
    assert "Traceback" not in errors
    assert_nothing_runs(directory)
