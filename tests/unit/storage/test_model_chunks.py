"""A model's chunks are pinned byte for byte, and where a file is cut depends on its header alone."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.ipc as ipc
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import IntegrityError
from gateway.model.limits import MODEL_CHUNK_DATA
from gateway.storage.arrow_chunks import decode_chunk
from gateway.storage.ipc_frames import PREFIX_BYTES, split_messages
from gateway.storage.model_chunks import (
    GROUP_MIN,
    MODEL_SCHEMA,
    cut,
    encode_model_chunk,
    model_schema_message,
    read_model_batch,
    read_model_message,
)

VECTORS = Path(__file__).parents[2] / "vectors"


def chunk_of(data: bytes) -> bytes:
    return b"".join(encode_model_chunk(data))


def as_pyarrow_writes(data: bytes) -> bytes:
    batch = pa.record_batch([pa.array([data], pa.large_binary())], schema=MODEL_SCHEMA)
    sink = pa.BufferOutputStream()
    writer = ipc.new_stream(sink, MODEL_SCHEMA, options=ipc.IpcWriteOptions(metadata_version=ipc.MetadataVersion.V5))
    writer.write_batch(batch)
    written: bytes = sink.getvalue().to_pybytes()
    return written[len(model_schema_message()) :]


def as_it_crosses(chunk: bytes) -> tuple[memoryview, memoryview]:
    """Header and body, as a Flight frame has them."""
    ((header, body),) = split_messages(chunk)
    return header, body


@pytest.mark.parametrize("size", [1, 7, 8, 9, 1_000, 65_537, MODEL_CHUNK_DATA - 1, MODEL_CHUNK_DATA])
def test_a_chunk_is_what_pyarrows_writer_makes_of_the_same_bytes(size: int) -> None:
    data = bytes(range(256)) * (size // 256 + 1)
    data = data[:size]
    chunk = chunk_of(data)
    assert chunk == as_pyarrow_writes(data)
    batch = decode_chunk(MODEL_SCHEMA, chunk)
    assert bytes(read_model_batch(batch)) == data
    assert read_model_message(*as_it_crosses(chunk)) == data


def test_the_data_is_not_copied() -> None:
    data = bytearray(b"weights")
    parts = encode_model_chunk(data)
    assert parts[1] is data


def test_the_golden_chunk_is_read_and_written() -> None:
    golden = (VECTORS / "chunks" / "model.0.chunk").read_bytes()
    data = bytes(range(256)) * 4
    assert read_model_message(*as_it_crosses(golden)) == data
    assert chunk_of(data) == golden
    assert model_schema_message() == (VECTORS / "chunks" / "model.schema").read_bytes()


@pytest.mark.parametrize("size", [0, MODEL_CHUNK_DATA + 1])
def test_no_chunk_is_empty_or_too_large(size: int) -> None:
    with pytest.raises(IntegrityError):
        encode_model_chunk(bytes(size))


def test_a_change_of_any_byte_of_the_framing_is_refused() -> None:
    good = chunk_of(b"12345")
    first = good.index(b"12345")
    header, body = as_it_crosses(good)
    for at in range(PREFIX_BYTES, len(good)):  # the prefix does not cross
        if first <= at < first + 5:
            continue
        changed = memoryview(good[:at] + bytes([good[at] ^ 0x10]) + good[at + 1 :])
        assert read_model_message(changed[PREFIX_BYTES:][: len(header)], changed[-len(body) :]) is None


@pytest.mark.parametrize("cut", [(0, -1), (0, -8), (1, None), (8, None)])
def test_a_message_of_another_length_is_not_the_pinned_one(cut: tuple[int, int | None]) -> None:
    header, body = as_it_crosses(chunk_of(b"12345"))
    start, end = cut
    assert read_model_message(header, body[start:end]) is None
    assert read_model_message(header[start:end], body) is None
    assert read_model_message(header, memoryview(bytes(body) + bytes(8))) is None
    assert read_model_message(memoryview(b""), body) is None
    assert read_model_message(header, memoryview(b"")) is None


@pytest.mark.parametrize("change", ["two rows", "a null", "another column"])
def test_another_shape_is_refused(change: str) -> None:
    column: Any = {"two rows": [b"1234", b"5678"], "a null": [None]}.get(change, [b"12345678"])
    kind = pa.binary() if change == "another column" else pa.large_binary()
    schema = pa.schema([pa.field("data", kind, nullable=change == "a null")])
    with pytest.raises(IntegrityError):
        read_model_batch(pa.record_batch([pa.array(column, kind)], schema=schema))


def test_the_cuts_are_the_golden_ones() -> None:
    for case in json.loads((VECTORS / "models" / "cuts.json").read_text()):
        assert list(cut(case["size"], case["header"], case["tensors"])) == case["cuts"], case["name"]


@settings(max_examples=150, deadline=None)
@given(
    st.integers(2, 5_000_000),
    st.lists(
        st.one_of(st.integers(0, 4_000), st.integers(0, 3 * GROUP_MIN), st.integers(0, 3 * MODEL_CHUNK_DATA)),
        max_size=60,
    ),
)
def test_cuts_cover_the_file_within_bounds_and_end_behind_large_tensors(header: int, tensors: list[int]) -> None:
    cuts = list(cut(header + sum(tensors), header, tensors))
    assert sum(cuts) == header + sum(tensors)
    assert all(0 < length <= MODEL_CHUNK_DATA for length in cuts)
    ends, at = set(), 0
    for length in cuts:
        at += length
        ends.add(at)
    assert header in ends
    at = header
    for tensor in tensors:
        at += tensor
        assert tensor < GROUP_MIN or at in ends
        assert tensor < MODEL_CHUNK_DATA or at - tensor in ends
    # No flood of tiny chunks: on the average a run has GROUP_MIN bytes or more.
    runs = len(cuts) - len(list(cut(header)))
    assert runs <= sum(tensors) // GROUP_MIN + 2


def test_an_inserted_tensor_moves_only_the_cuts_beside_it() -> None:
    base = [40, 900_000, 40, 900_000, 3_000_000, 12, 700_000, 300_000]
    tuned = [40, 900_000, 40, 5_000, 900_000, 3_000_000, 12, 700_000, 300_000]

    def spans(tensors: list[int]) -> set[tuple[int, ...]]:
        """Each cut as the tensors' parts that it holds, by (tensor size, offset, length)."""
        found, at, owner = set(), 0, []
        for index, size in enumerate(tensors):
            owner += [(size, tensors[:index].count(size), offset) for offset in range(0, size, 4)]
        for length in cut(sum(tensors) + 8, 8, tensors):
            if at >= 8:
                found.add((length, *owner[(at - 8) // 4][:3]))
            at += length
        return found

    assert len(spans(base) - spans(tuned)) == 1


def test_plain_files_are_cut_into_equal_runs() -> None:
    assert list(cut(0)) == []
    assert list(cut(1)) == [1]
    assert list(cut(2 * MODEL_CHUNK_DATA + 5)) == [MODEL_CHUNK_DATA, MODEL_CHUNK_DATA, 5]
    huge = cut(1 << 52)
    assert [next(huge) for _ in range(3)] == [MODEL_CHUNK_DATA] * 3
