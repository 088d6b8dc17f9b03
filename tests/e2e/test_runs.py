"""Federated runs between two real gateways: what is agreed, trained, released and recorded."""

from __future__ import annotations

import asyncio
import os
import signal
import threading

import numpy as np
import pyarrow as pa
import pytest

from gateway.compute.views import write_view
from gateway.errors import (
    AlreadyExistsError,
    ConflictError,
    InputError,
    ManifestError,
    NotFoundError,
    RunEndedError,
)
from gateway.federation import rows, zone_trainer
from gateway.model.run import RunEnd
from ledger.verify import verify_directory
from tests.e2e.material import CYBERJAYA, LINGANG, next_id, open_dataset
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of, two_zones
from tests.e2e.small import entries, eventually, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

UM, LAB = "tdz://cyberjaya/partner/um", "tdz://lingang/partner/lab"


def of_run(found, run, *kinds):
    """The bodies of a run's entries of some kinds."""
    return [e["body"] for e in found if e["subject"] == f"runs/{run}" and (not kinds or e["kind"] in kinds)]


async def told(gateway, run):
    """Wait until the other zone's end of a run is recorded here."""
    kinds = {"run.completed", "run.failed", "run.cancelled"}
    return await recorded(gateway, lambda e: e["subject"] == f"runs/{run}" and e["kind"] in kinds)


async def no_rows_are_left(gateway):
    """Wait until the rows are gone: they go right after the end of their run is recorded."""

    async def gone():
        return not list(gateway.settings.layout.root.rglob("*.arrow"))

    await eventually(gone)


async def test_a_run_trains_on_both_zones_and_both_ledgers_say_the_same(shared):
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names))
    seen = [status async for status in run.watch()]
    last = await run.wait()
    assert [s.round for s in seen] == sorted(s.round for s in seen)
    assert (last.state, last.round, len(last.history)) == ("RELEASED", 3, 3)
    assert [zone.zone for zone in last.history[-1].zones] == [LINGANG, CYBERJAYA]
    assert all(float(zone.metrics["accuracy"]) > 0.95 for zone in last.history[-1].zones)
    losses = [float(each.zones[0].metrics["loss"]) for each in last.history]
    assert losses == sorted(losses, reverse=True)
    assert min(last.bytes_out, last.bytes_in) > 0

    await told(shared.b, run.id)
    a, b = await entries(shared.a), await entries(shared.b)
    for out, taken, kinds in ((a, b, {"sums", "parameters", "outcome"}), (b, a, {"sums", "update"})):
        released = {
            (e["what"], e["round"], e["digest"]) for e in of_run(out, run.id, "release") if e["direction"] == "out"
        }
        accepted = {(e["what"], e["round"], e["digest"]) for e in of_run(taken, run.id, "round.accepted")}
        assert released <= accepted
        assert {what for what, _, _ in released} == kinds
        entered = {
            (e["what"], e["round"], e["digest"]) for e in of_run(taken, run.id, "release") if e["direction"] == "in"
        }
        assert entered == released, "the zone that something enters decides on it too"
    for found in (a, b):
        assert {e["effect"] for e in of_run(found, run.id, "release", "job.decided") if "effect" in e} == {"allow"}
        kinds = [e["kind"] for e in found if e["subject"] == f"runs/{run.id}"]
        assert kinds.index("run.agreed") < kinds.index("release")
        assert kinds.index("run.agreed") < kinds.index("run.started")
        assert kinds[-1] == "run.completed"
        assert kinds.count("round.completed") == 3
    signed, in_force = of_run(a, run.id, "run.agreed")[0], of_run(b, run.id, "run.agreed")[0]
    assert (signed["outcome"], in_force["outcome"]) == ("signed", "in_force")
    assert signed["agreement"]["payload"] == in_force["agreement"]["payload"]
    assert len(in_force["agreement"]["signatures"]) == 2
    assert of_run(a, run.id, "run.started")[0]["agreement"] == in_force["agreement"]
    (done_a,), (done_b,) = of_run(a, run.id, "run.completed"), of_run(b, run.id, "run.completed")
    assert done_a["digest"] == done_b["digest"] == last.outcome
    # On what it was trained: the coordinator knows it of both zones, the participant of its own.
    assert [each["zone"] for each in done_a["platforms"]] == ["cyberjaya", "lingang"]
    assert [each["zone"] for each in done_b["platforms"]] == ["lingang"]
    for each in (*done_a["platforms"], *done_b["platforms"]):
        assert each["country"] == {"cyberjaya": "MY", "lingang": "CN"}[each["zone"]]
        assert [set(device) for device in each["devices"]] == [{"sku", "vendor", "vendor_country", "eccn", "count"}]

    for gateway in (shared.a, shared.b):
        assert not verify_directory(gateway.settings.layout.ledger).findings
        await no_rows_are_left(gateway)


