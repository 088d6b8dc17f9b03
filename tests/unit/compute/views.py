"""Views, apps and orders for the tests of training: real Arrow files and real specifications."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import ipc

from gateway.compute.apps import LinearSpec, MlpSpec, app_of, code_digest
from gateway.compute.files import save_parameters
from gateway.compute.training import DatasetFile, ParametersFile, TrainOrder
from gateway.federation.parameters import Parameters
from gateway.federation.strategies import Strategy

RUN = "0197a1b2-0000-7000-8000-000000000001"
FEATURES = ("height", "weight", "age")
Rows = tuple[np.ndarray, np.ndarray]


def linear_spec(**changes: Any) -> LinearSpec:
    """Two classes on three features, unless told otherwise."""
    values: dict[str, Any] = {
        "version": "1",
        "code_digest": code_digest("linear"),
        "task": "classification",
        "features": FEATURES,
        "target": "ill",
        "classes": ("no", "yes"),
        "learning_rate": "0.1",
    }
    return LinearSpec(**{**values, **changes})


def mlp_spec(**changes: Any) -> MlpSpec:
    """As `linear_spec`, with one hidden layer of eight."""
    return MlpSpec(
        **{**linear_spec().model_dump(exclude={"app"}), "code_digest": code_digest("mlp"), "hidden": (8,), **changes}
    )


def some_rows(count: int, seed: int, *, features: int = 3, classes: int = 2) -> Rows:
    """Rows whose class depends on the features, with noise."""
    source = np.random.default_rng(seed)
    table = source.normal(size=(count, features))
    slopes = np.random.default_rng(99).normal(size=(features, classes))
    return table, (table @ slopes + source.normal(scale=0.3, size=(count, classes))).argmax(axis=1)


def write_view(
    path: Path,
    rows: Rows,
    *,
    features: Sequence[str] = FEATURES,
    target: str = "ill",
    classes: Sequence[str] = ("no", "yes"),
    stream: bool = False,
    batch: int = 100,
) -> Path:
    """An Arrow IPC file (or stream) with a column that no run names."""
    columns: Mapping[str, Any] = {
        "name_of_patient": [f"patient {i}" for i in range(len(rows[0]))],
        **{name: rows[0][:, i] for i, name in enumerate(features)},
        target: [classes[code] for code in rows[1]] if classes else rows[1],
    }
    return write_table(path, pa.table(dict(columns)), stream=stream, batch=batch)


def write_table(path: Path, table: Any, *, stream: bool = False, batch: int = 100) -> Path:
    """An Arrow table as a view."""
    with (ipc.new_stream if stream else ipc.new_file)(str(path), table.schema) as writer:
        writer.write_table(table, max_chunksize=batch)
    return path


def saved(parameters: Parameters, path: Path) -> ParametersFile:
    """A parameters file and what an order says of it."""
    digest, _ = save_parameters(parameters, path)
    return ParametersFile(path=str(path), digest=digest)


def train_order(directory: Path, views: Mapping[str, Path], spec: Any = None, **changes: Any) -> TrainOrder:
    """Round 1 on these views, from the app's initial parameters."""
    spec = linear_spec() if spec is None else spec
    values: dict[str, Any] = {
        "run": RUN,
        "round": 1,
        "zone": "lingang",
        "spec": spec,
        "strategy": Strategy(name="FedAvg", epochs=2, batch_size=32),
        "datasets": tuple(DatasetFile(dataset=name, path=str(path)) for name, path in views.items()),
        "norm_bound": "100",
        "seed": 7,
        "output": str(directory / "update"),
    }
    if "reference" not in changes:
        values["reference"] = saved(app_of(spec.app).initial(spec, 7), directory / "global")
    return TrainOrder(**{**values, **changes})
