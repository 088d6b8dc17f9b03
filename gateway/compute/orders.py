"""What a training process does with an order: read the views, compute, write the outcome, say what came of it."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from typing import Final

from gateway.compute.apps import app_of, code_digest
from gateway.compute.apps.protocol import Metrics
from gateway.compute.files import load_parameters, save_parameters
from gateway.compute.rounds import Table, train_zone
from gateway.compute.scaling import Scaling, ScalingSums, add_sums, scaling_sums
from gateway.compute.tables import read_table
from gateway.compute.training import (
    DatasetFile,
    DatasetResult,
    EvaluateOrder,
    Order,
    ParametersFile,
    Progress,
    Result,
    ScalingOrder,
    TrainOrder,
    mean_metrics,
)
from gateway.errors import InputError, IntegrityError, TooFewRowsError

Report = Callable[[Progress], None]

_REPORT_EVERY_S: Final = 0.1


def carry_out(order: Order, report: Report) -> Result:
    """Do what an order says.

    Args:
        order: the order.
        report: hears of progress, at most ten times a second for one dataset and at its last epoch.

    Raises:
        TdzError: whatever stands in the way, without a row's value in its text.
    """
    start = time.monotonic()
    _check(order)
    if isinstance(order, TrainOrder):
        return _train(order, report, start)
    return _sum(order, start) if isinstance(order, ScalingOrder) else _evaluate(order, start)


def _check(order: Order) -> None:
    if len({each.dataset for each in order.datasets}) != len(order.datasets):
        raise InputError("the order names a dataset twice", remedy="name each dataset once")
    if code_digest(order.spec.app) != order.spec.code_digest:
        raise IntegrityError(
            f"the code of the app {order.spec.app} here is not the code that the run pins",
            remedy="both zones install the same version, and the run is started again",
        )


def _tables(order: Order, scaling: Scaling | None) -> Iterator[tuple[DatasetFile, Table]]:
    """One dataset after the other, in the order of their ids; each is read when it is asked for."""
    for each in sorted(order.datasets, key=lambda view: view.dataset):
        try:
            features, target = read_table(each.path, order.spec.features, order.spec.target, order.spec.classes)
        except InputError as error:
            raise type(error)(f"{each.dataset}: {error.message}", remedy=error.remedy) from error
        if len(features) < order.rows_min:
            # How many there are is not said: the text may cross the border.
            raise TooFewRowsError(
                f"{each.dataset} has fewer rows than the minimum of {order.rows_min}",
                remedy="take a larger dataset, or leave this one out",
            )
        yield each, Table(each.dataset, features if scaling is None else scaling.apply(features), target)


def _scaling(file: ParametersFile | None) -> Scaling | None:
    return None if file is None else Scaling.of(load_parameters(file.path, digest=file.digest))


def _train(order: TrainOrder, report: Report, start: float) -> Result:
    app = app_of(order.spec.app)
    layout = app.initial(order.spec, order.seed).layout
    reference = load_parameters(order.reference.path, digest=order.reference.digest, expected=layout)
    numbers = {name: place for place, name in enumerate(sorted(each.dataset for each in order.datasets), start=1)}
    last = 0.0

    def progress(dataset: str, done: int, of: int, loss: float) -> None:
        nonlocal last
        now = time.monotonic()
        if done == of or now - last >= _REPORT_EVERY_S:
            last = now
            report(
                Progress(
                    dataset=dataset, number=numbers[dataset], of=len(numbers), epoch=done, epochs=of, loss=float(loss)
                )
            )

    found = train_zone(
        app,
        order.spec,
        order.strategy,
        reference,
        (table for _, table in _tables(order, _scaling(order.scaling))),
        zone=order.zone,
        seed=order.seed,
        round_number=order.round,
        norm_bound=float(order.norm_bound),
        device=order.device,
        progress=progress,
    )
    datasets = tuple(
        DatasetResult(dataset=dataset, examples=examples, metrics=_plain(metrics))
        for dataset, examples, metrics in found.datasets
    )
    digest, size = save_parameters(found.clipped.parameters, order.output)
    return Result(
        order=order.order,
        digest=digest,
        bytes=size,
        examples=found.examples,
        metrics=mean_metrics(datasets),
        datasets=datasets,
        norm=found.clipped.norm,
        clipped=found.clipped.clipped,
        seconds=time.monotonic() - start,
        training_seconds=found.seconds,
        device=order.device,
    )


def _sum(order: ScalingOrder, start: float) -> Result:
    sums: list[ScalingSums] = []
    datasets: list[DatasetResult] = []
    for each, table in _tables(order, None):
        sums.append(scaling_sums(table.features))
        datasets.append(DatasetResult(dataset=each.dataset, examples=len(table.features), metrics={}))
    together = add_sums(sums)
    digest, size = save_parameters(together.parameters(), order.output)
    return Result(
        order=order.order,
        digest=digest,
        bytes=size,
        examples=together.count,
        metrics={},
        datasets=tuple(datasets),
        seconds=time.monotonic() - start,
        device="cpu",
    )


def _evaluate(order: EvaluateOrder, start: float) -> Result:
    app = app_of(order.spec.app)
    layout = app.initial(order.spec, 0).layout
    parameters = load_parameters(order.parameters.path, digest=order.parameters.digest, expected=layout)
    datasets = tuple(
        DatasetResult(
            dataset=each.dataset,
            examples=len(table.features),
            metrics=_plain(app.evaluate(parameters, table.features, table.target, order.spec, device=order.device)),
        )
        for each, table in _tables(order, _scaling(order.scaling))
    )
    return Result(
        order=order.order,
        digest="",
        bytes=0,
        examples=sum(each.examples for each in datasets),
        metrics=mean_metrics(datasets),
        datasets=datasets,
        seconds=time.monotonic() - start,
        device=order.device,
    )


def _plain(metrics: Metrics) -> dict[str, float]:
    return {name: float(value) for name, value in metrics.items()}
