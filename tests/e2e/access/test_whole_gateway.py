"""The walk over every method that the real gateway serves, with everybody who must not get through."""

from __future__ import annotations

import datetime

import grpc
import pytest
import pytest_asyncio

from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import load_tls_key
from gateway.identity.own import load_authorities
from gateway.model.participant import Identity, Role
from gateway.sdk.admin import Reason
from gateway.server.access import METHOD_ROLES
from tests.e2e.access.conftest import Client, RoleWalk, raw_call
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import entries

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

UNAUTHENTICATED, DENIED = grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.PERMISSION_DENIED
PEOPLE = (Role.PARTNER, Role.ADMIN, Role.AUDITOR)


def authority(small, zone):
    layout = small.corridor.zone(zone).layout
    (certificate, *_) = load_authorities(layout.ca.read_bytes())
    return ZoneAuthority(zone, certificate, load_tls_key(layout.ca_key))


def client(small, zone, who, name):
    directory = small.corridor.zone(zone).layout.identity(who)
    return Client(name, (directory / "cert.pem").read_bytes(), (directory / "key.pem").read_bytes())


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def people(shared):
    """One enrolled identity of each role at lingang, and its gateway; the walk calls lingang."""
    found = {}
    for role, who in ((Role.PARTNER, "lab"), (Role.ADMIN, "operator"), (Role.AUDITOR, "eyes")):
        if not shared.corridor.zone(LINGANG).profile(who).exists():
            await shared.enrol(LINGANG, who, role)
        found[role] = client(shared, LINGANG, who, role.value)
    layout = shared.corridor.zone(LINGANG).layout
    own = Client("own gateway", layout.gateway_certificate.read_bytes(), layout.gateway_key.read_bytes())
    return found | {Role.GATEWAY: own}


@pytest.fixture
def walk(shared):
    """Calls lingang's gateway with whatever certificate."""
    ca = shared.corridor.zone(LINGANG).layout.ca.read_bytes()

    def connect(who):
        credentials = grpc.ssl_channel_credentials(ca, *((who.key, who.certificate) if who else ()))
        options = [("grpc.use_local_subchannel_pool", 1), ("grpc.enable_retries", 0)]
        return grpc.aio.secure_channel(f"127.0.0.1:{shared.b.port}", credentials, options=options)

    return RoleWalk(connect)


async def test_the_walk_covers_every_method_that_is_registered_and_each_has_its_roles(shared):
    assert len(shared.b.methods) == 84
    assert shared.a.methods == shared.b.methods
    assert shared.b.methods <= METHOD_ROLES.keys()
    assert all(METHOD_ROLES[method] for method in shared.b.methods)


async def test_every_method_refuses_each_wrong_role_and_nothing_of_it_reaches_the_ledger(shared, walk, people):
    before = len(await entries(shared.b))
    refused = sum(1 for method in shared.b.methods for role in Role if role not in METHOD_ROLES[method])
    assert refused == 181
    assert await walk.wrong_roles(people, shared.b.methods) == []
    layout = shared.corridor.zone(CYBERJAYA).layout
    peer = Client("peer gateway", layout.gateway_certificate.read_bytes(), layout.gateway_key.read_bytes())
    assert await walk.wrong_roles({Role.GATEWAY: peer}, shared.b.methods) == []
    assert len(await entries(shared.b)) == before


async def test_each_declared_role_does_get_through_the_guard(shared, walk, people):
    wrong = []
    for role, who in people.items():
        async with walk.connect(who) as channel:
            for method in ("/gateway.v1.ZoneService/GetZoneCard", "/grpc.health.v1.Health/Check"):
                code, details = await raw_call(channel, method)
                if code is not grpc.StatusCode.OK:
                    wrong.append((role, method, code, details))
    assert wrong == []


async def test_every_method_refuses_a_revoked_certificate_of_each_role(shared, walk):
    for role, who in ((Role.PARTNER, "leaver"), (Role.AUDITOR, "former-eyes")):
        await shared.enrol(LINGANG, who, role)
        async with shared.admin(LINGANG) as admin:
            await admin.revoke(f"tdz://{LINGANG}/{role.value}/{who}", Reason.KEY_COMPROMISE)
        left = client(shared, LINGANG, who, f"revoked {role.value}")
        assert await walk.refused(left, shared.b.methods, {UNAUTHENTICATED}) == []


@pytest.mark.parametrize("role", PEOPLE)
async def test_every_method_refuses_the_people_of_the_other_zone(shared, walk, mill, role):
    foreign = mill.of(authority(shared, CYBERJAYA), Identity(CYBERJAYA, role, "foreigner"))
    assert await walk.refused(foreign, shared.b.methods, {UNAUTHENTICATED, DENIED}) == []


@pytest.mark.parametrize("role", list(Role))
async def test_every_method_refuses_a_name_of_our_zone_that_the_peers_ca_wrote(shared, walk, mill, role):
    who = "operator" if role is Role.ADMIN else "gateway" if role is Role.GATEWAY else "lab"
    posing = mill.posing(authority(shared, CYBERJAYA), Identity(LINGANG, role, who))
    assert await walk.refused(posing, shared.b.methods, {UNAUTHENTICATED}) == []


async def test_no_certificate_a_strangers_and_an_expired_one_end_at_the_handshake(shared, walk, mill):
    operator = Identity(LINGANG, Role.ADMIN, "operator")
    stranger = ZoneAuthority.create(LINGANG, now=datetime.datetime.now(datetime.UTC))
    for who in (None, mill.of(stranger, operator), mill.expired(authority(shared, LINGANG), operator)):
        async with walk.connect(who) as channel:
            code, details = await raw_call(channel, "/gateway.v1.ZoneService/GetZoneCard")
            assert code is grpc.StatusCode.UNAVAILABLE, details


async def test_nobodys_bytes_are_read_before_it_is_known_who_sent_them(shared, walk, people):
    async with walk.connect(people[Role.PARTNER]) as channel:
        for method in sorted(shared.b.methods):
            if Role.PARTNER not in METHOD_ROLES[method]:
                code, _ = await raw_call(channel, method, b"\xff" * 40)
                assert code is DENIED, method


async def test_hostile_bytes_to_every_method_are_the_callers_error_never_the_gateways(shared, walk, people):
    wrong = []
    for role in (Role.PARTNER, Role.ADMIN):
        async with walk.connect(people[role]) as channel:
            for method in sorted(shared.b.methods):
                if role not in METHOD_ROLES[method] or method.endswith(("/Watch", "/Unpair")):
                    continue
                for message in (b"\xff" * 40, b"\x0a\xff\xff\xff\xff\x0f", b"\x0a\x04\x00\x01\xfe\xff"):
                    code, details = await raw_call(channel, method, message)
                    if code in {grpc.StatusCode.INTERNAL, grpc.StatusCode.UNKNOWN}:
                        wrong.append(f"{method}: {code.name} {details}")
    assert wrong == []
