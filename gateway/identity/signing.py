"""Signing certificates: who signed a model or a statement about one, proved by the zone's CA.

A signing key is P-256, certified by the zone for ``codeSigning`` alone, and never the key that its holder presents
in TLS. Partners and gateways have one; its certificate names the same holder as theirs for TLS does, and opens no
connection.
"""

from __future__ import annotations

import datetime
import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import (
    Criticality,
    ExtensionPolicy,
    Policy,
    PolicyBuilder,
    Store,
    VerificationError,
)

from gateway.errors import CertificateError, ConfigError, InputError, UnauthenticatedError
from gateway.identity.keys import key_fingerprint, load_tls_key
from gateway.identity.verifier import load_certificate
from gateway.model.limits import CERTIFICATE_MAX
from gateway.model.participant import Identity, Role

SIGNING_USAGE: Final = (ExtendedKeyUsageOID.CODE_SIGNING,)
SIGNING_ROLES: Final = frozenset({Role.PARTNER, Role.GATEWAY})


@dataclass(frozen=True, slots=True)
class SigningIdentity:
    """A signing key and the certificates that go with what it signs.

    Args:
        identity: its holder; None for a key that no zone certified.
        key: the private key; never shown.
        chain: the signing certificate, then the CA's; empty for a key that no zone certified.
    """

    identity: Identity | None
    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...]

    def __repr__(self) -> str:
        return f"SigningIdentity(identity={self.identity.uri if self.identity else None!r})"


def is_signing(certificate: x509.Certificate) -> bool:
    """Whether a certificate of the register is one for signing; the other kind is for TLS."""
    try:
        usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    except x509.ExtensionNotFound:
        return False
    return ExtendedKeyUsageOID.CODE_SIGNING in usage


def signer_of(certificate: x509.Certificate) -> Identity:
    """Whom a signing certificate names; proves nothing by itself.

    1. The extended key usage is codeSigning alone.
    2. The only name is one URI, which is an identity in its one text form.
    3. Its role is one that signs: partner or gateway.

    Raises:
        UnauthenticatedError: one of these does not hold.
    """
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usage = tuple(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise UnauthenticatedError("the signing certificate has no names or no extended key usage") from error
    # 1.
    if usage != SIGNING_USAGE:
        raise UnauthenticatedError("the certificate is not for signing: its extended key usage is not codeSigning")
    # 2.
    if len(names) != 1 or not isinstance(names[0], x509.UniformResourceIdentifier):
        raise UnauthenticatedError("a signing certificate has one URI and no other name")
    try:
        identity = Identity.parse(names[0].value)
    except InputError as error:
        raise UnauthenticatedError(f"the certificate's URI is no identity: {error.message}") from error
    # 3.
    if identity.role not in SIGNING_ROLES:
        raise UnauthenticatedError(f"a {identity.role.value} signs no models")
    return identity


def require_signing_chain(certificate: x509.Certificate, authorities: Sequence[x509.Certificate], at: int) -> None:
    """Make sure that one of these CAs issued a signing certificate, valid at that time (RFC 5280, section 6).

    Args:
        certificate: the signing certificate.
        authorities: the CA of the zone in its URI; two while it is being replaced.
        at: Unix seconds UTC.

    Raises:
        UnauthenticatedError: none of them issued it, or it is outside its dates.
    """
    when = datetime.datetime.fromtimestamp(at, tz=datetime.UTC)
    leaf = ExtensionPolicy.webpki_defaults_ee().require_present(
        x509.ExtendedKeyUsage, Criticality.AGNOSTIC, _require_code_signing
    )
    policy = (
        PolicyBuilder()
        .store(Store(list(authorities)))
        .time(when)
        .max_chain_depth(0)
        .extension_policies(ca_policy=ExtensionPolicy.webpki_defaults_ca(), ee_policy=leaf)
    )
    try:
        policy.build_client_verifier().verify(certificate, [])
    except VerificationError as error:
        if not certificate.not_valid_before_utc <= when < certificate.not_valid_after_utc:
            raise UnauthenticatedError("the signing certificate was outside its dates") from error
        raise UnauthenticatedError("the signing certificate was not issued by the CA of its zone") from error


def _require_code_signing(_policy: Policy, _certificate: x509.Certificate, usage: x509.ExtendedKeyUsage) -> None:
    if tuple(usage) != SIGNING_USAGE:
        raise ValueError("not for signing")


def load_signing(key: Path, certificate: Path, ca: Path, *, now: int) -> SigningIdentity:
    """Read a signing key and its certificate, and make sure that they fit and serve now.

    Args:
        key: the private key (PKCS #8 PEM, 0600).
        certificate: its certificate (PEM).
        ca: the zone CA's certificate (PEM).
        now: Unix seconds UTC.

    Raises:
        ConfigError: a file is missing or is not what it should be, or key and certificate do not fit.
        CertificateError: expired, not yet valid, of another zone's CA, or not for signing; with what to renew.
    """
    renew = "tdz identity request --signing; an administrator approves it with --signing"
    private = load_tls_key(key)
    try:
        authorities = tuple(x509.load_pem_x509_certificates(_read(ca)))
        leaf = load_certificate(_read(certificate))
        identity = signer_of(leaf)
        if key_fingerprint(private.public_key()) != key_fingerprint(leaf.public_key()):
            raise ConfigError(f"{key} is not the key of {certificate}", remedy="restore the matching pair")
        require_signing_chain(leaf, authorities, now)
    except ValueError as error:
        raise ConfigError(f"{ca} holds no certificate in PEM", remedy="copy ca.pem of the zone") from error
    except UnauthenticatedError as error:
        raise CertificateError(f"{certificate}: {error.message}", remedy=renew) from error
    return SigningIdentity(identity, private, (leaf, *authorities))


def _read(path: Path) -> bytes:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(4 * CERTIFICATE_MAX)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="check the path") from error
