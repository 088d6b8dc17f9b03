"""Framing is believed only where every bound holds; hostile bytes end in IntegrityError and nothing else."""

from __future__ import annotations

import struct
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import IntegrityError
from gateway.model import limits
from gateway.storage.arrow_chunks import decode_chunk, encode_chunk, read_schema_message, schema_message
from gateway.storage.ipc_frames import (
    END_OF_STREAM,
    check_schema_message,
    join_message,
    read_batch_header,
    split_messages,
)

NUMBERS = pa.record_batch({"a": np.arange(50), "b": np.arange(50) / 2})
CODED = pa.record_batch({"d": pa.array(["x", "y"] * 20).dictionary_encode(), "a": np.arange(40)})
PLAIN = bytes(encode_chunk(NUMBERS))
WITH_DICTIONARY = bytes(encode_chunk(CODED))
PACKED = bytes(encode_chunk(NUMBERS, "zstd"))


def rejoined(chunk: bytes) -> bytes:
    return b"".join(bytes(p) for m, body in split_messages(chunk) for p in (join_message(m, body), m, body))


@pytest.mark.parametrize("chunk", [PLAIN, WITH_DICTIONARY, PACKED])
def test_split_and_join_give_the_same_bytes_without_copying(chunk: bytes) -> None:
    assert rejoined(chunk) == chunk
    for metadata, body in split_messages(chunk):
        assert metadata.obj is chunk
        assert body.obj is chunk


def test_the_header_says_what_pyarrow_says() -> None:
    (dictionary, _), (batch, body) = split_messages(WITH_DICTIONARY)
    assert read_batch_header(dictionary).is_dictionary
    assert read_batch_header(dictionary).rows == 2
    header = read_batch_header(batch)
    assert (header.is_dictionary, header.rows, header.nodes) == (False, 40, 2)
    assert header.body_length == len(body)
    assert read_batch_header(split_messages(PACKED)[0][0]).compressed


SCHEMA_FIRST = schema_message(NUMBERS.schema) + PLAIN
MUTATIONS = {
    "empty": b"",
    "prefix cut off": PLAIN[:6],
    "metadata cut off": PLAIN[:40],
    "body cut off": PLAIN[:-8],
    "one byte left over": PLAIN + b"\0",
    "end marker left over": PLAIN + END_OF_STREAM,
    "two record batches": PLAIN + PLAIN,
    "schema message inside": SCHEMA_FIRST,
    "dictionary alone": WITH_DICTIONARY[: len(WITH_DICTIONARY) - sum(map(len, split_messages(WITH_DICTIONARY)[1])) - 8],
    "no continuation marker": b"\0\0\0\0" + PLAIN[4:],
    "negative metadata size": PLAIN[:4] + struct.pack("<i", -8) + PLAIN[8:],
    "unaligned metadata size": PLAIN[:4] + struct.pack("<i", len(split_messages(PLAIN)[0][0]) + 4) + PLAIN[8:],
    "huge metadata size": PLAIN[:4] + struct.pack("<i", 2**31 - 8) + PLAIN[8:],
    "zero metadata size": PLAIN[:4] + struct.pack("<i", 0) + PLAIN[8:],
    "longer than a chunk": PLAIN + bytes(limits.CHUNK_MAX),
}


@pytest.mark.parametrize("name", MUTATIONS)
def test_a_malformed_chunk_is_refused(name: str) -> None:
    with pytest.raises(IntegrityError):
        split_messages(MUTATIONS[name])


def test_a_body_of_another_length_than_the_metadata_says_is_not_joined() -> None:
    ((metadata, body),) = split_messages(PLAIN)
    for wrong in (body[:-8], bytes(body) + bytes(8)):
        with pytest.raises(IntegrityError, match="length differs"):
            join_message(metadata, wrong)
    with pytest.raises(IntegrityError, match="multiple of 8"):
        join_message(metadata[:-4], body)


@settings(max_examples=400, deadline=None)
@given(
    chunk=st.sampled_from([(NUMBERS.schema, PLAIN), (CODED.schema, WITH_DICTIONARY), (NUMBERS.schema, PACKED)]),
    edits=st.lists(st.tuples(st.floats(0, 1), st.integers(0, 255)), min_size=1, max_size=4),
    cut=st.none() | st.floats(0, 1),
)
def test_whatever_is_changed_decoding_ends_in_a_batch_or_an_integrity_error(
    chunk: tuple[Any, bytes], edits: list[tuple[float, int]], cut: float | None
) -> None:
    schema, data = chunk[0], bytearray(chunk[1])
    metadata_end = 8 + len(split_messages(chunk[1])[0][0])
    for place, value in edits:
        data[int(place * (metadata_end - 1))] = value  # the part that steers the reader
    if cut is not None:
        del data[int(cut * len(data)) :]
    try:
        decode_chunk(schema, bytes(data)).validate(full=True)
    except IntegrityError:
        return


