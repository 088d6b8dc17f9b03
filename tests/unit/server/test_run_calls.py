"""A refusal of a part that is still being sent reaches the run as what it is."""

from __future__ import annotations

from collections.abc import AsyncIterator

import grpc
import pytest

from gateway.errors import ConflictError
from gateway.federation.peer import Part
from gateway.server.run_peers import RunCalls
from gateway.v1 import run_peer_pb2_grpc
from gateway.wire.status import abort

TIMES = 300  # about one refusal in a hundred meets a write


class Refusing(run_peer_pb2_grpc.RunPeerServiceServicer):
    """Refuses a part at its first message and reads no other."""

    async def SendParameters(self, request_iterator, context):
        async for _ in request_iterator:
            await abort(context, ConflictError("the run has ended here", remedy="look again"))


@pytest.fixture
async def calls() -> AsyncIterator[RunCalls]:
    server = grpc.aio.server()
    run_peer_pb2_grpc.add_RunPeerServiceServicer_to_server(Refusing(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield RunCalls("lingang", channel, channel, passing=lambda _zone, error: error, closed=ConflictError)
    await server.stop(None)


async def endless() -> AsyncIterator[bytes]:
    while True:
        yield bytes(1 << 16)


async def test_a_part_that_is_refused_while_it_is_sent_ends_with_the_refusal(calls: RunCalls) -> None:
    for _ in range(TIMES):
        with pytest.raises(ConflictError, match="ended here"):
            await calls.send_parameters(Part("statement", 1, endless()), 30)
