"""One gateway goes away in the middle of something; the other waits, resumes, or gives up, and says so."""

from __future__ import annotations

import asyncio
from typing import Any

import pytest

from gateway.errors import DeniedError, PeerUnavailableError, TransferAbortedError
from tests.faults.exchange.invariants import transfer_letters
from tests.faults.exchange.stage import TIMING, Gate, Stage, eventually

pytestmark = [pytest.mark.faults, pytest.mark.asyncio(loop_scope="module")]

_PAST_THE_OFFER = TIMING.confirm + 40  # the two clocks may be 30 s apart


async def rows_of(access: Any) -> int:
    return int((await (await access.pull()).to_arrow()).num_rows)


def letters(gate: Gate, transfer: str) -> str:
    return transfer_letters(gate.entries())[transfer]


async def test_a_stream_that_the_providers_death_cut_is_resumed_by_the_consumer_itself(corridor: Stage) -> None:
    access = await corridor.agreed()
    await corridor.b.arm(label="send frame", occurrence=5, when="before")
    pull = await access.pull()
    with_rows = asyncio.create_task(pull.to_arrow())
    await corridor.b.ended()
    await corridor.becomes(corridor.a, pull.transfer, "SUSPENDED")
    await corridor.b.start()
    await corridor.receipts(pull.transfer)
    assert (await with_rows).num_rows == pull.rows
    for gate in (corridor.a, corridor.b):
        found = letters(gate, pull.transfer)
        assert found.startswith("SR")
        assert found.endswith("C")


async def test_a_provider_that_stays_away_past_the_lease_is_given_up_and_both_ledgers_say_why(
    corridor: Stage,
) -> None:
    access = await corridor.agreed()
    await corridor.b.arm(label="send frame", occurrence=5, when="before")
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await corridor.b.ended()
    await corridor.becomes(corridor.a, pull.transfer, "SUSPENDED")
    assert "no progress before the lease ended" in await corridor.outlives(corridor.a, pull.transfer)
    with pytest.raises(TransferAbortedError, match="no progress before the lease ended"):
        await reading
    await corridor.b.start()
    assert "no progress before the lease ended" in await corridor.becomes(corridor.b, pull.transfer, "TERMINATED")
    await corridor.a.arm(ahead=0)
    for gate in (corridor.a, corridor.b):
        (aborted,) = [
            entry
            for entry in gate.entries()
            if (entry["kind"], entry["subject"]) == ("transfer.aborted", f"transfers/{pull.transfer}")
        ]
        said = "no progress before the lease ended"
        assert aborted["body"]["reason"] == (said if gate is corridor.a else f"consumer: {said}")


async def test_an_aborted_transfer_is_not_resumed_and_a_new_pull_is_a_new_transfer(corridor: Stage) -> None:
    access = await corridor.agreed(chunks=3)
    await corridor.b.arm(label="send frame", occurrence=3, when="before")
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await corridor.b.ended()
    await corridor.becomes(corridor.a, pull.transfer, "SUSPENDED")
    await corridor.outlives(corridor.a, pull.transfer)
    await asyncio.gather(reading, return_exceptions=True)
    await corridor.b.start()
    await corridor.becomes(corridor.b, pull.transfer, "TERMINATED")
    await corridor.a.arm(ahead=0)
    with pytest.raises(TransferAbortedError, match="pull again"):
        await access.pull(transfer=pull.transfer)
    again = await access.pull()
    assert again.transfer != pull.transfer
    assert (await again.to_arrow()).num_rows == again.rows
    await corridor.receipts(again.transfer)


async def test_a_receipt_is_delivered_after_a_restart(corridor: Stage) -> None:
    access = await corridor.agreed(chunks=2)
    await corridor.a.arm(label="ask deliver_receipt", occurrence=1, when="before")
    assert await rows_of(access) > 0
    await corridor.a.ended()
    transfer = await corridor.transfer_of(access.agreement)
    assert letters(corridor.b, transfer) == "S"
    await corridor.a.start()
    await corridor.receipts(transfer)
    assert letters(corridor.b, transfer) == "SC"


async def test_a_late_receipt_prevails_over_no_receipt(corridor: Stage) -> None:
    access = await corridor.agreed(chunks=2)
    await corridor.a.arm(label="ask deliver_receipt", occurrence=1, when="before")
    assert await rows_of(access) > 0
    await corridor.a.ended()
    transfer = await corridor.transfer_of(access.agreement)
    assert await corridor.outlives(corridor.b, transfer) == "no receipt"
    await corridor.b.arm(ahead=0)
    await corridor.a.start()
    await corridor.receipts(transfer)
    assert letters(corridor.b, transfer) == "SAC"
    assert await corridor.becomes(corridor.b, transfer, "COMPLETED") == ""


async def test_an_offer_that_is_never_confirmed_ends_as_not_confirmed_on_both_sides(corridor: Stage) -> None:
    resource, _ = await corridor.offered(chunks=1)
    await corridor.a.arm(label="ask confirm", occurrence=1, when="before")
    ask = {"purpose": "research", "request_id": "never-confirmed"}
    with pytest.raises(PeerUnavailableError):
        await corridor.um.request(resource, **ask)
    await corridor.a.ended()
    query = "SELECT id, state, reason FROM agreements WHERE resource=?"
    ((agreement, state, _),) = corridor.b.rows(query, resource)
    assert state == "OFFERED"
    await corridor.b.arm(ahead=_PAST_THE_OFFER)

    async def ended() -> bool:
        return corridor.b.rows(query, resource) == [(agreement, "TERMINATED", "not confirmed")]

    await eventually(ended, "the offer ends")
    await corridor.b.arm(ahead=0)
    await corridor.a.start()
    with pytest.raises(DeniedError):
        await corridor.um.request(resource, **ask)
    ((same, state, reason),) = corridor.a.rows(query, resource)
    assert (same, state) == (agreement, "TERMINATED")
    assert "not confirmed" in reason
    for gate in (corridor.a, corridor.b):
        outcomes = [e["body"]["outcome"] for e in gate.entries() if e["subject"] == f"agreements/{agreement}"]
        assert outcomes[-1] == "not_confirmed"
        assert "in_force" not in outcomes


async def test_a_provider_that_is_away_for_a_moment_is_asked_again_with_the_same_request(corridor: Stage) -> None:
    resource, _ = await corridor.offered(chunks=1)
    await corridor.b.arm(label="append decision", occurrence=1, when="after")
    asking = asyncio.create_task(corridor.um.request(resource, purpose="research"))
    await corridor.b.ended()
    await corridor.b.start()
    access = await asking
    negotiations = corridor.b.rows("SELECT id FROM negotiations WHERE resource=?", resource)
    assert len(negotiations) == 1

    async def in_force() -> bool:  # the effect follows its entry
        return corridor.b.rows("SELECT state FROM agreements WHERE id=?", access.agreement) == [("FINALIZED",)]

    assert await eventually(in_force, "the agreement is in force")