def _first_buffer_length(chunk: bytes, length: int) -> bytes:
    ((metadata, body),) = split_messages(chunk)
    start = len(chunk) - len(body) + int(read_batch_header(metadata).buffers["offset"][1])
    return chunk[:start] + struct.pack("<q", length) + chunk[start + 8 :]


@pytest.mark.parametrize("length", [limits.CHUNK_DECODED_MAX + 1, 2**62, -2])
def test_a_decompression_bomb_is_refused_before_anything_is_allocated(length: int) -> None:
    before = pa.default_memory_pool().max_memory()
    with pytest.raises(IntegrityError, match="decompress"):
        decode_chunk(NUMBERS.schema, _first_buffer_length(PACKED, length))
    assert pa.default_memory_pool().max_memory() == before


def test_many_buffers_of_moderate_size_are_a_bomb_too() -> None:
    zeros = pa.record_batch({f"c{i}": np.zeros(300_000) for i in range(8)})
    chunk = encode_chunk(zeros, "zstd")
    assert len(chunk) < limits.CHUNK_MAX
    with pytest.raises(IntegrityError, match="decompresses to more than"):
        decode_chunk(zeros.schema, chunk)


def _buffer_structs(chunk: bytes) -> int:
    ((metadata, _),) = split_messages(chunk)
    return chunk.index(read_batch_header(metadata).buffers.tobytes())


@pytest.mark.parametrize(
    ("index", "offset", "length", "said"),
    [
        (1, 0, 2**40, "outside the body"),
        (3, 2**40, 8, "outside the body"),
        (1, -8, 8, "negative"),
        (3, 4, 8, "unaligned"),
        (3, 0, 400, "overlap"),
    ],
)
def test_buffers_that_leave_the_body_or_overlap_are_refused(index: int, offset: int, length: int, said: str) -> None:
    at = _buffer_structs(PLAIN) + 16 * index
    forged = PLAIN[:at] + struct.pack("<qq", offset, length) + PLAIN[at + 16 :]
    with pytest.raises(IntegrityError, match=said):
        decode_chunk(NUMBERS.schema, forged)


@pytest.mark.parametrize(
    "other",
    [
        pa.schema([("a", pa.int64())]),
        pa.schema([("a", pa.int64()), ("b", pa.float64()), ("c", pa.int8())]),
        pa.schema([("a", pa.int64()), ("b", pa.string())]),
        pa.schema([("a", pa.decimal128(20, 1)), ("b", pa.float64())]),
        pa.schema([("a", pa.dictionary(pa.int64(), pa.string())), ("b", pa.float64())]),
    ],
)
def test_a_chunk_under_another_schema_is_refused(other: Any) -> None:
    with pytest.raises(IntegrityError):
        decode_chunk(other, PLAIN)


def test_values_that_are_no_text_or_point_outside_a_dictionary_are_refused() -> None:
    raw = pa.record_batch({"t": pa.array([b"\xff\xfe"])})
    with pytest.raises(IntegrityError, match="UTF8"):
        decode_chunk(pa.schema([("t", pa.string())]), encode_chunk(raw))
    codes = CODED.column(0).indices.to_numpy().tobytes()
    assert codes in WITH_DICTIONARY
    with pytest.raises(IntegrityError):
        decode_chunk(CODED.schema, WITH_DICTIONARY.replace(codes, b"\x09" + codes[1:]))


@pytest.mark.parametrize(
    "message",
    [
        b"",
        PLAIN,
        schema_message(NUMBERS.schema)[:-8],
        schema_message(NUMBERS.schema) + bytes(8),
        schema_message(NUMBERS.schema)[:16] + bytes(len(schema_message(NUMBERS.schema)) - 16),
    ],
)
def test_what_is_not_one_schema_message_is_refused(message: bytes) -> None:
    with pytest.raises(IntegrityError):
        read_schema_message(message)


@pytest.mark.parametrize(
    "kind",
    [
        pa.string_view(),
        pa.list_view(pa.int8()),
        pa.run_end_encoded(pa.int32(), pa.int8()),
        pa.list_(pa.dictionary(pa.int8(), pa.string())),
    ],
)
def test_a_schema_with_a_type_that_is_never_stored_is_refused(kind: Any) -> None:
    with pytest.raises(IntegrityError, match="not a stored type"):
        read_schema_message(schema_message(pa.schema([("a", kind)])))


def test_a_schema_message_is_what_pyarrow_writes_first() -> None:
    check_schema_message(schema_message(CODED.schema))
    assert read_schema_message(schema_message(CODED.schema)).equals(CODED.schema)
