"""`tdz run`, `tdz model` and a model's way by `tdz request` and `tdz pull`, typed as a partner types them.

Real processes against two real gateways: exit codes, one JSON document with the fields of the contract, and for what
goes wrong one line that names the reason and what to do.
"""

from __future__ import annotations

import json
import re
import shutil
import signal
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.v1 import catalog_pb2, exchange_pb2, run_pb2
from tests.e2e.conftest import Said, Scene, ended
from tests.e2e.material import CYBERJAYA, LINGANG, next_id, open_dataset
from tests.e2e.models import model_files, own_provenance, publication
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of

pytestmark = pytest.mark.e2e

OFFERED = {"offered_to": {"zones": [CYBERJAYA, LINGANG]}, "purposes": ["research"]}


def fields(message: Any) -> set[str]:
    """The names that a message of the contract has: those of its JSON document."""
    return {each.name for each in message.DESCRIPTOR.fields}


def assert_one_line(said: Said, code: int, reason: str, *parts: str) -> None:
    """An error is one line on standard error: reason, text, remedy."""
    assert (said.code, said.out) == (code, ""), said
    assert re.fullmatch(rf"error {reason}: [^\n]+ → [^\n]+\n", said.err), said.err
    for part in parts:
        assert part in said.err


def two_at_a_time(scene: Scene, commands: Iterable[tuple[object, ...]], *, as_: str) -> list[Said]:
    """What commands say that do not depend on each other; more at once would only starve each other."""
    with ThreadPoolExecutor(2) as pool:
        return list(pool.map(lambda command: scene.run(*command, as_=as_), commands))


def written(path: Path, document: dict[str, Any]) -> Path:
    path.write_text(yaml.safe_dump(document))
    return path


# --- runs ---------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def tables(scene: Scene) -> tuple[str, str]:
    """A table of each zone that may be trained on."""
    ours, theirs = halves(breast_cancer())
    with scene.connect("um") as um, scene.connect("lab") as lab:
        here = um.publish(ours, open_dataset(next_id("cli-here"), to=LINGANG, **TRAINING)).name
        return here, lab.publish(theirs, open_dataset(next_id("cli-there"), **TRAINING)).name


def run_file(path: Path, tables: tuple[str, str], **changes: Any) -> Path:
    document = run_of(tables, **changes)
    document["result"] |= {"terms": OFFERED, "end_use": "civil"}
    return written(path, document)


def test_a_run_is_started_followed_listed_and_shown(scene, tables, tmp_path):
    file = run_file(tmp_path / "RUN.yaml", tables)
    started = scene.run("run", "start", file, "--json", as_="um")
    assert (started.code, started.err) == (0, "")
    document = started.document
    assert set(document) == fields(run_pb2.Run)
    assert (document["state"], document["round"], len(document["history"])) == ("RELEASED", 3, 3)
    assert {zone["zone"] for zone in document["history"][-1]["zones"]} == {CYBERJAYA, LINGANG}
    assert {"accuracy", "loss", "seconds"} <= set(document["history"][-1]["zones"][0]["metrics"])
    assert len(json.loads(document["agreement"])["signatures"]) == 2

    followed = scene.run("run", "show", document["id"], "--follow", "--json", as_="lab")  # it hears a moment later
    assert (followed.code, followed.document["state"]) == (0, "RELEASED")
    listed = scene.run("run", "list", "--state", "released", "--json", as_="lab")
    assert (listed.code, set(listed.document)) == (0, {"runs"})
    (found,) = [each for each in listed.document["runs"] if each["id"] == document["id"]]
    assert (set(found), found["side"], found["history"]) == (fields(run_pb2.Run), "participant", [])

    shown = scene.run("run", "show", f"runs/{document['id']}", as_="um")
    assert (shown.code, shown.err) == (0, "")
    assert re.search(r"\bstate +RELEASED\n", shown.out)
    assert re.search(rf"\bmodel +{document['model']}\n", shown.out)
    assert re.search(r"\nround +zone +rows +accuracy +loss +time\n", shown.out), "one column for each figure"
    assert re.search(r"\n3 +lingang +\d+ +0\.\d{2,4} +0\.\d{2,4} +\d+ ms\n", shown.out)

    assert_one_line(scene.run("run", "cancel", document["id"], as_="um"), 2, "TDZ-CONFLICT", "RELEASED")


