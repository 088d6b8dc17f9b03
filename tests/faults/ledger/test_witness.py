"""A witness killed at every step, with a storage that fails, and asked by many at once: one root for one size."""

from __future__ import annotations

import http.client
import json
import random
import signal
import sqlite3
import subprocess
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest

from ledger.errors import BadSignatureError, LedgerError
from ledger.evidence import Evidence
from ledger.witness.store import ForkKept, WitnessStore, create_witness
from tests.conformance.ledger.tlog import Key, Log, mth, verify_cosignature
from tests.conformance.ledger.witness_process import ROOT, Witness, command, running
from tests.faults.ledger.small_disk import fill, mounted
from tests.faults.ledger.witness_driver import STEPS

pytest.importorskip("aiohttp", reason="the extra `witness` is not installed")
pytestmark = pytest.mark.faults

KILLS = 4


def made_log(size: int, name: str = "example.com/log") -> Log:
    log = Log(Key(name, 1))
    log.grow(size)
    return log


@contextmanager
def dying(directory: Path, step: str, count: int) -> Iterator[Witness]:
    """A witness that dies at a step of its request number `count`."""
    driver = [sys.executable, "-m", "tests.faults.ledger.witness_driver", str(directory), step, str(count)]
    process = subprocess.Popen(driver, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        said = json.loads(process.stdout.readline())
        yield Witness(directory, said["url"], said["vkey"], process, directory)
        assert process.wait(timeout=20) == -signal.SIGKILL
    finally:
        process.kill()
        process.wait(timeout=20)
        if process.stdout is not None:
            process.stdout.close()


@pytest.mark.parametrize("step", STEPS)
def test_after_a_kill_at_any_step_only_the_history_that_was_signed_goes_on(step: str, tmp_path: Path) -> None:
    directory, log = tmp_path / "w", made_log(5)
    command("init", str(directory), "--name", "witness.example/w1")
    command("add-log", log.key.vkey, str(directory))
    fork = Log(log.key, log.leaves.copy())
    with dying(directory, step, 1) as witness:
        assert witness.add(log.request(0)).status == 200
        log.grow(3)
        with pytest.raises((http.client.HTTPException, OSError)):
            witness.add(log.request(5))
    persisted = step in ("committed", "answering")
    fork.grow(3, salt="fork")
    with running(directory) as witness:
        # The client that heard nothing asks again, and is told where the witness stands.
        answer = witness.add(log.request(5))
        assert answer.status == (409 if persisted else 200)
        if persisted:
            assert answer.body == b"8\n"
            answer = witness.add(log.request(8))
        assert verify_cosignature(answer.line, witness.vkey, log.text())
        assert witness.add(fork.request(5)).status == 409
        assert witness.ask("GET", "/health").status == 200
        assert len(list((directory / "evidence").iterdir())) == 1


class Storage:
    """A database whose COMMIT fails, persisted or not."""

    def __init__(self, db: sqlite3.Connection, *, persisted: bool) -> None:
        self._db, self._persisted, self.armed = db, persisted, True

    def __getattr__(self, name: str) -> Any:
        return getattr(self._db, name)

    def execute(self, statement: str, *values: Any) -> Any:
        if statement == "COMMIT" and self.armed:
            if self._persisted:
                self._db.execute("COMMIT")
            raise sqlite3.OperationalError("disk I/O error")
        return self._db.execute(statement, *values)


@pytest.mark.parametrize("persisted", [False, True])
def test_a_commit_that_fails_gives_no_cosignature_and_both_outcomes_go_on(tmp_path: Path, persisted: bool) -> None:
    log = made_log(5)
    create_witness(tmp_path / "w", "witness.example/w1")
    store = WitnessStore(tmp_path / "w")
    store.add_log(log.key.vkey)
    storage = Storage(store._db, persisted=persisted)
    store._db = storage  # type: ignore[assignment]
    with pytest.raises(sqlite3.OperationalError):
        store.add_checkpoint(log.request(0))
    storage.armed = False
    (known,) = store.logs()
    assert known.size == (5 if persisted else 0)
    line = store.add_checkpoint(log.request(known.size)).line
    assert verify_cosignature(f"{line}\n", store.vkey, log.text())
    store.close()


@pytest.mark.parametrize("kind", ["tmpfs", "ext4"])
def test_a_witness_on_a_full_disk_still_freezes_and_writes_what_it_knows_once_there_is_room(
    tmp_path: Path, kind: str
) -> None:
    log = made_log(5)
    fork = Log(log.key, [bytes(32), *log.leaves[1:]])
    with mounted(kind, tmp_path, 16) as disk:
        directory = disk / "w"
        create_witness(directory, "witness.example/w1")
        store = WitnessStore(directory)
        store.add_log(log.key.vkey)
        store.add_checkpoint(log.request(0))
        filler = fill(disk)
        # Whatever the disk takes, the fork is told as one, and the log's keys are trusted no more.
        with pytest.raises(ForkKept):
            store.add_checkpoint(fork.request(5))
        log.grow(2)
        for request in (log.request(5), fork.request(5)):
            with pytest.raises(BadSignatureError, match="trusted no more"):
                store.add_checkpoint(request)
        filler.unlink()
        with pytest.raises(BadSignatureError):
            store.add_checkpoint(log.request(5))
        store.close()
        store = WitnessStore(directory)
        assert "two roots" in store.logs()[0].frozen
        store.close()
        (file,) = (directory / "evidence").glob("*.json")
        assert Evidence.parse(file.read_bytes(), vkeys=[log.key.vkey]).origin == log.key.name


def test_an_evidence_folder_that_cannot_be_written_keeps_no_log_from_being_frozen(tmp_path: Path) -> None:
    create_witness(tmp_path / "w", "witness.example/w1")
    store, folder = WitnessStore(tmp_path / "w"), tmp_path / "w" / "evidence"
    folder.rmdir()
    folder.write_text("in the way")
    log = made_log(5)
    store.add_log(log.key.vkey)
    store.add_checkpoint(log.request(0))
    # The key is replaced, and the new one signs another history: both keys show it.
    new = Log(Key(log.key.name, 1), [bytes(32), *log.leaves[1:]])
    store.add_log(new.key.vkey, other_keys="replace")
    with pytest.raises(ForkKept) as refused:
        store.add_checkpoint(new.request(5))
    store.close()
    assert refused.value.path is not None
    assert folder.is_file()
    folder.unlink()
    store = WitnessStore(tmp_path / "w")
    assert refused.value.path.name in store.logs()[0].frozen
    store.close()
    data = refused.value.path.read_bytes()
    assert Evidence.parse(data, vkeys=[log.key.vkey, new.key.vkey]).second_by == (new.key.vkey,)
    with pytest.raises(LedgerError, match="no key that was given"):
        Evidence.parse(data, vkeys=[new.key.vkey])


def test_a_database_that_was_changed_or_lost_or_belongs_to_another_key_is_refused(tmp_path: Path) -> None:
    log, directory = made_log(5), tmp_path / "w"
    create_witness(directory, "witness.example/w1")
    store = WitnessStore(directory)
    store.add_log(log.key.vkey)
    store.add_checkpoint(log.request(0))
    store.close()
    for statement in ("UPDATE logs SET size = 4", "UPDATE logs SET note = x'00'", "UPDATE logs SET line = 'x'"):
        with sqlite3.connect(directory / "witness.db") as db:
            before = db.execute("SELECT size, note, line FROM logs").fetchone()
            db.execute(statement)
        with pytest.raises(LedgerError, match=r"witness\.db"):
            WitnessStore(directory)
        with sqlite3.connect(directory / "witness.db") as db:
            db.execute("UPDATE logs SET size = ?, note = ?, line = ?", before)
    WitnessStore(directory).close()
    create_witness(tmp_path / "other", "witness.example/w1")
    kept = (directory / "witness.key").read_bytes()
    (directory / "witness.key").write_bytes((tmp_path / "other/witness.key").read_bytes())
    with pytest.raises(LedgerError, match="is not that of"):
        WitnessStore(directory)
    (directory / "witness.key").write_bytes(kept)
    (directory / "witness.key").chmod(0o644)
    with pytest.raises(LedgerError, match="others may read"):
        WitnessStore(directory)
    (directory / "witness.key").chmod(0o600)
    (directory / "witness.db").unlink()
    with pytest.raises(LedgerError, match="new key"):
        WitnessStore(directory)


def test_a_clock_that_was_set_back_signs_nothing_and_a_little_less_never_goes_back(tmp_path: Path) -> None:
    log, now = made_log(5), [2_000_000_000.0]
    create_witness(tmp_path / "w", "witness.example/w1")
    store = WitnessStore(tmp_path / "w", clock=lambda: now[0])
    store.add_log(log.key.vkey)
    first = store.add_checkpoint(log.request(0)).line
    now[0] -= 20
    second = store.add_checkpoint(log.request(5)).line
    times = [verify_cosignature(f"{each}\n", store.vkey, log.text()) for each in (first, second)]
    assert times == [2_000_000_000, 2_000_000_000]
    now[0] -= 600
    with pytest.raises(LedgerError, match="behind the last cosignature"):
        store.add_checkpoint(log.request(5))
    store.close()


class Client(threading.Thread):
    """Submits sizes of one history as fast as it is answered; keeps every cosignature."""

    def __init__(self, urls: list[str], log: Log, vkey: str, stop: threading.Event, seed: int) -> None:
        super().__init__()
        self.urls, self.log, self.vkey, self.stop = urls, log, vkey, stop
        self.random = random.Random(seed)
        self.cosigned: list[tuple[int, bytes, int]] = []
        self.statuses: dict[int, int] = {}
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            old = 0
            while not self.stop.is_set():
                old = self.submit(old)
        except BaseException as error:
            self.failure = error

    def submit(self, old: int) -> int:
        size = min(max(old, self.random.randrange(1, len(self.log.leaves))), old + self.random.randrange(4))
        witness = Witness(Path(), self.random.choice(self.urls), self.vkey, None, Path())  # type: ignore[arg-type]
        try:
            answer = witness.add(self.log.request(old, size))
        except (http.client.HTTPException, OSError):
            return old  # it was killed, and is started again
        self.statuses[answer.status] = self.statuses.get(answer.status, 0) + 1
        if answer.status == 200:
            verify_cosignature(answer.line, self.vkey, self.log.text(size))
            self.cosigned.append((size, mth(self.log.leaves[:size]), time.monotonic_ns()))
            return size
        return int(answer.body) if answer.status == 409 else old


def test_many_clients_of_two_histories_with_kills_never_get_two_roots_for_one_size(tmp_path: Path) -> None:
    """Two witness processes on one directory, a log with two histories, kills, and a person who thaws it at once."""
    directory, honest = tmp_path / "w", made_log(400)
    fork = Log(honest.key, honest.leaves[:3])
    fork.grow(397, salt="fork")
    command("init", str(directory), "--name", "witness.example/w1")
    command("add-log", honest.key.vkey, str(directory))
    stop, chance = threading.Event(), random.Random(5)
    thawed = 0
    with running(directory) as steady:
        urls = [steady.url, ""]
        clients = [Client(urls, (honest, fork)[n % 2], steady.vkey, stop, n) for n in range(10)]
        for _ in range(KILLS):
            with running(directory) as other:
                urls[1] = other.url
                for client in clients:
                    if client.ident is None:
                        client.start()
                dies = time.monotonic() + chance.uniform(0.3, 0.9)
                with opened(directory) as store:
                    while time.monotonic() < dies:
                        thawed += bool(store.logs()[0].frozen)
                        store.freeze(honest.key.name, "")
                        time.sleep(0.01)  # the person's pace
                assert other.stop(signal.SIGKILL) == -signal.SIGKILL
        stop.set()
        for client in clients:
            client.join(30)
        answers = [each.statuses for each in clients]
    assert [each.failure for each in clients if each.failure] == []
    roots: dict[int, set[bytes]] = {}
    for client in clients:
        for size, root, _ in client.cosigned:
            roots.setdefault(size, set()).add(root)
    cosignatures = sum(len(each.cosigned) for each in clients)
    assert {size: len(found) for size, found in roots.items() if len(found) > 1} == {}
    # Nor ever two histories one after the other.
    assert len({root == mth(honest.leaves[:size]) for size, (root,) in roots.items() if size > 3}) == 1
    assert cosignatures > 10, answers
    assert thawed > 0
    (file,) = (directory / "evidence").glob("*.json")  # one for the log and its key, however often it forked
    assert Evidence.parse(file.read_bytes(), vkeys=[honest.key.vkey]).origin == honest.key.name
    print(f"{cosignatures} cosignatures over {len(roots)} sizes, {KILLS} kills, thawed {thawed} times, {answers}")


def test_many_clients_at_once_on_one_log_are_all_answered_along_one_history(tmp_path: Path) -> None:
    directory, log, stop = tmp_path / "w", made_log(400), threading.Event()
    command("init", str(directory), "--name", "witness.example/w1")
    command("add-log", log.key.vkey, str(directory))
    with running(directory) as witness:
        clients = [Client([witness.url], log, witness.vkey, stop, n) for n in range(16)]
        for client in clients:
            client.start()
        until = time.monotonic() + 60
        while not all(each.cosigned for each in clients) or sum(len(each.cosigned) for each in clients) <= 50:
            assert time.monotonic() < until, [each.failure or each.statuses for each in clients]
            time.sleep(0.05)
        stop.set()
        for client in clients:
            client.join(30)
        (known,) = witness.command("logs")["logs"]  # type: ignore[misc]
    assert [each.failure for each in clients if each.failure] == []
    assert {status for each in clients for status in each.statuses} <= {200, 409}
    cosigned = sorted((at, size) for each in clients for size, _, at in each.cosigned)
    assert len(cosigned) > 50
    assert known["size"] == max(size for _, size in cosigned)
    assert all(each.cosigned for each in clients)


@contextmanager
def opened(directory: Path) -> Iterator[WitnessStore]:
    store = WitnessStore(directory)
    try:
        yield store
    finally:
        store.close()
