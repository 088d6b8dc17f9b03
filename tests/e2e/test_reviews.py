"""Persons answer what policy sends to review and what an owner keeps for itself; the negotiation goes on from there."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import sqlite3

import pyarrow as pa
import pytest

from gateway.errors import (
    ConflictError,
    DeniedError,
    InputError,
    NotFoundError,
    PermissionDeniedError,
    ReviewError,
    TdzError,
)
from gateway.exchange import rows
from tests.e2e.material import CYBERJAYA, LINGANG, measurements, next_id, open_dataset, patients
from tests.e2e.small import ADMINS, entries, eventually, of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


async def owned(shared, **terms):
    """A dataset whose owner approves each request."""
    manifest = open_dataset(next_id("owned"), approval="owner", **terms)
    return (await (await shared.lab()).publish(measurements().slice(0, 50), manifest)).name


async def odd(shared, **terms):
    """A dataset that is offered for a purpose that both zones' policies review."""
    manifest = open_dataset(next_id("odd"), purposes=["research", "unknown"], **terms)
    return (await (await shared.lab()).publish(measurements().slice(0, 50), manifest)).name


async def held(shared, name, purpose="research"):
    """The id of a request that waits for persons."""
    with pytest.raises(ReviewError) as caught:
        await (await shared.um()).request(name, purpose=purpose)
    return caught.value.request_id


async def answers(shared, zone, request, verdict="approve", *, by, note="seen"):
    """One administrator's answer."""
    async with shared.admin(zone, by) as admin:
        return await admin.answer_review(request, verdict, note=note)


async def waits_at(shared, request, holder):
    """Wait until a request waits for a holder, on the consumer's side."""
    um = await shared.um()

    async def there():
        shown = await um.show_request(request)
        assert shown.state == "REQUESTED", (shown.state, shown.reason, shown.findings)
        return shown.held_by == holder

    await eventually(there)


async def becomes(shared, request, state):
    um = await shared.um()

    async def there():
        shown = await um.show_request(request)
        return shown if shown.state == state else None

    return await eventually(there)


async def pulled(access):
    return (await (await access.pull()).to_arrow()).num_rows


def approvals(found, request):
    return [e["body"] for e in found if e["kind"] == "approval" and e["subject"] == f"negotiations/{request}"]


async def test_an_owner_approves_with_its_own_certificate_and_the_request_becomes_an_agreement(shared):
    name = await owned(shared)
    request = await held(shared, name)
    lab, um = await shared.lab(), await shared.um()
    (waiting,) = [each for each in await lab.reviews() if each.request == request]
    assert (waiting.holder, waiting.owner, waiting.needed) == ("owner", "tdz://lingang/partner/lab", 1)
    shown = await lab.review(request)
    assert (shown.lifts, shown.facts, {each.code for each in shown.findings}) == (("TDZ-TERMS",), "", {"TDZ-TERMS"})
    answered = await lab.answer_review(request, "approve", note="welcome", basis=shown.basis)
    assert answered.state == "APPROVED"
    done = await becomes(shared, request, "FINALIZED")
    assert await pulled(await um.access(request)) == 50
    (entry,) = approvals(await entries(shared.b), request)
    assert (entry["holder"], entry["verdict"], entry["outcome"]) == ("lingang/owner", "approve", "APPROVED")
    decided = [e["body"] for e in await entries(shared.b) if e["subject"] == f"negotiations/{request}"]
    assert [body.get("effect") for body in decided] == ["review", None, "allow"]
    assert decided[2]["approvals"] == [waiting.id]
    in_force = await recorded(shared.b, of_subject(f"agreements/{done.agreement}", "agreement"))
    assert in_force["body"]["outcome"] == "in_force"


