"""The content-addressed chunk store: a file is named by the SHA-256 of its bytes.

Layout: ``chunks/<first two hex digits>/<64 hex digits>``. A name never holds part of a file: bytes are written and
synced in a scratch file first. Chunk files are read, never mapped, so that resident memory stays flat.
"""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from collections.abc import Callable, Iterable, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final, TypeVar

from gateway.errors import IntegrityError, StorageError
from gateway.model import limits
from gateway.storage.durable import Bytes, Workspace, storage_errors, sync_directory, write_new

DIGEST_BYTES: Final = 32
IN_FLIGHT: Final = 4  # chunks written or synced at once: overlaps syncs, yet leaves at most 8 MiB dirty

_T = TypeVar("_T")


class ChunkStore:
    """Chunks by digest on a local file system.

    Methods without ``a`` in front block and may be called from any thread; those with run on the store's own
    threads. A chunk's bytes are durable when ``put`` returns, its name when ``sync`` returned after it. A put may
    be repeated: the same bytes are stored once. A crash leaves scratch that the next start removes, and perhaps
    whole chunks that no version names.

    Args:
        root: the storage directory; made where it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self._chunks: Final = root / "chunks"
        with storage_errors(f"cannot open the chunk store {root}"):
            self._chunks.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(root)
        self._workspace: Final = Workspace(root / "tmp")
        self._made = {entry.name for entry in self._chunks.iterdir()}
        self._making = threading.Lock()
        self._executor: Final = ThreadPoolExecutor(max_workers=IN_FLIGHT, thread_name_prefix="chunks")

    def close(self) -> None:
        """Wait for writes in flight and remove the scratch directory."""
        self._executor.shutdown(wait=True)
        self._workspace.close()

    @property
    def executor(self) -> ThreadPoolExecutor:
        """The store's threads, for work on chunks that blocks."""
        return self._executor

    def path(self, digest: bytes) -> Path:
        """Where a chunk lies or would lie.

        Raises:
            IntegrityError: not a SHA-256 digest.
        """
        if len(digest) != DIGEST_BYTES:
            raise IntegrityError(f"a chunk digest has {DIGEST_BYTES} bytes, not {len(digest)}")
        name = digest.hex()
        return self._chunks / name[:2] / name

    def has(self, digest: bytes) -> bool:
        """Whether a chunk has a name here; its bytes are not looked at."""
        return self.path(digest).is_file()

    def put(self, digest: bytes, parts: Sequence[Bytes]) -> bool:
        """Store a chunk whose digest the caller has computed from these very parts.

        Args:
            digest: SHA-256 over the parts, one after the other.
            parts: the chunk's bytes; not copied.

        Returns:
            True if it was new, False if the same bytes lay here already (they were hashed again).

        Raises:
            StorageError: the disk is full or failed; nothing has appeared.
        """
        path = self.path(digest)
        with storage_errors("cannot store a chunk"):
            if path.exists():
                if self._is_whole(path, digest):
                    return False
                # Damaged on disk. The right bytes are at hand: put them in its place.
                scratch = self._workspace.new()
                write_new(scratch, parts)
                scratch.replace(path)
                return True
            self._make_directory(path.parent)
            scratch = self._workspace.new()
            write_new(scratch, parts)
            try:
                os.link(scratch, path)
            except FileExistsError:
                return False  # another thread stored the same bytes meanwhile
            finally:
                scratch.unlink()
            return True

    def _make_directory(self, directory: Path) -> None:
        if directory.name in self._made:
            return
        with self._making:
            directory.mkdir(exist_ok=True, mode=0o700)
            sync_directory(self._chunks)
            self._made.add(directory.name)

    @staticmethod
    def _is_whole(path: Path, digest: bytes) -> bool:
        if path.stat().st_size > limits.CHUNK_MAX:
            return False
        return hashlib.sha256(path.read_bytes()).digest() == digest

    def sync(self, digests: Iterable[bytes]) -> None:
        """Make the names of these chunks durable.

        Args:
            digests: chunk digests, or their first bytes.

        Raises:
            StorageError: a directory cannot be synced.
        """
        for first in sorted({digest[0] for digest in digests}):
            with storage_errors("cannot sync a chunk directory"):
                sync_directory(self._chunks / f"{first:02x}")

    def read(self, digest: bytes) -> bytes:
        """The bytes of a chunk, as they lie.

        Raises:
            StorageError: missing, unreadable, or of a size that no chunk has.
        """
        try:
            descriptor = os.open(self.path(digest), os.O_RDONLY | os.O_CLOEXEC)
        except FileNotFoundError as error:
            raise StorageError(
                f"chunk {digest.hex()} is missing", remedy="publish or pull the dataset again"
            ) from error
        with storage_errors(f"cannot read chunk {digest.hex()}"):
            try:
                size = os.fstat(descriptor).st_size
                if not 0 < size <= limits.CHUNK_MAX:
                    raise StorageError(
                        f"chunk {digest.hex()} has {size} bytes", remedy="publish or pull the dataset again"
                    )
                data = os.read(descriptor, size)
                while len(data) < size:
                    more = os.read(descriptor, size - len(data))
                    if not more:
                        raise StorageError(f"chunk {digest.hex()} became shorter while it was read")
                    data += more
                return data
            finally:
                os.close(descriptor)

    def verify(self, digest: bytes) -> bytes:
        """The bytes of a chunk, hashed again.

        Raises:
            StorageError: missing or unreadable.
            IntegrityError: its bytes are not those of its name.
        """
        data = self.read(digest)
        if hashlib.sha256(data).digest() != digest:
            raise IntegrityError(f"chunk {digest.hex()} is damaged on disk", remedy="publish or pull the dataset again")
        return data

    async def run(self, work: Callable[[], _T]) -> _T:
        """Run blocking work on the store's threads."""
        return await self.submit(work)

    def submit(self, work: Callable[[], _T]) -> asyncio.Future[_T]:
        """Start blocking work on the store's threads now; the running event loop gets its result."""
        return asyncio.get_running_loop().run_in_executor(self._executor, work)

    async def aread(self, digest: bytes) -> bytes:
        """``read`` on the store's threads."""
        return await self.run(lambda: self.read(digest))

    async def averify(self, digest: bytes) -> bytes:
        """``verify`` on the store's threads."""
        return await self.run(lambda: self.verify(digest))
