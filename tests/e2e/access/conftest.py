"""Certificates good and evil, a gateway's guard over real mTLS on loopback, and the walk over every method.

`mill` and `role_walk` know nothing of the small service here: they serve a walk over a whole gateway too.
"""

from __future__ import annotations

import asyncio
import datetime
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    NoEncryption,
    PrivateFormat,
    load_pem_private_key,
)
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.config import write_file
from gateway.errors import LedgerError
from gateway.identity import tables
from gateway.identity.authority import ZoneAuthority
from gateway.identity.card import SignedCard, ZoneCard, make_vkey, sign_card
from gateway.identity.enrolment import Enrolment
from gateway.identity.keys import new_statement_key, new_tls_key, raw_public, write_private_key
from gateway.identity.pairing import Pairings
from gateway.identity.participants import Participants
from gateway.identity.registry import Registry
from gateway.identity.tables import CertificateRecord
from gateway.identity.verifier import TrustedZone, Verifier
from gateway.model.participant import Identity, Role
from gateway.server.access import ANY, METHOD_ROLES, Access, OpenCalls, Registrar, caller
from gateway.server.identity_service import IdentityService
from gateway.server.tls import ServerTls
from gateway.server.zone_service import Reachability, ZoneService
from gateway.state import StateStore
from gateway.v1 import identity_pb2_grpc, zone_pb2_grpc

HERE, PEER = "lingang", "cyberjaya"
PROBE = "tdz.test.Probe"
CLIENT, SERVER = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH


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
        return self._client(name or identity.uri, made, key)

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
        return self._client(name, builder.sign(authority.private_key(), hashes.SHA256()), key)

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
    def _client(name: str, certificate: x509.Certificate, key: Any) -> Client:
        pem = key.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption())
        return Client(name, certificate.public_bytes(Encoding.PEM), pem)


@pytest.fixture(scope="session")
def mill() -> Mill:
    return Mill()


async def raw_call(channel: grpc.aio.Channel, method: str, *messages: bytes) -> tuple[grpc.StatusCode, str]:
    """Call any method of any arity with raw messages; its status code and details."""
    call = channel.stream_stream(method)()
    try:
        for message in messages or (b"",):
            await call.write(message)
        await call.done_writing()
        while await call.read() is not grpc.aio.EOF:
            pass
    except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
        pass
    return await call.code(), await call.details()


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


