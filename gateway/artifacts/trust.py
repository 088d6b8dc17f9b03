"""Whose signature counts on a model or on a statement about it, and at which time.

"Verified" means signed by a key that was trusted when the model was published: a signing key that a zone had
certified, or an outside key that an administrator had added before. What was trusted later, or no longer, does not
count. Pure: whoever holds the registers makes a ``Trust`` of them.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.errors import IntegrityError, UnauthenticatedError
from gateway.identity.keys import key_fingerprint
from gateway.identity.signing import require_signing_chain, signer_of
from gateway.identity.verifier import load_certificate

_REMEDY: Final = "an administrator adds the publisher's key: tdz model trust add KEY; then publish the model again"


@dataclass(frozen=True, slots=True)
class OutsideKey:
    """A key of a signer outside the zones, as an administrator added it.

    Args:
        fingerprint: SHA-256 in hex over its SubjectPublicKeyInfo.
        name: what the administrator calls its owner.
        key: the public key, P-256.
        added_at: Unix seconds UTC.
        removed_at: Unix seconds UTC; 0 while it is trusted.
    """

    fingerprint: str
    name: str
    key: ec.EllipticCurvePublicKey
    added_at: int
    removed_at: int = 0

    def trusted(self, at: int) -> bool:
        """Whether it was trusted at that time."""
        return self.added_at <= at and (not self.removed_at or at < self.removed_at)

    @property
    def pem(self) -> str:
        """The public key in PEM."""
        return self.key.public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo).decode("ascii")

    @property
    def hint(self) -> str:
        """How OpenSSF Model Signing hints at a key: SHA-256 in hex over its PEM text."""
        return hashlib.sha256(self.pem.encode()).hexdigest()


@dataclass(frozen=True, slots=True)
class Signer:
    """Who signed.

    Args:
        name: the URI of a certified holder, or the name that an outside key was added under.
        key: fingerprint of the key.
        certificate: fingerprint of the signing certificate; empty for an outside key.
    """

    name: str
    key: str
    certificate: str = ""


@dataclass(frozen=True, slots=True)
class Trust:
    """Whom a gateway trusts to sign.

    Args:
        zones: the CA certificates of the own zone and the paired ones, by zone.
        keys: outside keys by fingerprint, also those that were removed.
        revoked: Unix seconds UTC from which a signing certificate does not count, by its fingerprint; 0 where it
            never did, as after its key was in other hands.
    """

    zones: Mapping[str, tuple[x509.Certificate, ...]]
    keys: Mapping[str, OutsideKey] = field(default_factory=dict)
    revoked: Mapping[str, int] = field(default_factory=dict)

    def certified(self, certificate: x509.Certificate, at: int) -> tuple[ec.EllipticCurvePublicKey, Signer]:
        """The key of a certificate that a zone issued for signing, and its holder.

        1. It is bounded, with a P-256 key, and is no CA.
        2. It is for signing alone and names one holder.
        3. The holder's zone is trusted, and its CA issued it, valid at that time.
        4. It was not revoked then.

        Raises:
            IntegrityError: one of these does not hold.
        """
        try:
            # 1.
            pem = certificate.public_bytes(Encoding.PEM)
            load_certificate(pem)
            # 2.
            identity = signer_of(certificate)
            # 3.
            authorities = self.zones.get(identity.zone, ())
            if not authorities:
                raise UnauthenticatedError(f"zone {identity.zone}, whose certificate signed, is not trusted here")
            require_signing_chain(certificate, authorities, at)
        except (UnauthenticatedError, ValueError) as error:
            what = error.message if isinstance(error, UnauthenticatedError) else "the certificate cannot be read"
            raise IntegrityError(what, remedy="sign with a certificate of a trusted zone") from error
        # 4.
        fingerprint = hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest()
        if fingerprint in self.revoked and at >= self.revoked[fingerprint]:
            raise IntegrityError("the signing certificate was revoked", remedy="sign with another one")
        key = certificate.public_key()
        if not isinstance(key, ec.EllipticCurvePublicKey):
            raise IntegrityError("the signing key is not ECDSA on P-256")
        return key, Signer(identity.uri, key_fingerprint(key), fingerprint)

    def outside(self, hint: str, at: int) -> Iterator[OutsideKey]:
        """Outside keys trusted at that time that a hint may mean: the one it names, else all of them."""
        live = [key for key in self.keys.values() if key.trusted(at)]
        named = [key for key in live if hint and hint in (key.fingerprint, key.hint)]
        yield from named or live


def untrusted(what: str) -> IntegrityError:
    """The error for a signature of nobody whom we trusted."""
    return IntegrityError(f"{what} is signed by no key that was trusted then", remedy=_REMEDY)
