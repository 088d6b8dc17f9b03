"""Publishing: a partner's stream of Arrow messages becomes a version and a row in the catalog.

A dataset's rows are cut into chunks here; a model's rows are its chunks, cut by whoever signed its files.
"""

from __future__ import annotations

import asyncio
import contextlib
import queue
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from typing import Any, Final, Protocol

import pyarrow as pa
import pyarrow.ipc as ipc

from gateway.artifacts.publishing import ModelPublishSession
from gateway.catalog.register import Published as CatalogEntry
from gateway.errors import DataFileError, InputError, LimitError, ManifestError, TdzError
from gateway.exchange.house import House
from gateway.exchange.peer import Bytes
from gateway.model import canonical, limits
from gateway.model.artifact import ModelSubmission
from gateway.model.canonical import CanonicalError
from gateway.model.dataset import Publication
from gateway.model.described import parse_description
from gateway.model.participant import Identity
from gateway.storage.ipc_frames import END_OF_STREAM, decoded_bytes, join_message, join_schema, read_batch_header
from gateway.storage.model_chunks import MODEL_SCHEMA, read_model_batch
from gateway.storage.publishing import Published, PublishSession

_QUEUE: Final = 4  # messages between the wire and the thread that reads them
_BATCH_DECODED_MAX: Final = 64 * limits.MIB
_WAIT_S: Final = 120.0  # the longest silence of a client that publishes


@dataclass(frozen=True, slots=True)
class Message:
    """One Arrow IPC message as FlightData carries it: without its 8-byte prefix."""

    header: Bytes
    body: Bytes


class _Pipe:
    """A file for pyarrow to read in a thread, fed from the event loop; bounded."""

    def __init__(self) -> None:
        self._parts: queue.Queue[Bytes | None] = queue.Queue(3 * _QUEUE)
        self._rest = memoryview(b"")
        self._ended = False
        self._broken = False
        self._unread = False
        self.closed = False

    def offer(self, part: Bytes | None) -> bool:
        """Give a part without waiting; whether there was room. What nobody will read is dropped."""
        if self._unread:
            return True
        try:
            self._parts.put_nowait(part)
        except queue.Full:
            return False
        return True

    def put(self, part: Bytes | None) -> None:
        """Give a part, waiting for room; raises queue.Full where the reader has stopped."""
        self._parts.put(part, timeout=_WAIT_S)

    def abandon(self) -> None:
        """The reader has ended: whoever waits for room goes on at once, and hears why from the reader's own end."""
        self._unread = True
        with contextlib.suppress(queue.Empty):
            while True:
                self._parts.get_nowait()

    def fail(self) -> None:
        """No more will come and what came is not whole: the reader must not take it for an end."""
        self._broken = True
        self.offer(None)

    def readable(self) -> bool:
        """For pyarrow."""
        return True

    def read(self, size: int = -1) -> Bytes:
        """For pyarrow: exactly so many bytes, fewer only at the end; a whole part is not copied."""
        if 0 < size <= len(self._rest):
            found, self._rest = self._rest[:size], self._rest[size:]
            return found
        out = bytearray()
        while len(out) < size and not self._ended:
            if not self._rest:
                part = None if self._broken else self._parts.get(timeout=_WAIT_S)
                if self._broken:
                    raise OSError("the client went away")
                if part is None:
                    self._ended = True
                    break
                self._rest = memoryview(part)
                if not out and 0 < size <= len(self._rest):
                    return self.read(size)
            take = min(size - len(out), len(self._rest))
            out += self._rest[:take]
            self._rest = self._rest[take:]
        return bytes(out)

    def close(self) -> None:
        """For pyarrow."""
        self.closed = True


class _Session(Protocol):
    """Takes what is published, from one thread."""

    def write(self, batch: Any) -> None:
        """Take a record batch."""

    def finish(self) -> Published:
        """Make the version visible."""

    def abort(self) -> None:
        """End without a version; may be called at any time."""


class _ModelRows:
    """Hands a model's rows on, each of them one chunk's bytes."""

    def __init__(self, session: ModelPublishSession, schema: Any) -> None:
        self._session = session
        if not schema.equals(MODEL_SCHEMA):
            session.abort()
            raise DataFileError("a model is sent as one column `data` of large_binary", remedy="tdz model publish DIR")

    def write(self, batch: Any) -> None:
        """Take the next chunk."""
        batch.validate(full=True)
        self._session.write(read_model_batch(batch))

    def finish(self) -> Published:
        """Make the version visible."""
        return self._session.finish()

    def abort(self) -> None:
        """End without a version; may be called at any time."""
        self._session.abort()


