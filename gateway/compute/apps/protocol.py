"""The port behind which training apps stand. Arrays come in, arrays go out; no app opens a file."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol

import numpy as np
import numpy.typing as npt

from gateway.compute.apps.spec import LinearSpec, MlpSpec
from gateway.federation.parameters import Parameters

Features = npt.NDArray[np.float64]
"""Shape [n, d]."""
Target = npt.NDArray[Any]
"""Shape [n]: float64 for a regression, int64 class numbers for a classification."""
Metrics = Mapping[str, float]
Spec = LinearSpec | MlpSpec
Progress = Callable[[int, int, float], None]
"""Called after each epoch: epochs done, epochs in all, mean loss of the epoch."""


def _quiet(_done: int, _of: int, _loss: float) -> None:
    """For callers that want no progress."""


@dataclass(frozen=True)
class Local:
    """How one dataset trains in one round.

    Args:
        epochs: passes over the examples.
        batch_size: examples in a step; 0 takes all of them in one.
        proximal_mu: FedProx's mu; 0 leaves the term out.
        seed: fixes the order of the examples; from the run, the round and the dataset.
        device: a torch device such as "cpu", "cuda:0" or "npu:0"; numpy apps run on "cpu" only.
        progress: hears of each epoch.
    """

    epochs: int = 1
    batch_size: int = 0
    proximal_mu: float = 0.0
    seed: int = 0
    device: str = "cpu"
    progress: Progress = field(default=_quiet, compare=False)


class App(Protocol):
    """A training app: pure functions of its arguments, equal results for equal seeds on equal machines."""

    name: str
    version: str

    def initial(self, spec: Any, seed: int) -> Parameters:
        """The parameters before the first round, the same on every machine."""

    def train(
        self, parameters: Parameters, features: Features, target: Target, spec: Any, local: Local
    ) -> tuple[Parameters, Metrics]:
        """Parameters after local training, and `loss` (mean of the last epoch) with `steps`.

        Raises:
            TrainingError: the loss or a parameter is no longer finite.
            AcceleratorError: the device is not there for this app.
        """

    def gradient(
        self, parameters: Parameters, features: Features, target: Target, spec: Any, *, device: str = "cpu"
    ) -> tuple[Parameters, Metrics]:
        """The gradient of the mean loss over all examples (FedSGD's g_k), and `loss`; errors as `train`."""

    def evaluate(
        self, parameters: Parameters, features: Features, target: Target, spec: Any, *, device: str = "cpu"
    ) -> Metrics:
        """`loss` and `accuracy` of a classification; `loss`, `mse` and `r2` of a regression; errors as `train`."""
