"""Persons exported in a year: counted by the exporter's gateway, each once, and in the transfer's own transaction."""

from __future__ import annotations

import asyncio
import contextlib
import json
import sqlite3
from collections.abc import AsyncIterator
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gateway.errors import DeniedError, ManifestError, TdzError
from gateway.model.policy_input import china_year
from tests.e2e.material import CYBERJAYA, LINGANG, mechanism, next_id, personal_dataset
from tests.e2e.small import Small, small_corridor

pytestmark = pytest.mark.e2e

UM, LAB = "tdz://cyberjaya/partner/um", "tdz://lingang/partner/lab"


@pytest.fixture
async def small(tmp_path: Path) -> AsyncIterator[Small]:
    async with small_corridor(tmp_path / "zones") as made:
        yield made


def rows(small: Small, query: str, *arguments: object) -> list[tuple[Any, ...]]:
    path = small.b.settings.layout.state
    with contextlib.closing(sqlite3.connect(f"file:{path}?mode=ro", uri=True, timeout=10)) as database:
        return database.execute(query, arguments).fetchall()


async def published(small: Small, first: int, last: int, *, namespace: str = "id", **cn: Any) -> tuple[str, list[str]]:
    """A dataset of persons by number, with its impact assessment; its name and the mechanisms."""
    dataset = next_id("people")
    manifest = personal_dataset(dataset, CYBERJAYA, last - first)
    manifest["persons"] = {"column": "who", "namespace": namespace}
    manifest["dataset"]["cn"] |= cn
    lab = await small.partner(LINGANG, "lab")
    await lab.publish(pa.table({"who": range(first, last)}), manifest)
    async with small.admin(LINGANG) as admin:
        await admin.add_mechanism(mechanism("pipia", f"{dataset}-pipia", dataset, UM))
    return f"datasets/{dataset}", [f"{dataset}-pipia"]


async def pulled(small: Small, dataset: tuple[str, list[str]]) -> int:
    um = await small.partner(CYBERJAYA, "um")
    access = await um.request(dataset[0], purpose="research", mechanisms=dataset[1])
    return int((await (await access.pull()).to_arrow()).num_rows)


def decided(small: Small, resource: str) -> list[dict[str, int]]:
    """The persons in each of lingang's own inputs on a dataset, in order."""
    found = [
        json.loads(document)
        for (document,) in rows(small, "SELECT input FROM decision_inputs ORDER BY decided_at, rowid")
    ]
    return [
        each["usage"]["cn"]
        for each in found
        if (each.get("dataset") or {}).get("id") == resource.removeprefix("datasets/")
    ]


async def test_overlapping_datasets_count_each_person_once_and_one_person_tips_the_sum(small: Small) -> None:
    assert await pulled(small, await published(small, 0, 60_000)) == 60_000
    again = await published(small, 30_000, 99_999)
    assert await pulled(small, again) == 69_999
    assert {each["non_sensitive_after"] for each in decided(small, again[0])} == {99_999}
    tipping = await published(small, 99_990, 100_000)
    with pytest.raises(DeniedError) as denied:
        await pulled(small, tipping)
    assert {finding[0] for finding in denied.value.findings} == {"CN-CBDF-MECH"}
    (tipped,) = decided(small, tipping[0])
    assert tipped["non_sensitive_after"] == 100_000
    year = china_year(small.clock())
    assert [(each[0], each[1]) for each in rows(small, "SELECT exporter, year FROM exports")] == [(LAB, year)] * 2


async def test_persons_of_another_namespace_add_up(small: Small) -> None:
    assert await pulled(small, await published(small, 0, 60_000)) == 60_000
    with pytest.raises(DeniedError):
        await pulled(small, await published(small, 0, 60_000, namespace="another"))


async def test_a_second_pull_of_a_version_counts_nobody_again(small: Small) -> None:
    dataset = await published(small, 0, 60_000)
    assert [await pulled(small, dataset) for _ in range(2)] == [60_000, 60_000]
    assert {each["non_sensitive_after"] for each in decided(small, dataset[0])} == {60_000}
    assert rows(small, "SELECT non_sensitive, sensitive FROM exports") == [(60_000, 0)]


