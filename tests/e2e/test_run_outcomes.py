"""What a run comes to: a model in the zones of its agreement, with a lineage that policy believes, pulled like any."""

from __future__ import annotations

import json

import numpy as np
import pytest

from gateway.artifacts.provenance import TrainingRecord, read_provenance
from gateway.artifacts.statement import read_envelope
from gateway.compute.accelerators import choose
from gateway.compute.apps import code_digest
from gateway.errors import ConflictError, DeniedError
from gateway.federation.parameters import decode_parameters
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.runs import CLASSES, FEATURES, breast_cancer, halves, run_of, two_zones
from tests.e2e.small import entries, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

OFFERED = {"offered_to": {"zones": [CYBERJAYA, LINGANG]}, "purposes": ["research"]}


def result(**changes):
    return run_of(())["result"] | {"terms": OFFERED, "end_use": "civil"} | changes


def scaled(model, table):
    """A table's features as a pulled model wants them, and where its rows are of the second class."""
    scaling = decode_parameters((model / "scaling.safetensors").read_bytes())
    x = np.column_stack([table[name].to_numpy() for name in FEATURES])
    return (x - scaling["mean"]) / scaling["deviation"], np.array(table["diagnosis"].to_pylist()) == CLASSES[1]


async def test_the_outcome_is_published_in_both_zones_and_pulled_with_its_lineage(shared, tmp_path):
    names = await two_zones(shared)
    um, lab = await shared.um(), await shared.lab()
    wanted = result()
    run = await um.run(run_of(names, rounds=4, result=wanted))
    last = await run.wait()
    assert last.model == f"models/{wanted['model']}"
    completed = [
        await recorded(g, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.completed")
        for g in (shared.a, shared.b)
    ]
    assert completed[0]["body"]["artifact"] == completed[1]["body"]["artifact"], "one artifact, published twice"

    for zone, puller in ((CYBERJAYA, lab), (LINGANG, um)):
        shown = await puller.model(last.model)
        offered = next(each for each in await puller.models() if each.zone == zone)
        assert offered.artifact == completed[0]["body"]["artifact"]
        assert shown.artifact == offered.artifact
        facts = offered.lineage()
        assert facts["provenance"] == "verified"
        assert {each["site"] for each in facts["training"]["runs"]} == {CYBERJAYA, LINGANG}
        assert all(each["attestation"] == "signed" for each in facts["training"]["runs"])
        assert {each["site"]: each["devices"] for each in facts["training"]["runs"]} == {
            site: [choose("cpu").facts().document()] for site in (CYBERJAYA, LINGANG)
        }, "each zone's lineage names what both trained on"
        versions = {each.version for each in last.datasets}
        assert {each["digest"] for each in facts["training"]["data"]} == versions

    access = await lab.request(last.model, purpose="research")
    pull = await access.pull()
    target = tmp_path / "model"
    await pull.to_directory(target)
    config = json.loads((target / "config.json").read_text())
    weights = decode_parameters((target / "model.safetensors").read_bytes())
    assert (config["features"], config["classes"]) == (FEATURES, CLASSES)
    x, second_class = scaled(target, halves(breast_cancer())[1])
    logits = x @ weights["weight"] + weights["bias"]
    assert np.mean((logits[:, 0] > 0) == second_class) > 0.95, "the pulled model works"


async def test_a_perceptron_in_torch_is_trained_in_both_zones_and_its_lineage_names_app_and_device(shared, tmp_path):
    pytest.importorskip("torch", reason="the extra `compute` is not installed")
    um, lab = await shared.um(), await shared.lab()
    wanted = result()
    app = {"name": "mlp", "hyperparameters": {"hidden": [16], "l2": "0.001"}}
    spec = run_of(await two_zones(shared), app=app, rounds=4, round_deadline_s=60, result=wanted)
    last = await (await um.run(spec)).wait()
    await recorded(shared.b, lambda e: e["subject"] == f"runs/{last.id}" and e["kind"] == "run.completed")
    assert (last.state, last.app, last.strategy, last.round) == ("RELEASED", "mlp", "FedAvg", 4)
    for zone in (CYBERJAYA, LINGANG):
        said = [part.metrics for each in last.history for part in each.zones if part.zone == zone]
        assert len(said) == 4
        assert float(said[-1]["loss"]) < float(said[0]["loss"])
        assert float(said[-1]["accuracy"]) > 0.93

    device = choose("any").facts().document()
    for zone, puller in ((CYBERJAYA, lab), (LINGANG, um)):
        (offered,) = [each for each in await puller.models(wanted["model"]) if each.zone == zone]
        facts = offered.lineage()
        assert facts["provenance"] == "verified"
        sites = {each["site"]: each["devices"] for each in facts["training"]["runs"]}
        assert sites == {CYBERJAYA: [device], LINGANG: [device]}
    shown = await um.model(last.model)
    said = [read_provenance(read_envelope(text).payload, shown.artifact) for text in shown.provenance]
    (record,) = [each for each in said if isinstance(each, TrainingRecord)]
    assert (record.code.name, record.code.digest) == ("mlp", code_digest("mlp"))
    assert {each.name for each in record.data} == {each.resource for each in last.datasets}
    assert float(record.metrics[f"outcome.{CYBERJAYA}.accuracy"]) > 0.93
    assert float(record.metrics[f"last_round.{LINGANG}.accuracy"]) > 0.93

    pull = await (await lab.request(last.model, purpose="research")).pull()
    target = await pull.to_directory(tmp_path / "model")
    weights = decode_parameters((target / "model.safetensors").read_bytes())
    x, wanted_there = scaled(target, halves(breast_cancer())[1])
    hidden = np.maximum(x @ weights["layer00.weight"].T + weights["layer00.bias"], 0)
    logits = hidden @ weights["layer01.weight"].T + weights["layer01.bias"]
    assert np.mean((logits[:, 0] > 0) == wanted_there) > 0.93, "the pulled model works without torch"


async def test_a_result_that_is_for_one_zone_stays_there(shared):
    names = await two_zones(shared)
    wanted = result(zones=[CYBERJAYA])
    run = await (await shared.um()).run(run_of(names, rounds=1, result=wanted))
    last = await run.wait()
    there = await recorded(shared.b, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.completed")
    assert (there["body"]["model"], there["body"]["digest"]) == ("", "")
    sent = [e["body"] for e in await entries(shared.a) if e["subject"] == f"runs/{run.id}" and e["kind"] == "release"]
    assert "outcome" not in {each["what"] for each in sent}
    assert last.model


async def test_a_name_that_belongs_to_another_institution_is_refused_before_anything_runs(shared):
    names = await two_zones(shared)
    um = await shared.um()
    taken = result(zones=[LINGANG])
    await (await um.run(run_of(names, rounds=1, result=taken))).wait()
    other = await shared.partner(LINGANG, "other-lab")
    from tests.e2e.material import next_id, open_dataset
    from tests.e2e.runs import TRAINING

    theirs = (await other.publish(halves(breast_cancer())[1], open_dataset(next_id("b"), **TRAINING))).name
    run = await um.run(run_of((names[0], theirs), rounds=1, result=taken))
    with pytest.raises(DeniedError) as caught:
        await run.wait()
    assert {finding[0] for finding in caught.value.findings} == {"TDZ-MODEL-ID"}
    mine = result()
    await (await um.run(run_of(names, rounds=1, result=mine))).wait()
    stranger = await shared.partner(CYBERJAYA, "uitm")
    with pytest.raises(ConflictError):
        await stranger.run(run_of(names, rounds=1, result=mine))
