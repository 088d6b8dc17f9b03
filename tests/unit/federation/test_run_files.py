"""A run's directory: whole files or none, and no rows left behind."""

from __future__ import annotations

import hashlib
import stat

import pytest

from gateway.errors import InputError, IntegrityError, LimitError, PeerUnavailableError
from gateway.federation.files import RunFiles
from gateway.model import limits
from gateway.model.ids import uuid7


async def pieces(*parts):
    for part in parts:
        yield part


async def test_what_arrives_has_its_name_only_once_it_is_whole(tmp_path):
    files, run = RunFiles(tmp_path / "runs"), uuid7()
    data = b"parameters"
    digest, path = hashlib.sha256(data).hexdigest(), files.path(run, "in", 3)
    for parts, size, wanted, error in (
        ((data[:4],), len(data), digest, PeerUnavailableError),
        ((data, b"!"), len(data), digest, LimitError),
        ((data,), len(data), "0" * 64, IntegrityError),
        ((bytes(limits.RUN_PIECE + 1),), limits.RUN_PIECE + 1, digest, LimitError),
    ):
        with pytest.raises(error):
            await files.atake(path, pieces(*parts), size=size, digest=wanted)
        assert list(files.directory(run).iterdir()) == []
    await files.atake(path, pieces(data[:4], data[4:]), size=len(data), digest=digest)
    assert b"".join([piece async for piece in files.pieces(path)]) == data
    assert files.measure(path) == (digest, len(data))
    assert stat.S_IMODE(path.stat().st_mode) == 0o600


def test_rows_go_first_and_the_outcome_stays(tmp_path):
    files, run = RunFiles(tmp_path / "runs"), uuid7()
    (files.views(run) / "00.arrow").write_bytes(b"rows")
    for name in ("out", "in", "own"):
        for number in range(4):
            files.path(run, name, number).write_bytes(b"x")
    files.path(run, "outcome").write_bytes(b"y")
    files.forget(run, 3)
    left = {path.name for path in files.directory(run).iterdir()}
    assert left == {"views", "outcome"} | {f"{n}-{i:04d}" for n in ("out", "in", "own") for i in (0, 3)}
    assert files.unfinished() == [run]
    files.scrub(run, keep="outcome")
    assert files.unfinished() == []
    assert [path.name for path in files.directory(run).iterdir()] == ["outcome"]
    files.scrub(run)
    assert list(files.directory(run).iterdir()) == []
    files.scrub(uuid7())


def test_a_runs_id_cannot_lead_out_of_its_directory(tmp_path):
    with pytest.raises(InputError):
        RunFiles(tmp_path / "runs").directory("../elsewhere")
