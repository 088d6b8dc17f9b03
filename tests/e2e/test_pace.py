"""Who asks too often is told to wait, and nothing of it reaches a ledger; what a gateway asks is asked again."""

from __future__ import annotations

import asyncio
import contextlib

import pytest

from gateway.errors import DeniedError, NotFoundError, PaceError
from tests.e2e.material import CYBERJAYA
from tests.e2e.small import entries, eventually, of_subject

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

UM = "tdz://cyberjaya/partner/um"


@contextlib.contextmanager
def spent(pace, caller):
    """While it lasts the caller has taken all its tokens, and none comes back."""
    running, now = pace.clock, pace.clock()
    pace.clock = lambda: now
    try:
        with contextlib.suppress(PaceError):
            while True:
                pace.take(caller)
        yield
    finally:
        pace.clock = running
        pace._buckets.clear()


async def test_a_partner_that_requests_too_often_is_told_to_wait_and_no_entry_is_made(shared):
    name, um = await shared.offered(), await shared.um()
    before = [len(await entries(gateway)) for gateway in (shared.a, shared.b)]
    with spent(shared.a.house.paces.requests, UM):
        for _ in range(3):
            with pytest.raises(PaceError, match="more than 200 requests at once") as caught:
                await um.request(name, purpose="research", request_id="again")
            assert caught.value.remedy == "wait 1 s"
        assert [len(await entries(gateway)) for gateway in (shared.a, shared.b)] == before
        assert await um.requests() == []
        other = await shared.partner(CYBERJAYA, "uitm")
        assert (await other.request(name, purpose="research")).agreement
    assert (await um.request(name, purpose="research", request_id="again")).agreement


async def test_a_partner_that_presents_tickets_too_often_is_told_to_wait_and_no_transfer_begins(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(), purpose="research")
    pull = await access.pull()
    with spent(shared.a.house.paces.tickets, UM), pytest.raises(PaceError, match="presented tickets"):
        await pull.to_arrow()
    for gateway in (shared.a, shared.b):
        assert not [entry for entry in await entries(gateway) if entry["kind"] == "ticket.refused"]
        assert not [e for e in await entries(gateway) if of_subject(f"transfers/{pull.transfer}")(e)]
    assert (await (await access.pull()).to_arrow()).num_rows > 0


async def test_a_zone_that_calls_too_often_is_no_answer_and_its_requests_leave_no_entry_here(shared):
    name, um = await shared.offered(), await shared.um()
    before = len(await entries(shared.b))
    with spent(shared.b.house.paces.peers, CYBERJAYA), pytest.raises(DeniedError) as caught:
        await um.request(name, purpose="research")
    assert [finding[0] for finding in caught.value.findings] == ["TDZ-PEER"]
    assert len(await entries(shared.b)) == before
    assert (await um.request(name, purpose="research")).agreement


async def test_a_transfer_whose_gateway_calls_too_often_waits_and_goes_on(shared):
    um = await shared.um()
    access = await um.request(await shared.offered(), purpose="research")
    pull = await access.pull()

    async def suspended():
        try:
            return (await um.transfer(pull.transfer)).state == "SUSPENDED"
        except NotFoundError:
            return False

    with spent(shared.b.house.paces.peers, CYBERJAYA):
        reading = asyncio.create_task(pull.to_arrow())
        await eventually(suspended)
    assert (await reading).num_rows > 0
