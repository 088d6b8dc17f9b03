"""Publishing over Flight DoPut: the publication, the schema, the rows in frames that fit, one answer.

The call itself is a blocking one in a thread: a write in grpc.aio that meets the end of its call replaces the status
that the gateway sent by INTERNAL for good, and a publisher must see why it was refused.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Callable, Iterable, Iterator
from typing import Any, Final

import grpc
import pyarrow as pa
import pyarrow.ipc as ipc

from gateway.errors import DataFileError, PeerError, PeerUnavailableError
from gateway.model import limits
from gateway.sdk.resources import Progress, Published
from gateway.sdk.session import FLIGHT, Session
from gateway.sdk.stream import ProgressCallback
from gateway.storage.ipc_frames import PREFIX_BYTES
from gateway.storage.model_chunks import encode_model_chunk, model_schema_message
from gateway.v1 import flight_pb2
from gateway.wire import frames
from gateway.wire.status import from_rpc

_ROOM: Final = 64 * limits.KIB  # for what a frame holds beside the body
_ROWS_MAX: Final = 1 << 16
_LOOKS_PER_STALL: Final = 8
_OPTIONS: Final = (
    ("grpc.max_send_message_length", limits.MESSAGE_MAX),
    ("grpc.max_receive_message_length", limits.CONTROL_MESSAGE_MAX),
    ("grpc.keepalive_time_ms", limits.KEEPALIVE_MS),
    ("grpc.keepalive_timeout_ms", limits.KEEPALIVE_TIMEOUT_MS),
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_retries", 0),
)


async def upload(
    session: Session,
    publication: bytes,
    frames_of: Iterable[tuple[bytes, int]],
    *,
    stall_s: float = limits.LEASE_S,
    progress: ProgressCallback | None = None,
) -> Published:
    """Send a publication and its rows.

    Args:
        session: the caller's.
        publication: canonical JSON of a dataset's publication or a model's announcement.
        frames_of: the schema's frame first; gone through in a thread, one frame at a time.
        stall_s: how long the gateway may take nothing, or the frames may stand still.
        progress: called after every frame, on the event loop.

    Raises:
        DataFileError: the data cannot be read, or a row needs more than a frame holds.
        TdzError: the gateway refused; ManifestError names the field.
    """
    loop = asyncio.get_running_loop()
    report: ProgressCallback | None = None
    if progress is not None:
        told = progress
        report = lambda step: _tell(loop, told, step)  # noqa: E731
    sending = _Sending(session, publication, frames_of, report)
    task = asyncio.create_task(asyncio.to_thread(sending.run), name="tdz-upload")
    try:
        while not (await asyncio.wait({task}, timeout=stall_s / _LOOKS_PER_STALL))[0]:
            if sending.idle_s() > stall_s:
                raise PeerUnavailableError(
                    f"nothing could be sent for {stall_s:.0f} s", remedy="publish again; nothing is stored twice"
                )
        return task.result()
    finally:
        sending.cancel()
        await asyncio.wait({task}, timeout=limits.CONNECT_DEADLINE_S)


def _tell(loop: asyncio.AbstractEventLoop, progress: ProgressCallback, step: Progress) -> None:
    loop.call_soon_threadsafe(progress, step)


class _Sending:
    """One DoPut, run in a thread, cancelled from another."""

    def __init__(
        self,
        session: Session,
        publication: bytes,
        frames_of: Iterable[tuple[bytes, int]],
        report: Callable[[Progress], None] | None,
    ) -> None:
        descriptor = flight_pb2.FlightDescriptor(type=flight_pb2.FlightDescriptor.DESCRIPTOR_TYPE_CMD, cmd=publication)
        self._opening = flight_pb2.FlightData(flight_descriptor=descriptor).SerializeToString()
        self._credentials = session.credentials
        self._frames = frames_of
        self._report = report
        self._call: Any = None
        self._cancelled = False
        self._failure: BaseException | None = None
        self._last = time.monotonic()

    def idle_s(self) -> float:
        """Seconds since the last frame was taken."""
        return time.monotonic() - self._last

    def cancel(self) -> None:
        """End the call, if it still runs."""
        self._cancelled = True
        if self._call is not None:
            self._call.cancel()

    def run(self) -> Published:
        """Send everything and wait for the answer."""
        tls = self._credentials.tls
        credentials = grpc.ssl_channel_credentials(tls.ca, tls.key, tls.certificate)
        with grpc.secure_channel(str(self._credentials.profile.gateway), credentials, options=_OPTIONS) as channel:
            self._call = channel.stream_stream(FLIGHT + "DoPut")(self._requests())  # bytes in and out
            try:
                answers = list(self._call)
            except grpc.RpcError as error:
                if self._failure is not None:
                    raise self._failure from error
                call: Any = error
                raise from_rpc(
                    grpc.aio.AioRpcError(call.code(), call.initial_metadata(), call.trailing_metadata(), call.details())
                ) from error
        if not answers:
            raise PeerError("the gateway ended the publication without an answer", remedy="publish again")
        return _published(answers[-1])

    def _requests(self) -> Iterator[bytes]:
        """All frames; what goes wrong while reading ends the call and is kept for `run`."""
        batches = rows = size = 0
        try:
            for frame, frame_rows in self._frames:
                if self._cancelled:
                    return
                yield frame if size else self._opening + frame
                self._last = time.monotonic()
                batches, rows, size = batches + bool(frame_rows), rows + frame_rows, size + len(frame)
                if self._report is not None:
                    self._report(Progress(chunks=batches, rows=rows, bytes=size))
        except Exception as error:  # raised by run, whatever it is
            self._failure = error
            self._call.cancel()


def _published(answer: bytes) -> Published:
    try:
        document = json.loads(flight_pb2.PutResult.FromString(answer).app_metadata)
        return Published(**{name: document[name] for name in ("name", "version", "rows", "chunks", "bytes")})
    except (ValueError, KeyError, TypeError) as error:
        raise PeerError("the gateway's answer to the publication is malformed") from error


def model_frames(runs: Iterable[memoryview]) -> Iterator[tuple[bytes, int]]:
    """The frames of a model's chunks: what Arrow's writer would make of them, without its copies.

    Args:
        runs: each is good until the next is asked for.
    """
    yield frames.encode(memoryview(model_schema_message())[PREFIX_BYTES:]), 0
    for run in runs:
        front, data, padding = encode_model_chunk(run)
        end = PREFIX_BYTES + int.from_bytes(front[4:PREFIX_BYTES], "little")
        yield frames.encode(memoryview(front)[PREFIX_BYTES:end], [memoryview(front)[end:], data, padding]), 1


def table_frames(reader: Any) -> Iterator[tuple[bytes, int]]:
    """The schema's frame, then those of every batch of a `pyarrow.RecordBatchReader`, with the rows of each."""
    schema_message = ipc.read_message(reader.schema.serialize())
    yield frames.encode(memoryview(schema_message.metadata)), 0
    batches = iter(reader)
    while True:
        try:
            batch = next(batches, None)
        except (pa.ArrowException, OSError, ValueError) as error:
            raise DataFileError(f"the data cannot be read: {error}", remedy="mend the file") from error
        if batch is None:
            return
        for part in split(batch):
            yield from _encode(part)


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
    messages = ipc.MessageReader.open_stream(sink.getvalue())
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
