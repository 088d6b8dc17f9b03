"""The embedded engine behind its port: worker processes, spawned, timed, killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
import sys
from pathlib import Path
from typing import Any, Final, Protocol

from gateway.decisions.policy_set import ZonePolicy
from gateway.decisions.worker import FRAME_MAX
from gateway.errors import ConfigError, DecisionUnavailableError
from gateway.model.limits import DECISION_DEADLINE_S, DECISION_OUTPUT_MAX, MIB

_LENGTH: Final = struct.Struct(">I")
_START_DEADLINE_S: Final = 30.0
_WATCH_S: Final = 0.02
WORKER_MEMORY_MAX: Final = 256 * MIB  # a worker at rest takes about 30 MiB
_PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[2])


class Engine(Protocol):
    """What evaluates the policy in force: nothing is stored, nothing is retried."""

    async def evaluate(self, document: bytes) -> object:
        """The value of the entrypoint for one input document in JSON.

        Raises:
            DecisionUnavailableError: no answer in time, a crash, an error, or an undefined result.
        """


class EmbeddedEngine:
    """regopy in worker processes: one at work, one spare warm.

    A worker that crashes, hangs or answers garbage costs the one decision that it was at; it is killed and
    the spare takes over. Decisions wait for each other in the order they came.

    Args:
        policy: what is evaluated.
        deadline_s: seconds after which a worker that has not answered is killed.
        python: the interpreter to run workers with.
    """

    def __init__(
        self, policy: ZonePolicy, *, deadline_s: float = DECISION_DEADLINE_S, python: str = sys.executable
    ) -> None:
        self._policy = policy
        self._load = b""
        self._deadline_s = deadline_s
        self._python = python
        self._lock = asyncio.Lock()
        self._worker: _Worker | None = None
        self._spare: asyncio.Task[_Worker] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Start the first worker and, in the background, the spare.

        Raises:
            ConfigError: the policy does not compile.
            DecisionUnavailableError: no worker could be started.
        """
        self._load = await self._compile()
        self._worker = await self._spawn()
        self._spare = asyncio.create_task(self._spawn())

    async def evaluate(self, document: bytes) -> object:
        """See `Engine.evaluate`."""
        async with self._lock:
            worker = await self._ready()
            answered = False
            try:
                answer = await self._watched(worker, document)
                answered = True
            finally:
                if not answered:  # also where the caller went away: the pipe holds half an exchange
                    self._discard(worker)
        if "error" in answer:
            raise DecisionUnavailableError(f"the policy engine failed: {_one_line(answer['error'])}")
        if set(answer) != {"result"}:
            raise DecisionUnavailableError("the policy gave no result")
        return answer["result"]

    async def _watched(self, worker: _Worker, document: bytes) -> dict[str, Any]:
        """The worker's answer, unless time or memory run out first.

        A rule can eat gigabytes within the deadline, and address space limits are no use: the engine's
        allocator reserves far more than it touches.
        """
        asked = asyncio.ensure_future(worker.ask(document))
        clock = asyncio.get_running_loop().time
        deadline = clock() + self._deadline_s
        try:
            while not asked.done():
                left = deadline - clock()
                if left <= 0:
                    raise DecisionUnavailableError(f"the policy engine gave no answer in {self._deadline_s:g} s")
                if worker.resident_bytes() > WORKER_MEMORY_MAX:
                    raise DecisionUnavailableError("the policy engine took too much memory")
                await asyncio.wait({asked}, timeout=min(left, _WATCH_S))
            return asked.result()
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    async def close(self) -> None:
        """End all workers."""
        self._closed = True
        spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(ConfigError, DecisionUnavailableError):
                await (await spare).close()
        if self._worker is not None:
            self._discard(self._worker)
        await asyncio.gather(*self._ending)

    def _discard(self, worker: _Worker) -> None:
        """Kill a worker now and reap it in the background."""
        if self._worker is worker:
            self._worker = None
        worker.kill()
        ending = asyncio.ensure_future(worker.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now."""
        workers = [self._worker]
        if self._spare is not None and self._spare.done() and self._spare.exception() is None:
            workers.append(self._spare.result())
        return tuple(worker.pid for worker in workers if worker is not None)

    async def _ready(self) -> _Worker:
        if self._closed:
            raise DecisionUnavailableError("the policy engine is closed")
        if self._worker is not None and self._worker.alive:
            return self._worker
        if self._worker is not None:
            self._discard(self._worker)
        spare, self._spare = self._spare, None
        try:
            worker = await (asyncio.shield(spare) if spare is not None else self._spawn())
        except ConfigError as error:
            raise DecisionUnavailableError(f"the policy engine does not start: {error.message}") from error
        finally:
            self._spare = asyncio.create_task(self._spawn())
        if not worker.alive:
            self._discard(worker)
            worker = await self._spawn()
        self._worker = worker
        return worker

    async def _compile(self) -> bytes:
        """The first frame of every worker: the compiled policy."""
        policy = self._policy
        sources = {"modules": dict(policy.modules), "data": policy.data, "entrypoint": policy.entrypoint}
        worker, bundle = await self._first_answer(json.dumps(sources).encode())
        await worker.ended()
        return json.dumps({"bundle": bundle, "entrypoint": policy.entrypoint}).encode()

    async def _spawn(self) -> _Worker:
        worker, _ = await self._first_answer(self._load)
        return worker

    async def _first_answer(self, first: bytes) -> tuple[_Worker, object]:
        """A new worker and what it says to its first frame.

        Raises:
            ConfigError: it says that the policy does not compile.
            DecisionUnavailableError: it says nothing in time, or cannot be started.
        """
        worker = await _Worker.spawn(self._python)
        try:
            answer = await asyncio.wait_for(worker.ask(first, answer_max=FRAME_MAX), _START_DEADLINE_S)
        except BaseException as error:
            self._discard(worker)
            if isinstance(error, TimeoutError):
                raise DecisionUnavailableError("the policy engine did not start in time") from error
            raise
        if "error" in answer:
            await worker.close()
            raise ConfigError(
                f"the policy does not compile: {_one_line(answer['error'])}",
                remedy="check the policy directory; the previous policy stays in force",
            )
        return worker, answer.get("result")


class _Worker:
    """One worker process and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ending = False

    @classmethod
    async def spawn(cls, python: str) -> _Worker:
        """Start a process; its environment holds nothing but where this package stands."""
        try:
            process = await asyncio.create_subprocess_exec(
                python,
                "-m",
                "gateway.decisions.worker",
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,
                env={"PYTHONPATH": _PACKAGE_ROOT, "LANG": "C.UTF-8"},
                cwd=os.sep,
            )
        except OSError as error:
            raise DecisionUnavailableError(f"the policy engine cannot be started: {error}") from error
        return cls(process)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def ask(self, body: bytes, *, answer_max: int = DECISION_OUTPUT_MAX) -> dict[str, Any]:
        """One exchange; an answer longer than `answer_max` bytes is none.

        Raises:
            DecisionUnavailableError: the process ended, or what it says is no answer.
        """
        reader, writer = self._process.stdout, self._process.stdin
        if reader is None or writer is None or len(body) > FRAME_MAX:
            raise DecisionUnavailableError("the policy engine cannot be asked")
        try:
            writer.write(_LENGTH.pack(len(body)) + body)
            await writer.drain()
            (length,) = _LENGTH.unpack(await reader.readexactly(_LENGTH.size))
            if length > answer_max:
                raise DecisionUnavailableError("the policy engine's answer is too long")
            answer = json.loads(await reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError) as error:
            raise DecisionUnavailableError("the policy engine crashed during this decision") from error
        except ValueError as error:
            raise DecisionUnavailableError("the policy engine answered garbage") from error
        if not isinstance(answer, dict):
            raise DecisionUnavailableError("the policy engine answered garbage")
        return answer

    def resident_bytes(self) -> int:
        """Resident memory; 0 where the system does not say."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        """End the process now; the event loop reaps it."""
        if self._ending or not self.alive:
            return
        self._ending = True  # a second kill could take its exit from asyncio, which then says so on standard error
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def ended(self) -> None:
        """Wait for a process that ends by itself; one that does not is killed."""
        try:
            await asyncio.wait_for(self._process.wait(), _START_DEADLINE_S)
        except TimeoutError:
            self.kill()
        await self.close()

    async def close(self) -> None:
        """End the process, wait for it, and close the pipe to it."""
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        await self._process.wait()


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:500]
