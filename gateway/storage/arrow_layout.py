"""One physical form for equal rows: the stored schema, and arrays without hidden bytes.

The same rows can lie in memory in many ways: slices with offsets, values under null slots, bits past the end,
dictionaries in any order. Digests need one form. It also keeps what is not data from crossing a border: a value
under a null, a dictionary entry no row uses and a file's private metadata are not part of the dataset.
"""

from __future__ import annotations

from typing import Any, Final, NoReturn

import numpy as np
import numpy.typing as npt
import pyarrow as pa
from pyarrow import types

from gateway.errors import DataFileError
from gateway.model import limits

Mask = npt.NDArray[np.bool_]

NESTING_MAX: Final = 16
_EXTENSION_KEYS: Final = (b"ARROW:extension:name", b"ARROW:extension:metadata")


def keeps_dictionary(data_type: Any) -> bool:
    """Whether a top-level column of this type may stay dictionary-encoded.

    An ordered dictionary may not: its order includes values that a chunk does not use.
    """
    if not types.is_dictionary(data_type) or data_type.ordered:
        return False
    value = data_type.value_type
    return is_variable(value) or (types.is_primitive(value) and not types.is_boolean(value))


def is_variable(data_type: Any) -> bool:
    """Whether values are runs of bytes behind an offset."""
    return bool(
        types.is_string(data_type)
        or types.is_binary(data_type)
        or types.is_large_string(data_type)
        or types.is_large_binary(data_type)
    )


def is_wide(data_type: Any) -> bool:
    """Whether the offsets are 64 bits wide."""
    return bool(types.is_large_list(data_type) or types.is_large_string(data_type) or types.is_large_binary(data_type))


def is_list(data_type: Any) -> bool:
    """Whether the type is a list with offsets (maps included)."""
    return bool(types.is_list(data_type) or types.is_large_list(data_type) or types.is_map(data_type))


def stored_type(data_type: Any, *, depth: int = 0) -> Any:
    """The type in which values are stored: views, run ends and nested dictionaries become plain.

    Raises:
        DataFileError: a type that chunks do not carry (unions, too deep, an extension over an encoded type).
    """
    if depth > NESTING_MAX:
        raise DataFileError(f"types are nested deeper than {NESTING_MAX}", remedy="flatten the column")

    def plain(field: Any) -> Any:
        return _plain_field(field, stored_type(field.type, depth=depth + 1))

    if types.is_union(data_type):
        raise DataFileError(f"type {data_type} cannot be published", remedy="split the union into one column each")
    if isinstance(data_type, pa.BaseExtensionType):
        if stored_type(data_type.storage_type, depth=depth + 1) != data_type.storage_type:
            raise DataFileError(f"type {data_type} has an encoded storage", remedy="cast the column to a plain type")
        return data_type
    if types.is_dictionary(data_type) or types.is_run_end_encoded(data_type):
        return stored_type(data_type.value_type, depth=depth + 1)
    if types.is_string_view(data_type):
        return pa.string()
    if types.is_binary_view(data_type):
        return pa.binary()
    if types.is_map(data_type):
        return pa.map_(plain(data_type.key_field), plain(data_type.item_field), keys_sorted=data_type.keys_sorted)
    if types.is_large_list(data_type) or types.is_large_list_view(data_type):
        return pa.large_list(plain(data_type.value_field))
    if types.is_fixed_size_list(data_type):
        return pa.list_(plain(data_type.value_field), data_type.list_size)
    if types.is_list(data_type) or types.is_list_view(data_type):
        return pa.list_(plain(data_type.value_field))
    if types.is_struct(data_type):
        return pa.struct([plain(data_type.field(i)) for i in range(data_type.num_fields)])
    return data_type


def is_stored(data_type: Any) -> bool:
    """Whether chunks may hold this type as it stands."""
    try:
        return bool(stored_type(data_type) == data_type)
    except DataFileError:
        return False


def _plain_field(field: Any, data_type: Any) -> Any:
    kept = {key: value for key, value in (field.metadata or {}).items() if key in _EXTENSION_KEYS}
    return pa.field(field.name, data_type, nullable=field.nullable, metadata=kept or None)


