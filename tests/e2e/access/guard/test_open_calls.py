"""Open calls end, with a status, when what admitted them ends."""

from __future__ import annotations

import asyncio

import grpc
import pytest

from gateway.errors import CertificateError
from gateway.identity.enrolment import Actor, RevocationReason
from gateway.model.participant import Identity, Role
from gateway.wire.status import from_rpc

HERE, PEER = "lingang", "cyberjaya"
UNAUTHENTICATED = grpc.StatusCode.UNAUTHENTICATED
BY = Actor(Identity(HERE, Role.ADMIN, "ops-1"), "f" * 64, 0, 1 << 40)
KINDS = ["Unary", "Yields", "Writes", "Takes", "Echoes", "Floods"]


async def pair(gate):
    await gate.pairings.pair(gate.peer_card.data, gate.peer_card.fingerprint, confirm=False, by=BY)


async def opened(gate, channel, kind):
    """A call of that kind which the server has begun to serve."""
    path = f"/tdz.test.Probe/{kind}"
    if kind == "Unary":
        call = channel.unary_unary(path)(b"")
        await gate.probe.open.acquire()
    elif kind == "Takes":
        call = channel.stream_unary(path)()
        await call.write(b"1")
        await gate.probe.open.acquire()
    elif kind == "Echoes":
        call = channel.stream_stream(path)()
        await call.write(b"1")
        assert await call.read() == b"1"
    elif kind == "Floods":
        call = channel.unary_stream(path)(b"")
        await gate.probe.open.acquire()
        assert len(await call.read()) == 1 << 20
    else:
        call = channel.unary_stream(path)(b"")
        assert (await call.read()).startswith(b"tdz://")
        await gate.probe.open.acquire()
    return call


async def end_of(call, kind):
    """How the call ended, for its client."""
    with pytest.raises(grpc.aio.AioRpcError) as ended:
        if kind in ("Unary", "Takes"):
            await call
        else:
            while await call.read() is not grpc.aio.EOF:
                pass
    return ended.value


@pytest.mark.parametrize("kind", KINDS)
async def test_revocation_ends_an_open_call_with_a_status(gate, kind):
    client = await gate.enrolled(Role.PARTNER, "ecnu")
    async with asyncio.timeout(30), gate.connect(client) as channel:
        call = await opened(gate, channel, kind)
        await gate.enrolment.revoke(uri=client.name, reason=RevocationReason.KEY_COMPROMISE, by=BY)
        ended = await end_of(call, kind)
    assert ended.code() is UNAUTHENTICATED
    error = from_rpc(ended)
    assert isinstance(error, CertificateError)
    assert "revoked" in error.message
    await gate.calls.shut()
    assert len(gate.calls) == 0
    assert gate.probe.ended == [kind.lower()]


async def test_revocation_leaves_the_calls_of_others_alone(gate):
    revoked, other = await gate.enrolled(Role.PARTNER, "ecnu"), await gate.enrolled(Role.PARTNER, "fudan")
    async with asyncio.timeout(30), gate.connect(revoked) as first, gate.connect(other) as second:
        ending, staying = await opened(gate, first, "Echoes"), await opened(gate, second, "Echoes")
        await gate.enrolment.revoke(uri=revoked.name, reason=RevocationReason.CESSATION, by=BY)
        await end_of(ending, "Echoes")
        await staying.write(b"still here")
        assert await staying.read() == b"still here"


async def test_revoking_one_serial_leaves_the_holders_other_certificate(gate):
    old, new = await gate.enrolled(Role.PARTNER, "ecnu"), await gate.enrolled(Role.PARTNER, "ecnu")
    serial = f"{old.x509.serial_number:040x}"
    await gate.enrolment.revoke(serial=serial, reason=RevocationReason.SUPERSEDED, by=BY)
    assert await gate.code(old) is UNAUTHENTICATED
    assert await gate.code(new) is grpc.StatusCode.OK


async def test_a_revoked_certificate_is_refused_on_its_open_connection(gate):
    client = await gate.enrolled(Role.PARTNER, "ecnu")
    async with gate.connect(client) as channel:
        assert await channel.unary_unary("/tdz.test.Probe/Who")(b"")
        await gate.enrolment.revoke(uri=client.name, reason=RevocationReason.CESSATION, by=BY)
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await channel.unary_unary("/tdz.test.Probe/Who")(b"")
        assert refused.value.code() is UNAUTHENTICATED


