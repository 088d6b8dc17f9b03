"""The one file that parameters make: equal arrays are equal bytes, and no other bytes are read."""

from __future__ import annotations

import hashlib
import io
import json
import struct

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from gateway.errors import IntegrityError, LimitError, TdzError, UpdateShapeError
from gateway.federation.parameters import Parameters, decode_parameters, read_parameters
from gateway.model import limits

NAMES = st.from_regex(r"[a-z_][a-z0-9_.]{0,12}", fullmatch=True)
SHAPES = hnp.array_shapes(min_dims=0, max_dims=3, min_side=1, max_side=4)
ARRAYS = st.one_of(
    hnp.arrays(np.float64, SHAPES, elements=st.floats(width=64)),
    hnp.arrays(np.float32, SHAPES, elements=st.floats(width=32)),
)
PARAMETERS = st.dictionaries(NAMES, ARRAYS, min_size=1, max_size=5).map(Parameters)


def small() -> Parameters:
    return Parameters({"weight": np.arange(6, dtype=np.float32).reshape(2, 3), "bias": np.array([1.0, 2.0])})


def container(header: object, body: bytes) -> bytes:
    text = header if isinstance(header, bytes) else json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return struct.pack("<Q", len(text)) + text + body


@settings(max_examples=60, deadline=None)
@given(PARAMETERS)
def test_what_is_written_is_read_back_bit_for_bit(parameters: Parameters) -> None:
    data = parameters.encode()
    again = decode_parameters(data, expected=parameters.layout)
    assert again == parameters
    assert again.encode() == data
    assert len(data) == parameters.nbytes
    assert parameters.digest == hashlib.sha256(data).hexdigest()


@settings(max_examples=150, deadline=None)
@given(PARAMETERS, st.data())
def test_bytes_that_were_changed_are_refused_or_are_other_parameters(
    parameters: Parameters, data: st.DataObject
) -> None:
    encoded = bytearray(parameters.encode())
    place = data.draw(st.integers(0, len(encoded) - 1))
    value = data.draw(st.integers(0, 255).filter(lambda byte: byte != encoded[place]))
    encoded[place] = value
    try:
        read = decode_parameters(bytes(encoded))
    except TdzError:
        return
    assert read.encode() == bytes(encoded)
    assert read.digest != parameters.digest


@settings(max_examples=60, deadline=None)
@given(st.binary(max_size=200))
def test_arbitrary_bytes_end_in_an_error_of_ours(data: bytes) -> None:
    with pytest.raises(TdzError):
        decode_parameters(data)


def test_the_order_in_which_arrays_are_named_does_not_matter() -> None:
    one = small()
    other = Parameters({"bias": one["bias"], "weight": one["weight"]})
    assert list(one) == list(other) == ["bias", "weight"]
    assert one.digest == other.digest


def test_the_memory_layout_of_an_array_does_not_matter() -> None:
    table = np.arange(12.0).reshape(3, 4)
    turned = Parameters({"w": np.asfortranarray(table)})
    big_endian = Parameters({"w": table.astype(">f8")})
    assert Parameters({"w": table}).digest == turned.digest == big_endian.digest


def test_the_bytes_are_the_public_format() -> None:
    data = small().encode()
    (length,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + length])
    assert length % 8 == 0
    assert header["bias"] == {"dtype": "F64", "shape": [2], "data_offsets": [0, 16]}
    assert header["weight"] == {"dtype": "F32", "shape": [2, 3], "data_offsets": [16, 40]}
    assert np.frombuffer(data[8 + length :][16:40], "<f4").tolist() == [0, 1, 2, 3, 4, 5]


def test_arrays_cannot_be_changed() -> None:
    with pytest.raises(ValueError, match="read-only"):
        small()["bias"][0] = 3.0


def test_pieces_are_bounded_and_make_the_whole() -> None:
    parameters = Parameters({"w": np.arange(10_000, dtype=np.float64)})
    parts = list(parameters.parts(piece=1_000))
    assert max(len(part) for part in parts[1:]) == 1_000
    assert b"".join(parts) == parameters.encode()


def test_a_stream_that_gives_little_at_a_time_is_read_whole_and_not_past_its_size() -> None:
    data = small().encode()
    stream = io.BytesIO(data + b"what follows")
    assert read_parameters(lambda count: stream.read(min(count, 3)), size=len(data)) == small()
    assert stream.read() == b"what follows"