async def test_policy_of_both_zones_asks_two_different_administrators_in_each(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    await waits_at(shared, request, "cyberjaya/admin")
    first = await answers(shared, CYBERJAYA, request, by=ADMINS[0])
    assert (first.state, first.approvals, first.needed) == ("OPEN", 1, 2)
    with pytest.raises(ConflictError, match="already"):
        await answers(shared, CYBERJAYA, request, by=ADMINS[0])
    assert (await (await shared.um()).show_request(request)).held_by == "cyberjaya/admin"
    assert not [e for e in await entries(shared.b) if e["subject"] == f"negotiations/{request}"]
    assert (await answers(shared, CYBERJAYA, request, by=ADMINS[1])).state == "APPROVED"
    await waits_at(shared, request, "lingang/admin")
    for who in ADMINS[:2]:
        await answers(shared, LINGANG, request, by=who)
    await becomes(shared, request, "FINALIZED")
    um = await shared.um()
    access = await um.access(request)
    assert await pulled(access) == 50
    for gateway in (shared.a, shared.b):  # the pull was decided again, and rests on the same approvals
        started = [
            e
            for e in await entries(gateway)
            if e["kind"] == "transfer.started" and e["body"]["agreement"] == access.agreement
        ]
        assert len(started) == 1
        assert len(started[0]["body"]["approvals"]) == 1
        lifted = {f["code"]: f["effect"] for f in started[0]["body"]["decision"]["findings"]}
        assert lifted["TDZ-PURPOSE"] == "warn"


async def test_no_name_and_no_note_stands_on_a_ledger_and_the_commitment_opens(shared):
    request = await held(shared, await owned(shared))
    note = "our planted note 8812 about Dr Planted"
    await (await shared.lab()).answer_review(request, "approve", note=note)
    await becomes(shared, request, "FINALIZED")
    for gateway in (shared.a, shared.b):
        text = json.dumps(await entries(gateway))
        assert "planted note" not in text
        assert not any(f"/admin/{who}" in text for who in ADMINS)
    entry = await recorded(shared.b, of_subject(f"negotiations/{request}", "approval"))
    path = shared.corridor.zone(LINGANG).layout.state
    with sqlite3.connect(f"file:{path}?mode=ro", uri=True) as database:
        kept, salt = database.execute("SELECT note, salt FROM review_votes WHERE entry_id=?", (entry["id"],)).fetchone()
    assert kept == note
    text = f"tdz-commit/v1\n{entry['id']}\n/body/note\n".encode() + json.dumps(kept).encode()
    assert hmac.new(bytes.fromhex(salt), text, hashlib.sha256).hexdigest() == entry["body"]["note"]


@pytest.mark.parametrize("zone", [CYBERJAYA, LINGANG])
async def test_one_administrators_denial_ends_it_in_both_zones(shared, zone):
    request = await held(shared, await odd(shared), purpose="unknown")
    if zone == LINGANG:
        for who in ADMINS[:2]:
            await answers(shared, CYBERJAYA, request, by=who)
        await waits_at(shared, request, "lingang/admin")
    with pytest.raises(InputError, match="why"):
        await answers(shared, zone, request, "deny", by=ADMINS[2], note=" ")
    denied = await answers(shared, zone, request, "deny", by=ADMINS[2], note="not for this purpose")
    assert denied.state == "DENIED"
    ended = await becomes(shared, request, "TERMINATED")
    assert (ended.effect, ended.denied_by, ended.reason) == ("deny", f"{zone}/admin", f"denied by {zone}/admin")
    assert "TDZ-REVIEW" in {finding.code for finding in ended.findings}
    with pytest.raises(DeniedError):
        await (await shared.um()).access(request)
    with pytest.raises(ConflictError, match="DENIED"):
        await answers(shared, zone, request, by=ADMINS[3])
    if zone == LINGANG:
        entry = await recorded(
            shared.a,
            lambda e: e["subject"] == f"negotiations/{request}" and e["body"].get("effect") == "deny",
        )
        assert "peer_decision" in entry["body"]


async def test_an_owners_denial_ends_it_and_no_administrator_can_answer_for_it(shared):
    request = await held(shared, await owned(shared))
    with pytest.raises(PermissionDeniedError, match="institution that published"):
        await answers(shared, LINGANG, request, by=ADMINS[0])
    other = await shared.partner(LINGANG, "other-lab")
    with pytest.raises(NotFoundError):
        await other.answer_review(request, "approve", note="mine")
    with pytest.raises(NotFoundError):
        await other.review(request)
    assert request not in [each.request for each in await other.reviews()]
    await (await shared.lab()).answer_review(request, "deny", note="no")
    ended = await becomes(shared, request, "TERMINATED")
    assert ended.denied_by == "lingang/owner"
    with pytest.raises(ConflictError, match="owner"):
        await (await shared.um()).appeal(request, note="please")


async def test_the_owner_is_asked_before_the_administrators_and_both_must_approve(shared):
    name = await odd(shared, approval="owner")
    request = await held(shared, name, purpose="unknown")
    for who in ADMINS[:2]:
        await answers(shared, CYBERJAYA, request, by=who)
    await waits_at(shared, request, "lingang/owner")
    await (await shared.lab()).answer_review(request, "approve", note="fine")
    await waits_at(shared, request, "lingang/admin")
    for who in ADMINS[:2]:
        await answers(shared, LINGANG, request, by=who)
    await becomes(shared, request, "FINALIZED")


async def test_an_approval_counts_no_more_once_the_facts_have_changed(shared):
    name = await owned(shared)
    request = await held(shared, name)
    lab = await shared.lab()
    seen = (await lab.review(request)).basis
    um_facts = await shared.partner(CYBERJAYA, "um")
    assert um_facts is not None
    await shared.register(CYBERJAYA, "um", legal_name="Renamed University")
    try:
        await lab.answer_review(request, "approve", note="to the old name", basis=seen)
        await eventually(lambda: _superseded(shared, request, seen))
        await waits_at(shared, request, "lingang/owner")
        again = await lab.review(request)
        assert (again.state, again.basis != seen) == ("OPEN", True)
        with pytest.raises(ConflictError, match="changed since you looked"):
            await lab.answer_review(request, "approve", note="blind", basis=seen)
        await lab.answer_review(request, "approve", note="to the new name", basis=again.basis)
        await becomes(shared, request, "FINALIZED")
    finally:
        await shared.register(CYBERJAYA, "um", legal_name="Planted Legal Name One")


async def _superseded(shared, request, seen):
    return (await (await shared.lab()).review(request)).basis != seen


async def test_a_pull_under_an_approved_agreement_is_refused_once_its_facts_or_findings_are_others(shared):
    partner = await shared.partner(CYBERJAYA, "moving")
    name = await odd(shared)
    with pytest.raises(ReviewError) as caught:
        await partner.request(name, purpose="unknown")
    request = caught.value.request_id
    for zone in (CYBERJAYA, LINGANG):
        await waits_for(partner, request, f"{zone}/admin")
        for who in ADMINS[:2]:
            await answers(shared, zone, request, by=who)

    async def final():
        return (await partner.show_request(request)).agreement

    await eventually(final)
    access = await partner.access(request)
    assert await pulled(access) == 50
    async with shared.admin(CYBERJAYA) as admin:  # another revision of the lists, the same result: no fact changed
        await admin.screen("moving", list_revision="lists-next", result="clear")
    assert await pulled(access) == 50
    await shared.register(CYBERJAYA, "moving", legal_name="Moved University")
    with pytest.raises(TdzError) as refused:
        await pulled(access)
    assert refused.value.reason in {"TDZ-DENIED", "TDZ-ABORTED"}
    entry = await recorded(
        shared.a,
        lambda e: e["kind"] == "decision" and e["body"].get("agreement") == access.agreement,
    )
    assert "TDZ-PURPOSE" in {finding["code"] for finding in entry["body"]["decision"]["findings"]}


async def waits_for(partner, request, holder):
    async def there():
        return (await partner.show_request(request)).held_by == holder

    await eventually(there)


async def test_an_approval_of_somebody_whose_certificate_was_revoked_counts_no_more(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    await answers(shared, CYBERJAYA, request, by=ADMINS[4])
    async with shared.admin(CYBERJAYA) as admin:
        from gateway.sdk.admin import Reason

        await admin.revoke(f"tdz://{CYBERJAYA}/admin/{ADMINS[4]}", Reason.KEY_COMPROMISE)
    second = await answers(shared, CYBERJAYA, request, by=ADMINS[0])
    assert (second.state, second.approvals) == ("OPEN", 1)
    assert (await answers(shared, CYBERJAYA, request, by=ADMINS[1])).state == "APPROVED"


async def test_an_approved_request_waits_for_a_peer_that_is_away(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    await shared.stop(LINGANG)
    try:
        for who in ADMINS[:2]:
            await answers(shared, CYBERJAYA, request, by=who)
        await asyncio.sleep(0)
        shown = await (await shared.um()).show_request(request)
        assert (shown.state, shown.held_by) == ("REQUESTED", "")
    finally:
        await shared.start(LINGANG)
    await waits_at(shared, request, "lingang/admin")


async def test_an_approval_that_comes_while_the_consumer_is_away_is_told_at_its_return(shared):
    name = await owned(shared)
    request = await held(shared, name)
    await shared.stop(CYBERJAYA)
    try:
        await (await shared.lab()).answer_review(request, "approve", note="ok")
    finally:
        await shared.start(CYBERJAYA)
    await becomes(shared, request, "FINALIZED")


async def test_reviews_that_nobody_answers_expire_and_take_no_answer(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    shared.clock.ahead += shared.timing.review + 1
    try:
        await becomes(shared, request, "TERMINATED")
        with pytest.raises(ConflictError, match="EXPIRED"):
            await answers(shared, CYBERJAYA, request, by=ADMINS[0])
        with pytest.raises(ConflictError, match="no policy and no administrator"):
            await (await shared.um()).appeal(request, note="nobody looked")
    finally:
        shared.clock.ahead = 0


async def test_an_overturned_appeal_has_the_request_decided_anew_by_others_than_those_who_denied(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    await answers(shared, CYBERJAYA, request, "deny", by=ADMINS[0], note="no")
    await becomes(shared, request, "TERMINATED")
    um = await shared.um()
    with pytest.raises(NotFoundError):
        await (await shared.partner(CYBERJAYA, "uitm")).appeal(request, note="not mine")
    with pytest.raises(InputError):
        await um.appeal(request, note="  ")
    taken = await um.appeal(request, note="the purpose is research in truth")
    assert taken.zone == CYBERJAYA
    assert (await um.show_request(request)).appeal == "open"
    with pytest.raises(ConflictError, match="before: open"):
        await um.appeal(request, note="again")
    async with shared.admin(CYBERJAYA, ADMINS[1]) as admin:
        shown = await admin.review(request)
        assert (shown.kind, shown.note, shown.lifts) == (
            "appeal", "the purpose is research in truth", ("TDZ-PURPOSE",),
        )  # fmt: skip
        assert "um" in json.dumps(shown.document()["facts"])
    with pytest.raises(PermissionDeniedError, match="took part"):
        await answers(shared, CYBERJAYA, request, by=ADMINS[0])
    assert (await answers(shared, CYBERJAYA, request, by=ADMINS[1])).state == "OPEN"
    assert (await answers(shared, CYBERJAYA, request, by=ADMINS[2])).state == "APPROVED"
    ended = await um.show_request(request)
    assert (ended.state, ended.appeal) == ("TERMINATED", "overturned")
    await waits_at(shared, ended.anew, "lingang/admin")  # here its review is lifted; there it begins
    found = [e["kind"] for e in await entries(shared.a) if e["subject"] == f"negotiations/{request}"]
    assert found == ["decision", "approval", "appeal", "approval", "approval"]


async def test_a_denial_of_the_other_zone_is_appealed_against_there_and_its_answer_is_heard_here(shared):
    for verdict, outcome in (("deny", "upheld"), ("approve", "overturned")):
        request = await held(shared, await odd(shared), purpose="unknown")
        for who in ADMINS[:2]:
            await answers(shared, CYBERJAYA, request, by=who)
        await waits_at(shared, request, "lingang/admin")
        await answers(shared, LINGANG, request, "deny", by=ADMINS[0], note="no")
        await becomes(shared, request, "TERMINATED")
        um = await shared.um()
        assert (await um.appeal(request, note="look again")).zone == LINGANG
        for gateway in (shared.a, shared.b):
            entry = await recorded(gateway, of_subject(f"negotiations/{request}", "appeal"))
            assert entry["body"]["zone"] == LINGANG
        for who in ADMINS[1:2] if verdict == "deny" else ADMINS[1:3]:
            await answers(shared, LINGANG, request, verdict, by=who)

        async def told(um=um, request=request, outcome=outcome):
            shown = await um.show_request(request)
            return shown if shown.appeal == outcome else None

        shown = await eventually(told)
        if outcome == "overturned":
            await becomes(shared, shown.anew, "FINALIZED")
            assert await pulled(await um.access(shown.anew)) == 50
        else:
            await recorded(
                shared.a,
                lambda e, request=request: (
                    e["subject"] == f"negotiations/{request}" and e["body"].get("reason") == "appeal upheld"
                ),
            )


async def test_what_is_told_again_late_does_not_pass_for_the_answer_to_an_appeal(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    for who in ADMINS[:2]:
        await answers(shared, CYBERJAYA, request, by=who)
    await waits_at(shared, request, "lingang/admin")
    denied = await answers(shared, LINGANG, request, "deny", by=ADMINS[0], note="no")
    await becomes(shared, request, "TERMINATED")
    um = await shared.um()
    await um.appeal(request, note="look again")
    house = shared.b.house
    row = await rows.get_negotiation(house.state, request)
    peer = house.peers.get(CYBERJAYA)
    for decision in (row.document["answer"]["decision"], ""):
        await peer.reviewed(request, denied.id, decision, house.journal.committed_size)
    shown = await um.show_request(request)
    assert (shown.state, shown.appeal, shown.anew) == ("TERMINATED", "open", "")
    open_appeal = row.document["appeal"]["review"]
    with pytest.raises(TdzError):  # a denial that nobody signed closes nothing either
        await peer.reviewed(request, open_appeal, "{}", house.journal.committed_size)
    assert (await um.show_request(request)).appeal == "open"


async def test_what_the_law_denies_is_denied_again_after_an_overturned_appeal(shared):
    hospital, lab = await shared.partner(CYBERJAYA, "hospital"), await shared.lab()
    rows = measurements().slice(0, 50).append_column("site", pa.array(["a"] * 50))
    name = (await hospital.publish(rows, patients(next_id("patients")))).name
    with pytest.raises(DeniedError) as caught:
        await lab.request(name, purpose="research")
    request = caught.value.request_id
    assert (await lab.show_request(request)).denied_by == "cyberjaya/policy"
    assert (await lab.appeal(request, note="they agreed")).zone == CYBERJAYA
    for who in ADMINS[:2]:
        await answers(shared, CYBERJAYA, request, by=who)

    async def told():
        return (await lab.show_request(request)).anew

    anew = await eventually(told)

    async def ended():
        shown = await lab.show_request(anew)
        return shown if shown.state == "TERMINATED" else None

    codes = {finding.code for finding in (await eventually(ended)).findings}
    assert {"MY-BASIS", "MY-SENSITIVE"} <= codes


async def test_an_appeal_that_nobody_answers_ends_at_its_date(shared):
    request = await held(shared, await odd(shared), purpose="unknown")
    await answers(shared, CYBERJAYA, request, "deny", by=ADMINS[0], note="no")
    um = await shared.um()
    await um.appeal(request, note="look")
    shared.clock.ahead += shared.timing.review + 1
    try:
        await recorded(
            shared.a,
            lambda e: e["subject"] == f"negotiations/{request}" and e["body"].get("outcome") == "EXPIRED",
        )
        assert (await um.show_request(request)).appeal == "unanswered"
    finally:
        shared.clock.ahead = 0


@pytest.mark.parametrize("who", ["owner", "consumer", "administrator"])
async def test_a_revoked_agreement_ends_in_both_zones_and_nothing_is_pulled_or_resumed_under_it(shared, who):
    um = await shared.um()
    access = await um.request(await shared.offered(chunks=2), purpose="research")
    pull = await access.pull()
    assert (await (await access.pull()).to_arrow()).num_rows > 0
    if who == "administrator":
        async with shared.admin(LINGANG) as admin:
            ended = await admin.revoke_agreement(access.agreement, note="an order")
    else:
        party = await shared.lab() if who == "owner" else um
        ended = await party.revoke_agreement(access.agreement, note="we changed our mind")
        with pytest.raises(NotFoundError):
            await (await shared.partner(CYBERJAYA, "uitm")).revoke_agreement(access.agreement, note="x")
    assert (ended.state, ended.reason[:7]) == ("TERMINATED", "revoked")
    for gateway in (shared.a, shared.b):
        await recorded(gateway, of_subject(f"agreements/{access.agreement}", "revocation"))

    async def both():
        return (await um.agreement(access.agreement)).state == "TERMINATED"

    await eventually(both)
    with pytest.raises(TdzError):
        await pull.to_arrow()  # the ticket of before opens nothing
    with pytest.raises(ConflictError, match="not in force"):
        await access.pull()


async def test_a_pull_that_is_open_when_its_agreement_is_revoked_ends_and_cannot_be_resumed(shared):
    um, lab = await shared.um(), await shared.lab()
    access = await um.request(await shared.offered(chunks=40), purpose="research")
    pull = await access.pull()
    reading = aiter(pull.batches())
    await anext(reading)
    await lab.revoke_agreement(access.agreement, note="stop")
    with pytest.raises(TdzError):
        async for _ in reading:
            pass

    async def ended():
        return (await um.transfer(pull.transfer)).state in {"TERMINATED", "COMPLETED"}

    await eventually(ended)
    with pytest.raises(TdzError):
        await um.pull(access.agreement, transfer=pull.transfer)
