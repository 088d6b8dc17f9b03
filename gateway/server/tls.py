"""The server's TLS: client certificates required, keys and pool replaced without a restart.

The pool holds the CAs of the own zone and of the paired ones; which of them may name whom is not TLS's business
but the verifier's. gRPC asks for the configuration at each new connection, on a thread of its own: the answer is
one reference read from memory.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

import grpc
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.errors import ConfigError
from gateway.identity.keys import key_fingerprint, load_tls_key, private_pem
from gateway.identity.verifier import load_certificate


class ServerTls:
    """Server credentials that follow renewals and pairings.

    Args:
        key: path of the gateway's private key.
        certificate: path of its certificate.
        authorities: gives the CA certificates of all trusted zones; called by `reload` only.

    Raises:
        ConfigError: a file is missing, or key and certificate do not belong together.
        UnauthenticatedError: the certificate is none of a gateway's.
    """

    def __init__(self, key: Path, certificate: Path, authorities: Callable[[], Iterable[x509.Certificate]]) -> None:
        self._key = key
        self._certificate = certificate
        self._authorities = authorities
        self._not_after = 0
        self._current = self._given = self._load()

    @property
    def not_after(self) -> int:
        """Until when the certificate in use is valid, Unix seconds UTC."""
        return self._not_after

    def credentials(self) -> grpc.ServerCredentials:
        """Credentials for `add_secure_port`; no client without a certificate of the pool gets through."""
        return grpc.dynamic_ssl_server_credentials(self._current, self._fetch, require_client_authentication=True)

    def reload(self) -> None:
        """Take key, certificate and pool anew; connections made from now on see them.

        Raises:
            ConfigError: a file is missing, or the pair does not match; what was in force stays.
            UnauthenticatedError: the certificate is none of a gateway's; what was in force stays.
        """
        self._current = self._load()

    def _fetch(self) -> grpc.ServerCertificateConfiguration | None:
        """What gRPC asks at each new connection: a configuration to take, None where nothing has changed.

        gRPC's core swaps its handshaker factory for every configuration it is given, and a handshake under way on
        another thread may still be reading the old one (it crashed so, in event_engine). So the same one is never
        given twice, and a swap happens at a renewal or a pairing alone.
        """
        current = self._current
        if current is self._given:
            return None
        self._given = current
        return current

    def _load(self) -> grpc.ServerCertificateConfiguration:
        key = load_tls_key(self._key)
        try:
            pem = self._certificate.read_bytes()
        except OSError as error:
            raise ConfigError(f"cannot read {self._certificate}: {error.strerror}") from error
        certificate = load_certificate(pem)
        if key_fingerprint(key.public_key()) != key_fingerprint(certificate.public_key()):
            raise ConfigError(
                f"{self._key} is not the key of {self._certificate}", remedy="restore the pair that matches"
            )
        self._not_after = int(certificate.not_valid_after_utc.timestamp())
        pool = b"".join(item.public_bytes(Encoding.PEM) for item in self._authorities())
        if not pool:
            raise ConfigError("no CA to trust", remedy="restore ca.pem")
        return grpc.ssl_server_certificate_configuration([(private_pem(key), pem)], root_certificates=pool)
