"""From a peer's certificate to a proven identity.

TLS alone proves no zone: a gateway's pool holds the CAs of all paired zones, so any of them could have named
one of our administrators. Each certificate is therefore verified again, against the CA of the zone that stands
in its own URI, and by that zone's rule. The result of the costly part is kept by fingerprint; dates, revocation
and pairing are looked at on every call.
"""

from __future__ import annotations

import datetime
import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID
from cryptography.x509.verification import PolicyBuilder, Store, VerificationError

from gateway.errors import CertificateError, InputError, UnauthenticatedError
from gateway.identity.authority import serial_text
from gateway.identity.keys import require_p256
from gateway.model.limits import CERTIFICATE_MAX
from gateway.model.participant import Identity, Role

CACHE_MAX: Final = 4_096

_BEGIN: Final = b"-----BEGIN CERTIFICATE-----"
_CLIENT: Final = {ExtendedKeyUsageOID.CLIENT_AUTH}
_BOTH: Final = {ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH}


@dataclass(frozen=True, slots=True)
class TrustedZone:
    """A zone whose certificates count here: one's own, or a paired one.

    Args:
        zone: the zone's name.
        authorities: its CA; two while it is being replaced.
    """

    zone: str
    authorities: tuple[x509.Certificate, ...]


class Trust(Protocol):
    """What the verifier looks at on every call: a snapshot in memory, no I/O."""

    @property
    def zones(self) -> Mapping[str, TrustedZone]:
        """The own zone and the paired ones by name; a changed zone is another object."""

    def revoked(self, zone: str, serial: str) -> bool:
        """Whether a certificate of that zone with that serial number was revoked."""


@dataclass(frozen=True, slots=True)
class VerifiedPeer:
    """A certificate that proved an identity.

    Args:
        identity: its holder.
        fingerprint: SHA-256 in hex over its DER.
        serial: serial number, 40 lowercase hex digits.
        not_before: Unix seconds UTC.
        not_after: Unix seconds UTC.
    """

    identity: Identity
    fingerprint: str
    serial: str
    not_before: int
    not_after: int


class Verifier:
    """Verifies the certificates of a gateway's callers; the security procedure of every connection.

    1. It is one certificate, bounded, with a P-256 key, and is no CA.
    2. Its subject alternative name has exactly one URI, which is an identity in its one text form; a partner,
       administrator or auditor has no other name, and a gateway only DNS names and IP addresses beside.
    3. The extended key usage is clientAuth alone, for a gateway clientAuth and serverAuth.
    4. The rule of the zone: partner, administrator and auditor are of the gateway's own zone; a gateway is of
       it or of a paired zone.
    5. It chains to a CA of the zone in its URI, and no other, at this time (RFC 5280, section 6).
    6. It is within its dates, is not revoked, and its zone is still trusted with the same CA.

    Steps 1 to 5 are done once for a certificate and a CA, step 6 on every call.

    Args:
        zone: the gateway's own zone.
        trust: zones and revocations.
        clock: Unix seconds UTC.
    """

    def __init__(self, zone: str, trust: Trust, clock: Callable[[], float]) -> None:
        self._zone = zone
        self._trust = trust
        self._clock = clock
        self._cache: OrderedDict[bytes, tuple[VerifiedPeer, TrustedZone]] = OrderedDict()

    def verify(self, pem: bytes) -> VerifiedPeer:
        """Verify a certificate as TLS handed it over.

        Raises:
            UnauthenticatedError: it proves no identity here.
            CertificateError: it did, but is expired, not valid yet, revoked, or its zone is not paired.
        """
        now = self._clock()
        key = hashlib.sha256(pem).digest()
        found = self._cache.get(key)
        if found is not None and self._trust.zones.get(found[1].zone) is found[1]:
            self._cache.move_to_end(key)
            peer = found[0]
        else:
            peer, zone = self._prove(pem, now)
            self._cache[key] = peer, zone
            if len(self._cache) > CACHE_MAX:
                self._cache.popitem(last=False)
        self.recheck(peer, now)
        return peer

    def recheck(self, peer: VerifiedPeer, now: float | None = None) -> None:
        """Step 6, for a certificate that was verified before.

        Raises:
            CertificateError: expired, not valid yet, revoked, or its zone is not paired.
        """
        # 6.
        now = self._clock() if now is None else now
        if now >= peer.not_after:
            raise CertificateError("the certificate has expired", remedy="renew it: tdz identity request")
        if now < peer.not_before:
            raise CertificateError("the certificate is not valid yet", remedy="check this machine's clock")
        if self._trust.revoked(peer.identity.zone, peer.serial):
            raise CertificateError("the certificate was revoked", remedy="ask an administrator of your zone")
        if peer.identity.zone not in self._trust.zones:
            raise CertificateError(
                f"zone {peer.identity.zone} is not paired with {self._zone}",
                remedy="an administrator pairs it: tdz zone pair CARD",
            )

    def _prove(self, pem: bytes, now: float) -> tuple[VerifiedPeer, TrustedZone]:
        certificate = load_certificate(pem)  # 1.
        identity = identity_of(certificate)  # 2. and 3.
        # 4.
        if identity.role is not Role.GATEWAY and identity.zone != self._zone:
            raise UnauthenticatedError(
                f"a {identity.role.value} of zone {identity.zone} has no business at the gateway of {self._zone}",
                remedy="call your own zone's gateway",
            )
        zone = self._trust.zones.get(identity.zone)
        if zone is None:
            raise CertificateError(
                f"zone {identity.zone} is not paired with {self._zone}",
                remedy="an administrator pairs it: tdz zone pair CARD",
            )
        # 5.
        require_chain(certificate, zone, now)
        return describe(certificate, identity), zone


