"""Another policy at a running gateway: asked for by two, on the ledger, in force without a restart; or refused."""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections.abc import AsyncIterator
from typing import Any

import pytest
import pytest_asyncio

from gateway.cli.demo.corridor import ADMIN
from gateway.decisions.bundles.store import PolicyStore
from gateway.decisions.point import DecisionPoint
from gateway.decisions.trial import trials
from gateway.errors import BundleError, DeniedError, PermissionDeniedError, TdzError
from gateway.exchange import sending
from gateway.model.participant import Role
from gateway.sdk.admin import AsyncAdmin
from gateway.sdk.session import Session
from tests.e2e.material import CYBERJAYA, LINGANG, measurements, mechanism, next_id, personal_dataset
from tests.e2e.policies import SECOND, activate, decided, next_revision, policy_entries, propose
from tests.e2e.small import DEADLINE_S, Small, entries, eventually, of_subject, recorded, small_corridor
from tests.unit.decisions.bundles import material

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Small]:
    async with small_corridor(tmp_path_factory.mktemp("policy")) as made:
        for gateway in (made.a, made.b):
            material.trust(gateway.settings.layout.policy_trust)
        yield made


async def test_two_administrators_put_a_bundle_in_force_and_the_next_decision_names_it(shared: Small) -> None:
    before = len(await entries(shared.a))
    name = await shared.offered()
    um = await shared.um()
    assert (await um.request(name, purpose="research")).agreement
    data = material.forbidding(CYBERJAYA, await next_revision(shared))
    first = await propose(shared, data)
    assert (first.active, first.missing) == (False, 1)
    assert first.expires_at > material.NOW
    again = await propose(shared, data)  # the same administrator counts once
    assert (again.active, again.missing) == (False, 1)
    async with shared.admin(CYBERJAYA) as admin:
        status = await admin.policy_status()
    (proposal,) = status.proposals
    assert proposal.approved_by == (f"tdz://{CYBERJAYA}/admin/{ADMIN}",)
    assert (proposal.missing, proposal.bundle.digest) == (1, hashlib.sha256(data).hexdigest())
    assert (await um.request(name, purpose="research")).agreement  # a proposal changes nothing

    second = await propose(shared, data, SECOND)
    assert second.active
    assert second.policy_digest not in (first.policy_digest, "")
    with pytest.raises(DeniedError) as refused:
        await um.request(name, purpose="research")
    assert {finding[0] for finding in refused.value.findings} == {"ZONE-PURPOSE"}
    assert await decided(shared.a) == second.policy_digest
    async with shared.admin(CYBERJAYA, SECOND) as admin:
        status = await admin.policy_status()
    assert (status.policy_digest, status.proposals, status.withheld) == (second.policy_digest, (), "")

    asked, active = policy_entries(await entries(shared.a, before))
    assert asked["kind"] == "approval"
    assert active["kind"] == "policy.activated"
    assert active["body"]["bundle"] == second.bundle.digest
    assert len(set(active["body"]["approved_by"])) == 2
    assert status.parts[-1].ledger_seq == active["seq"]
    text = json.dumps([asked["body"], active["body"]])
    assert second.policy_digest not in text  # which packs a zone loads could be guessed from it
    assert SECOND not in text
    assert ADMIN not in text
    record = PolicyStore(shared.a.settings.layout.policy).record(active["id"], active["body"]["commitment"])
    assert (record["policy"], record["previous"]) == (second.policy_digest, first.policy_digest)
    await activate(shared, material.zone_bundle(CYBERJAYA, await next_revision(shared)))


async def test_what_is_in_force_may_be_asked_for_again_and_an_older_revision_may_not(shared: Small) -> None:
    revision = await next_revision(shared)
    older, newer = (
        material.zone_bundle(CYBERJAYA, r, material.EMPTY + f"\nrevision := {r}\n") for r in (revision, revision + 1)
    )
    await activate(shared, older)
    await activate(shared, newer)
    before = len(await entries(shared.a))
    assert (await propose(shared, newer)).active
    assert policy_entries(await entries(shared.a, before)) == []
    for data in (older, material.zone_bundle(CYBERJAYA, revision + 1)):
        with pytest.raises(BundleError, match="not newer"):
            await propose(shared, data)


async def test_a_baseline_is_activated_beside_the_zones_own_rules(shared: Small) -> None:
    await activate(shared, material.zone_bundle(CYBERJAYA, await next_revision(shared)))
    standing = await activate(shared, material.baseline(CYBERJAYA, await next_revision(shared, part="baseline")))
    async with shared.admin(CYBERJAYA) as admin:
        status = await admin.policy_status()
    assert {part.part for part in status.parts} >= {"baseline", "zone"}
    assert status.policy_digest == standing.policy_digest
    assert [pack.id for pack in status.packs][:1] == ["my"]


