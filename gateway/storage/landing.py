"""Landing: chunks from another zone become a version here, each verified before it counts.

A landing is a directory ``landing/<transfer id>`` with the parts of the version to come. Its chunks go to the chunk
store, where without a version they are visible to nobody. After a crash the chunks on disk are hashed again, and
the landing goes on at the first one that is missing or damaged.
"""

from __future__ import annotations

import asyncio
import os
import re
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConflictError, IntegrityError, NotFoundError, StorageError, TdzError
from gateway.model import limits
from gateway.storage.arrow_chunks import ChunkDecoder, digest, read_schema_message
from gateway.storage.chunks import IN_FLIGHT, ChunkStore
from gateway.storage.durable import Bytes, Workspace, storage_errors, sync_directory, write_new
from gateway.storage.progress import Progress
from gateway.storage.versions import (
    CHUNKS,
    DESCRIPTION,
    MANIFEST,
    SCHEMA,
    ChunkList,
    ChunkListWriter,
    VersionStore,
    check_parts,
)

_TRANSFER: Final = re.compile(r"[0-9a-z][0-9a-z-]{0,62}")


class Landing:
    """One transfer's chunks on their way into the store; made by ``Landings``, used on one event loop.

    Args:
        path: its directory.
        chunks: where verified chunks go.
        versions: where the version appears.
    """

    def __init__(self, path: Path, chunks: ChunkStore, versions: VersionStore) -> None:
        self._path: Final = path
        self._store: Final = chunks
        self._versions: Final = versions
        with storage_errors(f"cannot read landing {path.name}"):
            self._manifest_bytes: Final = (path / MANIFEST).read_bytes()
            self.schema_message: Final = (path / SCHEMA).read_bytes()
            self.description_bytes: Final = (path / DESCRIPTION).read_bytes()
        self.manifest: Final = check_parts(self._manifest_bytes, self.schema_message, self.description_bytes)
        self.schema: Final[Any] = read_schema_message(self.schema_message)
        self.chunks: Final = ChunkList(path / CHUNKS)
        self.progress: Final = Progress(self.manifest.chunks)
        self._decoder: Final = ChunkDecoder(self.schema)
        self._next = 0
        self._slots: Final = asyncio.Semaphore(IN_FLIGHT)
        self._tasks: Final[set[asyncio.Task[None]]] = set()
        self._error: TdzError | None = None

    @property
    def transfer_id(self) -> str:
        """The transfer that lands here."""
        return self._path.name

    @property
    def next_index(self) -> int:
        """The index that ``add`` takes next."""
        return self._next

    async def first_missing(self) -> int:
        """Hash the chunks on disk again and go on after the last good one; call once before the first ``add``.

        Returns:
            The index of the first chunk to fetch; the number of chunks where none is missing.
        """
        while self._next < len(self.chunks):
            known = await self._store.run(self._verify_stored)
            if known is None:
                break
            rows, size = known
            self.progress.verified(self._next, rows=rows, size=size)
            self._next += 1
        return self._next

    def _verify_stored(self) -> tuple[int, int] | None:
        wanted = self.chunks[self._next]
        if not self._store.has(wanted):
            return None
        try:
            data = self._store.verify(wanted)
        except (IntegrityError, StorageError):
            return None  # damaged on disk: fetched again, and ``put`` replaces it
        return self._decoder.decode(data).num_rows, len(data)

    async def add(self, index: int, parts: Sequence[Bytes]) -> None:
        """Take one chunk; returns when it is accepted, at most ``IN_FLIGHT`` chunks before it is stored.

        Args:
            index: its place, one after the other.
            parts: its bytes: prefix, metadata and body of each message; not changed until ``drain``.

        Raises:
            IntegrityError: this chunk or one before it is not the one that the manifest names, or does not
                fit the schema; nothing of it is stored, and no further chunk is taken.
            StorageError: the disk is full or failed; what is verified stays and can be resumed.
        """
        self._raise()
        if index != self._next or index >= len(self.chunks):
            raise IntegrityError(f"chunk {index} came where {self._next} of {len(self.chunks)} was due")
        await self._slots.acquire()
        try:
            self._raise()
            # Handed to a thread at once: a task of its own would start only when the caller next waits.
            work = self._store.submit(lambda: self._check_and_put(index, parts))
            self._next += 1
            task = asyncio.create_task(self._land(index, work))
        except BaseException:
            self._slots.release()
            raise
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    async def _land(self, index: int, work: asyncio.Future[tuple[int, int]]) -> None:
        try:
            rows, size = await work
            self.progress.verified(index, rows=rows, size=size)
        except TdzError as error:
            self._fail(error)
        except Exception as error:
            self._fail(StorageError(f"a chunk could not be stored: {type(error).__name__}"))
        finally:
            self._slots.release()

    def _check_and_put(self, index: int, parts: Sequence[Bytes]) -> tuple[int, int]:
        size = sum(len(part) for part in parts)
        if size > limits.CHUNK_MAX:
            raise IntegrityError(f"chunk {index} has {size} bytes; the limit is {limits.CHUNK_MAX}")
        found = digest(parts)
        if found != self.chunks[index]:
            raise IntegrityError(
                f"chunk {index} is not the one that the manifest names",
                remedy="resume the transfer; if it happens again the provider's storage is damaged",
            )
        rows: int = self._decoder.decode_parts(parts).num_rows
        self._store.put(found, parts)
        return rows, size

    def _fail(self, error: TdzError) -> None:
        if self._error is None:
            self._error = error
        self.progress.end()

    def _raise(self) -> None:
        if self._error is not None:
            raise self._error

    async def drain(self) -> None:
        """Wait until every chunk taken is verified and stored.

        Raises:
            IntegrityError, StorageError: as ``add``.
        """
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self._raise()

    async def finish(self) -> str:
        """Check the whole and make the version visible, durably; may be called again after a crash.

        Returns:
            The version digest in hex.

        Raises:
            IntegrityError: chunks are missing, or rows or bytes differ from the manifest.
            StorageError: the disk is full or failed.
        """
        await self.drain()
        manifest, progress = self.manifest, self.progress
        if progress.chunks != manifest.chunks:
            raise IntegrityError(
                f"{progress.chunks} of {manifest.chunks} chunks have landed", remedy="resume the transfer"
            )
        if (progress.rows, progress.bytes) != (manifest.rows, manifest.bytes):
            raise IntegrityError(
                "rows or bytes of the chunks differ from the manifest",
                remedy="ask the provider to publish again",
            )
        version = await self._store.run(self._make_visible)
        progress.end()
        return version

    def _make_visible(self) -> str:
        self._store.sync(self.chunks)
        return self._versions.add(
            self._manifest_bytes, self.schema_message, self.description_bytes, self._path / CHUNKS
        )

    async def close(self) -> None:
        """Let go of a landing that stays on disk, to be resumed."""
        while self._tasks:
            await asyncio.wait(set(self._tasks))
        self.progress.end()
        self.chunks.close()

    async def remove(self) -> None:
        """Remove the landing: after its end stands on the ledger, or to give it up.

        Chunks stay in the store; without a version they are visible to nobody.
        """
        await self.close()
        await self._store.run(self._remove)

    def _remove(self) -> None:
        with storage_errors(f"cannot remove landing {self._path.name}"):
            shutil.rmtree(self._path)
            sync_directory(self._path.parent)


