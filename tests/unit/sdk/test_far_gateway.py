"""A gateway that is far away: each byte takes its time, and everything works all the same."""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from gateway.config import Address, Profile, load_profile
from gateway.sdk import connect_async
from tests.unit.sdk.process import SmallZone
from tests.unit.sdk.small_gateway import CHUNKS, ROWS_PER_CHUNK

ONE_WAY_S = 0.1  # half a round trip; more than twice the way between Kuala Lumpur and Shanghai


class Delayed(asyncio.Protocol):
    """Gives everything that arrives to the other end of the line, later."""

    def __init__(self) -> None:
        self.other: asyncio.Transport | None = None
        self.kept: list[bytes] = []

    def data_received(self, data: bytes) -> None:
        asyncio.get_running_loop().call_later(ONE_WAY_S, self._deliver, data)

    def connection_lost(self, _error: Exception | None) -> None:
        if self.other is not None:
            self.other.close()

    def joined(self, other: asyncio.Transport) -> None:
        self.other = other
        for data in self.kept:
            other.write(data)

    def _deliver(self, data: bytes) -> None:
        if self.other is None:
            self.kept.append(data)
        elif not self.other.is_closing():
            self.other.write(data)


class Accepted(Delayed):
    """The caller's end: opens the other one."""

    def __init__(self, host: str, port: int) -> None:
        super().__init__()
        self._target = (host, port)

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._opening = asyncio.ensure_future(self._open(transport))

    async def _open(self, transport: asyncio.Transport) -> None:
        there, protocol = await asyncio.get_running_loop().create_connection(Delayed, *self._target)
        protocol.joined(transport)
        self.joined(there)


@asynccontextmanager
async def far(profile: Profile) -> AsyncIterator[Profile]:
    """The profile of the same gateway, at the end of a long line."""
    there = profile.gateway
    server = await asyncio.get_running_loop().create_server(lambda: Accepted(there.host, there.port), "127.0.0.1", 0)
    async with server:
        port = server.sockets[0].getsockname()[1]
        yield dataclasses.replace(profile, gateway=Address("127.0.0.1", port))


async def test_a_far_gateway_is_reached_by_the_first_call_and_pulled_from(small_zone: SmallZone) -> None:
    async with far(load_profile(small_zone.partner)) as profile, await connect_async(profile) as zone:
        loop = asyncio.get_running_loop()
        begun = loop.time()
        assert [each.name for each in await zone.datasets("flights")] == ["datasets/flights"]
        assert loop.time() - begun > 4 * ONE_WAY_S, "the line is long"
        table = await (await zone.pull("agreements/flights")).to_arrow()
        assert table.num_rows == CHUNKS * ROWS_PER_CHUNK