async def test_nothing_of_a_run_says_more_of_a_person_than_its_institution(shared):
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names, result=run_of(names)["result"] | {"title": "Planted Free Text"}))
    await run.wait()
    await told(shared.b, run.id)
    for gateway in (shared.a, shared.b):
        text = str(await entries(gateway))
        assert "Planted" not in text
        assert "planted" not in text


@pytest.mark.parametrize("strategy", ["FedSGD", "FedAvg", "FedProx"])
async def test_each_strategy_of_the_papers_comes_to_its_outcome(shared, strategy):
    local = {"FedSGD": {"rate": 0.3}, "FedAvg": {"epochs": 2, "batch": 16, "rate": 0.1}}
    local["FedProx"] = local["FedAvg"] | {"proximal": 0.01}
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names, strategy=strategy, local=local[strategy], rounds=2))
    last = await run.wait()
    assert (last.strategy, last.round) == (strategy, 2)


async def test_several_datasets_of_a_zone_are_aggregated_there_and_only_the_aggregate_crosses(shared):
    here, there = halves(breast_cancer())
    one, two = halves(there)
    lab, um = await shared.lab(), await shared.um()
    mine = (await um.publish(here, open_dataset(next_id("ours"), to=LINGANG, **TRAINING))).name
    theirs = [(await lab.publish(each, open_dataset(next_id("ward"), **TRAINING))).name for each in (one, two)]
    run = await um.run(run_of((mine, *theirs), rounds=2))
    last = await run.wait()
    assert last.history[-1].zones[0].examples == len(there)
    await told(shared.b, run.id)
    found = await entries(shared.b)
    out = [e for e in of_run(found, run.id, "release") if e["direction"] == "out" and e["round"] == 1]
    assert {e["resource"] for e in out} == set(theirs), "each dataset behind an update is decided on"
    assert len({e["digest"] for e in out}) == 1


async def test_a_run_on_the_other_zones_tables_alone_sends_nothing_of_its_own(shared):
    name = (await (await shared.lab()).publish(breast_cancer(), open_dataset(next_id("theirs"), **TRAINING))).name
    run = await (await shared.um()).run(run_of((name,), rounds=2))
    last = await run.wait()
    assert [zone.zone for zone in last.history[0].zones] == [LINGANG]
    assert not [e for e in of_run(await entries(shared.a), run.id, "release") if e["direction"] == "out"]


async def test_a_regression_needs_no_classes(shared):
    random = np.random.default_rng(3)
    x = random.normal(size=(400, 2))
    table = pa.table({"a": x[:, 0], "b": x[:, 1], "y": 3 * x[:, 0] - x[:, 1] + 0.5 + random.normal(size=400) / 10})
    ours, theirs = halves(table)
    mine = (await (await shared.um()).publish(ours, open_dataset(next_id("y"), to=LINGANG, **TRAINING))).name
    other = (await (await shared.lab()).publish(theirs, open_dataset(next_id("y"), **TRAINING))).name
    spec = run_of((mine, other), features=["a", "b"], target="y", classes=[], rounds=5, strategy="FedSGD")
    run = await (await shared.um()).run(spec | {"local": {"rate": 0.4}, "app": {"name": "linear"}})
    last = await run.wait()
    assert float(last.history[-1].zones[0].metrics["r2"]) > 0.9


async def test_the_same_run_gives_the_same_outcome_and_the_same_request_id_the_same_run(shared):
    names = await two_zones(shared)
    um = await shared.um()
    spec = run_of(names)
    first, again = await um.run(spec, request_id="r-1"), await um.run(spec, request_id="r-1")
    assert first.id == again.id
    with pytest.raises(AlreadyExistsError):
        await um.run(spec | {"rounds": 4}, request_id="r-1")
    second = await um.run(spec)
    assert second.id != first.id
    assert (await first.wait()).outcome == (await second.wait()).outcome