def _read(manifest: bytes) -> Publication | ModelSubmission:
    """What is published, by its kind."""
    try:
        document = canonical.decode(manifest)
    except CanonicalError as error:
        raise ManifestError(f"the manifest is not canonical JSON: {error}") from error
    if isinstance(document, dict) and document.get("kind") == "model":
        return ModelSubmission.parse(manifest)
    return Publication.parse(manifest)


def _kind(publication: Publication | ModelSubmission) -> str:
    return "model" if isinstance(publication, ModelSubmission) else "dataset"


class Publisher:
    """Publishes for this zone's institutions."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def publish(self, owner: Identity, manifest: bytes, messages: AsyncIterator[Message]) -> Published:
        """Publish a dataset or model, or a new version of an own one.

        Nothing is visible unless the whole stream was good; what is returned is durable.

        Args:
            owner: the publishing institution.
            manifest: the publication, or a model's submission, as canonical JSON.
            messages: the schema, then dictionaries and record batches.

        Raises:
            ManifestError: the publication is wrong.
            ConflictError: the id belongs to another institution.
            DataFileError: the stream is not Arrow, or a row does not fit a chunk.
            StorageError: the disk is full or failed.
        """
        house = self._house
        publication = _read(manifest)
        await house.catalog.check_owner(f"{_kind(publication)}s/{publication.id}", owner.uri)
        if publication.terms is not None and await house.exporter(owner.uri) is None:
            raise InputError(
                "the institution is not in the register, so nothing of it can be offered",
                remedy="ask the administrator for `tdz participant add`",
            )
        pipe = _Pipe()
        begin = await self._begin(owner, publication)
        work = asyncio.ensure_future(asyncio.to_thread(self._write, pipe, begin))
        try:
            await self._feed(pipe, messages, work)
            published = await work
        except BaseException:
            pipe.fail()
            await asyncio.gather(asyncio.shield(work), return_exceptions=True)
            raise
        version = await house.chunks.run(lambda: house.versions.open(published.version))
        version.chunks.close()
        await house.catalog.put(
            CatalogEntry(
                owner=owner.uri,
                manifest=published.manifest,
                description=parse_description(version.description_bytes),
                terms=publication.terms,
                published_at=house.clock(),
            )
        )
        return published

    async def _feed(self, pipe: _Pipe, messages: AsyncIterator[Message], work: asyncio.Future[Any]) -> None:
        first = True
        async for message in messages:
            if work.done():
                return  # its error is told by whoever awaits it
            if first:
                parts: tuple[Bytes, ...] = (join_schema(message.header),)
                first = False
            else:
                self._check(message)
                parts = (join_message(message.header, message.body), message.header, message.body)
            for part in parts:
                if part and not pipe.offer(part):
                    await self._put(pipe, part)
        if first:
            raise InputError("the stream has no schema")
        for last in (END_OF_STREAM, None):
            if not pipe.offer(last):
                await self._put(pipe, last)

    async def _put(self, pipe: _Pipe, part: Bytes | None) -> None:
        try:
            await asyncio.to_thread(pipe.put, part)
        except queue.Full as error:
            raise TdzError("publishing stands still", remedy="try again; see the gateway's log") from error

    @staticmethod
    def _check(message: Message) -> None:
        header = read_batch_header(memoryview(message.header))
        if decoded_bytes(header, memoryview(message.body)) > _BATCH_DECODED_MAX:
            raise LimitError(f"a record batch decompresses to more than {_BATCH_DECODED_MAX} bytes")

    async def _begin(self, owner: Identity, publication: Publication | ModelSubmission) -> Callable[[Any], _Session]:
        """How to begin once the schema is here; a model is its publisher's own, or of an outside signer."""
        house = self._house
        if isinstance(publication, Publication):
            rows = publication
            return lambda schema: PublishSession(house.chunks, house.versions, schema, rows)
        submission, trust, now = publication, await house.trust(), house.clock()

        def begin(schema: Any) -> _Session:
            session = ModelPublishSession(house.chunks, house.versions, submission, trust, now)
            if session.signer.certificate and session.signer.name != owner.uri:
                session.abort()
                raise InputError(
                    f"the model is signed by {session.signer.name}, and published by {owner.uri}",
                    remedy="sign it with your own signing key",
                )
            return _ModelRows(session, schema)

        return begin

    def _write(self, pipe: _Pipe, begin: Callable[[Any], _Session]) -> Published:
        session: _Session | None = None
        try:
            with ipc.open_stream(pa.PythonFile(pipe, mode="r")) as reader:
                session = begin(reader.schema)
                for batch in reader:
                    session.write(batch)
            return session.finish()
        except (pa.ArrowException, OSError, ValueError, queue.Empty) as error:
            raise DataFileError(
                f"the stream is not readable as Arrow: {type(error).__name__}: {str(error)[:200]}",
                remedy="check the file with pyarrow, then publish again",
            ) from error
        finally:
            pipe.abandon()
            if session is not None:
                session.abort()
