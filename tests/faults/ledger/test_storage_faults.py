"""Every storage operation of commit and of mirroring fails, or the process dies there; nothing told is lost."""

from __future__ import annotations

import asyncio
import errno
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
from story import (
    SIGNER,
    check_fork,
    check_log,
    check_mirror,
    check_recover,
    copy,
    events,
    open_mirror,
    prepare,
    prepare_fork,
    push,
    run_fork,
    run_log,
    run_mirror,
    run_recover,
)

from ledger.entry import Entry, new_id
from ledger.errors import LedgerError, MirrorFullError, StoppedError, StorageFullError
from ledger.storage import SyncError
from ledger.verify import verify_directory
from ledger.writer import LogWriter

pytestmark = pytest.mark.faults

FAILURES = [Mode.NOT_PERSISTED, Mode.PERSISTED, Mode.POWER_LOSS]
PLANNED = [event for batch in events() for event in batch]


@pytest.fixture(scope="module")
def memory() -> Iterator[Path]:
    """A folder in memory where there is one: these tests inject their faults, and have no use for a real fsync."""
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as directory:
        yield Path(directory)


@pytest.fixture(scope="module")
def prepared(memory: Path) -> Path:
    asyncio.run(prepare(memory / "prepared"))
    return memory / "prepared"


@pytest.fixture
def tmp_path(memory: Path) -> Iterator[Path]:
    with tempfile.TemporaryDirectory(dir=memory) as directory:
        yield Path(directory)


def _ignore(*_: Any) -> None:
    return


def _operations(run: Any) -> Iterator[int]:
    storage = FaultyStorage(None, Mode.NOT_PERSISTED)
    asyncio.run(run(storage))
    assert storage.operations > 40
    return iter(range(storage.operations))


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_a_commit_that_fails_at_any_operation_loses_and_doubles_nothing(
    prepared: Path, tmp_path: Path, mode: Mode
) -> None:
    count = copy(prepared, tmp_path / "count")
    for at in _operations(lambda storage: run_log(count / "log", storage, _ignore, _ignore)):
        target = copy(prepared, tmp_path / str(at))
        acknowledged: dict[str, tuple[int, str]] = {}
        ended: list[BaseException] = []
        storage = FaultyStorage(at, mode)

        async def story(
            target: Path = target, storage: Any = storage, ended: Any = ended, told: Any = acknowledged
        ) -> None:
            def acknowledge(event: Any, result: Any) -> None:
                told[event.id] = (result.seq, result.leaf_hash.hex())

            await run_log(target / "log", storage, ended.append, acknowledge)
            await check_log(target / "log", told, PLANNED)

        asyncio.run(story())
        assert storage.failed
        # Every error ends the process; none is swallowed.
        assert len(ended) == 1, storage.failed


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_a_recovery_that_fails_at_any_operation_is_finished_by_the_next(
    prepared: Path, tmp_path: Path, mode: Mode
) -> None:
    count = copy(prepared, tmp_path / "count")
    storage = FaultyStorage(None, mode)
    asyncio.run(run_log(count / "log", storage, _ignore, _ignore))
    last_commit = max(number for number, name in enumerate(storage.names) if name == "commit")
    crashed = copy(prepared, tmp_path / "crashed")
    # Committed and not published: the replay writes full and partial tiles anew.
    asyncio.run(run_log(crashed / "log", FaultyStorage(last_commit, Mode.PERSISTED), _ignore, _ignore))

    async def start(target: Path, storage: FaultyStorage) -> None:
        writer = await LogWriter.open(target / "log", SIGNER, storage=storage)
        await writer.close()

    counting = FaultyStorage(None, mode)
    asyncio.run(start(copy(crashed, tmp_path / "start"), counting))
    assert counting.operations > 15
    for at in range(counting.operations):
        target = copy(crashed, tmp_path / str(at))
        storage = FaultyStorage(at, mode)
        with pytest.raises(SyncError):
            asyncio.run(start(target, storage))
        asyncio.run(check_log(target / "log", {}, PLANNED))


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_mirroring_that_fails_at_any_operation_signs_nothing_untrue(prepared: Path, tmp_path: Path, mode: Mode) -> None:
    count = copy(prepared, tmp_path / "count")
    for at in _operations(lambda storage: run_mirror(count / "peer", count / "log", storage, _ignore, _ignore)):
        target = copy(prepared, tmp_path / str(at))
        cosigned: list[tuple[int, str, str]] = []
        storage = FaultyStorage(at, mode)

        async def story(target: Path = target, storage: Any = storage, cosigned: Any = cosigned) -> None:
            try:
                await run_mirror(target / "peer", target / "log", storage, _ignore, lambda *each: cosigned.append(each))
            except (LedgerError, SyncError):
                assert storage.failed
            await check_mirror(target / "peer", target / "log", cosigned)

        asyncio.run(story())
        assert storage.failed


