"""kill -9 and a full disk: nothing half-done is visible, nothing verified is lost, the rest goes on."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import os
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landings
from gateway.storage.versions import VersionStore

WORKER = Path(__file__).parent / "worker.py"
pytestmark = pytest.mark.faults


def _load_worker() -> Any:
    spec = importlib.util.spec_from_file_location("storage_worker", WORKER)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


worker = _load_worker()


def start(*arguments: object, limit: int | None = None, steps: bool = False) -> subprocess.Popen[str]:
    # The worker confines itself: a function before exec would fork this process, gRPC's threads and all.
    confined = {} if limit is None else {worker.LIMIT: str(limit)}
    path = os.pathsep.join(filter(None, sys.path))
    return subprocess.Popen(
        [sys.executable, str(WORKER), *map(str, arguments)],
        stdin=subprocess.PIPE if steps else subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": path, **confined},
    )


def kill_at(done: Callable[[str], bool], *arguments: object, running: bool = False) -> list[str]:
    """Start a worker, step it on to the line that fits, kill -9.

    Args:
        running: let it go on from that line first, so that the kill comes somewhere in the step after it.
    """
    process = start(*arguments, steps=True)
    assert process.stdin is not None
    assert process.stdout is not None
    lines = []
    for line in process.stdout:
        lines.append(line.strip())
        if done(lines[-1]):
            if running:
                process.stdin.write("\n")
                process.stdin.flush()
            break
        process.stdin.write("\n")
        process.stdin.flush()
    process.kill()
    assert process.wait() == -signal.SIGKILL
    process.stdin.close()
    process.stdout.close()
    return lines


def finish(process: subprocess.Popen[str]) -> list[str]:
    out, _ = process.communicate()
    assert process.returncode == 0
    return out.split("\n")[:-1]


def check_names(root: Path) -> int:
    """A name never holds part of a file: every chunk file is what its name says."""
    files = [p for p in (root / "chunks").rglob("*") if p.is_file()]
    for path in files:
        assert hashlib.sha256(path.read_bytes()).hexdigest() == path.name
    return len(files)


def scratch(root: Path) -> list[Path]:
    return [p for name in ("tmp", "staging", "arriving") for p in (root / name).glob("*/*")]


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, str]:
    root = tmp_path_factory.mktemp("source")
    return root, finish(start("publish", root))[-1]


@pytest.mark.parametrize(("moment", "running"), [("3", True), ("finishing", False), ("finishing", True)])
def test_a_publish_that_is_killed_leaves_nothing_visible_and_is_done_again(
    tmp_path: Path, source: tuple[Path, str], moment: str, running: bool
) -> None:
    kill_at(lambda line: line == moment, "publish", tmp_path, running=running)
    check_names(tmp_path)
    seen = list(VersionStore(tmp_path))
    # Where it ran on, the kill may have come just after the version became visible.
    assert seen == [] or (running and seen == [source[1]])
    assert finish(start("publish", tmp_path))[-1] == source[1]
    assert list(VersionStore(tmp_path)) == [source[1]]
    assert check_names(tmp_path) == len(VersionStore(source[0]).open(source[1]).chunks)
    assert scratch(tmp_path) == []


def reaches(count: int) -> Callable[[str], bool]:
    return lambda line: line.startswith("verified") and int(line.split()[1]) >= count


@pytest.mark.parametrize(
    ("moment", "running"), [("from", True), ("verified", False), ("verified", True), ("finishing", True)]
)
def test_a_landing_that_is_killed_goes_on_where_it_was(
    tmp_path: Path, source: tuple[Path, str], moment: str, running: bool
) -> None:
    done = reaches(9) if moment == "verified" else lambda line: line.startswith(moment)
    lines = kill_at(done, "land", tmp_path, *source, running=running)
    verified = max((int(line.split()[1]) for line in lines if line.startswith("verified")), default=0)
    check_names(tmp_path)
    seen = list(VersionStore(tmp_path))
    assert seen == [] or (running and seen == [source[1]])
    resumed = finish(start("land", tmp_path, *source))
    assert int(resumed[0].split()[1]) >= verified
    assert resumed[-1] == source[1]
    assert check_names(tmp_path) == len(VersionStore(tmp_path).open(source[1]).chunks)
    assert scratch(tmp_path) == []


def test_a_landing_killed_again_and_again_arrives(tmp_path: Path, source: tuple[Path, str]) -> None:
    reached = 0
    for _ in range(3):
        lines = kill_at(reaches(reached + 4), "land", tmp_path, *source)
        assert int(lines[0].split()[1]) >= reached
        reached = int(lines[-1].split()[1])
        assert list(VersionStore(tmp_path)) == []
    assert finish(start("land", tmp_path, *source))[-1] == source[1]


def test_a_chunk_torn_while_the_process_was_down_is_fetched_again(tmp_path: Path, source: tuple[Path, str]) -> None:
    kill_at(reaches(6), "land", tmp_path, *source)
    torn = VersionStore(source[0]).open(source[1]).chunks[2].hex()
    os.truncate(tmp_path / "chunks" / torn[:2] / torn, 1_000)
    resumed = finish(start("land", tmp_path, *source))
    assert resumed[0] == "from 2"
    assert resumed[-1] == source[1]
    check_names(tmp_path)


def test_a_file_size_limit_while_landing_is_a_full_disk(tmp_path: Path, source: tuple[Path, str]) -> None:
    lines = finish(start("land", tmp_path, *source, limit=1_000_000))
    assert lines[-1].startswith("StorageError: the disk is full")
    assert "free space on the gateway's storage disk" in lines[-1]
    assert check_names(tmp_path) == 0
    assert list(VersionStore(tmp_path)) == []
    assert finish(start("land", tmp_path, *source))[-1] == source[1]


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 12 MiB that really runs full."""
    where = tmp_path / "disk"
    where.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=12m", "tdz-test", str(where)], capture_output=True, check=False
    )
    if mounted.returncode:
        pytest.skip("needs root with the right to mount a tmpfs (CAP_SYS_ADMIN)")
    try:
        yield where
    finally:
        subprocess.run(["umount", "-l", str(where)], check=True)


