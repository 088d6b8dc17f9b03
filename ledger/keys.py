"""Private key files: PKCS#8 PEM, mode 0600, outside every directory that is exported."""

from __future__ import annotations

import os
import stat
from pathlib import Path
from typing import Final

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)

from ledger.errors import OperationalError
from ledger.note import NoteSigner

__all__ = ["create_key", "load_key", "load_signers", "next_key", "old_key"]

_MAX_KEY_BYTES: Final = 16 * 1024


def create_key(path: Path) -> Ed25519PrivateKey:
    """Make a new Ed25519 key and write it durably; an existing file is never replaced.

    Raises:
        OperationalError: the file exists or cannot be written.
    """
    key = Ed25519PrivateKey.generate()
    pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
    try:
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(pem)
            file.flush()
            os.fsync(file.fileno())
        directory = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
        try:
            os.fsync(directory)
        finally:
            os.close(directory)
    except FileExistsError as error:
        raise OperationalError(f"the key file {path} exists", remedy="name another file") from error
    except OSError as error:
        raise OperationalError(f"cannot write the key file {path}: {error.strerror}") from error
    return key


def load_key(path: Path) -> Ed25519PrivateKey:
    """Read an Ed25519 private key.

    Raises:
        OperationalError: the file is missing, is readable by others, or holds no Ed25519 key.
    """
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            pem = file.read(_MAX_KEY_BYTES)
    except OSError as error:
        raise OperationalError(f"cannot read the key file {path}: {error.strerror}") from error
    if mode & 0o077:
        raise OperationalError(f"others may read the key file {path}", remedy=f"chmod 600 {path}")
    try:
        key = load_pem_private_key(pem, password=None)
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        # The parser's own text could quote the file.
        raise OperationalError(f"{path} is not a private key in PKCS#8 PEM") from error
    if not isinstance(key, Ed25519PrivateKey):
        raise OperationalError(f"{path} is not an Ed25519 key")
    return key


def next_key(path: Path) -> Path:
    """Where a log's next key lies until its rotation is done: ``log.next.key`` beside ``log.key``."""
    return path.with_name(f"{path.stem}.next{path.suffix}")


def old_key(path: Path) -> Path:
    """Where a log's last key lies, which signs beside the newest until every cosigner has seen that."""
    return path.with_name(f"{path.stem}.old{path.suffix}")


def load_signers(path: Path, origin: str) -> list[NoteSigner]:
    """The signers of a log: by its key file, and by those beside it that a rotation left.

    Raises:
        OperationalError: as :func:`load_key`.
    """
    beside = [each for each in (next_key(path), old_key(path)) if each.exists()]
    # A rotation that was killed between its two renames left no file under the name itself.
    files = beside if beside and not path.exists() else [path, *beside]
    return [NoteSigner(origin, load_key(each)) for each in files]
