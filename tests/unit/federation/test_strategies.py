"""Aggregation: weighted by examples, the same at once and in two levels, whatever the order of arrival."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from pydantic import ValidationError

from gateway.errors import InputError, TdzError, UpdateExamplesError, UpdateShapeError, UpdateValueError
from gateway.federation.parameters import Parameters
from gateway.federation.strategies import Contribution, Strategy, aggregate
from gateway.model import limits


def contribution(source: str, examples: int, seed: int = 0, *, scale: float = 1.0) -> Contribution:
    values = np.random.default_rng(seed)
    arrays = {"weight": scale * values.normal(size=(3, 2)), "bias": scale * values.normal(size=2)}
    return Contribution(source, Parameters(arrays), examples)


ZONES = st.lists(
    st.lists(st.tuples(st.integers(1, 10**9), st.integers(0, 2**32 - 1)), min_size=1, max_size=4),
    min_size=1,
    max_size=4,
)


@settings(max_examples=60, deadline=None)
@given(ZONES, st.floats(1e-3, 1e6))
def test_two_levels_give_what_all_at_once_gives(zones: list[list[tuple[int, int]]], scale: float) -> None:
    by_zone = [
        [contribution(f"z{z}/d{d}", examples, seed, scale=scale) for d, (examples, seed) in enumerate(datasets)]
        for z, datasets in enumerate(zones)
    ]
    flat = aggregate([each for zone in by_zone for each in zone], source="run")
    twice = aggregate([aggregate(zone, source=f"z{z}") for z, zone in enumerate(by_zone)], source="run")
    assert flat.examples == twice.examples
    for name, array in flat.parameters.items():
        np.testing.assert_allclose(twice.parameters[name], array, rtol=0, atol=1e-12 * scale)


@settings(max_examples=30, deadline=None)
@given(st.permutations(range(5)))
def test_the_order_of_arrival_changes_no_bit(order: list[int]) -> None:
    updates = [contribution(f"zone-{i}", 10 + i, i) for i in range(5)]
    expected = aggregate(updates, source="run").parameters.digest
    assert aggregate([updates[i] for i in order], source="run").parameters.digest == expected


def test_the_mean_is_weighted_by_examples() -> None:
    one = Contribution("a", Parameters({"w": np.array([1.0])}), 3)
    other = Contribution("b", Parameters({"w": np.array([5.0])}), 1)
    found = aggregate([one, other], source="run")
    assert found == Contribution("run", Parameters({"w": np.array([2.0])}), 4)


def test_float32_stays_float32_and_is_summed_in_float64() -> None:
    many = [Contribution(f"{i:04}", Parameters({"w": np.array([0.1], np.float32)}), 1) for i in range(3_000)]
    found = aggregate(many, source="run").parameters["w"]
    assert found.dtype == np.float32
    assert found[0] == np.float32(0.1)


def test_values_near_the_largest_do_not_overflow_in_the_sum() -> None:
    vast = [Contribution(name, Parameters({"w": np.array([1.7e308])}), 10**9) for name in "abc"]
    assert np.isfinite(aggregate(vast, source="run").parameters["w"]).all()


@pytest.mark.parametrize(
    ("contributions", "error"),
    [
        pytest.param([], InputError, id="none"),
        pytest.param([contribution("a", 1), contribution("a", 1)], InputError, id="one source twice"),
        pytest.param([contribution("a", 0)], UpdateExamplesError, id="no examples"),
        pytest.param([contribution("a", -5)], UpdateExamplesError, id="negative examples"),
        pytest.param([contribution("a", limits.EXAMPLES_MAX + 1)], UpdateExamplesError, id="too many examples"),
        pytest.param(
            [contribution("a", limits.EXAMPLES_MAX), contribution("b", 1)], UpdateExamplesError, id="too many together"
        ),
        pytest.param(
            [contribution("a", 1), Contribution("b", Parameters({"w": np.zeros(2)}), 1)],
            UpdateShapeError,
            id="other arrays",
        ),
        pytest.param([Contribution("a", Parameters({"w": np.array([np.nan])}), 1)], UpdateValueError, id="NaN"),
        pytest.param([Contribution("a", Parameters({"w": np.array([np.inf])}), 1)], UpdateValueError, id="infinity"),
    ],
)
def test_what_cannot_be_aggregated_is_refused(contributions: list[Contribution], error: type[TdzError]) -> None:
    with pytest.raises(error):
        aggregate(contributions, source="run")


def test_strategies_are_those_of_the_papers() -> None:
    assert Strategy(name="FedAvg", epochs=5, batch_size=10).document()["proximal_mu"] == "0"
    assert Strategy(name="FedProx", proximal_mu="0.01").proximal_mu == "0.01"
    for wrong in (
        {"name": "FedSGD", "epochs": 2},
        {"name": "FedSGD", "batch_size": 10},
        {"name": "FedAvg", "proximal_mu": "0.1"},
        {"name": "FedProx"},
        {"name": "FedProx", "proximal_mu": "0.10"},
        {"name": "FedProx", "proximal_mu": 0.1},
        {"name": "fedavg"},
        {"name": "FedAvg", "epochs": 0},
        {"name": "FedAvg", "epochs": limits.LOCAL_EPOCHS_MAX + 1},
        {"name": "FedAvg", "surprise": 1},
    ):
        with pytest.raises(ValidationError):
            Strategy.model_validate(wrong)
