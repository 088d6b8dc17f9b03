"""A gateway is reached over a line as long as those across a border, not over the loopback alone."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.model.participant import Role
from gateway.wire.channel import ClientIdentity, open_channel

TRIP_S = 0.15  # one way


@pytest.fixture
async def far_port(gate):
    """A port that leads to the gateway; what goes either way arrives one trip later."""
    lines = set()

    async def carry(reader, writer):
        with contextlib.suppress(ConnectionError):
            while data := await reader.read(1 << 16):
                await asyncio.sleep(TRIP_S)
                writer.write(data)
                await writer.drain()
        writer.close()

    async def connected(reader, writer):
        lines.add(asyncio.current_task())
        there = await asyncio.open_connection("127.0.0.1", gate.port)
        await asyncio.gather(carry(reader, there[1]), carry(there[0], writer))

    server = await asyncio.start_server(connected, "127.0.0.1", 0)
    yield server.sockets[0].getsockname()[1]
    server.close()
    for line in lines:
        line.cancel()
    await asyncio.gather(*lines, return_exceptions=True)


async def test_a_connection_may_take_as_long_as_a_border_is_far(gate, far_port):
    client = gate.one(Role.PARTNER)
    identity = ClientIdentity(ca=gate.here.pem, certificate=client.certificate, key=client.key)
    async with asyncio.timeout(30), open_channel(f"127.0.0.1:{far_port}", identity) as channel:
        assert await channel.unary_unary("/tdz.test.Probe/Who")(b"") == client.name.encode()
