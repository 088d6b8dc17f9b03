"""Tables of numbers and classes out of Arrow files; what is wrong is named by column, and no value is told."""

from __future__ import annotations

import decimal
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gateway.compute.tables import read_table
from gateway.errors import DataFileError, InputError, LimitError, TdzError
from gateway.model import limits
from tests.unit.compute.views import FEATURES, some_rows, write_table, write_view

SECRET = "4929-1111-2222-3333"  # planted, to be found in no error


@pytest.mark.parametrize("stream", [False, True], ids=["file", "stream"])
@pytest.mark.parametrize("batch", [7, 1_000])
def test_a_view_is_read_in_the_order_that_the_run_names(tmp_path: Path, stream: bool, batch: int) -> None:
    rows = some_rows(100, 1)
    path = write_view(tmp_path / "v", rows, stream=stream, batch=batch)
    features, target = read_table(str(path), FEATURES, "ill", ("no", "yes"))
    np.testing.assert_array_equal(features, rows[0])
    np.testing.assert_array_equal(target, rows[1])
    turned, other = read_table(str(path), ("age", "height"), "ill", ("yes", "no"))
    np.testing.assert_array_equal(turned, rows[0][:, [2, 0]])
    np.testing.assert_array_equal(other, 1 - rows[1])


def test_compressed_batches_and_an_empty_view_are_read(tmp_path: Path) -> None:
    table = pa.table({"a": [1.0, 2.0], "y": [0.5, 1.5], "unused": ["x" * 1000] * 2})
    path = tmp_path / "v"
    with pa.ipc.new_stream(str(path), table.schema, options=pa.ipc.IpcWriteOptions(compression="zstd")) as writer:
        writer.write_table(table)
    features, target = read_table(str(path), ("a",), "y")
    assert (features.tolist(), target.tolist()) == ([[1.0], [2.0]], [0.5, 1.5])
    features, target = read_table(str(write_table(tmp_path / "e", table.slice(0, 0))), ("a",), "y")
    assert (features.shape, target.shape) == ((0, 1), (0,))


@pytest.mark.parametrize(
    "column",
    [
        pa.array([1, 0], pa.int8()),
        pa.array([1, 0], pa.uint64()),
        pa.array([True, False]),
        pa.array([1.0, 0.0], pa.float16()),
        pa.array([1.0, 0.0], pa.float32()),
        pa.array([decimal.Decimal("1.00"), decimal.Decimal("0.00")]),
        pa.array([1, 0]).dictionary_encode(),
    ],
    ids=lambda column: str(column.type),
)
def test_every_kind_of_number_is_a_feature(tmp_path: Path, column: Any) -> None:
    path = write_table(tmp_path / "v", pa.table({"a": column, "y": [0.0, 0.0]}))
    assert read_table(str(path), ("a",), "y")[0].tolist() == [[1.0], [0.0]]


@pytest.mark.parametrize(
    ("column", "classes"),
    [
        (pa.array(["b", "a"]), ("a", "b")),
        (pa.array(["b", "a"], pa.large_string()), ("a", "b")),
        (pa.array(["b", "a"]).dictionary_encode(), ("a", "b")),
        (pa.array([7, -3]), ("-3", "7")),
        (pa.array([True, False]), ("false", "true")),
    ],
    ids=lambda value: str(getattr(value, "type", "")),
)
def test_every_kind_of_class_is_a_target(tmp_path: Path, column: Any, classes: tuple[str, ...]) -> None:
    path = write_table(tmp_path / "v", pa.table({"a": [1.0, 2.0], "y": column}))
    assert read_table(str(path), ("a",), "y", classes)[1].tolist() == [1, 0]


