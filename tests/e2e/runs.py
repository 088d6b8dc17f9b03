"""What the tests of federated runs train on: public data, split over both zones, and the runs over it."""

from __future__ import annotations

from typing import Any

import numpy as np
import pyarrow as pa
from sklearn.datasets import load_breast_cancer

from tests.e2e.material import CYBERJAYA, LINGANG, next_id, open_dataset, patients
from tests.e2e.small import Small

FEATURES = [f"f{i:02d}" for i in range(30)]
CLASSES = ["malignant", "benign"]
TRAINING = {"actions": ["run_job"]}


def breast_cancer() -> pa.Table:
    """The 569 rows, features as float64, the class as text."""
    data = load_breast_cancer()
    columns: dict[str, Any] = {name: data.data[:, i] for i, name in enumerate(FEATURES)}
    columns["diagnosis"] = pa.array([CLASSES[label] for label in data.target])
    columns["note"] = pa.array([f"a column that no run reads {i}" for i in range(len(data.target))])
    return pa.table(columns)


def halves(table: pa.Table, *, seed: int = 1, share: float = 0.5) -> tuple[pa.Table, pa.Table]:
    """The rows in random order, split in two."""
    order = np.random.default_rng(seed).permutation(len(table))
    cut = int(len(table) * share)
    return table.take(order[:cut]), table.take(order[cut:])


async def two_zones(small: Small, table: pa.Table | None = None, **terms: Any) -> tuple[str, str]:
    """The table's halves, published by a hospital in cyberjaya and the laboratory in lingang; resource names."""
    ours, theirs = halves(breast_cancer() if table is None else table)
    here = patients(next_id("clinic"), subjects=len(ours))
    here["dataset"] |= {"columns": [{"name": "diagnosis", "tags": ["sensitive"]}]}
    here["terms"] |= TRAINING
    there = open_dataset(next_id("wards"), **(TRAINING | terms))
    um, lab = await small.um(), await small.lab()
    return (await um.publish(ours, here)).name, (await lab.publish(theirs, there)).name


def run_of(datasets: tuple[str, ...], **changes: Any) -> dict[str, Any]:
    """A run over datasets."""
    document: dict[str, Any] = {
        "name": "screening",
        "app": {"name": "linear", "hyperparameters": {"l2": "0.001"}},
        "strategy": "FedAvg",
        "rounds": 3,
        "local": {"epochs": 2, "batch": 32, "rate": 0.1},
        "datasets": list(datasets),
        "features": FEATURES,
        "target": "diagnosis",
        "classes": CLASSES,
        "norm_bound": 10,
        "seed": 7,
        "round_deadline_s": 30,
        "purpose": "research",
        "result": {
            "model": next_id("screening"),
            "title": "Screening",
            "licence": "CC0-1.0",
            "zones": [CYBERJAYA, LINGANG],
        },
    }
    return document | changes
