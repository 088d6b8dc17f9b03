"""Certificates good and evil, and the walk over every method with everybody who must not get through.

They know nothing of a particular server: `guard/` uses them on a small one, and they serve a whole gateway too.
"""

from __future__ import annotations

import asyncio
import datetime
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import new_tls_key
from gateway.model.participant import Identity, Role
from gateway.server.access import METHOD_ROLES
from gateway.wire.channel import end_of

CLIENT = ExtendedKeyUsageOID.CLIENT_AUTH


@dataclass(frozen=True)
class Client:
    """What somebody presents: a certificate and its key, PEM; no certificate at all where both are empty."""

    name: str
    certificate: bytes
    key: bytes

    @property
    def x509(self) -> x509.Certificate:
        return x509.load_pem_x509_certificate(self.certificate)


class Mill:
    """Makes certificates that a zone's CA should make, and such as it should not."""

    def of(
        self,
        authority: ZoneAuthority,
        identity: Identity,
        *,
        key: ec.EllipticCurvePrivateKey | None = None,
        names: Sequence[str] = (),
        name: str = "",
    ) -> Client:
        """As the zone's CA issues it."""
        key = key or new_tls_key()
        names = names or (("127.0.0.1",) if identity.role is Role.GATEWAY else ())
        made = authority.issue(identity, key.public_key(), now=datetime.datetime.now(datetime.UTC), names=names)
        return self.client(name or identity.uri, made, key)

    def evil(
        self,
        authority: ZoneAuthority,
        name: str,
        alternatives: Sequence[x509.GeneralName] | None,
        *,
        usage: Sequence[x509.ObjectIdentifier] = (CLIENT,),
        ca: bool = False,
        rsa_key: bool = False,
        start: datetime.timedelta = datetime.timedelta(minutes=-1),
        end: datetime.timedelta = datetime.timedelta(days=1),
    ) -> Client:
        """Whatever a careless or hostile CA could sign."""
        key: Any = rsa.generate_private_key(65537, 2048) if rsa_key else new_tls_key()
        now = datetime.datetime.now(datetime.UTC)
        issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
        builder = (
            x509.CertificateBuilder()
            .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "evil")]))
            .issuer_name(authority.certificate.subject)
            .public_key(key.public_key())
            .serial_number(x509.random_serial_number())
            .not_valid_before(now + start)
            .not_valid_after(now + end)
            .add_extension(x509.BasicConstraints(ca=ca, path_length=None), critical=True)
            .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
            .add_extension(x509.ExtendedKeyUsage(usage), critical=False)
        )
        if alternatives is not None:
            builder = builder.add_extension(x509.SubjectAlternativeName(alternatives), critical=False)
        return self.client(name, builder.sign(authority.private_key(), hashes.SHA256()), key)

    def expired(self, authority: ZoneAuthority, identity: Identity) -> Client:
        """Once valid, not any more."""
        return self.evil(
            authority,
            "expired",
            [x509.UniformResourceIdentifier(identity.uri)],
            start=datetime.timedelta(days=-2),
            end=datetime.timedelta(days=-1),
        )

    def posing(self, authority: ZoneAuthority, identity: Identity) -> Client:
        """A certificate for another zone's identity, by an authority that TLS trusts."""
        return self.evil(authority, f"posing as {identity.uri}", [x509.UniformResourceIdentifier(identity.uri)])

    @staticmethod
    def client(name: str, certificate: x509.Certificate, key: Any) -> Client:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Client(name, certificate.public_bytes(Encoding.PEM), pem)


@pytest.fixture(scope="session")
def mill() -> Mill:
    return Mill()


async def raw_call(channel: grpc.aio.Channel, method: str, *messages: bytes) -> tuple[grpc.StatusCode, str]:
    """Call any method of any arity with raw messages; the status code and details that the server ended it with."""
    call = channel.stream_stream(method)()
    ended = end_of(call)
    try:
        for message in messages or (b"",):
            await call.write(message)
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    status = await ended
    return status.code(), status.details() or ""


@dataclass(frozen=True)
class RoleWalk:
    """Calls every method with every identity that must not get through.

    Args:
        connect: a new channel that presents this client.
    """

    connect: Callable[[Client], grpc.aio.Channel]

    async def refused(self, client: Client, methods: Iterable[str], codes: set[grpc.StatusCode]) -> list[str]:
        """The methods that did not refuse the client with one of the codes, said as one line each."""
        wrong = []
        async with self.connect(client) as channel:
            for method in methods:
                code, details = await raw_call(channel, method)
                if code not in codes:
                    wrong.append(f"{client.name}: {method}: {code.name} {details}")
        return wrong

    async def wrong_roles(
        self,
        holders: Mapping[Role, Client],
        methods: Iterable[str],
        table: Mapping[str, frozenset[Role]] = METHOD_ROLES,
    ) -> list[str]:
        """Every method with each role that may not call it."""
        wrong = []
        for role, client in holders.items():
            closed = [method for method in sorted(methods) if role not in table[method]]
            wrong += await self.refused(client, closed, {grpc.StatusCode.PERMISSION_DENIED})
        return wrong


@pytest.fixture
def walk() -> type[RoleWalk]:
    return RoleWalk


@pytest.fixture
def call_raw() -> Callable[..., Awaitable[tuple[grpc.StatusCode, str]]]:
    return raw_call