@pytest.mark.parametrize(
    ("columns", "classes", "text"),
    [
        ({"b": [1.0], "y": ["no"]}, ("no", "yes"), "'a' is not in the dataset"),
        ({"a": [1.0]}, ("no", "yes"), "'y' is not in the dataset"),
        ({"a": [SECRET], "y": ["no"]}, ("no", "yes"), "'a' holds string"),
        ({"a": [[1.0]], "y": ["no"]}, ("no", "yes"), "'a' holds list"),
        ({"a": [1.0, None], "y": ["no", "no"]}, ("no", "yes"), "'a' has nulls"),
        ({"a": pa.array([1, None]).dictionary_encode(), "y": ["no", "no"]}, ("no", "yes"), "'a' has nulls"),
        ({"a": [1.0, float("nan")], "y": ["no", "no"]}, ("no", "yes"), "'a' has NaN"),
        ({"a": [1.0, float("inf")], "y": ["no", "no"]}, ("no", "yes"), "'a' has NaN or infinity"),
        ({"a": [1.0], "y": [SECRET]}, ("no", "yes"), "'y' has values that are none of the 2 classes"),
        ({"a": [1.0], "y": [SECRET]}, (), "'y' holds string"),
        ({"a": [1.0, 1.0], "y": ["no", None]}, ("no", "yes"), "'y' has nulls"),
        ({"a": [1.0], "y": [0.5]}, ("no", "yes"), "'y' holds double"),
        ({"a": [1.0, 1.0], "y": [1.0, None]}, (), "'y' has nulls"),
        ({"a": [1.0], "y": [float("nan")]}, (), "'y' has NaN"),
    ],
)
def test_a_column_that_does_not_fit_is_named_and_no_value_is(
    tmp_path: Path, columns: dict[str, Any], classes: tuple[str, ...], text: str
) -> None:
    path = write_table(tmp_path / "v", pa.table(columns))
    with pytest.raises(DataFileError, match=text) as caught:
        read_table(str(path), ("a",), "y", classes)
    assert caught.value.remedy
    assert SECRET not in str(caught.value)


def test_a_column_that_stands_twice_is_refused(tmp_path: Path) -> None:
    table = pa.Table.from_arrays([pa.array([1.0])] * 3, names=["a", "a", "y"])
    with pytest.raises(DataFileError, match="twice"):
        read_table(str(write_table(tmp_path / "v", table)), ("a",), "y")


def test_a_column_past_what_the_run_names_is_not_looked_at(tmp_path: Path) -> None:
    table = pa.table({"secret": [SECRET, None], "a": [1.0, 2.0], "y": [0.0, 0.0]})
    assert len(read_table(str(write_table(tmp_path / "v", table)), ("a",), "y")[0]) == 2


@pytest.mark.parametrize(
    "data", [b"", b"no Arrow file", b"ARROW1\x00\x00" + b"\xff" * 64, b"\xff\xff\xff\xff\xff\xff\xff\x7f"]
)
def test_a_file_that_is_none_is_an_error_of_ours(tmp_path: Path, data: bytes) -> None:
    (tmp_path / "v").write_bytes(data)
    with pytest.raises(InputError):
        read_table(str(tmp_path / "v"), ("a",), "y")


def test_a_missing_file_is_an_error_of_ours(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="cannot be opened"):
        read_table(str(tmp_path / "none"), ("a",), "y")


def test_files_cut_anywhere_end_in_an_error_or_fewer_rows(tmp_path: Path) -> None:
    whole = write_view(tmp_path / "v", some_rows(60, 1), stream=True, batch=20).read_bytes()
    for end in range(1, len(whole), 97):
        (tmp_path / "cut").write_bytes(whole[:end])
        try:
            features, _ = read_table(str(tmp_path / "cut"), FEATURES, "ill", ("no", "yes"))
        except TdzError:
            continue
        assert len(features) in {0, 20, 40, 60}


def test_a_table_past_the_limit_is_refused_while_it_is_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(limits, "TRAINING_CELLS_MAX", 100)
    with pytest.raises(LimitError):
        read_table(str(write_view(tmp_path / "v", some_rows(26, 1), batch=10)), FEATURES, "ill", ("no", "yes"))
