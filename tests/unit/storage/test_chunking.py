"""Chunks are a pure function of the rows."""

from __future__ import annotations

import datetime
import decimal
import itertools
import uuid
from typing import Any

import numpy as np
import pyarrow as pa
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from gateway.errors import DataFileError
from gateway.model import limits
from gateway.storage import arrow_layout as layout
from gateway.storage.arrow_chunks import decode_chunk, encode_chunk, plain_schema, to_plain
from gateway.storage.chunking import CHUNK_ROWS_MAX, DatasetChunker

SMALL = 24 * 1024


def chunk(batches: list[Any], schema: Any, *, target: int = limits.CHUNK_TARGET) -> tuple[Any, list[Any]]:
    chunker = DatasetChunker(schema, target=target)
    chunks = [chunk for batch in batches for chunk in chunker.feed(batch)]
    chunks += chunker.flush()
    return chunker.schema, chunks


def encoded(batches: list[Any], schema: Any, *, target: int = limits.CHUNK_TARGET) -> list[bytes]:
    return [bytes(encode_chunk(each)) for each in chunk(batches, schema, target=target)[1]]


def _leaf(data_type: Any, values: st.SearchStrategy[Any]) -> st.SearchStrategy[tuple[Any, Any]]:
    return st.just((data_type, values))


_EPOCH = datetime.datetime(1970, 1, 1, tzinfo=datetime.UTC).replace(tzinfo=None)
_moments = st.datetimes(_EPOCH, _EPOCH.replace(year=2100))
_texts = st.text(max_size=12)
_leaves = st.one_of(
    _leaf(pa.null(), st.none()),
    _leaf(pa.bool_(), st.booleans()),
    _leaf(pa.int8(), st.integers(-128, 127)),
    _leaf(pa.uint64(), st.integers(0, 2**64 - 1)),
    _leaf(pa.float32(), st.floats(width=32, allow_nan=False)),
    _leaf(pa.float64(), st.floats(allow_nan=False)),
    _leaf(pa.decimal128(20, 3), st.decimals(-(10**15), 10**15, places=3, allow_nan=False)),
    _leaf(pa.decimal256(50, 3), st.decimals(-(10**15), 10**15, places=3, allow_nan=False)),
    _leaf(pa.timestamp("us"), _moments),
    _leaf(
        pa.timestamp("us", tz="Asia/Shanghai"),
        st.datetimes(_EPOCH, _EPOCH.replace(year=2100), timezones=st.just(datetime.UTC)),
    ),
    _leaf(pa.date32(), st.dates(datetime.date(1970, 1, 1))),
    _leaf(pa.time64("us"), st.times()),
    _leaf(pa.duration("us"), st.timedeltas(datetime.timedelta(0), datetime.timedelta(9000))),
    _leaf(pa.string(), _texts),
    _leaf(pa.large_string(), _texts),
    _leaf(pa.string_view(), _texts),
    _leaf(pa.binary(), st.binary(max_size=20)),
    _leaf(pa.large_binary(), st.binary(max_size=20)),
    _leaf(pa.binary_view(), st.binary(max_size=20)),
    _leaf(pa.binary(5), st.binary(min_size=5, max_size=5)),
    _leaf(pa.dictionary(pa.int8(), pa.string()), st.sampled_from(["a", "bb", "a long value " * 9])),
    _leaf(pa.dictionary(pa.int32(), pa.int64()), st.integers(0, 9)),
    _leaf(pa.dictionary(pa.int16(), pa.string(), ordered=True), st.sampled_from(["low", "high"])),
    _leaf(pa.uuid(), st.uuids().map(lambda u: u.bytes)),
)


