"""The embedded engine behind its port: worker processes, spawned, timed, killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final, Protocol

from gateway.decisions.policy_set import ZonePolicy
from gateway.decisions.process import WorkerProcess
from gateway.decisions.worker import FRAME_MAX
from gateway.errors import ConfigError, DecisionUnavailableError
from gateway.model.limits import DECISION_DEADLINE_S, DECISIONS_WAITING, MIB

_START_DEADLINE_S: Final = 30.0
_WATCH_S: Final = 0.02
WORKER_MEMORY_MAX: Final = 256 * MIB  # a worker at rest takes about 30 MiB


# What compiled once need not compile again for a policy that is tried, activated and taken back.
_COMPILED: Final[dict[tuple[bytes, str], bytes]] = {}
_COMPILED_MAX: Final = 8


class Engine(Protocol):
    """What evaluates one zone's policy: nothing is stored. An engine is made for one policy and serves no other."""

    async def start(self) -> None:
        """Make ready; an engine that cannot be reached yet is no error, its decisions are none until it can.

        Raises:
            ConfigError: the policy does not compile, or a file of the settings is wrong.
            DecisionUnavailableError: the engine cannot be started.
        """

    async def in_force(self, timeout_s: float) -> None:
        """Return once this policy, and no other, is what the engine evaluates.

        Raises:
            DecisionUnavailableError: it is not in time.
        """

    async def evaluate(self, document: bytes) -> object:
        """The value of the entrypoint for one input document in JSON.

        Raises:
            DecisionUnavailableError: no answer in time, a crash, an error, an undefined result, an answer under
                another policy, or more are waiting than may.
        """

    async def close(self) -> None:
        """End everything that it started; later evaluations are refused."""

    @property
    def state(self) -> str:
        """How it is, in words for an operator."""


