"""A multilayer perceptron in torch, float32, on any device that torch has here. The extra `compute` brings torch.

torch is imported when this app first trains. Initial weights come from numpy, so that they are the same with every
version of torch and can be made where it is not installed.
"""

from __future__ import annotations

from itertools import pairwise
from typing import Any, Final

import numpy as np

from gateway.compute.accelerators import load_torch
from gateway.compute.apps.protocol import Features, Local, Metrics, Target
from gateway.compute.apps.spec import MlpSpec
from gateway.errors import AcceleratorError, TrainingError
from gateway.federation.parameters import Parameters

_BLOCK: Final = 65_536


class MlpApp:
    """See `gateway.compute.apps.protocol.App`; arrays `layer00.weight` [out, in], `layer00.bias` [out], and so on."""

    name = "mlp"
    version = "1"

    def initial(self, spec: MlpSpec, seed: int) -> Parameters:
        """Uniform within +-sqrt(6 / inputs) for weights (He et al. 2015, with ReLU), zeros for biases."""
        source = np.random.Generator(np.random.PCG64(seed))
        widths = (len(spec.features), *spec.hidden, spec.outputs)
        arrays: dict[str, Any] = {}
        for number, (inputs, outputs) in enumerate(pairwise(widths)):
            bound = (6.0 / inputs) ** 0.5
            arrays[f"layer{number:02}.weight"] = source.uniform(-bound, bound, (outputs, inputs)).astype(np.float32)
            arrays[f"layer{number:02}.bias"] = np.zeros(outputs, dtype=np.float32)
        return Parameters(arrays)

    def train(
        self, parameters: Parameters, features: Features, target: Target, spec: MlpSpec, local: Local
    ) -> tuple[Parameters, Metrics]:
        """See `App.train`; plain stochastic gradient descent."""
        with _Torch(local.device) as torch:
            weights = torch.tensors(parameters)
            start = [weight.detach().clone() for weight in weights] if local.proximal_mu else []
            rows, wanted = torch.table(features, target, spec)
            order = np.random.Generator(np.random.PCG64(local.seed))
            rate, count = float(spec.learning_rate), len(features)
            size = local.batch_size or count
            steps, loss = 0, 0.0
            for epoch in range(1, local.epochs + 1):
                chosen = torch.lib.from_numpy(order.permutation(count)).to(local.device) if size < count else None
                loss = 0.0
                for first in range(0, count, size):
                    picked = slice(None) if chosen is None else chosen[first : first + size]
                    batch, classes = rows[picked], wanted[picked]
                    step_loss = torch.loss(weights, batch, classes, spec)
                    penalised = step_loss
                    if local.proximal_mu:
                        # (mu / 2) * ||w - w_t||^2: Li et al. 2020, equation (2).
                        apart = sum(((w - s) ** 2).sum() for w, s in zip(weights, start, strict=True))
                        penalised = step_loss + 0.5 * local.proximal_mu * apart
                    for weight, slope in zip(weights, torch.lib.autograd.grad(penalised, weights), strict=True):
                        weight.data.sub_(slope, alpha=rate)
                    steps += 1
                    loss += float(step_loss.detach()) * (len(batch) / count)
                _finite(loss)
                local.progress(epoch, local.epochs, loss)
            return torch.parameters(parameters, weights), {"loss": loss, "steps": float(steps)}

    def gradient(
        self, parameters: Parameters, features: Features, target: Target, spec: MlpSpec, *, device: str = "cpu"
    ) -> tuple[Parameters, Metrics]:
        """See `App.gradient`."""
        with _Torch(device) as torch:
            weights = torch.tensors(parameters)
            rows, wanted = torch.table(features, target, spec)
            loss = torch.loss(weights, rows, wanted, spec)
            slopes = torch.lib.autograd.grad(loss, weights)
            _finite(float(loss.detach()))
            return torch.parameters(parameters, slopes), {"loss": float(loss.detach())}

    def evaluate(
        self, parameters: Parameters, features: Features, target: Target, spec: MlpSpec, *, device: str = "cpu"
    ) -> Metrics:
        """See `App.evaluate`."""
        with _Torch(device) as torch, torch.lib.no_grad():
            weights = torch.tensors(parameters)
            count = len(features)
            loss, right, squares = 0.0, 0, 0.0
            for first in range(0, count, _BLOCK):
                rows, wanted = torch.table(features[first : first + _BLOCK], target[first : first + _BLOCK], spec)
                output = torch.output(weights, rows)
                loss += float(torch.data_loss(output, wanted, spec)) * (len(rows) / count)
                if spec.task == "regression":
                    squares += float(((output[:, 0] - wanted) ** 2).sum())
                else:
                    classes = (output[:, 0] > 0).long() if spec.outputs == 1 else output.argmax(dim=1)
                    right += int((classes == wanted.long()).sum())
            loss += float(torch.penalty(weights, spec))
            _finite(loss)
            if spec.task == "classification":
                return {"loss": loss, "accuracy": right / count}
            spread = float(np.square(target - target.mean()).sum())
            found = {"loss": loss, "mse": squares / count}
            return {**found, "r2": 1.0 - squares / spread} if spread > 0 else found


