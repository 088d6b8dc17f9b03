"""The apps learn, repeat themselves bit for bit, and give the gradient that finite differences give."""

from __future__ import annotations

import hashlib
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from gateway.compute.apps import Local, app_of, code_digest, code_listing, parse_spec
from gateway.compute.rounds import Table, train_zone
from gateway.errors import AcceleratorError, InputError, TrainingError
from gateway.federation.parameters import Parameters
from gateway.federation.strategies import Strategy
from tests.unit.compute.views import linear_spec, mlp_spec, some_rows

ROOT = Path(__file__).resolve().parents[3]
SPECS = {
    "two classes": linear_spec(l2="0.01"),
    "four classes": linear_spec(classes=("a", "b", "c", "d"), l2="0.01"),
    "regression": linear_spec(task="regression", classes=(), l2="0.01"),
    "mlp, two classes": mlp_spec(l2="0.01"),
    "mlp, four classes": mlp_spec(classes=("a", "b", "c", "d"), l2="0.01"),
    "mlp, regression": mlp_spec(task="regression", classes=(), l2="0.01"),
}


def needs(spec: Any) -> None:
    if spec.app == "mlp":
        pytest.importorskip("torch", reason="the extra `compute` is not installed")


def rows_for(spec: Any, count: int = 120, seed: int = 3) -> tuple[np.ndarray, np.ndarray]:
    features, target = some_rows(count, seed, classes=max(len(spec.classes), 2))
    if spec.task == "regression":
        target = features @ np.array([1.0, -2.0, 0.5]) + 0.3
    return features, target