def stored_schema(schema: Any, keep: frozenset[str] | None = None) -> Any:
    """The schema in which a dataset is stored.

    Args:
        schema: the source's schema.
        keep: the dictionary columns that stay encoded; None keeps each that may.

    Raises:
        DataFileError: no columns, too many, a name twice, or a type that cannot be stored.
    """
    if not len(schema):
        raise DataFileError("the data has no columns", remedy="publish a table with at least one column")
    if len(schema) > limits.COLUMNS_MAX:
        raise DataFileError(f"{len(schema)} columns; the limit is {limits.COLUMNS_MAX}", remedy="split the table")
    fields = []
    names: set[str] = set()
    for field in schema:
        if field.name in names:
            raise DataFileError(f"column {field.name!r} stands twice", remedy="rename one of the two")
        names.add(field.name)
        stays = keeps_dictionary(field.type) and (keep is None or field.name in keep)
        try:
            fields.append(_plain_field(field, field.type if stays else stored_type(field.type)))
        except DataFileError as error:
            raise DataFileError(f"column {field.name!r}: {error.message}", remedy=error.remedy) from error
    return pa.schema(fields)


def to_stored(array: Any, data_type: Any) -> Any:
    """Convert a source's array to its stored type.

    Raises:
        DataFileError: pyarrow cannot convert it.
    """
    if array.type == data_type:
        return array
    try:
        if types.is_run_end_encoded(array.type):
            import pyarrow.compute as pc  # see `compact_dictionary`

            array = pc.run_end_decode(array)
        return array if array.type == data_type else array.cast(data_type)
    except (pa.ArrowInvalid, pa.ArrowNotImplementedError) as error:
        raise DataFileError(
            f"type {array.type} cannot be stored: {error}", remedy="cast the column to a plain type"
        ) from error


def compact_dictionary(array: Any) -> Any:
    """Dictionary-encode anew: int32 codes numbered by first appearance, only values in use, no null value."""
    import pyarrow.compute as pc  # makes 300 functions when imported, which most commands never call

    codes = array.indices.dictionary_encode()
    values = array.dictionary.take(codes.dictionary)
    if values.null_count or pc.count_distinct(values).as_py() != len(values):
        # Two codes for one value, or a null as a value: number the values themselves.
        decoded = array.dictionary_decode()
        return decoded.dictionary_encode()
    return pa.DictionaryArray.from_arrays(codes.indices, values)


def with_index_type(array: Any, data_type: Any) -> Any:
    """A canonical dictionary array with the schema's index type."""
    array = compact_dictionary(array)
    indices = canonical(array.indices.cast(data_type.index_type))
    values = canonical(array.dictionary)
    return pa.DictionaryArray.from_arrays(indices, values)


def valid_slots(array: Any, live: Mask | None = None) -> Mask | None:
    """Which slots hold a value and belong to a valid parent; None where all do."""
    own = None if array.null_count == 0 else array.is_valid().to_numpy(zero_copy_only=False)
    both = live if own is None else own if live is None else own & live
    return None if both is None or bool(both.all()) else both


def refuse_nulls(name: str) -> NoReturn:
    """Refuse a null in a field that is declared never to be null."""
    raise DataFileError(
        f"column {name!r} is declared never null but holds nulls", remedy="declare it nullable or fill it"
    )


def _bits(mask: Mask) -> Any:
    return pa.py_buffer(np.packbits(mask, bitorder="little").tobytes())


def list_offsets(array: Any) -> npt.NDArray[np.int64]:
    """The offsets of a list, map or variable-width array, without the slice's own offset."""
    width = np.dtype("<i8") if is_wide(array.type) else np.dtype("<i4")
    buffer = array.buffers()[1]
    if buffer is None or not len(array):
        return np.zeros(len(array) + 1, dtype=np.int64)
    start = array.offset
    return np.frombuffer(buffer, dtype=width)[start : start + len(array) + 1].astype(np.int64, copy=False)