def _nested(inner: st.SearchStrategy[tuple[Any, Any]]) -> st.SearchStrategy[tuple[Any, Any]]:
    def optional(values: st.SearchStrategy[Any]) -> st.SearchStrategy[Any]:
        return st.none() | values

    def wrap(pair: tuple[Any, Any]) -> st.SearchStrategy[tuple[Any, Any]]:
        data_type, values = pair
        members = st.fixed_dictionaries({"x": optional(values), "y": optional(st.integers(0, 9))})
        return st.sampled_from(
            [
                (pa.list_(data_type), st.lists(optional(values), max_size=3)),
                (pa.large_list(data_type), st.lists(optional(values), max_size=3)),
                (pa.list_(data_type, 2), st.lists(optional(values), min_size=2, max_size=2)),
                (pa.struct([("x", data_type), ("y", pa.int64())]), members),
                (
                    pa.map_(pa.string(), data_type),
                    st.dictionaries(_texts, optional(values), max_size=3).map(lambda d: list(d.items())),
                ),
            ]
        )

    return inner.flatmap(wrap)


# Extension and dictionary values are built at the top level or in pyarrow's own nested converter.
_pairs = (
    st.recursive(_leaves.filter(lambda p: not isinstance(p[0], pa.BaseExtensionType)), _nested, max_leaves=3) | _leaves
)


def _array(values: list[Any], data_type: Any) -> Any:
    if isinstance(data_type, pa.BaseExtensionType):
        return pa.ExtensionArray.from_storage(data_type, pa.array(values, data_type.storage_type))
    return pa.array(values, data_type)


@st.composite
def tables(draw: st.DrawFn) -> Any:
    rows = draw(st.integers(0, 40))
    columns = {}
    for i in range(draw(st.integers(1, 4))):
        data_type, values = draw(_pairs)
        cells = draw(st.lists(st.none() | values, min_size=rows, max_size=rows))
        columns[f"c{i}"] = _array(cells, data_type)
    batch = pa.record_batch(columns)
    repeated = draw(st.sampled_from([1, 1, 60]))
    return pa.Table.from_batches([batch] * repeated).combine_chunks()


@settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck))
@given(table=tables(), data=st.data())
def test_the_same_rows_make_the_same_chunks_and_come_back(table: Any, data: st.DataObject) -> None:
    whole = table.to_batches()
    cuts = sorted(data.draw(st.lists(st.integers(0, table.num_rows), max_size=6)))
    edges = [0, *cuts, table.num_rows]
    # Offsets, and copies without: both must give the same chunks.
    pieces = [b for lo, hi in itertools.pairwise(edges) for b in table.slice(lo, hi - lo).to_batches()]
    copies = [pa.RecordBatch.from_arrays([pa.concat_arrays([c]) for c in b.columns], schema=b.schema) for b in pieces]
    one = encoded(whole, table.schema, target=SMALL)
    assert encoded(pieces, table.schema, target=SMALL) == one
    assert encoded(copies, table.schema, target=SMALL) == one

    schema, chunks = chunk(whole, table.schema, target=SMALL)
    back = [decode_chunk(schema, data) for data in one]
    assert [b.num_rows for b in back] == [c.num_rows for c in chunks]
    wanted = table.to_pylist()
    assert [row for b in back for row in b.to_pylist()] == wanted
    plain = plain_schema(schema)
    assert [row for data in one for row in decode_chunk(plain, to_plain(schema, data)).to_pylist()] == wanted
    for each in chunks[:-1]:
        assert len(encode_chunk(each)) <= SMALL + 16 * 1024 or each.num_rows == 1


def test_a_full_chunk_is_close_to_the_target(numbers: Any) -> None:
    table = numbers(200_000)
    sizes = [len(data) for data in encoded(table.to_batches(), table.schema)]
    assert all(0.95 * limits.CHUNK_TARGET < size <= limits.CHUNK_TARGET for size in sizes[:-1])


def test_the_stream_s_batch_sizes_do_not_show_at_full_size() -> None:
    random = np.random.default_rng(3)
    count = 120_000
    table = pa.table(
        {
            "number": pa.array(random.random(count), mask=random.random(count) < 0.2),
            "text": pa.array(["x" * int(k) for k in random.integers(0, 60, count)]),
            "few": pa.array([f"carrier {k}" for k in random.integers(0, 20, count)]).dictionary_encode(),
            "all": pa.array([f"id {k}" for k in range(count)]).dictionary_encode(),
        }
    )
    one = encoded(table.combine_chunks().to_batches(), table.schema)
    assert len(one) > 3
    for rows in (997, 20_000):
        assert encoded(table.to_batches(max_chunksize=rows), table.schema) == one


