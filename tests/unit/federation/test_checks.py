"""Hostile updates, one by one, and the clipping that keeps honest ones within the bound."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import (
    TdzError,
    UpdateExamplesError,
    UpdateNormError,
    UpdateRunError,
    UpdateShapeError,
    UpdateValueError,
)
from gateway.federation.checks import check_update
from gateway.federation.parameters import Parameters
from gateway.federation.updates import Update, clip, update_norm

RUN, OTHER = "0197a1b2-0000-7000-8000-000000000001", "0197a1b2-0000-7000-8000-000000000002"
REFERENCE = Parameters({"weight": np.zeros((2, 2)), "bias": np.ones(2)})


def arrays(**changes: object) -> Parameters:
    values = {"weight": np.full((2, 2), 0.5), "bias": np.ones(2), **changes}
    return Parameters({name: np.asarray(value) for name, value in values.items() if value is not None})


GOOD = Update(run=RUN, round=3, zone="lingang", parameters=arrays(), examples=50)


def check(update: Update, bound: float = 1.0) -> float:
    return check_update(
        update, run=RUN, round_number=3, zone="lingang", reference=REFERENCE, norm_bound=bound, examples_max=1_000
    )


def test_an_honest_update_passes_with_its_norm() -> None:
    assert check(GOOD) == 1.0


@pytest.mark.parametrize(
    ("changes", "error", "text"),
    [
        pytest.param({"run": OTHER}, UpdateRunError, "another run", id="another run"),
        pytest.param({"round": 2}, UpdateRunError, "round 2 while round 3", id="a round of the past"),
        pytest.param({"round": 4}, UpdateRunError, "round 4 while round 3", id="a round to come"),
        pytest.param({"zone": "cyberjaya"}, UpdateRunError, "another zone", id="another zone's name"),
        pytest.param({"examples": 0}, UpdateExamplesError, "0 examples", id="no examples"),
        pytest.param({"examples": -1}, UpdateExamplesError, "-1 examples", id="negative examples"),
        pytest.param({"examples": 1_001}, UpdateExamplesError, "1001 examples", id="more examples than rows"),
        pytest.param({"parameters": arrays(bias=None)}, UpdateShapeError, "'bias' is missing", id="an array missing"),
        pytest.param(
            {"parameters": arrays(more=[1.0])}, UpdateShapeError, "'more' is not among", id="an array too many"
        ),
        pytest.param(
            {"parameters": arrays(bias=None, Bias=np.ones(2))}, UpdateShapeError, "'bias' is missing", id="another name"
        ),
        pytest.param({"parameters": arrays(bias=np.ones(3))}, UpdateShapeError, r"shape \[3\]", id="another shape"),
        pytest.param({"parameters": arrays(bias=np.ones((1, 2)))}, UpdateShapeError, "shape", id="a dimension more"),
        pytest.param({"parameters": arrays(bias=np.ones(2, np.float32))}, UpdateShapeError, "F32", id="another type"),
        pytest.param({"parameters": arrays(bias=[1.0, np.nan])}, UpdateValueError, "bias", id="NaN"),
        pytest.param({"parameters": arrays(bias=[1.0, np.inf])}, UpdateValueError, "bias", id="infinity"),
        pytest.param({"parameters": arrays(bias=[1.0, -np.inf])}, UpdateValueError, "bias", id="minus infinity"),
        pytest.param({"parameters": arrays(bias=[1.0, 1.1])}, UpdateNormError, "bound is 1", id="just past the bound"),
        pytest.param({"parameters": arrays(bias=[1.0, 1e308])}, UpdateNormError, "inf", id="a norm that overflows"),
    ],
)
def test_a_hostile_update_is_refused_and_named(changes: dict[str, object], error: type[TdzError], text: str) -> None:
    with pytest.raises(error, match=text):
        check(dataclasses.replace(GOOD, **changes))


@pytest.mark.parametrize("bound", [float("nan"), -1.0, 0.0])
def test_a_bound_that_is_none_refuses(bound: float) -> None:
    with pytest.raises(UpdateNormError):
        check(GOOD, bound)


def test_what_is_within_the_bound_is_not_touched() -> None:
    found = clip(GOOD.parameters, REFERENCE, 1.0)
    assert found.parameters is GOOD.parameters
    assert (found.norm, found.clipped) == (1.0, False)


def test_clipping_keeps_the_direction() -> None:
    found = clip(GOOD.parameters, REFERENCE, 0.5)
    assert found.clipped
    assert found.norm == 1.0
    np.testing.assert_allclose(found.parameters["weight"], np.full((2, 2), 0.25), atol=1e-9)
    np.testing.assert_array_equal(found.parameters["bias"], np.ones(2))


@settings(max_examples=80, deadline=None)
@given(
    st.sampled_from([np.float32, np.float64]),
    st.integers(0, 2**32 - 1),
    st.floats(1e-6, 1e6),
    st.floats(1e-6, 1e6),
    st.floats(1e-9, 1e3),
)
def test_what_was_clipped_passes_the_check_whatever_the_rounding(
    kind: type, seed: int, base: float, step: float, bound: float
) -> None:
    source = np.random.default_rng(seed)
    reference = Parameters({"w": (base * source.normal(size=20)).astype(kind)})
    moved = Parameters({"w": reference["w"] + (step * source.normal(size=20)).astype(kind)})
    found = clip(moved, reference, bound)
    update = Update(run=RUN, round=1, zone="a", parameters=found.parameters, examples=1)
    norm = check_update(update, run=RUN, round_number=1, zone="a", reference=reference, norm_bound=bound)
    assert norm == update_norm(found.parameters, reference) <= bound


def test_an_update_too_far_to_measure_becomes_the_reference() -> None:
    far = arrays(bias=[1e308, -1e308])
    assert clip(far, REFERENCE, 1.0).parameters == REFERENCE