def list_entries(array: Any) -> Any:
    """The child of a list or map, not sliced."""
    if types.is_map(array.type):
        return pa.StructArray.from_arrays(
            [array.keys, array.items], fields=[array.type.key_field, array.type.item_field]
        )
    return array.values


def canonical(array: Any, *, live: Mask | None = None, nullable: bool = True, name: str = "") -> Any:
    """The one physical form of an array's values: offset 0, zeros under nulls, no spare bits or bytes.

    Args:
        array: an array of a stored type, not dictionary-encoded.
        live: which slots belong to a valid parent; None: all.
        nullable: whether the field may hold nulls.
        name: the column, for errors.

    Raises:
        DataFileError: a null in a field that is declared never to be null.
    """
    count, data_type = len(array), array.type
    if types.is_null(data_type):
        return pa.nulls(count)
    if isinstance(data_type, pa.BaseExtensionType):
        storage = canonical(array.storage, live=live, nullable=nullable, name=name)
        return pa.ExtensionArray.from_storage(data_type, storage)
    if count == 0:
        return pa.array([], type=data_type)
    valid = valid_slots(array, live)
    if not nullable and valid is not None and (live is None or not np.array_equal(valid, live)):
        refuse_nulls(name)
    bitmap = _bits(valid) if valid is not None and nullable else None
    nulls = int(count - np.count_nonzero(valid)) if valid is not None and nullable else 0

    def build(buffers: list[Any], children: list[Any] | None = None) -> Any:
        return pa.Array.from_buffers(data_type, count, [bitmap, *buffers], null_count=nulls, children=children)

    if types.is_struct(data_type):
        return build(
            [],
            [
                canonical(array.field(i), live=valid, nullable=data_type.field(i).nullable, name=name)
                for i in range(data_type.num_fields)
            ],
        )
    if types.is_fixed_size_list(data_type):
        size = data_type.list_size
        child = array.values.slice(array.offset * size, count * size)
        child_live = None if valid is None else np.repeat(valid, size)
        child = canonical(child, live=child_live, nullable=data_type.value_field.nullable, name=name)
        return build([], [child])
    if is_list(data_type) or is_variable(data_type):
        return _canonical_offsets(array, valid, build, name)
    if types.is_boolean(data_type):
        plain = array.fill_null(False) if array.null_count else array
        values = plain.to_numpy(zero_copy_only=False)
        return build([_bits(values if valid is None else values & valid)])
    return build([_fixed_values(array, valid, data_type.bit_width // 8)])


def _fixed_values(array: Any, valid: Mask | None, width: int) -> Any:
    if width == 0:
        return pa.py_buffer(b"")
    buffer = array.buffers()[1].slice(array.offset * width, len(array) * width)
    if valid is None:
        return buffer
    values = np.frombuffer(buffer, dtype=np.uint8).reshape(len(array), width).copy()
    values[~valid] = 0
    return pa.py_buffer(values)


def _canonical_offsets(array: Any, valid: Mask | None, build: Any, name: str) -> Any:
    data_type = array.type
    offsets = list_offsets(array)
    lengths = np.diff(offsets)
    nested = is_list(data_type)
    if valid is not None and bool(lengths[~valid].any()):
        # Values under null slots: keep those of live rows only.
        array = array.filter(pa.array(valid))
        lengths = np.where(valid, lengths, 0)
        kept = list_offsets(array)
        first, last = int(kept[0]), int(kept[-1])
    else:
        first, last = int(offsets[0]), int(offsets[-1])
    rebased = np.zeros(len(lengths) + 1, dtype=np.int64 if is_wide(data_type) else np.int32)
    np.cumsum(lengths, out=rebased[1:])
    if nested:
        child = list_entries(array).slice(first, last - first)
        field = data_type.value_field if not types.is_map(data_type) else None
        entries = canonical(child, nullable=field.nullable if field is not None else False, name=name)
        return build([pa.py_buffer(rebased)], [entries])
    data = array.buffers()[2]
    data = pa.py_buffer(b"") if data is None else data.slice(first, last - first)
    return build([pa.py_buffer(rebased), data])
