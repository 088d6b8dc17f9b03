"""The gateway's side of a training process: started, watched, killed and replaced."""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Mapping
from pathlib import Path
from types import TracebackType
from typing import Any, Final

from gateway import errors
from gateway.compute.frames import LENGTH, pack, unpack
from gateway.compute.training import EvaluateOrder, Order, Progress, Result, parse_progress, parse_result
from gateway.errors import ComputeError, TdzError
from gateway.model.limits import COMPUTE_FRAME_MAX, COMPUTE_MEMORY_MAX, COMPUTE_START_S, MIB

ProgressCallback = Callable[[Progress], None]

# What drivers of accelerators need to find their devices; nothing else of the gateway's environment is handed on.
PASSED_ON: Final = frozenset(
    {
        "LD_LIBRARY_PATH",
        "CUDA_VISIBLE_DEVICES",
        "ASCEND_RT_VISIBLE_DEVICES",
        "ASCEND_HOME_PATH",
        "ASCEND_OPP_PATH",
        "ASCEND_AICPU_PATH",
    }
)
_WATCH_S: Final = 0.1
_LEFT: Final = 64 * 1024
_END_S: Final = 1.0  # a process whose pipe ended is gone by then, or lives on without it
_REAP_S: Final = 5.0
_PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[2])
_RAISED_THERE: Final = (
    errors.InputError,
    errors.IntegrityError,
    errors.LimitError,
    errors.StorageError,
    errors.UpdateError,
    errors.ComputeError,
)


