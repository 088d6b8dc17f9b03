"""Who gets through the handshake, and whom the guard refuses behind it."""

from __future__ import annotations

import ipaddress

import grpc
import pytest
from cryptography import x509
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.model.participant import Identity, Role
from gateway.server.access import METHOD_ROLES
from gateway.wire.status import from_rpc

HERE, PEER = "lingang", "cyberjaya"
OK, UNAUTHENTICATED = grpc.StatusCode.OK, grpc.StatusCode.UNAUTHENTICATED
DENIED, UNAVAILABLE = grpc.StatusCode.PERMISSION_DENIED, grpc.StatusCode.UNAVAILABLE
ADMIN = Identity(HERE, Role.ADMIN, "ops-1")


def uri(text):
    return x509.UniformResourceIdentifier(text)


async def pair(gate):
    from gateway.identity.enrolment import Actor

    by = Actor(ADMIN, "f" * 64, 0, 1 << 40)
    await gate.pairings.pair(gate.peer_card.data, gate.peer_card.fingerprint, confirm=False, by=by)


@pytest.mark.parametrize("role", list(Role))
async def test_each_role_of_the_own_zone_is_known_by_its_certificate(gate, role):
    client = gate.one(role, "one")
    async with gate.connect(client) as channel:
        assert await channel.unary_unary("/tdz.test.Probe/Who")(b"") == f"tdz://{HERE}/{role}/one".encode()


async def test_every_method_refuses_every_role_that_is_not_declared_for_it(gate, role_walk):
    await pair(gate)
    holders = {role: gate.one(role) for role in Role}
    assert len(gate.registrar.methods) >= 20
    table = {**METHOD_ROLES, **{m: frozenset(Role) for m in gate.registrar.methods if "Probe" in m}}
    assert await role_walk.wrong_roles(holders, gate.registrar.methods, table) == []
    peer_gateway = {Role.GATEWAY: gate.one(Role.GATEWAY, "gateway", PEER)}
    assert await role_walk.wrong_roles(peer_gateway, gate.registrar.methods, table) == []


async def test_every_method_refuses_a_revoked_certificate(gate, role_walk):
    from gateway.identity.enrolment import Actor, RevocationReason

    client = await gate.enrolled(Role.ADMIN, "ops-9")
    by = Actor(ADMIN, "f" * 64, 0, 1 << 40)
    await gate.enrolment.revoke(uri=client.name, reason=RevocationReason.KEY_COMPROMISE, by=by)
    assert await role_walk.refused(client, gate.registrar.methods, {UNAUTHENTICATED}) == []


@pytest.mark.parametrize("role", [Role.PARTNER, Role.ADMIN, Role.AUDITOR])
async def test_every_method_refuses_people_of_the_other_zone(gate, role_walk, role):
    await pair(gate)
    client = gate.one(role, "one", PEER)
    assert await role_walk.refused(client, gate.registrar.methods, {UNAUTHENTICATED}) == []


async def test_every_method_refuses_an_administrator_made_by_the_peers_ca(gate, role_walk, mill):
    await pair(gate)
    client = mill.posing(gate.peer, ADMIN)
    assert await role_walk.refused(client, gate.registrar.methods, {UNAUTHENTICATED}) == []
    assert "not issued by the CA of zone lingang" in await gate.text(client)


async def test_a_gateway_of_our_zone_made_by_the_peers_ca_is_refused(gate, mill):
    await pair(gate)
    both = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
    names = [uri(f"tdz://{HERE}/gateway/gateway"), x509.DNSName("localhost")]
    assert await gate.code(mill.evil(gate.peer, "own gateway", names, usage=both)) is UNAUTHENTICATED


async def test_our_ca_cannot_name_the_peers_gateway(gate, mill):
    await pair(gate)
    both = (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH)
    client = mill.evil(gate.here, "peer gateway", [uri(f"tdz://{PEER}/gateway/gateway")], usage=both)
    assert await gate.code(client) is UNAUTHENTICATED


async def test_no_certificate_a_strangers_and_an_expired_one_fail_at_the_handshake(gate, mill):
    assert await gate.code(None) is UNAVAILABLE
    assert await gate.code(mill.of(gate.stranger, ADMIN)) is UNAVAILABLE
    assert await gate.code(mill.expired(gate.here, ADMIN)) is UNAVAILABLE
    assert await gate.code(gate.one(Role.GATEWAY, "gateway", PEER)) is UNAVAILABLE  # not paired


