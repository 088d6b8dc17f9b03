"""Publishing: rows stream in, chunks and a version come out, in memory that does not grow with the data."""

from __future__ import annotations

import hashlib
from collections import deque
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from gateway.errors import DataFileError, LimitError
from gateway.model import limits
from gateway.model.dataset import DatasetManifest, Publication
from gateway.storage.arrow_chunks import Codec, choose_codec, encode_chunk, schema_message
from gateway.storage.arrow_layout import stored_schema
from gateway.storage.chunking import DatasetChunker
from gateway.storage.chunks import IN_FLIGHT, ChunkStore
from gateway.storage.versions import ChunkList, ChunkListWriter, VersionStore


@dataclass(frozen=True, slots=True)
class Published:
    """What a publish came to.

    Args:
        manifest: the machine manifest.
        version: its digest in hex.
        bytes_new: chunk bytes that were not stored before.
        chunks_new: chunks that were not stored before.
    """

    manifest: DatasetManifest
    version: str
    bytes_new: int
    chunks_new: int


@dataclass(frozen=True, slots=True)
class _Stored:
    digest: bytes
    bytes: int
    new: bool


class PublishSession:
    """One publish, fed from one thread that is none of the chunk store's.

    Nothing is visible before ``finish`` returns; what it returns is durable. Publishing the same rows again, in
    whatever batches, makes the same chunks and stores nothing.

    Args:
        chunks: where chunks go.
        versions: where the version goes.
        schema: the pyarrow.Schema of the batches to come.
        publication: what the publisher says of the data.

    Raises:
        ManifestError: the publication names a column that the schema does not have.
        DataFileError: the schema cannot be stored.
    """

    def __init__(self, chunks: ChunkStore, versions: VersionStore, schema: Any, publication: Publication) -> None:
        publication.describe(_columns(stored_schema(schema)))
        self._chunks = chunks
        self._versions = versions
        self._publication = publication
        self._chunker = DatasetChunker(schema)
        self._codec: Codec | None = None
        self._in_flight: deque[Future[_Stored]] = deque()
        self._list = ChunkListWriter(versions.scratch())
        self._closed = False
        self.rows = 0
        self.bytes = 0
        self._bytes_new = 0
        self._chunks_new = 0

    def write(self, batch: Any) -> None:
        """Take one pyarrow.RecordBatch; blocks while the disk is behind.

        Raises:
            DataFileError: a row too large, a null where none may be, another schema.
            StorageError: the disk is full or failed.
            LimitError: more chunks or rows than a version may have.
        """
        try:
            for chunk in self._chunker.feed(batch):
                self._store(chunk)
        except BaseException:
            self.abort()
            raise

    def _store(self, batch: Any) -> None:
        if self._codec is None:
            self._codec = choose_codec(batch)
        batch.validate(full=True)
        data = encode_chunk(batch, self._codec)
        self.rows += batch.num_rows
        if self.rows > limits.ROWS_MAX or self._list.count + len(self._in_flight) >= limits.CHUNKS_MAX:
            raise LimitError("the dataset has too many rows or chunks", remedy="publish it in parts")
        if len(self._in_flight) >= IN_FLIGHT:
            self._collect()
        self._in_flight.append(self._chunks.executor.submit(self._put, data))

    def _put(self, data: memoryview) -> _Stored:
        digest = hashlib.sha256(data).digest()
        return _Stored(digest, len(data), self._chunks.put(digest, [data]))

    def _collect(self) -> None:
        stored = self._in_flight.popleft().result()
        self._list.write(stored.digest)
        self.bytes += stored.bytes
        if stored.new:
            self._bytes_new += stored.bytes
            self._chunks_new += 1

    def finish(self) -> Published:
        """Store what is left and make the version visible.

        Raises:
            DataFileError, StorageError, LimitError: as ``write``.
        """
        try:
            for chunk in self._chunker.flush():
                self._store(chunk)
            while self._in_flight:
                self._collect()
            self._list.close()
            digests = ChunkList(self._list.path)
            try:
                self._chunks.sync(digests)
                root = digests.root()
            finally:
                digests.close()
            schema = self._chunker.schema
            message = schema_message(schema)
            if len(message) > limits.SCHEMA_MESSAGE_MAX:
                raise DataFileError("the schema is too large", remedy="shorten column names or split the table")
            description = self._publication.describe(_columns(schema)).encode()
            manifest = DatasetManifest(
                id=self._publication.id,
                schema=hashlib.sha256(message).hexdigest(),
                descriptive=hashlib.sha256(description).hexdigest(),
                chunks=self._list.count,
                rows=self.rows,
                bytes=self.bytes,
                root=root,
                encoding=self._codec or "none",
            )
            version = self._versions.add(manifest.encode(), message, description, self._list.path)
        finally:
            self.abort()
        return Published(manifest, version, self._bytes_new, self._chunks_new)

    def abort(self) -> None:
        """End without a version; may be called at any time. Chunks already stored stay, unnamed."""
        if self._closed:
            return
        self._closed = True
        for future in self._in_flight:
            future.cancel()
        for future in self._in_flight:
            if not future.cancelled():
                future.exception()  # waits; the write's own error was raised before or is of no use now
        self._in_flight.clear()
        self._list.discard()


def _columns(schema: Any) -> list[tuple[str, str]]:
    return [(field.name, str(field.type)) for field in schema]
