"""Data files: Parquet, Arrow and CSV out, one batch at a time; reading them stands in ``file_readers``.

Memory does not grow with the file. What is written appears under its name only when it is complete and synced.
"""

from __future__ import annotations

import contextlib
import errno
import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from gateway.errors import DataFileError, StorageError, TdzError
from gateway.sdk.file_readers import FORMATS, first_line, format_of, open_reader

__all__ = ["FORMATS", "format_of", "open_reader", "write_file"]

_ROW_GROUP_BYTES: Final = 32 * 1024 * 1024
_FULL: Final = frozenset({errno.ENOSPC, errno.EDQUOT, errno.EFBIG})


def write_file(reader: Any, path: Path | str, format: str = "") -> int:  # noqa: A002  the option's name
    """Write a stream to a file that appears under its name only when it is complete and synced.

    Dictionary columns are written as values in Arrow files and CSV (an Arrow file holds one dictionary a column,
    a stream of chunks has one each).

    Args:
        reader: a pyarrow.RecordBatchReader.
        path: where; an existing file is replaced.
        format: one of ``FORMATS``; by the suffix where empty.

    Returns:
        Rows written.

    Raises:
        InputError: an unknown format.
        DataFileError: the format cannot hold a column's type.
        StorageError: the disk is full or failed; what the reader raises passes unchanged. No file appears.
    """
    target = Path(path)
    chosen = format_of(target, format)
    partial = target.with_name(f".{target.name}.{uuid.uuid4().hex}.part")
    rows = 0
    try:
        with _writing(target, chosen):
            writer = _WRITERS[chosen](partial, reader.schema)
        try:
            for batch in reader:
                with _writing(target, chosen):
                    writer.write(batch)
                rows += batch.num_rows
            with _writing(target, chosen):
                writer.close()
        except BaseException:
            writer.discard()
            raise
        with _writing(target, chosen):
            _sync(partial)
            partial.replace(target)
            _sync(target.parent)
    finally:
        partial.unlink(missing_ok=True)
    return rows


@contextlib.contextmanager
def _writing(target: Path, chosen: str) -> Iterator[None]:
    try:
        yield
    except TdzError:
        raise
    except OSError as error:
        if error.errno in _FULL:
            raise StorageError(f"{target}: the disk is full", remedy="free space or write elsewhere") from error
        raise StorageError(
            f"{target}: {error.strerror or first_line(error)}", remedy="check the path and its permissions"
        ) from error
    except (pa.ArrowException, ValueError) as error:
        raise DataFileError(
            f"{target}: cannot be written as {chosen}: {first_line(error)}", remedy="write Arrow instead"
        ) from error


def _sync(path: Path) -> None:
    descriptor = os.open(path, os.O_RDONLY)
    try:
        os.fsync(descriptor)
    finally:
        os.close(descriptor)


def _plain(schema: Any) -> Any:
    return pa.schema(
        [f.with_type(f.type.value_type) if pa.types.is_dictionary(f.type) else f for f in schema],
        metadata=schema.metadata,
    )


class _StreamWriter:
    """Arrow file, Arrow stream or CSV: batches go out as they come."""

    def __init__(self, path: Path, schema: Any, make: Callable[[Any, Any], Any], *, plain: bool) -> None:
        self._schema = _plain(schema) if plain else schema
        self._sink = pa.OSFile(str(path), "wb")
        try:
            self._writer = make(self._sink, self._schema)
        except BaseException:
            self._sink.close()
            raise

    def write(self, batch: Any) -> None:
        self._writer.write_batch(batch if batch.schema.equals(self._schema) else batch.cast(self._schema))

    def close(self) -> None:
        self._writer.close()
        self._sink.close()

    def discard(self) -> None:
        with contextlib.suppress(pa.ArrowException, OSError):
            self._sink.close()


class _ParquetWriter:
    """Parquet: batches are gathered into row groups of a bounded size."""

    def __init__(self, path: Path, schema: Any) -> None:
        self._schema = schema
        self._writer = pq.ParquetWriter(path, schema)
        self._waiting: list[Any] = []
        self._bytes = 0

    def write(self, batch: Any) -> None:
        self._waiting.append(batch)
        self._bytes += batch.nbytes
        if self._bytes >= _ROW_GROUP_BYTES:
            self._flush()

    def _flush(self) -> None:
        table = pa.Table.from_batches(self._waiting, self._schema)
        self._waiting, self._bytes = [], 0
        if table.num_rows:
            self._writer.write_table(table, row_group_size=table.num_rows)

    def close(self) -> None:
        self._flush()
        self._writer.close()

    def discard(self) -> None:
        with contextlib.suppress(pa.ArrowException, OSError, ValueError):
            self._writer.close()


_WRITERS: Final[dict[str, Callable[[Path, Any], Any]]] = {
    "parquet": _ParquetWriter,
    "arrow": lambda path, schema: _StreamWriter(path, schema, ipc.new_file, plain=True),
    "arrows": lambda path, schema: _StreamWriter(path, schema, ipc.new_stream, plain=False),
    "csv": lambda path, schema: _StreamWriter(path, schema, pacsv.CSVWriter, plain=True),
}
