"""The state database and the steps that stand on it: kill -9, cancelled callers, failing transactions."""

from __future__ import annotations

import asyncio
import contextlib
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio
from sqlalchemy import Connection, text

from gateway.errors import LedgerError, StorageError
from gateway.flow.steps import Step, Steps
from gateway.journal import Journal, Recorded
from gateway.model.ids import uuid7
from gateway.state import StateStore
from ledger.keys import create_key
from ledger.note import NoteSigner
from ledger.writer import LogWriter
from tests.faults.gateway.state_writer import pair

pytestmark = pytest.mark.faults

_ORIGIN = "tdz/testzone/2026-abcd"


@pytest_asyncio.fixture
async def state(tmp_path: Path) -> AsyncIterator[StateStore]:
    store = await StateStore.open(tmp_path / "state.db")
    yield store
    await store.close()


async def count(state: StateStore) -> int:
    return await state.read(lambda c: int(c.execute(text("SELECT count(*) FROM pending")).scalar_one()))


# --- the store ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("acknowledged", [1, 17, 60])
def test_what_was_acknowledged_survives_kill_9_during_heavy_writes(tmp_path: Path, acknowledged: int) -> None:
    path = tmp_path / "state.db"
    writer = subprocess.Popen(
        [sys.executable, "-m", "tests.faults.gateway.state_writer", str(path)], stdout=subprocess.PIPE
    )
    assert writer.stdout is not None
    told = [int(writer.stdout.readline()) for _ in range(acknowledged)]
    writer.kill()
    told += [int(line) for line in writer.stdout.read().split()]
    writer.wait()

    async def look() -> set[str]:
        state = await StateStore.open(path)
        found = await state.read(lambda c: set(c.execute(text("SELECT entry_id FROM pending")).scalars()))
        await state.close()
        return found

    found = asyncio.run(look())
    assert {f"{number}-{part}" for number in told for part in ("left", "right")} <= found
    numbers = {entry.partition("-")[0] for entry in found}
    assert found == {f"{number}-{part}" for number in numbers for part in ("left", "right")}, "half a transaction"
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA integrity_check").fetchall() == [("ok",)]


async def test_a_cancelled_caller_does_not_tear_its_transaction(state: StateStore) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def work(connection: Connection) -> None:
        begun.set()
        go_on.wait()
        pair(1)(connection)

    writing = asyncio.create_task(state.write(work))
    await asyncio.to_thread(begun.wait)
    writing.cancel()
    with pytest.raises(asyncio.CancelledError):
        await writing
    go_on.set()
    await state.write(pair(2))  # behind it: one writer
    assert await count(state) == 4


async def test_an_error_rolls_the_whole_transaction_back_and_the_store_goes_on(state: StateStore) -> None:
    def work(connection: Connection) -> None:
        pair(1)(connection)
        raise LookupError("no")

    with pytest.raises(LookupError):
        await state.write(work)
    assert await count(state) == 0
    await state.write(pair(1))
    with pytest.raises(StorageError, match="state database failed") as failed:
        await state.write(pair(1))  # the same keys again
    assert failed.value.remedy
    assert await count(state) == 2


async def test_a_reader_sees_one_snapshot_and_never_half_a_transaction(state: StateStore) -> None:
    async def write() -> None:
        for number in range(50):
            await state.write(pair(number))

    writing = asyncio.create_task(write())
    seen = []
    while not writing.done():
        seen.append(await count(state))
    await writing
    assert all(number % 2 == 0 for number in seen)
    assert seen == sorted(seen)


async def test_a_database_of_a_newer_version_is_refused_and_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    await (await StateStore.open(path)).close()
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute("PRAGMA user_version = 99")
    with pytest.raises(StorageError, match="schema 99") as refused:
        await StateStore.open(path)
    assert "newer version" in refused.value.remedy
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (99,)


async def test_what_is_no_database_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    path.write_bytes(b"this is no database" * 100)
    with pytest.raises(StorageError):
        await StateStore.open(path)


# --- steps ----------------------------------------------------------------------------------------------


@pytest_asyncio.fixture
async def journal(tmp_path: Path) -> AsyncIterator[Journal]:
    keys = {name: create_key(tmp_path / f"{name}.key") for name in ("log", "mirror")}
    LogWriter.create(tmp_path / "ledger", origin=_ORIGIN, signer=NoteSigner(_ORIGIN, keys["log"]))
    opened = await Journal.open(
        tmp_path / "ledger", origin=_ORIGIN, log_key=tmp_path / "log.key", mirror_key=tmp_path / "mirror.key"
    )
    yield opened
    await opened.close()


def effect(connection: Connection, arguments: Any, recorded: Recorded) -> None:
    """Keeps where the entry stands."""
    connection.execute(
        text("INSERT INTO pending VALUES (:id, 'effect', '', :seq, 0)"),
        {"id": arguments["id"], "seq": str(recorded.seq)},
    )


def steps_on(state: StateStore, journal: Journal) -> Steps:
    return Steps(state, journal, {"test": effect})


def step(name: str = "done") -> Step:
    return Step(kind="approval", subject="requests/1", body={}, effect="test", arguments={"id": name})


async def flows(state: StateStore) -> list[str]:
    return await state.read(lambda c: list(c.execute(text("SELECT flow FROM pending")).scalars()))


async def test_a_step_whose_caller_is_cancelled_is_whole_when_the_caller_hears_of_it(
    state: StateStore, journal: Journal
) -> None:
    steps, one = steps_on(state, journal), step()
    running = asyncio.create_task(steps.run(one))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    assert await journal.find(one.entry_id) is not None
    assert await flows(state) == ["effect"]