@pytest.mark.usefixtures("heeded_interrupt")
def test_a_run_goes_on_when_its_command_is_interrupted_and_ends_when_it_is_cancelled(scene, tables, tmp_path):
    file = run_file(tmp_path / "LONG.yaml", tables, rounds=1000)
    process = scene.start("run", "start", file, as_="um")
    for line in process.stderr:
        if re.match(r"RUNNING round [1-9]", line):
            assert re.search(r"lingang accuracy [0-9.]+ loss [0-9.]+; cyberjaya accuracy", line)
            break
    process.send_signal(signal.SIGINT)
    interrupted = ended(process)
    assert interrupted.code == 3
    said = re.search(
        r"interrupted the run goes on → tdz run show (\S+) --follow, or tdz run cancel \1\n", interrupted.err
    )
    assert said, interrupted.err
    assert "Traceback" not in interrupted.err

    under_way = scene.run("run", "show", said[1], "--json", as_="um")
    assert (under_way.code, under_way.document["state"]) == (3, "RUNNING")
    following = scene.start("run", "show", said[1], "--follow", "--json", as_="lab")
    cancelled = scene.run("run", "cancel", said[1], as_="um")
    assert (cancelled.code, cancelled.out) == (0, f"cancelled  runs/{said[1]}\n")
    followed = ended(following)
    assert (followed.code, followed.document["state"]) == (2, "CANCELLED")
    assert followed.document["reason"] == "cancelled by its partner"


def test_a_detached_run_is_found_again_and_the_same_request_id_is_the_same_run(scene, tables, tmp_path):
    file = run_file(tmp_path / "RUN.yaml", tables, rounds=1)
    command = ("run", "start", file, "--detach", "--request-id", next_id("cli-run"))
    first, again = two_at_a_time(scene, [command, command], as_="um")
    assert (first.code, again.code) == (0, 0), first.err + again.err
    assert first.out == again.out
    said = re.fullmatch(r"submitted  runs/(\S+)\nfollow it with  tdz run show \1 --follow\n", first.out)
    assert said, first.out
    followed = scene.run("run", "show", said[1], "--follow", "--json", as_="um")
    assert (followed.code, followed.document["state"]) == (0, "RELEASED")


def test_a_refused_and_a_failed_run_say_why_and_what_to_do(scene, tables, tmp_path):
    other_purpose = run_file(tmp_path / "purpose.yaml", tables, purpose="public_health")
    no_class = run_file(tmp_path / "class.yaml", tables, classes=["malignant", "other"])
    commands = [("run", "start", file, "--json") for file in (other_purpose, no_class)]
    refused, failed = two_at_a_time(scene, commands, as_="um")
    assert (refused.code, refused.document["state"]) == (1, "REFUSED")
    assert {finding["code"] for finding in refused.document["findings"]} == {"TDZ-TERMS"}
    assert all(finding["cite"] and finding["remedy"] for finding in refused.document["findings"])
    assert re.fullmatch(r"error TDZ-DENIED: the run is refused \(TDZ-TERMS\) → [^\n]+\n", refused.err)
    assert (failed.code, failed.document["state"], failed.document["reason"]) == (2, "FAILED", "TDZ-DATA-FILE")
    assert re.fullmatch(r"error TDZ-RUN-ENDED: [^\n]*TDZ-DATA-FILE → [^\n]*classes[^\n]*\n", failed.err)


def test_what_is_wrong_with_a_run_is_one_line(scene, tables, tmp_path):
    document = run_of(tables)
    wrong = {
        "rounds.yaml": (document | {"rounds": "many"}, "rounds.yaml:", "rounds: found 'many'"),
        "name.yaml": ({**document, "runds": 3}, "name.yaml:", "did you mean 'rounds'?"),
        "app.yaml": (document | {"app": {"name": "forest"}}, "app.yaml:", "allowed: linear, mlp"),
    }
    nothing = "0197a3bf-0000-7000-8000-000000000000"
    commands: dict[tuple[object, ...], tuple[str, ...]] = {
        ("run", "start", written(tmp_path / name, each[0])): ("TDZ-MANIFEST", *each[1:]) for name, each in wrong.items()
    } | {
        ("run", "start", tmp_path / "none.yaml"): ("TDZ-MANIFEST", "none.yaml"),
        ("run", "show", nothing): ("TDZ-NOT-FOUND", "tdz run list"),
        ("run", "cancel", nothing, "--json"): ("TDZ-NOT-FOUND", "tdz run list"),
        ("run", "list", "--state", "finished"): ("TDZ-INPUT", "RELEASED"),
    }
    for said, expected in zip(two_at_a_time(scene, commands, as_="um"), commands.values(), strict=True):
        assert_one_line(said, 2, *expected)


