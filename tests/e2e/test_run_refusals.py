"""What refuses a run: policy, terms, too few rows, and who asks; recorded before it is told, on both ledgers."""

from __future__ import annotations

import pytest

from gateway.errors import DeniedError, ReviewError
from tests.e2e.material import CYBERJAYA, LINGANG, PLANTED_LIST, hidden_dataset, institution, next_id, open_dataset
from tests.e2e.runs import TRAINING, breast_cancer, halves, run_of, two_zones
from tests.e2e.small import entries, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]


def codes(error):
    return {finding[0] for finding in error.findings}


async def refused(shared, names, kind=DeniedError, by="um", **changes):
    run = await (await shared.partner(CYBERJAYA, by)).run(run_of(names, **changes))
    with pytest.raises(kind) as caught:
        await run.wait()
    return run, caught.value


async def published(shared, zone, manifest, table=None):
    partner = await (shared.um() if zone == CYBERJAYA else shared.lab())
    return (await partner.publish(halves(breast_cancer())[0] if table is None else table, manifest)).name


async def decisions(gateway, run):
    return [
        e["body"] for e in await entries(gateway) if e["subject"] == f"runs/{run.id}" and e["kind"] == "job.decided"
    ]


async def test_policy_denies_a_dataset_and_both_ledgers_say_so(shared):
    ours, theirs = await two_zones(shared)
    core = open_dataset(next_id("core"), **TRAINING)
    core["dataset"]["cn"]["class"] = "core"
    run, error = await refused(shared, (ours, theirs, await published(shared, LINGANG, core)))
    assert "CN-CORE" in codes(error)
    assert all(cite and remedy for _, _, _, cite, remedy in error.findings)
    assert {each["effect"] for each in await decisions(shared.b, run)} == {"allow", "deny"}
    heard = await recorded(shared.a, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.refused")
    assert heard["body"]["effect"] == "deny"
    assert heard["body"]["peer_decisions"]["signatures"]
    assert not [e for e in await entries(shared.a) if e["subject"] == f"runs/{run.id}" and e["kind"] == "run.started"]


async def test_important_data_waits_for_a_person(shared):
    ours, _ = await two_zones(shared)
    important = open_dataset(next_id("important"), **TRAINING)
    important["dataset"]["cn"] |= {"class": "important", "notified_important": "yes"}
    _, error = await refused(shared, (ours, await published(shared, LINGANG, important)), ReviewError)
    assert "CN-IMPORTANT" in codes(error)


async def test_terms_without_the_action_refuse_in_either_zone(shared):
    ours, theirs = await two_zones(shared)
    only_transfer = await published(shared, LINGANG, open_dataset(next_id("rows")))
    _, error = await refused(shared, (ours, only_transfer))
    assert codes(error) == {"TDZ-TERMS"}
    assert error.findings[0][3] == f"{only_transfer}: the owner does not offer it for run_job"
    own = await published(shared, CYBERJAYA, open_dataset(next_id("rows"), to=LINGANG))
    run, error = await refused(shared, (own, theirs))
    assert codes(error) == {"TDZ-TERMS"}
    there = await recorded(shared.b, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "job.answered")
    assert there["body"]["effect"] == "deny"


async def test_terms_for_another_purpose_refuse(shared):
    names = await two_zones(shared)
    _, error = await refused(shared, names, purpose="product_improvement")
    assert codes(error) == {"TDZ-TERMS"}


async def test_the_owners_approval_is_a_review(shared):
    names = await two_zones(shared, approval="owner")
    _, error = await refused(shared, names, ReviewError)
    assert codes(error) == {"TDZ-TERMS"}


async def test_a_dataset_that_is_offered_to_nobody_over_there_cannot_train_with_them(shared):
    _, theirs = await two_zones(shared)
    own = await published(shared, CYBERJAYA, hidden_dataset(next_id("own")))
    run, error = await refused(shared, (own, theirs))
    assert codes(error) == {"TDZ-TERMS"}
    assert {each["effect"] for each in await decisions(shared.b, run)} == {"allow", "deny"}


@pytest.mark.parametrize("zone", [CYBERJAYA, LINGANG])
async def test_too_few_rows_are_refused_by_name_without_telling_how_many(shared, zone):
    names = dict(zip((CYBERJAYA, LINGANG), await two_zones(shared), strict=True))
    small = open_dataset(next_id("small"), to=LINGANG if zone == CYBERJAYA else CYBERJAYA, **TRAINING)
    names[zone] = await published(shared, zone, small, breast_cancer().slice(0, 29))
    run, error = await refused(shared, tuple(names.values()))
    assert codes(error) == {"TDZ-GROUP"}
    assert names[zone] in error.findings[0][3]
    assert "29" not in error.findings[0][3].replace(names[zone], "")
    denied = [
        each for gateway in (shared.a, shared.b) for each in await decisions(gateway, run) if each["effect"] == "deny"
    ]
    assert {each["resource"] for each in denied} == {names[zone]}


@pytest.mark.parametrize(
    ("changes", "said"),
    [
        ({"features": ["f00", "f99"]}, "datasets/{} has no column 'f99'"),
        ({"features": ["f00", "note"]}, "datasets/{} has the column 'note' of type string, no numbers"),
        ({"target": "f01", "features": ["f00"]}, "datasets/{} has the column 'f01' of type double, no classes"),
    ],
    ids=["absent", "text", "no classes"],
)
async def test_columns_that_cannot_be_read_refuse_before_anything_is_agreed_on(shared, changes, said):
    names = await two_zones(shared)
    run, error = await refused(shared, names, **changes)
    assert codes(error) == {"TDZ-COLUMNS"}
    assert said.format(names[1].removeprefix("datasets/")) in error.findings[0][3]
    assert not [e for e in await entries(shared.a) if e["subject"] == f"runs/{run.id}" and e["kind"] == "run.agreed"]


async def test_a_column_that_only_an_own_dataset_lacks_is_named_too(shared):
    _, theirs = await two_zones(shared)
    own = open_dataset(next_id("narrow"), to=LINGANG, **TRAINING)
    narrow = await published(shared, CYBERJAYA, own, breast_cancer().drop_columns(["f07"]))
    run, error = await refused(shared, (narrow, theirs))
    assert codes(error) == {"TDZ-COLUMNS"}
    assert f"{narrow} has no column 'f07'" in error.findings[0][3]
    assert not [e for e in await entries(shared.b) if e["subject"] == f"runs/{run.id}" and e["kind"] == "run.agreed"]


async def test_unknown_hidden_and_another_zones_datasets_answer_alike(shared):
    ours, _ = await two_zones(shared)
    texts = set()
    for name in ("datasets/there-is-none", await published(shared, LINGANG, hidden_dataset(next_id("hidden")))):
        _, error = await refused(shared, (ours, name))
        texts.add(str(error.findings))
    assert len(texts) == 1


async def test_a_run_without_the_other_zone_is_refused(shared):
    ours, theirs = await two_zones(shared)
    _, error = await refused(shared, (ours,))
    assert codes(error) == {"TDZ-SAME-ZONE"}
    _, error = await refused(shared, (ours, theirs), result=run_of(())["result"] | {"zones": ["elsewhere"]})
    assert codes(error) == {"TDZ-TERMS"}


async def test_an_institution_that_is_not_screened_clear_starts_nothing(shared):
    names = await two_zones(shared)
    await shared.enrol(CYBERJAYA, "listed")
    async with shared.admin(CYBERJAYA) as admin:
        await admin.put_participant("listed", *institution("Listed University", "MY"))
        await admin.screen("listed", list_revision=PLANTED_LIST, result="hit")
    _, error = await refused(shared, (names[1],), by="listed")
    assert "TDZ-SCREENING" in codes(error)


async def test_masked_columns_that_a_run_reads_refuse_it_and_others_do_not(shared):
    ours, _ = await two_zones(shared)
    mask = {"kind": "mask_columns", "params": {"columns": {"f00": "drop"}}}
    masked = await published(shared, LINGANG, open_dataset(next_id("masked"), **TRAINING, obligations=[mask]))
    _, error = await refused(shared, (ours, masked))
    assert codes(error) == {"TDZ-OBLIGATION"}
    unread = {"kind": "mask_columns", "params": {"columns": {"note": "drop"}}}
    other = await published(shared, LINGANG, open_dataset(next_id("masked"), **TRAINING, obligations=[unread]))
    run = await (await shared.um()).run(run_of((ours, other), rounds=1))
    assert (await run.wait()).state == "RELEASED"


async def test_a_policy_that_ends_between_rounds_ends_the_run(shared):
    names = await two_zones(shared)
    run = await (await shared.um()).run(run_of(names, rounds=400))
    withdrawn = False
    async for status in run.watch():
        if status.round >= 2 and not withdrawn:
            withdrawn = True
            await (await shared.lab()).withdraw(names[1])
    last = run.last
    assert (last.state, last.reason) == ("FAILED", "policy")
    for gateway in (shared.a, shared.b):
        failed = await recorded(gateway, lambda e: e["subject"] == f"runs/{run.id}" and e["kind"] == "run.failed")
        assert failed["body"]["reason"] == "policy"
    denied = [
        e["body"]
        for e in await entries(shared.b)
        if e["subject"] == f"runs/{run.id}" and e["kind"] == "release" and e["body"]["effect"] == "deny"
    ]
    assert denied[-1]["resource"] == names[1]
