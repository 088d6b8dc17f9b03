"""Who is refused, why, what would mend it, and that every refusal stands on the ledger before it is told."""

from __future__ import annotations

import asyncio
import contextlib

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from gateway.errors import (
    AlreadyExistsError,
    ConflictError,
    DeniedError,
    LimitError,
    NotFoundError,
    ReviewError,
    TdzError,
)
from tests.e2e.material import (
    CYBERJAYA,
    LINGANG,
    hidden_dataset,
    measurements,
    mechanism,
    next_id,
    open_dataset,
    patients,
    personal_dataset,
)
from tests.e2e.small import entries, eventually, of_subject, recorded
from tests.e2e.test_flight import connect, path

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

UM, LAB = "tdz://cyberjaya/partner/um", "tdz://lingang/partner/lab"


def codes(error: TdzError) -> set[str]:
    return {finding[0] for finding in error.findings}


async def published(shared, manifest, by="lab", zone=LINGANG):
    owner = await shared.partner(zone, by)
    rows = measurements().slice(0, 50)
    if "columns" in manifest["dataset"]:
        rows = rows.append_column("site", pa.array(["a"] * 50))
    return (await owner.publish(rows, manifest)).name


async def denial(gateway, request_id):
    """The entry that denied a negotiation."""
    return await recorded(
        gateway,
        lambda e: e["subject"] == f"negotiations/{request_id}" and e["body"].get("effect") == "deny",
    )


async def test_a_hospitals_patients_are_denied_with_rule_citation_and_remedy_on_both_ledgers(shared):
    name = await published(shared, patients(next_id("patients")), by="hospital", zone=CYBERJAYA)
    with pytest.raises(DeniedError) as caught:
        await (await shared.lab()).request(name, purpose="research")
    error = caught.value
    assert {"MY-SENSITIVE", "MY-BASIS"} <= codes(error)
    assert all(cite and remedy for code, effect, authority, cite, remedy in error.findings)
    assert error.remedy
    assert error.request_id
    consumer = await denial(shared.b, error.request_id)  # here lingang is the consumer's zone
    provider = await denial(shared.a, error.request_id)
    assert "peer_decision" in consumer["body"]
    assert provider["body"]["request"]["participant"] == LAB
    found = {finding["code"] for finding in provider["body"]["decision"]["findings"]}
    assert {"MY-SENSITIVE", "MY-BASIS"} <= found
    shown = await (await shared.lab()).show_request(error.request_id)
    assert (shown.state, shown.effect, shown.agreement) == ("TERMINATED", "deny", "")
    assert {decision.zone for decision in shown.decisions} == {CYBERJAYA, LINGANG}


async def test_what_the_advisory_pack_says_of_a_recipient_stays_in_the_zone_that_asked_it(shared):
    name = await published(shared, patients(next_id("advised")), by="hospital", zone=CYBERJAYA)
    with pytest.raises(DeniedError) as caught:
        await (await shared.lab()).request(name, purpose="research")
    assert not {code for code in codes(caught.value) if code.startswith("RF-")}
    await denial(shared.a, caught.value.request_id)
    await denial(shared.b, caught.value.request_id)

    def holding(zone):
        root = shared.corridor.zone(zone).layout.root
        found = set()
        for file in root.rglob("*"):
            with contextlib.suppress(FileNotFoundError, IsADirectoryError):  # the gateway is at work beside us
                if b"RF-HQ" in file.read_bytes():
                    found.add(file.name)
        return found

    assert holding(CYBERJAYA)  # its own side keeps the whole decision
    assert holding(LINGANG) == set()


async def test_a_purpose_that_the_owner_does_not_offer_it_for_is_denied_by_the_terms(shared):
    name = await shared.offered()
    with pytest.raises(DeniedError) as caught:
        await (await shared.um()).request(name, purpose="product_improvement")
    assert codes(caught.value) == {"TDZ-TERMS"}
    assert "not for product_improvement" in caught.value.findings[0][3]
    await denial(shared.a, caught.value.request_id)
    await denial(shared.b, caught.value.request_id)


