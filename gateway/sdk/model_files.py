"""A pulled model becomes a directory: its files, verified, its signature and its provenance beside them."""

from __future__ import annotations

import contextlib
import hashlib
import os
import shutil
import uuid
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

from gateway.errors import InputError, IntegrityError, StorageError
from gateway.model.artifact import FileEntry, ModelDescription
from gateway.storage.durable import storage_errors, sync_directory, write_new

SIGNATURE: Final = "model.sig"
"""Where OpenSSF Model Signing looks for a signature; never one of a model's own files."""

PROVENANCE: Final = "provenance-{}.intoto.json"


def check_target(target: Path) -> None:
    """Refuse a directory that holds something, before anything moves.

    Raises:
        InputError: there is something at this name already.
    """
    if target.exists() and (not target.is_dir() or any(target.iterdir())):
        raise InputError(f"{target} exists and is not empty", remedy="name a directory that does not exist yet")


def write_model(reader: Any, description: ModelDescription, target: Path) -> None:
    """Write a model's files, in a directory that appears under its name only when it is complete.

    Args:
        reader: a `pyarrow.RecordBatchReader` over the chunks in order, one column of large_binary.
        description: which chunks make which file; the caller has verified it.
        target: a directory that does not exist yet, or is empty.

    Raises:
        IntegrityError: a file is not what the description says.
        StorageError: the disk is full or failed; nothing is left.
    """
    check_target(target)
    staged = target.parent / f".{target.name}.{uuid.uuid4().hex[:8]}.partial"
    with storage_errors(f"cannot write {target}"):
        staged.mkdir(mode=0o755)
        try:
            pieces = _pieces(reader)
            for entry in description.files:
                _write_file(staged, entry, pieces)
            if next(pieces, None) is not None:
                raise IntegrityError("more came than the model's files hold", remedy="pull again")
            write_new(staged / SIGNATURE, [description.signature.encode()], mode=0o644)
            for number, envelope in enumerate(description.provenance, 1):
                write_new(staged / PROVENANCE.format(number), [envelope.encode()], mode=0o644)
            for directory, _, _ in os.walk(staged):
                sync_directory(Path(directory))
            with contextlib.suppress(FileNotFoundError):
                target.rmdir()  # an empty one
            staged.rename(target)
            sync_directory(target.parent)
        except BaseException:
            shutil.rmtree(staged, ignore_errors=True)
            raise


def _pieces(reader: Any) -> Iterator[Any]:
    """The chunks' bytes, one after the other; none is kept."""
    for batch in reader:
        for value in batch.column(0):
            yield value.as_buffer()


def _write_file(directory: Path, entry: FileEntry, pieces: Iterator[Any]) -> None:
    path = directory / entry.name
    path.parent.mkdir(parents=True, exist_ok=True)
    state, size = hashlib.sha256(), 0
    descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW | os.O_CLOEXEC, 0o644)
    with os.fdopen(descriptor, "wb", buffering=0) as file:
        for _ in range(entry.chunks):
            piece = next(pieces, None)
            if piece is None:
                raise IntegrityError(f"the pull ended inside {entry.name}", remedy="pull again")
            state.update(piece)
            size += piece.size
            written = file.write(piece)
            if written != piece.size:
                raise StorageError(f"{entry.name} was written short", remedy="free space, then pull again")
        os.fsync(file.fileno())
    if size != entry.bytes or state.hexdigest() != entry.digest:
        raise IntegrityError(
            f"{entry.name} is not the file that the publisher signed",
            remedy="tell both zones' administrators; their ledgers show what crossed",
        )
