"""Pairing and the register of participants through the real services."""

from __future__ import annotations

import datetime
import json
from dataclasses import replace

import pytest

from gateway.errors import ConflictError, InputError, IntegrityError
from gateway.identity.authority import ZoneAuthority
from gateway.identity.card import make_vkey, sign_card
from gateway.identity.keys import new_statement_key, raw_public
from gateway.v1 import zone_pb2

HERE, PEER = "lingang", "cyberjaya"


async def test_a_zone_is_paired_by_fingerprint_and_shown_in_the_status(gate, desks, ask):
    card = gate.peer_card
    with pytest.raises(InputError, match="not the one that was given"):
        await ask(desks[0].zone.Pair(zone_pb2.PairRequest(card=card.data, fingerprint="0" * 64)))
    request = zone_pb2.PairRequest(card=card.data, fingerprint=card.fingerprint)
    paired = await ask(desks[0].zone.Pair(request))
    assert paired.outcome == zone_pb2.PAIR_OUTCOME_PAIRED
    assert (await ask(desks[0].zone.Pair(request))).outcome == zone_pb2.PAIR_OUTCOME_UNCHANGED
    status = await desks[0].zone.GetStatus(zone_pb2.GetStatusRequest())
    assert [(peer.zone, peer.jurisdiction, peer.reachable) for peer in status.peers] == [(PEER, "MY", True)]
    assert (status.ledger_size, status.witnessed_size) == (7, 5)
    assert gate.ledger.kinds() == ["zone.paired"]
    served = await desks[0].zone.GetZoneCard(zone_pb2.GetZoneCardRequest())
    assert (served.card, served.fingerprint) == (gate.card.data, gate.card.fingerprint)


async def test_the_own_card_and_a_damaged_one_are_refused(gate, desks, ask):
    own = zone_pb2.PairRequest(card=gate.card.data, fingerprint=gate.card.fingerprint)
    with pytest.raises(ConflictError, match="own card"):
        await ask(desks[0].zone.Pair(own))
    with pytest.raises(IntegrityError):
        await ask(desks[0].zone.Pair(zone_pb2.PairRequest(card=gate.peer_card.data[:-1], fingerprint="0" * 64)))


async def test_a_participant_is_registered_screened_and_committed_to(gate, desks, ask):
    exporter = {
        "legal_name": "East China Normal University",
        "kind": "university",
        "sector": "education",
        "ciio": "no",
        "ftz_registered": "yes",
        "lingang_activity": "yes",
        "dpo_required": "no",
        "dpo_ref": "",
    }
    recipient = {
        "legal_name": "East China Normal University",
        "kind": "university",
        "hq_country": "CN",
        "ultimate_parent_country": "CN",
        "owners": [],
    }
    put = zone_pb2.PutParticipantRequest(id="ecnu", exporter=json.dumps(exporter), recipient=json.dumps(recipient))
    made = await ask(desks[0].zone.PutParticipant(put))
    assert json.loads(made.recipient)["screening"] == {"list_revision": "none", "result": "unknown"}
    assert json.loads(made.exporter)["id"] == f"tdz://{HERE}/partner/ecnu"
    screen = zone_pb2.ScreenParticipantRequest(
        id="ecnu", list_revision="2026-11", result=zone_pb2.SCREENING_RESULT_CLEAR
    )
    await ask(desks[0].zone.ScreenParticipant(screen))
    kept = await ask(desks[0].zone.PutParticipant(put))  # facts replaced, the result stays
    assert json.loads(kept.recipient)["screening"] == {"list_revision": "2026-11", "result": "clear"}
    assert await ask(desks[0].zone.GetParticipant(zone_pb2.GetParticipantRequest(id="ecnu"))) == kept
    listed = await ask(desks[0].zone.ListParticipants(zone_pb2.ListParticipantsRequest()))
    assert list(listed.participants) == [kept]
    bodies = [body for kind, _, body, _ in gate.ledger.entries if kind.startswith("participant.")]
    assert len({body["commitment"] for body in bodies}) == 3
    assert "clear" not in json.dumps(bodies)
    wrong = zone_pb2.PutParticipantRequest(
        id="ecnu", exporter=json.dumps({**exporter, "ciio": "maybe"}), recipient=json.dumps(recipient)
    )
    with pytest.raises(InputError, match=r"exporter\.ciio"):
        await ask(desks[0].zone.PutParticipant(wrong))
    for text in ("[]", "{", '{"kind":1,"kind":2}', "NaN"):
        with pytest.raises(InputError):
            await ask(
                desks[0].zone.PutParticipant(zone_pb2.PutParticipantRequest(id="ecnu", exporter=text, recipient="{}"))
            )


async def test_a_cards_own_keys_admit_its_successor_after_a_confirmation(gate, desks, ask):
    first = gate.peer_card
    log, statement = new_statement_key(), new_statement_key()
    card = replace(
        first.card,
        log=make_vkey(first.card.origin, log.public_key(), 1),
        statement_key=raw_public(statement.public_key()),
        serial=2,
    )
    one = sign_card(card, log=log.sign, statement=statement.sign)
    two = sign_card(replace(card, serial=3, endpoint="127.0.0.1:9443"), log=log.sign, statement=statement.sign)
    foreign_log, foreign_statement = new_statement_key(), new_statement_key()
    foreign = sign_card(
        replace(
            card,
            serial=9,
            log=make_vkey(first.card.origin, foreign_log.public_key(), 1),
            statement_key=raw_public(foreign_statement.public_key()),
        ),
        log=foreign_log.sign,
        statement=foreign_statement.sign,
    )

    async def pair(signed, confirm=False):
        return await ask(
            desks[0].zone.Pair(zone_pb2.PairRequest(card=signed.data, fingerprint=signed.fingerprint, confirm=confirm))
        )

    await pair(one)
    shown = await pair(two)
    assert shown.outcome == zone_pb2.PAIR_OUTCOME_CONFIRM
    assert list(shown.changed) == ["endpoint"]
    assert gate.registry.peer(PEER).signed == one
    assert (await pair(two, confirm=True)).outcome == zone_pb2.PAIR_OUTCOME_REPLACED
    with pytest.raises(ConflictError, match="not above"):
        await pair(one, confirm=True)
    with pytest.raises(IntegrityError, match="no key of the card in force"):
        await pair(foreign, confirm=True)
    await desks[0].zone.Unpair(zone_pb2.UnpairRequest(zone=PEER))
    with pytest.raises(ConflictError, match="not above"):
        await pair(one)  # never an older card, not even after unpairing
    assert (await pair(foreign)).outcome == zone_pb2.PAIR_OUTCOME_PAIRED  # by fingerprint, anew


async def test_a_card_with_a_ca_that_is_known_under_another_name_is_refused(gate, desks, ask):
    own = gate.here.private_key()  # whoever holds it could name people of both zones
    twin = ZoneAuthority.create("shenzhen", now=datetime.datetime.now(datetime.UTC), key=own)
    signed = gate.make_card(twin)
    with pytest.raises(ConflictError, match="is that of zone lingang"):
        await ask(desks[0].zone.Pair(zone_pb2.PairRequest(card=signed.data, fingerprint=signed.fingerprint)))
    assert gate.ledger.entries == []