async def test_a_dataset_of_the_own_zone_is_refused_and_its_owner_named_as_the_way(shared):
    name = await published(
        shared, open_dataset(next_id("near"), offered_to={"zones": [CYBERJAYA, LINGANG]}), by="hospital", zone=CYBERJAYA
    )
    with pytest.raises(DeniedError) as caught:
        await (await shared.um()).request(name, purpose="research")
    assert codes(caught.value) == {"TDZ-SAME-ZONE"}
    assert "owner" in caught.value.findings[0][4]
    await denial(shared.a, caught.value.request_id)


async def test_unknown_hidden_and_anothers_datasets_answer_alike_and_are_recorded(shared):
    to_another = open_dataset(next_id("other"), offered_to={"participants": ["tdz://cyberjaya/partner/uitm"]})
    names = [
        "datasets/there-is-none",
        await published(shared, hidden_dataset(next_id("hidden"))),
        await published(shared, to_another),
        await published(shared, open_dataset(next_id("past"), until=1_000_000_000)),
        await published(shared, hidden_dataset(next_id("near-hidden")), by="hospital", zone=CYBERJAYA),
    ]
    um = await shared.um()
    before = len(await entries(shared.a))
    texts = set()
    for name in names:
        for _ in range(2):
            with pytest.raises(NotFoundError) as caught:
                await um.request(name, purpose="research")
            texts.add((str(caught.value).replace(name, "NAME"), caught.value.reason, caught.value.remedy))
        with pytest.raises(NotFoundError) as shown:
            await um.dataset(name)
        assert "tdz dataset list" in shown.value.remedy
    assert len(texts) == 1
    decisions = [entry for entry in await entries(shared.a, before) if entry["kind"] == "decision"]
    assert [entry["body"]["request"]["resource"] for entry in decisions] == [n for n in names for _ in range(2)]
    assert {entry["body"]["effect"] for entry in decisions} == {"deny"}
    assert not set(names) & {dataset.name for dataset in await um.datasets()}
    for request in await um.requests(state="TERMINATED"):
        if request.resource in names:  # what is told later is no more than what was told first
            assert {finding.code for finding in request.findings} <= {"TDZ-TERMS"}


async def test_one_dataset_is_shown_exactly_to_whom_the_listing_shows_it(shared):
    near = open_dataset(next_id("near"), offered_to={"zones": [CYBERJAYA]})
    hidden = await published(shared, hidden_dataset(next_id("hidden")), by="hospital", zone=CYBERJAYA)
    names = [hidden, await published(shared, near, by="hospital", zone=CYBERJAYA), await shared.offered()]
    for who, sees in (("um", names[1:]), ("hospital", names)):
        partner = await shared.partner(CYBERJAYA, who)
        assert set(sees) == {dataset.name for dataset in await partner.datasets()} & set(names)
        for name in names:
            if name in sees:
                assert (await partner.dataset(name)).name == name
            else:
                texts = set()
                for asked in (name, "datasets/there-is-none"):
                    with pytest.raises(NotFoundError) as caught:
                        await partner.dataset(asked)
                    texts.add(str(caught.value).replace(asked, "NAME"))
                assert len(texts) == 1


async def test_an_institution_that_no_register_knows_is_denied_as_incomplete(shared):
    await shared.enrol(CYBERJAYA, "ghost")
    ghost = await shared.partner(CYBERJAYA, "ghost")
    with pytest.raises(DeniedError) as caught:
        await ghost.request(await shared.offered(), purpose="research")
    assert "TDZ-INPUT-INCOMPLETE" in codes(caught.value)
    await denial(shared.a, caught.value.request_id)


async def test_an_institution_that_no_register_knows_cannot_offer_anything(shared):
    await shared.enrol(LINGANG, "newcomer")
    newcomer = await shared.partner(LINGANG, "newcomer")
    with pytest.raises(TdzError, match="not in the register"):
        await newcomer.publish(measurements().slice(0, 5), open_dataset(next_id("early")))


