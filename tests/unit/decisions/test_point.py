"""The decision point never raises and never allows by accident: crash, hang, garbage, odd answers."""

from __future__ import annotations

import asyncio
import dataclasses
import json
import os
import signal
import stat
import subprocess
import sys
from pathlib import Path

import pytest

from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.example import example
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet, shipped
from gateway.errors import ConfigError, DecisionUnavailableError
from gateway.model.decision import OBLIGATION_KINDS
from gateway.model.obligation import combine
from gateway.model.policy_input import PolicyInput


def _files() -> dict[str, bytes]:
    root = shipped()
    kept = ("data.json", "capabilities.json")
    return {
        p.relative_to(root).as_posix(): p.read_bytes()
        for p in root.rglob("*")
        if p.is_file() and (p.name in kept or (p.suffix == ".rego" and not p.name.endswith("_test.rego")))
    }


def _with_zone_rules(text: str) -> PolicySet:
    files = _files()
    files["tdz/zone/lingang/rules.rego"] = f"package tdz.zone.lingang\n\n{text}\n".encode()
    return PolicySet(files)


@pytest.fixture(scope="module")
def policy_set() -> PolicySet:
    return PolicySet.load()


@pytest.fixture
async def point(policy_set):
    made = DecisionPoint(policy_set, "lingang")
    await made.start()
    yield made
    await made.close()


async def _decide_with(policy_set: PolicySet, document) -> object:
    point = DecisionPoint(policy_set, "lingang")
    await point.start()
    try:
        return await point.decide(document)
    finally:
        await point.close()


async def test_an_example_is_allowed_and_names_its_grounds(point):
    decision = await point.decide(example())
    assert decision.effect == "allow"
    assert decision.zone == "lingang"
    assert decision.input_digest == PolicyInput.model_validate(example()).digest()
    assert decision.policy_digest == point.policy.digest
    assert [(pack.id, pack.verdict) for pack in decision.packs] == [("cn", "pass")]


async def test_the_same_facts_give_the_same_decision(point):
    first, second = await point.decide(example()), await point.decide(PolicyInput.model_validate(example()))
    assert first.decision_id != second.decision_id
    assert first.to_json() | {"decision_id": ""} == second.to_json() | {"decision_id": ""}


@pytest.mark.parametrize("document", [{}, {"request": 1.5}, {"a": "\ud800"}, {"a": {1: 2}}, [], "x", None])
async def test_what_is_no_policy_input_is_denied(point, document):
    decision = await point.decide(document)
    assert decision.effect == "deny"
    assert [finding.code for finding in decision.findings] == ["TDZ-INPUT-INCOMPLETE"]


async def test_the_fields_at_fault_are_named(point):
    document = example()
    del document["usage"]["cn"]["year"]
    decision = await point.decide(document)
    assert decision.findings[0].fields == ("usage.cn.year",)


async def test_a_killed_worker_costs_no_decision_after_it_is_gone(point):
    os.kill(point.worker_pids[0], signal.SIGKILL)
    effects = [(await point.decide(example())).effect for _ in range(3)]
    assert effects[-2:] == ["allow", "allow"]
    assert all(pid > 0 for pid in point.worker_pids)


async def test_a_worker_that_dies_in_mid_decision_denies_that_one_only(policy_set):
    point = DecisionPoint(policy_set, "lingang")
    await point.start()
    try:
        victim = point.worker_pids[0]
        os.kill(victim, signal.SIGSTOP)
        asked = asyncio.create_task(point.decide(example()))
        for _ in range(5):
            await asyncio.sleep(0)  # the request is on its way to the stopped worker
        os.kill(victim, signal.SIGKILL)
        decision = await asked
        assert decision.effect == "deny"
        assert [finding.code for finding in decision.findings] == ["TDZ-DECISION-UNAVAILABLE"]
        assert "crashed" in decision.findings[0].cite
        assert (await point.decide(example())).effect == "allow"
    finally:
        await point.close()


async def test_a_hang_is_denied_at_the_deadline_and_the_next_decision_is_made(policy_set):
    point = DecisionPoint(policy_set, "lingang", deadline_s=1.0)
    await point.start()
    try:
        os.kill(point.worker_pids[0], signal.SIGSTOP)
        decision = await point.decide(example())
        assert decision.effect == "deny"
        assert "no answer in 1 s" in decision.findings[0].cite
        assert (await point.decide(example())).effect == "allow"
    finally:
        await point.close()