# --- models -------------------------------------------------------------------------------------------------


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A directory of weights, 44 KB."""
    return model_files(tmp_path_factory.mktemp("cli-models") / "weights", size=1_000)


def test_a_model_is_published_found_asked_for_pulled_and_verified(scene, weights, tmp_path):
    model_id = next_id("cli-model")
    document = publication(model_id)
    document["provenance"] = own_provenance(scene.profiles["lab"], weights, model_id, tmp_path)
    manifest = written(tmp_path / "model.yaml", document)
    published = scene.run("model", "publish", weights, "--manifest", manifest, "--json", as_="lab")
    assert published.code == 0, published.err
    assert set(published.document) == {"name", "version", "rows", "chunks", "bytes", "seconds"}
    assert published.document["name"] == f"models/{model_id}"

    commands = [("model", "list", model_id, "--peer", "--json"), ("model", "show", model_id, "--json")]
    listing, showing = two_at_a_time(scene, commands, as_="um")
    (listed,), shown = listing.document["models"], showing.document
    assert set(shown) == set(listed) == fields(catalog_pb2.Model)
    assert (listed["files"], listed["zone"], shown["facts"]["provenance"]) == ([], LINGANG, "verified")
    assert [each["name"] for each in shown["files"]] == ["README.md", "model.safetensors", "nested/config.json"]
    checked = scene.run("model", "verify", f"models/{model_id}", "--json", as_="lab")
    assert (checked.code, set(checked.document)) == (0, {"outcome", "name", "root"})

    asked = scene.run("request", f"models/{model_id}", "--purpose", "research", as_="um")
    assert (asked.code, asked.err) == (0, "")
    said = re.search(r"allowed +pull it with +tdz pull (\S+) -o DIRECTORY\n", asked.out)
    assert said, asked.out
    target = tmp_path / "pulled"
    pulled = scene.run("pull", said[1], "-o", target, "--json", as_="um")
    assert (pulled.code, pulled.err) == (0, "")
    assert set(pulled.document) == {
        "outcome", "resource", "file", "transfer", "agreement",
        "rows", "chunks", "bytes", "reconnects", "seconds", "end",
    }  # fmt: skip
    assert (pulled.document["outcome"], pulled.document["resource"]) == ("complete", f"models/{model_id}")
    for name in ("README.md", "model.safetensors", "nested/config.json"):
        assert (target / name).read_bytes() == (weights / name).read_bytes()

    forged = shutil.copytree(target, tmp_path / "forged")
    (forged / "nested" / "config.json").write_text("not even JSON")
    ca = scene.lingang.layout.ca
    good, bad = ("model", "verify", target, "--ca", ca, "--json"), ("model", "verify", forged, "--ca", ca)
    verified, differs = two_at_a_time(scene, [good, bad], as_="um")
    assert verified.code == 0, verified.err
    assert set(verified.document) == {"outcome", "artifact", "signer", "files", "bytes", "expired", "seconds"}
    assert verified.document["artifact"] == shown["artifact"]
    assert_one_line(differs, 1, "TDZ-INTEGRITY", "config.json")
    home = scene.run("model", "verify", target, as_="lab")
    assert (home.code, home.err) == (0, ""), "the profile's own zone is trusted where nothing else is named"

    wrong = {
        ("pull", f"models/{model_id}", "-o", target): ("TDZ-INPUT", "not empty"),
        ("model", "verify", target): ("TDZ-CONFIG", f"signed in {LINGANG}", "--ca"),
        ("model", "verify", target, "--key", manifest): ("TDZ-CONFIG", "model.yaml holds no public key"),
        ("model", "verify", weights): ("TDZ-CONFIG", "holds no model.sig"),
    }
    for said, expected in zip(two_at_a_time(scene, wrong, as_="um"), wrong.values(), strict=True):
        assert_one_line(said, 2, *expected)


def test_a_model_without_provenance_is_held_for_review_with_exit_code_3(scene, weights, tmp_path):
    model_id = next_id("cli-model")
    with scene.connect("lab") as lab:
        lab.publish_model(weights, publication(model_id))
    command = ("request", f"models/{model_id}", "--purpose", "research")
    readable, held = two_at_a_time(scene, [command, (*command, "--json")], as_="um")
    assert held.code == 3
    document = held.document
    assert set(document) == {
        "outcome", "reason", "message", "remedy", "request", "decision_id", "findings", "decisions", "held_by",
    }  # fmt: skip
    assert (document["outcome"], document["reason"]) == ("review", "TDZ-REVIEW")
    assert {finding["code"] for finding in document["findings"]} == {"TDZ-PROVENANCE"}
    assert (readable.code, readable.out) == (3, "")
    assert re.match(r"review [^\n]+ → look again with: tdz request show \S+\n", readable.err)
    assert "TDZ-PROVENANCE" in readable.err

    commands = [
        ("request", "show", document["request"], "--json"),
        ("pull", f"models/{model_id}", "-o", tmp_path / "pulled"),
    ]
    shown, nothing = two_at_a_time(scene, commands, as_="um")
    assert (shown.code, set(shown.document)) == (3, fields(exchange_pb2.AccessRequest))
    assert shown.document["held_by"] == document["held_by"]
    assert_one_line(nothing, 2, "TDZ-NOT-FOUND", "no agreement in force", "tdz request")
    assert list(tmp_path.iterdir()) == []


def test_a_model_for_another_purpose_is_refused_with_exit_code_1(scene, weights):
    model_id = next_id("cli-model")
    signed = own_provenance(scene.profiles["lab"], weights, model_id, weights.parent)
    with scene.connect("lab") as lab:
        lab.publish_model(weights, publication(model_id, provenance=signed))
    refused = scene.run("request", f"models/{model_id}", "--purpose", "public_health", "--json", as_="um")
    assert (refused.code, refused.document["outcome"]) == (1, "denied")
    assert "TDZ-TERMS" in {finding["code"] for finding in refused.document["findings"]}


def test_what_is_wrong_with_a_model_is_one_line(scene, weights, tmp_path):
    model_id = next_id("cli-model")
    manifest = written(tmp_path / "model.yaml", publication(model_id))
    (tmp_path / "note.json").write_text("{}")
    hostile = shutil.copytree(weights, tmp_path / "hostile")
    (hostile / "weights.pkl").write_bytes(b"\x80\x04K\x01.")
    other = {
        "onnx.yaml": publication(model_id) | {"model": publication(model_id)["model"] | {"format": "onnx"}},
        "statement.yaml": publication(model_id, provenance=["note.json"]),
    }
    for name, document in other.items():
        written(tmp_path / name, document)
    wrong = {
        ("model", "publish", hostile, "--manifest", manifest): ("TDZ-DATA-FILE", "weights.pkl"),
        ("model", "publish", weights, "--manifest", tmp_path / "onnx.yaml"): ("TDZ-MANIFEST", "no file has weights"),
        ("model", "publish", weights, "--manifest", tmp_path / "statement.yaml"): (
            "TDZ-MANIFEST",
            "note.json",
            "artifact",
        ),
        ("model", "publish", tmp_path / "none", "--manifest", manifest): ("TDZ-STORAGE", "none"),
        ("model", "verify", model_id): ("TDZ-NOT-FOUND", "tdz model list"),
        ("request", f"models/{model_id}", "--purpose", "research"): ("TDZ-NOT-FOUND",),
    }
    for said, expected in zip(two_at_a_time(scene, wrong, as_="lab"), wrong.values(), strict=True):
        assert_one_line(said, 2, *expected)


# --- afterwards ---------------------------------------------------------------------------------------------


def test_a_receipt_is_written_and_a_transfer_is_told(scene, tmp_path):
    agreement = scene.agreement()
    pulled = scene.run("pull", agreement, "-o", tmp_path / "open.parquet", "--json", as_="um")
    transfer, file = pulled.document["transfer"], tmp_path / "kept.receipt"
    written = scene.run("transfer", "receipt", transfer, "-o", file, "--json", as_="um")
    assert (written.code, written.err) == (0, "")
    assert set(written.document) == {"file", "id", "entries", "origin", "size", "bytes"}
    assert (written.document["file"], written.document["bytes"]) == (str(file), file.stat().st_size)
    told, readable = two_at_a_time(
        scene, [("transfer", "explain", transfer, "--json"), ("transfer", "explain", agreement)], as_="um"
    )
    assert (told.code, set(told.document)) == (0, fields(exchange_pb2.Timeline))
    assert set(told.document["steps"][0]) == fields(exchange_pb2.TimelineStep)
    assert (readable.code, readable.err) == (0, "")
    assert re.search(rf"\n  next +tdz transfer receipt {transfer} -o {transfer}\.receipt\n", readable.out)
    assert readable.out.count("'s ledger, entry ") == len(told.document["steps"]) == 9

    target = tmp_path / "another.receipt"
    hidden = [("transfer", "receipt", transfer, "-o", target), ("transfer", "explain", transfer)]
    for said in two_at_a_time(scene, hidden, as_="uitm"):
        assert_one_line(said, 2, "TDZ-NOT-FOUND", "tdz transfer list")
    assert not target.exists()
