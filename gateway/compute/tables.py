"""Features and target from a zone's view of a dataset. What is wrong is named by column, never by a row's value."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, Final

import numpy as np
import numpy.typing as npt

from gateway.errors import DataFileError, InputError, LimitError, TdzError
from gateway.model import limits

if TYPE_CHECKING:
    from gateway.compute.apps.protocol import Features, Target

_FILE_MAGIC: Final = b"ARROW1\x00\x00"


def read_table(path: str, features: Sequence[str], target: str, classes: Sequence[str] = ()) -> tuple[Features, Target]:
    """Read the columns that a run names from an Arrow IPC file or stream.

    Args:
        path: the file; it is mapped, and read batch by batch.
        features: columns of numbers or booleans, in the order of the result's columns.
        target: a column of numbers, or with `classes` of texts, integers or booleans ("true", "false").
        classes: the target's values as texts; empty for a regression.

    Returns:
        Features as float64 [n, d], and the target as float64 [n], or as int64 class numbers [n].

    Raises:
        DataFileError: not an Arrow file, a column that is missing or twice, of a type that is no number, with
            nulls, NaN or infinity, or with a value that is none of the classes.
        InputError: the file cannot be opened.
        LimitError: more cells than one process takes.
    """
    import pyarrow as pa
    from pyarrow import ipc

    with _reading(pa), pa.memory_map(path) as source:
        is_file = source.read(len(_FILE_MAGIC)) == _FILE_MAGIC
        schema = _open(source, is_file).schema
        places = [_place(schema, name) for name in (*features, target)]
        for name, place in zip((*features, target) if not classes else features, places, strict=False):
            _check_number(pa.types, schema.field(place).type, name)
        # Columns that the run does not name are not even decompressed.
        used = sorted(set(places))
        reader = _open(source, is_file, ipc.IpcReadOptions(included_fields=used))
        kept = {place: position for position, place in enumerate(used)}
        positions = [kept[place] for place in places]
        wanted = pa.array(classes, pa.string()) if classes else None
        tables: list[npt.NDArray[np.float64]] = []
        targets: list[npt.NDArray[Any]] = []
        rows = 0
        for batch in (reader.get_batch(i) for i in range(reader.num_record_batches)) if is_file else reader:
            if not batch.num_rows:
                continue
            rows += batch.num_rows
            if rows * (len(features) + 1) > limits.TRAINING_CELLS_MAX:
                raise LimitError(
                    f"more than {limits.TRAINING_CELLS_MAX} cells in one dataset",
                    remedy="name fewer features, or publish the dataset in parts",
                )
            columns = batch.columns
            table = np.empty((batch.num_rows, len(features)), dtype=np.float64)
            for number, (name, position) in enumerate(zip(features, positions, strict=False)):
                table[:, number] = _numbers(pa, columns[position], name)
            _check_finite(table, features)
            tables.append(table)
            last = columns[positions[-1]]
            if wanted is None:
                values = np.array(_numbers(pa, last, target))
                _check_finite(values[:, None], (target,))
                targets.append(values)
            else:
                targets.append(_codes(pa, last, wanted, target))
    if not rows:
        return np.empty((0, len(features))), np.empty(0, dtype=np.int64 if classes else np.float64)
    return np.concatenate(tables), np.concatenate(targets)


def _open(source: Any, is_file: bool, options: Any = None) -> Any:
    from pyarrow import ipc

    source.seek(0)
    return ipc.open_file(source, options=options) if is_file else ipc.open_stream(source, options=options)


@contextmanager
def _reading(pa: Any) -> Iterator[None]:
    """Arrow's errors as ours; their texts may quote values, so they are not passed on."""
    try:
        yield
    except TdzError:
        raise
    except OSError as error:
        if isinstance(error, pa.ArrowException):
            raise DataFileError("the view is no Arrow file", remedy="make the view again") from error
        raise InputError(
            f"the view cannot be opened: {error.strerror or 'input or output failed'}", remedy="make the view again"
        ) from error
    except (pa.ArrowException, ValueError, IndexError, KeyError, OverflowError) as error:
        raise DataFileError("the view is no sound Arrow file", remedy="make the view again") from error


def _place(schema: Any, name: str) -> int:
    places = schema.get_all_field_indices(name)
    if len(places) != 1:
        problem = "is not in the dataset" if not places else "stands twice"
        raise DataFileError(f"column {name!r} {problem}", remedy="name a column of the dataset's schema")
    return int(places[0])


def _check_number(types: Any, data_type: Any, name: str) -> None:
    plain = data_type.value_type if types.is_dictionary(data_type) else data_type
    known = (types.is_floating, types.is_integer, types.is_boolean, types.is_decimal)
    if not any(is_one(plain) for is_one in known):
        raise DataFileError(
            f"column {name!r} holds {data_type}, no numbers", remedy="name columns of numbers, or encode this one"
        )


def _numbers(pa: Any, column: Any, name: str) -> npt.NDArray[np.float64]:
    """A column without nulls as float64; integers past 2^53 are rounded."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    if column.null_count:
        raise DataFileError(f"column {name!r} has nulls", remedy="fill them, or leave the column out")
    if pa.types.is_boolean(column.type):
        column = column.cast(pa.uint8())
    if not pa.types.is_float64(column.type):
        column = column.cast(pa.float64(), safe=False)
    return np.asarray(column.to_numpy(zero_copy_only=False))


def _check_finite(table: npt.NDArray[np.float64], names: Sequence[str]) -> None:
    if np.isfinite(table).all():
        return
    name = names[int(np.isfinite(table).all(axis=0).argmin())]
    raise DataFileError(f"column {name!r} has NaN or infinity", remedy="fill them, or leave the column out")


def _codes(pa: Any, column: Any, wanted: Any, name: str) -> npt.NDArray[np.int64]:
    """A column's values as their places among the classes."""
    from pyarrow import compute

    types = pa.types
    if types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kinds = (types.is_integer, types.is_boolean, types.is_string, types.is_large_string, types.is_string_view)
    if not any(is_one(column.type) for is_one in kinds):
        raise DataFileError(
            f"column {name!r} holds {column.type}, no classes", remedy="name a column of texts, integers or booleans"
        )
    if column.null_count:
        raise DataFileError(f"column {name!r} has nulls", remedy="fill them, or filter those rows")
    codes = compute.index_in(column.cast(pa.string()), value_set=wanted)
    if codes.null_count:
        raise DataFileError(
            f"column {name!r} has values that are none of the {len(wanted)} classes",
            remedy="name every class of the column in the run",
        )
    return np.asarray(codes.to_numpy(zero_copy_only=False).astype(np.int64))
