"""Runs that come to review wait for persons, as transfers do, and go on once what was found is approved."""

from __future__ import annotations

import asyncio
import shutil
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from gateway.errors import (
    ConflictError,
    DeniedError,
    NotFoundError,
    PeerError,
    PeerUnavailableError,
    ReviewError,
    RunEndedError,
)
from gateway.federation import rows
from gateway.sdk.runs import RunStatus
from tests.e2e.faulty_run_peer import RunFaults
from tests.e2e.material import CYBERJAYA, LINGANG, next_id, open_dataset
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of, two_zones
from tests.e2e.small import ADMINS, Small, entries, eventually, of_subject, recorded, small_corridor

ROOT = Path(__file__).parents[2]

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


async def important(shared: Small) -> tuple[str, str]:
    """A table in each zone; lingang's is important data, of which a model update leaves under review."""
    ours, _ = await two_zones(shared)
    manifest = open_dataset(next_id("important"), **TRAINING)
    manifest["dataset"]["cn"] |= {"class": "important", "notified_important": "yes"}
    return ours, (await (await shared.lab()).publish(halves(breast_cancer())[1], manifest)).name


async def statutory(shared: Small) -> tuple[str, str]:
    """A table in each zone; cyberjaya's is of a statutory body, whose queries from abroad are reviewed."""
    _, theirs = await two_zones(shared)
    manifest = open_dataset(next_id("statutory"), to=LINGANG, **TRAINING)
    manifest["dataset"]["gov_source"] = "statutory_body"
    return (await (await shared.um()).publish(halves(breast_cancer())[0], manifest)).name, theirs


async def waiting(shared: Small, names: tuple[str, ...], holder: str, **changes: Any) -> Any:
    """A run that waits for a holder."""
    run = await (await shared.um()).run(run_of(names, **changes))
    with pytest.raises(ReviewError, match=holder) as caught:
        await run.wait()
    assert caught.value.request_id == run.id
    return run


async def waits_at(run: Any, holder: str) -> RunStatus:
    async def there() -> RunStatus | None:
        status: RunStatus = await run.status()
        assert not status.ended, (status.state, status.reason, status.findings)
        return status if status.held_by == holder else None

    return await eventually(there)  # type: ignore[no-any-return]


async def answers(shared: Small, zone: str, review: str, *by: str, verdict: Any = "approve", note: str = "seen") -> Any:
    found = None
    for who in by:
        async with shared.admin(zone, who) as admin:
            found = await admin.answer_review(review, verdict, note=note)
    return found


async def all_open(shared: Small, zone: str, run: Any) -> list[Any]:
    async with shared.admin(zone) as admin:
        return [each for each in await admin.reviews() if each.about == f"runs/{run.id}"]


async def approve_all(shared: Small, zone: str, run: Any) -> None:
    """Two administrators approve all that a run waits for in a zone."""
    for review in await all_open(shared, zone, run):
        await answers(shared, zone, review.id, *ADMINS[:2])


async def of_run(gateway: Any, run: Any, *kinds: str) -> list[dict[str, Any]]:
    return [e for e in await entries(gateway) if of_subject(f"runs/{run.id}", *kinds)(e)]


async def state_of(gateway: Any, run: Any) -> rows.RunRow:
    return await rows.get(gateway.house.state, run.id)


