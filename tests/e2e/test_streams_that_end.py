"""What a stream rests on ends while it is open: no further chunk, whatever else can or cannot be done."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

import pytest

from gateway.errors import ConflictError, TdzError
from gateway.exchange import rows, sending
from tests.e2e.material import CYBERJAYA, LINGANG, measurements, mechanism, next_id, personal_dataset
from tests.e2e.small import DEADLINE_S, Small, entries, eventually, of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

CHUNKS, MIDDLE = 8, 4


class Stopped:
    """Streams that stand still before a chunk in their middle, until they may go on."""

    def __init__(self, monkeypatch: pytest.MonkeyPatch) -> None:
        self.held, self.go_on = asyncio.Event(), asyncio.Event()
        self.asked: list[int] = []
        real = sending._ahead

        def ahead(*args: Any) -> asyncio.Future[bytes]:
            async def wait() -> bytes:
                self.asked.append(args[2])
                if args[2] >= MIDDLE:
                    self.held.set()
                    await self.go_on.wait()
                return await real(*args)

            return asyncio.ensure_future(wait())

        monkeypatch.setattr(sending, "_ahead", ahead)

    async def in_the_middle(self) -> None:
        await asyncio.wait_for(self.held.wait(), DEADLINE_S)


async def personal(shared: Small) -> tuple[Any, list[str]]:
    """Access to so many persons that Chinese law asks for mechanisms, and their references."""
    dataset, refs = next_id("persons"), [next_id("pipia"), next_id("contract")]
    lab, um = await shared.lab(), await shared.um()
    name = (await lab.publish(measurements(CHUNKS), personal_dataset(dataset, to=CYBERJAYA))).name
    async with shared.admin(LINGANG) as admin:
        for kind, ref in zip(("pipia", "standard_contract"), refs, strict=True):
            await admin.add_mechanism(mechanism(kind, ref, dataset, f"tdz://{CYBERJAYA}/partner/um"))
    return await um.request(name, purpose="research", mechanisms=refs), refs


async def kinds(gateway: Any, transfer: str) -> list[str]:
    return [e["kind"] for e in await entries(gateway) if of_subject(f"transfers/{transfer}")(e)]


async def test_a_withdrawn_mechanism_ends_the_streams_that_rely_on_it(
    shared: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    access, (_, contract) = await personal(shared)
    stopped = Stopped(monkeypatch)
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await stopped.in_the_middle()
    async with shared.admin(LINGANG) as admin:
        await admin.withdraw_mechanism(contract)
    stopped.go_on.set()
    with pytest.raises(TdzError):
        await reading
    assert max(stopped.asked) <= MIDDLE + 1  # no chunk after the one that was under way
    for gateway in (shared.a, shared.b):
        ended = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
        assert "policy" in ended["body"]["reason"]
    found = ended["body"]["decision"]["findings"]  # lingang's, whose law it serves
    assert "CN-CBDF-MECH" in {finding["code"] for finding in found}
    withdrawn = await recorded(shared.b, of_subject(f"mechanisms/{contract}", "mechanism.withdrawn"))
    assert withdrawn["seq"] < ended["seq"]
    assert (await (await shared.um()).transfer(pull.transfer)).state == "TERMINATED"


async def test_a_mechanism_is_withdrawn_at_once_where_the_ledger_can_record_nothing(shared: Small) -> None:
    access, (pipia, _) = await personal(shared)
    async with unrecorded(shared.b), shared.admin(LINGANG) as admin:
        assert (await admin.withdraw_mechanism(pipia)).withdrawn_at > 0
        assert (await admin.withdraw_mechanism(pipia)).withdrawn_at > 0  # again changes nothing
    wanted = of_subject(f"mechanisms/{pipia}", "mechanism.withdrawn")
    await recorded(shared.b, wanted)
    with pytest.raises(TdzError):
        await (await access.pull()).to_arrow()
    assert len([each for each in await entries(shared.b) if wanted(each)]) == 1


async def test_a_withdrawn_mechanism_that_is_not_needed_lets_its_stream_go_on_decided_again(
    shared: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    lab, um = await shared.lab(), await shared.um()
    dataset, refs = next_id("persons"), [next_id("pipia"), next_id("contract"), next_id("assessment")]
    name = (await lab.publish(measurements(CHUNKS), personal_dataset(dataset, to=CYBERJAYA))).name
    async with shared.admin(LINGANG) as admin:
        for kind, ref in zip(("pipia", "standard_contract", "security_assessment"), refs, strict=True):
            await admin.add_mechanism(mechanism(kind, ref, dataset, f"tdz://{CYBERJAYA}/partner/um"))
    access = await um.request(name, purpose="research", mechanisms=refs)
    stopped = Stopped(monkeypatch)
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await stopped.in_the_middle()
    async with shared.admin(LINGANG) as admin:
        await admin.withdraw_mechanism(refs[1])  # the assessment serves too
    stopped.go_on.set()
    assert (await reading).num_rows == pull.rows
    for gateway in (shared.a, shared.b):
        assert "transfer.resumed" in await kinds(gateway, pull.transfer)


async def test_a_stream_that_does_not_rely_on_it_is_not_cut(shared: Small, monkeypatch: pytest.MonkeyPatch) -> None:
    _, refs = await personal(shared)
    access = await (await shared.um()).request(await shared.offered(CHUNKS), purpose="research")
    stopped = Stopped(monkeypatch)
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await stopped.in_the_middle()
    async with shared.admin(LINGANG) as admin:
        await admin.withdraw_mechanism(refs[0])
    stopped.go_on.set()
    assert (await reading).num_rows == pull.rows
    for gateway in (shared.a, shared.b):
        assert "transfer.resumed" not in await kinds(gateway, pull.transfer)


@asynccontextmanager
async def unrecorded(gateway: Any) -> AsyncIterator[None]:
    """A gateway whose clock lies behind its last entry: its ledger signs nothing until the clock is right again."""
    committer = gateway.house.journal.writer._committer
    right: Callable[[], int] = committer._clock
    committer._clock = lambda: time.time_ns() - 3_600 * 10**9
    try:
        yield
    finally:
        committer._clock = right


@pytest.mark.parametrize("zone", [LINGANG, CYBERJAYA], ids=["provider", "consumer"])
async def test_a_revocation_ends_the_stream_where_the_ledger_can_record_nothing(
    shared: Small, zone: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    um, lab = await shared.um(), await shared.lab()
    access = await um.request(await shared.offered(CHUNKS), purpose="research")
    stopped = Stopped(monkeypatch)
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await stopped.in_the_middle()
    gateway = shared.gateways[zone]
    async with unrecorded(gateway):
        size = gateway.house.journal.committed_size
        ended = await (lab if zone == LINGANG else um).revoke_agreement(access.agreement, note="stop")
        assert (ended.state, ended.reason.startswith(f"revoked by {zone}/")) == ("TERMINATED", True)
        stopped.go_on.set()
        with pytest.raises(TdzError):
            await reading
        assert max(stopped.asked) <= MIDDLE + 1
        with pytest.raises(ConflictError):
            await access.pull()
        assert gateway.house.journal.committed_size == size  # nothing of it is recorded yet
    for each in (shared.a, shared.b):
        entry = await recorded(each, of_subject(f"agreements/{access.agreement}", "revocation"))
        assert entry["body"]["reason"].startswith(f"revoked by {zone}/")
        aborted = await recorded(each, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
        assert aborted["body"]["agreement"] == access.agreement

    async def ended_on_both() -> bool:
        found = [await rows.get_transfer(each.house.state, pull.transfer) for each in (shared.a, shared.b)]
        return all(row.state == "TERMINATED" for row in found)

    await eventually(ended_on_both)
    # Once all that had ended is recorded, other things may begin again.
    again = await um.request(await shared.offered(1), purpose="research")
    assert (await (await again.pull()).to_arrow()).num_rows > 0


async def test_a_revocation_that_the_restart_finds_unrecorded_is_recorded_then(shared: Small) -> None:
    um, lab = await shared.um(), await shared.lab()
    access = await um.request(await shared.offered(1), purpose="research")
    async with unrecorded(shared.b):
        await lab.revoke_agreement(access.agreement, note="stop")
        await shared.stop(LINGANG)
    await shared.start(LINGANG)
    revoked = of_subject(f"agreements/{access.agreement}", "revocation")
    entry = await recorded(shared.b, revoked)
    assert entry["body"]["agreement"] == access.agreement
    await recorded(shared.a, revoked)
    assert len([each for each in await entries(shared.b) if revoked(each)]) == 1