@pytest.fixture(scope="module")
def forked(memory: Path, prepared: Path) -> Path:
    copy(prepared, memory / "forked")
    asyncio.run(prepare_fork(memory / "forked"))
    return memory / "forked"


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_evidence_that_fails_at_any_operation_is_kept_by_the_next_push_and_nothing_is_cosigned(
    forked: Path, tmp_path: Path, mode: Mode
) -> None:
    count = copy(forked, tmp_path / "count")
    counting = FaultyStorage(None, mode)
    asyncio.run(run_fork(count / "peer", count / "other", counting, _ignore, _ignore))
    assert counting.operations > 5
    for at in range(counting.operations):
        target = copy(forked, tmp_path / str(at))
        cosigned: list[str] = []
        storage = FaultyStorage(at, mode)

        async def story(target: Path = target, storage: Any = storage, cosigned: Any = cosigned) -> None:
            try:
                await run_fork(target / "peer", target / "other", storage, _ignore, cosigned.append)
            except (LedgerError, SyncError):
                assert storage.failed
            await check_fork(target / "peer", target / "log", target / "other")

        asyncio.run(story())
        assert storage.failed
        assert cosigned == []


@pytest.mark.parametrize("mode", FAILURES, ids=lambda mode: mode.value)
def test_a_recovery_from_the_mirror_that_fails_at_any_operation_leaves_all_or_nothing(
    prepared: Path, tmp_path: Path, mode: Mode
) -> None:
    counting = FaultyStorage(None, mode)
    count = copy(prepared, tmp_path / "count")
    run_recover(count / "again", count / "peer", counting)
    assert counting.operations > 20
    for at in range(counting.operations):
        target = copy(prepared, tmp_path / str(at))
        storage = FaultyStorage(at, mode)
        with pytest.raises((SyncError, LedgerError)):
            run_recover(target / "again", target / "peer", storage)
        assert storage.failed
        asyncio.run(check_recover(target / "again", target / "peer"))


