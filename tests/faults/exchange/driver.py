"""Runs real gateways that die where a test says. Not a test.

    python -m tests.faults.exchange.driver

Imports everything and compiles the shipped policy once, then reads one JSON object a line and forks a gateway for
each, which inherits both: {"zone": DIR, "timing": {...}} is answered by {"pid": ...}. The fork serves the zone's
directory with the product's own `Gateway` until SIGTERM. On SIGUSR2 it reads DIR/fault.json and counts its operations
from 0:

    {"token": T, "label": "append agreement", "occurrence": 1, "when": "before"}   die there, by SIGKILL
    {"token": T}                                                                   only count

    {"token": T, "ahead": 60}                                                      let its clock be ahead, seconds

and answers by DIR/fault.armed with the token and what was counted until then.
"""

from __future__ import annotations

import asyncio
import contextlib
import ctypes
import functools
import json
import os
import signal
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from contextvars import ContextVar
from pathlib import Path
from typing import Any

from gateway.config import load_settings
from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.point import DecisionPoint
from gateway.decisions.policy_set import PolicySet
from gateway.flow.house import Timing
from gateway.flow.steps import Step, Steps
from gateway.journal import Journal, PeerMirror
from gateway.server import log_key
from gateway.server.logging import configure_logging
from gateway.server.main import Gateway
from gateway.server.peer_service import PeerService
from gateway.server.peers import PeerClient
from gateway.server.run_peer_service import RunPeerService
from gateway.state import StateStore
from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landing, Landings
from gateway.storage.versions import VersionStore
from ledger.writer import LogWriter
from tests.e2e.material import CYBERJAYA, LINGANG

_PR_SET_PDEATHSIG = 1
_ASKS = (
    "hello",
    "get_card",
    "negotiate",
    "confirm",
    "issue_ticket",
    "deliver_receipt",
    "abort",
    "reviewed",
    "appeal",
    "end_agreement",
)
_RUN_ASKS = ("propose", "confirm_run", "hold_run", "end_run")
_step: ContextVar[str] = ContextVar("step", default="")