async def test_decisions_at_work_finish_on_the_policy_they_began_with_and_none_is_without_one(shared: Small) -> None:
    point = shared.a.house._decisions
    document = trials(point.policy, material.NOW)[0]
    before, seen, stopping = point.policy.digest, [], asyncio.Event()

    async def deciding() -> None:
        while not stopping.is_set():
            seen.append(await point.decide(document))

    working = [asyncio.create_task(deciding()) for _ in range(4)]
    standing = await activate(shared, material.zone_bundle(CYBERJAYA, await next_revision(shared)))

    async def both_seen() -> bool:
        return {d.policy_digest for d in seen} == {before, standing.policy_digest}

    await eventually(both_seen)
    stopping.set()
    await asyncio.gather(*working)
    assert {d.effect for d in seen} == {"allow"}
    assert not any(f.code == "TDZ-DECISION-UNAVAILABLE" for d in seen for f in d.findings)
    assert seen[0].policy_digest == before
    assert await decided(shared.a) == standing.policy_digest


async def test_a_recorded_decision_is_made_again_from_the_policy_that_was_kept(shared: Small) -> None:
    store = PolicyStore(shared.a.settings.layout.policy)
    point = shared.a.house._decisions
    digests = []
    for text in (material.EMPTY, material.FORBIDS):
        data = material.zone_bundle(CYBERJAYA, await next_revision(shared), text, purpose="research")
        digests.append((await activate(shared, data)).policy_digest)
    document = trials(point.policy, material.NOW)[0]
    effects = []
    for digest in digests:
        old = DecisionPoint(store.zone_policy(digest), CYBERJAYA)
        await old.start()
        try:
            decision = await old.decide(document)
        finally:
            await old.close()
        assert decision.policy_digest == digest
        effects.append(decision.effect)
    assert effects == ["allow", "deny"]
    await activate(shared, material.zone_bundle(CYBERJAYA, await next_revision(shared)))


async def test_the_policy_that_a_gateway_started_with_is_kept_too(shared: Small) -> None:
    gateway = shared.b
    digest = await decided(gateway)
    assert PolicyStore(gateway.settings.layout.policy).zone_policy(digest).digest == digest


async def test_only_administrators_of_the_zone_may_ask(shared: Small) -> None:
    profile = await shared.enrol(CYBERJAYA, next_id("auditor"), Role.AUDITOR)
    auditor = AsyncAdmin(Session.open(profile))
    try:
        assert (await auditor.policy_status()).zone == CYBERJAYA
        with pytest.raises(PermissionDeniedError):
            await auditor.propose_policy(material.zone_bundle(CYBERJAYA, 900))
    finally:
        await auditor.close()


async def test_the_ledger_that_the_peer_mirrors_does_not_say_which_pack_a_zone_loads(shared: Small) -> None:
    size = len(await entries(shared.a))
    data = material.advisory(await next_revision(shared, part="packs/us"))
    standing = await activate(shared, data)
    async with shared.admin(CYBERJAYA) as admin:
        status = await admin.policy_status()
    assert "us" in {pack.id for pack in status.packs}
    assert "packs/us" in {part.part for part in status.parts}
    found = policy_entries(await entries(shared.a, size))
    assert [set(e["body"]) for e in found] == [{"what", "by", "commitment"}, {"by", "approved_by", "commitment"}]
    assert standing.bundle.digest not in json.dumps(found)
    record = PolicyStore(shared.a.settings.layout.policy).record(found[1]["id"], found[1]["body"]["commitment"])
    assert (record["part"], record["policy"]) == ("packs/us", standing.policy_digest)
    with pytest.raises(BundleError, match="would own"):  # a baseline that takes the pack along
        roots = ("tdz/lib", "tdz/lists", "tdz/main", "tdz/packs", "tdz/registry")
        files = material.read_directory(material.shipped(), roots)
        whole = material.manifest(await next_revision(shared, part="baseline"), roots)
        await propose(shared, material.build(files, whole, material.key("vendor"), material.VENDOR))


