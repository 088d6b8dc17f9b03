"""The keys that sign bundles: read from files, and those that a zone trusts, each for its party.

A zone's directory has `policy/trust/vendor/KEYID.pem` and `policy/trust/zone/KEYID.pem`. They are read at each use,
so that a key that was taken away signs nothing more from then on.
"""

from __future__ import annotations

import hashlib
import os
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Final, get_args

from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_pem_private_key,
    load_pem_public_key,
)

from gateway.decisions.bundles.manifest import Party
from gateway.decisions.bundles.signature import KEYID, PrivateKey, PublicKey
from gateway.errors import ConfigError, InputError
from gateway.model.limits import POLICY_KEYS_MAX

_PEM_MAX: Final = 16 * 1024
_RSA_MIN: Final = 2_048
_RSA_MAX: Final = 8_192
_REMEDY: Final = "use a P-256 key (ES256) or RSA from 2,048 bits (RS256) in PEM: tdz policy keygen"


@dataclass(frozen=True, slots=True)
class TrustedKey:
    """A key that counts in this zone.

    Args:
        keyid: its name in signatures.
        party: whose it is: the vendor's or the zone's own.
        key: the public key.
    """

    keyid: str
    party: Party
    key: PublicKey

    @property
    def fingerprint(self) -> str:
        """SHA-256 of the key's SubjectPublicKeyInfo, hex."""
        der = self.key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo)
        return hashlib.sha256(der).hexdigest()


def public_key(pem: bytes, name: str) -> PublicKey:
    """A public key that may sign bundles.

    Raises:
        InputError: it is none.
    """
    if len(pem) > _PEM_MAX or b"PRIVATE KEY" in pem:
        raise InputError(f"{name} is not one public key in PEM", remedy=_REMEDY)
    try:
        key = load_pem_public_key(pem)
    except (ValueError, UnsupportedAlgorithm) as error:
        raise InputError(f"{name} is not one public key in PEM", remedy=_REMEDY) from error
    if isinstance(key, ec.EllipticCurvePublicKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPublicKey) and _RSA_MIN <= key.key_size <= _RSA_MAX:
        return key
    raise InputError(f"{name} is a key of a kind that signs no bundles", remedy=_REMEDY)


def private_key(path: Path) -> PrivateKey:
    """A private key that may sign bundles.

    Raises:
        InputError: the file cannot be read, or is none.
    """
    try:
        with path.open("rb") as file:
            key = load_pem_private_key(file.read(_PEM_MAX), password=None)
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror}", remedy="name the signing key's file") from error
    except (ValueError, TypeError, UnsupportedAlgorithm) as error:
        raise InputError(f"{path} is not one private key in PEM without a password", remedy=_REMEDY) from error
    if isinstance(key, ec.EllipticCurvePrivateKey) and isinstance(key.curve, ec.SECP256R1):
        return key
    if isinstance(key, rsa.RSAPrivateKey) and _RSA_MIN <= key.key_size <= _RSA_MAX:
        return key
    raise InputError(f"{path} is a key of a kind that signs no bundles", remedy=_REMEDY)


def require_keyid(text: str) -> str:
    """The text itself, where it names a key.

    Raises:
        InputError: it does not.
    """
    if KEYID.fullmatch(text) is None:
        raise InputError(f"{text[:80]!r} is no key id", remedy="use letters, digits, dots and dashes, at most 64")
    return text


def trusted_keys(folder: Path) -> dict[str, TrustedKey]:
    """The keys of a zone's trust folder by id; none where there is no folder.

    Raises:
        ConfigError: a file in it is no key, or one id stands for two.
    """
    found: dict[str, TrustedKey] = {}
    for party in get_args(Party):
        try:
            names = sorted(os.listdir(folder / party))
        except FileNotFoundError:
            continue
        except OSError as error:
            raise ConfigError(f"cannot read {folder / party}: {error.strerror}") from error
        for name in names:
            keyid, suffix = name[:-4], name[-4:]
            path = folder / party / name
            if suffix != ".pem":
                continue
            try:
                require_keyid(keyid)
                with path.open("rb") as file:
                    key = public_key(file.read(_PEM_MAX + 1), str(path))
            except (InputError, OSError) as error:
                raise ConfigError(f"{path} is no key that may be trusted: {error}", remedy="take it away") from error
            if keyid in found or len(found) >= POLICY_KEYS_MAX:
                raise ConfigError(f"{path}: the id stands twice, or there are too many keys", remedy="take one away")
            found[keyid] = TrustedKey(keyid, party, key)
    return found


def by_id(keys: Mapping[str, TrustedKey]) -> dict[str, PublicKey]:
    """The bare keys, as a signature is verified with."""
    return {keyid: trusted.key for keyid, trusted in keys.items()}