def started(spec: Any) -> Parameters:
    """Parameters that are not zero, so that every term counts."""
    source = np.random.default_rng(11)
    initial = app_of(spec.app).initial(spec, 5)
    return Parameters({n: (a + 0.1 * source.normal(size=a.shape)).astype(a.dtype) for n, a in initial.items()})


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_the_gradient_is_that_of_the_loss(spec: Any) -> None:
    needs(spec)
    app, at = app_of(spec.app), started(spec)
    features, target = rows_for(spec)
    gradient, metrics = app.gradient(at, features, target, spec)
    assert gradient.layout == at.layout
    assert metrics["loss"] == pytest.approx(app.evaluate(at, features, target, spec)["loss"], rel=1e-5)
    step, tolerance = (1e-5, 1e-7) if spec.app == "linear" else (1e-2, 2e-2)
    for name, array in at.items():
        place = np.unravel_index(array.size // 2, array.shape)
        losses = []
        for sign in (1, -1):
            moved = {each: np.array(value) for each, value in at.items()}
            moved[name][place] += sign * step
            losses.append(app.evaluate(Parameters(moved), features, target, spec)["loss"])
        assert gradient[name][place] == pytest.approx((losses[0] - losses[1]) / (2 * step), abs=tolerance)


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_training_lowers_the_loss_and_repeats_bit_for_bit(spec: Any) -> None:
    needs(spec)
    app = app_of(spec.app)
    features, target = rows_for(spec)
    local = Local(epochs=20, batch_size=16, seed=4)
    before = app.evaluate(app.initial(spec, 5), features, target, spec)
    trained, metrics = app.train(app.initial(spec, 5), features, target, spec, local)
    again, _ = app.train(app.initial(spec, 5), features, target, spec, local)
    after = app.evaluate(trained, features, target, spec)
    assert after["loss"] < before["loss"]
    assert metrics["steps"] == 20 * 8
    assert after.get("accuracy", 1.0) > 0.75
    assert after.get("r2", 1.0) > 0.9
    assert trained.digest == again.digest
    other, _ = app.train(app.initial(spec, 5), features, target, spec, Local(epochs=20, batch_size=16, seed=5))
    assert other.digest != trained.digest


@pytest.mark.parametrize("spec", SPECS.values(), ids=SPECS)
def test_one_epoch_over_all_examples_is_one_step_along_the_gradient(spec: Any) -> None:
    needs(spec)
    app, at = app_of(spec.app), started(spec)
    features, target = rows_for(spec)
    gradient, _ = app.gradient(at, features, target, spec)
    trained, _ = app.train(at, features, target, spec, Local())
    for name, array in at.items():
        np.testing.assert_allclose(trained[name], array - 0.1 * gradient[name], rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("spec", [SPECS["two classes"], SPECS["mlp, two classes"]], ids=["linear", "mlp"])
def test_the_proximal_term_keeps_training_near_where_it_began(spec: Any) -> None:
    needs(spec)
    app, at = app_of(spec.app), started(spec)
    features, target = rows_for(spec)

    def moved(mu: float) -> float:
        trained, _ = app.train(at, features, target, spec, Local(epochs=30, batch_size=16, proximal_mu=mu))
        return sum(float(np.square(trained[name] - array).sum()) for name, array in at.items())

    assert moved(5.0) < 0.5 * moved(0.5) < 0.5 * moved(0.0)


@pytest.mark.parametrize("spec", [SPECS["regression"], SPECS["mlp, regression"]], ids=["linear", "mlp"])
def test_training_that_diverges_is_told_as_that(spec: Any) -> None:
    needs(spec)
    hasty = spec.model_copy(update={"learning_rate": "100000"})
    features, target = rows_for(spec)
    with pytest.raises(TrainingError, match="diverged"):
        app_of(spec.app).train(started(spec), features * 1e6, target, hasty, Local(epochs=60))


def test_progress_is_told_for_each_epoch() -> None:
    heard: list[tuple[int, int]] = []
    spec = linear_spec()
    local = Local(epochs=3, progress=lambda done, of, _loss: heard.append((done, of)))
    app_of("linear").train(app_of("linear").initial(spec, 0), *rows_for(spec), spec, local)
    assert heard == [(1, 3), (2, 3), (3, 3)]


def test_an_app_refuses_a_device_that_it_cannot_use() -> None:
    spec = linear_spec()
    with pytest.raises(AcceleratorError):
        app_of("linear").train(started(spec), *rows_for(spec), spec, Local(device="cuda:0"))


def test_torch_without_the_device_is_an_error_of_ours() -> None:
    torch = pytest.importorskip("torch", reason="the extra `compute` is not installed")
    if torch.cuda.is_available():
        pytest.skip("this machine has a CUDA device")
    spec = mlp_spec()
    with pytest.raises(AcceleratorError):
        app_of("mlp").train(started(spec), *rows_for(spec), spec, Local(device="cuda:0"))


def test_initial_parameters_need_no_torch_and_follow_the_seed() -> None:
    code = (
        "import sys; from tests.unit.compute.views import mlp_spec; from gateway.compute.apps import app_of\n"
        "print(app_of('mlp').initial(mlp_spec(), 3).digest, 'torch' in sys.modules)"
    )
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True, timeout=60
    )
    assert done.stdout.split() == [app_of("mlp").initial(mlp_spec(), 3).digest, "False"]
    assert app_of("mlp").initial(mlp_spec(), 4).digest != app_of("mlp").initial(mlp_spec(), 3).digest


def test_a_dataset_trains_alike_whoever_else_takes_part() -> None:
    spec, strategy = linear_spec(), Strategy(name="FedAvg", epochs=1, batch_size=8)
    one, other = Table("a", *some_rows(40, 1)), Table("b", *some_rows(40, 2))
    at = app_of("linear").initial(spec, 0)

    def trained(*tables: Table) -> Parameters:
        found = train_zone(
            app_of("linear"), spec, strategy, at, tables, zone="z", seed=1, round_number=2, norm_bound=1e9
        )
        return found.clipped.parameters

    both = trained(one, other)
    alone = [trained(one), trained(other)]
    for name in both:
        np.testing.assert_allclose(both[name], (alone[0][name] + alone[1][name]) / 2, atol=1e-14)
    assert trained(other, one).digest == both.digest


@pytest.mark.parametrize("name", ["linear", "mlp"])
def test_the_code_digest_can_be_computed_without_this_code(name: str) -> None:
    files = [line.split("  ")[1] for line in code_listing(name).splitlines()]
    lines = [
        f"{hashlib.sha256((ROOT / 'gateway' / file).read_bytes()).hexdigest()}  {file}\n" for file in sorted(files)
    ]
    assert f"compute/apps/{name}.py" in files
    assert code_digest(name) == hashlib.sha256("".join(lines).encode()).hexdigest()
    assert code_digest("linear") != code_digest("mlp")


@pytest.mark.parametrize(
    "changes",
    [
        {"learning_rate": 0.1},
        {"learning_rate": "0"},
        {"learning_rate": "-0.1"},
        {"learning_rate": "1e-3"},
        {"learning_rate": "0.10"},
        {"learning_rate": "nan"},
        {"learning_rate": "1000000000"},
        {"app": "other"},
        {"version": "2"},
        {"features": []},
        {"features": ["a", "a"]},
        {"features": ["a", "ill"]},
        {"classes": ["no"]},
        {"classes": ["no", "no"]},
        {"task": "regression"},
        {"code_digest": "00"},
        {"surprise": 1},
        {"hidden": [8]},
    ],
    ids=str,
)
def test_a_description_is_read_strictly(changes: dict[str, Any]) -> None:
    good = linear_spec().document()
    assert parse_spec(good) == linear_spec()
    with pytest.raises(InputError):
        parse_spec({**good, **changes})