@dataclass
class MemoryLedger:
    """The recorder's port, in memory; it can fail before an entry is durable, or after."""

    entries: list[tuple[str, str, dict[str, Any], bool]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    fail: str = ""
    at_record: Callable[[str], None] = lambda kind: None

    async def record(
        self, kind: str, subject: str, body: Mapping[str, Any], *, entry_id: str, closing: bool = False
    ) -> object:
        self.at_record(kind)
        if self.fail == "before":
            raise LedgerError("the disk is full")
        if entry_id not in self.ids:
            self.ids.add(entry_id)
            self.entries.append((kind, subject, dict(body), closing))
        if self.fail == "after":
            raise LedgerError("the answer was lost")
        return entry_id

    async def find(self, entry_id: str) -> object | None:
        return entry_id if entry_id in self.ids else None

    def kinds(self) -> list[str]:
        return [kind for kind, *_ in self.entries]


@dataclass
class Clock:
    """The time, which a test may move."""

    ahead: float = 0.0

    def __call__(self) -> float:
        return time.time() + self.ahead


class Status:
    """What a status asks of the rest of the gateway."""

    async def reach(self, zone: str) -> Reachability:
        return Reachability(True, "answers")

    def ledger_sizes(self) -> tuple[int, int]:
        return 7, 5

    def certificate_not_after(self) -> int:
        return 1


class Probe:
    """One handler of each kind; streams say one thing and then wait for ever."""

    def __init__(self) -> None:
        self.open = asyncio.Semaphore(0)
        self.ended: list[str] = []

    async def _wait(self, kind: str) -> None:
        self.open.release()
        try:
            await asyncio.Event().wait()
        finally:
            self.ended.append(kind)

    async def who(self, request: bytes, context: Any) -> bytes:
        return caller(context).identity.uri.encode()

    async def unary(self, request: bytes, context: Any) -> bytes:
        await self._wait("unary")
        return b""

    async def yields(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        yield caller(context).identity.uri.encode()
        await self._wait("yields")

    async def writes(self, request: bytes, context: Any) -> None:
        await context.write(caller(context).identity.uri.encode())
        await self._wait("writes")

    async def takes(self, requests: AsyncIterator[bytes], context: Any) -> bytes:
        self.open.release()
        try:
            async for _ in requests:
                pass
        finally:
            self.ended.append("takes")
        return b"done"

    async def echoes(self, requests: AsyncIterator[bytes], context: Any) -> AsyncIterator[bytes]:
        try:
            async for request in requests:
                yield request
        finally:
            self.ended.append("echoes")

    async def floods(self, request: bytes, context: Any) -> AsyncIterator[bytes]:
        self.open.release()
        try:
            while True:
                yield bytes(1 << 20)
        finally:
            self.ended.append("floods")

    async def fails(self, request: bytes, context: Any) -> bytes:
        raise RuntimeError("Zhang San, 1979-03-01")  # a data value in an unexpected exception

    def handlers(self) -> dict[str, grpc.RpcMethodHandler]:
        return {
            "Who": grpc.unary_unary_rpc_method_handler(self.who),
            "Unary": grpc.unary_unary_rpc_method_handler(self.unary),
            "Yields": grpc.unary_stream_rpc_method_handler(self.yields),
            "Writes": grpc.unary_stream_rpc_method_handler(self.writes),
            "Takes": grpc.stream_unary_rpc_method_handler(self.takes),
            "Echoes": grpc.stream_stream_rpc_method_handler(self.echoes),
            "Floods": grpc.unary_stream_rpc_method_handler(self.floods),
            "Fails": grpc.unary_unary_rpc_method_handler(self.fails),
        }


PROBE_ROLES = {
    f"/{PROBE}/{name}": ANY for name in ("Who", "Unary", "Yields", "Writes", "Takes", "Echoes", "Floods", "Fails")
}


def make_card(authority: ZoneAuthority, endpoint: str = "127.0.0.1:8443", serial: int = 1) -> SignedCard:
    """A card of a zone with keys of its own."""
    zone, (log, mirror, statement) = authority.zone, (new_statement_key() for _ in range(3))
    card = ZoneCard(
        zone=zone,
        jurisdiction="CN" if zone == HERE else "MY",
        endpoint=endpoint,
        ca=authority.pem.decode(),
        origin=f"tdz/{zone}/2026-abcd",
        log=make_vkey(f"tdz/{zone}/2026-abcd", log.public_key(), 1),
        mirror=make_vkey(f"tdz/{zone}/mirror", mirror.public_key(), 4),
        statement_key=raw_public(statement.public_key()),
        serial=serial,
        date=int(time.time()),
    )
    return sign_card(card, log=log.sign, statement=statement.sign)


class Gate:
    """A gateway's identity rooms behind real mTLS; `start` runs it."""

    def __init__(self, directory: Path, mill: Mill) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self.mill, self.directory = mill, directory
        self.here, self.peer, self.stranger = (ZoneAuthority.create(zone, now=now) for zone in (HERE, PEER, HERE))
        self.card, self.peer_card = make_card(self.here), make_card(self.peer)
        self.ledger, self.clock, self.probe = MemoryLedger(), Clock(), Probe()
        self.registrar: Registrar
        self.port = 0

    def one(self, role: Role, identifier: str = "one", zone: str = HERE) -> Client:
        """A certificate as the zone's CA issues it, not in the register."""
        authority = self.here if zone == HERE else self.peer
        return self.mill.of(authority, Identity(zone, role, identifier))

    async def enrolled(self, role: Role, identifier: str) -> Client:
        """A certificate that stands in the register, as those of `tdz zone init` do."""
        client = self.one(role, identifier)
        record = CertificateRecord.of(client.x509, Identity(HERE, role, identifier), issued_at=int(time.time()))
        await self.store.write(lambda connection: tables.apply(connection, tables.issue(record)))
        return client

    async def start(self) -> None:
        own = self.mill.of(self.here, Identity(HERE, Role.GATEWAY, "gateway"), names=("127.0.0.1",))
        key, certificate = self.directory / "gateway.key", self.directory / "gateway.pem"
        write_private_key(key, _private(own))
        write_file(certificate, own.certificate, mode=0o644)
        self.store = await StateStore.open(self.directory / "state.db")
        self.registry = await Registry.open(self.store, self.ledger, TrustedZone(HERE, (self.here.certificate,)))
        verifier = Verifier(HERE, self.registry, self.clock)
        self.calls = OpenCalls(verifier, self.clock)
        self.tls = ServerTls(key, certificate, self.registry.authorities)
        self.registry.on_revoked(self.calls.revoked)
        self.registry.on_trust_changed(lambda zone: self.tls.reload())
        self.registry.on_trust_changed(self.calls.trust_changed)
        self.enrolment = Enrolment(self.here, self.registry, self.clock)
        self.pairings = Pairings(self.card, self.registry, self.clock)
        participants = Participants(HERE, self.registry, self.clock)
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        access = Access(verifier, self.calls, {**METHOD_ROLES, **PROBE_ROLES})
        self.registrar = Registrar(self.server, access)
        identity_pb2_grpc.add_IdentityServiceServicer_to_server(
            IdentityService(HERE, self.enrolment, self.registry, self.clock), self.registrar
        )
        zone_pb2_grpc.add_ZoneServiceServicer_to_server(
            ZoneService(lambda: self.card, self.registry, self.pairings, participants, Status(), self.clock),
            self.registrar,
        )
        self.registrar.add_service(PROBE, self.probe.handlers())
        self.port = self.server.add_secure_port("127.0.0.1:0", self.tls.credentials())
        await self.server.start()

    async def stop(self) -> None:
        await self.server.stop(None)
        await self.calls.shut()
        await self.registry.steps.close()
        await self.store.close()

    def connect(self, client: Client | None) -> grpc.aio.Channel:
        """A connection of its own that presents this client, or nobody."""
        if client is None:
            credentials = grpc.ssl_channel_credentials(self.here.pem)
        else:
            credentials = grpc.ssl_channel_credentials(self.here.pem, client.key, client.certificate)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)

    async def code(self, client: Client | None, method: str = f"/{PROBE}/Who") -> grpc.StatusCode:
        """The status code of one call on a new connection."""
        async with self.connect(client) as channel:
            return (await raw_call(channel, method))[0]

    async def text(self, client: Client | None, method: str = f"/{PROBE}/Who") -> str:
        """The status text of one call on a new connection."""
        async with self.connect(client) as channel:
            return (await raw_call(channel, method))[1]


def _private(client: Client) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(client.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("no P-256 key")
    return key


@pytest.fixture
async def gate(tmp_path: Path, mill: Mill) -> AsyncIterator[Gate]:
    made = Gate(tmp_path, mill)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def role_walk(gate: Gate) -> RoleWalk:
    return RoleWalk(gate.connect)


@pytest.fixture
def call_raw() -> Callable[..., Awaitable[tuple[grpc.StatusCode, str]]]:
    return raw_call
