"""Data files in and out: streams, errors with place and remedy, nothing incomplete under a final name."""

from __future__ import annotations

import importlib.util
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pyarrow.ipc as ipc
import pyarrow.parquet as pq
import pytest

from gateway.errors import DataFileError, InputError, IntegrityError, StorageError
from gateway.sdk.files import FORMATS, format_of, open_reader, write_file


def table(rows: int = 1_000) -> pa.Table:
    return pa.table({"n": range(rows), "t": [f"text {i}" for i in range(rows)], "f": np.arange(rows) / 4})


@pytest.mark.parametrize("chosen", FORMATS)
def test_what_is_written_reads_back(tmp_path: Path, chosen: str) -> None:
    path = tmp_path / f"data.{chosen}"
    assert write_file(table().to_reader(100), path) == 1_000
    assert open_reader(path).read_all().equals(table())
    assert [p.name for p in tmp_path.iterdir()] == [path.name]


@pytest.mark.parametrize("chosen", FORMATS)
def test_dictionaries_that_differ_from_batch_to_batch_can_be_written(tmp_path: Path, chosen: str) -> None:
    batches = [pa.record_batch({"d": pa.array([f"{i} {k}" for k in range(3)]).dictionary_encode()}) for i in range(3)]
    path = tmp_path / f"data.{chosen}"
    write_file(pa.RecordBatchReader.from_batches(batches[0].schema, batches), path)
    got = open_reader(path).read_all().column("d").to_pylist()
    assert got == [f"{i} {k}" for i in range(3) for k in range(3)]


@pytest.mark.parametrize("chosen", FORMATS)
def test_an_empty_table_keeps_its_columns(tmp_path: Path, chosen: str) -> None:
    path = tmp_path / f"data.{chosen}"
    assert write_file(table(0).to_reader(), path) == 0
    assert open_reader(path).read_all().column_names == ["n", "t", "f"]


@pytest.mark.parametrize("chosen", FORMATS)
def test_a_reader_that_fails_half_way_leaves_no_file_and_its_error_passes(tmp_path: Path, chosen: str) -> None:
    whole = table()

    def batches() -> Iterator[Any]:
        yield from whole.to_batches(max_chunksize=500)
        raise IntegrityError("a chunk does not match")

    path = tmp_path / f"data.{chosen}"
    path.write_text("what was here before")
    with pytest.raises(IntegrityError, match="a chunk does not match"):
        write_file(pa.RecordBatchReader.from_batches(whole.schema, batches()), path)
    assert path.read_text() == "what was here before"
    assert len(list(tmp_path.iterdir())) == 1


@pytest.mark.parametrize("chosen", FORMATS)
def test_a_full_disk_is_said_so_and_leaves_nothing(tmp_path: Path, chosen: str) -> None:
    script = """
import resource, signal, sys
import pyarrow as pa, numpy as np
from gateway.errors import StorageError
from gateway.sdk.files import write_file
signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
resource.setrlimit(resource.RLIMIT_FSIZE, (100_000, 100_000))
rows = pa.table({"f": np.random.default_rng(1).random(500_000)})
try:
    write_file(rows.to_reader(50_000), sys.argv[1])
except StorageError as error:
    print(error)
"""
    path = tmp_path / f"data.{chosen}"
    done = subprocess.run([sys.executable, "-c", script, str(path)], capture_output=True, text=True, check=True)
    assert "the disk is full (free space or write elsewhere)" in done.stdout
    assert list(tmp_path.iterdir()) == []


def test_a_directory_that_does_not_exist_is_a_storage_error(tmp_path: Path) -> None:
    with pytest.raises(StorageError, match="none"):
        write_file(table().to_reader(), tmp_path / "none" / "data.csv")


def test_csv_cannot_hold_lists_and_says_what_can(tmp_path: Path) -> None:
    with pytest.raises(DataFileError, match="cannot be written as csv") as caught:
        write_file(pa.table({"l": [[1]]}).to_reader(), tmp_path / "data.csv")
    assert caught.value.remedy == "write Arrow instead"
    assert list(tmp_path.iterdir()) == []


def test_formats_go_by_option_then_suffix() -> None:
    assert format_of("a.PQ") == "parquet"
    assert format_of("a.txt", "csv") == "csv"
    for path, option in (("a.xlsx", ""), ("a", ""), ("a.csv", "excel")):
        with pytest.raises(InputError, match="unknown data format"):
            format_of(path, option)


def test_csv_types_hold_for_the_whole_file(tmp_path: Path) -> None:
    path = tmp_path / "data.csv"
    # Past the first block a column turns from integers into numbers, from nothing into text.
    path.write_text("a,b,c\n" + "1,,x\n" * 400_000 + "1.5,late,NA\n")
    read = open_reader(path).read_all()
    assert read.schema.types == [pa.float64(), pa.string(), pa.string()]
    assert read.slice(400_000).to_pylist() == [{"a": 1.5, "b": "late", "c": None}]


