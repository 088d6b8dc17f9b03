"""Parquet, CSV, Arrow and DuckDB files as streams of record batches; memory does not grow with the file."""

from __future__ import annotations

import contextlib
import csv
import re
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any, Final

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.ipc as ipc
import pyarrow.parquet as pq

from gateway.errors import DataFileError, InputError

_SUFFIXES: Final = {
    ".parquet": "parquet",
    ".pq": "parquet",
    ".arrow": "arrow",
    ".ipc": "arrow",
    ".feather": "arrow",
    ".arrows": "arrows",
    ".csv": "csv",
}
FORMATS: Final = ("parquet", "arrow", "arrows", "csv")
_DUCKDB_SUFFIXES: Final = (".duckdb", ".db")
_BATCH_BYTES: Final = 8 * 1024 * 1024
_BATCH_ROWS_MAX: Final = 65_536
_ARROW_MAGIC: Final = b"ARROW1"
_END_OF_STREAM: Final = b"\xff\xff\xff\xff\x00\x00\x00\x00"
_CSV_CONVERSION: Final = re.compile(r"In CSV column #(\d+)")


def format_of(path: Path | str, format: str = "") -> str:  # noqa: A002  the option's name
    """The format of a file, by its name unless it is given.

    Args:
        path: the file.
        format: one of ``FORMATS``, or empty.

    Raises:
        InputError: neither the option nor the suffix names a known format.
    """
    chosen = format.lower() or _SUFFIXES.get(Path(path).suffix.lower(), "")
    if chosen not in FORMATS:
        what = format or Path(path).suffix or Path(path).name
        raise InputError(f"unknown data format {what!r}", remedy=f"name one of: {', '.join(FORMATS)}")
    return chosen


def open_reader(path: Path | str, *, format: str = "", table: str = "") -> Any:  # noqa: A002  the option's name
    """Open a data file for streaming.

    Args:
        path: a Parquet, CSV or Arrow file, or ``file.duckdb:table``.
        format: one of ``FORMATS``; by the suffix where empty.
        table: the table inside a DuckDB file, where the path does not name it.

    Returns:
        A pyarrow.RecordBatchReader; what goes wrong while it reads is raised as DataFileError too.

    Raises:
        DataFileError: the file with the row or line where known, what is wrong, and the remedy.
        InputError: an unknown format.
    """
    database, _, named = str(path).rpartition(":")
    if named and database.endswith(_DUCKDB_SUFFIXES):
        return _open_duckdb(Path(database), named)
    if table and not format:
        return _open_duckdb(Path(path), table)
    file = Path(path)
    if not format and file.suffix in _DUCKDB_SUFFIXES:
        raise DataFileError(f"{file}: no table is named", remedy=f"write {file}:TABLE")
    readers = {"parquet": _open_parquet, "arrow": _open_arrow, "arrows": _open_arrow, "csv": _open_csv}
    read = readers[format_of(file, format)]
    try:
        if not file.is_file():
            raise DataFileError(f"{file}: no such file", remedy="check the path")
        if file.stat().st_size == 0:
            raise DataFileError(f"{file}: the file is empty", remedy="write at least its header or schema")
        with file.open("rb"):
            pass
    except OSError as error:
        raise DataFileError(f"{file}: {error.strerror}", remedy="check its permissions") from error
    return read(file)


def _reader(file: Path, schema: Any, batches: Callable[[], Iterator[Any]], remedy: str) -> Any:
    def guarded() -> Iterator[Any]:
        rows = 0
        try:
            for batch in batches():
                yield batch
                rows += batch.num_rows
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataFileError(f"{file}: after row {rows}: {first_line(error)}", remedy=remedy) from error

    return pa.RecordBatchReader.from_batches(schema, guarded())


def first_line(error: BaseException) -> str:
    """The first line of a library's error, bounded."""
    return (str(error).splitlines() or [type(error).__name__])[0][:300]


# --- Parquet


