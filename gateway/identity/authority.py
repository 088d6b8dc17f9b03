"""The zone's certificate authority and the requests that it answers (RFC 5280, PKCS #10: RFC 2986).

A private key is made by its owner and never leaves it; of a request only the key is taken. What a certificate
says is decided here: the one URI, the extended key usage, the names of a gateway, the dates.
"""

from __future__ import annotations

import datetime
import ipaddress
from collections.abc import Sequence
from typing import Final

from cryptography import x509
from cryptography.exceptions import InvalidSignature, UnsupportedAlgorithm
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import ConfigError, InputError
from gateway.identity.keys import key_fingerprint, new_tls_key, require_p256
from gateway.model.limits import CSR_MAX
from gateway.model.participant import Identity, Role, parse_zone_name

CA_LIFE: Final = datetime.timedelta(days=3653)
CERTIFICATE_LIFE: Final = datetime.timedelta(days=90)
BACKDATE: Final = datetime.timedelta(seconds=60)  # the other gateway's clock may be behind
SERIAL_HEX: Final = 40

_REQUEST_HASHES: Final = (hashes.SHA256, hashes.SHA384, hashes.SHA512)
_MARK: Final = b"-----BEGIN CERTIFICATE REQUEST-----"


def serial_text(serial: int) -> str:
    """A serial number as the registers write it: 40 lowercase hex digits."""
    return f"{serial:0{SERIAL_HEX}x}"


def ca_subject(zone: str) -> x509.Name:
    """The only subject that a zone's CA has; a card with another one is refused."""
    return x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, f"tdz {parse_zone_name(zone)}"[:64])])


def make_request(identity: Identity) -> tuple[ec.EllipticCurvePrivateKey, bytes]:
    """Make a key and the signing request for it.

    Returns:
        The private key, and the request as PEM. The URI in it is for the administrator's eyes: whoever
        approves takes nothing from the request but the key.
    """
    key = new_tls_key()
    return key, make_request_for(key, identity)


def make_request_for(key: ec.EllipticCurvePrivateKey, identity: Identity) -> bytes:
    """The signing request for a key that stands, as PEM; for renewing with the same key."""
    request = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.id)]))
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(identity.uri)]), critical=False)
        .sign(key, hashes.SHA256())
    )
    return request.public_bytes(Encoding.PEM)


def key_of_request(pem: bytes) -> ec.EllipticCurvePublicKey:
    """Take the key out of a signing request, and nothing else.

    1. It is bounded, and one PEM block.
    2. The key is ECDSA on P-256.
    3. The request is signed by its own key: the sender holds the private one (RFC 2986, section 3).

    Raises:
        InputError: one of these fails.
    """
    # 1.
    if len(pem) > CSR_MAX:
        raise InputError(f"the request is longer than {CSR_MAX} bytes")
    if pem.count(b"-----BEGIN ") != 1 or _MARK not in pem:
        raise InputError("this is not one certificate request in PEM", remedy="send request.csr, never key.pem")
    try:
        request = x509.load_pem_x509_csr(pem)
        # 2.
        key = require_p256(request.public_key())
        # 3.
        signed = isinstance(request.signature_hash_algorithm, _REQUEST_HASHES) and request.is_signature_valid
    except (ValueError, UnsupportedAlgorithm, InvalidSignature) as error:
        raise InputError("the certificate request cannot be read", remedy="make a new one") from error
    if not signed:
        raise InputError("the certificate request is not signed by its own key", remedy="make a new one")
    return key