def test_a_dictionary_stays_where_it_is_smaller_and_is_decoded_where_it_is_not() -> None:
    count = 50_000
    table = pa.table(
        {
            "few": pa.array([f"carrier {k % 9}" for k in range(count)]).dictionary_encode(),
            "all": pa.array([f"id {k}" for k in range(count)]).dictionary_encode(),
        }
    )
    schema, _ = chunk(table.to_batches(), table.schema)
    assert pa.types.is_dictionary(schema.field("few").type)
    assert schema.field("all").type == pa.string()


def test_dictionaries_hold_only_what_the_chunk_uses() -> None:
    values = pa.array(["used", "a secret nobody uses"] + [f"value {i}" for i in range(50)])
    column = pa.DictionaryArray.from_arrays(pa.array([0, 5, 5, 0] * 500, pa.int32()), values)
    _, (only,) = chunk([pa.record_batch({"d": column})], pa.schema([("d", column.type)]))
    assert only.column(0).dictionary.to_pylist() == ["used", "value 3"]
    assert b"secret" not in bytes(encode_chunk(only))


def test_dictionaries_that_change_from_batch_to_batch_never_overflow_their_index_type() -> None:
    kind = pa.dictionary(pa.int8(), pa.string())
    batches = [
        pa.record_batch({"d": pa.array([f"{'v' * 40}{n}-{i}" for i in range(100)] * 30, kind)}) for n in range(8)
    ]
    schema, chunks = chunk(batches, batches[0].schema)
    assert schema.field("d").type == kind
    assert all(len(c.column(0).dictionary) <= 128 for c in chunks)
    assert pa.Table.from_batches(chunks).to_pylist() == pa.Table.from_batches(batches).to_pylist()


def test_what_lies_under_nulls_and_beyond_slices_is_not_in_the_chunk() -> None:
    hidden = pa.array(["open", "SECRET-TEXT", "open"])
    masked = pa.Array.from_buffers(pa.string(), 3, [pa.py_buffer(b"\x05"), *hidden.buffers()[1:]])
    number = pa.Array.from_buffers(
        pa.int64(), 3, [pa.py_buffer(b"\x05"), pa.py_buffer(np.array([1, 0x5EC2E7, 3]).tobytes())]
    )
    inner = pa.array([["open"], ["SECRET-LIST"], ["open"]])
    lists = pa.Array.from_buffers(inner.type, 3, [pa.py_buffer(b"\x05"), inner.buffers()[1]], children=[inner.values])
    members = pa.StructArray.from_arrays([hidden, pa.array([1, 0x5EC2E7, 3])], names=["s", "n"])
    struct = pa.Array.from_buffers(
        members.type, 3, [pa.py_buffer(b"\x05")], children=[members.field(0), members.field(1)]
    )
    dirty = pa.record_batch({"t": masked, "n": number, "l": lists, "s": struct})
    clean = pa.RecordBatch.from_pylist(dirty.to_pylist(), schema=dirty.schema)
    (found,) = encoded([dirty], dirty.schema)
    assert b"SECRET" not in found
    assert (0x5EC2E7).to_bytes(8, "little") not in found
    assert [found] == encoded([clean], clean.schema)
    wide = pa.record_batch({"t": pa.array(["SECRET-BEFORE", "x", "SECRET-AFTER"])})
    assert b"SECRET" not in encoded([wide.slice(1, 1)], wide.schema)[0]


def test_a_file_s_private_metadata_is_not_stored() -> None:
    schema = pa.schema(
        [pa.field("a", pa.int64(), metadata={"PARQUET:field_id": "7"})], metadata={"path": "/home/someone"}
    )
    stored, _ = chunk([pa.record_batch([pa.array([1])], schema=schema)], schema)
    assert stored.metadata is None
    assert stored.field(0).metadata is None