PARTNER = f"tdz://{HERE}/partner/ecnu"
EVIL_NAMES = {
    "two URIs": [uri(PARTNER), uri(f"tdz://{HERE}/admin/ops-1")],
    "the same URI twice": [uri(PARTNER), uri(PARTNER)],
    "no URI": [x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))],
    "DNS name alone": [x509.DNSName("localhost")],
    "e-mail beside": [uri(PARTNER), x509.RFC822Name("a@example.org")],
    "DNS name beside": [uri(PARTNER), x509.DNSName("localhost")],
    "upper case": [uri(f"tdz://{HERE}/partner/ECNU")],
    "upper-case scheme": [uri(f"TDZ://{HERE}/partner/ecnu")],
    "trailing slash": [uri(f"{PARTNER}/")],
    "query": [uri(f"{PARTNER}?role=admin")],
    "port": [uri(f"tdz://{HERE}:1/partner/ecnu")],
    "user": [uri(f"tdz://x@{HERE}/partner/ecnu")],
    "escape": [uri(f"tdz://{HERE}/partner/%65cnu")],
    "space": [uri(f"{PARTNER} ")],
    "another scheme": [uri(f"spiffe://{HERE}/partner/ecnu")],
    "another role": [uri(f"tdz://{HERE}/root/ecnu")],
    "upper-case role": [uri(f"tdz://{HERE}/Admin/ecnu")],
    "no id": [uri(f"tdz://{HERE}/partner/")],
    "too short": [uri(f"tdz://{HERE}/partner")],
    "too long": [uri(f"tdz://{HERE}/partner/ecnu/admin")],
    "another zone": [uri("tdz://elsewhere/gateway/gateway")],
    "empty zone": [uri("tdz:///partner/ecnu")],
}


@pytest.mark.parametrize("case", sorted(EVIL_NAMES))
async def test_a_certificate_of_our_ca_with_odd_names_proves_nothing(gate, mill, case):
    client = mill.evil(gate.here, case, EVIL_NAMES[case])
    assert await gate.code(client) in (UNAUTHENTICATED, UNAVAILABLE)


@pytest.mark.parametrize(
    "kind", ["no names at all", "server usage", "no client usage", "an RSA key", "a CA's certificate"]
)
async def test_a_certificate_of_our_ca_of_another_kind_proves_nothing(gate, mill, kind):
    client_auth, server_auth = ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.SERVER_AUTH
    client = {
        "no names at all": lambda: mill.evil(gate.here, kind, None),
        "server usage": lambda: mill.evil(gate.here, kind, [uri(PARTNER)], usage=(client_auth, server_auth)),
        "no client usage": lambda: mill.evil(gate.here, kind, [uri(PARTNER)], usage=(server_auth,)),
        "an RSA key": lambda: mill.evil(gate.here, kind, [uri(PARTNER)], rsa_key=True),
        "a CA's certificate": lambda: mill.evil(gate.here, kind, [uri(PARTNER)], ca=True),
    }[kind]()
    assert await gate.code(client) in (UNAUTHENTICATED, UNAVAILABLE)


async def test_a_partner_cannot_stand_up_as_a_server(gate, mill):
    partner = gate.one(Role.PARTNER, "ecnu")
    credentials = grpc.ssl_server_credentials(
        [(partner.key, partner.certificate)], gate.here.pem, require_client_auth=True
    )
    server = grpc.aio.server()
    port = server.add_secure_port("127.0.0.1:0", credentials)
    await server.start()
    try:
        client = gate.one(Role.PARTNER, "other")
        trusting = grpc.ssl_channel_credentials(gate.here.pem, client.key, client.certificate)
        async with grpc.aio.secure_channel(f"127.0.0.1:{port}", trusting) as channel:
            with pytest.raises(grpc.aio.AioRpcError) as refused:
                await channel.unary_unary("/any/Method")(b"")
            assert refused.value.code() is UNAVAILABLE
    finally:
        await server.stop(None)


async def test_a_refusal_tells_reason_and_remedy(gate):
    async with gate.connect(gate.one(Role.PARTNER)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/gateway.v1.ZoneService/Unpair")(b"")
    error = from_rpc(refused.value)
    assert (error.reason, error.remedy) == ("TDZ-PERMISSION", "call it as admin")


async def test_who_goes_on_writing_when_refused_hears_the_refusal(gate):
    async with gate.connect(gate.one(Role.PARTNER, "one", PEER)) as channel:
        for _ in range(20):
            code, details = await gate.raw_call(channel, "/tdz.test.Probe/Echoes", *[b"more"] * 50)
            assert code in {UNAUTHENTICATED, UNAVAILABLE}, details


async def test_an_unexpected_exception_tells_the_client_an_incident_and_no_text(gate, capsys):
    async with gate.connect(gate.one(Role.PARTNER)) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as failed:
            await channel.unary_unary("/tdz.test.Probe/Fails")(b"")
    assert failed.value.code() is grpc.StatusCode.INTERNAL
    assert "incident" in failed.value.details()
    logged = capsys.readouterr()
    assert "Zhang San" not in failed.value.details() + logged.out + logged.err
    assert "RuntimeError" in logged.out + logged.err


async def test_a_method_that_nobody_declared_is_unimplemented(gate):
    assert await gate.code(gate.one(Role.ADMIN), "/tdz.test.Probe/Nope") is grpc.StatusCode.UNIMPLEMENTED
