"""What a witness's server does with clients that are slow, too many, or there when it stops."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

pytest.importorskip("aiohttp", reason="the extra `witness` is not installed")

from ledger.witness import server as module
from ledger.witness.server import WitnessServer
from ledger.witness.store import WitnessStore, create_witness
from tests.conformance.ledger.tlog import Key, Log, verify_cosignature


@pytest.fixture
async def server(tmp_path: Path) -> AsyncIterator[WitnessServer]:
    create_witness(tmp_path / "w", "witness.example/w1")
    made = WitnessServer(WitnessStore(tmp_path / "w"), host="127.0.0.1", port=0)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def log(server: WitnessServer) -> Log:
    made = Log(Key("example.com/log", 1))
    made.grow(3)
    server._store.add_log(made.key.vkey)
    return made


def head(length: int) -> bytes:
    return f"POST /add-checkpoint HTTP/1.1\r\nHost: w\r\nContent-Length: {length}\r\n\r\n".encode()


async def connect(server: WitnessServer) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
    return await asyncio.open_connection("127.0.0.1", server.port)


async def answer(reader: asyncio.StreamReader) -> tuple[int, str]:
    async with asyncio.timeout(20):
        first = await reader.readline()
        length = 0
        while (line := await reader.readline()).strip():
            name, _, value = line.decode().partition(":")
            length = int(value) if name.lower() == "content-length" else length
        body = await reader.readexactly(length)
    return int(first.split()[1]), body.decode()


async def test_a_body_that_does_not_come_in_time_ends_in_408(
    server: WitnessServer, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "BODY_DEADLINE_S", 0.1)
    reader, writer = await connect(server)
    writer.write(head(500) + b"old 0\n")
    assert (await answer(reader))[0] == 408
    writer.close()
    reader, writer = await connect(server)
    writer.write(head(len(log.request(0))) + log.request(0))
    assert (await answer(reader))[0] == 200
    writer.close()


async def test_requests_beyond_the_limit_are_told_to_come_again(
    server: WitnessServer, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_IN_FLIGHT", 1)
    waiting, holding = await connect(server)
    body = log.request(0)
    holding.write(head(len(body)) + body[:10])
    while not server._in_flight:
        await asyncio.sleep(0)
    reader, writer = await connect(server)
    writer.write(head(len(body)) + body)
    assert await answer(reader) == (503, "too many requests at once\n")
    holding.write(body[10:])
    status, line = await answer(waiting)
    assert status == 200
    assert verify_cosignature(line, server._store.vkey, log.text())
    for each in (writer, holding):
        each.close()


async def test_connections_beyond_the_limit_are_closed_and_the_others_served(
    server: WitnessServer, log: Log, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MAX_CONNECTIONS", 1)
    reader, writer = await connect(server)
    writer.write(b"GET /vkey HTTP/1.1\r\nHost: w\r\n\r\n")
    assert await answer(reader) == (200, f"{server._store.vkey}\n")
    beyond, other = await connect(server)
    assert await beyond.read() == b""
    other.close()
    writer.write(head(len(log.request(0))) + log.request(0))
    assert (await answer(reader))[0] == 200
    writer.close()


async def test_a_stop_finishes_the_request_that_runs(tmp_path: Path, log: Log, server: WitnessServer) -> None:
    body = log.request(0)
    reader, writer = await connect(server)
    writer.write(head(len(body)) + body[:10])
    while not server._in_flight:
        await asyncio.sleep(0)
    stopping = asyncio.create_task(server.stop())
    writer.write(body[10:])
    status, line = await answer(reader)
    assert status == 200
    assert verify_cosignature(line, server._store.vkey, log.text())
    writer.close()
    await stopping
    again = WitnessStore(tmp_path / "w")
    assert again.logs()[0].size == 3
    again.close()


async def test_a_database_that_fails_signs_nothing_and_says_so(
    server: WitnessServer, log: Log, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logging.getLogger("ledger"), "propagate", True)
    server._store._db.execute("PRAGMA query_only = ON")
    body = log.request(0)
    reader, writer = await connect(server)
    writer.write(head(len(body)) + body)
    assert await answer(reader) == (503, "nothing can be signed now\n")
    assert "nothing can be signed now" in caplog.text
    writer.write(b"GET /health HTTP/1.1\r\nHost: w\r\n\r\n")
    assert json.loads((await answer(reader))[1]) == {"status": "ok", "logs": 1}
    writer.close()
