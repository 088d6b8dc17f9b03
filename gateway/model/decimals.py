"""Decimals as texts: signed and hashed documents hold no floats, so each number has one way to be written."""

from __future__ import annotations

import math
import re
from decimal import Decimal, InvalidOperation, localcontext
from typing import Annotated, Final

from pydantic import AfterValidator, StringConstraints
from pydantic_core import PydanticCustomError

from gateway.errors import InputError

DECIMAL_PATTERN: Final = r"^(0|[1-9][0-9]{0,8})(\.[0-9]{0,11}[1-9])?$"
"""Not negative, under 10^9, at most twelve places, no zero at the end: one text for each value."""

DecimalText = Annotated[str, StringConstraints(max_length=24, pattern=DECIMAL_PATTERN)]


def _above_zero(text: str) -> str:
    if text == "0":
        raise PydanticCustomError("above_zero", "a number above 0 is needed")
    return text


PositiveDecimalText = Annotated[DecimalText, AfterValidator(_above_zero)]

_PLACES: Final = Decimal("1e-12")
_WRITTEN: Final = re.compile(r"[0-9.eE+-]{1,40}")


def decimal_text(value: str | int | float | Decimal) -> str:
    """A number as the one text that documents hold.

    Args:
        value: at least 0 and under 10^9; a float is taken as Python prints it, so 0.1 becomes "0.1".

    Raises:
        InputError: not a number, negative, too large, or with more than twelve places.
    """
    remedy = "write a number from 0 to 999999999 with at most 12 places, such as 0.05"
    if isinstance(value, bool) or _WRITTEN.fullmatch(str(value)) is None:
        raise InputError("not a decimal number", remedy=remedy)
    try:
        with localcontext() as context:
            context.prec = 60
            number = Decimal(str(value))
            if not number.is_finite() or not 0 <= number < 10**9 or number != number.quantize(_PLACES):
                raise InputError("a number that documents cannot hold", remedy=remedy)
            text = f"{number.quantize(_PLACES):f}".rstrip("0").rstrip(".")
    except InvalidOperation as error:
        raise InputError("not a decimal number", remedy=remedy) from error
    return text if text else "0"


def measured_text(value: float) -> str:
    """A measured figure (a loss, an accuracy) as a text with six significant digits; may be negative.

    Raises:
        InputError: NaN or infinity, which say nothing.
    """
    if not math.isfinite(value):
        raise InputError("a figure that is not finite")
    text = f"{Decimal(f'{value + 0.0:.6g}'):f}"  # no minus before a zero
    return text.rstrip("0").rstrip(".") if "." in text else text
