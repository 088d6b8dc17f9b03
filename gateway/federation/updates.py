"""What a zone sends for one round, and how far it may be from where the round began."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Final

import numpy as np

from gateway.errors import UpdateShapeError
from gateway.federation.parameters import Array, Parameters, difference

_FIRST_STEP: Final = 2.0**-40
_TRIES: Final = 64


@dataclass(frozen=True)
class Update:
    """A client update: the parameters after local training, and how many examples stand behind them.

    Args:
        run: the run's id (UUIDv7).
        round: the round's number, from 1.
        zone: the zone that sends it.
        parameters: parameters, not the difference to the global ones.
        examples: rows that they were trained on.
    """

    run: str
    round: int
    zone: str
    parameters: Parameters
    examples: int


@dataclass(frozen=True)
class Clipped:
    """Parameters within the bound; `norm` is the L2 norm before, `clipped` whether it was above the bound."""

    parameters: Parameters
    norm: float
    clipped: bool


def update_norm(parameters: Parameters, reference: Parameters) -> float:
    """The L2 norm of the difference over all arrays together, in float64; infinite where it overflows.

    Raises:
        UpdateShapeError: the two hold other arrays.
    """
    if parameters.layout != reference.layout:
        raise UpdateShapeError(f"other arrays: {difference(parameters.layout, reference.layout)}")
    total = 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for name, array in parameters.items():
            step = array.astype(np.float64).reshape(-1) - reference[name].reshape(-1)
            total += float(step @ step)
    return math.sqrt(total) if math.isfinite(total) else math.inf


def clip(parameters: Parameters, reference: Parameters, bound: float) -> Clipped:
    """Shorten an update to a norm bound: w + (w_k - w) * min(1, bound / ||w_k - w||).

    This is the clipping of McMahan et al., "Learning Differentially Private Recurrent Language Models" (2018),
    over all arrays together. What comes back passes `update_norm(...) <= bound` also after rounding to float32.

    Args:
        parameters: finite parameters after local training.
        reference: the global parameters of the round.
        bound: the declared bound, above 0.

    Raises:
        UpdateShapeError: the two hold other arrays.
    """
    norm = update_norm(parameters, reference)
    if norm <= bound:
        return Clipped(parameters, norm, clipped=False)
    factor = bound / norm if math.isfinite(norm) else 0.0
    for attempt in range(_TRIES):
        shorter = Parameters({name: _between(reference[name], array, factor) for name, array in parameters.items()})
        if update_norm(shorter, reference) <= bound:
            return Clipped(shorter, norm, clipped=True)
        factor *= 1.0 - min(0.5, _FIRST_STEP * 2.0**attempt)  # rounding took it past the bound: go a little further
    return Clipped(reference, norm, clipped=True)


def _between(start: Array, end: Array, factor: float) -> Array:
    if factor == 0.0:
        return start
    wide = start.astype(np.float64)
    return np.asarray(wide + (end - wide) * factor, dtype=start.dtype)