def test_a_row_beyond_the_maximum_is_refused_by_its_number() -> None:
    table = pa.table({"b": pa.array([b"x", b"y" * (limits.CHUNK_MAX + 1), b"z"], pa.large_binary())})
    with pytest.raises(DataFileError, match="row 2 needs more than"):
        chunk(table.to_batches(), table.schema)


def test_a_row_between_target_and_maximum_is_a_chunk_of_its_own() -> None:
    table = pa.table({"b": pa.array([b"x", b"y" * (3 * limits.MIB), b"z"], pa.large_binary())})
    _, chunks = chunk(table.to_batches(), table.schema)
    assert [c.num_rows for c in chunks] == [1, 1, 1]


def test_a_chunk_that_decodes_large_is_cut_so_that_its_plain_form_fits_a_frame() -> None:
    table = pa.table({"d": pa.array(["v" * 10_000, "w" * 10_000] * 2_000).dictionary_encode()})
    schema, chunks = chunk(table.to_batches(), table.schema)
    assert len(chunks) > 5
    assert all(len(to_plain(schema, encode_chunk(c))) <= limits.CHUNK_MAX for c in chunks)


def test_columns_without_bytes_still_end_their_chunks() -> None:
    table = pa.table({"n": pa.nulls(CHUNK_ROWS_MAX + 5)})
    _, chunks = chunk(table.to_batches(), table.schema)
    assert [c.num_rows for c in chunks] == [CHUNK_ROWS_MAX, 5]


def test_a_null_in_a_column_declared_never_null_is_refused() -> None:
    schema = pa.schema([pa.field("a", pa.int64(), nullable=False)])
    batch = pa.RecordBatch.from_arrays([pa.array([1, None])], schema=schema)
    with pytest.raises(DataFileError, match="'a' is declared never null"):
        chunk([batch], schema)


@pytest.mark.parametrize(
    ("schema", "said"),
    [
        (pa.schema([]), "no columns"),
        (pa.schema([("a", pa.int8()), ("a", pa.int8())]), "stands twice"),
        (pa.schema([("u", pa.dense_union([pa.field("x", pa.int8())]))]), "'u': type dense_union"),
        (pa.schema([(f"c{i}", pa.int8()) for i in range(limits.COLUMNS_MAX + 1)]), "4097 columns"),
    ],
)
def test_schemas_that_cannot_be_stored_are_refused_with_a_remedy(schema: Any, said: str) -> None:
    with pytest.raises(DataFileError, match=said) as caught:
        DatasetChunker(schema)
    assert caught.value.remedy


def test_run_ends_and_views_are_stored_plain() -> None:
    ends = pa.RunEndEncodedArray.from_arrays(pa.array([2, 5], pa.int32()), pa.array(["a", "b"]))
    batch = pa.record_batch({"r": ends, "v": pa.array(["x"] * 5, pa.string_view())})
    schema, (only,) = chunk([batch], batch.schema)
    assert schema.types == [pa.string(), pa.string()]
    assert only.column(0).to_pylist() == ["a", "a", "b", "b", "b"]


def test_an_empty_dataset_has_a_schema_and_no_chunks() -> None:
    schema, chunks = chunk([], pa.schema([("a", pa.int64())]))
    assert chunks == []
    assert schema.names == ["a"]


def test_extension_values_keep_their_type() -> None:
    storage = pa.array([uuid.UUID(int=i).bytes for i in range(3)], pa.binary(16))
    batch = pa.record_batch({"u": pa.ExtensionArray.from_storage(pa.uuid(), storage)})
    schema, (only,) = chunk([batch], batch.schema)
    assert decode_chunk(schema, encode_chunk(only)).schema.field(0).type == pa.uuid()


def test_decimals_of_every_width_survive() -> None:
    types = [pa.decimal32(5, 2), pa.decimal64(10, 2), pa.decimal128(20, 2), pa.decimal256(40, 2)]
    batch = pa.record_batch({str(t): pa.array([decimal.Decimal("1.25"), None], t) for t in types})
    schema, (only,) = chunk([batch], batch.schema)
    assert decode_chunk(schema, encode_chunk(only)).equals(batch)
    assert layout.is_stored(pa.decimal32(5, 2))
