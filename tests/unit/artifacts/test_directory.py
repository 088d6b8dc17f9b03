"""A directory is walked without following anything, read once, and refused where it changes meanwhile."""

from __future__ import annotations

import hashlib
import os
import socket
import threading
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.artifacts.directory import BLOCK, ModelDirectory
from gateway.errors import DataFileError, StorageError
from gateway.model import limits
from gateway.model.artifact import FileEntry
from tests.unit.artifacts.conftest import SMALL, raw, weights

Make = Callable[..., Path]


def test_every_file_is_named_hashed_and_cut(make_model: Make) -> None:
    big = weights({"a": raw("a", 3 * BLOCK), "b": raw("b", 100)})
    files = {"model.safetensors": big, "a/b.txt": b"x", "a.txt": b"y", "empty.txt": b"", "config.json": b"{}"}
    directory = ModelDirectory(make_model(files))
    heard: list[tuple[int, int]] = []
    entries = directory.scan(lambda done, total: heard.append((done, total)))
    # Component by component: a/b.txt before a.txt, as OpenSSF Model Signing sorts.
    assert [entry.name for entry in entries] == ["a/b.txt", "a.txt", "config.json", "empty.txt", "model.safetensors"]
    sent: list[FileEntry] = []
    runs = directory.runs(sent)
    for entry in entries:
        data = files[entry.name]
        assert (entry.bytes, entry.digest) == (len(data), hashlib.sha256(data).hexdigest())
        assert b"".join(bytes(next(runs)) for _ in range(entry.chunks)) == data
    assert next(runs, None) is None
    assert tuple(sent) == entries
    planned = [(file.name, file.bytes, file.chunks) for file in directory.plan()]
    assert planned == [(entry.name, entry.bytes, entry.chunks) for entry in entries]
    assert heard[-1] == (directory.bytes, directory.bytes)
    assert heard == sorted(heard)


def test_what_git_keeps_is_passed_over_and_other_hidden_files_are_refused(make_model: Make) -> None:
    here = make_model()
    (here / ".git" / "hooks").mkdir(parents=True)
    (here / ".git" / "hooks" / "pre-commit").write_text("#!/bin/sh\n")
    (here / ".gitattributes").write_text("* text\n")
    assert ModelDirectory(here).names == ("config.json", "model.safetensors")
    (here / ".env").write_text("SECRET=1\n")
    with pytest.raises(DataFileError, match="hidden"):
        ModelDirectory(here)
    (here / ".env").unlink()
    (here / "inner" / ".git").mkdir(parents=True)
    with pytest.raises(DataFileError, match="hidden"):
        ModelDirectory(here)


def test_a_manifest_in_the_directory_is_passed_over_where_asked(make_model: Make) -> None:
    here = make_model()
    (here / "M.yaml").write_text("id: m\n")
    with pytest.raises(DataFileError, match=r"M\.yaml"):
        ModelDirectory(here)
    assert "M.yaml" not in ModelDirectory(here, ignore=("M.yaml",)).names


@pytest.mark.parametrize("kind", ["file", "directory", "dangling", "loop", "out"])
def test_a_symbolic_link_is_refused_by_name(make_model: Make, tmp_path: Path, kind: str) -> None:
    here = make_model()
    (tmp_path / "elsewhere").mkdir()
    target = {
        "file": here / "config.json",
        "directory": tmp_path / "elsewhere",
        "dangling": tmp_path / "nothing",
        "loop": here / "link.json",
        "out": Path("/etc/passwd"),
    }[kind]
    (here / "link.json").symlink_to(target)
    with pytest.raises(DataFileError, match=r"'link\.json' is a symbolic link"):
        ModelDirectory(here)


