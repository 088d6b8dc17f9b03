"""The loop behind the synchronous face, as a thread that waits for it sees it."""

from __future__ import annotations

import asyncio
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from gateway.sdk.runtime import Runtime

ROOT = Path(__file__).parents[3]
# Blocked in the main thread, the signal is taken by another: the wait for the lock goes on, as it does where the
# signal comes a moment before the wait.
WAITING = """
import asyncio, signal
from gateway.sdk.runtime import Runtime

runtime = Runtime.acquire()
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})

async def for_ever():
    print("waiting", flush=True)
    try:
        await asyncio.Event().wait()
    finally:
        print("cancelled", flush=True)

try:
    runtime.run(for_ever())
except KeyboardInterrupt:
    print("interrupted", flush=True)
"""


@pytest.fixture
def runtime() -> Iterator[Runtime]:
    found = Runtime.acquire()
    yield found
    found.release()


def test_an_interrupt_is_heeded_also_where_it_does_not_cut_the_wait_short() -> None:
    with subprocess.Popen([sys.executable, "-c", WAITING], cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            assert process.stdout.readline() == "waiting\n"
            process.send_signal(signal.SIGINT)
            assert process.communicate(timeout=30)[0] == "cancelled\ninterrupted\n"
        finally:
            process.kill()


def test_an_answer_that_takes_its_time_comes(runtime: Runtime) -> None:
    assert runtime.run(asyncio.sleep(1.2, "at last")) == "at last"


def test_a_deadline_of_the_coroutine_is_its_own(runtime: Runtime) -> None:
    async def late() -> None:
        async with asyncio.timeout(0.01):
            await asyncio.Event().wait()

    with pytest.raises(TimeoutError):
        runtime.run(late())