async def test_a_mechanism_allows_and_its_withdrawal_denies_the_next_pull(shared):
    dataset_id = next_id("persons")
    name = await published(shared, personal_dataset(dataset_id, CYBERJAYA))
    um = await shared.um()
    with pytest.raises(DeniedError) as without:
        await um.request(name, purpose="research")
    assert {"CN-CBDF-MECH", "CN-PIPIA"} <= codes(without.value)
    refs = [f"{dataset_id}-sc", f"{dataset_id}-pipia"]
    async with shared.admin(LINGANG) as admin:
        for kind, ref in zip(("standard_contract", "pipia"), refs, strict=True):
            await admin.add_mechanism(mechanism(kind, ref, dataset_id, UM))
    with pytest.raises(DeniedError):  # registered, yet not relied upon
        await um.request(name, purpose="research")
    access = await um.request(name, purpose="research", mechanisms=refs)
    assert (await (await access.pull()).to_arrow()).num_rows == 50
    async with shared.admin(LINGANG) as admin:
        await admin.withdraw_mechanism(refs[1])
    withdrawn = await recorded(shared.b, of_subject(f"mechanisms/{refs[1]}", "mechanism.withdrawn"))
    pull = await access.pull()
    with pytest.raises(TdzError) as caught:
        await pull.to_arrow()
    assert caught.value.reason in {"TDZ-DENIED", "TDZ-ABORTED"}
    entry = await recorded(
        shared.b, lambda e: e["subject"] == f"transfers/{pull.transfer}" and e["body"].get("effect") == "deny"
    )
    assert entry["seq"] > withdrawn["seq"]
    assert "CN-PIPIA" in {finding["code"] for finding in entry["body"]["decision"]["findings"]}
    await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))


async def test_a_person_who_is_screened_out_after_the_agreement_pulls_no_more(shared):
    partner = await shared.partner(CYBERJAYA, "risky")
    access = await partner.request(await shared.offered(), purpose="research")
    async with shared.admin(CYBERJAYA) as admin:
        await admin.screen("risky", list_revision="lists-2", result="hit")
    pull = await access.pull()
    with pytest.raises(DeniedError) as caught:
        await pull.to_arrow()
    assert codes(caught.value) & {"TDZ-SCREENING", "TDZ-NOT-ELIGIBLE"}
    entry = await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "decision"))
    assert entry["body"]["effect"] == "deny"


async def test_a_request_that_the_owner_must_approve_is_held_listed_and_expires_on_the_ledger(shared):
    name = await published(shared, open_dataset(next_id("owned"), approval="owner"))
    um = await shared.um()
    with pytest.raises(ReviewError) as caught:
        await um.request(name, purpose="research")
    request_id = caught.value.request_id
    held = await um.show_request(request_id)
    assert (held.state, held.effect, held.held_by) == ("REQUESTED", "review", "lingang/owner")
    assert held.deadline > shared.clock() + 13 * 86_400
    assert request_id in [request.id for request in await um.requests(held=True)]
    with pytest.raises(ReviewError):
        await um.access(request_id)
    for gateway in (shared.a, shared.b):
        await recorded(
            gateway,
            lambda e: e["subject"] == f"negotiations/{request_id}" and e["body"].get("effect") == "review",
        )
    shared.clock.ahead += shared.timing.review + 1
    try:
        for gateway in (shared.a, shared.b):
            expired = await denial(gateway, request_id)
            assert expired["body"]["reason"] == "review expired"

        async def ended():
            return (await um.show_request(request_id)).state == "TERMINATED"

        await eventually(ended)
        with pytest.raises(DeniedError):
            await um.access(request_id)
    finally:
        shared.clock.ahead = 0
    assert request_id not in [request.id for request in await um.requests(held=True)]


async def test_a_request_that_the_own_zones_policy_reviews_is_held_there(shared):
    name = await published(shared, open_dataset(next_id("odd"), purposes=["research", "unknown"]))
    with pytest.raises(ReviewError) as caught:
        await (await shared.um()).request(name, purpose="unknown")
    assert "TDZ-PURPOSE" in codes(caught.value)
    held = await (await shared.um()).show_request(caught.value.request_id)
    assert held.held_by == "cyberjaya/admin"


async def test_the_same_request_id_gives_the_same_answer_and_another_body_is_refused(shared):
    first, second = await shared.offered(), await shared.offered()
    um = await shared.um()
    again = [await um.request(first, purpose="research", request_id="my-own-1") for _ in range(3)]
    together = await asyncio.gather(*(um.request(first, purpose="research", request_id="my-own-2") for _ in range(4)))
    assert len({access.agreement for access in again}) == 1
    assert len({access.agreement for access in together}) == 1
    assert again[0].agreement != together[0].agreement
    for arguments in ({"resource": second}, {"purpose": "public_health"}, {"mechanisms": ["m-1"]}):
        with pytest.raises(AlreadyExistsError, match="another body") as caught:
            await um.request(**{"resource": first, "purpose": "research", "request_id": "my-own-1", **arguments})
        assert caught.value.remedy == "use a new request id"
    other = await shared.partner(CYBERJAYA, "uitm")
    assert (await other.request(first, purpose="research", request_id="my-own-1")).agreement != again[0].agreement
    asked = await entries(shared.b)
    decided = [entry for entry in asked if entry["subject"] == f"negotiations/{again[0].request.id}"]
    assert len(decided) == 1