class Faults:
    """Counts operations by label, and ends the process at the one that is armed."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._armed: tuple[str, str, int] | None = None
        self._seen: list[tuple[str, str]] = []

    def arm(self, fault: dict[str, Any]) -> list[tuple[str, str]]:
        """Take a fault; what was counted until now."""
        with self._lock:
            seen, self._seen = self._seen, []
            self._armed = (fault["label"], fault["when"], fault["occurrence"]) if "label" in fault else None
            return seen

    def at(self, label: str, when: str) -> None:
        """An operation is about to happen, or has happened."""
        with self._lock:
            self._seen.append((label, when))
            if self._armed == (label, when, self._seen.count((label, when))):
                os.kill(os.getpid(), signal.SIGKILL)

    def around(self, owner: Any, name: str, label: str | Callable[..., str]) -> None:
        """Both sides of a method, whether it blocks or is awaited, are operations."""
        original = getattr(owner, name)

        def text(args: tuple[Any, ...], kwargs: dict[str, Any]) -> str:
            return label if isinstance(label, str) else label(*args, **kwargs)

        if asyncio.iscoroutinefunction(original):

            @functools.wraps(original)
            async def awaited(*args: Any, **kwargs: Any) -> Any:
                said = text(args, kwargs)
                self.at(said, "before")
                result = await original(*args, **kwargs)
                self.at(said, "after")
                return result

            setattr(owner, name, awaited)
        else:

            @functools.wraps(original)
            def blocking(*args: Any, **kwargs: Any) -> Any:
                said = text(args, kwargs)
                self.at(said, "before")
                result = original(*args, **kwargs)
                self.at(said, "after")
                return result

            setattr(owner, name, blocking)


def _write_label(_store: StateStore, work: Callable[..., Any]) -> str:
    return f"write {work.__qualname__.replace('<locals>.', '')} {_step.get()}".rstrip()


def _append_label(_writer: LogWriter, **entry: Any) -> str:
    return f"append {entry['kind']}"


def install(faults: Faults) -> None:
    """Put the faults around every operation that makes something durable or crosses to the peer."""
    faults.around(StateStore, "write", _write_label)
    faults.around(StateStore, "begin", _write_label)
    faults.around(LogWriter, "append", _append_label)
    faults.around(ChunkStore, "put", "put chunk")
    faults.around(Landings, "create", "create landing")
    faults.around(Landing, "_remove", "remove landing")
    faults.around(VersionStore, "add", "add version")
    faults.around(Journal, "add_cosignature", "take cosignature")
    for name in ("keep_bundle", "keep_policy", "keep_record"):
        faults.around(PolicyStore, name, f"policy {name}")
    faults.around(DecisionPoint, "switch", "policy switch")
    for name in ("begin", "receive", "finish", "take"):
        faults.around(PeerMirror, name, f"mirror {name}")
    for name in _ASKS:
        faults.around(PeerClient, name, f"ask {name}")
        faults.around(PeerService, name, f"answer {name}")
    for name in _RUN_ASKS:
        faults.around(PeerClient, name, f"ask {name}")
        faults.around(RunPeerService, "".join(map(str.capitalize, name.split("_"))), f"answer {name}")
    faults.around(log_key, "create_key", "make key")
    faults.around(LogWriter, "rotate", "rotate")
    faults.around(log_key, "_move", lambda source, _: f"move {source.name}")
    faults.around(log_key, "renew_card", "renew card")
    _name_steps()
    _around_streams(faults)


def _name_steps() -> None:
    whole = Steps._whole

    async def named(self: Steps, step: Step, recorded: Any) -> None:
        _step.set(step.effect or step.kind)
        await whole(self, step, recorded)

    Steps._whole = named  # type: ignore[method-assign]


def _around_streams(faults: Faults) -> None:
    asked, answered = PeerClient.read, PeerService.read

    @contextlib.asynccontextmanager
    async def read(self: PeerClient, *args: Any) -> AsyncIterator[Any]:
        async def frames(source: AsyncIterator[Any]) -> AsyncIterator[Any]:
            async for frame in source:
                faults.at("take frame", "before")
                yield frame
                faults.at("take frame", "after")

        faults.at("ask read", "before")
        async with asked(self, *args) as source:
            yield frames(source)
        faults.at("ask read", "after")

    async def answer(self: PeerService, request: Any, context: Any) -> AsyncIterator[bytes]:
        faults.at("answer read", "before")
        async with contextlib.aclosing(answered(self, request, context)) as source:  # type: ignore[type-var]
            async for frame in source:
                faults.at("send frame", "before")
                yield frame
                faults.at("send frame", "after")
        faults.at("answer read", "after")

    PeerClient.read = read  # type: ignore[method-assign]
    PeerService.read = answer  # type: ignore[method-assign,assignment]


async def serve(directory: Path, timing: Timing) -> None:
    """Serve a zone until SIGTERM."""
    settings = load_settings(directory)
    configure_logging(settings.layout.log)
    faults = Faults()
    install(faults)

    def arm() -> None:
        fault = json.loads((directory / "fault.json").read_text())
        seen = faults.arm(fault)
        if "ahead" in fault:
            gateway.house.clock = lambda: int(time.time()) + int(fault["ahead"])
        (directory / "fault.tmp").write_text(json.dumps({"token": fault["token"], "seen": seen}))
        (directory / "fault.tmp").rename(directory / "fault.armed")

    stopping = asyncio.Event()
    loop = asyncio.get_running_loop()
    loop.add_signal_handler(signal.SIGTERM, stopping.set)
    loop.add_signal_handler(signal.SIGUSR2, arm)
    loop.add_signal_handler(signal.SIGUSR1, _show_tasks)
    gateway = Gateway(settings, timing)
    await gateway.start()
    await stopping.wait()
    await gateway.stop()


def _show_tasks() -> None:
    """On SIGUSR1, for whoever asks why a gateway stands still."""
    for task in asyncio.all_tasks():
        lines = [task.get_name()]
        waiting: Any = task.get_coro()
        while waiting is not None:
            frame = getattr(waiting, "cr_frame", None) or getattr(waiting, "ag_frame", None)
            if frame is not None:
                lines.append(f"  {frame.f_code.co_qualname} {frame.f_lineno}")
            waiting = getattr(waiting, "cr_await", None) or getattr(waiting, "ag_await", None)
        print("\n".join(lines), file=sys.stderr)
    sys.stderr.flush()


def _gateway(directory: Path, timing: Timing) -> None:
    """The fork: its output goes to the zone's log."""
    code = 70
    try:
        signal.signal(signal.SIGCHLD, signal.SIG_DFL)
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL)  # a test that is killed leaves nothing behind
        os.setsid()
        log = os.open(directory / "gateway.log", os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        nothing = os.open(os.devnull, os.O_RDONLY)
        for source, target in ((nothing, 0), (log, 1), (log, 2)):
            os.dup2(source, target)
        asyncio.run(serve(directory, timing))
        code = 0
    except BaseException:
        import traceback

        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(code)


async def _compile() -> None:
    policies = PolicySet.load()
    for zone in (CYBERJAYA, LINGANG):
        await EmbeddedEngine(policies.for_zone(zone)).compile()


def main() -> None:
    """Fork a gateway for each line."""
    asyncio.run(_compile())
    signal.signal(signal.SIGCHLD, signal.SIG_IGN)  # nobody waits: whoever watches a gateway holds a pidfd
    sys.stdout.write("{}\n")
    sys.stdout.flush()
    for line in sys.stdin:
        command = json.loads(line)
        pid = os.fork()
        if pid == 0:
            _gateway(Path(command["zone"]), Timing(**command["timing"]))
        sys.stdout.write(json.dumps({"pid": pid}) + "\n")
        sys.stdout.flush()


if __name__ == "__main__":
    main()