def load_certificate(pem: bytes) -> x509.Certificate:
    """Step 1 of the procedure.

    Raises:
        UnauthenticatedError: not one certificate, too long, no P-256 key, or a CA's.
    """
    if len(pem) > CERTIFICATE_MAX or pem.count(_BEGIN) != 1:
        raise UnauthenticatedError("expected one certificate in PEM")
    try:
        certificate = x509.load_pem_x509_certificate(pem)
        require_p256(certificate.public_key())
        constraints = certificate.extensions.get_extension_for_class(x509.BasicConstraints).value
    except (ValueError, UnsupportedAlgorithm, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise UnauthenticatedError("the certificate cannot be read") from error
    except InputError as error:
        raise UnauthenticatedError("the certificate's key is not ECDSA on P-256") from error
    if constraints.ca:
        raise UnauthenticatedError("a CA's certificate names nobody")
    return certificate


def identity_of(certificate: x509.Certificate) -> Identity:
    """Steps 2 and 3 of the procedure; proves nothing by itself.

    Raises:
        UnauthenticatedError: names or extended key usage are not those of a role.
    """
    try:
        names = list(certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value)
        usage = set(certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value)
    except (ValueError, x509.ExtensionNotFound, x509.DuplicateExtension) as error:
        raise UnauthenticatedError("the certificate has no names or no extended key usage") from error
    # 2.
    uris = [name.value for name in names if isinstance(name, x509.UniformResourceIdentifier)]
    if len(uris) != 1:
        raise UnauthenticatedError(f"the certificate has {len(uris)} URIs, not one")
    try:
        identity = Identity.parse(uris[0])
    except InputError as error:
        raise UnauthenticatedError(f"the certificate's URI is no identity: {error.message}") from error
    others = [name for name in names if not isinstance(name, x509.UniformResourceIdentifier)]
    gateway = identity.role is Role.GATEWAY
    if others and not gateway:
        raise UnauthenticatedError(f"a {identity.role.value}'s certificate has no name but its URI")
    if not all(isinstance(name, x509.DNSName | x509.IPAddress) for name in others):
        raise UnauthenticatedError("a gateway's certificate has only DNS names and IP addresses beside its URI")
    # 3.
    if usage != (_BOTH if gateway else _CLIENT):
        raise UnauthenticatedError(f"the extended key usage is not that of a {identity.role.value}")
    return identity


def require_chain(certificate: x509.Certificate, zone: TrustedZone, now: float) -> None:
    """Step 5 of the procedure.

    Raises:
        UnauthenticatedError: no CA of that zone issued it, or it is outside its dates.
    """
    when = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    policy = PolicyBuilder().store(Store(list(zone.authorities))).time(when).max_chain_depth(0)
    try:
        policy.build_client_verifier().verify(certificate, [])
    except VerificationError as error:
        if not certificate.not_valid_before_utc <= when < certificate.not_valid_after_utc:
            raise CertificateError(
                "the certificate is outside its dates", remedy="renew it, or check this machine's clock"
            ) from error
        raise UnauthenticatedError(
            f"the certificate was not issued by the CA of zone {zone.zone}",
            remedy="use the identity that this zone issued",
        ) from error


def describe(certificate: x509.Certificate, identity: Identity) -> VerifiedPeer:
    """The facts of a certificate that the registers and the hot path need."""
    return VerifiedPeer(
        identity=identity,
        fingerprint=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
        serial=serial_text(certificate.serial_number),
        not_before=int(certificate.not_valid_before_utc.timestamp()),
        not_after=int(certificate.not_valid_after_utc.timestamp()),
    )
