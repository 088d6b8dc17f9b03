"""Runs the story once per operation in a child process that is killed there. Not a test.

Usage: kill_driver.py log|mirror|operations|fork|recover PREPARED WORK. Prints the number of operations. Each child
writes what it was told to ``WORK/<n>.told`` at once, so that it outlives the child.
"""

from __future__ import annotations

import asyncio
import json
import os
import signal
import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from faulty_storage import FaultyStorage, Mode
from operations_story import run_operations
from story import Event, copy, run_fork, run_log, run_mirror, run_recover

from ledger.writer import Appended


def _ended(error: BaseException) -> None:
    os.write(2, f"the process would end: {error}\n".encode())
    os._exit(70)


def _child(what: str, prepared: Path, work: Path, at: int | None) -> int:
    """Run the story; returns the number of operations where it was not killed."""
    name = "all" if at is None else str(at)
    target = copy(prepared, work / name)
    told = os.open(work / f"{name}.told", os.O_WRONLY | os.O_CREAT | os.O_APPEND)

    def acknowledge(event: Event, result: Appended) -> None:
        os.write(told, (json.dumps([event.id, result.seq, result.leaf_hash.hex()]) + "\n").encode())

    def cosigned(size: int, text: str, line: str) -> None:
        os.write(told, (json.dumps([size, text, line]) + "\n").encode())

    def done(step: str, seq: int, leaf: str) -> None:
        os.write(told, (json.dumps([step, seq, leaf]) + "\n").encode())

    def signed(line: str) -> None:
        os.write(told, (json.dumps([line]) + "\n").encode())

    storage = FaultyStorage(at, Mode.KILL)
    if what == "operations":
        asyncio.run(run_operations(target / "log", storage, _ended, done))
    elif what == "log":
        asyncio.run(run_log(target / "log", storage, _ended, acknowledge))
    elif what == "fork":
        asyncio.run(
            run_fork(
                target / "peer",
                target / "other",
                storage,
                _ended,
                signed,
            )
        )
    elif what == "recover":
        run_recover(target / "again", target / "peer", storage)
    else:
        asyncio.run(run_mirror(target / "peer", target / "log", storage, _ended, cosigned))
    return storage.operations


def main() -> None:
    what, prepared, work = sys.argv[1], Path(sys.argv[2]), Path(sys.argv[3])
    reading, writing = os.pipe()
    if os.fork() == 0:
        os.write(writing, str(_child(what, prepared, work, None)).encode())
        os._exit(0)
    os.wait()
    operations = int(os.read(reading, 100))
    for at in range(operations):
        child = os.fork()
        if child == 0:
            _child(what, prepared, work, at)
            os._exit(99)
        _, status = os.waitpid(child, 0)
        if not os.WIFSIGNALED(status) or os.WTERMSIG(status) != signal.SIGKILL:
            sys.exit(f"the child at operation {at} was not killed: status {status}")
    sys.stdout.write(f"{operations}\n")


main()