async def test_important_data_waits_for_two_administrators_of_its_zone_and_then_trains(shared: Small) -> None:
    names = await important(shared)
    run = await waiting(shared, names, "lingang/admin")
    status = await run.status()
    assert (status.state, status.held_by, status.round) == ("SUBMITTED", "lingang/admin", 0)
    assert {finding.code for finding in status.findings if finding.effect == "review"} == {"CN-IMPORTANT"}
    assert status.deadline > status.created_at + shared.timing.review - 60
    (review,) = await all_open(shared, LINGANG, run)
    assert (review.request, review.resource, review.participant) == (run.id, names[1], "tdz://cyberjaya/partner/um")
    assert (review.holder, review.needed, review.lifts) == ("admin", 2, ("CN-IMPORTANT",))
    async with shared.admin(LINGANG) as admin:
        shown = await admin.review(run.id)
    assert shown.document()["facts"]["job"]["kind"] == "train"
    assert shown.document()["facts"]["dataset"]["cn"]["class"] == "important"

    first = await answers(shared, LINGANG, run.id, ADMINS[0])
    assert (first.state, first.approvals) == ("OPEN", 1)
    with pytest.raises(ConflictError, match="already"):
        await answers(shared, LINGANG, run.id, ADMINS[0])
    assert (await run.status()).held_by == "lingang/admin"
    for gateway in (shared.a, shared.b):
        assert not await of_run(gateway, run, "run.agreed", "run.started", "release")
    assert (await answers(shared, LINGANG, run.id, ADMINS[1])).state == "APPROVED"
    async with asyncio.timeout(60):
        await waits_no_more(run)
        done = await run.wait()
    assert (done.state, done.held_by, done.round) == ("RELEASED", "", 3)
    assert not [finding for finding in done.findings if finding.effect == "review"]

    found = await of_run(shared.b, run)
    (held,) = [e for e in found if e["kind"] == "job.answered" and e["body"]["effect"] == "review"]
    approved = [e for e in found if e["kind"] == "approval"]
    (agreed,) = [e for e in found if e["kind"] == "run.agreed"]
    assert [e["body"]["outcome"] for e in approved] == ["OPEN", "APPROVED"]
    assert held["seq"] < approved[0]["seq"] < approved[1]["seq"] < agreed["seq"]
    released = [e["body"] for e in found if e["kind"] == "release" and e["body"]["resource"] == names[1]]
    assert len(released) >= 4  # sums, and each round's update
    for body in released:  # each was decided on, and rests on the one approval
        assert (body["effect"], body["approvals"]) == ("allow", [review.id])
        assert {f["code"]: f["effect"] for f in body["decision"]["findings"]}["CN-IMPORTANT"] == "warn"
    heard = await of_run(shared.a, run, "run.held")
    assert [e["body"]["by"] for e in heard] == ["lingang/admin"]
    assert heard[0]["body"]["peer_decisions"]["signatures"]
    assert f"/admin/{ADMINS[0]}" not in str(found)


async def waits_no_more(run: Any) -> None:
    async def free() -> bool:
        return not (await run.status()).held_by

    await eventually(free)


async def test_an_owner_approves_with_its_own_certificate(shared: Small) -> None:
    names = await two_zones(shared, approval="owner")
    run = await waiting(shared, names, "lingang/owner")
    lab = await shared.lab()
    (review,) = [each for each in await lab.reviews() if each.about == f"runs/{run.id}"]
    assert (review.holder, review.owner, review.needed) == ("owner", "tdz://lingang/partner/lab", 1)
    other = await shared.partner(LINGANG, "other-lab")
    with pytest.raises(NotFoundError):
        await other.answer_review(run.id, "approve", note="mine")
    await lab.answer_review(run.id, "approve", note="welcome")
    await waits_no_more(run)
    assert (await run.wait()).state == "RELEASED"


async def test_the_coordinators_own_review_holds_both_zones_past_the_time_to_agree(shared: Small) -> None:
    run = await waiting(shared, await statutory(shared), "cyberjaya/admin")

    async def heard() -> bool:
        return (await state_of(shared.b, run)).held_by == "cyberjaya/admin"

    await eventually(heard)
    (entry,) = await of_run(shared.b, run, "run.held")
    assert entry["body"] == {"by": "cyberjaya/admin"}
    shared.clock.ahead += 3_600
    try:
        for gateway in (shared.a, shared.b):
            await gateway.federation.expire()
            assert (await state_of(gateway, run)).state == "SUBMITTED"
        await approve_all(shared, CYBERJAYA, run)
        await waits_no_more(run)
        assert (await run.wait()).state == "RELEASED"
    finally:
        shared.clock.ahead = 0