@pytest.mark.parametrize(
    ("header", "body", "error"),
    [
        pytest.param({}, b"", LimitError, id="no arrays"),
        pytest.param([], b"", IntegrityError, id="no object"),
        pytest.param(b"{", b"", IntegrityError, id="no JSON"),
        pytest.param(b"[" * 100_000, b"", IntegrityError, id="nested without end"),
        pytest.param(b'{"a":\xff}', b"", IntegrityError, id="not ASCII"),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 7, IntegrityError, id="short"
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 9, IntegrityError, id="long"
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [2], "data_offsets": [0, 8]}}, b"\0" * 8, IntegrityError, id="offsets lie"
        ),
        pytest.param(
            {
                "a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
                "b": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
            },
            b"\0" * 16,
            IntegrityError,
            id="overlap",
        ),
        pytest.param(
            {
                "a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
                "b": {"dtype": "F64", "shape": [1], "data_offsets": [16, 24]},
            },
            b"\0" * 16,
            IntegrityError,
            id="gap",
        ),
        pytest.param(
            {
                "b": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]},
                "a": {"dtype": "F64", "shape": [1], "data_offsets": [8, 16]},
            },
            b"\0" * 16,
            IntegrityError,
            id="another order",
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8], "x": 1}},
            b"\0" * 8,
            IntegrityError,
            id="a member more",
        ),
        pytest.param(
            {"__metadata__": {"a": "b"}, "a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}},
            b"\0" * 8,
            IntegrityError,
            id="metadata",
        ),
        pytest.param(
            b'{"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]},"a":{"dtype":"F64","shape":[1],"data_offsets":[0,8]}}',
            b"\0" * 8,
            IntegrityError,
            id="a name twice",
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [True], "data_offsets": [0, 8]}},
            b"\0" * 8,
            IntegrityError,
            id="a truth value",
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [1.0], "data_offsets": [0, 8]}}, b"\0" * 8, IntegrityError, id="a float"
        ),
        pytest.param(
            {"a": {"dtype": "I64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8, UpdateShapeError, id="integers"
        ),
        pytest.param(
            {"a": {"dtype": [], "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8, IntegrityError, id="odd type"
        ),
        pytest.param({"a": {"dtype": "F64", "shape": [0], "data_offsets": [0, 0]}}, b"", UpdateShapeError, id="empty"),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [-1], "data_offsets": [0, 8]}}, b"\0" * 8, UpdateShapeError, id="negative"
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [-1, -1], "data_offsets": [0, 8]}},
            b"\0" * 8,
            UpdateShapeError,
            id="two negatives",
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [1 << 62, 4], "data_offsets": [0, 8]}}, b"\0" * 8, LimitError, id="vast"
        ),
        pytest.param(
            {"a": {"dtype": "F64", "shape": [1] * 9, "data_offsets": [0, 8]}}, b"\0" * 8, LimitError, id="dimensions"
        ),
        pytest.param(
            {"../a": {"dtype": "F64", "shape": [1], "data_offsets": [0, 8]}}, b"\0" * 8, UpdateShapeError, id="odd name"
        ),
    ],
)
def test_a_hostile_file_is_refused(header: object, body: bytes, error: type[TdzError]) -> None:
    with pytest.raises(error):
        decode_parameters(container(header, body))


def test_a_header_that_claims_to_be_longer_than_the_file_is_refused_before_it_is_read() -> None:
    with pytest.raises(IntegrityError):
        decode_parameters(struct.pack("<Q", 1 << 60) + b"{}")
    with pytest.raises(IntegrityError):
        decode_parameters(b"\0" * 5)


def test_other_arrays_than_expected_are_named_before_memory_is_taken() -> None:
    asked: list[int] = []
    data = Parameters({"w": np.zeros(1_000_000)}).encode()
    stream = io.BytesIO(data)

    def read(count: int) -> bytes:
        asked.append(count)
        return stream.read(count)

    with pytest.raises(UpdateShapeError, match="shape"):
        read_parameters(read, size=len(data), expected=(("w", "F64", (3,)),))
    assert sum(asked) < 1_000


def test_limits_hold_for_what_is_made_here_too() -> None:
    with pytest.raises(UpdateShapeError):
        Parameters({"a": np.zeros(3, dtype=np.int64)})
    with pytest.raises(LimitError):
        Parameters({f"a{i}": np.zeros(1) for i in range(limits.PARAMETER_ARRAYS_MAX + 1)})
