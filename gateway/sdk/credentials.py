"""What a profile's files hold, proved to fit together before anything is sent.

Over TLS 1.3 a refused client certificate shows as a closed socket and nothing else, so what can be seen here is
said here, with what to do about it.
"""

from __future__ import annotations

import time
from dataclasses import dataclass
from pathlib import Path

from gateway.config import Profile
from gateway.errors import CertificateError, ConfigError, UnauthenticatedError
from gateway.identity.keys import load_tls_key
from gateway.identity.own import OwnCertificate, check_own
from gateway.identity.signing import SigningIdentity, load_signing
from gateway.model import limits
from gateway.model.participant import Identity
from gateway.wire.channel import ClientIdentity


@dataclass(frozen=True, slots=True)
class Credentials:
    """A caller's identity, checked, and what its channels present and trust."""

    profile: Profile
    own: OwnCertificate
    tls: ClientIdentity

    @property
    def identity(self) -> Identity:
        """Who the caller is, as its certificate says."""
        return self.own.identity


def load_credentials(profile: Profile, *, now: int | None = None) -> Credentials:
    """Check a profile's certificate, key and CA, and read them.

    Args:
        profile: names the files.
        now: Unix seconds UTC; the wall clock where left out.

    Raises:
        ConfigError: a file is missing or is not what the profile says; also a key of another certificate.
        CertificateError: expired, not yet valid, of another zone or CA; the text says what to renew.
    """
    try:
        own = check_own(profile, now=int(time.time()) if now is None else now)
    except UnauthenticatedError as error:
        raise CertificateError(
            f"the certificate {profile.cert} does not fit {profile.ca}: {error.message}",
            remedy="use certificate and CA of the same zone; after a change of the CA enrol again",
        ) from error
    ca, certificate, key = (_read(path) for path in (profile.ca, profile.cert, profile.key))
    return Credentials(profile, own, ClientIdentity(ca=ca, certificate=certificate, key=key))


def load_signing_identity(profile: Profile, *, now: int | None = None) -> SigningIdentity:
    """The key that signs this identity's models, and the certificates that go with what it signs.

    Args:
        profile: names the files; without a certificate the key is an outside one, known by its fingerprint.
        now: Unix seconds UTC; the wall clock where left out.

    Raises:
        ConfigError: the profile names no signing key, or a file is missing or is not what the profile says.
        CertificateError: expired, not yet valid, of another zone, or not for signing; the text says what to renew.
    """
    if profile.signing_key is None:
        raise ConfigError(
            "the profile names no signing_key",
            remedy="tdz identity request --signing; an administrator approves it with --signing",
        )
    if profile.signing_certificate is None:
        return SigningIdentity(None, load_tls_key(profile.signing_key), ())
    return load_signing(
        profile.signing_key,
        profile.signing_certificate,
        profile.ca,
        now=int(time.time()) if now is None else now,
    )


def _read(path: Path) -> bytes:
    try:
        with path.open("rb") as file:
            return file.read(4 * limits.CERTIFICATE_MAX)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="check the profile's paths") from error