class Landings:
    """The landings of a gateway.

    Args:
        root: the storage directory of ``chunks`` and ``versions``.
        chunks: where chunks go.
        versions: where versions appear.
    """

    def __init__(self, root: Path, chunks: ChunkStore, versions: VersionStore) -> None:
        self._root: Final = root / "landing"
        self._chunks: Final = chunks
        self._versions: Final = versions
        with storage_errors(f"cannot open {self._root}"):
            self._root.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(root)
        self._workspace: Final = Workspace(root / "arriving")

    def close(self) -> None:
        """Remove the scratch directory."""
        self._workspace.close()

    def new_list(self) -> ChunkListWriter:
        """A chunk list to be filled from the peer; ``create`` takes it."""
        return ChunkListWriter(self._workspace.new())

    def __contains__(self, transfer_id: str) -> bool:
        return self._path(transfer_id).is_dir()

    def ids(self) -> list[str]:
        """The transfers that have a landing on disk."""
        return sorted(entry.name for entry in self._root.iterdir())

    def discard(self, transfer_id: str) -> None:
        """Remove the landing of a transfer that has ended; blocks, so run it in a thread.

        Raises:
            StorageError: it cannot be removed.
        """
        path = self._path(transfer_id)
        with storage_errors(f"cannot remove landing {transfer_id}"):
            if path.is_dir():
                shutil.rmtree(path)
                sync_directory(self._root)

    def _path(self, transfer_id: str) -> Path:
        if _TRANSFER.fullmatch(transfer_id) is None:
            raise NotFoundError(f"no landing {transfer_id[:80]!r}")
        return self._root / transfer_id

    def create(
        self,
        transfer_id: str,
        version: str,
        manifest: bytes,
        schema_message: bytes,
        description: bytes,
        chunk_list: ChunkListWriter,
    ) -> Landing:
        """Make a landing durable; blocks, so run it in a thread.

        Args:
            transfer_id: UUIDv7 of the transfer.
            version: the version digest that the agreement names.
            manifest: as the peer sent it.
            schema_message: as the peer sent it.
            description: the descriptive part, as the peer sent it.
            chunk_list: complete; consumed, whatever happens.

        Raises:
            IntegrityError: the parts are not those of the version.
            ConflictError: the transfer lands another version already.
            StorageError: the disk is full or failed; nothing has appeared.
        """
        path = self._path(transfer_id)
        staged = self._workspace.new()
        try:
            chunk_list.close()
            parsed = check_parts(manifest, schema_message, description, version=version)
            read_schema_message(schema_message)
            digests = ChunkList(chunk_list.path)
            try:
                if len(digests) != parsed.chunks or digests.root() != parsed.root:
                    raise IntegrityError(
                        "the chunk list is not the one that the manifest names", remedy="pull the dataset again"
                    )
            finally:
                digests.close()
            if path.is_dir():
                landing = self.open(transfer_id)
                if landing.manifest != parsed:
                    raise ConflictError(f"transfer {transfer_id} lands another version")
                return landing
            with storage_errors("cannot create a landing"):
                staged.mkdir(mode=0o700)
                for name, data in ((MANIFEST, manifest), (SCHEMA, schema_message), (DESCRIPTION, description)):
                    write_new(staged / name, [data])
                os.link(chunk_list.path, staged / CHUNKS)
                sync_directory(staged)
                staged.rename(path)
                sync_directory(self._root)
        finally:
            chunk_list.discard()
            shutil.rmtree(staged, ignore_errors=True)
        return self.open(transfer_id)

    def open(self, transfer_id: str) -> Landing:
        """A landing on disk, after a restart too; then ask ``first_missing``.

        Raises:
            NotFoundError: there is none.
            IntegrityError: its files are damaged.
        """
        path = self._path(transfer_id)
        if not path.is_dir():
            raise NotFoundError(f"no landing {transfer_id}")
        return Landing(path, self._chunks, self._versions)