async def test_expiry_ends_an_open_call(gate):
    client = gate.one(Role.PARTNER)
    async with asyncio.timeout(30), gate.connect(client) as channel:
        call = await opened(gate, channel, "Yields")
        gate.clock.ahead = 91 * 86_400.0
        gate.calls.expire()
        ended = await end_of(call, "Yields")
    assert ended.code() is UNAUTHENTICATED
    assert "expired" in ended.details()


async def test_an_expiry_that_is_not_due_ends_nothing(gate):
    async with asyncio.timeout(30), gate.connect(gate.one(Role.PARTNER)) as channel:
        call = await opened(gate, channel, "Echoes")
        gate.calls.expire()
        await call.write(b"still here")
        assert await call.read() == b"still here"


@pytest.mark.parametrize("kind", ["Unary", "Yields", "Echoes"])
async def test_unpairing_ends_the_peers_open_calls_and_shuts_the_door(gate, kind):
    await pair(gate)
    peer = gate.one(Role.GATEWAY, "gateway", PEER)
    async with asyncio.timeout(30), gate.connect(peer) as channel:
        call = await opened(gate, channel, kind)
        await gate.pairings.unpair(PEER, by=BY)
        ended = await end_of(call, kind)
        assert ended.code() is UNAUTHENTICATED
        assert "not paired" in ended.details()
        with pytest.raises(grpc.aio.AioRpcError) as refused:  # the connection stands, the zone does not
            await channel.unary_unary("/tdz.test.Probe/Who")(b"")
        assert refused.value.code() is UNAUTHENTICATED
    assert await gate.code(peer) is grpc.StatusCode.UNAVAILABLE  # the CA has left the pool


async def test_a_stop_waits_for_what_ends_by_itself_and_then_ends_what_never_would(gate):
    async with asyncio.timeout(30), gate.connect(gate.one(Role.PARTNER)) as channel:
        endless, ending = await opened(gate, channel, "Echoes"), await opened(gate, channel, "Takes")
        stopping = asyncio.create_task(gate.calls.stop(gate.server, 60))
        await endless.write(b"still here")
        assert await endless.read() == b"still here"
        await ending.done_writing()
        assert await ending == b"done"
        ended = await end_of(endless, "Echoes")
        await stopping
    assert ended.code() is grpc.StatusCode.UNAVAILABLE
    assert "stops" in ended.details()


async def test_a_stop_ends_what_does_not_end_within_the_grace(gate):
    async with asyncio.timeout(30), gate.connect(gate.one(Role.PARTNER)) as channel:
        endless, waiting = await opened(gate, channel, "Echoes"), await opened(gate, channel, "Yields")
        await gate.calls.stop(gate.server, 0.1)
        for call, kind in ((endless, "Echoes"), (waiting, "Yields")):
            assert (await end_of(call, kind)).code() is grpc.StatusCode.UNAVAILABLE


async def test_pairing_opens_the_door_without_a_restart(gate):
    peer = gate.one(Role.GATEWAY, "gateway", PEER)
    assert await gate.code(peer) is grpc.StatusCode.UNAVAILABLE
    await pair(gate)
    assert await gate.code(peer) is grpc.StatusCode.OK


async def test_the_servers_certificate_is_renewed_without_a_restart(gate, mill):
    from cryptography import x509
    from cryptography.hazmat.primitives.serialization import load_pem_private_key

    from gateway.config import write_file

    async with gate.connect(gate.one(Role.PARTNER)) as channel:
        assert await channel.unary_unary("/tdz.test.Probe/Who")(b"")
        key = load_pem_private_key((gate.directory / "gateway.key").read_bytes(), None)
        renewed = mill.of(gate.here, Identity(HERE, Role.GATEWAY, "gateway"), key=key, names=("127.0.0.1",))
        write_file(gate.directory / "gateway.pem", renewed.certificate, mode=0o644)
        gate.tls.reload()
        assert await channel.unary_unary("/tdz.test.Probe/Who")(b"")  # the old connection goes on
    served = await served_certificate(gate)
    assert served == x509.load_pem_x509_certificate(renewed.certificate)


async def served_certificate(gate):
    import ssl

    from cryptography import x509

    client = gate.one(Role.PARTNER)
    (gate.directory / "c.pem").write_bytes(client.certificate)
    (gate.directory / "c.key").write_bytes(client.key)
    context = ssl.create_default_context(cadata=gate.here.pem.decode())
    context.load_cert_chain(gate.directory / "c.pem", gate.directory / "c.key")
    context.set_alpn_protocols(["h2"])
    _, writer = await asyncio.open_connection("127.0.0.1", gate.port, ssl=context)
    try:
        return x509.load_der_x509_certificate(writer.get_extra_info("ssl_object").getpeercert(binary_form=True))
    finally:
        writer.close()