class EmbeddedEngine:
    """regopy in worker processes: some at work, one spare warm.

    A worker that crashes, hangs, eats memory or answers garbage costs the one decision that it was at; it is
    killed and the spare takes over. Decisions wait for a free worker in the order they came, no longer than the
    deadline, and no more of them than `waiting`.

    Args:
        policy: what is evaluated.
        deadline_s: seconds after which a worker that has not answered is killed; also the longest wait for one.
        workers: processes at work at once.
        waiting: decisions that may be under way or wait; one more is refused at once.
        python: the interpreter to run workers with.
    """

    def __init__(
        self,
        policy: ZonePolicy,
        *,
        deadline_s: float = DECISION_DEADLINE_S,
        workers: int = 1,
        waiting: int = DECISIONS_WAITING,
        python: str = sys.executable,
    ) -> None:
        self._policy = policy
        self._load = b""
        self._deadline_s = deadline_s
        self._python = python
        self._count = workers
        self._most = waiting
        self._under_way = 0
        self._turns = asyncio.Semaphore(workers)
        self._idle: list[WorkerProcess] = []  # the one that came back last is taken first
        self._busy: set[WorkerProcess] = set()
        self._spare: asyncio.Task[WorkerProcess] | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def start(self) -> None:
        """Compile, and start the workers; the spare starts in the background. See `Engine.start`."""
        self._load = await self.compile()
        started = await asyncio.gather(*(self._spawn() for _ in range(self._count)), return_exceptions=True)
        self._idle = [worker for worker in started if isinstance(worker, WorkerProcess)]
        for error in started:
            if isinstance(error, BaseException):
                raise error
        self._spare = asyncio.create_task(self._spawn())

    async def in_force(self, timeout_s: float) -> None:  # at once
        """See `Engine.in_force`: each worker was started with this policy and reads no other."""
        if self._closed or not self._load:
            raise DecisionUnavailableError("the policy engine is closed")

    @property
    def state(self) -> str:
        """See `Engine.state`."""
        return "closed" if self._closed else f"{len(self.worker_pids)} workers, {self._under_way} decisions under way"

    async def evaluate(self, document: bytes) -> object:
        """See `Engine.evaluate`."""
        if self._under_way >= self._most:
            raise DecisionUnavailableError(f"{self._most} decisions wait for the policy engine already")
        self._under_way += 1
        try:
            async with self._turn():
                answer = await self._answered(document)
        finally:
            self._under_way -= 1
        if "error" in answer:
            raise DecisionUnavailableError(f"the policy engine failed: {_one_line(answer['error'])}")
        if set(answer) != {"result"}:
            raise DecisionUnavailableError("the policy gave no result")
        return answer["result"]

    @asynccontextmanager
    async def _turn(self) -> AsyncIterator[None]:
        try:
            async with asyncio.timeout(self._deadline_s):
                await self._turns.acquire()
        except TimeoutError as error:
            text = f"no worker of the policy engine was free within {self._deadline_s:g} s"
            raise DecisionUnavailableError(text) from error
        try:
            yield
        finally:
            self._turns.release()

    async def _answered(self, document: bytes) -> dict[str, Any]:
        worker = await self._ready()
        self._busy.add(worker)
        answered = False
        try:
            answer = await self._watched(worker, document)
            answered = True
        finally:
            self._busy.discard(worker)
            if answered and not self._closed:
                self._idle.append(worker)
            else:  # also where the caller went away: the pipe holds half an exchange
                self._discard(worker)
        return answer

    async def _watched(self, worker: WorkerProcess, document: bytes) -> dict[str, Any]:
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
                await asyncio.wait({asked}, timeout=min(left, _WATCH_S))
                if not asked.done() and worker.resident_bytes() > WORKER_MEMORY_MAX:
                    raise DecisionUnavailableError("the policy engine took too much memory")
            return asked.result()
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    async def close(self) -> None:
        """End all workers; what they were at is refused."""
        self._closed = True
        spare, self._spare = self._spare, None
        if spare is not None:
            with contextlib.suppress(ConfigError, DecisionUnavailableError):
                await (await spare).close()
        for worker in (*self._idle, *self._busy):
            self._discard(worker)
        self._idle.clear()
        await asyncio.gather(*self._ending)

    def _discard(self, worker: WorkerProcess) -> None:
        """Kill a worker now and reap it in the background."""
        worker.kill()
        ending = asyncio.ensure_future(worker.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)

    @property
    def worker_pids(self) -> tuple[int, ...]:
        """The process ids of the workers that run now, those at work first."""
        workers = [*self._busy, *reversed(self._idle)]
        if self._spare is not None and self._spare.done() and self._spare.exception() is None:
            workers.append(self._spare.result())
        return tuple(worker.pid for worker in workers)

    async def _ready(self) -> WorkerProcess:
        while not self._closed and self._idle:
            worker = self._idle.pop()
            if worker.alive:
                return worker
            self._discard(worker)
        if self._closed:
            raise DecisionUnavailableError("the policy engine is closed")
        spare, self._spare = self._spare, None
        try:
            worker = await (asyncio.shield(spare) if spare is not None else self._spawn())
        except asyncio.CancelledError:
            if spare is not None and self._spare is None:
                self._spare = spare  # whoever comes next waits for it
            raise
        except ConfigError as error:
            raise DecisionUnavailableError(f"the policy engine does not start: {error.message}") from error
        finally:
            if self._spare is None and not self._closed:
                self._spare = asyncio.create_task(self._spawn())
        if worker.alive and not self._closed:
            return worker
        self._discard(worker)
        if self._closed:
            raise DecisionUnavailableError("the policy engine is closed")
        return await self._spawn()

    async def compile(self) -> bytes:
        """The first frame of every worker: the compiled policy. Also says whether this engine can read it at all.

        Raises:
            ConfigError: the policy does not compile.
            DecisionUnavailableError: no worker could be started.
        """
        policy = self._policy
        sources = {"modules": dict(policy.modules), "data": policy.data, "entrypoint": policy.entrypoint}
        first = json.dumps(sources).encode()
        made = (hashlib.sha256(first).digest(), self._python)
        if (known := _COMPILED.get(made)) is not None:
            return known
        worker, bundle = await self._first_answer(first)
        await worker.ended()
        while len(_COMPILED) >= _COMPILED_MAX:
            _COMPILED.pop(next(iter(_COMPILED)), None)
        _COMPILED[made] = json.dumps({"bundle": bundle, "entrypoint": policy.entrypoint}).encode()
        return _COMPILED[made]

    async def _spawn(self) -> WorkerProcess:
        worker, _ = await self._first_answer(self._load)
        return worker

    async def _first_answer(self, first: bytes) -> tuple[WorkerProcess, object]:
        """A new worker and what it says to its first frame.

        Raises:
            ConfigError: it says that the policy does not compile.
            DecisionUnavailableError: it says nothing in time, or cannot be started.
        """
        worker = await WorkerProcess.spawn(self._python)
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


def _one_line(text: object) -> str:
    return " ".join(str(text).split())[:500]