async def test_what_both_zones_review_goes_from_desk_to_desk_and_every_dataset_is_approved(shared: Small) -> None:
    ours, theirs = await two_zones(shared, purposes=["unknown"])
    own = open_dataset(next_id("odd"), to=LINGANG, **TRAINING)
    own["terms"]["purposes"] = ["unknown"]
    ours = (await (await shared.um()).publish(halves(breast_cancer())[0], own)).name
    run = await waiting(shared, (ours, theirs), "cyberjaya/admin", purpose="unknown")
    assert not await of_run(shared.b, run)  # nothing was asked of the other zone yet
    await approve_all(shared, CYBERJAYA, run)
    await waits_at(run, "lingang/admin")
    both = await all_open(shared, LINGANG, run)
    assert {each.resource for each in both} == {ours, theirs}
    await answers(shared, LINGANG, both[0].id, *ADMINS[:2])
    assert (await run.status()).held_by == "lingang/admin"  # the other dataset still waits
    await answers(shared, LINGANG, both[1].id, *ADMINS[:2])
    await waits_at(run, "cyberjaya/admin")  # for the own dataset, on which only this zone decides now
    await approve_all(shared, CYBERJAYA, run)
    await waits_no_more(run)
    assert (await run.wait()).state == "RELEASED"


@pytest.mark.parametrize("zone", [CYBERJAYA, LINGANG])
async def test_one_denial_ends_it_in_both_zones_and_the_institution_hears_who(shared: Small, zone: str) -> None:
    names = await (important(shared) if zone == LINGANG else statutory(shared))
    run = await waiting(shared, names, f"{zone}/admin")
    await answers(shared, zone, run.id, ADMINS[2], verdict="deny", note="not this one")
    await waits_no_more(run)  # the other zone tells it in a moment
    with pytest.raises(DeniedError) as caught:
        await run.wait()
    assert caught.value.findings[0][0] == "TDZ-REVIEW"
    status = await run.status()
    assert (status.state, status.held_by, status.reason) == (
        "REFUSED", "", "denied by an administrator in a review",
    )  # fmt: skip

    async def told() -> bool:
        return (await state_of(shared.a, run)).state == (await state_of(shared.b, run)).state == "REFUSED"

    await eventually(told)
    with pytest.raises(ConflictError, match="DENIED"):
        await answers(shared, zone, run.id, ADMINS[0])
    other = shared.a if zone == LINGANG else shared.b
    entry = await recorded(other, of_subject(f"runs/{run.id}", "run.refused"))
    assert (entry["body"]["heard"], entry["body"]["by"]) == (True, zone)


async def test_an_owners_denial_ends_it(shared: Small) -> None:
    run = await waiting(shared, await two_zones(shared, approval="owner"), "lingang/owner")
    await (await shared.lab()).answer_review(run.id, "deny", note="no")
    await waits_no_more(run)
    with pytest.raises(DeniedError) as caught:
        await run.wait()
    assert caught.value.findings[0][:2] == ("TDZ-TERMS", "deny")


async def test_a_review_that_nobody_answers_ends_the_run_in_both_zones(shared: Small) -> None:
    run = await waiting(shared, await important(shared), "lingang/admin")
    shared.clock.ahead += shared.timing.review + 60
    try:
        await waits_no_more(run)
        with pytest.raises(RunEndedError, match="nobody answered"):
            await run.wait()

        async def ended() -> bool:
            return (await state_of(shared.b, run)).state == "REFUSED"

        await eventually(ended)
        with pytest.raises(ConflictError, match="EXPIRED"):
            await answers(shared, LINGANG, run.id, ADMINS[0])
    finally:
        shared.clock.ahead = 0


async def test_an_approval_counts_no_more_once_the_facts_have_changed(shared: Small) -> None:
    names = await important(shared)
    run = await waiting(shared, names, "lingang/admin")
    (review,) = await all_open(shared, LINGANG, run)
    async with shared.admin(LINGANG) as admin:
        seen = (await admin.review(review.id)).basis
    await shared.register(CYBERJAYA, "um", legal_name="Renamed University")
    try:
        await answers(shared, LINGANG, review.id, *ADMINS[:2])

        async def another() -> Any:
            found = await all_open(shared, LINGANG, run)
            return found[0] if found and found[0].id != review.id else None

        anew = await eventually(another)
        assert (await waits_at(run, "lingang/admin")).state == "SUBMITTED"
        async with shared.admin(LINGANG) as admin:
            with pytest.raises(ConflictError, match="changed since you looked"):
                await admin.answer_review(anew.id, "approve", note="blind", basis=seen)
        await answers(shared, LINGANG, anew.id, *ADMINS[:2])
        await waits_no_more(run)
        assert (await run.wait()).state == "RELEASED"
    finally:
        await shared.register(CYBERJAYA, "um", legal_name="Planted Legal Name One")