async def test_what_is_wrong_with_a_run_is_told_before_anything_is_recorded(shared):
    um = await shared.um()
    before = len(await entries(shared.a))
    with pytest.raises(InputError, match="hidden"):
        await um.run(run_of(("datasets/a",), app={"name": "linear", "hyperparameters": {"hidden": [4]}}))
    with pytest.raises(InputError, match="learning_rate is set elsewhere"):
        await um.run(run_of(("datasets/a",), app={"name": "linear", "hyperparameters": {"learning_rate": "1"}}))
    with pytest.raises(ManifestError, match="norm_bound"):
        await um.run(run_of(("datasets/a",), norm_bound=0))
    assert len(await entries(shared.a)) == before


# --- who sees and ends it -----------------------------------------------------------------------------------


async def long_run(shared, **changes):
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names, rounds=500, **changes))

    async def running():
        return (await run.status()).round >= 2

    await eventually(running)
    return run


async def test_its_partner_cancels_a_run_at_once_in_both_zones(shared):
    run = await long_run(shared)
    cancelled = await run.cancel()
    assert (cancelled.state, cancelled.reason) == ("CANCELLED", RunEnd.CANCELLED)
    there = await recorded(shared.b, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.cancelled")
    assert there["body"]["reason"] == RunEnd.CANCELLED
    with pytest.raises(RunEndedError, match="CANCELLED"):
        await run.wait()
    assert (await run.cancel()).state == "CANCELLED"
    assert not list(shared.a.settings.layout.root.rglob("*.arrow")), "the call that ends a run has removed its rows"
    await no_rows_are_left(shared.b)


async def test_the_owner_of_a_dataset_in_the_other_zone_ends_it_and_a_stranger_does_not_see_it(shared):
    run = await long_run(shared)
    theirs = await (await shared.lab()).show_run(run.id)
    assert (theirs.last.side, theirs.last.peer_zone) == ("participant", CYBERJAYA)
    for zone in (CYBERJAYA, LINGANG):
        stranger = await shared.partner(zone, "stranger")
        with pytest.raises(NotFoundError):
            await stranger.show_run(run.id)
        assert run.id not in {each.id for each in await stranger.runs()}
    assert (await theirs.cancel()).reason == RunEnd.WITHDRAWN
    with pytest.raises(RunEndedError, match=RunEnd.WITHDRAWN):
        await run.wait()
    ended = await recorded(shared.a, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.cancelled")
    assert (ended["body"]["by"], ended["body"]["heard"]) == (LINGANG, True)


@pytest.mark.parametrize("side", [CYBERJAYA, LINGANG])
async def test_a_run_that_is_cancelled_while_its_rows_are_laid_out_leaves_none(shared, monkeypatch, side):
    """The thread that writes them cannot be cancelled: the end of the run waits for it, then removes them."""
    gateway = shared.a if side == CYBERJAYA else shared.b
    ours, writing, go_on = str(gateway.settings.layout.root), threading.Event(), threading.Event()

    def held(chunks, versions, version, columns, path, **named):
        if str(path).startswith(ours):
            writing.set()
            assert go_on.wait(30)
        return write_view(chunks, versions, version, columns, path, **named)

    monkeypatch.setattr(zone_trainer, "write_view", held)
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names))
    assert await asyncio.to_thread(writing.wait, 30)
    client = run if side == CYBERJAYA else await (await shared.lab()).show_run(run.id)
    ending = asyncio.create_task(client.cancel())
    done, _ = await asyncio.wait({ending}, timeout=0.5)
    assert not done, "a run ends once nothing writes its rows any more"
    go_on.set()
    assert (await ending).state == "CANCELLED"
    assert not list(gateway.settings.layout.root.rglob("*.arrow"))


async def test_a_run_that_has_ended_cannot_be_cancelled(shared):
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names, rounds=1))
    await run.wait()
    with pytest.raises(ConflictError):
        await run.cancel()


# --- what goes away and comes back --------------------------------------------------------------------------