@pytest.mark.parametrize("what", ["fork", "recover"])
def test_kill_9_at_any_operation_of_a_fork_or_a_recovery_leaves_what_the_next_start_finishes(
    forked: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    operations = _killed(what, forked, tmp_path)
    assert operations > 5
    for at in [*map(str, range(operations)), "all"]:
        target = tmp_path / at
        assert (tmp_path / f"{at}.told").read_text() == ""
        if what == "fork":
            asyncio.run(check_fork(target / "peer", target / "log", target / "other"))
        else:
            asyncio.run(check_recover(target / "again", target / "peer"))
    with capsys.disabled():
        print(f"\ncrash points killed, {what}: {operations}")


def _killed(what: str, prepared: Path, work: Path) -> int:
    """Run the driver; the number of operations at which it was killed."""
    driver = Path(__file__).parent / "kill_driver.py"
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    done = subprocess.run(
        [sys.executable, str(driver), what, str(prepared), str(work)],
        capture_output=True,
        text=True,
        check=False,
        env=environment,
    )
    assert done.returncode == 0, done.stderr
    return int(done.stdout)


@pytest.mark.parametrize("what", ["log", "mirror"])
def test_kill_9_at_any_operation_loses_nothing_that_was_told(
    prepared: Path, tmp_path: Path, what: str, capsys: pytest.CaptureFixture[str]
) -> None:
    operations = _killed(what, prepared, tmp_path)
    assert operations > 40
    for at in [*map(str, range(operations)), "all"]:
        told = [json.loads(line) for line in (tmp_path / f"{at}.told").read_text().splitlines()]
        target = tmp_path / at
        if what == "log":
            ids = [each[0] for each in told]
            planned = _planned(target / "log", ids)
            asyncio.run(check_log(target / "log", {each[0]: (each[1], each[2]) for each in told}, planned))
        else:
            asyncio.run(check_mirror(target / "peer", target / "log", [tuple(each) for each in told]))
    with capsys.disabled():
        print(f"\ncrash points killed, {what}: {operations}")


def _planned(log: Path, told: list[str]) -> list[Any]:
    """The driver chose its ids itself: take up those that it was told, and those that are on disk."""

    async def ids() -> list[str]:
        writer = await LogWriter.open(log, SIGNER)
        found = [Entry.parse(each).id for each in await writer.read(253, 9999, 1 << 30)]
        await writer.close()
        return found

    found = asyncio.run(ids())
    assert found[: len(told)] == told
    fresh = [new_id() for _ in range(len(PLANNED) - len(found))]
    return [event for batch in events([*found, *fresh]) for event in batch]


async def test_a_full_disk_at_the_commit_point_fails_the_batch_and_the_log_lives(
    prepared: Path, tmp_path: Path
) -> None:
    target = copy(prepared, tmp_path / "full")
    storage = FaultyStorage(0, Mode.NOT_PERSISTED, OSError(errno.ENOSPC, "No space left on device"))
    writer = await LogWriter.open(target / "log", SIGNER, storage=storage)
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "x", "body": {}}
    with pytest.raises(StorageFullError):
        await writer.append(**entry)
    assert storage.failed == "commit database"
    assert (await writer.append(**entry)).seq == 253
    await writer.close()
    assert verify_directory(target / "log", vkey=SIGNER.vkey).findings == []


async def test_a_full_disk_that_was_told_after_the_commit_ends_the_process_and_the_entry_stands(
    prepared: Path, tmp_path: Path
) -> None:
    target = copy(prepared, tmp_path / "told")
    ended: list[BaseException] = []
    storage = FaultyStorage(0, Mode.PERSISTED, OSError(errno.ENOSPC, "No space left on device"))
    writer = await LogWriter.open(target / "log", SIGNER, storage=storage, fatal=ended.append)
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "x", "body": {}}
    with pytest.raises(StoppedError):
        await writer.append(**entry)
    await writer.close()
    assert len(ended) == 1
    writer = await LogWriter.open(target / "log", SIGNER)
    assert (await writer.append(**entry)).seq == 253
    await writer.close()


async def test_a_full_disk_while_mirroring_refuses_the_push_or_puts_its_files_off_and_it_goes_on_later(
    prepared: Path, tmp_path: Path
) -> None:
    count = FaultyStorage(None, Mode.NOT_PERSISTED)
    target = copy(prepared, tmp_path / "count")
    await run_mirror(target / "peer", target / "log", count, _ignore, _ignore)
    creates = [number for number, name in enumerate(count.names) if name == "create"]
    refused = 0
    for at in creates:
        target = copy(prepared, tmp_path / str(at))
        storage = FaultyStorage(at, Mode.NOT_PERSISTED, OSError(errno.ENOSPC, "No space left on device"))
        try:
            await run_mirror(target / "peer", target / "log", storage, _ignore, _ignore)
        except MirrorFullError:
            refused += 1
        assert storage.failed
        mirror = await open_mirror(target / "peer")
        writer = await LogWriter.open(target / "log", SIGNER)
        await push(writer, mirror)
        await mirror.close()
        await writer.close()
        await check_mirror(target / "peer", target / "log", [])
    assert 0 < refused < len(creates)