async def test_an_agreement_ends_with_the_first_mechanism_list_or_bundle_that_it_rests_on(shared: Small) -> None:
    now = material.NOW
    name = await shared.offered()
    access = await (await shared.um()).request(name, purpose="research")
    um = await shared.um()
    whole = (await um.agreement(access.agreement)).expires_at
    ends = now + 7 * material.DAY_S
    assert ends < whole
    root = f"tdz/zone/{LINGANG}"
    short = material.build(
        {f"{root}/rules.rego": material.EMPTY.format(zone=LINGANG).encode()},
        material.manifest(await next_revision(shared, LINGANG), (root,), until=ends),
        material.key("zone"),
        material.ZONE,
    )
    await activate(shared, short, LINGANG)
    access = await um.request(name, purpose="research")
    assert (await um.agreement(access.agreement)).expires_at == ends

    lab, dataset = await shared.lab(), next_id("persons")
    rows = measurements().slice(0, 50)
    manifest = personal_dataset(dataset, to=CYBERJAYA)
    published = (await lab.publish(rows, manifest)).name
    first = now + 3 * material.DAY_S
    refs = [next_id("pipia"), next_id("contract")]
    async with shared.admin(LINGANG) as admin:
        for kind, ref, until in (("pipia", refs[0], 90), ("standard_contract", refs[1], 3)):
            document = mechanism(kind, ref, dataset, f"tdz://{CYBERJAYA}/partner/um")
            await admin.add_mechanism({**document, "expires_at": now + until * material.DAY_S})
    access = await um.request(published, purpose="research", mechanisms=refs)
    assert (await um.agreement(access.agreement)).expires_at == first
    await activate(shared, material.zone_bundle(LINGANG, await next_revision(shared, LINGANG)), LINGANG)


async def test_a_key_that_was_taken_away_signs_nothing_more(shared: Small) -> None:
    data = material.zone_bundle(CYBERJAYA, await next_revision(shared))
    assert not (await propose(shared, data)).active
    pem = shared.a.settings.layout.policy_trust / "zone" / f"{material.ZONE}.pem"
    pem.rename(pem.with_suffix(".away"))
    try:
        with pytest.raises(BundleError, match="not trusted here"):
            await propose(shared, data, SECOND)
    finally:
        pem.with_suffix(".away").rename(pem)
    assert (await propose(shared, data, SECOND)).active


async def test_a_resume_after_an_activation_that_forbids_its_purpose_is_refused_with_reason_policy(
    shared: Small,
) -> None:
    name = await shared.offered(chunks=1)
    access = await (await shared.um()).request(name, purpose="research")
    await activate(shared, material.forbidding(LINGANG, await next_revision(shared, LINGANG)), LINGANG)
    size = len(await entries(shared.b))
    try:
        with pytest.raises(DeniedError):
            await (await access.pull()).to_arrow()
        refused = await recorded(shared.b, lambda e: e["body"].get("agreement") == access.agreement, start=size)
        assert (refused["body"]["reason"], refused["body"]["effect"]) == ("policy", "deny")
    finally:
        await activate(shared, material.zone_bundle(LINGANG, await next_revision(shared, LINGANG)), LINGANG)


@pytest.mark.parametrize("zone", [LINGANG, CYBERJAYA])
@pytest.mark.parametrize("allowed", [False, True], ids=["forbidden", "still allowed"])
async def test_an_open_stream_is_decided_again_after_an_activation(
    shared: Small, zone: str, allowed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    chunks, middle = 8, 4
    name = await shared.offered(chunks=chunks)
    access = await (await shared.um()).request(name, purpose="research")
    held, go_on = asyncio.Event(), asyncio.Event()
    read_ahead, asked = sending._ahead, list[int]()

    def stopping_in_the_middle(*args: Any) -> asyncio.Future[bytes]:
        async def wait() -> bytes:
            asked.append(args[2])
            if args[2] >= middle:
                held.set()
                await go_on.wait()
            return await read_ahead(*args)

        return asyncio.ensure_future(wait())

    monkeypatch.setattr(sending, "_ahead", stopping_in_the_middle)
    pull = await access.pull()
    reading = asyncio.create_task(pull.to_arrow())
    await asyncio.wait_for(held.wait(), DEADLINE_S)
    text = material.EMPTY if allowed else material.FORBIDS
    data = material.zone_bundle(zone, await next_revision(shared, zone), text, purpose="research")
    size = {each: len(await entries(gateway)) for each, gateway in shared.gateways.items()}
    await activate(shared, data, zone)
    go_on.set()
    try:
        if allowed:
            assert (await reading).num_rows == pull.rows
            for each, gateway in shared.gateways.items():
                await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.resumed"), start=size[each])
            return
        with pytest.raises(TdzError):
            await reading
        for each, gateway in shared.gateways.items():
            ended = await recorded(
                gateway, of_subject(f"transfers/{pull.transfer}", "transfer.aborted"), start=size[each]
            )
            assert "policy" in ended["body"]["reason"]
        shown = await (await shared.um()).transfer(pull.transfer)
        assert shown.state == "TERMINATED"
        if zone == LINGANG:  # the consumer's own policy stops what it takes; what was sent meanwhile is dropped
            assert max(asked) <= middle + 1  # no chunk after the one that was under way
    finally:
        if not allowed:
            await activate(shared, material.zone_bundle(zone, await next_revision(shared, zone)), zone)
