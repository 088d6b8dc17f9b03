"""Publishing over Flight DoPut: the publication, the schema, the rows in frames that fit, one answer."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Iterator
from typing import Any, Final

import grpc
import pyarrow as pa
import pyarrow.ipc as ipc

from gateway.errors import DataFileError, PeerError, PeerUnavailableError
from gateway.model import limits
from gateway.sdk.resources import Progress, Published
from gateway.sdk.session import FLIGHT, Session
from gateway.sdk.stream import ProgressCallback
from gateway.v1 import flight_pb2
from gateway.wire import frames
from gateway.wire.status import from_rpc

_ROOM: Final = 64 * limits.KIB  # for what a frame holds beside the body
_ROWS_MAX: Final = 1 << 16


async def upload(
    session: Session,
    publication: bytes,
    reader: Any,
    *,
    stall_s: float = limits.LEASE_S,
    progress: ProgressCallback | None = None,
) -> Published:
    """Send a publication and its rows.

    Args:
        session: the caller's.
        publication: canonical JSON of `gateway.model.dataset.Publication`.
        reader: a `pyarrow.RecordBatchReader`; read in a thread, one batch at a time.
        stall_s: how long the gateway may take nothing.
        progress: called after every frame, on the event loop.

    Raises:
        DataFileError: the data cannot be read, or a row needs more than a frame holds.
        TdzError: the gateway refused; ManifestError names the field.
    """
    method: Any = session.data.stream_stream(FLIGHT + "DoPut")  # identity (de)serialisers: bytes in and out
    call = method()
    descriptor = flight_pb2.FlightDescriptor(type=flight_pb2.FlightDescriptor.DESCRIPTOR_TYPE_CMD, cmd=publication)
    opening = flight_pb2.FlightData(flight_descriptor=descriptor).SerializeToString()
    try:
        first = True
        chunks = rows = size = 0
        async for frame, frame_rows in _frames(reader):
            async with asyncio.timeout(stall_s):
                await call.write(opening + frame if first else frame)
            first = False
            chunks, rows, size = chunks + bool(frame_rows), rows + frame_rows, size + len(frame)
            if progress is not None:
                progress(Progress(chunks=chunks, rows=rows, bytes=size))
        async with asyncio.timeout(stall_s):
            await call.done_writing()
            answer = await call.read()
    except TimeoutError as error:
        raise PeerUnavailableError(
            f"the gateway took nothing for {stall_s:.0f} s", remedy="publish again; nothing is stored twice"
        ) from error
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error
    except asyncio.InvalidStateError as error:  # written to a call that the gateway has ended
        raise await _refusal(call) from error
    finally:
        call.cancel()
    if answer is grpc.aio.EOF:
        raise await _refusal(call)
    return _published(answer)


async def _refusal(call: Any) -> Exception:
    """Why the gateway ended the call."""
    async with asyncio.timeout(limits.RPC_DEADLINE_S):
        code = await call.code()
        if code is grpc.StatusCode.OK:
            return PeerError("the gateway ended the publication without an answer", remedy="publish again")
        return from_rpc(
            grpc.aio.AioRpcError(
                code, await call.initial_metadata(), await call.trailing_metadata(), await call.details()
            )
        )


def _published(answer: bytes) -> Published:
    try:
        document = json.loads(flight_pb2.PutResult.FromString(answer).app_metadata)
        return Published(**{name: document[name] for name in ("name", "version", "rows", "chunks", "bytes")})
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError("the gateway's answer to the publication is malformed") from error


async def _frames(reader: Any) -> AsyncIterator[tuple[bytes, int]]:
    """The schema's frame, then those of every batch, with the rows that each completes."""
    schema_message = ipc.read_message(reader.schema.serialize())
    yield frames.encode(memoryview(schema_message.metadata)), 0
    while True:
        try:
            batch = await asyncio.to_thread(_next_batch, reader)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataFileError(f"the data cannot be read: {error}", remedy="mend the file") from error
        if batch is None:
            return
        for part in split(batch):
            for frame, rows in _encode(part):
                yield frame, rows


def _next_batch(reader: Any) -> Any:
    try:
        return reader.read_next_batch()
    except StopIteration:
        return None


def split(batch: Any, target: int = limits.CHUNK_TARGET) -> Iterator[Any]:
    """Cut a batch into runs of rows of about `target` bytes each."""
    if not batch.num_rows:
        return
    step = max(1, min(_ROWS_MAX, batch.num_rows * target // max(1, batch.nbytes)))
    for start in range(0, batch.num_rows, step):
        yield batch.slice(start, step)


def _encode(batch: Any) -> Iterator[tuple[bytes, int]]:
    """A batch's dictionaries and itself as frames; halved until each fits."""
    sink = pa.BufferOutputStream()
    with ipc.new_stream(sink, batch.schema) as writer:
        writer.write_batch(batch)
    found = []
    with ipc.MessageReader.open_stream(sink.getvalue()) as messages:
        for message in iter(messages.read_next_message, None):
            if message.type == "schema":
                continue
            body = memoryview(message.body) if message.body is not None else b""
            rows = batch.num_rows if message.type == "record batch" else 0
            found.append((memoryview(message.metadata), body, rows))
            if rows:
                break
    if all(len(header) + len(body) <= limits.MESSAGE_MAX - _ROOM for header, body, _ in found):
        for header, body, rows in found:
            yield frames.encode(header, [body]), rows
        return
    if batch.num_rows == 1:
        raise DataFileError(
            f"a row needs more than {limits.MESSAGE_MAX - _ROOM} bytes",
            remedy="split long values over several rows",
        )
    half = batch.num_rows // 2
    yield from _encode(batch.slice(0, half))
    yield from _encode(batch.slice(half))
