"""A gateway dies at each step of an activation; what is in force after its start is what its ledger says."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import itertools
import os
import shutil
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.demo.corridor import ADMIN
from gateway.errors import PeerUnavailableError
from gateway.sdk.admin import AsyncAdmin, PolicyStanding, PolicyStatus
from gateway.sdk.session import Session
from tests.faults.exchange.stage import Gate, Stage, eventually, insist, stage
from tests.unit.decisions.bundles import material

pytestmark = pytest.mark.faults

SECOND = "ops-2"
POINTS = [
    ("policy keep_bundle", 1, "after"),
    ("policy keep_record", 1, "before"),  # of the first administrator's approval
    ("append approval", 1, "after"),
    ("policy keep_policy", 1, "before"),
    ("policy keep_record", 2, "after"),
    ("append policy.activated", 1, "before"),
    ("append policy.activated", 1, "after"),
    ("policy switch", 1, "before"),
]
if os.environ.get("TDZ_FAULTS") == "all":
    POINTS = sorted({(label, occurrence, when) for label, occurrence, _ in POINTS for when in ("before", "after")})


@contextlib.asynccontextmanager
async def admin(gate: Gate, who: str) -> AsyncIterator[AsyncAdmin]:
    connected = AsyncAdmin(Session.open(gate.zone.profile(who)))
    try:
        yield connected
    finally:
        await connected.close()


async def propose(gate: Gate, data: bytes, who: str) -> PolicyStanding:
    async with admin(gate, who) as caller:
        found: PolicyStanding = await insist(lambda: caller.propose_policy(data))
        return found


async def status(gate: Gate) -> PolicyStatus:
    async with admin(gate, ADMIN) as caller:
        return await caller.policy_status()


async def activate(gate: Gate, data: bytes) -> PolicyStanding:
    await propose(gate, data, ADMIN)
    return await propose(gate, data, SECOND)


def activated(gate: Gate) -> list[Any]:
    """The digests of the bundles that the ledger says were activated, in order."""
    return [e["body"]["bundle"] for e in gate.entries() if e["kind"] == "policy.activated"]


def in_force(found: PolicyStatus) -> str:
    return next((part.digest for part in found.parts if part.part == "zone"), "")


async def comes_back(gate: Gate, revived: asyncio.Event) -> PolicyStatus:
    """Start it once it has died; what is in force before anybody asks again."""
    await gate.ended()
    await gate.start()
    found = await status(gate)
    said = activated(gate)
    assert in_force(found) == (said[-1] if said else "")
    assert not found.withheld
    revived.set()
    return found


@pytest.fixture
async def zone(tmp_path: Path) -> AsyncIterator[Stage]:
    async with stage(tmp_path) as made:
        material.trust(made.b.layout.policy_trust)
        yield made


async def test_killed_at_any_step_it_comes_back_with_the_policy_that_its_ledger_names(zone: Stage) -> None:
    gate = zone.b
    revisions = itertools.count(1)
    for label, occurrence, when in POINTS:
        data = material.forbidding("lingang", next(revisions), "public_health")
        await gate.arm(label=label, occurrence=occurrence, when=when)
        revived = asyncio.Event()
        back = asyncio.create_task(comes_back(gate, revived))
        try:
            standing = await activate(gate, data)
            await back
        except BaseException as error:
            back.cancel()
            raise AssertionError(f"{when} {label} {occurrence}: {error!r}\n{gate.last_words()}") from error
        assert standing.active, (label, occurrence, when)
        found = await status(gate)
        assert in_force(found) == hashlib.sha256(data).hexdigest()
        assert found.policy_digest == standing.policy_digest
        assert activated(gate).count(in_force(found)) == 1  # whoever asks again doubles nothing
        assert not found.proposals


async def test_an_older_bundle_is_refused_after_a_restart_too(zone: Stage) -> None:
    gate = zone.b
    old, new = material.zone_bundle("lingang", 1), material.forbidding("lingang", 2)
    await activate(gate, old)
    await activate(gate, new)
    await gate.kill()
    await gate.start()
    with pytest.raises(Exception, match="not newer than 2"):
        await propose(gate, old, ADMIN)
    assert in_force(await status(gate)) == hashlib.sha256(new).hexdigest()


async def test_a_state_database_from_a_backup_hears_from_the_ledger_what_was_activated_since(zone: Stage) -> None:
    gate = zone.b
    await activate(gate, material.zone_bundle("lingang", 1))
    await gate.stop()
    backup = gate.layout.root / "backup"
    shutil.copytree(gate.layout.state.parent, backup)
    await gate.start()
    new = material.forbidding("lingang", 2)
    digest = (await activate(gate, new)).policy_digest
    await gate.stop()
    shutil.rmtree(gate.layout.state.parent)
    shutil.copytree(backup, gate.layout.state.parent)
    await gate.start()
    found = await status(gate)
    assert (in_force(found), found.policy_digest) == (hashlib.sha256(new).hexdigest(), digest)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_killed_while_a_bundle_is_taken_back_it_comes_back_with_what_its_ledger_says(
    zone: Stage, when: str
) -> None:
    gate = zone.b
    data = material.forbidding("lingang", 1, "public_health")
    digest = hashlib.sha256(data).hexdigest()
    await propose(gate, data, ADMIN)
    await gate.arm(label="append policy.withdrawn", occurrence=1, when=when)
    async with admin(gate, SECOND) as caller:
        with pytest.raises(PeerUnavailableError):
            await caller.withdraw_policy(digest)
    await gate.ended()
    await gate.start()
    withdrawn = any(entry["kind"] == "policy.withdrawn" for entry in gate.entries())
    found = await status(gate)
    waits, taken = [p.bundle.digest for p in found.proposals], [w.bundle.digest for w in found.withdrawals]
    assert (waits, taken) == (([], [digest]) if withdrawn else ([digest], []))
    standing = await propose(gate, data, SECOND)
    assert standing.active is not withdrawn


async def test_a_state_database_from_a_backup_hears_from_the_ledger_what_was_taken_back_since(zone: Stage) -> None:
    gate = zone.a
    material.trust(gate.layout.policy_trust)
    bundles = [material.forbidding("cyberjaya", 1), material.advisory(1)]  # the entry names the one, not the other
    for data in bundles:
        await propose(gate, data, ADMIN)
    await gate.stop()
    backup = gate.layout.root / "backup"
    shutil.copytree(gate.layout.state.parent, backup)
    await gate.start()
    for data in bundles:
        async with admin(gate, ADMIN) as caller:
            await caller.withdraw_policy(hashlib.sha256(data).hexdigest())
    await gate.stop()
    shutil.rmtree(gate.layout.state.parent)
    shutil.copytree(backup, gate.layout.state.parent)
    await gate.start()
    assert not (await status(gate)).proposals
    for data in bundles:
        assert not (await propose(gate, data, SECOND)).active


async def test_a_lost_policy_folder_denies_everything_until_its_parts_are_activated_again(zone: Stage) -> None:
    gate = zone.b
    name, _ = await zone.offered(chunks=1)
    data = material.forbidding("lingang", 1, "public_health")
    await activate(gate, data)
    await gate.stop()
    shutil.rmtree(gate.layout.policy)
    material.trust(gate.layout.policy_trust)
    await gate.start()
    found = await status(gate)
    assert "zone (entry" in found.withheld
    with pytest.raises(Exception, match="TDZ-DECISION-UNAVAILABLE"):
        await zone.um.request(name, purpose="research")
    again = await activate(gate, data)
    assert again.active
    found = await status(gate)
    assert not found.withheld
    assert found.policy_digest == again.policy_digest

    async def serves() -> bool:
        try:
            return bool((await zone.um.request(name, purpose="research")).agreement)
        except PeerUnavailableError:
            return False

    await eventually(serves, "it decides again")
    await gate.kill()
    await gate.start()
    assert not (await status(gate)).withheld