async def test_an_exempt_export_is_not_counted_in_the_year(small: Small) -> None:
    exempt = await published(small, 0, 90_000, exemption="contract")
    assert await pulled(small, exempt) == 90_000
    assert {each["non_sensitive_after"] for each in decided(small, exempt[0])} == {90_000}
    assert rows(small, "SELECT * FROM exports") == []
    other = await published(small, 90_000, 180_000)
    assert await pulled(small, other) == 90_000
    assert {each["non_sensitive_after"] for each in decided(small, other[0])} == {90_000}


async def test_the_count_stands_once_the_transfer_has_started_and_survives_its_agreement(
    small: Small,
) -> None:
    dataset = await published(small, 0, 60_000)
    um = await small.partner(CYBERJAYA, "um")
    access = await um.request(dataset[0], purpose="research", mechanisms=dataset[1])
    assert rows(small, "SELECT * FROM exports") == []
    pull = await access.pull()
    await pull.to_arrow()
    assert rows(small, "SELECT transfer_id FROM exports") == [(pull.transfer,)]
    await small.stop(LINGANG)
    with contextlib.closing(sqlite3.connect(small.corridor.zone(LINGANG).layout.state)) as database, database:
        database.execute("UPDATE agreements SET expires_at = 1")
    await small.start(LINGANG)
    with pytest.raises(DeniedError):
        await pulled(small, await published(small, 60_000, 100_000))


async def test_two_pulls_at_once_do_not_pass_one_threshold_together(small: Small) -> None:
    datasets = [await published(small, 0, 60_000), await published(small, 60_000, 120_000)]
    um = await small.partner(CYBERJAYA, "um")
    accesses = await asyncio.gather(
        *(um.request(name, purpose="research", mechanisms=refs) for name, refs in datasets), return_exceptions=True
    )
    granted = [each for each in accesses if not isinstance(each, BaseException)]

    async def read(access: Any) -> int:
        return int((await (await access.pull()).to_arrow()).num_rows)

    outcomes = await asyncio.gather(*(read(access) for access in granted), return_exceptions=True)
    assert all(isinstance(each, int | TdzError) for each in (*outcomes,))
    assert sum(each for each in outcomes if isinstance(each, int)) < 100_000
    (total,) = rows(small, "SELECT coalesce(sum(non_sensitive), 0) FROM exports")
    assert total[0] < 100_000


async def test_a_pull_in_another_year_counts_there_too(small: Small) -> None:
    dataset = await published(small, 0, 60_000)
    assert await pulled(small, dataset) == 60_000
    now = datetime.fromtimestamp(small.clock(), UTC)
    small.clock.ahead = int((now.replace(year=now.year + 1) - now).total_seconds())
    um = await small.partner(CYBERJAYA, "um")
    async with small.admin(LINGANG) as admin:
        ref = f"{dataset[1][0]}-next"
        late = mechanism("pipia", ref, dataset[0].removeprefix("datasets/"), UM)
        await admin.add_mechanism({**late, "expires_at": small.clock() + 90 * 86_400})
    access = await um.request(dataset[0], purpose="research", mechanisms=[ref], request_id="next-year")
    assert (await (await access.pull()).to_arrow()).num_rows == 60_000
    years = [year for (year,) in rows(small, "SELECT year FROM exports ORDER BY year")]
    assert years == [china_year(small.clock()) - 1, china_year(small.clock())]


async def test_a_manifest_that_understates_its_persons_is_refused(small: Small) -> None:
    manifest = personal_dataset(next_id("people"), CYBERJAYA, 10)
    manifest["persons"] = {"column": "who"}
    lab = await small.partner(LINGANG, "lab")
    with pytest.raises(ManifestError, match="the data has 11 non-sensitive"):
        await lab.publish(pa.table({"who": range(11)}), manifest)
