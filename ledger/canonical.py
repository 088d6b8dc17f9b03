"""Canonical JSON: RFC 8785 restricted so that two programs cannot disagree about a value's bytes.

No floats, integers with ``|n| < 2**53``, member names in ASCII (so that sorting by code unit, by code point
and by byte is one order), string values as unescaped UTF-8, no duplicates, no lone surrogates, at most 32
levels.
"""

from __future__ import annotations

import json
from typing import Final, NoReturn, TypeAlias

__all__ = ["MAX_DEPTH", "MAX_INTEGER", "CanonicalError", "JsonValue", "decode", "encode"]

JsonValue: TypeAlias = "bool | int | str | list[JsonValue] | dict[str, JsonValue] | None"

MAX_DEPTH: Final = 32
"""Containers within containers, the outermost counted as 1."""

MAX_INTEGER: Final = 2**53 - 1
"""RFC 8785 section 3.2.2.3, I-JSON: beyond it a reader with IEEE doubles sees another number."""


class CanonicalError(ValueError):
    """A value has no canonical form, or bytes are not the canonical form of any value."""


# Python's encoder with these arguments writes what RFC 8785 section 3.2.2 asks of strings and integers:
# \b \t \n \f \r \" \\, other control characters as lower-case \u00xx, everything else as it is.
_ENCODER: Final = json.JSONEncoder(
    ensure_ascii=False, check_circular=False, allow_nan=False, sort_keys=True, separators=(",", ":")
)


def encode(value: JsonValue) -> bytes:
    """Return the canonical bytes of a value.

    Raises:
        CanonicalError: it holds a float, an integer of 2**53 or more, a member name that is not ASCII, a lone
            surrogate, more than 32 levels, or an object of another type.
    """
    _check(value, 0)
    return _encode(value)


def _encode(value: JsonValue) -> bytes:
    try:
        return _ENCODER.encode(value).encode("utf-8")
    except UnicodeEncodeError as error:
        raise CanonicalError("a string holds a lone surrogate") from error


def decode(data: bytes) -> JsonValue:
    """Return the value whose canonical form is exactly ``data``.

    Raises:
        CanonicalError: the bytes are not JSON, or not in canonical form.
    """
    try:
        value: JsonValue = _DECODER.decode(data.decode("utf-8"))
    except UnicodeDecodeError as error:
        raise CanonicalError("not UTF-8") from error
    except RecursionError as error:
        raise CanonicalError(f"more than {MAX_DEPTH} levels") from error
    except CanonicalError:
        raise
    except ValueError as error:
        raise CanonicalError(f"not JSON: {error}") from error
    # The parser makes JSON types alone and bounds integers. ASCII bytes hold no other names, and so few brackets no
    # deeper levels: what is left of the check would find nothing, and takes a third of the time.
    if not data.isascii() or data.count(b"{") + data.count(b"[") > MAX_DEPTH:
        _check(value, 0)
    # Writing it again shows duplicates, order, white space, escapes and number forms in one comparison.
    if _encode(value) != data:
        raise CanonicalError(_difference(value, data))
    return value


def _check(value: object, depth: int) -> None:
    kind = type(value)
    if kind is str or kind is bool or value is None:
        return
    if kind is int:
        if not -MAX_INTEGER <= value <= MAX_INTEGER:  # type: ignore[operator]
            raise CanonicalError("an integer is 2**53 or more; write it as a string")
        return
    if kind is dict:
        if depth >= MAX_DEPTH:
            raise CanonicalError(f"more than {MAX_DEPTH} levels")
        for name, member in value.items():  # type: ignore[attr-defined]
            if type(name) is not str or not name.isascii():
                raise CanonicalError(f"member name {name!r} is not an ASCII string")
            if type(member) is not str:  # most are texts, and a call each would be most of the time
                _check(member, depth + 1)
        return
    if kind is list:
        if depth >= MAX_DEPTH:
            raise CanonicalError(f"more than {MAX_DEPTH} levels")
        for member in value:  # type: ignore[attr-defined]
            if type(member) is not str:
                _check(member, depth + 1)
        return
    if isinstance(value, str):  # a StrEnum is its value
        return
    if kind is float:
        raise CanonicalError("a float has no place in canonical JSON here; scale it to an integer")
    raise CanonicalError(f"{kind.__name__} is not a JSON type")


def _refuse_float(text: str) -> NoReturn:
    raise CanonicalError(f"{text[:32]} is a float")


def _parse_integer(text: str) -> int:
    if len(text) > 17:  # before int(), whose work grows with the square of the digits
        raise CanonicalError("an integer is 2**53 or more")
    value = int(text)
    if not -MAX_INTEGER <= value <= MAX_INTEGER:
        raise CanonicalError("an integer is 2**53 or more; write it as a string")
    return value


_DECODER: Final = json.JSONDecoder(
    parse_float=_refuse_float, parse_int=_parse_integer, parse_constant=_refuse_float, strict=True
)


def _difference(value: JsonValue, data: bytes) -> str:
    canonical = encode(value)
    at = next(
        (i for i, (a, b) in enumerate(zip(canonical, data, strict=False)) if a != b),
        min(len(canonical), len(data)),
    )
    return f"not in canonical form: differs at byte {at} (duplicate or unsorted names, white space or escapes)"
