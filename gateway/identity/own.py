"""One's own certificate, looked at before connecting: TLS refusals are mute, this one speaks."""

from __future__ import annotations

import datetime
from dataclasses import dataclass
from pathlib import Path

from cryptography import x509

from gateway.config import Profile
from gateway.errors import CertificateError, ConfigError
from gateway.identity.keys import key_fingerprint, load_tls_key
from gateway.identity.verifier import (
    TrustedZone,
    describe,
    identity_of,
    load_certificate,
    require_chain,
)
from gateway.model.limits import CERTIFICATE_MAX
from gateway.model.participant import Identity


@dataclass(frozen=True, slots=True)
class OwnCertificate:
    """A certificate and key that belong together and to the profile's zone.

    Args:
        identity: whose they are.
        fingerprint: SHA-256 in hex over the certificate's DER.
        not_before: Unix seconds UTC.
        not_after: Unix seconds UTC.
    """

    identity: Identity
    fingerprint: str
    not_before: int
    not_after: int

    def renewable_from(self) -> int:
        """From when on it is renewed by RPC: two thirds of its life, Unix seconds UTC."""
        return renewable_from(self.not_before, self.not_after)


def renewable_from(not_before: int, not_after: int) -> int:
    """Two thirds of a certificate's life on, Unix seconds UTC."""
    return not_before + (not_after - not_before) * 2 // 3


def check_own(profile: Profile, *, now: int) -> OwnCertificate:
    """Look at the profile's certificate, key and CA as the gateway will.

    Raises:
        ConfigError: a file is missing or is not what it should be.
        CertificateError: the certificate has expired, is not valid yet, or is not of the zone.
        UnauthenticatedError: the zone's CA did not issue it, or it names no identity.
    """
    certificate = load_certificate(_read(profile.cert))
    identity = identity_of(certificate)
    if identity.zone != profile.zone:
        raise CertificateError(
            f"{profile.cert} is of zone {identity.zone}, the profile of {profile.zone}",
            remedy="use the profile that came with the certificate",
        )
    if key_fingerprint(load_tls_key(profile.key).public_key()) != key_fingerprint(certificate.public_key()):
        raise ConfigError(f"{profile.key} is not the key of {profile.cert}", remedy="restore the matching pair")
    own = describe(certificate, identity)
    if now >= own.not_after:
        until = datetime.datetime.fromtimestamp(own.not_after, tz=datetime.UTC)
        raise CertificateError(
            f"the certificate {profile.cert} expired on {until:%Y-%m-%d %H:%M} UTC",
            remedy="make a request with `tdz identity request`; an administrator approves it with --renew",
        )
    if now < own.not_before:
        raise CertificateError(f"the certificate {profile.cert} is not valid yet", remedy="check this machine's clock")
    require_chain(certificate, TrustedZone(profile.zone, load_authorities(_read(profile.ca))), now)
    return OwnCertificate(identity, own.fingerprint, own.not_before, own.not_after)


def load_authorities(pem: bytes) -> tuple[x509.Certificate, ...]:
    """The CA certificates of a PEM file.

    Raises:
        ConfigError: it holds none.
    """
    try:
        return tuple(x509.load_pem_x509_certificates(pem))
    except ValueError as error:
        raise ConfigError("the CA file holds no certificate in PEM", remedy="copy ca.pem of the zone") from error


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4 * CERTIFICATE_MAX)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="check the profile's paths") from error
