"""mTLS channels to a gateway, and calls on them that raise the errors of the tree."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Coroutine
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import grpc

from gateway.errors import TdzError
from gateway.model import limits
from gateway.wire.status import from_rpc

T = TypeVar("T")

_OPTIONS: Final = (
    ("grpc.max_receive_message_length", limits.MESSAGE_MAX),
    ("grpc.max_send_message_length", limits.MESSAGE_MAX),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
    ("grpc.http2.max_pings_without_data", 0),
    ("grpc.initial_reconnect_backoff_ms", 100),
    # In spite of its name: how long one attempt to connect may take. Far gateways need three round trips for it.
    ("grpc.min_reconnect_backoff_ms", int(limits.CONNECT_DEADLINE_S * 1000)),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A window of its own making grows with a slow reader's delays until it holds much of what is streamed.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", limits.STREAM_WINDOW),
    ("grpc.enable_retries", 0),  # what may be repeated is decided by the flows, not by the transport
)
_WRITE_FAILED: Final = (grpc.StatusCode.INTERNAL, "Internal error from Core")  # grpc.aio's own word, no server's
_LOOK_S: Final = 0.01
_LOOKS: Final = 100


@dataclass(frozen=True)
class ClientIdentity:
    """What a client presents and trusts, PEM each."""

    ca: bytes
    certificate: bytes
    key: bytes = field(repr=False)


def open_channel(target: str, identity: ClientIdentity, *, own_pool: str = "") -> grpc.aio.Channel:
    """A channel to `host:port`. It connects when first used.

    Args:
        target: host:port; the host must be in the server's certificate.
        identity: CA to trust, own certificate and key.
        own_pool: channels with different values never share a connection (bulk data must not starve others).
    """
    credentials = grpc.ssl_channel_credentials(identity.ca, identity.key, identity.certificate)
    options: list[tuple[str, Any]] = [*_OPTIONS, ("grpc.use_local_subchannel_pool", 1)]
    if own_pool:
        options.append(("grpc.channel_pool", own_pool))
    return grpc.aio.secure_channel(target, credentials, options=options)


async def call(pending: Awaitable[T]) -> T:
    """Await a unary call.

    Raises:
        TdzError: of the kind that the server sent, or PeerUnavailableError.
    """
    try:
        return await pending
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error


async def stream(messages: AsyncIterator[T]) -> AsyncIterator[T]:
    """Iterate a streaming call, raising as `call` does."""
    try:
        async for message in messages:
            yield message
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error


def end_of(written: Any) -> asyncio.Future[grpc.aio.AioRpcError]:
    """How the server ends a grpc.aio call that is written to, OK included; to be asked before the first write.

    A write that meets the call's end makes grpc.aio put an INTERNAL of its own over the server's status, or in its
    place until that comes (`StreamStreamCall._write`). The first to be set passes the done-callbacks; the server's
    is picked there, or looked for a while. Where it does not come the end is UNAVAILABLE: a broken stream, no answer.

    Args:
        written: a call with a streaming request.
    """
    loop = asyncio.get_running_loop()
    ended: asyncio.Future[grpc.aio.AioRpcError] = loop.create_future()

    def look(call: Any, more: int = _LOOKS) -> None:
        if ended.done():
            return
        code, details = _at_once(call.code()), _at_once(call.details())
        if (code, details) == _WRITE_FAILED:
            if more:
                loop.call_later(_LOOK_S, look, call, more - 1)
                return
            code, details = grpc.StatusCode.UNAVAILABLE, "the call ended while it was written to"
        metadata = _at_once(call.initial_metadata()), _at_once(call.trailing_metadata())
        ended.set_result(grpc.aio.AioRpcError(code, *metadata, details))

    written.add_done_callback(look)
    return ended


def _at_once(asked: Coroutine[Any, Any, T]) -> T:
    """What a call that has ended answers; it does so without waiting, and a callback could not wait."""
    try:
        asked.send(None)
    except StopIteration as answer:
        found: T = answer.value
        return found
    asked.close()
    raise TdzError("a call that has ended does not say how")
