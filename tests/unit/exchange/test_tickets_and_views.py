"""Tickets: one holder, one stream, one life; and the id of a view."""

from __future__ import annotations

import asyncio
import itertools
import json

import pytest
from sqlalchemy import select

from gateway.errors import TicketError
from gateway.exchange.tickets import Tickets
from gateway.exchange.views import view_id
from gateway.flow.house import Timing
from gateway.model.dataset import DatasetManifest
from gateway.model.obligation import Obligation
from gateway.state.schema import tickets

UM, OTHER = "tdz://cyberjaya/partner/um", "tdz://cyberjaya/partner/uitm"
PRINT = "f" * 64


class Zone:
    """What tickets need of a house."""

    def __init__(self, rooms):
        self.state, self.journal, self.timing, self.now = rooms.state, rooms.journal, Timing(), 1_800_000_000

    def clock(self):
        return self.now


@pytest.fixture
def zone(rooms):
    return Zone(rooms)


async def issued(zone, **members):
    named = {"holder": UM, "agreement": "a", "transfer": "t", "view": "v", "first_chunk": 3, "fingerprint": PRINT}
    tickets = Tickets(zone)
    return await tickets.issue(*tickets.prepare(**{**named, **members}))


async def refusals(zone):
    size = zone.journal.committed_size
    await zone.journal.writer.changed(size - 1)
    raw = await zone.journal.entries(0, size, 1 << 20)
    found = [json.loads(entry) for entry in raw]
    return [entry["body"]["why"] for entry in found if entry["kind"] == "ticket.refused"]


async def test_a_ticket_opens_once_what_it_was_made_for(zone):
    granted = await issued(zone)
    assert granted.until == zone.now + zone.timing.ticket
    found = await Tickets(zone).redeem(granted.ticket, holder=UM, fingerprint=PRINT)
    assert (found.agreement, found.transfer, found.view, found.first_chunk) == ("a", "t", "v", 3)
    with pytest.raises(TicketError):
        await Tickets(zone).redeem(granted.ticket, holder=UM, fingerprint=PRINT)
    assert await refusals(zone) == ["spent"]


async def test_of_many_who_present_it_at_once_one_gets_through(zone):
    granted = await issued(zone)
    given = await asyncio.gather(
        *(Tickets(zone).redeem(granted.ticket, holder=UM, fingerprint=PRINT) for _ in range(8)), return_exceptions=True
    )
    assert sorted(type(each).__name__ for each in given) == ["Redeemed"] + ["TicketError"] * 7


async def test_every_refusal_reads_alike_and_all_but_an_unknown_one_is_recorded(zone):
    granted = await issued(zone)
    texts = set()
    for presented, holder, fingerprint, transfer in (
        ("nonsense", UM, PRINT, ""),
        ("x" * 10_000, UM, PRINT, ""),
        ("\udcff", UM, PRINT, ""),
        (granted.ticket, OTHER, PRINT, ""),
        (granted.ticket, UM, "0" * 64, ""),
        (granted.ticket, UM, PRINT, "another"),
    ):
        with pytest.raises(TicketError) as caught:
            await Tickets(zone).redeem(presented, holder=holder, fingerprint=fingerprint, transfer=transfer)
        texts.add(str(caught.value))
    zone.now += zone.timing.ticket
    with pytest.raises(TicketError) as caught:
        await Tickets(zone).redeem(granted.ticket, holder=UM, fingerprint=PRINT)
    assert texts == {str(caught.value)}
    assert await refusals(zone) == ["another's", "another's", "another transfer's", "expired"]


async def test_a_ticket_without_a_fingerprint_outlives_a_renewed_certificate(zone):
    granted = await issued(zone, fingerprint="")
    assert (await Tickets(zone).redeem(granted.ticket, holder=UM, fingerprint="1" * 64)).agreement == "a"


async def test_a_ticket_without_a_transfer_takes_the_one_that_is_named(zone):
    granted = await issued(zone, transfer="")
    found = await Tickets(zone).redeem(granted.ticket, holder=UM, fingerprint=PRINT, transfer="chosen")
    assert found.transfer == "chosen"


async def test_neither_database_nor_ledger_holds_a_ticket(zone):
    granted = await issued(zone)
    with pytest.raises(TicketError):
        await Tickets(zone).redeem(granted.ticket, holder=OTHER, fingerprint=PRINT)
    rows = await zone.state.read(lambda connection: str(connection.execute(select(tickets)).all()))
    assert granted.ticket not in rows
    raw = b"".join(await zone.journal.entries(0, zone.journal.size, 1 << 20))
    assert granted.ticket.encode() not in raw


async def test_tickets_that_expired_long_ago_are_forgotten_and_others_stay(zone):
    await issued(zone)
    zone.now += zone.timing.ticket + 3_601
    kept = await issued(zone)
    await Tickets(zone).purge()
    assert await zone.state.read(lambda connection: len(connection.execute(select(tickets)).all())) == 1
    await Tickets(zone).redeem(kept.ticket, holder=UM, fingerprint=PRINT)


def manifest(**members):
    document = {
        "v": 1, "kind": "dataset", "id": "d", "schema": "a" * 64, "descriptive": "b" * 64, "chunks": 1, "rows": 2,
        "bytes": 3, "root": "c" * 64, "encoding": "none",
    }  # fmt: skip
    return DatasetManifest.model_validate(document | members)


def test_a_view_is_named_by_version_obligations_schema_and_key():
    plain = Obligation.from_json({"kind": "no_onward", "params": {}})
    dated = Obligation.from_json({"kind": "delete_by", "params": {"at": 5}})
    later = Obligation.from_json({"kind": "delete_by", "params": {"at": 6}})
    named = [
        view_id(manifest(), []),
        view_id(manifest(rows=3), []),
        view_id(manifest(schema="d" * 64), []),
        view_id(manifest(), [plain]),
        view_id(manifest(), [dated]),
        view_id(manifest(), [later]),
        view_id(manifest(), [dated, plain]),
        view_id(manifest(), [], key_id="k"),
    ]
    assert len(set(named)) == len(named)
    assert all(a != b for a, b in itertools.combinations(named, 2))
    assert view_id(manifest(), [dated, plain]) == named[6]
