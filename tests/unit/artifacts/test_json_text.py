"""The token reader accepts what a JSON parser accepts, in whatever pieces the text comes."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.artifacts.json_text import DEPTH_MAX, JsonCheck, JsonError

VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(10**9), 10**9)
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text(),
    lambda inner: st.lists(inner, max_size=5) | st.dictionaries(st.text(max_size=5), inner, max_size=5),
    max_leaves=20,
)


def accepts(data: bytes, step: int) -> bool:
    check = JsonCheck()
    try:
        for at in range(0, max(len(data), 1), step):
            check.feed(data[at : at + step], last=at + step >= len(data))
    except JsonError:
        return False
    return True


def parses(data: bytes) -> bool:
    def refuse(name: str) -> None:
        raise ValueError(name)

    try:
        json.loads(data.decode(), parse_constant=refuse)
    except ValueError:
        return False
    return True


@settings(max_examples=100, deadline=None)
@given(VALUES, st.integers(1, 40), st.booleans())
def test_what_is_json_is_accepted_in_any_pieces(value: object, step: int, ascii_only: bool) -> None:
    data = json.dumps(value, ensure_ascii=ascii_only).encode("utf-8", "replace")
    assert accepts(data, step)


@settings(max_examples=300, deadline=None)
@given(VALUES, st.integers(1, 40), st.integers(0, 1 << 16), st.sampled_from(list(b'{}[],:"0-.eE\\tn x')))
def test_a_changed_byte_is_judged_as_a_parser_judges_it(value: object, step: int, at: int, byte: int) -> None:
    data = bytearray(json.dumps(value).encode())
    data[at % len(data)] = byte
    assert accepts(bytes(data), step) == parses(bytes(data))


@pytest.mark.parametrize(
    "text",
    [
        b"",
        b"  ",
        b"[1,]",
        b'{"a":1,}',
        b'{"a"}',
        b'{"a":1 "b":2}',
        b"[1 2]",
        b"01",
        b"1.",
        b".5",
        b"-",
        b"+1",
        b"NaN",
        b"Infinity",
        b"'a'",
        b'"\\x"',
        b'"a\nb"',
        b"[] []",
        b"tru",
        b"{} x",
        b"]",
        b'{1:"a"}',
        b'["a":1]',
    ],
)
@pytest.mark.parametrize("step", [1, 2, 100])
def test_what_is_no_json_is_refused(text: bytes, step: int) -> None:
    assert not accepts(text, step)


def test_depth_is_bounded() -> None:
    assert accepts(b"[" * DEPTH_MAX + b"]" * DEPTH_MAX, 7)
    assert not accepts(b"[" * (DEPTH_MAX + 1) + b"]" * (DEPTH_MAX + 1), 7)
    assert not accepts(b"[" * 1_000_000, 1 << 16)


def test_a_string_that_never_ends_is_given_up() -> None:
    check = JsonCheck()
    with pytest.raises(JsonError):
        for _ in range(64):
            check.feed(b'"' + b"a" * (1 << 16) if not _ else b"a" * (1 << 16))


def test_a_flood_of_empty_values_is_given_up() -> None:
    with pytest.raises(JsonError, match="more than"):
        JsonCheck().feed(b"[" + b"{}," * 600_000)
