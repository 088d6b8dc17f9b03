"""What two gateways decided is in each zone's own decision log, and can be decided again from it and the ledger."""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import stat
import subprocess
import sys
from pathlib import Path

import pyarrow as pa
import pytest
import pytest_asyncio

from gateway.config import ZoneLayout
from gateway.decisions.log.segments import Segments
from gateway.errors import DeniedError
from tests.e2e.material import CYBERJAYA, LINGANG, measurements, mechanism, next_id, patients, personal_dataset
from tests.e2e.small import entries, eventually, small_corridor

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ROOT = Path(__file__).resolve().parents[2]
OPA = next(
    (
        str(each)
        for each in (os.environ.get("OPA_BIN", ""), shutil.which("opa") or "", ROOT.parent / "shared/bin/opa")
        if each and Path(each).is_file()
    ),
    None,
)


async def command(*arguments: object) -> tuple[int, str, str]:
    """Run a module of this checkout as a process."""
    process = await asyncio.create_subprocess_exec(
        sys.executable,
        "-m",
        *map(str, arguments),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": str(ROOT), "NO_COLOR": "1", "COLUMNS": "200"},
    )
    out, err = await asyncio.wait_for(process.communicate(), 120)
    return process.returncode or 0, out.decode(), err.decode()


async def replay(layout: ZoneLayout, seq: int, *more: object) -> tuple[int, dict, str]:
    code, out, err = await command("ledger", "replay", seq, layout.ledger, "--json", *more)
    return code, json.loads(out) if out else {}, err


async def decided(gateway, codes: set[str] | None = None) -> list[dict]:
    """The entries that record a decision, of policy where codes are named."""
    return [
        entry
        for entry in await entries(gateway)
        if {"commitment", "decision"} <= set(entry["body"])
        and (codes is None or codes <= {each["code"] for each in entry["body"]["decision"]["findings"]})
    ]


async def logged(layout: ZoneLayout, ids: set[str]) -> None:
    """Wait until the log has carried decisions over."""
    segments = Segments(layout.decisions)

    async def there() -> bool:
        return {record.id for record in segments.records()} >= ids

    await eventually(there)


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def story(tmp_path_factory):
    """One dataset allowed, patients denied by policy, one purpose denied by the owner's terms."""
    async with small_corridor(tmp_path_factory.mktemp("story") / "corridor") as corridor:
        um, lab = await corridor.um(), await corridor.lab()
        allowed = await corridor.offered()
        await um.request(allowed, purpose="research")
        hospital = await corridor.partner(CYBERJAYA, "hospital")
        rows = measurements().slice(0, 50).append_column("site", pa.array(["a"] * 50))
        name = (await hospital.publish(rows, patients(next_id("patients")))).name
        with pytest.raises(DeniedError):
            await lab.request(name, purpose="research")
        with pytest.raises(DeniedError):
            await um.request(allowed, purpose="judicial")
        yield corridor


async def test_each_decision_of_both_zones_is_logged_and_replays(story):
    for gateway, zone in ((story.a, CYBERJAYA), (story.b, LINGANG)):
        layout = story.corridor.zone(zone).layout
        found = await decided(gateway)
        assert found
        await logged(layout, {entry["id"] for entry in found})
        for entry in found:
            code, document, err = await replay(layout, entry["seq"])
            assert code == 0, (entry, document, err)
            assert document["recorded"] == document["now"] == entry["body"]["decision"]["effect"]
            assert document["differences"] == []
    denied = await decided(story.a, {"MY-SENSITIVE", "MY-BASIS"})
    code, document, _ = await replay(story.corridor.zone(CYBERJAYA).layout, denied[0]["seq"])
    assert {"MY-SENSITIVE", "MY-BASIS"} <= set(document["codes"])
    by_terms = await decided(story.b, {"TDZ-TERMS"})
    code, document, _ = await replay(story.corridor.zone(LINGANG).layout, by_terms[0]["seq"])
    assert document["gateway_codes"] == ["TDZ-TERMS"]


@pytest.mark.skipif(OPA is None, reason="no OPA found: set OPA_BIN or put opa on PATH")
async def test_an_opa_gives_the_same_verdict_again(story):
    layout = story.corridor.zone(CYBERJAYA).layout
    denied = (await decided(story.a, {"MY-SENSITIVE"}))[0]
    await logged(layout, {denied["id"]})
    code, document, err = await replay(layout, denied["seq"], "--opa", OPA)
    assert code == 0, err
    assert document["engine"].startswith("OPA")


async def test_a_record_a_policy_or_an_input_that_was_changed_shows_and_what_is_missing_is_said(story, tmp_path):
    layout = story.corridor.zone(CYBERJAYA).layout
    denied = (await decided(story.a, {"MY-SENSITIVE"}))[0]
    await logged(layout, {denied["id"]})
    code, out, _ = await command("gateway.cli.main", "policy", "log", "show", layout.root, denied["id"], "--json")
    assert code == 0
    record = json.loads(out)
    own = tmp_path / "record.json"

    async def replayed(changed: dict, *more: object) -> tuple[int, str]:
        own.write_text(json.dumps(changed))
        code, document, err = await replay(layout, denied["seq"], "--record", own, *more)
        return code, err or str(document)

    assert (await replayed(record))[0] == 0
    input_changed = json.loads(json.dumps(record))
    input_changed["input"]["dataset"]["my"]["sensitivity"] = "none"
    code, err = await replayed(input_changed)
    assert (code, "not the one" in err) == (1, True), err
    decision_changed = json.loads(json.dumps(record))
    decision_changed["decision"]["effect"] = "allow"
    code, err = await replayed(decision_changed)
    assert (code, "does not commit" in err) == (1, True), err
    masked = {**record, "input": None, "erased": {"": 1}}
    code, err = await replayed(masked)
    assert (code, "masked" in err) == (3, True), err
    policy = layout.policies / f"{record['decision']['policy_digest']}.json"
    other = json.loads(policy.read_text())
    other["files"]["tdz/packs/my/personal_data/rules.rego"] += "\n# another\n"
    changed = tmp_path / "policy.json"
    changed.write_text(json.dumps(other))
    code, err = await replayed(record, "--policy", changed)
    assert (code, "not the policy that decided" in err) == (1, True), err
    code, err = await replayed(record, "--policy", tmp_path / "nothing.json")
    assert code == 3, err
    code, _, err = await replay(layout, 0)
    assert (code, "no decision" in err) == (3, True), err