async def test_a_caller_that_goes_away_does_not_mix_up_answers(point):
    asked = asyncio.create_task(point.decide(example()))
    for _ in range(3):
        await asyncio.sleep(0)
    asked.cancel()
    with pytest.raises(asyncio.CancelledError):
        await asked
    document = example()
    document["recipient"]["screening"]["result"] = "hit"
    decisions = await asyncio.gather(*(point.decide(d) for d in (document, example(), document)))
    assert [d.effect for d in decisions] == ["deny", "allow", "deny"]


def _fake_python(folder: Path, script: str) -> str:
    """A program that runs in place of the worker."""
    path = folder / "python"
    path.write_text(f"#!{sys.executable}\n{script}\n", "utf-8")
    path.chmod(path.stat().st_mode | stat.S_IXUSR)
    return str(path)


_GARBAGE = """
import struct, sys
def read():
    n = struct.unpack(">I", sys.stdin.buffer.read(4))[0]
    return sys.stdin.buffer.read(n)
def write(b):
    sys.stdout.buffer.write(struct.pack(">I", len(b)) + b); sys.stdout.buffer.flush()
read(); write(b'{"result":"ready"}')
while True:
    read(); write(%s)
"""


@pytest.mark.parametrize(
    "answer",
    [
        b"not json",
        b"[]",
        b"{}",
        b'{"result":null}',
        b'{"result":true}',
        b'{"result":{}}',
        b'{"result":{"effect":"allow","findings":[],"obligations":[],"packs":[],"more":1}}',
        b'{"result":{"effect":"ALLOW","findings":[],"obligations":[],"packs":[]}}',
        b'{"undefined":true}',
        b'{"error":"boom"}',
    ],
)
async def test_an_engine_that_answers_garbage_denies(policy_set, tmp_path, answer):
    engine = EmbeddedEngine(policy_set.for_zone("lingang"), python=_fake_python(tmp_path, _GARBAGE % repr(answer)))
    await engine.start()
    try:
        decision = await DecisionPoint(policy_set, "lingang", engine=engine).decide(example())
        assert decision.effect == "deny"
        assert decision.findings[0].code == "TDZ-DECISION-UNAVAILABLE"
    finally:
        await engine.close()


async def test_a_builtin_that_takes_the_engine_along_costs_the_worker_only(policy_set):
    """What the capabilities refuse really eats all memory; loaded past them, the worker dies and nothing else."""

    policy = policy_set.for_zone("lingang")
    rule = 'package tdz.main\n\ndecision := strings.replace_n({"": "b"}, "abc") if input.request.now > 0\n'
    engine = EmbeddedEngine(
        dataclasses.replace(policy, modules={"tdz/main/main.rego": rule}, data={"tdz": {}}), deadline_s=10.0
    )
    await engine.start()
    try:
        with pytest.raises(DecisionUnavailableError, match=r"memory|crashed"):
            await engine.evaluate(json.dumps(example()).encode())
    finally:
        await engine.close()


async def test_policy_that_does_not_compile_is_refused_at_the_start():
    point = DecisionPoint(_with_zone_rules("findings contains {"), "lingang")
    with pytest.raises(ConfigError, match=r"tdz/zone/lingang/rules\.rego, line 3: what is opened here") as refused:
        await point.start()
    assert "tdz policy check" in refused.value.remedy
    await point.close()


async def test_a_point_without_workers_denies(policy_set):
    point = DecisionPoint(policy_set, "lingang")
    await point.start()
    await point.close()
    assert (await point.decide(example())).effect == "deny"


_ZONE_FINDING = 'findings contains {"code": "LG-OWN", "effect": "%s", "fields": []} if input.request.now > 0'


@pytest.mark.parametrize(
    ("effect", "outcome"), [("info", "allow"), ("warn", "allow"), ("review", "review"), ("deny", "deny")]
)
async def test_a_zone_may_tighten(effect, outcome):
    rules = f"{_ZONE_FINDING % effect}\n\nobligations := set()"
    decision = await _decide_with(_with_zone_rules(rules), example())
    assert decision.effect == outcome
    assert "LG-OWN" in {finding.code for finding in decision.findings}


