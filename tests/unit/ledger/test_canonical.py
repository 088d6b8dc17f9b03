"""Canonical JSON."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from ledger.canonical import MAX_DEPTH, CanonicalError, decode, encode

NAMES = st.text(st.characters(max_codepoint=127), max_size=8)
VALUES = st.recursive(
    st.none()
    | st.booleans()
    | st.integers(-(2**53) + 1, 2**53 - 1)
    | st.text(st.characters(exclude_categories=("Cs",)), max_size=20),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(NAMES, inner, max_size=4),
    max_leaves=20,
)


@given(VALUES)
def test_what_is_written_is_read_back_and_is_plain_json(value: object) -> None:
    data = encode(value)  # type: ignore[arg-type]
    assert decode(data) == value
    assert json.loads(data) == value


def test_members_are_sorted_and_text_is_not_escaped() -> None:
    value = {"b": "é\u2028\x7f", "a": '\x01\x1f\b\t\n\f\r"\\/', "A": [True, None, -1]}
    expected = '{"A":[true,null,-1],"a":"\\u0001\\u001f\\b\\t\\n\\f\\r\\"\\\\/","b":"é\u2028\x7f"}'
    assert encode(value) == expected.encode()


@pytest.mark.parametrize(
    "value",
    [1.0, float("nan"), 2**53, -(2**53), {"é": 1}, {1: 1}, "\ud800", (1,), b"x", {"a": {1, 2}}, [[1.5]]],
    ids=repr,
)
def test_values_without_a_canonical_form_are_refused(value: object) -> None:
    with pytest.raises(CanonicalError):
        encode(value)  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b" 1",
        b"1 ",
        b"1.0",
        b"1e2",
        b"-0",
        b"01",
        b"NaN",
        b"9007199254740992",
        b"1" * 5000,
        b'{"a":1,"a":1}',
        b'{"a":1,"a":2}',
        b'{"b":1,"a":2}',
        b'{"a": 1}',
        b'{"\xc3\xa9":1}',
        b'"\\u00e9"',
        b'"\\u000a"',
        b'"\\/"',
        b'"\\ud800"',
        b'"\xed\xa0\x80"',
        b'"\n"',
        b"\xff",
        b"\xef\xbb\xbf1",
        b"1,",
        b"[" * 33 + b"]" * 33,
        b"[" * 100_000,
    ],
    ids=lambda data: repr(data[:24]),
)
def test_bytes_in_another_form_are_refused(data: bytes) -> None:
    with pytest.raises(CanonicalError):
        decode(data)


def test_the_depth_limit_is_exact() -> None:
    deepest = b"[" * MAX_DEPTH + b"]" * MAX_DEPTH
    assert encode(decode(deepest)) == deepest
    with pytest.raises(CanonicalError):
        encode([decode(deepest)])
