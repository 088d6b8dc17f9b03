"""Private keys: making, keeping and loading them; fingerprints of public ones.

Primitives are `cryptography`'s alone. TLS keys are ECDSA on P-256 (FIPS 186-5), statement keys Ed25519
(RFC 8032). Files are PKCS #8 PEM, 0600, and refuse to be loaded when others may read them.
"""

from __future__ import annotations

import hashlib
import hmac
import os
import stat
from pathlib import Path
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from cryptography.hazmat.primitives.asymmetric.types import PrivateKeyTypes, PublicKeyTypes
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    PublicFormat,
    load_pem_private_key,
)

from gateway.config import write_file
from gateway.errors import ConfigError, InputError

KEY_FILE_MAX: Final = 16 * 1024


def new_tls_key() -> ec.EllipticCurvePrivateKey:
    """A new P-256 key for a certificate."""
    return ec.generate_private_key(ec.SECP256R1())


def new_statement_key() -> ed25519.Ed25519PrivateKey:
    """A new Ed25519 key for statements."""
    return ed25519.Ed25519PrivateKey.generate()


def key_fingerprint(key: PublicKeyTypes) -> str:
    """SHA-256 in hex over the DER SubjectPublicKeyInfo (RFC 5280, section 4.1.2.7)."""
    return hashlib.sha256(key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)).hexdigest()


def raw_public(key: ed25519.Ed25519PublicKey) -> bytes:
    """The 32 bytes of a public key (RFC 8032, section 5.1.5)."""
    return key.public_bytes(Encoding.Raw, PublicFormat.Raw)


def require_p256(key: object) -> ec.EllipticCurvePublicKey:
    """The key itself, where it is one of ECDSA on P-256.

    Raises:
        InputError: it is of another kind or on another curve.
    """
    if not isinstance(key, ec.EllipticCurvePublicKey) or not isinstance(key.curve, ec.SECP256R1):
        raise InputError("the key is not ECDSA on P-256", remedy="make it with `tdz identity request`")
    return key


def require_fingerprint(found: str, expected: str, *, what: str) -> None:
    """Compare two hex SHA-256 digests in constant time.

    Raises:
        InputError: they differ.
    """
    if not hmac.compare_digest(found.encode(), expected.strip().lower().replace(":", "").encode()):
        raise InputError(
            f"the fingerprint of {what} is {found}, not the one that was given",
            remedy="compare it with its owner over another channel; do not go on if it differs",
        )


def write_private_key(path: Path, key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> None:
    """Write a new private key, 0600; an existing file is never replaced.

    Raises:
        ConfigError: the file exists.
        StorageError: it cannot be written.
    """
    write_file(path, private_pem(key), mode=0o600, replace=False)


def private_pem(key: ec.EllipticCurvePrivateKey | ed25519.Ed25519PrivateKey) -> bytes:
    """A private key as unencrypted PKCS #8 PEM (RFC 5958)."""
    return key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())


def load_tls_key(path: Path) -> ec.EllipticCurvePrivateKey:
    """Load a P-256 private key.

    Raises:
        ConfigError: no such file, open to others, or another kind of key.
    """
    key = _load(path)
    if not isinstance(key, ec.EllipticCurvePrivateKey) or not isinstance(key.curve, ec.SECP256R1):
        raise ConfigError(f"{path} holds no P-256 key", remedy="name the right file")
    return key


def load_statement_key(path: Path) -> ed25519.Ed25519PrivateKey:
    """Load an Ed25519 private key.

    Raises:
        ConfigError: no such file, open to others, or another kind of key.
    """
    key = _load(path)
    if not isinstance(key, ed25519.Ed25519PrivateKey):
        raise ConfigError(f"{path} holds no Ed25519 key", remedy="name the right file")
    return key


def _read_private(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            mode = stat.S_IMODE(os.fstat(file.fileno()).st_mode)
            data = file.read(KEY_FILE_MAX + 1)
    except OSError as error:
        raise ConfigError(
            f"cannot read the key {path}: {error.strerror}", remedy="check the path and who owns the file"
        ) from error
    if mode & 0o077:
        raise ConfigError(f"the key {path} is open to others ({mode:o})", remedy=f"chmod 600 {path}")
    return data


def _load(path: Path) -> PrivateKeyTypes:
    data = _read_private(path)
    try:
        return load_pem_private_key(data[:KEY_FILE_MAX], password=None)
    except (ValueError, TypeError) as error:
        raise ConfigError(f"{path} is no private key in PEM", remedy="name the right file") from error


def keep_secret(path: Path) -> bytes:
    """The 32 random bytes of a file, 0600, made where it is not there.

    Raises:
        ConfigError: others may read it, or it holds something else.
        StorageError: it cannot be made.
    """
    if not path.exists():
        write_file(path, os.urandom(32), mode=0o600, replace=False)
    secret = _read_private(path)
    if len(secret) != 32:
        raise ConfigError(
            f"{path} does not hold 32 bytes", remedy="restore it from a backup, or remove it to begin anew"
        )
    return secret
