"""Parameters on disk: read with their digest checked, written whole or not at all."""

from __future__ import annotations

import contextlib
import hashlib
import os
from pathlib import Path

from gateway.errors import InputError, IntegrityError
from gateway.federation.parameters import Layout, Parameters, read_parameters
from gateway.storage.durable import storage_errors, sync_directory, write_parts


def load_parameters(path: str | Path, *, digest: str, expected: Layout | None = None) -> Parameters:
    """Read a container file.

    Args:
        path: the file; symbolic links are not followed.
        digest: the SHA-256 that it must have.
        expected: what its arrays have to be, where that is known.

    Raises:
        InputError: the file cannot be opened.
        IntegrityError: it has another digest, or is no container.
        UpdateShapeError: other arrays than expected.
        LimitError: past a named limit.
    """
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError as error:
        raise InputError(
            f"the parameters cannot be opened: {error.strerror or 'input failed'}", remedy="write the file first"
        ) from error
    found = hashlib.sha256()
    with os.fdopen(descriptor, "rb", buffering=0) as file:

        def read(count: int) -> bytes:
            piece = file.read(count)
            found.update(piece)
            return piece

        with storage_errors("cannot read the parameters"):
            parameters = read_parameters(read, size=os.fstat(descriptor).st_size, expected=expected)
    if found.hexdigest() != digest:
        raise IntegrityError("a parameters file with another digest than the order names")
    return parameters


def save_parameters(parameters: Parameters, path: str | Path) -> tuple[str, int]:
    """Write a container file durably: scratch name, sync, rename, sync of the directory.

    When this returns, contents and name survive a power cut. If it raises, or the process dies, the path holds what
    it held before. Another file of that name is replaced.

    Returns:
        SHA-256 in hexadecimal, and the size in bytes.

    Raises:
        StorageError: the disk is full, or the directory cannot be written.
    """
    target = Path(path)
    # One name, so that what a killed process left is written over; a path has one writer at a time.
    scratch = target.with_name(f".{target.name}.part")
    found = hashlib.sha256()
    size = 0
    with storage_errors("cannot write the parameters"):
        descriptor = os.open(scratch, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC | os.O_NOFOLLOW, 0o600)
        try:
            try:
                for part in parameters.parts():
                    write_parts(descriptor, (part,))
                    found.update(part)
                    size += len(part)
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            os.replace(scratch, target)
        except BaseException:
            with contextlib.suppress(FileNotFoundError):
                os.unlink(scratch)
            raise
        sync_directory(target.parent)
    return found.hexdigest(), size