class Runner:
    """One training process, warm between orders; orders wait for each other in the order they came.

    A process that crashes, hangs, takes too much memory or answers garbage costs the order that it was at, and
    never more: it is killed, and the next order starts a fresh one. An order that failed so can be given again; what
    it writes is whole or not there, and the same for the same order.

    Args:
        threads: threads for numpy and torch; 0 takes half the cores.
        memory_max: resident bytes past which the process is killed.
        environment: where to look for the variables of `PASSED_ON`.
        python: the interpreter to run the process with.
    """

    def __init__(
        self,
        *,
        threads: int = 0,
        memory_max: int = COMPUTE_MEMORY_MAX,
        environment: Mapping[str, str] | None = None,
        python: str = sys.executable,
    ) -> None:
        count = str(threads or max(1, (os.cpu_count() or 2) // 2))
        passed = {name: value for name, value in (environment or {}).items() if name in PASSED_ON}
        self._environment: Final = {
            **passed,
            "PYTHONPATH": _PACKAGE_ROOT,
            "LANG": "C.UTF-8",
            "OMP_NUM_THREADS": count,
            "OPENBLAS_NUM_THREADS": count,
            "MKL_NUM_THREADS": count,
            "CUBLAS_WORKSPACE_CONFIG": ":4096:8",  # without it sums on CUDA devices differ from run to run
        }
        self._python = python
        self._memory_max = memory_max
        self._lock = asyncio.Lock()
        self._worker: _Worker | None = None
        self._ending: set[asyncio.Task[None]] = set()
        self._closed = False

    async def __aenter__(self) -> Runner:
        """Start the process.

        Raises:
            ComputeError: it does not start.
        """
        self._worker = await self._spawn()
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        """End the process and whatever it is at."""
        await self.close()

    @property
    def pid(self) -> int:
        """The id of the process that runs now; 0 where there is none."""
        return self._worker.pid if self._worker is not None and self._worker.alive else 0

    async def run(self, order: Order, deadline_s: float, progress: ProgressCallback | None = None) -> Result:
        """Have an order carried out.

        Cancellation kills the process, and so does an error of `progress`.

        Args:
            order: what to do.
            deadline_s: seconds from when the process has the order; past them it is killed.
            progress: hears, in the event loop's thread, how far it is.

        Raises:
            ComputeError: the process crashed, was killed, took too much memory, ran out of time or answered
                garbage (`TDZ-COMPUTE`: the order can be given again); or training diverged (`TDZ-TRAINING`); or
                the accelerator is not there (`TDZ-ACCELERATOR`).
            TdzError: otherwise as `gateway.compute.orders.carry_out`.
        """
        async with self._lock:
            worker = await self._ready()
            answered = False
            try:
                answer = await self._watched(worker, order, deadline_s, progress)
                found = _raised(answer["error"]) if "error" in answer else _fitting(order, answer.get("result"))
                answered = True
            finally:
                if not answered:  # also where the caller went away: the pipe holds half an exchange
                    await asyncio.wait({self._discard(worker)}, timeout=_REAP_S)  # it writes nothing after this
        if isinstance(found, TdzError):
            raise found
        return found

    async def close(self) -> None:
        """End the process; whatever waits for it gets a ComputeError."""
        self._closed = True
        if self._worker is not None:
            self._discard(self._worker)
        async with self._lock:  # whatever was under way has heard of it, and has discarded what it held
            pass
        await asyncio.gather(*self._ending)

    async def _ready(self) -> _Worker:
        self._check_open()
        if self._worker is not None and self._worker.alive:
            return self._worker
        if self._worker is not None:
            self._discard(self._worker)
        worker = await self._spawn()
        if self._closed:  # meanwhile
            self._discard(worker)
        self._check_open()
        self._worker = worker
        return worker

    def _check_open(self) -> None:
        if self._closed:
            raise ComputeError("the training process is closed", remedy="start the gateway again")

    async def _spawn(self) -> _Worker:
        worker = await _Worker.spawn(self._python, self._environment)
        try:
            first = await asyncio.wait_for(worker.next_frame(), COMPUTE_START_S)
            if first != {"ready": True}:
                raise ComputeError("the training process does not start as it should")
        except BaseException as error:
            self._discard(worker)
            if isinstance(error, TimeoutError):
                raise ComputeError(
                    f"the training process did not start in {COMPUTE_START_S:g} s", remedy="try again"
                ) from error
            raise
        return worker

    async def _watched(
        self, worker: _Worker, order: Order, deadline_s: float, progress: ProgressCallback | None
    ) -> dict[str, Any]:
        """The last frame of an order, unless time or memory run out first."""
        asked = asyncio.ensure_future(worker.carry_out(order, progress))
        clock = asyncio.get_running_loop().time
        deadline = clock() + deadline_s
        try:
            while not asked.done():
                left = deadline - clock()
                if left <= 0:
                    raise ComputeError(
                        f"the training process was not done in {deadline_s:g} s",
                        remedy="give it more time, or less to do",
                    )
                if worker.resident_bytes() > self._memory_max:
                    raise ComputeError(
                        f"the training process took more than {self._memory_max // MIB} MiB of memory",
                        remedy="train with fewer features or in smaller batches",
                    )
                await asyncio.wait({asked}, timeout=min(left, _WATCH_S))
            return asked.result()
        finally:
            if not asked.done():
                asked.cancel()
                await asyncio.gather(asked, return_exceptions=True)

    def _discard(self, worker: _Worker) -> asyncio.Task[None]:
        """Kill a process now and reap it in the background."""
        if self._worker is worker:
            self._worker = None
        worker.kill()
        ending = asyncio.ensure_future(worker.close())
        self._ending.add(ending)
        ending.add_done_callback(self._ending.discard)
        return ending


class _Worker:
    """One process and the pipes to it."""

    def __init__(
        self, process: asyncio.subprocess.Process, reader: asyncio.StreamReader, writer: asyncio.StreamWriter
    ) -> None:
        self._process = process
        self._reader = reader
        self._writer = writer
        self._reading = asyncio.Lock()

    @classmethod
    async def spawn(cls, python: str, environment: Mapping[str, str]) -> _Worker:
        try:
            process = await asyncio.create_subprocess_exec(
                python,
                "-P",  # nothing is imported from the working directory
                "-m",
                "gateway.compute.worker",
                str(os.getpid()),
                stdin=asyncio.subprocess.PIPE,
                stdout=asyncio.subprocess.PIPE,
                stderr=asyncio.subprocess.DEVNULL,  # a library's complaint may quote values of rows
                env=environment,
                cwd=os.sep,
            )
        except OSError as error:
            raise ComputeError(
                f"the training process cannot be started: {error.strerror}", remedy="look at the machine's limits"
            ) from error
        if process.stdin is None or process.stdout is None:
            raise ComputeError("the training process has no pipes")
        return cls(process, process.stdout, process.stdin)

    @property
    def pid(self) -> int:
        return self._process.pid

    @property
    def alive(self) -> bool:
        return self._process.returncode is None

    async def carry_out(self, order: Order, progress: ProgressCallback | None) -> dict[str, Any]:
        """Hand in an order; its last frame.

        Raises:
            ComputeError: the process ended, or what it says is no frame.
        """
        try:
            frame = pack(order.document())
        except ValueError as error:
            raise errors.LimitError("the order is too long", remedy="name fewer features or datasets") from error
        try:
            self._writer.write(frame)
            await self._writer.drain()
        except (ConnectionError, RuntimeError):  # the second is uvloop's word for a pipe whose process has ended
            raise await self._ended() from None
        while True:
            answer = await self.next_frame()
            if "progress" not in answer:
                return answer
            heard = parse_progress(answer["progress"])
            if progress is not None:
                progress(heard)

    async def next_frame(self) -> dict[str, Any]:
        """The next frame; errors as `carry_out`."""
        try:
            async with self._reading:
                (length,) = LENGTH.unpack(await self._reader.readexactly(LENGTH.size))
                if length > COMPUTE_FRAME_MAX:
                    raise ComputeError("the training process answered with too much")
                return unpack(await self._reader.readexactly(length))
        except (asyncio.IncompleteReadError, ConnectionError):
            raise await self._ended() from None
        except (ValueError, RecursionError) as error:
            raise ComputeError("the training process answered garbage") from error

    async def _ended(self) -> ComputeError:
        """What to say of a process whose pipe ended; it is killed only where it lives on, else how it ended is lost."""
        try:
            code = await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            self.kill()
            code = await self._process.wait()
        try:
            how = f"was ended by {signal.Signals(-code).name}" if code < 0 else f"ended with status {code}"
        except ValueError:
            how = f"was ended by signal {-code}"
        return ComputeError(f"the training process {how}", remedy="try again: the next order starts a fresh one")

    def resident_bytes(self) -> int:
        """Resident memory; 0 where the system does not say."""
        try:
            with open(f"/proc/{self.pid}/statm", "rb") as file:
                return int(file.read().split()[1]) * os.sysconf("SC_PAGE_SIZE")
        except (OSError, IndexError, ValueError):
            return 0

    def kill(self) -> None:
        """End the process now; the event loop reaps it."""
        with contextlib.suppress(ProcessLookupError):
            self._process.kill()

    async def close(self) -> None:
        """End the process, wait for it, and close the pipes to it.

        Most Pythons' asyncio takes a process for ended only once its pipes are, and a pipe that holds more than was
        asked for is not read to its end by itself (python/cpython#119710, mended in July 2026).
        """
        self.kill()
        self._writer.close()
        async with self._reading:
            while await self._reader.read(_LEFT):
                pass
        await self._process.wait()


def _fitting(order: Order, document: object) -> Result:
    """A result that is one of this order.

    Raises:
        ComputeError: it is not.
    """
    result = parse_result(document)
    written = not isinstance(order, EvaluateOrder)
    if (
        result.order != order.order
        or [each.dataset for each in result.datasets] != sorted(each.dataset for each in order.datasets)
        or result.examples != sum(each.examples for each in result.datasets)
        or bool(result.digest) is not written
        or bool(result.bytes) is not written
    ):
        raise ComputeError("the training process answered with the result of something else")
    return result


def _raised(document: object) -> TdzError:
    """The error that the process raised, as itself."""
    if not isinstance(document, dict) or not all(
        isinstance(document.get(name), str) for name in ("reason", "message", "remedy")
    ):
        raise ComputeError("the training process answered garbage")
    kinds = {kind.reason: kind for root in _RAISED_THERE for kind in _tree(root)}
    return kinds.get(document["reason"], ComputeError)(document["message"], remedy=document["remedy"])


def _tree(root: type[TdzError]) -> list[type[TdzError]]:
    return [root, *(found for child in root.__subclasses__() for found in _tree(child))]