async def test_a_killed_training_process_is_replaced_and_the_outcome_is_the_same(shared):
    names = await two_zones(shared)
    um = await shared.um()
    undisturbed = await (await um.run(run_of(names, rounds=12))).wait()
    run = await um.run(run_of(names, rounds=12))
    killed = 0
    async for status in run.watch():
        for gateway in (shared.a, shared.b):
            pid = gateway.federation._trainer._runner.pid
            if pid and killed < 6 and status.round >= 2:
                os.kill(pid, signal.SIGKILL)
                killed += 1
    assert (await run.wait()).outcome == undisturbed.outcome
    assert killed == 6


async def test_gateways_that_stop_in_a_run_take_it_up_from_the_last_completed_round(small):
    async with small() as made:
        names = await two_zones(made)
        um = await made.um()
        undisturbed = await (await um.run(run_of(names, rounds=10))).wait()
        run = await um.run(run_of(names, rounds=10))
        for zone, at in ((LINGANG, 2), (CYBERJAYA, 4), (LINGANG, 6)):

            async def there(at=at):
                return (await rows.get(made.a.house.state, run.id)).round >= at

            await eventually(there)
            await made.stop(zone)
            await made.start(zone)
        last = await run.wait()
        assert last.outcome == undisturbed.outcome
        for gateway in (made.a, made.b):
            done = [e["round"] for e in of_run(await entries(gateway), run.id, "round.completed")]
            assert done == list(range(1, 11)), "each round is completed once"


async def test_a_zone_that_stays_away_past_its_deadline_ends_the_run_on_both_ledgers(small):
    async with small() as made:
        names = await two_zones(made)
        run = await (await made.um()).run(run_of(names, rounds=500, round_deadline_s=8))

        async def running():
            return (await run.status()).round >= 2

        await eventually(running)
        await made.stop(LINGANG)
        with pytest.raises(RunEndedError, match="stayed away"):
            await run.wait()
        failed = of_run(await entries(made.a), run.id, "run.failed")
        assert failed[0]["reason"] == RunEnd.PEER_AWAY
        await made.start(LINGANG)
        there = await told(made.b, run.id)
        assert (there["kind"], there["body"]["reason"]) == ("run.failed", RunEnd.PEER_AWAY)


async def test_a_coordinator_that_stays_away_past_its_deadline_ends_the_run_on_both_ledgers(small):
    async with small() as made:
        names = await two_zones(made)
        run = await (await made.um()).run(run_of(names, rounds=500, round_deadline_s=8))

        async def running():
            found = await rows.known(made.b.house.state, run.id)
            return found is not None and found.round >= 2

        await eventually(running)
        await made.stop(CYBERJAYA)
        made.clock.ahead += 60
        there = await told(made.b, run.id)
        assert (there["kind"], there["body"]["reason"]) == ("run.failed", RunEnd.PEER_AWAY)
        await made.start(CYBERJAYA)
        here = await told(made.a, run.id)
        assert here["kind"] == "run.failed"
        assert here["body"]["reason"] in {RunEnd.PEER_AWAY, RunEnd.ENDED_THERE}


async def test_an_answer_that_is_lost_at_any_call_changes_nothing(shared):
    from gateway.errors import PeerUnavailableError
    from tests.e2e.faulty_run_peer import RunFaults

    faults = RunFaults(shared.a.corridor, shared.b.house, CYBERJAYA)
    lost = []

    def losing(name):
        async def stand_in(real, *arguments):
            answer = await real(*arguments)
            if lost.count(name) < 2:
                lost.append(name)
                raise PeerUnavailableError("the answer was lost")
            return answer

        return stand_in

    faults.stand_ins = {name: losing(name) for name in ("propose", "confirm_run", "end_run")}
    shared.a.house.connect(faults)
    try:
        names = await two_zones(shared)
        run = await (await shared.um()).run(run_of(names))
        await run.wait()
        await told(shared.b, run.id)
        await eventually(lambda: asyncio.sleep(0, lost.count("end_run") >= 2))
    finally:
        shared.a.house.connect(shared.a.corridor)
    assert len(of_run(await entries(shared.b), run.id, "job.answered")) == 1
    assert len(of_run(await entries(shared.b), run.id, "run.agreed")) == 1
    assert len(of_run(await entries(shared.b), run.id, "run.completed")) == 1
