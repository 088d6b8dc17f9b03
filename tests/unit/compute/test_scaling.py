"""Scaling from sums: what all rows together give, and sums that no rows have are refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.compute.scaling import Scaling, ScalingSums, scaling_from, scaling_sums
from gateway.errors import InputError, TdzError, UpdateExamplesError, UpdateShapeError, UpdateValueError


@settings(max_examples=50, deadline=None)
@given(st.lists(st.integers(1, 50), min_size=1, max_size=4), st.floats(-1e3, 1e3), st.floats(1e-2, 1e3))
def test_sums_of_parts_scale_as_all_rows_together(parts: list[int], mean: float, spread: float) -> None:
    source = np.random.default_rng(1)
    tables = [mean + spread * source.normal(size=(count, 3)) for count in parts]
    rows = np.concatenate(tables)
    found = scaling_from([scaling_sums(table) for table in tables])
    np.testing.assert_allclose(found.mean, rows.mean(axis=0), rtol=1e-9, atol=1e-9)
    if len(rows) > 1:
        np.testing.assert_allclose(found.deviation, rows.std(axis=0), rtol=1e-3)


def test_a_constant_feature_is_left_at_its_scale() -> None:
    rows = np.column_stack([np.full(50, 0.1), np.zeros(50), np.arange(50.0)])
    found = scaling_from([scaling_sums(rows)])
    assert found.deviation[:2].tolist() == [1.0, 1.0]
    scaled = found.apply(rows)
    np.testing.assert_allclose(scaled[:, :2], 0, atol=1e-12)
    np.testing.assert_allclose(scaled[:, 2].std(), 1.0)


def test_sums_hold_no_value_of_a_row() -> None:
    rows = np.random.default_rng(5).normal(size=(30, 4))
    found = scaling_sums(rows)
    assert not np.isin(rows, np.concatenate([found.total, found.squares])).any()


def test_files_bring_sums_and_scaling_back() -> None:
    sums = scaling_sums(np.random.default_rng(5).normal(size=(30, 4)))
    again = ScalingSums.of(sums.parameters(), 30)
    np.testing.assert_array_equal(again.total, sums.total)
    scaling = scaling_from([again])
    np.testing.assert_array_equal(Scaling.of(scaling.parameters()).deviation, scaling.deviation)
    with pytest.raises(UpdateShapeError):
        Scaling.of(sums.parameters())
    with pytest.raises(UpdateShapeError):
        ScalingSums.of(scaling.parameters(), 3)


@pytest.mark.parametrize(
    ("count", "total", "squares", "error"),
    [
        (0, [1.0], [1.0], UpdateExamplesError),
        (-1, [1.0], [1.0], UpdateExamplesError),
        (2, [1.0], [1.0, 2.0], UpdateShapeError),
        (2, [], [], UpdateShapeError),
        (2, [np.nan], [1.0], UpdateValueError),
        (2, [1.0], [np.inf], UpdateValueError),
        (2, [1.0], [-1.0], UpdateValueError),
        (2, [10.0], [1.0], UpdateValueError),
    ],
)
def test_sums_that_no_rows_have_are_refused(
    count: int, total: list[float], squares: list[float], error: type[TdzError]
) -> None:
    with pytest.raises(error):
        ScalingSums(count, np.array(total), np.array(squares))


def test_scaling_refuses_what_does_not_fit() -> None:
    with pytest.raises(InputError):
        scaling_from([])
    with pytest.raises(UpdateShapeError):
        scaling_from([scaling_sums(np.ones((3, 2))), scaling_sums(np.ones((3, 3)))])
    with pytest.raises(InputError):
        scaling_from([scaling_sums(np.ones((3, 2)))]).apply(np.ones((3, 3)))
    with pytest.raises(UpdateValueError):
        Scaling(np.zeros(1), np.zeros(1))