async def test_a_disk_that_fills_while_landing_loses_nothing_and_the_landing_goes_on_once_there_is_room(
    small_disk: Path, source: tuple[Path, str]
) -> None:
    lines = finish(start("land", small_disk, *source))
    assert lines[-1].startswith("StorageError: the disk is full")
    stored = check_names(small_disk)
    assert stored >= 3
    assert list(VersionStore(small_disk)) == []
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    resumed = finish(start("land", small_disk, *source))
    assert 0 < int(resumed[0].split()[1]) <= stored
    assert resumed[-1] == source[1]
    check_names(small_disk)


def test_a_disk_that_fills_while_publishing_leaves_no_version_and_no_scratch(
    small_disk: Path, source: tuple[Path, str]
) -> None:
    process = start("publish", small_disk)
    assert process.stdout is not None
    process.stdout.read()
    assert process.wait() == 1
    check_names(small_disk)
    subprocess.run(["mount", "-o", "remount,size=200m", str(small_disk)], check=True)
    assert list(VersionStore(small_disk)) == []
    assert finish(start("publish", small_disk))[-1] == source[1]
    assert scratch(small_disk) == []


async def test_a_task_cancelled_while_it_adds_leaves_a_landing_that_can_be_resumed(
    tmp_path: Path, source: tuple[Path, str]
) -> None:
    stored, source_chunks = VersionStore(source[0]).open(source[1]), ChunkStore(source[0])
    chunks, versions = ChunkStore(tmp_path), VersionStore(tmp_path)
    landings = Landings(tmp_path, chunks, versions)
    landing = worker.begin(landings, stored)

    async def pull() -> None:
        for index in range(len(stored.chunks)):
            await landing.add(index, [source_chunks.read(stored.chunks[index])])

    task = asyncio.create_task(pull())
    await landing.progress.wait_for(2)
    task.cancel()
    await asyncio.wait([task])
    await landing.close()
    again = landings.open(worker.TRANSFER)
    missing = await again.first_missing()
    assert missing >= 3
    for index in range(missing, len(stored.chunks)):
        await again.add(index, [source_chunks.read(stored.chunks[index])])
    assert await again.finish() == source[1]
    await again.remove()
    chunks.close()
    source_chunks.close()