async def test_a_zone_cannot_loosen():
    document = example()
    document["usage"]["cn"]["non_sensitive_after"] = 2_000_000
    rules = (
        'decision := {"effect": "allow"}\neffect := "allow"\nverdict := "pass"\nallow := true\n'
        "findings := set()\nobligations := set()"
    )
    assert (await _decide_with(_with_zone_rules(rules), document)).effect == "deny"
    assert (await _decide_with(_with_zone_rules(_ZONE_FINDING % "alow"), example())).effect == "deny"


@pytest.mark.parametrize(
    "obligation",
    [
        '{"kind": "encrypt_twice", "params": {}}',
        '{"kind": "delete_by", "params": {"at": "soon"}}',
        '{"kind": "mask_columns", "params": {"columns": {"person": "drop"}}}',
        '{"kind": "row_filter", "params": {"all": [{"column": "person", "op": "==", "value": "x"}]}}',
        '{"kind": "aggregate_only", "params": {"min_group": 10}}',
        '{"kind": "delete_by", "params": {"at": input.request.now}}',
    ],
)
async def test_an_obligation_that_cannot_be_fulfilled_denies(obligation):
    rules = f"findings := set()\n\nobligations contains {obligation} if true"
    decision = await _decide_with(_with_zone_rules(rules), example())
    assert decision.effect == "deny"
    assert [finding.code for finding in decision.findings] == ["TDZ-OBLIGATION"]
    assert decision.findings[0].remedy
    assert decision.obligations == ()


async def test_obligations_that_contradict_each_other_bind_to_the_strictest_of_them():
    rules = """findings := set()

obligations contains {"kind": "delete_by", "params": {"at": at}} if some at in [1999999998, 1999999999]

obligations contains {"kind": "mask_columns", "params": {"columns": {"vin": mask}}} if some mask in ["null", "drop"]"""
    point = DecisionPoint(_with_zone_rules(rules), "lingang", enforces=OBLIGATION_KINDS)
    await point.start()
    try:
        decision = await point.decide(example())
    finally:
        await point.close()
    bound = {each.kind: each.params for each in combine(decision.obligations)}
    assert decision.effect == "allow"
    assert bound["delete_by"] == {"at": 1_999_999_998}
    assert bound["mask_columns"] == {"columns": {"vin": "drop"}}


def test_workers_import_nothing_heavy():
    code = (
        "import sys, gateway.decisions.worker as w; from regopy import Interpreter; "
        "print(sorted({m.split('.')[0] for m in sys.modules} & "
        "{'grpc','pyarrow','pydantic','sqlalchemy','typer','numpy','asyncio'}))"
    )
    run = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True, cwd=Path.cwd())
    assert run.stdout.strip() == "[]"


def test_digests_change_with_content_and_zone():
    files = _files()
    first = PolicySet(files)
    files["tdz/zone/lingang/rules.rego"] += b"\n# a word\n"
    second = PolicySet(files)
    assert first.digest != second.digest
    assert first.for_zone("lingang").digest != second.for_zone("lingang").digest
    assert first.for_zone("lingang").data_revision == second.for_zone("lingang").data_revision
    assert first.for_zone("cyberjaya").digest == second.for_zone("cyberjaya").digest


@pytest.mark.parametrize(
    ("name", "content", "says"),
    [
        ("tdz/registry/data.json", b"{", "registry"),
        ("tdz/registry/data.json", b"[]", "registry"),
        ("tdz/packs/cn/manifest/data.json", b'{"id": "my"}', "manifest"),
        ("capabilities.json", b"{}", "capabilities"),
        ("tdz/zone/lingang/rules.rego", b"\xff", "UTF-8"),
    ],
)
def test_a_broken_policy_directory_is_refused(name, content, says):
    files = _files() | {name: content}
    with pytest.raises(ConfigError, match=says):
        PolicySet(files).for_zone("lingang")


def test_links_and_missing_directories_are_refused(tmp_path):
    with pytest.raises(ConfigError, match="no policy directory"):
        PolicySet.load(tmp_path / "nowhere")
    (tmp_path / "capabilities.json").symlink_to(shipped() / "capabilities.json")
    with pytest.raises(ConfigError, match="link"):
        PolicySet.load(tmp_path)
