"""Partners that are slow, vanish, or come with a certificate that no longer serves; zones that part."""

from __future__ import annotations

import asyncio
import json

import pytest

import gateway.sdk as tdz
from gateway.config import Address, Profile, load_profile, write_profile
from gateway.errors import CertificateError, TdzError
from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import load_tls_key
from gateway.identity.own import load_authorities
from gateway.model.participant import Identity, Role
from gateway.sdk.admin import Reason
from gateway.sdk.session import FLIGHT
from gateway.sdk.stream import open_transfer
from gateway.v1 import flight_pb2
from gateway.wire import frames
from tests.e2e.access.conftest import Mill
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import entries, eventually, of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


async def completed(um, transfer):
    async def look():
        found = await um.transfer(transfer)
        return found if found.state == "COMPLETED" else None

    return await eventually(look)


async def test_a_slow_partner_does_not_slow_the_landing(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(chunks=8), purpose="research")
    pull = await access.pull()
    batches = pull.batches()
    first = await anext(batches)
    done = await completed(um, pull.transfer)  # while the partner holds its first batch
    assert done.chunks_done == done.chunks == pull.chunks >= 8
    rows = first.num_rows + sum([batch.num_rows async for batch in batches])
    assert rows == pull.rows


async def test_what_a_vanished_partner_began_lands_and_is_read_on_from_any_chunk_without_a_new_transfer(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(chunks=5), purpose="research")
    pull = await access.pull()
    async with asyncio.timeout(10):
        async for _ in pull.batches():
            break
    await pull.close()
    await completed(um, pull.transfer)
    starts = [len(await entries(gateway)) for gateway in (shared.a, shared.b)]
    opened = await open_transfer(um.session, access.agreement, pull.transfer, 3)
    assert (opened.transfer, opened.rows) == (pull.transfer, pull.rows)
    ticket = flight_pb2.Ticket(ticket=opened.ticket).SerializeToString()
    marks = []
    async for data in um.session.data.unary_stream(FLIGHT + "DoGet")(ticket):
        frame = frames.decode(data)
        if frame.metadata:
            marks.append(json.loads(bytes(frame.metadata)))
    assert [mark["index"] for mark in marks[:-1]] == list(range(3, pull.chunks))
    assert marks[-1]["payloadType"] == "application/vnd.tdz.end.v1+json"
    again = await access.pull(transfer=pull.transfer)
    assert (await again.to_arrow()).num_rows == pull.rows
    for gateway, start in zip((shared.a, shared.b), starts, strict=True):
        started = [e for e in await entries(gateway, start) if e["kind"] == "transfer.started"]
        assert started == []


async def test_a_chunk_that_the_version_does_not_have_cannot_be_asked_for(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(), purpose="research")
    for first in (2, 1 << 40):
        with pytest.raises(TdzError):
            await open_transfer(um.session, access.agreement, "", first)


async def test_two_partners_of_a_zone_pull_the_same_dataset_side_by_side(shared):
    name = await shared.offered(chunks=3)
    partners = [await shared.partner(CYBERJAYA, who) for who in ("um", "uitm")]
    tables = await asyncio.gather(*(_pulled(partner, name) for partner in partners))
    assert tables[0].equals(tables[1])


async def _pulled(zone, name):
    return await (await (await zone.request(name, purpose="research")).pull()).to_arrow()


def expired_profile(scene, directory, endpoint) -> Profile:
    layout = scene.cyberjaya.layout
    (certificate, *_) = load_authorities(layout.ca.read_bytes())
    authority = ZoneAuthority(CYBERJAYA, certificate, load_tls_key(layout.ca_key))
    client = Mill().expired(authority, Identity(CYBERJAYA, Role.PARTNER, "late"))
    (directory / "cert.pem").write_bytes(client.certificate)
    (directory / "key.pem").write_bytes(client.key)
    (directory / "key.pem").chmod(0o600)
    return Profile(
        zone=CYBERJAYA,
        gateway=endpoint,
        ca=layout.ca,
        cert=directory / "cert.pem",
        key=directory / "key.pem",
    )


