"""A gateway's identity rooms and a small service, behind real mTLS on loopback."""

from __future__ import annotations

import asyncio
import datetime
import os
import time
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_private_key

from gateway.config import write_file
from gateway.errors import LedgerError
from gateway.identity import tables
from gateway.identity.authority import ZoneAuthority, make_request_for
from gateway.identity.card import SignedCard, ZoneCard, make_vkey, sign_card
from gateway.identity.enrolment import Enrolment
from gateway.identity.keys import key_fingerprint, new_statement_key, raw_public, write_private_key
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
from gateway.v1 import identity_pb2, identity_pb2_grpc, zone_pb2, zone_pb2_grpc
from gateway.wire.status import from_rpc
from ledger.commitment import SALT_BYTES, commitment, field_pointer, with_commitments

HERE, PEER = "lingang", "cyberjaya"
PROBE = "tdz.test.Probe"


@dataclass
class MemoryLedger:
    """The recorder's port, in memory; it can fail before an entry is durable, or after."""

    entries: list[tuple[str, str, dict[str, Any], bool]] = field(default_factory=list)
    ids: set[str] = field(default_factory=set)
    fail: str = ""
    at_record: Callable[[str], None] = lambda kind: None

    async def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, Any],
        *,
        entry_id: str,
        closing: bool = False,
        values: Mapping[str, Any] | None = None,
    ) -> object:
        self.at_record(kind)
        if self.fail == "before":
            raise LedgerError("the disk is full")
        if entry_id not in self.ids:
            self.ids.add(entry_id)
            texts = {
                pointer: commitment(os.urandom(SALT_BYTES), entry_id, pointer, value)
                for pointer, value in ((field_pointer(name), value) for name, value in (values or {}).items())
            }
            self.entries.append((kind, subject, with_commitments(dict(body), texts), closing))
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

    def timestamps(self) -> zone_pb2.TimeStamps | None:
        return None

    def witnesses(self) -> list[zone_pb2.Witness]:
        return []

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

    def __init__(self, directory: Path, mill: Any, raw_call: Any) -> None:
        now = datetime.datetime.now(datetime.UTC)
        self.mill, self.directory, self.raw_call = mill, directory, raw_call
        self.here, self.peer, self.stranger = (ZoneAuthority.create(zone, now=now) for zone in (HERE, PEER, HERE))
        self.card, self.peer_card = make_card(self.here), make_card(self.peer)
        self.ledger, self.clock, self.probe = MemoryLedger(), Clock(), Probe()
        self.registrar: Registrar
        self.port = 0

    make_card = staticmethod(make_card)

    def one(self, role: Role, identifier: str = "one", zone: str = HERE) -> Any:
        """A certificate as the zone's CA issues it, not in the register."""
        authority = self.here if zone == HERE else self.peer
        return self.mill.of(authority, Identity(zone, role, identifier))

    async def enrolled(self, role: Role, identifier: str) -> Any:
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
        self.calls = OpenCalls(verifier, self.clock, endless={f"/{PROBE}/Echoes"})
        self.tls = ServerTls(key, certificate, self.registry.authorities)
        self.registry.on_revoked(self.calls.revoked)
        self.registry.on_trust_changed(lambda zone: self.tls.reload())
        self.registry.on_trust_changed(self.calls.trust_changed)
        self.enrolment = Enrolment(self.here, self.registry, self.clock)
        self.pairings = Pairings(self.card, self.registry, self.clock)
        participants = Participants(HERE, self.registry, self.clock)
        self.server = grpc.aio.server(options=[("grpc.so_reuseport", 0)])
        self.access = Access(verifier, self.calls, {**METHOD_ROLES, **PROBE_ROLES})
        self.registrar = Registrar(self.server, self.access)
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

    def connect(self, client: Any) -> grpc.aio.Channel:
        """A connection of its own that presents this client, or nobody."""
        if client is None:
            credentials = grpc.ssl_channel_credentials(self.here.pem)
        else:
            credentials = grpc.ssl_channel_credentials(self.here.pem, client.key, client.certificate)
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        return grpc.aio.secure_channel(f"127.0.0.1:{self.port}", credentials, options=options)

    async def code(self, client: Any, method: str = f"/{PROBE}/Who") -> grpc.StatusCode:
        """The status code of one call on a new connection."""
        async with self.connect(client) as channel:
            return (await self.raw_call(channel, method))[0]

    async def text(self, client: Any, method: str = f"/{PROBE}/Who") -> str:
        """The status text of one call on a new connection."""
        async with self.connect(client) as channel:
            return (await self.raw_call(channel, method))[1]


def _private(client: Any) -> ec.EllipticCurvePrivateKey:
    key = load_pem_private_key(client.key, None)
    if not isinstance(key, ec.EllipticCurvePrivateKey):
        raise TypeError("no P-256 key")
    return key


@pytest.fixture
async def gate(tmp_path: Path, mill: Any, call_raw: Any) -> AsyncIterator[Gate]:
    made = Gate(tmp_path, mill, call_raw)
    await made.start()
    yield made
    await made.stop()


@pytest.fixture
def role_walk(gate: Gate, walk: Any) -> Any:
    return walk(gate.connect)


async def _ask(pending: Awaitable[Any]) -> Any:
    try:
        return await pending
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error


@pytest.fixture
def ask() -> Callable[[Awaitable[Any]], Awaitable[Any]]:
    """Await a call; a refusal becomes the error of the tree that was sent."""
    return _ask


ROLES = {
    Role.PARTNER: identity_pb2.ROLE_PARTNER,
    Role.ADMIN: identity_pb2.ROLE_ADMIN,
    Role.AUDITOR: identity_pb2.ROLE_AUDITOR,
    Role.GATEWAY: identity_pb2.ROLE_GATEWAY,
}


class Desk:
    """One caller's stubs."""

    def __init__(self, gate: Gate, client: Any) -> None:
        self.channel = gate.connect(client)
        self.identity = identity_pb2_grpc.IdentityServiceStub(self.channel)
        self.zone = zone_pb2_grpc.ZoneServiceStub(self.channel)

    async def approve(
        self, key: Any, role: Role, identifier: str, csr: bytes = b"", second_key: int = 0, fingerprint: str = ""
    ) -> Any:
        csr = csr or make_request_for(key, Identity(HERE, role, identifier))
        request = identity_pb2.ApproveRequest(
            csr=csr.decode(),
            role=ROLES[role],
            id=identifier,
            key_fingerprint=fingerprint or key_fingerprint(key.public_key()),
            second_key=second_key,
        )
        return await _ask(self.identity.Approve(request))


@pytest.fixture
async def desk(gate: Gate) -> AsyncIterator[Callable[[Any], Desk]]:
    """Opens a desk for a client."""
    opened: list[Desk] = []

    def sit(client: Any) -> Desk:
        opened.append(Desk(gate, client))
        return opened[-1]

    yield sit
    for one in opened:
        await one.channel.close()


@pytest.fixture
async def desks(gate: Gate, desk: Callable[[Any], Desk]) -> list[Desk]:
    """Two administrators."""
    return [desk(await gate.enrolled(Role.ADMIN, f"ops-{number}")) for number in (1, 2)]
