"""Weights that people use, 90 MB in twelve files, from one zone into the other: whole, held back, cut and taken up."""

from __future__ import annotations

import asyncio
import filecmp
from pathlib import Path

import pytest
import pytest_asyncio

from gateway.artifacts.provenance import BaseModelUsed
from gateway.errors import NotFoundError, ReviewError
from gateway.exchange.peer import ChunkMark
from gateway.sdk.models import OWN_FILES, verify_directory
from tests.e2e.faulty_peer import Faults
from tests.e2e.material import LINGANG, next_id
from tests.e2e.models import TRAINED_ON, own_provenance, publication
from tests.e2e.small import entries, eventually, of_subject, recorded

pytestmark = [pytest.mark.e2e, pytest.mark.asyncio(loop_scope="module")]

BASE = BaseModelUsed(id="nreimers-minilm-l6-h384-uncased", digest="b" * 64, licence="Apache-2.0", licence_version="2.0")


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def faults(shared):
    """cyberjaya reads from lingang through a peer that a test may hold up."""
    made = Faults(shared.a.corridor)
    shared.a.house.connect(made)
    yield made
    shared.a.house.connect(shared.a.corridor)


async def published(shared, minilm: Path, into: Path, *, signed: bool = True) -> str:
    """The weights as the laboratory publishes them, with its own word on where they come from, or with none."""
    model_id = next_id("minilm")
    document = publication(model_id, title="all-MiniLM-L6-v2")
    await shared.lab()  # enrolled, with a signing key
    if signed:
        profile = shared.corridor.zone(LINGANG).profile("lab")
        document["provenance"] = own_provenance(profile, minilm, model_id, into, base=BASE)
    # The statements lie beside the manifest: in a directory of the test's own, where the weights are a link.
    (into / model_id).symlink_to(minilm)
    return (await (await shared.lab()).publish_model(into / model_id, document)).name


def files_of(directory: Path) -> set[str]:
    """The files of a model; a publication passes over the files of a version control system."""
    found = {path.relative_to(directory).as_posix() for path in directory.rglob("*") if path.is_file()}
    return found - {".gitattributes"}


def assert_same_bytes(source: Path, target: Path) -> None:
    names = files_of(source)
    assert files_of(target) - OWN_FILES == names
    assert len(names) == 12
    same, different, unread = filecmp.cmpfiles(source, target, names, shallow=False)
    assert (set(same), different, unread) == (names, [], [])


async def of_transfers(gateway, resource: str):
    """The entries that say that something of a resource moved, or may move."""
    kinds = {"agreement", "transfer.started", "transfer.completed"}
    return [e for e in await entries(gateway) if e["kind"] in kinds and resource in str(e["body"])]


async def test_without_provenance_they_are_held_for_a_person_and_nothing_crosses(shared, minilm, tmp_path):
    name = await published(shared, minilm, tmp_path, signed=False)
    um = await shared.um()
    shown = await um.model(name)
    assert shown.lineage()["provenance"] == "missing"
    with pytest.raises(ReviewError) as held:
        await um.request(name, purpose="research")
    assert {finding[0] for finding in held.value.findings} == {"TDZ-PROVENANCE"}
    request = await um.show_request(held.value.request_id)
    assert (request.state, request.effect, request.agreement) == ("REQUESTED", "review", "")
    assert request.held_by.endswith("/admin")
    with pytest.raises(NotFoundError, match="no agreement in force"):
        await um.pull(name)
    for gateway in (shared.a, shared.b):
        assert await of_transfers(gateway, name) == []
    here = shared.a.house
    assert not await here.chunks.run(lambda: here.versions.has(shown.version))
    assert not list(shared.a.settings.layout.chunks.glob("*/*")), "not one chunk is in the other zone"


async def test_with_its_publishers_word_they_cross_byte_for_byte(shared, minilm, tmp_path):
    name = await published(shared, minilm, tmp_path)
    um = await shared.um()
    shown = await um.model(name)
    facts = shown.lineage()
    assert (facts["provenance"], facts["base"]["id"]) == ("verified", BASE.id)
    assert facts["training"]["data"] == [TRAINED_ON]
    assert {each.name for each in shown.files} == files_of(minilm)
    pull = await (await um.request(name, purpose="research")).pull()
    target = await pull.to_directory(tmp_path / "pulled")
    assert_same_bytes(minilm, target)
    verified = verify_directory(target, ca=shared.corridor.zone(LINGANG).layout.ca)
    assert (verified.artifact, verified.signer, verified.files) == (shown.artifact, "tdz://lingang/partner/lab", 12)
    written = [(tmp_path / f"statement-{number}.json").read_text() for number in range(2)]
    assert [(target / f"provenance-{number}.intoto.json").read_text() for number in (1, 2)] == written
    for gateway in (shared.a, shared.b):
        done = await recorded(gateway, of_subject(f"transfers/{pull.transfer}", "transfer.completed"))
        assert done["body"]["version"] == shown.version


async def test_a_pull_that_its_partner_cuts_in_the_middle_is_taken_up_and_nothing_crosses_twice(
    shared, faults, minilm, tmp_path
):
    access = await (await shared.um()).request(await published(shared, minilm, tmp_path), purpose="research")
    half, go_on, crossed = asyncio.Event(), asyncio.Event(), []

    async def held_in_the_middle(frames):
        async for frame in frames:
            if frame.header and frame.body:
                if len(crossed) == 50:
                    await go_on.wait()
                crossed.append(ChunkMark.decode(frame.metadata).index)
            yield frame

    faults.frames = held_in_the_middle
    first = await access.pull(progress=lambda step: half.set() if step.chunks == 40 else None)
    assert first.chunks > 90
    reading = asyncio.create_task(first.to_directory(tmp_path / "pulled"))
    await asyncio.wait_for(half.wait(), 30)
    reading.cancel()
    with pytest.raises(asyncio.CancelledError):
        await reading
    await eventually(lambda: asyncio.sleep(0, not list(tmp_path.glob(".pulled*"))))
    assert not (tmp_path / "pulled").exists()
    assert (await (await shared.um()).transfer(first.transfer)).state == "STARTED"

    second = await access.pull()
    assert second.transfer == first.transfer
    again = asyncio.create_task(second.to_directory(tmp_path / "pulled"))
    go_on.set()
    assert_same_bytes(minilm, await again)
    assert faults.reads == [0]
    assert crossed == list(range(first.chunks)), "the gateway went on landing: no chunk was asked for again"
    for gateway in (shared.a, shared.b):
        await recorded(gateway, of_subject(f"transfers/{first.transfer}", "transfer.completed"))
        started = [e for e in await entries(gateway) if of_subject(f"transfers/{first.transfer}")(e)]
        assert [e["kind"] for e in started].count("transfer.started") == 1