async def test_the_own_expired_certificate_is_told_by_sdk_and_command_line_before_they_connect(scene, tmp_path):
    connected = asyncio.Event()

    async def serve(reader, writer):
        connected.set()
        writer.close()

    async with await asyncio.start_server(serve, "127.0.0.1", 0) as server:
        endpoint = Address("127.0.0.1", server.sockets[0].getsockname()[1])
        profile = expired_profile(scene, tmp_path, endpoint)
        write_profile(tmp_path / "profile.toml", profile)
        with pytest.raises(CertificateError, match=r"cert\.pem expired on") as caught:
            await asyncio.to_thread(tdz.connect, tmp_path)
        assert "--renew" in caught.value.remedy
        said = await asyncio.to_thread(scene.run, "dataset", "list", "--profile", tmp_path / "profile.toml", "--json")
        assert (said.code, said.out) == (2, "")
        assert "TDZ-CERTIFICATE" in said.err
        assert "tdz identity request" in said.err
    assert not connected.is_set()


async def test_a_revoked_partner_is_refused_at_once_with_an_open_connection_and_with_a_new_one(shared):
    leaver = await shared.partner(CYBERJAYA, "leaver")
    access = await leaver.request(await shared.offered(), purpose="research")
    async with shared.admin(CYBERJAYA) as admin:
        await admin.revoke("tdz://cyberjaya/partner/leaver", Reason.CESSATION)
    await recorded(shared.a, lambda e: e["kind"] == "identity.revoked")
    with pytest.raises(CertificateError, match="revoked"):
        await access.pull()
    with pytest.raises(CertificateError, match="revoked"):
        await leaver.datasets()
    profile = load_profile(shared.corridor.zone(CYBERJAYA).profile("leaver"))
    async with await tdz.connect_async(profile) as again:
        with pytest.raises(CertificateError, match="revoked"):
            await again.datasets()


@pytest.mark.parametrize("who_parts", [CYBERJAYA, LINGANG])
async def test_unpairing_on_either_side_ends_requests_pulls_and_listings(small, who_parts):
    async with small() as own:
        um = await own.um()
        name = await own.offered(chunks=2)
        access = await um.request(name, purpose="research")
        version = (await access.show()).version
        other = LINGANG if who_parts == CYBERJAYA else CYBERJAYA
        async with own.admin(who_parts) as admin:
            await admin.unpair(other)
        unpaired = await recorded(own.gateways[who_parts], lambda e: "unpair" in e["kind"] or "pair" in e["kind"])
        assert unpaired["seq"] > 0
        with pytest.raises(TdzError) as refused:
            await um.request(name, purpose="research")
        assert refused.value.reason in {"TDZ-NOT-FOUND", "TDZ-DENIED"}
        decisions = [entry for entry in await entries(own.a) if entry["kind"] == "decision"]
        assert decisions[-1]["body"]["effect"] == "deny"
        reading = asyncio.create_task(_read(access))

        async def told_or_standing():
            if reading.done():
                return True
            found = await um.transfers(agreement=access.agreement)
            return bool(found) and found[0].state in {"SUSPENDED", "TERMINATED"}

        await eventually(told_or_standing)
        own.clock.ahead = own.timing.lease + 2
        with pytest.raises(TdzError):
            await asyncio.wait_for(reading, 15)
        assert not await own.a.house.chunks.run(lambda: own.a.house.versions.has(version))
        if who_parts == CYBERJAYA:
            assert name not in [dataset.name for dataset in await um.datasets()]


async def _read(access):
    return await (await access.pull(stall_s=5)).to_arrow()


async def test_a_gateway_that_stops_while_a_partner_reads_is_told_and_goes_on_after_its_start(small):
    async with small() as own:
        um = await own.um()
        access = await um.request(await own.offered(chunks=4), purpose="research")
        pull = await access.pull()
        batches = pull.batches()
        await anext(batches)
        await own.stop(CYBERJAYA)
        again = asyncio.create_task(own.start(CYBERJAYA))
        rest = [batch.num_rows async for batch in batches]
        await again
        assert sum(rest) > 0
        done = await completed(um, pull.transfer)
        assert done.rows == pull.rows
        await recorded(own.b, of_subject(f"transfers/{pull.transfer}", "transfer.completed"))
