"""A link of some hundred milliseconds: what is quick at home must still be let come."""

from __future__ import annotations

import asyncio
import contextlib
import dataclasses
from collections.abc import AsyncIterator

import pytest

from gateway.config import load_profile, write_profile
from gateway.config.address import Address
from gateway.sdk import connect_async
from tests.e2e.material import CYBERJAYA

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

ONE_WAY_S = 0.2


async def carry(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """Bytes, each `ONE_WAY_S` after they came, in their order."""
    loop = asyncio.get_running_loop()
    waiting: asyncio.Queue[tuple[float, bytes]] = asyncio.Queue()

    async def deliver() -> None:
        while (item := await waiting.get())[1]:
            await asyncio.sleep(item[0] - loop.time())
            writer.write(item[1])
            await writer.drain()
        writer.close()

    delivering = asyncio.create_task(deliver())
    with contextlib.suppress(ConnectionError):
        while data := await reader.read(1 << 16):
            waiting.put_nowait((loop.time() + ONE_WAY_S, data))
    waiting.put_nowait((0.0, b""))
    with contextlib.suppress(ConnectionError):
        await delivering


@contextlib.asynccontextmanager
async def long_link(target: Address) -> AsyncIterator[int]:
    """A port here that leads to a gateway far away."""
    accepted: set[asyncio.Task[None]] = set()
    attempts = 0

    async def accept(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal attempts
        attempts += 1
        far_reader, far_writer = await asyncio.open_connection(target.host, target.port)
        async with asyncio.TaskGroup() as group:
            group.create_task(carry(reader, far_writer))
            group.create_task(carry(far_reader, writer))

    def accepting(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        task = asyncio.create_task(accept(reader, writer))
        accepted.add(task)
        task.add_done_callback(accepted.discard)

    server = await asyncio.start_server(accepting, "127.0.0.1", 0)
    try:
        yield server.sockets[0].getsockname()[1]
    finally:
        server.close()
        for task in accepted:
            task.cancel()
        await asyncio.gather(*accepted, return_exceptions=True)
    assert attempts == 1, "one connection was enough"


async def test_a_partner_far_away_connects_at_the_first_attempt(shared, tmp_path):
    await shared.um()
    profile = load_profile(shared.corridor.zone(CYBERJAYA).profile("um"))
    async with long_link(profile.gateway) as port:
        far = dataclasses.replace(profile, gateway=Address(profile.gateway.host, port))
        write_profile(tmp_path / "far.toml", far)
        async with await connect_async(tmp_path / "far.toml") as zone:
            assert await zone.datasets(scope="own") is not None
