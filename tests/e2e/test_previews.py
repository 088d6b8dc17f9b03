"""Dry runs: both zones' findings before anything is asked, and nothing is left of the question."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pytest

from gateway.errors import InputError, NotFoundError, PaceError, TdzError
from gateway.model import limits
from gateway.model.statements import Preview
from tests.e2e.material import (
    CYBERJAYA,
    LINGANG,
    hidden_dataset,
    measurements,
    mechanism,
    next_id,
    open_dataset,
    personal_dataset,
)
from tests.e2e.small import entries

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

UM = "tdz://cyberjaya/partner/um"


async def published(shared, manifest):
    rows = measurements().slice(0, 50)
    if "columns" in manifest["dataset"]:
        rows = rows.append_column("site", pa.array(["a"] * 50))
    return (await (await shared.lab()).publish(rows, manifest)).name


async def left_behind(shared):
    """What a question could have left: entries, negotiations, agreements, kept inputs."""
    found = []
    for gateway in (shared.a, shared.b):
        house = gateway.house
        kinds = [e["kind"] for e in await entries(gateway)]
        found.append(sum(kind != "peer.checkpoint" for kind in kinds))
        for table in ("negotiations", "agreements", "decision_inputs", "reviews", "outbox"):

            def count(connection, table=table):
                return connection.exec_driver_sql(f"SELECT count(*) FROM {table}").scalar_one()

            found.append(await house.state.read(count))
    return found


async def test_a_dry_run_tells_what_is_missing_and_leaves_nothing_behind(shared):
    dataset_id = next_id("persons")
    name = await published(shared, personal_dataset(dataset_id, CYBERJAYA))
    refs = [f"{dataset_id}-sc", f"{dataset_id}-pipia"]
    async with shared.admin(LINGANG) as admin:
        for kind, ref in zip(("standard_contract", "pipia"), refs, strict=True):
            await admin.add_mechanism(mechanism(kind, ref, dataset_id, UM))
    um = await shared.um()
    before = await left_behind(shared)
    (without,) = await um.preview(name, purposes=["research"])
    assert without.effect == "deny"
    ours, theirs = without.zones
    assert (ours.zone, ours.effect, theirs.zone, theirs.effect) == (CYBERJAYA, "allow", LINGANG, "deny")
    assert {"CN-CBDF-MECH", "CN-PIPIA"} <= {finding.code for finding in theirs.findings}
    assert all(finding.remedy for finding in theirs.findings if finding.effect == "deny")
    (with_them,) = await um.preview(name, purposes=["research"], mechanisms=refs)
    assert [view.effect for view in with_them.zones] == ["allow", "allow"]
    assert await left_behind(shared) == before
    assert (await (await um.request(name, purpose="research", mechanisms=refs)).show()).state == "FINALIZED"


async def test_every_purpose_of_the_terms_is_told_and_others_are_denied_by_the_terms(shared):
    name = await published(shared, open_dataset(next_id("odd"), purposes=["research", "unknown"]))
    um = await shared.um()
    found = {each.purpose: each for each in await um.preview(name)}
    assert {purpose: each.effect for purpose, each in found.items()} == {"research": "allow", "unknown": "review"}
    (other,) = await um.preview(name, purposes=["public_health"])
    assert other.effect == "deny"
    assert "TDZ-TERMS" in {finding.code for finding in other.zones[1].findings}
    owned = await published(shared, open_dataset(next_id("owned"), approval="owner"))
    (waits,) = await um.preview(owned)
    assert waits.effect == "review"


async def test_what_crosses_the_border_has_no_fields_and_no_counts(shared):
    dataset_id = next_id("persons")
    name = await published(shared, personal_dataset(dataset_id, CYBERJAYA))
    house = shared.a.house
    offered = await shared.a.offers.find(name, UM)
    recipient = await house.recipient(UM)
    question = Preview(
        participant=UM,
        resource=name,
        version=offered.card.version,
        purposes=("research",),
        mechanisms=(),
        recipient=recipient,
    )
    said = await house.peers.get(LINGANG).preview(house.sign(question, to=LINGANG, process=name))
    (decision,) = [json.loads(each) for each in said]
    assert all(finding["fields"] == [] for finding in decision["findings"])
    assert (decision["input_digest"], decision["policy_digest"], decision["data_revision"]) == ("", "", "")
    foreign = question.model_copy(update={"participant": "tdz://lingang/partner/lab"})
    with pytest.raises(TdzError, match="not its own"):
        await house.peers.get(LINGANG).preview(house.sign(foreign, to=LINGANG, process=name))


async def test_a_screening_result_does_not_cross_even_as_a_question(shared):
    risky = await shared.partner(CYBERJAYA, "risky")
    name = await shared.offered()
    async with shared.admin(CYBERJAYA) as admin:
        await admin.screen("risky", list_revision="lists-2", result="hit")
    (found,) = await risky.preview(name)
    assert found.effect == "deny"
    assert (found.zones[1].effect, found.zones[1].note.startswith("not asked")) == ("", True)


async def test_unknown_and_hidden_answer_alike_and_an_own_zones_names_the_way(shared):
    um = await shared.um()
    texts = set()
    for name in ("datasets/there-is-none", await published(shared, hidden_dataset(next_id("hidden")))):
        with pytest.raises(NotFoundError) as caught:
            await um.preview(name)
        texts.add(str(caught.value).replace(name, "NAME"))
    assert len(texts) == 1
    near = await shared.partner(LINGANG, "neighbour")
    own_zone = await published(shared, open_dataset(next_id("near"), offered_to={"zones": [CYBERJAYA, LINGANG]}))
    with pytest.raises(InputError, match="own zone"):
        await near.preview(own_zone)


async def test_a_peer_that_is_away_is_said_to_be_not_asked(shared):
    name = await shared.offered()
    um = await shared.um()
    await um.preview(name)  # the card is kept now
    await shared.stop(LINGANG)
    try:
        (found,) = await um.preview(name)
        assert (found.effect, found.zones[0].effect, found.zones[1].effect) == ("", "allow", "")
        assert "not asked" in found.zones[1].note
    finally:
        await shared.start(LINGANG)


async def test_an_owner_sees_who_could_get_a_dataset_and_what_is_missing_in_its_own_zone(shared):
    dataset_id = next_id("persons")
    name = await published(shared, personal_dataset(dataset_id, CYBERJAYA))
    lab = await shared.lab()
    (anybody,) = await lab.preview(name)
    assert (anybody.recipient, anybody.effect) == ("tdz://cyberjaya/partner/any", "deny")
    assert "CN-CBDF-MECH" in {finding.code for finding in anybody.zones[0].findings}
    async with shared.admin(LINGANG) as admin:
        for kind in ("standard_contract", "pipia"):
            await admin.add_mechanism(mechanism(kind, f"{dataset_id}-{kind}", dataset_id, UM))
    found = {each.recipient: each for each in await lab.preview(name)}
    assert found["tdz://cyberjaya/partner/any"].effect == "deny"
    assert found[UM].effect == "allow"
    async with shared.admin(LINGANG) as admin:  # an administrator sees the same
        assert {each.recipient for each in await admin.preview(name)} == set(found)


async def test_who_asks_too_often_is_told_to_wait(shared, monkeypatch):
    name = await shared.offered()
    now = time.monotonic()
    monkeypatch.setattr(shared.a.house.paces.previews, "clock", lambda: now)  # on a slow machine tokens come back
    eager = await shared.partner(CYBERJAYA, "eager")
    with pytest.raises(PaceError, match="dry runs"):
        for _ in range(10 * limits.PREVIEWS_BURST):
            await eager.preview(name)
