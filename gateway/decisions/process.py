"""One worker process of the embedded engine, as the gateway sees it: asked through pipes, watched, killed."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import struct
from pathlib import Path
from typing import Any, Final

from gateway.decisions.worker import FRAME_MAX
from gateway.errors import DecisionUnavailableError
from gateway.model.limits import DECISION_OUTPUT_MAX

_LENGTH: Final = struct.Struct(">I")
_END_S: Final = 5.0
_LEFT: Final = 64 * 1024
_PACKAGE_ROOT: Final = str(Path(__file__).resolve().parents[2])


class WorkerProcess:
    """One worker process and the pipes to it."""

    def __init__(self, process: asyncio.subprocess.Process) -> None:
        self._process = process
        self._ending = False
        self._exchange = asyncio.Lock()  # whoever reads from it

    @classmethod
    async def spawn(cls, python: str) -> WorkerProcess:
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
            async with self._exchange:
                try:
                    writer.write(_LENGTH.pack(len(body)) + body)
                except RuntimeError as error:  # uvloop's word for a pipe whose process has ended
                    raise BrokenPipeError from error
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
        """Wait for a process that ends by itself, at the latest where its input ends; one that does not is killed."""
        if self._process.stdin is not None:
            self._process.stdin.close()
        try:
            await asyncio.wait_for(self._process.wait(), _END_S)
        except TimeoutError:
            self.kill()
        await self.close()

    async def close(self) -> None:
        """End the process, wait for it, and close the pipes to it.

        Most Pythons' asyncio takes a process for ended only once its pipes are, and a pipe that holds more than was
        asked for is not read to its end by itself (python/cpython#119710, mended in July 2026).
        """
        self.kill()
        if self._process.stdin is not None:
            self._process.stdin.close()
        if self._process.stdout is not None:
            async with self._exchange:
                while await self._process.stdout.read(_LEFT):
                    pass
        await self._process.wait()