async def test_the_log_is_its_owners_alone_lists_what_was_decided_and_goes_on_after_a_restart(story):
    layout = story.corridor.zone(CYBERJAYA).layout
    found = await decided(story.a)
    await logged(layout, {entry["id"] for entry in found})
    assert stat.S_IMODE(layout.decisions.stat().st_mode) == 0o700
    for path in (*layout.decisions.iterdir(), *layout.policies.iterdir()):
        assert stat.S_IMODE(path.stat().st_mode) == 0o600
    code, out, _ = await command("gateway.cli.main", "policy", "log", "list", layout.root, "--json")
    listed = {each["id"]: each["effect"] for each in json.loads(out)["decisions"]}
    assert code == 0
    assert listed == {entry["id"]: entry["body"]["decision"]["effect"] for entry in found}
    code, out, _ = await command(
        "gateway.cli.main", "policy", "log", "list", layout.root, "--code", "MY-BASIS", "--json"
    )
    assert {each["effect"] for each in json.loads(out)["decisions"]} == {"deny"}
    await story.stop(CYBERJAYA)
    await story.start(CYBERJAYA)
    um = await story.um()
    await um.request(await story.offered(), purpose="research")
    again = await decided(story.a)
    assert len(again) > len(found)
    await logged(layout, {entry["id"] for entry in again})
    ids = [record.id for record in Segments(layout.decisions).records()]
    assert len(ids) == len(set(ids)) == len(again)


async def test_recorded_inputs_are_put_to_another_policy(story, tmp_path):
    layout = story.corridor.zone(CYBERJAYA).layout
    await logged(layout, {entry["id"] for entry in await decided(story.a)})
    code, out, err = await command(
        "gateway.cli.main", "policy", "backtest", ROOT / "policy", "--log", layout.root, "--json"
    )
    assert (code, json.loads(out)["flipped"]) == (0, 0), err
    policy = tmp_path / "policy"
    made = await command("gateway.cli.main", "policy", "new-pack", "all", "--zone-rule", CYBERJAYA, "--dir", policy)
    assert made[0] == 0, made
    rule = policy / "tdz/zone" / CYBERJAYA / "all.rego"
    rule.write_text(rule.read_text().replace('input.dataset.sector == "all"', 'input.request.purpose == "research"'))
    code, out, err = await command("gateway.cli.main", "policy", "backtest", policy, "--log", layout.root, "--json")
    found = json.loads(out)
    assert code == 1, err
    assert found["changes"]["allow -> review"] >= 1
    assert [flip for flip in found["flips"] if "CYBERJAY-ALL" not in flip["after"]["codes"]] == []
    code, out, err = await command(
        "gateway.cli.main", "policy", "diff", ROOT / "policy", policy, "--log", layout.root, "--json"
    )
    assert code == 1, err
    assert json.loads(out)["changes"]["allow -> review"] > found["changes"]["allow -> review"]  # cases flip too


async def test_usage_of_the_year_is_in_the_log_and_a_mask_leaves_it_out(small, tmp_path):
    """A zone's mask erases what it names, counts it, and says so."""
    policy = tmp_path / "masked-policy"
    shutil.copytree(ROOT / "policy", policy)
    mask = policy / "tdz/zone" / LINGANG / "log" / "data.json"
    mask.parent.mkdir()
    mask.write_text('{"mask": ["/recipient/screening", "/mechanisms/*/ref", "/no/such/member"]}')
    async with small() as corridor:
        layout = corridor.corridor.zone(LINGANG).layout
        await corridor.stop(LINGANG)
        with layout.settings.open("a") as file:
            file.write(f'\n[policy]\ndirectory = "{policy}"\n')
        await corridor.start(LINGANG)
        lab = await corridor.lab()
        name = next_id("persons")
        async with corridor.admin(LINGANG) as admin:
            for kind in ("pipia", "standard_contract"):
                await admin.add_mechanism(mechanism(kind, f"{kind}-{name}".replace("_", "-"), f"datasets/{name}", "um"))
        await lab.publish(measurements().slice(0, 50), personal_dataset(name, CYBERJAYA))
        with pytest.raises(DeniedError):
            await (await corridor.um()).request(f"datasets/{name}", purpose="research")
        found = await decided(corridor.b)
        await logged(layout, {entry["id"] for entry in found})
        records = [record for record in Segments(layout.decisions).records() if record.decision.policy_digest]
        assert records
        for record in records:
            assert record.erased["/recipient/screening"] == 1
            assert "screening" not in record.input["recipient"]
            assert record.input["usage"]["cn"]["non_sensitive_after"] >= 200_000
            assert not record.replayable
        code, _, err = await replay(layout, next(e["seq"] for e in found if e["id"] == records[0].id))
        assert (code, "masked" in err) == (3, True), err
