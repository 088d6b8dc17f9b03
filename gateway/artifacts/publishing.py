"""Publishing a model: the runs of its files stream in, chunks and a version come out, in memory that stays flat.

A file's digest is known when its last run has come, on either side; what was signed comes after all of them.
"""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Final

from gateway.artifacts.formats import FileCheck
from gateway.artifacts.signing import read_bundle, verify_model
from gateway.artifacts.trust import Signer, Trust
from gateway.errors import IntegrityError
from gateway.model.artifact import PlannedFile
from gateway.model.dataset import DatasetManifest
from gateway.model.submission import ModelAnnouncement, ModelSeal, ModelSubmission
from gateway.storage.chunks import IN_FLIGHT, ChunkStore
from gateway.storage.model_chunks import encode_model_chunk, model_schema_message
from gateway.storage.publishing import Published
from gateway.storage.versions import ChunkList, ChunkListWriter, VersionStore

Bytes = bytes | bytearray | memoryview

_AGAIN: Final = "publish the model again; its files must not change meanwhile"


@dataclass(frozen=True, slots=True)
class _Stored:
    digest: bytes
    bytes: int
    new: bool


class _Open:
    """The file whose runs are arriving."""

    def __init__(self, entry: PlannedFile) -> None:
        self.entry = entry
        self.check = FileCheck(entry.name, entry.bytes)
        self.digest = hashlib.sha256()
        self.chunks = 0
        self._cuts: Iterator[int] | None = None

    def take(self, data: Bytes) -> None:
        """One run: its content, then its length.

        Raises:
            DataFileError: the content is not what the name says.
            IntegrityError: it is cut where it must not be, or into more chunks than were announced.
        """
        self.check.feed(data)
        if self._cuts is None:
            self._cuts = self.check.cuts()
        if len(data) != next(self._cuts, 0) or self.chunks == self.entry.chunks:
            raise IntegrityError(
                f"{self.entry.name!r} is cut at the wrong places", remedy="publish it with the current `tdz`"
            )
        self.chunks += 1
        self.digest.update(data)

    def end(self) -> str:
        """The file has all its runs; its digest.

        Raises:
            DataFileError, IntegrityError: it is not the file that was announced.
        """
        self.check.finish()
        if self.chunks != self.entry.chunks:
            raise IntegrityError(f"{self.entry.name!r} did not arrive whole", remedy=_AGAIN)
        return self.digest.hexdigest()


class ModelPublishSession:
    """One publish of a model, fed from one thread that is none of the chunk store's.

    Nothing is visible before ``finish`` returns; what it returns is durable. Publishing the same files again makes
    the same chunks and stores nothing. The order of checks:

    1. Each file's name, size and content are those of what an artifact may hold, and it is cut where the rule says.
    2. The seal has the digests of the files as they came.
    3. The signature is of the artifact and of exactly these files.
    4. It was made by a key that is trusted now.

    Args:
        chunks: where chunks go.
        versions: where the version goes.
        announcement: what the publisher says, and the files to come.

    Raises:
        DataFileError: a file that no artifact holds.
    """

    def __init__(self, chunks: ChunkStore, versions: VersionStore, announcement: ModelAnnouncement) -> None:
        for entry in announcement.files:
            FileCheck(entry.name, entry.bytes)  # names and sizes, before anything is stored
        self._announcement = announcement
        self._chunks = chunks
        self._versions = versions
        self._files = iter(announcement.files)
        self._digests: list[str] = []
        self._open: _Open | None = None
        self._sealed: tuple[ModelSubmission, bytes] | None = None
        self._in_flight: deque[Future[_Stored]] = deque()
        self._list = ChunkListWriter(versions.scratch())
        self._closed = False
        self.bytes = 0
        self._bytes_new = 0
        self._chunks_new = 0

    def write(self, data: Bytes) -> None:
        """Take the next run of the files in their order; blocks while the disk is behind.

        Args:
            data: one chunk's bytes without framing; kept until stored, so they must not change.

        Raises:
            DataFileError: a file's content is not what its name says.
            IntegrityError: a file is cut at the wrong places, or there are no more.
            StorageError: the disk is full or failed.
        """
        try:
            if self._open is None:
                self._open = self._next()
            if self._open is None:
                raise IntegrityError("more was sent than the files hold", remedy=_AGAIN)
            self._open.take(data)
            self._store(data)
            if self._open.chunks == self._open.entry.chunks:
                self._digests.append(self._open.end())
                self._open = None
        except BaseException:
            self.abort()
            raise

    def _next(self) -> _Open | None:
        """The next file that has bytes; empty ones are checked in passing."""
        for entry in self._files:
            opened = _Open(entry)
            if entry.chunks:
                return opened
            self._digests.append(opened.end())
        return None

    def _store(self, data: Bytes) -> None:
        if len(self._in_flight) >= IN_FLIGHT:
            self._collect()
        self._in_flight.append(self._chunks.executor.submit(self._put, data))

    def _put(self, data: Bytes) -> _Stored:
        parts = encode_model_chunk(data)
        state = hashlib.sha256()
        for part in parts:
            state.update(part)
        digest = state.digest()
        return _Stored(digest, sum(len(part) for part in parts), self._chunks.put(digest, parts))

    def _collect(self) -> None:
        stored = self._in_flight.popleft().result()
        self._list.write(stored.digest)
        self.bytes += stored.bytes
        if stored.new:
            self._bytes_new += stored.bytes
            self._chunks_new += 1

    def seal(self, seal: ModelSeal, trust: Trust, now: int) -> Signer:
        """Hold what was signed against the files as they came; who signed it.

        Args:
            seal: what follows the last run.
            trust: whom this gateway trusts.
            now: Unix seconds UTC.

        Raises:
            IntegrityError: a file is missing or is not the one that was signed, or the signer is not trusted.
            ManifestError: the description is too long for a version.
        """
        try:
            if self._open is None:
                self._open = self._next()
            if self._open is not None:
                raise IntegrityError(f"{self._open.entry.name!r} did not arrive whole", remedy=_AGAIN)
            submission = self._announcement.sealed(seal)
            for entry, digest in zip(submission.files, self._digests, strict=True):
                if entry.digest != digest:  # 2.
                    raise IntegrityError(f"{entry.name!r} is not the file that was signed", remedy=_AGAIN)
            if read_bundle(submission.signature).artifact != submission.artifact:  # 3.
                raise IntegrityError("the signature is of another artifact", remedy=_AGAIN)
            signer = verify_model(submission.signature, submission.files, trust, now)  # 3. and 4.
            self._sealed = submission, submission.describe().encode()
        except BaseException:
            self.abort()
            raise
        return signer

    def finish(self) -> Published:
        """Make the version visible, once it is sealed.

        Raises:
            IntegrityError: it is not sealed.
            StorageError: the disk is full or failed.
        """
        try:
            if self._sealed is None:
                raise IntegrityError("the model ended before it was sealed", remedy=_AGAIN)
            submission, description = self._sealed
            while self._in_flight:
                self._collect()
            self._list.close()
            digests = ChunkList(self._list.path)
            try:
                self._chunks.sync(digests)
                root = digests.root()
            finally:
                digests.close()
            message = model_schema_message()
            manifest = DatasetManifest(
                kind="model",
                id=submission.id,
                schema=hashlib.sha256(message).hexdigest(),
                descriptive=hashlib.sha256(description).hexdigest(),
                chunks=self._list.count,
                rows=self._list.count,
                bytes=self.bytes,
                root=root,
                encoding="none",
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
