"""Reading a transfer over Flight DoGet: every chunk is hashed before it counts, a cut stream is taken up again.

The stream (docs of `FlightData` in proto/gateway/v1/flight.proto): the schema message; per chunk its dictionaries
and its record batch, whose app_metadata is {index, digest}; last a frame with the signed end alone. Without that
end the pull is incomplete, whatever the status says.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import json
import random
from collections.abc import AsyncGenerator, Callable
from dataclasses import dataclass, field
from typing import Any, Final, cast

import grpc

from gateway.errors import IntegrityError, MirrorFullError, PeerError, PeerUnavailableError, TdzError
from gateway.model import limits
from gateway.model.artifact import ModelDescription
from gateway.model.dataset import DatasetManifest, Description
from gateway.model.described import parse_description
from gateway.model.statements import StreamEnd
from gateway.sdk.resources import Progress
from gateway.sdk.session import FLIGHT, Session
from gateway.storage.arrow_chunks import decode_chunk, join_message, read_schema_message
from gateway.v1 import exchange_pb2, flight_pb2
from gateway.wire import frames
from gateway.wire.status import from_rpc
from ledger.merkle import CompactRange, leaf_hash

__all__ = ["ChunkStream", "Opened", "ProgressCallback", "open_transfer"]

ProgressCallback = Callable[[Progress], None]

_BACKOFF_FIRST_S: Final = 0.1
_BACKOFF_MAX_S: Final = 2.0
_CUT_CODES: Final = frozenset(
    {grpc.StatusCode.UNAVAILABLE, grpc.StatusCode.CANCELLED, grpc.StatusCode.DEADLINE_EXCEEDED}
)
_PULL_AGAIN: Final = "pull again: verified chunks are not sent twice"


@dataclass(frozen=True)
class Opened:
    """An opened transfer: where to read it and what it will deliver; totals are -1 where a filter is on."""

    agreement: str
    transfer: str
    ticket: bytes = field(repr=False)
    schema: Any
    rows: int
    bytes: int
    chunks: int
    description: Description | ModelDescription
    version: str


async def open_transfer(session: Session, agreement: str, transfer: str, first_chunk: int) -> Opened:
    """Get a ticket: for a new transfer where `transfer` is empty, else to read one on.

    Raises:
        TdzError: the gateway refused; DeniedError where policy has changed since the agreement.
        IntegrityError: the schema, manifest or descriptive part that it sent is none, or not the manifest's.
    """
    response = await session.call(
        session.exchange.OpenTransfer,
        exchange_pb2.OpenTransferRequest(agreement=agreement, transfer=transfer, first_chunk=first_chunk),
    )
    manifest = DatasetManifest.parse(response.manifest)
    if hashlib.sha256(response.description).hexdigest() != manifest.descriptive_digest:
        raise IntegrityError("the descriptive part is not the one that the manifest names", remedy=_PULL_AGAIN)
    return Opened(
        agreement=agreement,
        transfer=response.transfer,
        schema=read_schema_message(response.schema),
        rows=response.rows,
        bytes=response.bytes,
        chunks=response.chunks,
        ticket=response.ticket,
        description=parse_description(response.description),
        version=manifest.version,
    )


class ChunkStream:
    """The verified record batches of one transfer, across reconnects.

    Args:
        session: the caller's.
        opened: how `open_transfer` answered for chunk 0.
        stall_s: without a verified chunk for so long, the pull gives up.
        progress: called after every chunk, on the event loop; it must not block.
    """

    def __init__(
        self, session: Session, opened: Opened, *, stall_s: float, progress: ProgressCallback | None = None
    ) -> None:
        self.opened = opened
        self.end: StreamEnd | None = None
        self.end_envelope = ""
        self._session = session
        self._stall_s = stall_s
        self._report = progress
        self._tree = CompactRange()
        self._rows = self._bytes = self._reconnects = 0
        self._last_progress = 0.0

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return Progress(
            chunks=self._tree.size,
            rows=self._rows,
            bytes=self._bytes,
            chunks_total=self.opened.chunks,
            rows_total=self.opened.rows,
            bytes_total=self.opened.bytes,
            reconnects=self._reconnects,
        )

    async def batches(self) -> AsyncGenerator[Any, None]:
        """Yield `pyarrow.RecordBatch`es in order, each from one verified chunk.

        Raises:
            IntegrityError: a chunk or the end is not what was promised.
            PeerUnavailableError: no progress for `stall_s`, reconnects included.
            TdzError: the gateway ended the transfer, with its reason.
        """
        loop = asyncio.get_running_loop()
        self._last_progress = loop.time()
        opened: Opened | None = self.opened
        delay = _BACKOFF_FIRST_S
        while True:
            before = self._tree.size
            try:
                if opened is None:
                    opened = await self._reopen()
                async with contextlib.aclosing(self._read(opened)) as read:
                    async for batch in read:
                        yield batch
                        self._last_progress = loop.time()  # a slow consumer is no stall
                return
            except TdzError as error:
                if not _is_cut(error):
                    raise
                if self._tree.size > before:
                    delay = _BACKOFF_FIRST_S
                if loop.time() + delay - self._last_progress > self._stall_s:
                    raise self._stalled(error) from error
            opened = None
            self._reconnects += 1
            await asyncio.sleep(delay * random.uniform(0.5, 1.0))  # noqa: S311  jitter, not a secret
            delay = min(2 * delay, _BACKOFF_MAX_S)

    async def _reopen(self) -> Opened:
        opened = await open_transfer(self._session, self.opened.agreement, self.opened.transfer, self._tree.size)
        if opened.transfer != self.opened.transfer or opened.version != self.opened.version:
            raise IntegrityError("the gateway resumed another transfer than was asked for", remedy=_PULL_AGAIN)
        return opened

    async def _read(self, opened: Opened) -> AsyncGenerator[Any, None]:
        ticket = flight_pb2.Ticket(ticket=opened.ticket).SerializeToString()
        method: Any = self._session.data.unary_stream(FLIGHT + "DoGet")  # identity (de)serialisers: bytes in and out
        call = method(ticket)
        try:
            header = frames.decode(await self._next(call))
            self._check_schema(header)
            parts: list[frames.Frame] = []
            while self.end is None:
                frame = frames.decode(await self._next(call))
                if not frame.header:
                    await self._finish(frame, parts)
                    return
                parts.append(frame)
                if frame.metadata:
                    yield self._chunk(parts)
                    parts = []
                elif sum(len(part.body) for part in parts) > limits.CHUNK_MAX:
                    raise IntegrityError("a chunk is larger than the limit", remedy=_PULL_AGAIN)
        finally:
            call.cancel()

    async def _next(self, call: Any) -> bytes:
        """The next frame, or PeerUnavailableError where the stream is cut or stands still."""
        remaining = self._stall_s - (asyncio.get_running_loop().time() - self._last_progress)
        try:
            async with asyncio.timeout(max(remaining, 1.0)):
                data = await call.read()
        except TimeoutError as error:
            raise self._stalled(error) from error
        except grpc.aio.AioRpcError as error:
            raise from_rpc(error) from error
        except asyncio.CancelledError:
            if cast("asyncio.Task[Any]", asyncio.current_task()).cancelling():
                raise
            raise PeerUnavailableError("the stream was cut", remedy=_PULL_AGAIN) from None
        if data is grpc.aio.EOF:
            raise PeerUnavailableError("the stream ended without its signed end", remedy=_PULL_AGAIN)
        return cast("bytes", data)

    def _check_schema(self, frame: frames.Frame) -> None:
        if not read_schema_message(join_prefix(frame.header)).equals(self.opened.schema):
            raise IntegrityError("the stream has another schema than its transfer", remedy=_PULL_AGAIN)

    def _chunk(self, parts: list[frames.Frame]) -> Any:
        """Verify one chunk and decode it; only then does it count."""
        index, promised = _chunk_label(parts[-1].metadata)
        expected = self._tree.size
        if index != expected:
            raise IntegrityError(f"chunk {index} came in place of chunk {expected}", remedy=_PULL_AGAIN)
        chunk = b"".join(
            piece for part in parts for piece in (join_message(part.header, part.body), part.header, part.body)
        )
        digest = hashlib.sha256(chunk).digest()
        if digest != promised:
            raise IntegrityError(f"chunk {index} does not match its digest", remedy=_PULL_AGAIN)
        batch = decode_chunk(self.opened.schema, chunk, trusted=True)  # the own gateway checked every value
        self._tree.append(leaf_hash(digest))
        self._rows += batch.num_rows
        self._bytes += len(chunk)
        self._last_progress = asyncio.get_running_loop().time()
        if self._report is not None:
            self._report(self.progress)
        return batch

    async def _finish(self, frame: frames.Frame, parts: list[frames.Frame]) -> None:
        if parts or not frame.metadata:
            raise IntegrityError("the stream ends inside a chunk", remedy=_PULL_AGAIN)
        envelope = bytes(frame.metadata)
        end = await self._session.verify_end(envelope)
        found = (self._tree.size, self._rows, self._bytes, self._tree.root().hex(), self.opened.transfer)
        if (end.chunks, end.rows, end.bytes, end.root, end.transfer) != found:
            raise IntegrityError(
                f"the signed end says {end.chunks} chunks, {end.rows} rows, root {end.root[:12]}; "
                f"read were {found[0]} chunks, {found[1]} rows, root {found[3][:12]}",
                remedy="tell both zones' administrators; their ledgers show who is right",
            )
        self.end, self.end_envelope = end, envelope.decode()

    def _stalled(self, cause: BaseException) -> PeerUnavailableError:
        text = cause.message if isinstance(cause, TdzError) else "nothing came"
        return PeerUnavailableError(
            f"transfer {self.opened.transfer} is incomplete at chunk {self._tree.size} of {self.opened.chunks}: "
            f"no progress for {self._stall_s:.0f} s ({text})",
            remedy=_PULL_AGAIN,
        )


def join_prefix(header: memoryview) -> bytes:
    """An encapsulated message without body from its metadata: the 8-byte prefix put back.

    Raises:
        IntegrityError: empty or longer than a schema may be.
    """
    if not len(header) or len(header) > limits.SCHEMA_MESSAGE_MAX:
        raise IntegrityError("the stream does not begin with a schema", remedy=_PULL_AGAIN)
    return b"".join((b"\xff\xff\xff\xff", len(header).to_bytes(4, "little"), header))


def _chunk_label(metadata: memoryview) -> tuple[int, bytes]:
    try:
        label = json.loads(bytes(metadata))
        index, digest = label["index"], bytes.fromhex(label["digest"])
    except (ValueError, KeyError, TypeError, RecursionError) as error:
        raise IntegrityError("a chunk carries no index and digest", remedy=_PULL_AGAIN) from error
    if type(index) is not int or len(digest) != hashlib.sha256().digest_size:
        raise IntegrityError("a chunk carries no index and digest", remedy=_PULL_AGAIN)
    return index, digest


def _is_cut(error: TdzError) -> bool:
    """Whether the stream may be taken up again: the transport failed, not the gateway's judgement."""
    if isinstance(error, MirrorFullError):
        return False  # it is answered at once, and asking again at once changes nothing
    cause = error.__cause__
    if isinstance(cause, grpc.aio.AioRpcError):
        return isinstance(error, PeerUnavailableError) or (type(error) is PeerError and cause.code() in _CUT_CODES)
    return isinstance(error, PeerUnavailableError) and not isinstance(cause, TimeoutError)