async def test_an_entry_that_the_ledger_refuses_leaves_neither_intent_nor_effect(
    state: StateStore, journal: Journal
) -> None:
    steps = steps_on(state, journal)
    too_long = Step(kind="approval", subject="requests/1", body={"text": "x" * 70_000}, effect="test")
    with pytest.raises(LedgerError):
        await steps.run(too_long)
    assert await flows(state) == []
    assert await journal.find(too_long.entry_id) is None


async def test_an_effect_that_the_database_refused_is_done_later_and_its_entry_stands_once(
    state: StateStore, journal: Journal
) -> None:
    steps, one = steps_on(state, journal), step("taken")
    await state.write(lambda c: effect(c, {"id": "taken"}, Recorded("", 0, 0)))  # stands in the effect's way
    await steps.run(one)
    await steps.close()
    assert sorted(await flows(state)) == ["effect", "test"]
    with pytest.raises(StorageError):
        await steps.finish_owed()
    await state.write(lambda c: c.execute(text("DELETE FROM pending WHERE entry_id='taken'")))
    size = journal.committed_size
    assert await steps.finish_owed() == 1
    assert await steps.finish_owed() == 0
    assert await flows(state) == ["effect"]
    assert journal.committed_size == size


async def test_a_start_finishes_pending_steps_and_doubles_nothing(state: StateStore, journal: Journal) -> None:
    one, recorded = step("recorded"), uuid7()
    await state.write(lambda c: effect(c, {"id": "recorded"}, Recorded("", 0, 0)))
    before = steps_on(state, journal)
    await before.run(one)
    await before.close()  # its entry stands, its effect does not: as after a crash
    await state.write(lambda c: c.execute(text("DELETE FROM pending WHERE entry_id='recorded'")))
    size = journal.committed_size
    assert await steps_on(state, journal).recover() == 1
    assert await steps_on(state, journal).recover() == 0
    assert (await flows(state), journal.committed_size) == (["effect"], size)
    assert await journal.find(recorded) is None


# --- what ends takes effect before it is recorded -------------------------------------------------------


def mark(connection: Connection, arguments: Any, _recorded: object) -> None:
    """Keeps that something has ended; again changes nothing."""
    connection.execute(text("INSERT OR IGNORE INTO pending VALUES (:id, 'ended', '', '', 0)"), {"id": arguments["id"]})


def ending(state: StateStore, journal: Journal) -> Steps:
    return Steps(state, journal, {"test": effect, "ends": mark})


def end(name: str = "over") -> Step:
    return Step(kind="revocation", subject="agreements/1", body={}, effect="ends", arguments={"id": name}, closing=True)


@contextlib.contextmanager
def unrecorded(journal: Journal) -> Iterator[None]:
    """The clock lies behind the last entry: nothing is signed until it is right again."""
    committer = journal.writer._committer
    right = committer._clock
    committer._clock = lambda: time.time_ns() - 3_600 * 10**9
    try:
        yield
    finally:
        committer._clock = right


async def test_what_ends_is_in_force_before_its_entry_and_the_entry_stands_once(
    state: StateStore, journal: Journal
) -> None:
    steps, one, seen = ending(state, journal), end(), list[int]()
    recorded = await steps.end(one, lambda: seen.append(journal.committed_size))
    assert recorded is not None
    assert (recorded.seq, seen) == (seen[0], [recorded.seq])
    assert await flows(state) == ["ended"]
    assert await steps.finish_owed() == 0


async def test_what_cannot_be_recorded_has_ended_all_the_same_and_nothing_opens_before_it_is(
    state: StateStore, journal: Journal
) -> None:
    steps, one = ending(state, journal), end()
    with unrecorded(journal):
        assert await steps.end(one) is None
        assert sorted(await flows(state)) == ["ended", "ends"]
        for again in (steps.finish_owed(), steps.run(step())):
            with pytest.raises(LedgerError):
                await again
    size = journal.committed_size
    await steps.run(step())  # which records first what is owed
    assert journal.committed_size == size + 2
    assert await journal.find(one.entry_id) is not None
    assert sorted(await flows(state)) == ["effect", "ended"]


async def test_a_start_records_what_had_ended_unrecorded(state: StateStore, journal: Journal) -> None:
    one = end()
    with unrecorded(journal):
        assert await ending(state, journal).end(one) is None
    size = journal.committed_size
    assert await ending(state, journal).recover() == 1
    assert await ending(state, journal).recover() == 0
    assert (await flows(state), journal.committed_size) == (["ended"], size + 1)


async def test_what_the_database_cannot_hold_has_not_ended(state: StateStore, journal: Journal) -> None:
    def fails(_connection: Connection, _arguments: Any, _recorded: object) -> None:
        raise StorageError("the disk is full")

    size, told = journal.committed_size, list[str]()
    with pytest.raises(StorageError):
        await Steps(state, journal, {"ends": fails}).end(end(), lambda: told.append("ended"))
    assert (await flows(state), journal.committed_size, told) == ([], size, [])


async def test_an_ending_whose_caller_goes_away_is_recorded(state: StateStore, journal: Journal) -> None:
    steps, one = ending(state, journal), end()
    running = asyncio.create_task(steps.end(one))
    await asyncio.sleep(0)
    running.cancel()
    with pytest.raises(asyncio.CancelledError):
        await running
    await steps.close()
    assert await journal.find(one.entry_id) is not None
    assert await flows(state) == ["ended"]