async def test_a_held_run_can_be_cancelled_and_its_reviews_close_with_it(shared: Small) -> None:
    run = await waiting(shared, await important(shared), "lingang/admin")
    assert (await run.cancel()).state == "CANCELLED"

    async def closed() -> bool:
        return not await all_open(shared, LINGANG, run)

    await eventually(closed)
    with pytest.raises(ConflictError, match="EXPIRED"):
        await answers(shared, LINGANG, run.id, ADMINS[0])


async def test_held_runs_outlive_restarts_and_approvals_while_the_other_zone_is_away(shared: Small) -> None:
    run = await waiting(shared, await important(shared), "lingang/admin")
    for zone in (CYBERJAYA, LINGANG):
        await shared.stop(zone)
        await shared.start(zone)
    assert (await run.status()).held_by == "lingang/admin"
    await shared.stop(CYBERJAYA)
    try:
        await answers(shared, LINGANG, run.id, *ADMINS[:2])
    finally:
        await shared.start(CYBERJAYA)
    await waits_no_more(run)
    assert (await run.wait()).state == "RELEASED"


async def test_a_stranger_and_a_false_reviewer_move_no_run(shared: Small) -> None:
    run = await waiting(shared, await important(shared), "lingang/admin")
    peer, size = shared.a.house.peers.get(LINGANG), shared.a.house.journal.committed_size
    with pytest.raises(PeerError):
        await peer.hold_run(run.id, "lingang/admin", 0, size)  # cyberjaya speaks for lingang
    await peer.hold_run(run.id, "", 0, size)  # cyberjaya lets go on what lingang's persons look at
    await peer.hold_run(run.id, "cyberjaya/admin", 0, size)
    assert (await state_of(shared.b, run)).held_by == "lingang/admin"
    assert not await of_run(shared.b, run, "run.held")
    await run.cancel()


async def test_the_word_of_a_hold_that_an_approval_overtakes_stops_nothing(shared: Small) -> None:
    """The other zone hears of the hold only once it has answered the run anew, and waits for the agreement."""
    faults, late, told = RunFaults(shared.a.corridor, shared.a.house, LINGANG), list[tuple[Any, ...]](), asyncio.Event()

    async def lost(_real: Any, *said: Any) -> int:
        late.append(said)
        told.set()
        raise PeerUnavailableError("the word is lost on its way")

    async def after_the_late_word(real: Any, *agreed: Any) -> Any:
        (hold, *_) = late
        assert (await state_of(shared.b, run)).state == "DECIDED"
        await shared.a.corridor.get(LINGANG).hold_run(*hold)
        assert (await state_of(shared.b, run)).state == "DECIDED"
        return await real(*agreed)

    faults.stand_ins = {"hold_run": lost, "confirm_run": after_the_late_word}
    shared.a.house.connect(faults)
    try:
        run = await waiting(shared, await statutory(shared), "cyberjaya/admin")
        async with asyncio.timeout(30):
            await told.wait()
        assert (await state_of(shared.b, run)).state == "DECIDED"  # it has not heard, and is asked anew all the same
        await approve_all(shared, CYBERJAYA, run)
        await waits_no_more(run)
        assert (await run.wait()).state == "RELEASED"
    finally:
        shared.a.house.connect(shared.a.corridor)
    assert not await of_run(shared.b, run, "run.held")
    attempts = await of_run(shared.b, run, "job.answered")
    assert [e["body"]["effect"] for e in attempts] == ["allow", "allow"]


# --- a release of a round that policy sends to review -------------------------------------------------

_RULE = """# METADATA
# title: Rules of the zone {zone}'s administrators
package tdz.zone.{zone}

# METADATA
# title: Releases of runs are looked at
# custom:
#   code: ZONE-RELEASE
#   authority: house
#   cite: House rule; an administrator looks at whatever crosses in a run
#   remedy: Wait for the administrators' answer
findings contains {{"code": "ZONE-RELEASE", "effect": "review", "fields": ["release.smallest_group"]}} if {{
	input.request.action == "release_output"
}}

obligations := set()
"""


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def looking(tmp_path_factory: pytest.TempPathFactory) -> Any:
    """A corridor both of whose zones look at each release of a run, their own and what comes in."""
    directory = tmp_path_factory.mktemp("looking")
    policy = directory / "policy"
    shutil.copytree(ROOT / "policy", policy)
    for zone in (CYBERJAYA, LINGANG):
        (policy / "tdz/zone" / zone / "rules.rego").write_text(_RULE.format(zone=zone))

    def prepare(small: Small) -> None:
        for zone in (CYBERJAYA, LINGANG):
            with small.corridor.zone(zone).layout.settings.open("a") as file:
                file.write(f'\n[policy]\ndirectory = "{policy}"\n')

    async with small_corridor(directory / "zones", prepare=prepare) as made:
        yield made


