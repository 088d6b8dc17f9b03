"""The overhead of a federated round: all that it takes beyond local training, both decisions and ledgers included."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
import yaml

import gateway.sdk as tdz
from benchmarks.bench_corridor import MANIFEST, bench

FEATURES: Final = 130
CLASSES: Final = 1_000  # 130 features times 1,000 classes, and 1,000 biases, as float64: 1 MiB
ROWS: Final = 1_000


def measure(directory: Path, *, rounds: int = 40) -> dict[str, Any]:
    """One run between two gateway processes on loopback; each round sends 1 MiB there and 1 MiB back.

    A round's time is the coordinator's, from its start to its entry that it is completed. Local training is what the
    slower of the two training processes took for its order, by its own clock.
    """
    with bench(directory / "corridor") as made:
        names = []
        for seed, (who, profile, other) in enumerate((("um", made.um, "lingang"), ("shlab", made.shlab, "cyberjaya"))):
            manifest = yaml.safe_load(MANIFEST.format(id=f"rows-{who}"))
            manifest["terms"] = {"offered_to": {"zones": [other]}, "purposes": ["research"], "actions": ["run_job"]}
            with tdz.connect(str(profile)) as owner:
                names.append(owner.publish(_table(seed), manifest).name)
        with tdz.connect(str(made.um)) as zone:
            run = zone.run(_run(names, rounds))
            last = run.wait()
    history = last.history[2:]  # the first ones start processes and warm connections
    training = [1e3 * max(float(each.metrics["seconds"]) for each in found.zones) for found in history]
    whole = [float(found.milliseconds) for found in history]
    overhead = [total - local for total, local in zip(whole, training, strict=True)]
    return {
        "rounds": len(history),
        "update_bytes": history[0].bytes // 2,
        "round_p50_ms": statistics.median(whole),
        "training_p50_ms": statistics.median(training),
        "overhead_p50_ms": statistics.median(overhead),
        "overhead_p99_ms": sorted(overhead)[min(len(overhead) - 1, len(overhead) * 99 // 100)],
    }


def _table(seed: int) -> pa.Table:
    random = np.random.default_rng(seed)
    columns: dict[str, Any] = {f"f{i}": random.normal(size=ROWS) for i in range(FEATURES)}
    columns["y"] = pa.array([str(i % CLASSES) for i in range(ROWS)])
    return pa.table(columns)


def _run(datasets: list[str], rounds: int) -> dict[str, Any]:
    return {
        "name": "overhead",
        "app": {"name": "linear"},
        "strategy": "FedAvg",
        "rounds": rounds,
        "local": {"epochs": 1, "batch": 0, "rate": 0.01},
        "datasets": datasets,
        "features": [f"f{i}" for i in range(FEATURES)],
        "target": "y",
        "classes": [str(i) for i in range(CLASSES)],
        "norm_bound": 100,
        "purpose": "research",
        "result": {"model": "overhead", "title": "Overhead", "licence": "CC0-1.0", "zones": ["cyberjaya"]},
    }
