"""A driver goes on with the row that it knows: it is the row that the step's effect leaves in the database."""

from __future__ import annotations

import pytest
from sqlalchemy import insert

from gateway.exchange import negotiation_effects as effects
from gateway.exchange import rows
from gateway.journal import Recorded
from gateway.model import canonical
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.state.schema import agreements, negotiations

RECORDED = Recorded(entry_id=uuid7(), seq=41, size=42)


async def negotiation(rooms, **members):
    identifier = uuid7()
    row = {
        "id": identifier,
        "side": "consumer",
        "participant": "tdz://cyberjaya/partner/um",
        "request_id": identifier,
        "body_digest": "00",
        "peer_zone": "",
        "resource": "datasets/nyc-flights",
        "purpose": "research",
        "state": State.REQUESTED.value,
        "deadline": 90,
        "document": canonical.encode({"mechanisms": ["tia-1"]}).decode(),
        "created_at": 1,
        "updated_at": 1,
        **members,
    }
    await rooms.state.write(lambda connection: connection.execute(insert(negotiations).values(**row)))
    return await rows.get_negotiation(rooms.state, identifier)


@pytest.mark.parametrize(
    ("effect", "event", "held_by"),
    [("allow", Event.DECIDE, ""), ("deny", Event.TERMINATE, ""), ("review", Event.HOLD, "cyberjaya/admin")],
)
async def test_the_row_after_a_decision_is_the_one_that_its_effect_leaves(rooms, effect, event, held_by):
    row = await negotiation(rooms)
    arguments = {
        "id": row.id,
        "effect": effect,
        "event": event.value,
        "held_by": held_by,
        "deadline": 100,
        "peer_zone": "lingang",
        "document": {"decisions": [["cyberjaya", effect, "d1"]], "findings": [], "asked": "{}"},
        "now": 7,
    }
    ahead = effects.decided(row, arguments, RECORDED)
    await rooms.state.begin(lambda connection: effects.EFFECTS["consumer.decided"](connection, arguments, RECORDED))
    assert await rows.get_negotiation(rooms.state, row.id) == ahead
    assert ahead.document["decisions"][-1][-1] == RECORDED.seq


async def test_the_row_after_an_agreement_is_the_one_that_its_effect_leaves(rooms):
    row = await negotiation(rooms, effect="allow", peer_zone="lingang")
    agreement = dict.fromkeys(("peer_zone", "consumer", "provider", "resource", "version", "envelope", "card"), "")
    agreement |= {"id": uuid7(), "side": "consumer", "negotiation_id": row.id, "state": State.ACCEPTED.value}
    agreement |= {"confirm_before": 60, "expires_at": 999, "created_at": 7, "updated_at": 7}
    assert agreement.keys() <= set(agreements.c.keys())
    arguments = {
        "id": row.id,
        "agreement": agreement,
        "document": {"decisions": [["cyberjaya", "allow", "d1", 3], ["lingang", "allow", "d2"]]},
        "now": 7,
    }
    ahead = effects.agreed(row, arguments, RECORDED)
    await rooms.state.begin(lambda connection: effects.EFFECTS["consumer.agreed"](connection, arguments, RECORDED))
    assert await rows.get_negotiation(rooms.state, row.id) == ahead
    assert (ahead.state, ahead.agreement_id) == (State.ACCEPTED, agreement["id"])


async def test_an_event_that_does_not_fit_changes_neither(rooms):
    row = await negotiation(rooms, state=State.TERMINATED.value)
    arguments = {"id": row.id, "effect": "allow", "event": Event.DECIDE.value, "held_by": "", "deadline": 1}
    arguments |= {"peer_zone": "lingang", "document": {}, "now": 7}
    assert effects.decided(row, arguments, RECORDED) == row
    await rooms.state.begin(lambda connection: effects.EFFECTS["consumer.decided"](connection, arguments, RECORDED))
    assert await rows.get_negotiation(rooms.state, row.id) == row