class ZoneAuthority:
    """The zone's CA: a self-signed certificate that allows no CA below it, and its key.

    Args:
        zone: the zone's name.
        certificate: the CA's certificate.
        key: its private key; never shown.

    Raises:
        ConfigError: the key is not that of the certificate.
    """

    def __init__(self, zone: str, certificate: x509.Certificate, key: ec.EllipticCurvePrivateKey) -> None:
        if key_fingerprint(certificate.public_key()) != key_fingerprint(key.public_key()):
            raise ConfigError("ca.key is not the key of ca.pem", remedy="restore the pair that belongs together")
        self.zone = zone
        self.certificate = certificate
        self._key = key

    def __repr__(self) -> str:
        return f"ZoneAuthority(zone={self.zone!r})"

    @classmethod
    def create(
        cls,
        zone: str,
        *,
        now: datetime.datetime,
        life: datetime.timedelta = CA_LIFE,
        key: ec.EllipticCurvePrivateKey | None = None,
    ) -> ZoneAuthority:
        """Make a new CA.

        Args:
            zone: the zone's name.
            now: with its time zone.
            life: how long it is valid.
            key: its private key, where the CA's certificate is renewed; a new one where left out.
        """
        key = key or new_tls_key()
        name = ca_subject(zone)
        certificate = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(name)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(now + life)
            .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
            .add_extension(_usage(certificates=True), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(key.public_key()), critical=False)
            .sign(key, hashes.SHA256())
        )
        return cls(zone, certificate, key)

    def private_key(self) -> ec.EllipticCurvePrivateKey:
        """The CA's private key, for writing it to its file."""
        return self._key

    @property
    def pem(self) -> bytes:
        """The CA's certificate as PEM."""
        return self.certificate.public_bytes(Encoding.PEM)

    def issue(
        self,
        identity: Identity,
        key: ec.EllipticCurvePublicKey,
        *,
        now: datetime.datetime,
        names: Sequence[str] = (),
        life: datetime.timedelta = CERTIFICATE_LIFE,
    ) -> x509.Certificate:
        """Issue a certificate.

        partner, admin and auditor: clientAuth alone, and no name but the URI, or their key could stand up as a
        server. gateway: clientAuth and serverAuth, and the endpoint's names beside the URI.

        Args:
            identity: the holder, of this zone.
            key: the holder's public key, P-256.
            now: with its time zone.
            names: DNS names and IP addresses of a gateway.
            life: how long it is valid; never longer than the CA.

        Raises:
            InputError: the identity is another zone's, the key of another kind, or names do not fit the role.
            ConfigError: the CA has expired.
        """
        gateway = identity.role is Role.GATEWAY
        if bool(names) != gateway:
            raise InputError("a gateway's certificate has names, and no other", remedy="mend gateway.names")
        usage = [ExtendedKeyUsageOID.CLIENT_AUTH]
        if gateway:
            usage.append(ExtendedKeyUsageOID.SERVER_AUTH)
        return self._certify(identity, key, usage, names, now=now, life=life)

    def issue_signing(
        self,
        identity: Identity,
        key: ec.EllipticCurvePublicKey,
        *,
        now: datetime.datetime,
        life: datetime.timedelta = CERTIFICATE_LIFE,
    ) -> x509.Certificate:
        """Issue a certificate for signing models and what is said of them: codeSigning alone, so that it opens no
        connection, and no name but the URI.

        Args:
            identity: the holder, a partner of this zone or its gateway.
            key: the holder's signing key, P-256; never one that it presents in TLS, which the caller makes sure of.
            now: with its time zone.
            life: how long it is valid; never longer than the CA.

        Raises:
            InputError: the identity is another zone's or signs nothing, or the key is of another kind.
            ConfigError: the CA has expired.
        """
        if identity.role not in (Role.PARTNER, Role.GATEWAY):
            raise InputError(f"a {identity.role.value} signs no models", remedy="a signing key is a partner's")
        return self._certify(identity, key, [ExtendedKeyUsageOID.CODE_SIGNING], (), now=now, life=life)

    def _certify(
        self,
        identity: Identity,
        key: ec.EllipticCurvePublicKey,
        usage: Sequence[x509.ObjectIdentifier],
        names: Sequence[str],
        *,
        now: datetime.datetime,
        life: datetime.timedelta,
    ) -> x509.Certificate:
        if identity.zone != self.zone:
            raise InputError(f"{identity.uri} is not of zone {self.zone}", remedy="ask that zone's administrator")
        until = min(now + life, self.certificate.not_valid_after_utc)
        if until <= now:
            raise ConfigError(f"the CA of {self.zone} has expired", remedy="make a new zone and pair it again")
        alternatives: list[x509.GeneralName] = [x509.UniformResourceIdentifier(identity.uri)]
        alternatives += [_general_name(name) for name in names]
        public = require_p256(key)
        issuer = self.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        return (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, identity.id)]))
            .issuer_name(self.certificate.subject)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - BACKDATE)
            .not_valid_after(until)
            .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
            .add_extension(_usage(certificates=False), critical=True)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
            .add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
            .sign(self._key, hashes.SHA256())
        )


def _usage(*, certificates: bool) -> x509.KeyUsage:
    return x509.KeyUsage(
        digital_signature=not certificates,
        key_cert_sign=certificates,
        crl_sign=certificates,
        content_commitment=False,
        key_encipherment=False,
        data_encipherment=False,
        key_agreement=False,
        encipher_only=False,
        decipher_only=False,
    )


def _general_name(name: str) -> x509.GeneralName:
    try:
        return x509.IPAddress(ipaddress.ip_address(name))
    except ValueError:
        return x509.DNSName(name)
