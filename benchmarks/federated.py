"""Federated training: how near to the pooled table it comes, what skewed zones cost, and what a round costs.

Two zones with two datasets each, on public tables that scikit-learn ships (breast cancer: 569 rows, 2 classes;
digits: 1,797 rows, 10 classes). A fifth of the rows is held back and measured on; figures are means over several
splits. The pooled reference is the same app with as many passes over all rows in one place, which the zones could
not have. Run alone: ``python -m benchmarks.federated``.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import sys
import tempfile
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from gateway.compute.apps import LinearSpec, Local, app_of, code_digest
from gateway.compute.files import load_parameters, save_parameters
from gateway.compute.rounds import Table, train_zone
from gateway.compute.runner import Runner
from gateway.compute.scaling import scaling_from, scaling_sums
from gateway.compute.training import DatasetFile, ParametersFile, TrainOrder
from gateway.federation.parameters import Parameters
from gateway.federation.strategies import Contribution, Strategy, aggregate

ZONES: Final = ("cyberjaya", "lingang")
SKEW: Final = 0.9  # share of a class that lies in one zone, where zones are skewed
RUN: Final = "0197a1b2-0000-7000-8000-000000000001"
ROUNDS: Final = 15
EPOCHS: Final = 3


@dataclass(frozen=True)
class Public:
    """A public table: features [n, d], classes [n], and the app that is trained on it."""

    name: str
    features: Any
    target: Any
    spec: LinearSpec


def public_tables() -> tuple[Public, ...]:
    """Breast cancer and digits, with all their features."""
    from sklearn.datasets import load_breast_cancer, load_digits

    found = []
    for name, load, rate in (("breast cancer", load_breast_cancer, "0.1"), ("digits", load_digits, "0.1")):
        bunch = load()
        found.append(
            Public(
                name,
                bunch.data.astype(np.float64),
                bunch.target.astype(np.int64),
                LinearSpec(
                    version="1",
                    code_digest=code_digest("linear"),
                    task="classification",
                    features=tuple(f"f{i}" for i in range(bunch.data.shape[1])),
                    target="target",
                    classes=tuple(str(i) for i in range(len(bunch.target_names))),
                    learning_rate=rate,
                    l2="0.001",
                ),
            )
        )
    return tuple(found)


def measure_quality(*, splits: int = 5) -> dict[str, Any]:
    """Accuracy on held-back rows for each table, in per cent.

    Args:
        splits: how many ways to split each table.
    """
    return {table.name: _quality(table, splits) for table in public_tables()}


def _quality(table: Public, splits: int) -> dict[str, Any]:
    fedavg = Strategy(name="FedAvg", epochs=EPOCHS, batch_size=16)
    fedprox = Strategy(name="FedProx", epochs=EPOCHS, batch_size=16, proximal_mu="0.1")
    found: dict[str, list[float]] = {}
    for seed in range(splits):
        source = np.random.default_rng(seed)
        order = source.permutation(len(table.target))
        held, kept = order[: len(order) // 5], order[len(order) // 5 :]
        for kind, zones in (("iid", _iid(kept)), ("skewed", _skewed(kept, table.target, source))):
            scaling = scaling_from([scaling_sums(table.features[rows]) for zone in zones for rows in zone])
            features = scaling.apply(table.features)

            def accuracy(parameters: Parameters, features: Any = features, held: Any = held) -> float:
                measured = app_of("linear").evaluate(parameters, features[held], table.target[held], table.spec)
                return 100 * measured["accuracy"]

            def note(name: str, value: float, kind: str = kind) -> None:
                found.setdefault(f"{kind} {name}", []).append(value)

            pooled = app_of("linear").train(
                app_of("linear").initial(table.spec, seed),
                features[kept],
                table.target[kept],
                table.spec,
                Local(epochs=EPOCHS * ROUNDS, batch_size=16, seed=seed),
            )[0]
            note("pooled", accuracy(pooled))
            for name, strategy in (("FedAvg", fedavg), ("FedProx", fedprox)):
                note(name, accuracy(_federated(table, features, zones, strategy, seed)))
            alone = [accuracy(_federated(table, features, [zone], fedavg, seed)) for zone in zones]
            note("one zone alone", statistics.mean(alone))
    means = {name: statistics.mean(values) for name, values in found.items()}
    return {
        **means,
        "splits": splits,
        "iid gap": means["iid pooled"] - means["iid FedAvg"],
        "skewed gap": means["skewed pooled"] - means["skewed FedAvg"],
    }


def _iid(kept: Any) -> list[list[Any]]:
    """Two zones of two datasets each, of equal shares of every class."""
    return [np.array_split(zone, 2) for zone in np.array_split(kept, 2)]


def _skewed(kept: Any, target: Any, source: Any) -> list[list[Any]]:
    """Two zones: each has most rows of one half of the classes, and few of the other."""
    first_half = target[kept] < (target.max() + 1) / 2
    first = np.where(first_half, source.random(len(kept)) < SKEW, source.random(len(kept)) >= SKEW)
    return [np.array_split(kept[first], 2), np.array_split(kept[~first], 2)]


def _federated(table: Public, features: Any, zones: list[list[Any]], strategy: Strategy, seed: int) -> Parameters:
    app = app_of("linear")
    parameters = app.initial(table.spec, seed)
    for round_number in range(1, ROUNDS + 1):
        contributions = []
        for name, zone in zip(ZONES, zones, strict=False):
            tables = [Table(f"{name}/{i}", features[rows], table.target[rows]) for i, rows in enumerate(zone)]
            found = train_zone(
                app,
                table.spec,
                strategy,
                parameters,
                tables,
                zone=name,
                seed=seed,
                round_number=round_number,
                norm_bound=1_000.0,
            )
            contributions.append(Contribution(name, found.clipped.parameters, found.examples))
        parameters = aggregate(contributions, source="run").parameters
    return parameters


def measure_processes(directory: Path, *, rounds: int = 20) -> dict[str, Any]:
    """FedSGD through real training processes against gradient descent on the pooled table, and a round's cost.

    Args:
        directory: for views and parameters.
        rounds: of FedSGD, and of the 1 MB update that is timed.
    """
    return asyncio.run(_processes(directory, rounds))


async def _processes(directory: Path, rounds: int) -> dict[str, Any]:
    start = time.perf_counter()
    async with Runner() as one, Runner() as other:
        started_s = (time.perf_counter() - start) / 2
        runners = dict(zip(ZONES, (one, other), strict=True))
        apart = {table.name: await _against_pooled(table, directory, runners, rounds) for table in public_tables()}
        return {"fedsgd_max_difference": apart, "start_s": started_s, **await _round_cost(directory, one, rounds)}


async def _against_pooled(table: Public, directory: Path, runners: dict[str, Runner], rounds: int) -> float:
    rows = np.arange(len(table.target))
    zones = dict(zip(ZONES, _skewed(rows, table.target, np.random.default_rng(1)), strict=True))
    scaling = scaling_from([scaling_sums(table.features[part]) for zone in zones.values() for part in zone])
    scaled = _save(scaling.parameters(), directory / "scaling")
    views = {
        zone: [_view(directory / f"{zone}{i}", table, part) for i, part in enumerate(parts)]
        for zone, parts in zones.items()
    }
    app = app_of("linear")
    pooled = parameters = app.initial(table.spec, 0)
    features = scaling.apply(table.features)
    rate = float(table.spec.learning_rate)
    for round_number in range(1, rounds + 1):
        slope, _ = app.gradient(pooled, features, table.target, table.spec)
        pooled = Parameters({name: array - rate * slope[name] for name, array in pooled.items()})
        reference = _save(parameters, directory / "global")
        contributions = []
        for zone, runner in runners.items():
            order = TrainOrder(
                run=RUN,
                round=round_number,
                zone=zone,
                spec=table.spec,
                strategy=Strategy(name="FedSGD"),
                datasets=tuple(DatasetFile(dataset=path.name, path=str(path)) for path in views[zone]),
                reference=reference,
                scaling=scaled,
                norm_bound="1000",
                seed=0,
                output=str(directory / f"update-{zone}"),
            )
            result = await runner.run(order, 60.0)
            contributions.append(
                Contribution(zone, load_parameters(order.output, digest=result.digest), result.examples)
            )
        parameters = aggregate(contributions, source="run").parameters
    return max(float(np.abs(parameters[name] - array).max()) for name, array in pooled.items())


async def _round_cost(directory: Path, runner: Runner, rounds: int) -> dict[str, Any]:
    """An order with an update of 1 MB: from handing it in to having its result, and what of it was not training."""
    width, classes, count = 250, 500, 200
    source = np.random.default_rng(0)
    spec = LinearSpec(
        version="1",
        code_digest=code_digest("linear"),
        task="classification",
        features=tuple(f"f{i}" for i in range(width)),
        target="target",
        classes=tuple(str(i) for i in range(classes)),
        learning_rate="0.1",
    )
    table = Public("made up", source.normal(size=(count, width)), source.integers(0, classes, count), spec)
    view = _view(directory / "made-up", table, np.arange(count))
    app = app_of("linear")
    order = TrainOrder(
        run=RUN,
        round=1,
        zone=ZONES[0],
        spec=spec,
        strategy=Strategy(name="FedSGD"),
        datasets=(DatasetFile(dataset="made-up", path=str(view)),),
        reference=_save(app.initial(spec, 0), directory / "global"),
        norm_bound="1000",
        seed=0,
        output=str(directory / "update"),
    )
    whole, beyond, size = [], [], 0
    for _ in range(rounds + 1):
        start = time.perf_counter()
        result = await runner.run(order, 60.0)
        whole.append(time.perf_counter() - start)
        beyond.append(whole[-1] - result.training_seconds)
        size = result.bytes
    return {
        "update_bytes": size,
        "order_p50_ms": 1e3 * statistics.median(whole[1:]),  # the first one loads pyarrow
        "beyond_training_p50_ms": 1e3 * statistics.median(beyond[1:]),
    }


def _save(parameters: Parameters, path: Path) -> ParametersFile:
    digest, _ = save_parameters(parameters, path)
    return ParametersFile(path=str(path), digest=digest)


def _view(path: Path, table: Public, rows: Any) -> Path:
    columns = {name: table.features[rows, i] for i, name in enumerate(table.spec.features)}
    columns["target"] = table.target[rows]
    written = pa.table(columns)
    with ipc.new_file(str(path), written.schema) as writer:
        writer.write_table(written)
    return path


def measure(directory: Path, *, quick: bool = False) -> dict[str, Any]:
    """All figures of this page.

    Args:
        directory: scratch, for views and parameters.
        quick: fewer splits and rounds.
    """
    return {
        "quality": measure_quality(splits=2 if quick else 5),
        "processes": measure_processes(directory, rounds=5 if quick else 50),
    }


if __name__ == "__main__":
    with tempfile.TemporaryDirectory(prefix="tdz-bench-") as scratch:
        json.dump(measure(Path(scratch), quick="--quick" in sys.argv), sys.stdout, indent=1)
        sys.stdout.write("\n")