@pytest.mark.parametrize("kind", ["pipe", "socket"])
def test_what_is_no_file_is_refused_and_never_opened(
    make_model: Make, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    here = make_model()
    monkeypatch.chdir(here)
    if kind == "pipe":
        os.mkfifo("x.json")
        with pytest.raises(DataFileError, match=r"'x\.json' is a device"):
            ModelDirectory(here)
    else:
        with socket.socket(socket.AF_UNIX) as made:
            made.bind("x.json")
            with pytest.raises(DataFileError, match=r"'x\.json' is a device"):
                ModelDirectory(here)


def test_names_that_fall_together_elsewhere_are_refused(make_model: Make) -> None:
    here = make_model()
    (here / "Config.json").write_text("{}")
    if len(list(here.iterdir())) < 3:
        pytest.skip("this file system does not tell cases apart")
    with pytest.raises(DataFileError, match="case alone"):
        ModelDirectory(here)


@pytest.mark.parametrize("read", ["scan", "plan", "runs"])
@pytest.mark.parametrize("when", ["before it is read", "after it was planned", "a link in its place"])
def test_a_file_that_changes_is_refused(make_model: Make, when: str, read: str) -> None:
    here = make_model()
    directory = ModelDirectory(here)
    reading = {"scan": directory.scan, "plan": directory.plan, "runs": lambda: list(directory.runs([]))}[read]
    file = here / "config.json"
    if when == "after it was planned":
        directory.plan()
    if when == "a link in its place":
        file.unlink()
        file.symlink_to("/etc/hostname")
        with pytest.raises(StorageError, match=r"config\.json"):
            reading()
    else:
        file.write_text('{"hidden": 4}')
        with pytest.raises(DataFileError, match="changed while"):
            reading()


def test_a_file_that_changes_while_its_runs_are_taken_is_refused(make_model: Make) -> None:
    here = make_model({"model.safetensors": weights({"a": raw("a", 4 * BLOCK)})})
    directory, sent = ModelDirectory(here), []  # type: ignore[var-annotated]
    runs = directory.runs(sent)
    next(runs)
    with (here / "model.safetensors").open("r+b") as file:
        file.seek(2 * BLOCK)
        file.write(b"changed")
    with pytest.raises(DataFileError, match="changed while"):
        list(runs)
    assert sent == []


def test_what_is_wrong_with_a_header_or_a_text_is_found_when_it_is_planned(make_model: Make) -> None:
    whole = weights({"a": raw("a", 100)})
    for number, files in enumerate(({"m.safetensors": whole + b"x"}, {"m.safetensors": whole, "config.json": b"{"})):
        with pytest.raises(DataFileError):
            ModelDirectory(make_model(files, f"wrong-{number}")).plan()


def test_a_file_that_is_cut_off_while_it_is_read_is_refused(make_model: Make) -> None:
    big = weights({"a": raw("a", 4 * BLOCK)})
    here = make_model({"model.safetensors": big})
    directory = ModelDirectory(here)

    def cut_off(done: int, total: int) -> None:
        os.truncate(here / "model.safetensors", 10)

    with pytest.raises(DataFileError, match=r"model\.safetensors"):
        directory.scan(cut_off)
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_an_error_of_the_listener_ends_the_reader(make_model: Make) -> None:
    here = make_model({"model.safetensors": weights({"a": raw("a", 4 * BLOCK)})})

    def stop(done: int, total: int) -> None:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        ModelDirectory(here).scan(stop)
    assert not [thread for thread in threading.enumerate() if thread.name == "read-ahead"]


def test_too_many_files_and_too_deep_ones_are_refused(make_model: Make) -> None:
    here = make_model()
    for index in range(limits.MODEL_FILES_MAX):
        (here / f"{index}.txt").touch()
    with pytest.raises(DataFileError, match="more than"):
        ModelDirectory(here)


def test_an_endless_nest_of_directories_is_refused(make_model: Make) -> None:
    here = make_model()
    deep = here.joinpath(*("d" for _ in range(30)))
    deep.mkdir(parents=True)
    with pytest.raises(DataFileError, match="too deep"):
        ModelDirectory(here)


def test_a_sparse_file_is_read_in_little_memory(tmp_path: Path) -> None:
    """Each buffer is bounded, so a size that is sixteen times as large shows that memory does not follow it."""
    import json
    import resource

    size = 256 * limits.MIB
    header = json.dumps({"a": {"dtype": "U8", "shape": [size], "data_offsets": [0, size]}}).encode()
    (tmp_path / "m").mkdir()
    with (tmp_path / "m" / "model.safetensors").open("wb") as file:
        file.write(len(header).to_bytes(8, "little") + header)
        file.truncate(8 + len(header) + size)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    directory = ModelDirectory(tmp_path / "m")
    (entry,) = directory.scan()
    assert sum(len(run) for run in directory.runs([])) == entry.bytes
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 64 * 1024


@pytest.mark.parametrize("what", ["missing", "a file", "empty", "only empty files"])
def test_nothing_to_publish_is_an_error_with_a_remedy(tmp_path: Path, what: str) -> None:
    here = tmp_path / "x"
    if what == "a file":
        here.write_bytes(SMALL)
    elif what != "missing":
        here.mkdir()
    if what == "only empty files":
        (here / "a.txt").touch()
    with pytest.raises((DataFileError, StorageError)) as caught:
        ModelDirectory(here)
    assert caught.value.remedy
