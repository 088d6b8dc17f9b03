"""How a call that is written to ended is what its server says, also where a write met the call's end."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from gateway.errors import ConflictError
from gateway.wire.channel import end_of
from gateway.wire.status import abort, from_rpc


@pytest.fixture
async def refusing():
    """A channel to a server that refuses each call at its first message, and reads no other."""

    async def refuse(requests, context):
        async for _ in requests:
            await abort(context, ConflictError("no more of this", remedy="stop"))
        yield b""

    server = grpc.aio.server()
    handlers = {"Refuse": grpc.stream_stream_rpc_method_handler(refuse)}
    server.add_generic_rpc_handlers((grpc.method_handlers_generic_handler("tdz.test.Probe", handlers),))
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        yield channel.stream_stream("/tdz.test.Probe/Refuse")
    await server.stop(None)


async def test_a_call_that_is_written_to_until_it_breaks_ended_as_the_server_said(refusing):
    for _ in range(50):
        call = refusing()
        ended = end_of(call)
        with pytest.raises((grpc.aio.AioRpcError, asyncio.InvalidStateError)):
            while True:
                await call.write(bytes(1 << 16))
        error = from_rpc(await ended)
        assert (type(error), error.message, error.remedy) == (ConflictError, "no more of this", "stop")


@pytest.mark.parametrize("late", [False, True])
async def test_what_a_failed_write_puts_over_or_under_the_servers_status_is_not_taken_for_it(refusing, late):
    call = refusing()
    ended = end_of(call)
    await call.write(b"")
    if late:
        await call.code()
    call._cython_call.set_internal_error("as grpc.aio's write does where it fails")
    error = from_rpc(await ended)
    assert (type(error), error.message) == (ConflictError, "no more of this")


async def test_a_call_that_we_cancel_has_ended_by_that(refusing):
    call = refusing()
    ended = end_of(call)
    call.cancel()
    assert (await ended).code() is grpc.StatusCode.CANCELLED


async def test_a_server_that_never_says_how_it_ended_has_broken_off(refusing):
    call = refusing()
    ended = end_of(call)
    call._cython_call.set_internal_error("the server waits for a first message, and gets none")
    assert (await ended).code() is grpc.StatusCode.UNAVAILABLE
