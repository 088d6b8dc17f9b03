"""Decimals have one text each."""

from __future__ import annotations

import re
from decimal import Decimal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.errors import InputError
from gateway.model.decimals import DECIMAL_PATTERN, decimal_text, measured_text


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (0, "0"),
        (1, "1"),
        (100, "100"),
        (0.1, "0.1"),
        (1e-5, "0.00001"),
        ("0.50", "0.5"),
        ("007", "7"),
        ("1e2", "100"),
        (Decimal("2.500"), "2.5"),
        ("999999999", "999999999"),
        ("0.000000000001", "0.000000000001"),
    ],
)
def test_a_number_has_one_text(value: object, text: str) -> None:
    assert decimal_text(value) == text  # type: ignore[arg-type]
    assert re.fullmatch(DECIMAL_PATTERN, text)


@pytest.mark.parametrize(
    "value",
    [
        -1,
        "-0.1",
        float("nan"),
        float("inf"),
        10**9,
        "1e9",
        "0.0000000000001",
        "",
        "x",
        "1,5",
        True,
        "١",
        "9" * 50,
        "1e99999",
    ],
)
def test_what_documents_cannot_hold_is_refused(value: object) -> None:
    with pytest.raises(InputError):
        decimal_text(value)  # type: ignore[arg-type]


@given(st.integers(0, 10**9 - 1), st.integers(0, 10**12 - 1))
def test_texts_are_read_back_as_the_same_number(whole: int, places: int) -> None:
    number = Decimal(whole) + Decimal(places).scaleb(-12)
    text = decimal_text(number)
    assert Decimal(text) == number
    assert decimal_text(text) == text
    assert re.fullmatch(DECIMAL_PATTERN, text)


def test_measured_figures_have_six_digits() -> None:
    assert [measured_text(x) for x in (0.0, -0.0, 1.0, 2 / 3, -1e-9, 123456789.0)] == [
        "0",
        "0",
        "1",
        "0.666667",
        "-0.000000001",
        "123457000",
    ]
    with pytest.raises(InputError):
        measured_text(float("nan"))
