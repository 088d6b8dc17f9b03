"""Where chunks end: a pure function of the rows, whatever batches they came in.

A chunk is the longest run of rows whose Arrow IPC form stays within ``limits.CHUNK_TARGET`` and whose plain form
(no dictionaries, no compression) stays within ``limits.CHUNK_MAX``, so that each chunk can also be sent plain in
one frame. A row beyond the target is a chunk of its own; beyond the maximum it is refused by its number.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any, Final

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from gateway.errors import DataFileError
from gateway.model import limits
from gateway.storage import arrow_layout as layout

Sizes = npt.NDArray[np.int64]

CHUNK_ROWS_MAX: Final = 1 << 20  # bounds chunks of columns that take no bytes
_WINDOW_ROWS_MIN: Final = 256
_WINDOW_ROWS_MAX: Final = 1 << 16
# Per field node, per buffer (its struct, padding and compression's length), per message: upper bounds.
_NODE_BITS: Final = 16 * 8
_BUFFER_BITS: Final = (16 + 8 + 8) * 8
_MESSAGE_BITS: Final = 512 * 8


def layout_counts(data_type: Any) -> tuple[int, int]:
    """(field nodes, buffers) that one column of a stored type has in a record batch."""
    if isinstance(data_type, pa.BaseExtensionType):
        return layout_counts(data_type.storage_type)
    if types.is_null(data_type):
        return 1, 0
    if layout.is_variable(data_type):
        return 1, 3
    if types.is_map(data_type):
        children, own = [pa.struct([data_type.key_field, data_type.item_field])], 2
    elif types.is_list(data_type) or types.is_large_list(data_type):
        children, own = [data_type.value_type], 2
    elif types.is_fixed_size_list(data_type):
        children, own = [data_type.value_type], 1
    elif types.is_struct(data_type):
        children, own = [data_type.field(i).type for i in range(data_type.num_fields)], 1
    else:
        return 1, 2
    counts = [layout_counts(child) for child in children]
    return 1 + sum(nodes for nodes, _ in counts), own + sum(buffers for _, buffers in counts)


def value_bits(array: Any, *, nullable: bool, live: layout.Mask | None = None) -> Sizes | int:
    """Bits that each slot takes in canonical form: one number where all take the same."""
    data_type = array.type
    if types.is_null(data_type):
        return 0
    if isinstance(data_type, pa.BaseExtensionType):
        return value_bits(array.storage, nullable=nullable, live=live)
    own = int(nullable)
    if types.is_boolean(data_type):
        return own + 1
    if types.is_struct(data_type):
        total: Sizes | int = own
        inner = layout.valid_slots(array, live)
        for i in range(data_type.num_fields):
            total = total + value_bits(array.field(i), nullable=data_type.field(i).nullable, live=inner)
        return total
    if types.is_fixed_size_list(data_type):
        size: int = data_type.list_size
        inner = layout.valid_slots(array, live)
        child = array.values.slice(array.offset * size, len(array) * size)
        bits = value_bits(
            child,
            nullable=data_type.value_field.nullable,
            live=None if inner is None else np.repeat(inner, size),
        )
        if isinstance(bits, int):
            return own + bits * size
        summed: Sizes = bits.reshape(len(array), size).sum(axis=1)
        return summed + own
    if layout.is_variable(data_type) or layout.is_list(data_type):
        return _offset_bits(array, own, live)
    width: int = data_type.bit_width
    return own + width


def _offset_bits(array: Any, own: int, live: layout.Mask | None) -> Sizes:
    offsets = layout.list_offsets(array)
    own += 64 if layout.is_wide(array.type) else 32
    if layout.is_variable(array.type):
        bits = np.diff(offsets) * 8
    else:
        entries = layout.list_entries(array).slice(int(offsets[0]), int(offsets[-1] - offsets[0]))
        nullable = not types.is_map(array.type) and array.type.value_field.nullable
        each = value_bits(entries, nullable=nullable)
        if isinstance(each, int):
            bits = np.diff(offsets) * each
        else:
            running = np.concatenate((np.zeros(1, dtype=np.int64), np.cumsum(each)))
            bits = np.diff(running[offsets - offsets[0]])
    valid = layout.valid_slots(array, live)
    if valid is not None:
        bits = np.where(valid, bits, 0)
    return np.asarray(bits + own, dtype=np.int64)


class Chunker:
    """Cuts batches of one stored schema into chunks.

    Args:
        schema: the stored schema (``arrow_layout.stored_schema``).
        target: bytes of Arrow IPC that a chunk is filled to.
    """

    def __init__(self, schema: Any, *, target: int = limits.CHUNK_TARGET) -> None:
        self._target_bits = target * 8
        self._schema = schema
        self._encoded = [i for i, field in enumerate(schema) if types.is_dictionary(field.type)]
        plain = [f.type.value_type if types.is_dictionary(f.type) else f.type for f in schema]
        counts = [layout_counts(data_type) for data_type in plain]
        nodes, buffers = sum(n for n, _ in counts), sum(b for _, b in counts)
        self._overhead = _MESSAGE_BITS + nodes * _NODE_BITS + buffers * _BUFFER_BITS
        self._overhead += len(self._encoded) * (_MESSAGE_BITS + _NODE_BITS + 3 * _BUFFER_BITS)
        if self._overhead > limits.CHUNK_TARGET * 4:  # half the target, in bits
            raise DataFileError(f"{nodes} columns and nested columns are too many", remedy="split the table")
        self._capacity = {i: np.iinfo(schema.field(i).type.index_type.to_pandas_dtype()).max for i in self._encoded}
        self._pieces: list[Any] = []
        self._rows_before = 0
        self._window = _WINDOW_ROWS_MAX
        self._clear()

    def _clear(self) -> None:
        self._pieces = []
        self._rows = 0
        self._bits = self._overhead
        self._plain_bits = self._overhead
        self._known: dict[int, Any] = {}

    def feed(self, batch: Any) -> Iterator[Any]:
        """Take rows; yield each chunk that they complete, as a canonical RecordBatch."""
        position = 0
        while position < batch.num_rows:
            window = batch.slice(position, min(self._window, CHUNK_ROWS_MAX - self._rows))
            taken = self._take(window)
            position += taken
            full = taken < window.num_rows or self._rows == CHUNK_ROWS_MAX
            if full:
                self._window = min(max(self._rows, _WINDOW_ROWS_MIN), _WINDOW_ROWS_MAX)
                yield self._emit()

    def flush(self) -> Iterator[Any]:
        """Yield the rest, if any."""
        if self._rows:
            yield self._emit()

    def _take(self, window: Any) -> int:
        columns = [
            layout.compact_dictionary(column) if i in self._capacity else column
            for i, column in enumerate(window.columns)
        ]
        bits, plain_bits, fitting = self._sizes(columns, window.num_rows)
        fits = min(
            int(np.searchsorted(bits, self._target_bits - self._bits, side="right")),
            int(np.searchsorted(plain_bits, limits.CHUNK_MAX * 8 - self._plain_bits, side="right")),
            fitting,
        )
        if fits == 0 and self._rows == 0:
            if max(bits[0], plain_bits[0]) + self._overhead > limits.CHUNK_MAX * 8:
                raise oversize_row(self._rows_before + 1)
            fits = 1
        if fits == 0:
            return 0
        pieces = [column.slice(0, fits) for column in columns]
        for i in self._encoded:
            codes = pieces[i].indices
            used = (codes.drop_null().to_numpy().max() + 1) if len(codes) > codes.null_count else 0
            values = pieces[i].dictionary.slice(0, int(used))
            known = self._known.get(i)
            self._known[i] = values if known is None else pa.concat_arrays([known, values]).unique()
        self._pieces.append(pieces)
        self._rows += fits
        self._bits += int(bits[fits - 1])
        self._plain_bits += int(plain_bits[fits - 1])
        return fits

    def _sizes(self, columns: list[Any], rows: int) -> tuple[Sizes, Sizes, int]:
        """Running bits, running plain bits, and how many rows the index types can number."""
        both: Sizes | int = 0
        encoded: Sizes | int = 0
        plain: Sizes | int = 0
        fitting = rows
        for i, column in enumerate(columns):
            nullable = self._schema.field(i).nullable
            if i not in self._capacity:
                both = both + value_bits(column, nullable=nullable)
                continue
            values = np.broadcast_to(value_bits(column.dictionary, nullable=False), len(column.dictionary))
            known = self._known.get(i)
            codes = column.indices.fill_null(-1).to_numpy()
            # Codes are numbered by first appearance, so a new maximum is a value's first row.
            highest = np.maximum.accumulate(codes)
            first = np.flatnonzero(np.diff(highest, prepend=-1) > 0)
            if known is not None:
                import pyarrow.compute as pc  # makes 300 functions when imported, which most commands never call

                fresh = ~pc.is_in(column.dictionary, value_set=known).to_numpy(zero_copy_only=False)
                first = first[fresh[: len(first)]]
            new_values = np.zeros(rows, dtype=np.int64)
            new_values[first] = values[codes[first]]
            encoded = encoded + new_values + self._schema.field(i).type.index_type.bit_width + int(nullable)
            padded = np.append(values, 64)  # a null row: an empty value behind an offset, at most
            plain = plain + padded[codes] + int(nullable)
            room = self._capacity[i] + 1 - (0 if known is None else len(known))
            if len(first) > room:
                fitting = min(fitting, int(first[room]))
        return _running(encoded + both, rows), _running(plain + both, rows), fitting

    def _emit(self) -> Any:
        arrays = []
        for i, field in enumerate(self._schema):
            parts = [piece[i] for piece in self._pieces]
            whole = parts[0] if len(parts) == 1 else pa.concat_arrays(parts)
            if i in self._capacity:
                if whole.null_count and not field.nullable:
                    layout.refuse_nulls(field.name)
                arrays.append(layout.with_index_type(whole, field.type))
            else:
                arrays.append(layout.canonical(whole, nullable=field.nullable, name=field.name))
        batch = pa.RecordBatch.from_arrays(arrays, schema=self._schema)
        self._rows_before += self._rows
        self._clear()
        return batch


def _running(bits: Sizes | int, rows: int) -> Sizes:
    if isinstance(bits, int):
        return np.arange(1, rows + 1, dtype=np.int64) * bits
    return np.cumsum(bits)


def oversize_row(row: int) -> DataFileError:
    """The refusal of a row that no chunk can hold; rows count from 1."""
    return DataFileError(
        f"row {row} needs more than {limits.CHUNK_MAX} bytes", remedy="shorten or split the row's values"
    )


class DatasetChunker:
    """Chunks a dataset from its source schema; the first chunk decides which dictionaries stay.

    Args:
        source: the source's schema.
        target: bytes of Arrow IPC that a chunk is filled to.

    Raises:
        DataFileError: the schema cannot be stored.
    """

    def __init__(self, source: Any, *, target: int = limits.CHUNK_TARGET) -> None:
        self._source = source
        self._target = target
        self._candidates = layout.stored_schema(source)
        self._waiting: list[Any] = []
        self._probe: Chunker | None = Chunker(self._candidates, target=target)
        self._chunker: Chunker | None = None
        self._schema: Any = None

    @property
    def schema(self) -> Any:
        """The stored schema; known once the first chunk or ``flush`` came out."""
        return self._schema

    def feed(self, batch: Any) -> Iterator[Any]:
        """Take rows of the source; yield canonical chunks.

        Raises:
            DataFileError: another schema, a null where none may be, a row too large.
        """
        if not batch.schema.equals(self._source):
            raise DataFileError("a batch has another schema than the first", remedy="write the file with one schema")
        if self._chunker is not None:
            yield from self._chunker.feed(self._stored(batch, self._schema))
            return
        if self._probe is not None:
            self._waiting.append(batch)
            for first in self._probe.feed(self._stored(batch, self._candidates)):
                yield from self._decide(first)
                return

    def flush(self) -> Iterator[Any]:
        """Yield the rest; afterwards ``schema`` is known also where there were no rows."""
        if self._chunker is None and self._probe is not None:
            first = next(self._probe.flush(), None)
            yield from self._decide(first)
        if self._chunker is not None:
            yield from self._chunker.flush()

    def _decide(self, first: Any) -> Iterator[Any]:
        keep = set()
        for i, field in enumerate(self._candidates):
            if types.is_dictionary(field.type) and first is not None:
                column = first.column(i)
                index_bits = field.type.index_type.bit_width * len(column)
                values = _running(value_bits(column.dictionary, nullable=False), len(column.dictionary))
                plain = _running(value_bits(column.dictionary_decode(), nullable=False), len(column))
                if index_bits + (int(values[-1]) if len(values) else 0) + _MESSAGE_BITS < int(plain[-1]):
                    keep.add(field.name)
        self._schema = layout.stored_schema(self._source, frozenset(keep))
        self._chunker = Chunker(self._schema, target=self._target)
        self._probe = None
        waiting, self._waiting = self._waiting, []
        for batch in waiting:
            yield from self._chunker.feed(self._stored(batch, self._schema))

    @staticmethod
    def _stored(batch: Any, schema: Any) -> Any:
        columns = []
        for column, field in zip(batch.columns, schema, strict=True):
            try:
                columns.append(layout.to_stored(column, field.type))
            except DataFileError as error:
                raise DataFileError(f"column {field.name!r}: {error.message}", remedy=error.remedy) from error
        return pa.RecordBatch.from_arrays(columns, schema=schema)
