"""Strategies of federated learning, under the names of their papers. No input or output.

- **FedSGD** and **FedAvg**: McMahan, Moore, Ramage, Hampson, Aguera y Arcas, "Communication-Efficient Learning of
  Deep Networks from Decentralized Data", AISTATS 2017 (arXiv:1602.05629), section 2 and algorithm 1.
- **FedProx**: Li, Sahu, Zaheer, Sanjabi, Talwalkar, Smith, "Federated Optimization in Heterogeneous Networks",
  MLSys 2020 (arXiv:1812.06127), algorithm 2. Its proximal term acts in local training; aggregation is FedAvg's.

All three send parameters. For FedSGD that is w_k = w - eta * g_k, which the paper shows to give the same as
averaging the gradients. Aggregation weighs by examples, so it can be done twice: a zone aggregates its datasets,
the coordinator the zones, and the outcome is that of aggregating all datasets at once.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Annotated, Literal

import numpy as np
from pydantic import Field, model_validator
from pydantic_core import PydanticCustomError

from gateway.errors import InputError, UpdateExamplesError, UpdateShapeError, UpdateValueError
from gateway.federation.parameters import Array, Parameters, difference
from gateway.model import limits
from gateway.model.decimals import DecimalText
from gateway.model.policy_facts import Part

StrategyName = Literal["FedSGD", "FedAvg", "FedProx"]


class Strategy(Part):
    """A strategy and how a zone trains in one round of it.

    Args:
        name: the paper's name.
        epochs: passes over each dataset in a round (E in McMahan et al.); 1 for FedSGD.
        batch_size: examples in a step (B); 0 takes all of a dataset in one step, as FedSGD does.
        proximal_mu: the weight of FedProx's proximal term (mu in Li et al.); "0" for the others.
    """

    name: StrategyName
    epochs: Annotated[int, Field(ge=1, le=limits.LOCAL_EPOCHS_MAX)] = 1
    batch_size: Annotated[int, Field(ge=0, le=limits.ROWS_MAX)] = 0
    proximal_mu: DecimalText = "0"

    @model_validator(mode="after")
    def _as_in_the_paper(self) -> Strategy:
        if self.name == "FedSGD" and (self.epochs, self.batch_size) != (1, 0):
            raise PydanticCustomError("fedsgd", "FedSGD takes one step over all examples: epochs 1, batch_size 0")
        if (self.name == "FedProx") != (self.proximal_mu != "0"):
            raise PydanticCustomError("proximal_mu", "proximal_mu is above 0 for FedProx and 0 for the others")
        return self


@dataclass(frozen=True)
class Contribution:
    """What one dataset, or one zone, contributes to an aggregate.

    Args:
        source: the dataset's or zone's id; contributions are summed in its order, so that arrival does not matter.
        parameters: finite parameters after local training.
        examples: rows behind them, at least 1.
    """

    source: str
    parameters: Parameters
    examples: int


def aggregate(contributions: Sequence[Contribution], *, source: str) -> Contribution:
    """The mean of parameters, weighted by examples: w = sum of (n_k / n) * w_k, summed in float64.

    Args:
        contributions: at least one, of different sources, with equal arrays.
        source: who the aggregate is of: the zone, or the run.

    Returns:
        The mean in the arrays' own type, with the examples of all.

    Raises:
        InputError: no contributions, or two of one source.
        UpdateShapeError: the contributions hold different arrays.
        UpdateExamplesError: a number of examples below 1 or past the limit.
        UpdateValueError: NaN or infinity.
    """
    ordered = sorted(contributions, key=lambda each: each.source)
    if not ordered:
        raise InputError("nothing to aggregate", remedy="wait for at least one update")
    if len({each.source for each in ordered}) != len(ordered):
        raise InputError("two contributions of one source", remedy="take one update of each in a round")
    layout = ordered[0].parameters.layout
    for each in ordered:
        if not 1 <= each.examples <= limits.EXAMPLES_MAX:
            raise UpdateExamplesError(f"{each.source} counts {each.examples} examples")
        if each.parameters.layout != layout:
            raise UpdateShapeError(
                f"{each.source} and {ordered[0].source} hold other arrays: {difference(each.parameters.layout, layout)}"
            )
    examples = sum(each.examples for each in ordered)
    if examples > limits.EXAMPLES_MAX:
        raise UpdateExamplesError(f"{examples} examples together; the limit is {limits.EXAMPLES_MAX}")
    mean: dict[str, Array] = {}
    for name, _, shape in layout:
        total = np.zeros(shape, dtype=np.float64)
        for each in ordered:
            # The weight goes first: a sum of n_k * w_k could overflow where the mean does not.
            total += (each.examples / examples) * each.parameters[name].astype(np.float64)
        if not np.isfinite(total).all():
            raise UpdateValueError(f"array {name} is not finite in one of the contributions")
        mean[name] = total.astype(ordered[0].parameters[name].dtype)
    return Contribution(source, Parameters(mean), examples)
