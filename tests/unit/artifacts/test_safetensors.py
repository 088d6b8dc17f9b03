"""A safetensors header is checked against the format's rules, one hostile header after the other."""

from __future__ import annotations

import json

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.artifacts.json_text import JsonError
from gateway.artifacts.safetensors import BITS, Tensor, header_length, read_header
from gateway.model import limits


def entry(begin: int = 0, end: int = 4, dtype: str = "F32", shape: object = (1,), **more: object) -> dict[str, object]:
    return {"dtype": dtype, "shape": shape, "data_offsets": [begin, end], **more}


def encode(header: object) -> bytes:
    return json.dumps(header, separators=(",", ":")).encode()


def test_a_good_header_gives_its_tensors_in_the_order_of_the_file() -> None:
    header = {
        "__metadata__": {"format": "pt"},
        "z": entry(0, 8, "F16", [2, 2]),
        "a": entry(8, 12),
        "scalar": entry(12, 14, "BF16", []),
        "empty": entry(14, 14, "F32", [0, 5]),
    }
    assert read_header(encode(header) + b"   ", 14) == [
        Tensor("z", "F16", (2, 2), 0, 8),
        Tensor("a", "F32", (1,), 8, 12),
        Tensor("scalar", "BF16", (), 12, 14),
        Tensor("empty", "F32", (0, 5), 14, 14),
    ]
    assert read_header(b"{}", 0) == []
    assert read_header(b'{"a":{"data_offsets":[0,1],"dtype":"F4","shape":[2]}}', 1) == [Tensor("a", "F4", (2,), 0, 1)]


HOSTILE: dict[str, tuple[bytes, int]] = {
    "white space first": (b' {"a":1}', 0),
    "not an object": (b"[]", 0),
    "cut off": (encode({"a": entry()})[:-1], 4),
    "something behind": (encode({"a": entry()}) + b"{}", 4),
    "a zero byte behind": (encode({"a": entry()}) + b"\x00", 4),
    "not UTF-8": (b'{"\xff":1}', 4),
    "a name twice": (b'{"a":%s,"a":%s}' % (encode(entry()), encode(entry(4, 8))), 8),
    "a name twice by escapes": (b'{"a":%s,"\\u0061":%s}' % (encode(entry()), encode(entry(4, 8))), 8),
    "a member twice": (b'{"a":{"dtype":"F32","dtype":"F32","shape":[1],"data_offsets":[0,4]}}', 4),
    "an empty name": (encode({"": entry()}), 4),
    "a name with a control": (encode({"a\x07": entry()}), 4),
    "a very long name": (encode({"a" * 600: entry()}), 4),
    "an unknown dtype": (encode({"a": entry(dtype="OBJ")}), 4),
    "a dtype that is no text": (encode({"a": entry(dtype=3)}), 4),  # type: ignore[arg-type]
    "no shape": (b'{"a":{"dtype":"F32","data_offsets":[0,4]}}', 4),
    "an unknown member": (encode({"a": entry(pickle="x")}), 4),
    "three offsets": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[0,4,8]}}', 4),
    "offsets that are texts": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":["0","4"]}}', 4),
    "a negative offset": (b'{"a":{"dtype":"F32","shape":[1],"data_offsets":[-4,0]}}', 4),
    "a fraction": (b'{"a":{"dtype":"F32","shape":[1.0],"data_offsets":[0,4]}}', 4),
    "an exponent": (b'{"a":{"dtype":"F32","shape":[1e0],"data_offsets":[0,4]}}', 4),
    "it ends before it begins": (encode({"a": entry(4, 0)}), 4),
    "more bytes than the shape": (encode({"a": entry(0, 8)}), 8),
    "fewer bytes than the shape": (encode({"a": entry(0, 4, "F64")}), 4),
    "half a byte": (encode({"a": entry(0, 1, "F4", [1])}), 1),
    "a shape that overflows": (encode({"a": entry(0, 0, "F32", [2**31, 2**31, 2**31, 0])}), 0),
    "too many dimensions": (encode({"a": entry(0, 4, "F32", [1] * 33)}), 4),
    "a gap": (encode({"a": entry(), "b": entry(8, 12)}), 12),
    "a gap at the start": (encode({"a": entry(4, 8)}), 8),
    "a hole at the end": (encode({"a": entry()}), 8),
    "an overlap": (encode({"a": entry(0, 8, shape=[2]), "b": entry(4, 12, shape=[2])}), 12),
    "the same bytes twice": (encode({"a": entry(), "b": entry()}), 4),
    "beyond the file": (encode({"a": entry(0, 400, shape=[100])}), 4),
    "metadata that is no object": (encode({"__metadata__": "x"}), 0),
    "metadata with a number": (encode({"__metadata__": {"a": 1}}), 0),
    "metadata with an object": (encode({"__metadata__": {"a": {}}}), 0),
    "metadata twice": (b'{"__metadata__":{},"__metadata__":{}}', 0),
    "a tensor that is a list": (encode({"a": [1]}), 4),
    "a comma too many": (b'{"a":{"dtype":"F32","shape":[1,],"data_offsets":[0,4]}}', 4),
    "deep": (b'{"a":' + b"[" * 100_000, 4),
}


@pytest.mark.parametrize("case", HOSTILE)
def test_a_hostile_header_is_refused(case: str) -> None:
    header, size = HOSTILE[case]
    with pytest.raises(JsonError):
        read_header(header, size)


@pytest.mark.parametrize("length", [0, 1, 100, 1 << 40, (1 << 64) - 1, limits.MODEL_HEADER_MAX + 1])
def test_a_header_longer_than_its_file_or_the_limit_is_never_read(length: int) -> None:
    with pytest.raises(JsonError):
        header_length(length.to_bytes(8, "little"), 50 if length <= 100 else 1 << 30)


def test_too_many_tensors_are_refused() -> None:
    one = b'"%d":{"dtype":"U8","shape":[0],"data_offsets":[0,0]}'
    many = b",".join(one % index for index in range(limits.MODEL_TENSORS_MAX + 2))
    with pytest.raises(JsonError, match="more than"):
        read_header(b"{" + many + b"}", 0)


@settings(max_examples=150, deadline=None)
@given(st.data())
def test_whatever_is_accepted_covers_the_file_exactly(data: st.DataObject) -> None:
    """Mutations of a good header: refused, or its tensors tile the buffer and fit their dtype and shape."""
    good = bytearray(encode({"a": entry(), "b": entry(4, 12, "I64"), "c": entry(12, 20, "F16", [2, 2])}))
    for _ in range(data.draw(st.integers(1, 3))):
        at = data.draw(st.integers(0, len(good) - 1))
        good[at] = data.draw(st.sampled_from(list(b'{}[]":,0123456789abFI ')))
    try:
        tensors = read_header(bytes(good), 20)
    except JsonError:
        return
    at = 0
    for tensor in tensors:
        elements = 1
        for length in tensor.shape:
            elements *= length
        assert (tensor.begin, (tensor.end - tensor.begin) * 8) == (at, elements * BITS[tensor.dtype])
        at = tensor.end
    assert at == 20