class _Torch:
    """torch on one device, deterministic while it is open, with its errors turned into ours."""

    def __init__(self, device: str) -> None:
        self.lib = load_torch(device)
        self._device = device

    def __enter__(self) -> _Torch:
        self._before = self.lib.are_deterministic_algorithms_enabled()
        self.lib.use_deterministic_algorithms(True, warn_only=True)
        return self

    def __exit__(self, kind: object, error: BaseException | None, _trace: object) -> None:
        self.lib.use_deterministic_algorithms(self._before, warn_only=True)
        if isinstance(error, RuntimeError | AssertionError):  # a torch built without the device asserts
            raise AcceleratorError(
                f"torch cannot train on {self._device}", remedy="look at `tdz accelerators`, or choose cpu"
            ) from error

    def tensors(self, parameters: Parameters) -> list[Any]:
        """Copies on the device, in the order of names: bias before weight, layer after layer."""
        copies = (np.array(parameters[name]) for name in sorted(parameters))
        return [self.lib.from_numpy(copy).to(self._device).requires_grad_(True) for copy in copies]

    def parameters(self, like: Parameters, tensors: Any) -> Parameters:
        """Back to arrays."""
        arrays = {
            name: np.ascontiguousarray(tensor.detach().cpu().numpy())
            for name, tensor in zip(sorted(like), tensors, strict=True)
        }
        if not all(np.isfinite(array).all() for array in arrays.values()):
            raise TrainingError("training diverged", remedy="lower the learning rate, or scale the features")
        return Parameters(arrays)

    def table(self, features: Features, target: Target, spec: MlpSpec) -> tuple[Any, Any]:
        """Rows and target on the device, in the types that the loss takes."""
        kind = np.int64 if spec.outputs > 1 else np.float32
        rows = self.lib.from_numpy(features.astype(np.float32)).to(self._device)
        return rows, self.lib.from_numpy(target.astype(kind)).to(self._device)

    def output(self, weights: list[Any], rows: Any) -> Any:
        """Forward through all layers, shape [n, k]."""
        last = len(weights) // 2 - 1
        for number in range(last + 1):
            bias, weight = weights[2 * number], weights[2 * number + 1]
            rows = self.lib.nn.functional.linear(rows, weight, bias)
            if number < last:
                rows = self.lib.relu(rows)
        return rows

    def data_loss(self, output: Any, wanted: Any, spec: MlpSpec) -> Any:
        """Mean loss over the rows, as the app `linear` has it."""
        losses = self.lib.nn.functional
        if spec.task == "regression":
            return 0.5 * losses.mse_loss(output[:, 0], wanted)
        if spec.outputs == 1:
            return losses.binary_cross_entropy_with_logits(output[:, 0], wanted)
        return losses.cross_entropy(output, wanted)

    def penalty(self, weights: list[Any], spec: MlpSpec) -> Any:
        """(l2 / 2) * ||W||^2 over the weights without the biases."""
        return 0.5 * float(spec.l2) * sum((weight**2).sum() for weight in weights[1::2])

    def loss(self, weights: list[Any], rows: Any, wanted: Any, spec: MlpSpec) -> Any:
        """Mean loss with its penalty."""
        return self.data_loss(self.output(weights, rows), wanted, spec) + self.penalty(weights, spec)


def _finite(loss: float) -> None:
    if not np.isfinite(loss):
        raise TrainingError("training diverged", remedy="lower the learning rate, or scale the features")
