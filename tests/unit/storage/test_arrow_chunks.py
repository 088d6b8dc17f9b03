"""The codec: valid Arrow streams, compression where it gains, plain form, golden vectors."""

from __future__ import annotations

import hashlib
import importlib.util
import json
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pytest

from gateway.errors import DataFileError
from gateway.model import limits
from gateway.model.dataset import DatasetManifest
from gateway.storage.arrow_chunks import (
    END_OF_STREAM,
    choose_codec,
    decode_chunk,
    encode_chunk,
    plain_schema,
    schema_message,
    split_messages,
    to_plain,
)
from gateway.storage.chunking import DatasetChunker
from gateway.storage.ipc_frames import read_batch_header

VECTORS = Path(__file__).parents[2] / "vectors" / "chunks"


def chunks_of(table: pa.Table) -> tuple[Any, list[Any]]:
    chunker = DatasetChunker(table.schema)
    chunks = [chunk for batch in table.to_batches() for chunk in chunker.feed(batch)]
    chunks += chunker.flush()
    return chunker.schema, chunks


def mixed(rows: int = 200_000) -> pa.Table:
    random = np.random.default_rng(5)
    return pa.table(
        {
            "n": random.integers(0, 5, rows),
            "t": [f"text {i % 100}" for i in range(rows)],
            "d": pa.array([f"carrier {i % 7}" for i in range(rows)]).dictionary_encode(),
        }
    )


@pytest.mark.parametrize("codec", ["none", "lz4", "zstd"])
def test_schema_message_chunks_and_end_marker_are_an_arrow_stream(codec: Any) -> None:
    table = mixed()
    schema, chunks = chunks_of(table)
    files = [bytes(encode_chunk(chunk, codec)) for chunk in chunks]
    assert len(files) > 1
    stream = ipc.open_stream(schema_message(schema) + b"".join(files) + END_OF_STREAM)
    assert stream.schema.equals(schema)
    assert stream.read_all().to_pylist() == table.to_pylist()
    # Each can be read alone, the last one first.
    for chunk, data in zip(reversed(chunks), reversed(files), strict=True):
        assert decode_chunk(schema, data).equals(chunk)


def test_the_codec_is_chosen_by_the_first_chunk_s_sizes() -> None:
    random = np.random.default_rng(5)
    _, noise = chunks_of(pa.table({"a": random.random(100_000)}))
    assert choose_codec(noise[0]) == "none"
    _, texts = chunks_of(mixed())
    assert choose_codec(texts[0]) in ("lz4", "zstd")
    _, zeros = chunks_of(pa.table({"a": np.zeros(100_000)}))
    assert choose_codec(zeros[0]) in ("lz4", "zstd")


def test_the_plain_form_has_no_dictionaries_and_no_compression() -> None:
    schema, chunks = chunks_of(mixed())
    assert pa.types.is_dictionary(schema.field("d").type)
    data = encode_chunk(chunks[0], "zstd")
    plain = to_plain(schema, data)
    ((metadata, _),) = split_messages(plain)
    assert not read_batch_header(metadata).compressed
    back = decode_chunk(plain_schema(schema), plain)
    assert back.to_pylist() == chunks[0].to_pylist()
    assert back.schema.field("d").type == pa.string()


def test_a_chunk_that_is_plain_already_is_sent_as_it_lies() -> None:
    schema, chunks = chunks_of(pa.table({"a": np.arange(1000)}))
    data = encode_chunk(chunks[0])
    assert to_plain(schema, data).obj is data.obj


def test_a_chunk_larger_than_the_maximum_is_not_encoded() -> None:
    with pytest.raises(DataFileError, match=str(limits.CHUNK_MAX)):
        encode_chunk(pa.record_batch({"a": np.random.default_rng(1).random(600_000)}))


def test_the_vectors_are_what_their_generator_writes_today(tmp_path: Path) -> None:
    spec = importlib.util.spec_from_file_location("generate_chunks", VECTORS / "generate.py")
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    module.generate(tmp_path)
    committed = {p.name: p.read_bytes() for p in VECTORS.iterdir() if p.suffix in (".json", ".chunk", ".schema")}
    assert {p.name: p.read_bytes() for p in tmp_path.iterdir()} == committed


@pytest.mark.parametrize("name", ["mixed", "model", "empty"])
def test_a_vector_reads_as_an_arrow_stream_and_its_digests_hold(name: str) -> None:
    vector = json.loads((VECTORS / "vectors.json").read_text())[name]
    files = [(VECTORS / f"{name}.{i}.chunk").read_bytes() for i in range(len(vector["chunks"]))]
    assert [hashlib.sha256(data).hexdigest() for data in files] == vector["chunks"]
    stream = ipc.open_stream((VECTORS / f"{name}.schema").read_bytes() + b"".join(files) + END_OF_STREAM)
    assert [batch.num_rows for batch in stream] == vector["rows"]
    manifest = DatasetManifest.parse(vector["manifest"].encode())
    assert manifest.version == hashlib.sha256(vector["manifest"].encode()).hexdigest() == vector["version"]


def test_a_model_s_chunk_is_one_row_without_validity_uncompressed() -> None:
    data = (VECTORS / "model.0.chunk").read_bytes()
    ((metadata, body),) = split_messages(data)
    header = read_batch_header(metadata)
    assert (header.rows, header.nodes, header.compressed) == (1, 1, False)
    validity, offsets, values = header.buffers.tolist()
    assert validity[1] == 0
    assert bytes(body[offsets[0] : offsets[0] + offsets[1]]) == (0).to_bytes(8, "little") + (1024).to_bytes(8, "little")
    assert bytes(body[values[0] : values[0] + values[1]]) == bytes(range(256)) * 4
