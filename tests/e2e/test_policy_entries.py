"""Who must cosign a zone's ledger stands on it, whenever that changes; across crashes it is said once."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from gateway.journal import policy_entry
from ledger.note import CosignatureSigner
from ledger.policy import TrustPolicy
from ledger.policy_edit import EMPTY_POLICY, add_witness, remove_witness
from ledger.verify import verify_directory
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import Small, entries, eventually, small_corridor

pytestmark = pytest.mark.e2e


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Small]:
    async with small_corridor(tmp_path / "small") as made:
        yield made


async def _said(scene: Small, zone: str = CYBERJAYA) -> list[dict[str, Any]]:
    return [each for each in await entries(scene.gateways[zone]) if each["kind"] == policy_entry.KIND]


async def _last_is_in_force(scene: Small) -> dict[str, Any]:
    """The last entry, as soon as it says what `policy.tlog` says."""

    async def look() -> Any:
        text = (scene.corridor.zone(CYBERJAYA).layout.ledger / "policy.tlog").read_text()
        said = await _said(scene)
        return said and said[-1] if said and said[-1]["body"]["policy"] == policy_entry.cosigning_part(text) else None

    entry: dict[str, Any] = await eventually(look)
    return entry


async def test_each_change_of_who_must_cosign_is_an_entry_and_a_restart_says_nothing_twice(scene: Small) -> None:
    layout = scene.corridor.zone(CYBERJAYA).layout
    paired = await _last_is_in_force(scene)
    assert "lingang-mirror" in paired["body"]["policy"]
    assert hashlib.sha256(paired["body"]["policy"].encode()).hexdigest() == paired["body"]["digest"]
    assert TrustPolicy(paired["body"]["policy"]).needs("lingang-mirror")
    count = len(await _said(scene))
    # A witness of the zone's own policy, through the file that `tdz zone witness` writes.
    witness = CosignatureSigner("witness.example/w", Ed25519PrivateKey.generate())
    text = add_witness(EMPTY_POLICY, "ministry", witness.vkey, "https://127.0.0.1:9/")
    layout.witness_policy.write_text(text)

    async def further() -> bool:
        return len(await _said(scene)) == count + 1

    await eventually(further)
    added = await _last_is_in_force(scene)
    assert witness.vkey in added["body"]["policy"]
    # A key's rotation changes the file, not who must cosign.
    async with scene.admin(CYBERJAYA) as admin:
        rotated = await admin.rotate_ledger_key()
    assert rotated.vkey in (layout.ledger / "policy.tlog").read_text()
    for _ in range(2):
        await scene.stop(CYBERJAYA)
        await scene.start(CYBERJAYA)
        await scene.a.house.journal.record_policy()
    assert len(await _said(scene)) == count + 1
    layout.witness_policy.write_text(remove_witness(text, "ministry"))
    count += 1
    await eventually(further)
    assert (await _last_is_in_force(scene))["body"] == paired["body"]
    # An unpaired zone's mirror need not cosign any more.
    count += 1
    async with scene.admin(CYBERJAYA) as admin:
        await admin.unpair(LINGANG)
    await eventually(further)
    assert (await _last_is_in_force(scene))["body"]["policy"] == "quorum none\n"
    await scene.stop(CYBERJAYA)
    assert verify_directory(layout.ledger).findings == []


async def test_what_was_in_force_and_not_said_before_a_crash_is_said_by_the_next_start(scene: Small) -> None:
    await _last_is_in_force(scene)
    layout = scene.corridor.zone(CYBERJAYA).layout
    size = len(await entries(scene.a))
    await scene.stop(CYBERJAYA)
    # As a crash leaves it between the file and the entry: the file names an entry that is not there.
    file = layout.ledger / "policy.tlog"
    before = policy_entry.of(file.read_text())
    assert before is not None
    entry_id = before[0][:-4] + ("0000" if before[0][-4:] != "0000" else "1111")
    file.write_text(file.read_text().replace(before[0], entry_id))
    await scene.start(CYBERJAYA)

    async def said() -> bool:
        return any(each["id"] == entry_id for each in await _said(scene))

    await eventually(said)
    assert [each["id"] for each in (await entries(scene.a))[size:] if each["kind"] == policy_entry.KIND] == [entry_id]


def test_a_policy_too_long_for_an_entry_is_named_by_its_digest() -> None:
    keys = [CosignatureSigner(f"w{n}", Ed25519PrivateKey.generate()).vkey for n in range(30)]
    text = "".join(f"witness {'n' * 600}{n} {key} https://w{n}.example/\n" for n, key in enumerate(keys))
    text = f"log x\n# a person's own words\n{text}quorum none\n"
    assert policy_entry.of(text) is None
    found = policy_entry.of(policy_entry.announced(text, "01a216af-5817-71b5-bfcd-94860993914f"))
    assert found is not None
    assert found[0] == "01a216af-5817-71b5-bfcd-94860993914f"
    assert found[1]["policy"] is None
    assert len(str(found[1]["digest"])) == 64
    assert "own words" not in policy_entry.cosigning_part(text)