@pytest.mark.parametrize(
    ("name", "data", "said"),
    [
        ("d.csv", b"", "the file is empty"),
        ("d.csv", b"a,b\n1,2\n3\n", "line 3: 1 values where the header has 2"),
        ("d.csv", b'a,b\n1,2\n"x\ny",3\n1,2,3\n', "line 5: 3 values where the header has 2"),
        ("d.csv", b"a,b\n" + b"1,2\n" * 300_000 + b"1,2,3\n", "line 300002: 3 values"),
        ("d.csv", b"a,b\n1,caf\xe9\n", "line 2: not UTF-8"),
        ("d.csv", b"a,b\n" + b"1,ok\n" * 300_000 + b"1,caf\xe9\n", "line 300002: not UTF-8"),
        ("d.csv", "a,b\n1,2\n".encode("utf-16"), "line 1: UTF-16"),
        ("d.parquet", b"", "the file is empty"),
        ("d.parquet", b"PAR1 and no more", "not a whole Parquet file"),
        ("d.arrow", b"ARROW1\0\0 and no more", "not a whole Arrow file"),
        ("d.arrow", b"neither file nor stream", "without its end marker"),
    ],
)
def test_a_file_that_cannot_be_read_is_named_with_place_and_remedy(
    tmp_path: Path, name: str, data: bytes, said: str
) -> None:
    path = tmp_path / name
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=said) as caught:
        open_reader(path).read_all()
    assert caught.value.message.startswith(str(path))
    assert caught.value.remedy


def test_a_missing_file_and_a_directory_are_named(tmp_path: Path) -> None:
    for path in (tmp_path / "none.csv", tmp_path):
        with pytest.raises((DataFileError, InputError)):
            open_reader(path)


@pytest.mark.parametrize("chosen", ["parquet", "arrow", "arrows"])
def test_a_file_that_was_cut_off_is_refused_wherever_it_was_cut(tmp_path: Path, chosen: str) -> None:
    whole = tmp_path / f"whole.{chosen}"
    write_file(table(20_000).to_reader(1_000), whole)
    data = whole.read_bytes()
    cut = tmp_path / f"cut.{chosen}"
    for length in (1, 7, 100, len(data) // 2, len(data) - 100, len(data) - 1):
        cut.write_bytes(data[:length])
        with pytest.raises(DataFileError, match=r"cut\."):
            open_reader(cut).read_all()


def test_an_arrow_stream_cut_between_two_batches_is_refused(tmp_path: Path) -> None:
    sink = pa.BufferOutputStream()
    writer = ipc.new_stream(sink, table().schema)
    writer.write_table(table())
    path = tmp_path / "cut.arrows"
    path.write_bytes(sink.getvalue())
    with pytest.raises(DataFileError, match="without its end marker"):
        open_reader(path)


def test_damage_inside_a_parquet_file_is_told_with_the_row_it_follows(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(table(200_000), path, row_group_size=50_000, use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 5_000] = b"\xff" * 5_000
    path.write_bytes(data)
    with pytest.raises(DataFileError, match=r"d.parquet: after row [1-9]\d*: "):
        open_reader(path).read_all()


def test_wide_parquet_rows_come_in_small_batches(tmp_path: Path) -> None:
    path = tmp_path / "d.parquet"
    pq.write_table(pa.table({"b": [bytes([i % 256]) * 100_000 for i in range(300)]}), path, use_dictionary=False)
    assert max(batch.nbytes for batch in open_reader(path)) < 16 * 1024 * 1024


@pytest.mark.skipif(importlib.util.find_spec("duckdb") is None, reason="needs duckdb")
def test_a_duckdb_table_reads_as_a_stream(tmp_path: Path) -> None:
    import duckdb

    with duckdb.connect(str(tmp_path / "d.duckdb")) as connection:
        connection.execute('CREATE TABLE "my table" AS SELECT range AS n FROM range(100000)')
    path = f"{tmp_path}/d.duckdb"
    assert open_reader(f"{path}:my table").read_all().column("n").to_pylist() == list(range(100_000))
    assert open_reader(path, table="my table").read_all().num_rows == 100_000
    with pytest.raises(DataFileError, match="table other"):
        open_reader(f"{path}:other")
    with pytest.raises(DataFileError, match="no table is named"):
        open_reader(path)
    with pytest.raises(DataFileError, match="no such file"):
        open_reader(f"{tmp_path}/none.duckdb:t")
    (tmp_path / "no.duckdb").write_text("not a database, not even nearly one")
    with pytest.raises(DataFileError, match=r"no\.duckdb"):
        open_reader(f"{tmp_path}/no.duckdb:t")


def test_memory_does_not_grow_with_the_file(tmp_path: Path) -> None:
    script = """
import resource, sys
from pathlib import Path
import numpy as np, pyarrow as pa
from gateway.sdk.files import open_reader, write_file
pa.set_memory_pool(pa.system_memory_pool())
def peak():
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024
random = np.random.default_rng(1)
def batches(count):
    for _ in range(count):
        yield pa.record_batch({"f": random.random(65_536), "g": random.random(65_536)})
schema = next(batches(1)).schema
def copy(count, suffix):
    path = Path(sys.argv[1]) / f"d.{suffix}"
    write_file(pa.RecordBatchReader.from_batches(schema, batches(count)), path)
    for _ in open_reader(path):
        pass
    path.unlink()
for suffix in ("parquet", "arrow"):
    copy(80, suffix)
before = peak()
for suffix in ("parquet", "arrow"):
    copy(320, suffix)
print(peak() - before)
"""
    done = subprocess.run([sys.executable, "-c", script, str(tmp_path)], capture_output=True, text=True, check=True)
    assert int(done.stdout) < 40  # MiB; the file grew by 240