async def test_pulls_that_are_used_up_are_refused_and_recorded(shared):
    name = await shared.offered(limits={"pulls": 2})
    um = await shared.um()
    access = await um.request(name, purpose="research")
    assert (await access.show()).pulls_limit == 2
    for _ in range(2):
        assert (await (await access.pull()).to_arrow()).num_rows > 0
    pull = await access.pull()
    with pytest.raises(LimitError, match="the agreement allows 2 pulls") as caught:
        await pull.to_arrow()
    assert caught.value.remedy == "request access again"
    aborted = await recorded(shared.a, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"))
    assert aborted["body"]["reason"] == "TDZ-LIMIT"
    assert "allows 2 pulls" in (await um.transfer(pull.transfer)).reason
    assert (await (await (await um.request(name, purpose="research")).pull()).to_arrow()).num_rows > 0


async def test_rows_and_bytes_that_are_used_up_are_refused(shared):
    um = await shared.um()
    for limits, text in (({"rows": 100_000}, "100000 rows"), ({"bytes": 2_500_000}, "2500000 bytes")):
        access = await um.request(await shared.offered(limits=limits), purpose="research")
        assert (await (await access.pull()).to_arrow()).num_rows == 80_000
        with pytest.raises(LimitError, match=text):
            await (await access.pull()).to_arrow()


async def test_an_agreement_ends_at_its_date_for_new_pulls_and_for_tickets_that_were_given_before(shared):
    name = await shared.offered(limits={"days": 1})
    um = await shared.um()
    access = await um.request(name, purpose="research")
    assert (await access.show()).expires_at <= shared.clock() + 86_400
    shared.clock.ahead = 86_401
    try:
        with pytest.raises(ConflictError, match="expired") as caught:
            await access.pull()
        assert caught.value.remedy == "request access again"
    finally:
        shared.clock.ahead = 0
    shared.clock.ahead = 86_400 - 60
    try:
        pull = await access.pull()
        shared.clock.ahead = 86_401
        with pytest.raises(ConflictError, match="expired"):
            await pull.to_arrow()
    finally:
        shared.clock.ahead = 0


async def test_what_is_another_participants_does_not_exist_for_a_partner(shared):
    name = await shared.offered()
    access = await (await shared.um()).request(name, purpose="research")
    pull = await access.pull()
    await pull.to_arrow()
    other = await shared.partner(CYBERJAYA, "uitm")
    with pytest.raises(NotFoundError):
        await other.pull(access.agreement)
    with pytest.raises(NotFoundError):
        await other.show_request(access.request.id)
    with pytest.raises(NotFoundError):
        await other.agreement(access.agreement)
    with pytest.raises(NotFoundError):
        await other.transfer(pull.transfer)
    assert access.agreement not in [agreement.id for agreement in await other.agreements()]


async def test_an_expired_ticket_is_refused_and_recorded(shared):
    name = await shared.offered()
    access = await (await shared.um()).request(name, purpose="research")
    stale: list[flight.Ticket] = []

    def with_client(use):
        with connect(shared.corridor.zone(CYBERJAYA).profile("um")) as client:
            return use(client)

    def ask(client):
        fresh, later = (client.get_flight_info(path(access.agreement)).endpoints[0].ticket for _ in range(2))
        stale.append(later)
        return client.do_get(fresh).read_all().num_rows

    assert await asyncio.to_thread(with_client, ask) > 0
    start = len(await entries(shared.a))
    shared.clock.ahead = shared.timing.ticket + 1
    try:
        with pytest.raises(flight.FlightUnauthorizedError, match="not valid for you"):
            await asyncio.to_thread(with_client, lambda client: client.do_get(stale[0]).read_all())
        entry = await recorded(shared.a, lambda e: e["kind"] == "ticket.refused", start=start)
        assert (entry["body"]["why"], entry["body"]["presented_by"]) == ("expired", UM)
    finally:
        shared.clock.ahead = 0
