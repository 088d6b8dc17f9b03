"""Both engines behind one function: documents in, raw answers of `data.tdz.main.decision` out."""

from __future__ import annotations

import dataclasses
import json
import struct
import subprocess
import sys
import threading
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.decisions.engine import EmbeddedEngine, Engine
from gateway.decisions.opa import OpaEngine
from gateway.decisions.opa_bundle import OpaBundle
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from tests.opa_server import OpaServer, make_server, opa_or_skip

ROOT = Path(__file__).resolve().parents[3]

Decide = Callable[[ZonePolicy, Sequence[Any]], list[Any]]


@pytest.fixture(scope="session")
def opa() -> str:
    return opa_or_skip()


@pytest.fixture(scope="session")
def policy_dir() -> Path:
    return ROOT / "policy"


@pytest.fixture(scope="session")
def policy_set(policy_dir: Path) -> PolicySet:
    return PolicySet.load(policy_dir)


class _Worker:
    """A worker as the gateway starts it, asked without an event loop. In this process regopy would leak some hundred
    KiB a decision: what grpc and pyarrow bring along takes its `delete` away."""

    def __init__(self, first: dict[str, Any]) -> None:
        command = [sys.executable, "-m", "gateway.decisions.worker"]
        self._process = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, cwd=ROOT)
        (self.said,) = self.ask([first])

    def ask(self, documents: Sequence[Any]) -> list[Any]:
        """Each answer's `result`; None where it has none."""
        writing = threading.Thread(target=self._write, args=[documents])
        writing.start()
        answers = [self._read().get("result") for _ in documents]
        writing.join()
        return answers

    def _write(self, documents: Sequence[Any]) -> None:
        assert self._process.stdin is not None
        for document in documents:
            body = json.dumps(document).encode()
            self._process.stdin.write(struct.pack(">I", len(body)) + body)
        self._process.stdin.flush()

    def _read(self) -> dict[str, Any]:
        assert self._process.stdout is not None
        (length,) = struct.unpack(">I", self._process.stdout.read(4))
        answer: dict[str, Any] = json.loads(self._process.stdout.read(length))
        return answer

    def end(self, code: int = 0) -> None:
        self._process.communicate()
        assert self._process.returncode == code


@pytest.fixture(scope="session")
def embedded() -> Iterator[Decide]:
    """The embedded engine, one worker for each policy; None is what one that does not compile answers."""
    workers: dict[str, _Worker] = {}

    def decide(policy: ZonePolicy, documents: Sequence[Any]) -> list[Any]:
        key = json.dumps([dict(policy.modules), policy.data])
        if key not in workers:
            sources = {"modules": dict(policy.modules), "data": policy.data, "entrypoint": policy.entrypoint}
            compiler = _Worker(sources)
            compiler.end(0 if compiler.said else 1)
            if not compiler.said:
                return [None for _ in documents]
            workers[key] = _Worker({"bundle": compiler.said, "entrypoint": policy.entrypoint})
        return workers[key].ask(documents)

    yield decide
    for worker in workers.values():
        worker.end()


@pytest.fixture
def real_opa(opa: str, tmp_path: Path) -> Decide:
    """One OPA process for all documents."""

    def decide(policy: ZonePolicy, documents: Sequence[Any]) -> list[Any]:
        folder = tmp_path / f"opa-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, text in policy.modules.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        (folder / "data.json").write_text(json.dumps(policy.data), "utf-8")
        (folder / "input.json.txt").write_text(json.dumps(list(documents)), "utf-8")
        query = "[d | some document in input; d := data.tdz.main.decision with input as document]"
        run = subprocess.run(
            [opa, "eval", "-b", ".", "-i", "input.json.txt", "-f", "json", query],
            capture_output=True,
            check=True,
            cwd=folder,
        )
        answers = json.loads(run.stdout)["result"][0]["expressions"][0]["value"]
        assert len(answers) == len(documents)
        return answers

    return decide


@pytest.fixture(scope="session")
def opa_servers(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Callable[[ZonePolicy], OpaServer]]:
    """A running OPA server with a policy, one for each policy in a session. Nobody changes or stops it."""
    servers: dict[str, OpaServer] = {}

    def server(policy: ZonePolicy) -> OpaServer:
        seal = OpaBundle.of(policy).seal
        if seal not in servers:
            made = make_server(tmp_path_factory.mktemp("opa"))
            made.load(policy)
            made.start()
            servers[seal] = made
        return servers[seal]

    yield server
    for made in servers.values():
        made.stop()


MakeEngine = Callable[..., Awaitable[Engine]]


@pytest.fixture(params=["embedded", "opa"])
async def engine_of(request: pytest.FixtureRequest) -> AsyncIterator[MakeEngine]:
    """Makes a started engine for a policy: of the one kind, then of the other. Real worker processes, a real OPA."""
    engines: list[Engine] = []

    async def make(policy: ZonePolicy, **settings: Any) -> Engine:
        made: Engine
        if request.param == "opa":
            server = request.getfixturevalue("opa_servers")(policy)
            made = OpaEngine(policy, dataclasses.replace(server.settings, bundle=None), **settings)
        else:
            made = EmbeddedEngine(policy, workers=2, **settings)
        engines.append(made)
        await made.start()
        return made

    yield make
    for engine in engines:
        await engine.close()
