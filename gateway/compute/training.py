"""Orders to a training process and their results, as both sides of the pipe read them.

An order is one round for one zone. It names files by path: the governed views of the zone's datasets, the global
parameters, and where the outcome is to be written. Results are figures and digests; no row and no array is in one.
Metrics are floats here; what is signed or hashed takes them by `metrics_document`.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Annotated, Literal

from pydantic import BeforeValidator, Field, StringConstraints, TypeAdapter, ValidationError

from gateway.compute.apps.spec import AppSpec, invalid
from gateway.errors import ComputeError
from gateway.federation.strategies import Strategy
from gateway.model import limits
from gateway.model.decimals import PositiveDecimalText, measured_text
from gateway.model.policy_facts import Digest, Identifier, OptionalDigest, Part, ZoneName, as_tuple

_Path = Annotated[str, StringConstraints(min_length=2, max_length=4_096, pattern=r"^/[^\x00]*$")]
_Device = Annotated[str, StringConstraints(pattern=r"^(cpu|(cuda|npu):(0|[1-9][0-9]{0,3}))$")]
_Seed = Annotated[int, Field(ge=0, le=(1 << 53) - 1)]
_Rows = Annotated[int, Field(ge=1, le=limits.EXAMPLES_MAX)]
_Round = Annotated[int, Field(ge=1, le=limits.ROUNDS_MAX)]
_Measured = Annotated[float, Field(allow_inf_nan=False)]
_Seconds = Annotated[float, Field(ge=0, allow_inf_nan=False)]
_Metrics = Annotated[dict[str, _Measured], Field(max_length=32)]


class DatasetFile(Part):
    """The zone's view of one dataset: an Arrow IPC file or stream at an absolute path."""

    dataset: Identifier
    path: _Path


_Datasets = Annotated[
    tuple[DatasetFile, ...], Field(min_length=1, max_length=limits.RUN_DATASETS_MAX), BeforeValidator(as_tuple)
]


class ParametersFile(Part):
    """A parameters container at an absolute path, and the digest that it must have."""

    path: _Path
    digest: Digest


class TrainOrder(Part):
    """Train one round on each of the zone's datasets and write the zone's update.

    Args:
        run: the run's id; it names the round in errors and seeds nothing.
        round: from 1; with seed and dataset it fixes the order of the examples.
        zone: the zone whose datasets these are.
        spec: the pinned app.
        strategy: strategy and local training.
        datasets: the zone's views, each named once.
        reference: the global parameters of the round.
        scaling: what features are scaled with (`gateway.compute.scaling`); None leaves them as they are.
        norm_bound: the update is clipped to this L2 distance from the reference, above 0.
        seed: the run's seed.
        rows_min: a dataset with fewer rows is refused, and with it the order.
        device: torch device; `linear` runs on "cpu".
        output: where the update is written; it is whole there or not there at all.
    """

    order: Literal["train"] = "train"
    run: Identifier
    round: _Round
    zone: ZoneName
    spec: AppSpec
    strategy: Strategy
    datasets: _Datasets
    reference: ParametersFile
    scaling: ParametersFile | None = None
    norm_bound: PositiveDecimalText
    seed: _Seed
    rows_min: _Rows = 1
    device: _Device = "cpu"
    output: _Path


class ScalingOrder(Part):
    """Write the sums over all the zone's datasets that scaling is made of."""

    order: Literal["scaling"] = "scaling"
    run: Identifier
    zone: ZoneName
    spec: AppSpec
    datasets: _Datasets
    rows_min: _Rows = 1
    output: _Path


class EvaluateOrder(Part):
    """Measure given parameters on each of the zone's datasets; nothing is written."""

    order: Literal["evaluate"] = "evaluate"
    run: Identifier
    zone: ZoneName
    spec: AppSpec
    datasets: _Datasets
    parameters: ParametersFile
    scaling: ParametersFile | None = None
    rows_min: _Rows = 1
    device: _Device = "cpu"


Order = TrainOrder | ScalingOrder | EvaluateOrder


class DatasetResult(Part):
    """What one dataset gave: its rows and figures."""

    dataset: Identifier
    examples: _Rows
    metrics: _Metrics


class Result(Part):
    """The outcome of an order.

    Args:
        order: the kind of order.
        digest: SHA-256 of the file that was written; empty for an evaluation.
        bytes: its size; 0 for an evaluation.
        examples: rows of all datasets.
        metrics: means of the datasets' figures, weighted by rows.
        datasets: each dataset's own, for this zone's eyes.
        norm: L2 distance of the zone's aggregate from the reference before clipping.
        clipped: whether that was above the bound.
        seconds: reading, training and writing, by the wall clock.
        training_seconds: of those, what the app's own training steps took; 0 for the other kinds of order.
        device: where it ran.
    """

    order: Literal["train", "scaling", "evaluate"]
    digest: OptionalDigest
    bytes: Annotated[int, Field(ge=0, le=2 * limits.PARAMETERS_MAX)]
    examples: _Rows
    metrics: _Metrics
    datasets: Annotated[tuple[DatasetResult, ...], BeforeValidator(as_tuple)]
    norm: _Seconds = 0.0
    clipped: bool = False
    seconds: _Seconds
    training_seconds: _Seconds = 0.0
    device: _Device


class Progress(Part):
    """How far an order is: within one dataset, epochs done of all, and the last epoch's mean loss."""

    dataset: Identifier
    number: Annotated[int, Field(ge=1)]
    of: Annotated[int, Field(ge=1)]
    epoch: Annotated[int, Field(ge=0)]
    epochs: Annotated[int, Field(ge=1)]
    loss: _Measured


_ORDER: TypeAdapter[Order] = TypeAdapter(Annotated[Order, Field(discriminator="order")])


def parse_order(document: object) -> Order:
    """Read an order from JSON values.

    Raises:
        InputError: unknown kind or name, or a value out of bounds; the text names the field.
    """
    try:
        return _ORDER.validate_python(document)
    except ValidationError as error:
        raise invalid("the order", error) from error


def parse_result(document: object) -> Result:
    """Read a result from JSON values.

    Raises:
        ComputeError: it is none.
    """
    try:
        return Result.model_validate(document)
    except ValidationError as error:
        raise ComputeError("the training process answered with something that is no result") from error


def parse_progress(document: object) -> Progress:
    """Read a progress report from JSON values.

    Raises:
        ComputeError: it is none.
    """
    try:
        return Progress.model_validate(document)
    except ValidationError as error:
        raise ComputeError("the training process reported something that is no progress") from error


def mean_metrics(datasets: Sequence[DatasetResult]) -> dict[str, float]:
    """Figures over datasets, weighted by rows, of those that every dataset has.

    Loss, accuracy and mean squared error come out as over all rows together. r2 does not (its variance is about
    each dataset's own mean), so it is left out where there are several.
    """
    total = sum(each.examples for each in datasets)
    names = set(datasets[0].metrics) if datasets else set()
    for each in datasets:
        names &= set(each.metrics)
    if len(datasets) > 1:
        names -= {"r2"}
    return {name: sum(each.metrics[name] * (each.examples / total) for each in datasets) for name in sorted(names)}


def metrics_document(metrics: Mapping[str, float]) -> dict[str, str]:
    """Figures as decimal texts of six significant digits, for what is signed, hashed or recorded.

    Raises:
        InputError: a figure is not finite.
    """
    return {name: measured_text(value) for name, value in sorted(metrics.items())}
