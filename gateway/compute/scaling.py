"""Scaling of features to mean 0 and variance 1 over all zones, from sums that zones give each other.

Sums, and never minima or maxima: a minimum is some row's value, a sum over enough rows is not.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.errors import InputError, UpdateExamplesError, UpdateShapeError, UpdateValueError
from gateway.federation.parameters import Layout, Parameters
from gateway.model import limits

Vector = npt.NDArray[np.float64]

_CONSTANT: Final = 1e-12  # a variance below so much of the mean square is rounding, and the feature constant


@dataclass(frozen=True, eq=False)
class ScalingSums:
    """For each feature over `count` rows: the sum of its values and of their squares, shape [d], float64.

    Raises:
        UpdateExamplesError: no rows, or more than the limit.
        UpdateValueError: NaN, infinity, or squares that no values have.
        UpdateShapeError: two different lengths.
    """

    count: int
    total: Vector
    squares: Vector

    def __post_init__(self) -> None:
        if not 1 <= self.count <= limits.EXAMPLES_MAX:
            raise UpdateExamplesError(f"sums over {self.count} rows", remedy="sum over at least one row")
        if self.total.ndim != 1 or self.total.shape != self.squares.shape or not len(self.total):
            raise UpdateShapeError("sums of different lengths", remedy="sum over the same features")
        if not (np.isfinite(self.total).all() and np.isfinite(self.squares).all()):
            raise UpdateValueError("a sum holds NaN or infinity", remedy="bring the features to a smaller unit")
        # Cauchy and Schwarz: (sum x)^2 <= n * sum x^2, up to rounding. No values have other sums.
        floor = np.square(self.total / self.count) * (1.0 - 1e-6)
        if (self.squares < 0).any() or (self.squares / self.count < floor).any():
            raise UpdateValueError("sums that no values have", remedy="sum values and squares over the same rows")

    def parameters(self) -> Parameters:
        """As arrays for a file; the count travels beside it, as an update's examples do."""
        return Parameters({"squares": self.squares, "total": self.total})

    @classmethod
    def of(cls, parameters: Parameters, count: int) -> ScalingSums:
        """From arrays of a file; errors as of the class, and UpdateShapeError for other arrays."""
        names = [(name, code) for name, code, _ in parameters.layout]
        if names != [("squares", "F64"), ("total", "F64")]:
            raise UpdateShapeError("not the arrays of scaling sums", remedy="send what a scaling order wrote")
        return cls(count, np.asarray(parameters["total"]), np.asarray(parameters["squares"]))


@dataclass(frozen=True, eq=False)
class Scaling:
    """(x - mean) / deviation for each feature, shape [d]; the deviation of a constant feature is 1."""

    mean: Vector
    deviation: Vector

    def __post_init__(self) -> None:
        if self.mean.ndim != 1 or self.mean.shape != self.deviation.shape:
            raise UpdateShapeError("means and deviations of different lengths")
        finite = np.isfinite(self.mean).all() and np.isfinite(self.deviation).all()
        if not finite or not (self.deviation > 0).all():
            raise UpdateValueError("a mean or deviation that no values have")

    def apply(self, features: npt.NDArray[np.float64]) -> npt.NDArray[np.float64]:
        """Scale rows, shape [n, d].

        Raises:
            InputError: another number of features.
        """
        if features.shape[1] != len(self.mean):
            raise InputError("scaling for another number of features", remedy="scale with the run's own sums")
        return np.asarray((features - self.mean) / self.deviation)

    def parameters(self) -> Parameters:
        """As arrays for a file."""
        return Parameters({"deviation": self.deviation, "mean": self.mean})

    @classmethod
    def of(cls, parameters: Parameters) -> Scaling:
        """From arrays of a file; errors as of the class, and UpdateShapeError for other arrays."""
        names = [(name, code) for name, code, _ in parameters.layout]
        if names != [("deviation", "F64"), ("mean", "F64")]:
            raise UpdateShapeError("not the arrays of a scaling", remedy="give what `scaling_from` made")
        return cls(np.asarray(parameters["mean"]), np.asarray(parameters["deviation"]))


def sums_layout(features: int) -> Layout:
    """What a file of sums over so many features has to hold."""
    return (("squares", "F64", (features,)), ("total", "F64", (features,)))


def scaling_sums(features: npt.NDArray[np.float64]) -> ScalingSums:
    """The sums over rows, shape [n, d]; errors as of `ScalingSums`."""
    with np.errstate(over="ignore"):
        return ScalingSums(len(features), features.sum(axis=0), np.einsum("nd,nd->d", features, features))


def add_sums(sums: Sequence[ScalingSums]) -> ScalingSums:
    """The sums over all rows together.

    Raises:
        InputError: none.
        UpdateShapeError: of different numbers of features.
    """
    if not sums:
        raise InputError("no sums to scale from", remedy="wait for the sums of at least one zone")
    if len({each.total.shape for each in sums}) != 1:
        raise UpdateShapeError("sums over different numbers of features", remedy="sum over the run's features")
    with np.errstate(over="ignore"):
        total = np.sum([each.total for each in sums], axis=0)
        return ScalingSums(sum(each.count for each in sums), total, np.sum([each.squares for each in sums], axis=0))


def scaling_from(sums: Sequence[ScalingSums]) -> Scaling:
    """Mean and deviation over all rows of all sums; give them in one order, for equal bits everywhere.

    Errors as `add_sums`.
    """
    together = add_sums(sums)
    mean = together.total / together.count
    square = together.squares / together.count
    variance = np.maximum(square - np.square(mean), 0.0)
    constant = variance <= _CONSTANT * square
    return Scaling(mean, np.where(constant, 1.0, np.sqrt(np.where(constant, 1.0, variance))))