async def test_a_release_that_comes_to_review_is_held_in_both_zones_and_crosses_once_approved(
    looking: Small,
) -> None:
    names = await two_zones(looking)
    run = await (await looking.um()).run(run_of(names, rounds=1, round_deadline_s=20))
    seen = []
    for _ in range(12):
        async with asyncio.timeout(60):
            async for status in run.watch():
                if status.held_by or status.ended:
                    break
        if status.ended:
            break
        assert status.state in {"QUEUED", "RUNNING"}
        zone, _, holder = status.held_by.partition("/")
        assert holder == "admin"
        found = await all_open(looking, zone, run)
        gateway = looking.a if zone == CYBERJAYA else looking.b
        released = [e["body"] for e in await of_run(gateway, run, "release") if e["body"]["effect"] == "review"]
        seen.append((zone, released[-1]["direction"], released[-1]["what"], released[-1]["round"]))
        looking.clock.ahead += 600  # far past a round's deadline
        for review in found:
            await answers(looking, zone, review.id, *ADMINS[:2])
        await waits_no_more(run)
    assert (status.state, status.reason) == ("RELEASED", ""), seen
    assert len(seen) == len(set(seen))
    crossings = [(LINGANG, "sums", 0), (CYBERJAYA, "sums", 0), (LINGANG, "update", 1), (CYBERJAYA, "outcome", 2)]
    assert set(seen) == {
        (zone, "out" if zone == sender else "in", what, round_)
        for sender, what, round_ in crossings
        for zone in (CYBERJAYA, LINGANG)
    }
    for gateway in (looking.a, looking.b):
        for entry in await of_run(gateway, run, "round.released"):
            held = [e for e in await of_run(gateway, run, "approval") if e["seq"] < entry["seq"]]
            assert held


async def test_an_approval_that_comes_before_the_coordinator_has_parked_the_run_lets_it_go_on(
    looking: Small, monkeypatch: pytest.MonkeyPatch
) -> None:
    holding, early = looking.a.federation.holding, list[str]()
    park = holding.park

    async def approved_meanwhile(row: rows.RunRow, codes: Any) -> rows.RunRow:
        if not early:
            early.append(row.id)
            for review in await all_open(looking, LINGANG, run):
                await answers(looking, LINGANG, review.id, *ADMINS[:2])

            async def heard() -> bool:
                return row.id in holding._let_go

            await eventually(heard)
        return await park(row, codes)

    monkeypatch.setattr(holding, "park", approved_meanwhile)
    run = await (await looking.um()).run(run_of(await two_zones(looking), rounds=1, round_deadline_s=20))
    while not (status := await run.status()).ended:
        if status.held_by:
            await approve_all(looking, status.held_by.partition("/")[0], run)
        await asyncio.sleep(0.02)
    assert (status.state, early) == ("RELEASED", [run.id])


async def test_a_denied_release_leaves_nothing_and_ends_the_run_in_both_zones(looking: Small) -> None:
    run = await (await looking.um()).run(run_of(await two_zones(looking), rounds=1, round_deadline_s=20))
    with pytest.raises(ReviewError):
        await run.wait()
    zone = (await run.status()).held_by.partition("/")[0]
    (review,) = await all_open(looking, zone, run)
    await answers(looking, zone, review.id, ADMINS[0], verdict="deny", note="no")
    await waits_no_more(run)
    with pytest.raises(RunEndedError, match="denied by an administrator"):
        await run.wait()

    async def ended() -> bool:
        return all([(await state_of(gateway, run)).state == "FAILED" for gateway in (looking.a, looking.b)])

    await eventually(ended)
    for gateway in (looking.a, looking.b):
        assert not await of_run(gateway, run, "round.released", "run.completed")
