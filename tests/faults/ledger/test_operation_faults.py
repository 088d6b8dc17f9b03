"""Rotation, sealing, erasing, thinning: every storage operation fails, or the process dies there."""

from __future__ import annotations

import asyncio
import json
import os
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from faulty_storage import FaultyStorage, Mode
from operations_story import (
    check_followed_key,
    check_operations,
    prepare_operations,
    run_followed_key,
    run_operations,
)
from story import copy

from ledger.errors import LedgerError
from ledger.storage import SyncError

pytestmark = pytest.mark.faults

FAILURES = [Mode.NOT_PERSISTED, Mode.PERSISTED, Mode.POWER_LOSS]


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: these tests inject their faults, and have no use for a real fsync."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def prepared(memory: Path) -> Path:
    asyncio.run(prepare_operations(memory / "prepared"))
    return memory / "prepared"


def _ignore(*_: Any) -> None:
    return


def _count(prepared: Path, work: Path) -> int:
    storage = FaultyStorage(None, Mode.NOT_PERSISTED)
    told: list[Any] = []
    target = copy(prepared, work / "count")
    asyncio.run(run_operations(target / "log", storage, _ignore, lambda *each: told.append(each)))
    assert [step for step, _, _ in told] == [
        *("wrong", "corrected", "committed", "rotated", "appended", "erased", "sealed")
    ]
    asyncio.run(check_operations(target / "log", told))
    return storage.operations


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_an_operation_that_fails_anywhere_loses_nothing_and_keeps_nothing_that_was_erased(
    prepared: Path, memory: Path, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    work = memory / mode.value
    operations = _count(prepared, work)
    assert operations > 100
    for at in range(operations):
        target = copy(prepared, work / str(at))
        told: list[Any] = []
        ended: list[BaseException] = []
        storage = FaultyStorage(at, mode)

        async def story(target: Path = target, storage: Any = storage, told: Any = told, ended: Any = ended) -> None:
            try:
                await run_operations(target / "log", storage, ended.append, lambda *each: told.append(each))
            except (LedgerError, SyncError) as error:  # at the start
                ended.append(error)
            await check_operations(target / "log", told)

        asyncio.run(story())
        assert storage.failed, at
        assert ended, f"{storage.failed} was swallowed"
    with capsys.disabled():
        print(f"\noperations of keys, erasing and sealing that failed, {mode.value}: {operations}")


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_a_mirror_that_fails_anywhere_while_it_follows_a_key_goes_on_by_it(
    prepared: Path, memory: Path, mode: Mode, capsys: pytest.CaptureFixture[str]
) -> None:
    work = memory / f"followed {mode.value}"
    counting = FaultyStorage(None, mode)
    asyncio.run(run_followed_key(copy(prepared, work / "count"), counting, _ignore, _ignore))
    assert counting.operations > 30
    for at in range(counting.operations):
        target = copy(prepared, work / str(at))
        told: list[Any] = []
        storage = FaultyStorage(at, mode)

        async def story(target: Path = target, storage: Any = storage, told: Any = told) -> None:
            try:
                await run_followed_key(target, storage, _ignore, lambda *each: told.append(each))
            except (LedgerError, SyncError):  # at the start
                assert storage.failed
            await check_followed_key(target, told)

        asyncio.run(story())
        assert storage.failed, at
    with capsys.disabled():
        print(f"\noperations of following a key that failed, {mode.value}: {counting.operations}")


def test_kill_9_at_any_step_loses_nothing_and_keeps_nothing_that_was_erased(
    prepared: Path, tmp_path: Path, memory: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    work = memory / "killed"
    work.mkdir()
    driver = Path(__file__).parent / "kill_driver.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(driver), "operations", str(prepared), str(work)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    operations = int(done.stdout)
    assert operations > 100
    for at in [*map(str, range(operations)), "all"]:
        told = [tuple(json.loads(line)) for line in (work / f"{at}.told").read_text().splitlines()]
        asyncio.run(check_operations(work / at / "log", told))
    with capsys.disabled():
        print(f"\ncrash points killed among operations of keys, erasing and sealing: {operations}")
