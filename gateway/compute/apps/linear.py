"""Linear and logistic regression in numpy, by gradient descent over all examples or over mini batches.

Loss: mean over the examples, plus (l2 / 2) * ||W||^2. Regression: half the squared error. Two classes: cross
entropy of one logit. More: softmax cross entropy (multinomial logistic regression).
"""

from __future__ import annotations

from typing import Final

import numpy as np
import numpy.typing as npt

from gateway.compute.apps.protocol import Features, Local, Metrics, Target
from gateway.compute.apps.spec import LinearSpec
from gateway.errors import AcceleratorError, TrainingError
from gateway.federation.parameters import Parameters

Matrix = npt.NDArray[np.float64]

_BLOCK: Final = 65_536  # rows at a time: what a pass takes beside the table does not grow with it


class LinearApp:
    """See `gateway.compute.apps.protocol.App`; arrays `weight` [d, k] and `bias` [k], float64."""

    name = "linear"
    version = "1"

    def initial(self, spec: LinearSpec, seed: int) -> Parameters:
        """Zeros: the loss is convex, so no seed is needed."""
        shape = (len(spec.features), spec.outputs)
        return Parameters({"weight": np.zeros(shape), "bias": np.zeros(shape[1])})

    def train(
        self, parameters: Parameters, features: Features, target: Target, spec: LinearSpec, local: Local
    ) -> tuple[Parameters, Metrics]:
        """See `App.train`."""
        _on_cpu(local.device)
        rate = float(spec.learning_rate)
        start = {name: np.array(array, dtype=np.float64) for name, array in parameters.items()}
        weight, bias = start["weight"].copy(), start["bias"].copy()
        order = np.random.Generator(np.random.PCG64(local.seed))
        count = len(features)
        size = local.batch_size or count
        steps, loss = 0, 0.0
        for epoch in range(1, local.epochs + 1):
            rows = order.permutation(count) if size < count else None
            loss = 0.0
            for first in range(0, count, size):
                if rows is None:
                    batch, wanted = features, target
                else:
                    batch, wanted = features[rows[first : first + size]], target[rows[first : first + size]]
                step_loss, by_weight, by_bias = _gradient(weight, bias, batch, wanted, spec)
                if local.proximal_mu:
                    # The gradient of (mu / 2) * ||w - w_t||^2: Li et al. 2020, equation (2).
                    by_weight += local.proximal_mu * (weight - start["weight"])
                    by_bias += local.proximal_mu * (bias - start["bias"])
                with np.errstate(over="ignore", invalid="ignore"):
                    weight -= rate * by_weight
                    bias -= rate * by_bias
                steps += 1
                loss += step_loss * (len(batch) / count)
            _finite(loss, weight, bias)
            local.progress(epoch, local.epochs, loss)
        return Parameters({"weight": weight, "bias": bias}), {"loss": loss, "steps": float(steps)}

    def gradient(
        self, parameters: Parameters, features: Features, target: Target, spec: LinearSpec, *, device: str = "cpu"
    ) -> tuple[Parameters, Metrics]:
        """See `App.gradient`."""
        _on_cpu(device)
        loss, by_weight, by_bias = _gradient(parameters["weight"], parameters["bias"], features, target, spec)
        _finite(loss, by_weight, by_bias)
        return Parameters({"weight": by_weight, "bias": by_bias}), {"loss": loss}

    def evaluate(
        self, parameters: Parameters, features: Features, target: Target, spec: LinearSpec, *, device: str = "cpu"
    ) -> Metrics:
        """See `App.evaluate`."""
        _on_cpu(device)
        weight, bias = parameters["weight"], parameters["bias"]
        count = len(features)
        loss, right, squares = 0.0, 0, 0.0
        for first in range(0, count, _BLOCK):
            wanted = target[first : first + _BLOCK]
            output = _output(weight, bias, features[first : first + _BLOCK])
            part, _ = _loss(output, wanted, spec)
            loss += part
            if spec.task == "regression":
                squares += float(np.square(output[:, 0] - wanted).sum())
            else:
                right += int(np.count_nonzero(_classes(output) == wanted))
        loss = loss / count + 0.5 * float(spec.l2) * float(np.square(weight).sum())
        _finite(loss)
        if spec.task == "classification":
            return {"loss": loss, "accuracy": right / count}
        spread = float(np.square(target - target.mean()).sum())
        found = {"loss": loss, "mse": squares / count}
        # Without spread there is nothing to explain, and no r2.
        return {**found, "r2": 1.0 - squares / spread} if spread > 0 else found


def _gradient(
    weight: Matrix, bias: Matrix, features: Features, target: Target, spec: LinearSpec
) -> tuple[float, Matrix, Matrix]:
    """Mean loss with its penalty, and its gradient by weight and bias."""
    count = len(features)
    by_weight, by_bias, loss = np.zeros_like(weight), np.zeros_like(bias), 0.0
    with np.errstate(over="ignore", invalid="ignore"):
        for first in range(0, count, _BLOCK):
            rows = features[first : first + _BLOCK]
            part, error = _loss(_output(weight, bias, rows), target[first : first + _BLOCK], spec)
            loss += part
            by_weight += rows.T @ error
            by_bias += error.sum(axis=0)
        l2 = float(spec.l2)
        loss = loss / count + 0.5 * l2 * float(np.square(weight).sum())
        return loss, by_weight / count + l2 * weight, by_bias / count


def _output(weight: Matrix, bias: Matrix, features: Features) -> Matrix:
    with np.errstate(over="ignore", invalid="ignore"):
        return np.asarray(features @ weight + bias)


def _loss(output: Matrix, target: Target, spec: LinearSpec) -> tuple[float, Matrix]:
    """The sum of the examples' losses, and its derivative by the output, shape [n, k]."""
    with np.errstate(over="ignore", invalid="ignore"):
        if spec.task == "regression":
            error = output - target[:, None]
            return 0.5 * float(np.square(error).sum()), error
        if spec.outputs == 1:
            logit = output[:, 0]
            # log(1 + e^z) - y z without overflow
            losses = np.logaddexp(0.0, logit) - target * logit
            # The logistic function through tanh: no exponential of a large number.
            likely = 0.5 * (1.0 + np.tanh(0.5 * logit))
            return float(losses.sum()), (likely - target)[:, None]
        shifted = output - output.max(axis=1, keepdims=True)
        powers = np.exp(shifted)
        sums = powers.sum(axis=1, keepdims=True)
        rows = np.arange(len(target))
        losses = np.log(sums[:, 0]) - shifted[rows, target]
        error = powers / sums
        error[rows, target] -= 1.0
        return float(losses.sum()), error


def _classes(output: Matrix) -> npt.NDArray[np.int64]:
    if output.shape[1] == 1:
        return (output[:, 0] > 0).astype(np.int64)
    return np.asarray(output.argmax(axis=1), dtype=np.int64)


def _on_cpu(device: str) -> None:
    if device != "cpu":
        raise AcceleratorError("the app `linear` runs on the CPU", remedy="choose cpu, or the app mlp")


def _finite(loss: float, *arrays: Matrix) -> None:
    if not np.isfinite(loss) or not all(np.isfinite(array).all() for array in arrays):
        raise TrainingError("training diverged", remedy="lower the learning rate, or scale the features")