def _open_parquet(file: Path) -> Any:
    remedy = "the file is cut off or damaged; write or copy it again"
    try:
        parquet = pq.ParquetFile(file, memory_map=False, pre_buffer=False, page_checksum_verification=True)
        schema = parquet.schema_arrow
    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataFileError(f"{file}: not a whole Parquet file: {first_line(error)}", remedy=remedy) from error
    metadata = parquet.metadata
    size = sum(metadata.row_group(i).total_byte_size for i in range(metadata.num_row_groups))
    rows = max(1, min(_BATCH_ROWS_MAX, _BATCH_BYTES * max(metadata.num_rows, 1) // max(size, 1)))

    def batches() -> Iterator[Any]:
        with parquet:
            yield from parquet.iter_batches(batch_size=rows, use_threads=False)

    return _reader(file, schema, batches, remedy)


# --- Arrow


def _open_arrow(file: Path) -> Any:
    remedy = "the file is cut off or damaged; write it again and close its writer"
    try:
        source = pa.OSFile(str(file))
        head = source.read(len(_ARROW_MAGIC))
        source.seek(0)
        if head == _ARROW_MAGIC:
            whole = ipc.open_file(source)
            schema, count = whole.schema, whole.num_record_batches

            def batches() -> Iterator[Any]:
                with source:
                    for i in range(count):
                        yield whole.get_batch(i)

        else:
            source.seek(max(0, source.size() - len(_END_OF_STREAM)))
            # Without the marker a stream that was cut between two batches would read as whole.
            if source.read(len(_END_OF_STREAM)) != _END_OF_STREAM:
                raise DataFileError(f"{file}: an Arrow stream without its end marker", remedy=remedy)
            source.seek(0)
            stream = ipc.open_stream(source)
            schema = stream.schema

            def batches() -> Iterator[Any]:
                with source:
                    yield from stream

    except (pa.ArrowException, OSError, ValueError) as error:
        raise DataFileError(f"{file}: not a whole Arrow file: {first_line(error)}", remedy=remedy) from error
    return _reader(file, schema, batches, remedy)


# --- CSV


def _open_csv(file: Path) -> Any:
    with file.open("rb") as start:
        if start.read(2) in (b"\xff\xfe", b"\xfe\xff"):
            raise DataFileError(f"{file}: line 1: UTF-16, not UTF-8", remedy="save the file as UTF-8")
    types: dict[str, Any] = {}
    schema: Any = None
    # Types must hold for the whole file, not only for its first block, and must be known before the first batch.
    while True:
        try:
            with _csv_stream(file, types) as stream:
                schema = stream.schema
                for field in schema:
                    if pa.types.is_binary(field.type):
                        _refuse_encoding(file)
                for _ in stream:
                    pass
            break
        except pa.ArrowInvalid as error:
            _widen(file, types, schema, error)
    types = {field.name: field.type for field in schema}

    def batches() -> Iterator[Any]:
        with _csv_stream(file, types) as stream:
            yield from stream

    return _reader(file, schema, batches, "mend the row in the file")


def _csv_stream(file: Path, types: dict[str, Any]) -> Any:
    return pacsv.open_csv(
        file,
        read_options=pacsv.ReadOptions(use_threads=False),
        parse_options=pacsv.ParseOptions(newlines_in_values=True),
        convert_options=pacsv.ConvertOptions(
            column_types=types, strings_can_be_null=True, quoted_strings_can_be_null=False
        ),
    )


def _widen(file: Path, types: dict[str, Any], schema: Any, error: Exception) -> None:
    """Give the column that did not fit a wider type; null, integer, number, text."""
    text = first_line(error)
    _refuse_ragged(file)
    if "UTF8" in text or "UTF-8" in text:
        _refuse_encoding(file)
    found = _CSV_CONVERSION.search(text)
    if found is None or schema is None:
        raise DataFileError(f"{file}: {text}", remedy="write a header and the same columns in each row") from error
    field = schema.field(int(found.group(1)))
    wider = {"null": pa.int64(), "int64": pa.float64()}.get(str(field.type), pa.string())
    if field.type == wider:
        raise DataFileError(f"{file}: {text}", remedy="mend the value in the file") from error
    types[field.name] = wider


def _refuse_ragged(file: Path) -> None:
    """Name the line of the first row that has another number of values than the header."""
    with file.open(encoding="utf-8", errors="replace", newline="") as text, contextlib.suppress(csv.Error):
        rows = csv.reader(text)
        expected = len(next(rows, []))
        for row in rows:
            if row and len(row) != expected:
                raise DataFileError(
                    f"{file}: line {rows.line_num}: {len(row)} values where the header has {expected} columns",
                    remedy="mend the row; quote values that hold commas",
                )


def _refuse_encoding(file: Path) -> None:
    with file.open("rb") as lines:
        for number, line in enumerate(lines, start=1):
            try:
                line.decode("utf-8")
            except UnicodeDecodeError as error:
                raise DataFileError(f"{file}: line {number}: not UTF-8", remedy="save the file as UTF-8") from error


# --- DuckDB


def _open_duckdb(file: Path, table: str) -> Any:
    try:
        import duckdb
    except ImportError as error:
        raise DataFileError(f"{file}: DuckDB is not installed", remedy="pip install duckdb") from error
    if not file.is_file():
        raise DataFileError(f"{file}: no such file", remedy="check the path")
    quoted = ".".join('"' + part.replace('"', '""') + '"' for part in table.split("."))
    try:
        connection = duckdb.connect(str(file), read_only=True)
        connection.execute("SET enable_external_access = false")
        # Insertion order is kept by default, so that the same table gives the same rows in the same order.
        relation: Any = connection.sql(f"SELECT * FROM {quoted}")  # noqa: S608  an identifier, quoted above
        # DuckDB 1.4 has the older name only.
        fetch = getattr(relation, "to_arrow_reader", None) or relation.fetch_arrow_reader
        stream = fetch(_BATCH_ROWS_MAX)
    except duckdb.Error as error:
        raise DataFileError(
            f"{file}: table {table}: {first_line(error)}", remedy="check the table's name; close other writers"
        ) from error

    def batches() -> Iterator[Any]:
        with connection:
            yield from stream

    return _reader(file, stream.schema, batches, "check the database file")
