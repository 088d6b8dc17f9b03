"""The demo's second half: two hospitals' tables train one model, whose rows stay where they are."""

from __future__ import annotations

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.cli.demo import material
from gateway.compute.apps import app_of, code_digest
from gateway.compute.apps.protocol import Local
from gateway.compute.apps.spec import LinearSpec
from gateway.compute.scaling import Scaling, scaling_from, scaling_sums
from gateway.errors import IntegrityError, ReviewError
from gateway.federation.parameters import Parameters, decode_parameters
from gateway.sdk import Zone

ROUNDS: Final = 20
EPOCHS: Final = 2
RATE: Final = "0.5"
L2: Final = "0.001"


@dataclass(frozen=True)
class Sample:
    """Rows as numbers: features [n, d], and the classes' numbers [n]."""

    features: npt.NDArray[np.float64]
    classes: npt.NDArray[np.int64]

    @classmethod
    def of(cls, table: Any) -> Sample:
        """The measures and the diagnosis of a table."""
        columns = [table[name].to_numpy() for name in material.MEASURES]
        names = list(material.DIAGNOSES)
        return cls(np.column_stack(columns), np.array([names.index(each) for each in table["diagnosis"].to_pylist()]))

    def __add__(self, other: Sample) -> Sample:
        features = np.vstack([self.features, other.features])
        return Sample(features, np.concatenate([self.classes, other.classes]))


def run_document() -> dict[str, Any]:
    """The run that the hospital starts: logistic regression by federated averaging."""
    return {
        "name": "cell-classifier",
        "app": {"name": "linear", "hyperparameters": {"l2": L2}},
        "strategy": "FedAvg",
        "rounds": ROUNDS,
        "local": {"epochs": EPOCHS, "rate": RATE},
        "datasets": [material.SCANS, material.WARDS],
        "features": list(material.MEASURES),
        "target": "diagnosis",
        "classes": list(material.DIAGNOSES),
        "norm_bound": 10,
        "seed": 7,
        "round_deadline_s": 60,
        "purpose": "research",
        "result": {
            "model": material.CLASSIFIER.removeprefix("models/"),
            "title": "Malignant or benign, from 30 measures of a cell",
            "licence": "CC-BY-4.0",
            "zones": ["cyberjaya", "lingang"],
            "openness": "closed",
            "end_use": "civil",
            "terms": {
                "offered_to": {"zones": ["cyberjaya", "lingang"]},
                "purposes": ["research"],
                "actions": ["transfer_model"],
            },
        },
    }


def train(hospital: Zone) -> dict[str, Any]:
    """Start the run and wait for its outcome."""
    done = hospital.run(run_document()).wait()
    last = done.history[-1]
    return {
        "run": done.id,
        "state": done.state,
        "model": done.model,
        "rounds": done.round,
        "milliseconds": [each.milliseconds for each in done.history],
        "loss": {zone.zone: zone.metrics.get("loss", "") for zone in last.zones},
        "bytes_out": done.bytes_out,
        "bytes_in": done.bytes_in,
        "decisions": [decision.document() for decision in done.decisions],
    }


def pull_model(partner: Zone, directory: Path) -> dict[str, Any]:
    """Pull the outcome from the other zone, verified file by file, and show where it comes from."""
    shown = partner.model(material.CLASSIFIER)
    access = partner.request(material.CLASSIFIER, purpose="research")
    pull = access.pull()
    target = pull.to_directory(directory)
    facts = shown.lineage()
    return {
        "model": shown.name,
        "artifact": shown.artifact,
        "agreement": access.agreement,
        "transfer": pull.transfer,
        "directory": str(target),
        "bytes": pull.progress.bytes,
        "chunks": pull.progress.chunks,
        "provenance": facts["provenance"],
        "trained_on": [each["digest"] for each in facts["training"]["data"]],
        "sites": [
            {"site": each["site"], "country": each["country"], "devices": [device["sku"] for device in each["devices"]]}
            for each in facts["training"]["runs"]
        ],
    }


def quality(directory: Path) -> dict[str, float]:
    """Accuracy on rows that nobody trained on: each zone alone, both together apart, and pooled.

    Pooled is the reference that the zones could not have: it needs all rows in one place.
    """
    here, there, test = (Sample.of(table) for table in material.split_scans())
    config = json.loads((directory / "config.json").read_bytes())
    parameters = decode_parameters((directory / config["parameters"]).read_bytes())
    scaling = Scaling.of(decode_parameters((directory / config["scaling"]).read_bytes()))
    return {
        "cyberjaya alone": _alone(here, test),
        "lingang alone": _alone(there, test),
        "federated": _accuracy(parameters, scaling, test),
        "pooled": _alone(here + there, test),
    }


def hold(lab: Zone, partner: Zone, directory: Path, weights: Path) -> dict[str, Any]:
    """Publish a model that says nothing of its origin; the other zone's partner has to wait for a person."""
    directory.mkdir(parents=True)
    (directory / "model.safetensors").write_bytes((weights / "model.safetensors").read_bytes())
    lab.publish_model(directory, material.orphan_manifest())
    try:
        partner.request(material.ORPHAN, purpose="research")
    except ReviewError as error:
        request = partner.show_request(error.request_id)
        return {
            "request": request.id,
            "resource": request.resource,
            "message": error.message,
            "held_by": request.held_by,
            "findings": [finding.document() for finding in request.findings],
            "decisions": [decision.document() for decision in request.decisions],
        }
    raise IntegrityError("a model without provenance was allowed", remedy="the policy is not the shipped one")


def _spec() -> LinearSpec:
    return LinearSpec(
        version="1",
        code_digest=code_digest("linear"),
        task="classification",
        features=material.MEASURES,
        target="diagnosis",
        classes=material.DIAGNOSES,
        learning_rate=RATE,
        l2=L2,
    )


def _alone(rows: Sample, test: Sample) -> float:
    """Accuracy of the same program with the same passes over these rows alone."""
    app, spec = app_of("linear"), _spec()
    scaling = scaling_from([scaling_sums(rows.features)])
    trained, _ = app.train(
        app.initial(spec, 7), scaling.apply(rows.features), rows.classes, spec, Local(epochs=ROUNDS * EPOCHS)
    )
    return _accuracy(trained, scaling, test)


def _accuracy(parameters: Parameters, scaling: Scaling, test: Sample) -> float:
    found = app_of("linear").evaluate(parameters, scaling.apply(test.features), test.classes, _spec())
    return round(found["accuracy"], 4)
