"""One round in one zone, on tables in memory: train on each dataset, aggregate within the zone, clip.

What is here decides what an update is; it touches no file and no pipe, so that a test can hold it against plain
gradient descent, and so that its source is part of the app's code digest.
"""

from __future__ import annotations

import hashlib
import time
from collections.abc import Callable, Iterable
from dataclasses import dataclass

import numpy as np

from gateway.compute.apps.protocol import App, Features, Local, Metrics, Spec, Target
from gateway.errors import TrainingError, UpdateValueError
from gateway.federation.checks import check_finite
from gateway.federation.parameters import Parameters
from gateway.federation.strategies import Contribution, Strategy, aggregate
from gateway.federation.updates import Clipped, clip


@dataclass(frozen=True, eq=False)
class Table:
    """One dataset in memory: scaled features [n, d] and target [n]."""

    dataset: str
    features: Features
    target: Target


@dataclass(frozen=True, eq=False)
class ZoneRound:
    """What a zone's round gave: its update, the norm before clipping, and each dataset's rows and figures.

    `seconds` went into the app's own steps, by the wall clock; reading, aggregating and clipping are not in it.
    """

    clipped: Clipped
    examples: int
    datasets: tuple[tuple[str, int, Metrics], ...]
    seconds: float


def example_seed(seed: int, round_number: int, dataset: str) -> int:
    """The seed for one dataset in one round: of the run's seed, and independent of which others take part."""
    text = f"tdz.examples/1\n{seed}\n{round_number}\n{dataset}".encode()
    return int.from_bytes(hashlib.sha256(text).digest()[:8], "big")


def train_zone(
    app: App,
    spec: Spec,
    strategy: Strategy,
    reference: Parameters,
    tables: Iterable[Table],
    *,
    zone: str,
    seed: int,
    round_number: int,
    norm_bound: float,
    device: str = "cpu",
    progress: Callable[[str, int, int, float], None] = lambda _dataset, _done, _of, _loss: None,
) -> ZoneRound:
    """Train one round on a zone's tables, one table in memory at a time.

    Args:
        tables: read one after the other, so an iterator that reads when it is asked keeps one table only.
        progress: hears the dataset, epochs done, epochs in all and the last epoch's mean loss.

    Raises:
        TrainingError: training diverged.
        AcceleratorError: the device is not there for this app.
    """
    contributions: list[Contribution] = []
    found: list[tuple[str, int, Metrics]] = []
    seconds = 0.0
    for table in tables:

        def report(done: int, of: int, loss: float, dataset: str = table.dataset) -> None:
            progress(dataset, done, of, loss)

        start = time.perf_counter()
        trained, metrics = _train(
            app,
            spec,
            strategy,
            reference,
            table,
            Local(
                epochs=strategy.epochs,
                batch_size=strategy.batch_size,
                proximal_mu=float(strategy.proximal_mu),
                seed=example_seed(seed, round_number, table.dataset),
                device=device,
                progress=report,
            ),
        )
        seconds += time.perf_counter() - start
        try:
            check_finite(trained)
        except UpdateValueError as error:
            raise TrainingError("training diverged", remedy=error.remedy) from error
        contributions.append(Contribution(table.dataset, trained, len(table.features)))
        found.append((table.dataset, len(table.features), metrics))
    whole = aggregate(contributions, source=zone)
    return ZoneRound(clip(whole.parameters, reference, norm_bound), whole.examples, tuple(found), seconds)


def _train(
    app: App, spec: Spec, strategy: Strategy, reference: Parameters, table: Table, local: Local
) -> tuple[Parameters, Metrics]:
    if strategy.name != "FedSGD":
        return app.train(reference, table.features, table.target, spec, local)
    gradient, metrics = app.gradient(reference, table.features, table.target, spec, device=local.device)
    rate = float(spec.learning_rate)
    with np.errstate(over="ignore", invalid="ignore"):
        stepped = {name: np.asarray(array - rate * gradient[name], array.dtype) for name, array in reference.items()}
    local.progress(1, 1, metrics["loss"])
    return Parameters(stepped), metrics
