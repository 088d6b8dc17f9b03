"""Dataset versions at rest: manifest, schema message, descriptive part and chunk list, visible all at once.

Layout: ``versions/<first two hex digits>/<version digest>/{manifest.json,description.json,schema,chunks}``. The chunk
list is 32 bytes a chunk and is never held whole in memory.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.errors import IntegrityError, NotFoundError, StorageError
from gateway.model import canonical, limits
from gateway.model.dataset import DatasetManifest
from gateway.storage.arrow_chunks import read_schema_message
from gateway.storage.chunks import DIGEST_BYTES
from gateway.storage.durable import Workspace, storage_errors, sync_directory, write_new
from ledger import merkle

MANIFEST: Final = "manifest.json"
DESCRIPTION: Final = "description.json"
SCHEMA: Final = "schema"
CHUNKS: Final = "chunks"
_READ_CHUNKS: Final = 4_096  # digests read at a time: 128 KiB


class ChunkList:
    """The digests of a version's chunks, in order, in a file of 32 bytes each.

    Args:
        path: the file.
    """

    def __init__(self, path: Path) -> None:
        self._path = path
        with storage_errors(f"cannot open the chunk list {path.name}"):
            self._descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
            size = os.fstat(self._descriptor).st_size
        if size % DIGEST_BYTES:
            self.close()
            raise IntegrityError("the chunk list is cut off", remedy="publish or pull the dataset again")
        self._count = size // DIGEST_BYTES

    def __len__(self) -> int:
        return self._count

    def __getitem__(self, index: int) -> bytes:
        """The digest of one chunk.

        Raises:
            IndexError: there is no such chunk.
        """
        if not 0 <= index < self._count:
            raise IndexError(index)
        return self.raw(index, index + 1)

    def raw(self, start: int, stop: int) -> bytes:
        """The bytes of the list from one index to another; the caller bounds how many."""
        wanted = max(0, min(stop, self._count) - start) * DIGEST_BYTES
        with storage_errors("cannot read a chunk list"):
            data = os.pread(self._descriptor, wanted, start * DIGEST_BYTES)
        if len(data) != wanted:
            raise StorageError("a chunk list became shorter while it was read")
        return data

    def __iter__(self) -> Iterator[bytes]:
        for start in range(0, self._count, _READ_CHUNKS):
            data = self.raw(start, start + _READ_CHUNKS)
            for at in range(0, len(data), DIGEST_BYTES):
                yield data[at : at + DIGEST_BYTES]

    def root(self) -> str:
        """RFC 6962 tree hash over the digests, in hex."""
        return merkle.tree_hash(self).hex()

    def close(self) -> None:
        """Close the file."""
        if self._descriptor >= 0:
            os.close(self._descriptor)
            self._descriptor = -1

    def __del__(self) -> None:
        if getattr(self, "_descriptor", -1) >= 0:
            self.close()


class ChunkListWriter:
    """Writes a chunk list piece by piece, in constant memory.

    Args:
        path: a file that does not exist yet.
    """

    def __init__(self, path: Path) -> None:
        self.path: Final = path
        self.count = 0
        with storage_errors("cannot write a chunk list"):
            self._file = path.open("xb")

    def write(self, digests: bytes) -> None:
        """Append whole digests.

        Raises:
            IntegrityError: part of a digest, or more than ``limits.CHUNKS_MAX`` in all.
            StorageError: the disk is full or failed.
        """
        count, rest = divmod(len(digests), DIGEST_BYTES)
        if rest or self.count + count > limits.CHUNKS_MAX:
            raise IntegrityError("a chunk list is cut off or too long")
        with storage_errors("cannot write a chunk list"):
            self._file.write(digests)
        self.count += count

    def close(self) -> None:
        """Sync the contents and close.

        Raises:
            StorageError: the disk is full or failed.
        """
        with storage_errors("cannot write a chunk list"):
            try:
                self._file.flush()
                os.fsync(self._file.fileno())
            finally:
                self._file.close()

    def discard(self) -> None:
        """Close and remove the file."""
        with contextlib.suppress(OSError):
            self._file.close()
        self.path.unlink(missing_ok=True)


class Version:
    """One visible version; made by ``VersionStore.open``.

    Args:
        path: its directory.
        version: its digest in hex.
    """

    def __init__(self, path: Path, version: str) -> None:
        self.version: Final = version
        with storage_errors(f"cannot read version {version}"):
            self.manifest_bytes: Final = (path / MANIFEST).read_bytes()
            self.schema_message: Final = (path / SCHEMA).read_bytes()
            self.description_bytes: Final = (path / DESCRIPTION).read_bytes()
        self.manifest: Final = check_parts(
            self.manifest_bytes, self.schema_message, self.description_bytes, version=version
        )
        self.chunks: Final = ChunkList(path / CHUNKS)
        if len(self.chunks) != self.manifest.chunks:
            raise IntegrityError(
                f"the chunk list of version {version} has another length than its manifest says",
                remedy="publish or pull the dataset again",
            )

    @property
    def schema(self) -> Any:
        """The stored pyarrow.Schema."""
        return read_schema_message(self.schema_message)

    @property
    def description(self) -> dict[str, Any]:
        """The descriptive part as a document."""
        value = canonical.decode(self.description_bytes)
        if not isinstance(value, dict):
            raise IntegrityError("the descriptive part is not a document")
        return value


def check_parts(
    manifest: bytes, schema_message: bytes, description: bytes, *, version: str | None = None
) -> DatasetManifest:
    """Check that schema message and descriptive part are those of a manifest, and it that of a version.

    Args:
        version: the version digest in hex that the manifest must have.

    Raises:
        IntegrityError: a digest does not match, or the manifest is not canonical.
    """
    if version is not None and hashlib.sha256(manifest).hexdigest() != version:
        raise IntegrityError(f"the manifest is not that of version {version}", remedy="pull the dataset again")
    parsed = DatasetManifest.parse(manifest)
    if hashlib.sha256(schema_message).hexdigest() != parsed.schema_digest:
        raise IntegrityError("the schema is not the one that the manifest names", remedy="pull the dataset again")
    if hashlib.sha256(description).hexdigest() != parsed.descriptive_digest:
        raise IntegrityError(
            "the descriptive part is not the one that the manifest names", remedy="pull the dataset again"
        )
    return parsed


class VersionStore:
    """Versions by digest on a local file system.

    A version is visible whole or not at all, and durable when ``add`` returns. Adding it again changes nothing.
    What an unfinished publish left is removed at the next start.

    Args:
        root: the storage directory; made where it does not exist.
    """

    def __init__(self, root: Path) -> None:
        self._versions: Final = root / "versions"
        with storage_errors(f"cannot open the version store {root}"):
            self._versions.mkdir(parents=True, exist_ok=True, mode=0o700)
            sync_directory(root)
        self._workspace: Final = Workspace(root / "staging")

    def close(self) -> None:
        """Remove the scratch directory."""
        self._workspace.close()

    def scratch(self) -> Path:
        """A name for an unfinished file, on the versions' file system."""
        return self._workspace.new()

    def _path(self, version: str) -> Path:
        if len(version) != 2 * DIGEST_BYTES or not set(version) <= set("0123456789abcdef"):
            raise NotFoundError(f"no version {version[:80]!r}", remedy="name a version by its digest")
        return self._versions / version[:2] / version

    def has(self, version: str) -> bool:
        """Whether a version is visible."""
        return self._path(version).is_dir()

    def open(self, version: str) -> Version:
        """A visible version; manifest, schema and descriptive part are hashed again.

        Raises:
            NotFoundError: there is none.
            IntegrityError: its files do not match its digest.
        """
        path = self._path(version)
        if not path.is_dir():
            raise NotFoundError(f"no version {version}")
        return Version(path, version)

    def __iter__(self) -> Iterator[str]:
        """The digests of all visible versions, in order."""
        for shelf in sorted(self._versions.iterdir()):
            yield from sorted(entry.name for entry in shelf.iterdir())

    def add(self, manifest: bytes, schema_message: bytes, description: bytes, chunk_list: Path) -> str:
        """Make a version visible. All of its chunks are durable by now: the caller's duty.

        Args:
            chunk_list: a complete, synced chunk list on the same file system; linked, not copied.

        Returns:
            The version digest in hex.

        Raises:
            IntegrityError: the parts do not belong together.
            StorageError: the disk is full or failed; nothing has appeared.
        """
        version = hashlib.sha256(manifest).hexdigest()
        parsed = check_parts(manifest, schema_message, description)
        digests = ChunkList(chunk_list)
        try:
            if len(digests) != parsed.chunks or digests.root() != parsed.root:
                raise IntegrityError("the chunk list is not the one that the manifest names")
        finally:
            digests.close()
        path = self._path(version)
        with storage_errors("cannot store a version"):
            if path.is_dir():
                sync_directory(path.parent)
                return version
            staged = self._workspace.new()
            staged.mkdir(mode=0o700)
            try:
                for name, data in ((MANIFEST, manifest), (SCHEMA, schema_message), (DESCRIPTION, description)):
                    write_new(staged / name, [data])
                os.link(chunk_list, staged / CHUNKS)
                sync_directory(staged)
                path.parent.mkdir(exist_ok=True, mode=0o700)
                sync_directory(self._versions)
                try:
                    staged.rename(path)
                except OSError:
                    if not path.is_dir():
                        raise
                    # The same version was added meanwhile; it has the same bytes.
                sync_directory(path.parent)
            finally:
                shutil.rmtree(staged, ignore_errors=True)
        return version
