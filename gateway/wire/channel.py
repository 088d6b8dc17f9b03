"""mTLS channels to a gateway, and calls on them that raise the errors of the tree."""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable
from dataclasses import dataclass, field
from typing import Any, Final, TypeVar

import grpc

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
    ("grpc.min_reconnect_backoff_ms", 100),
    ("grpc.max_reconnect_backoff_ms", 2_000),
    # A window of its own making grows with a slow reader's delays until it holds much of what is streamed.
    ("grpc.http2.bdp_probe", 0),
    ("grpc.http2.lookahead_bytes", limits.STREAM_WINDOW),
    ("grpc.enable_retries", 0),  # what may be repeated is decided by the flows, not by the transport
)


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
