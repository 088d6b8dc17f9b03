"""What administrators do to a running gateway's ledger: another key, erasures by two, the clock."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from gateway.config import load_settings
from gateway.errors import (
    ConflictError,
    InputError,
    LedgerError,
    NotFoundError,
    PermissionDeniedError,
)
from gateway.identity.card import read_card, require_successor
from gateway.model.ids import uuid7
from gateway.sdk.admin import AsyncAdmin
from gateway.sdk.session import Session
from ledger.cli.main import main as tdz_ledger
from ledger.keys import load_signers, old_key
from ledger.verify import verify_directory
from ledger.writer import LogWriter
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import ADMINS, Small, entries, eventually, recorded, small_corridor

pytestmark = pytest.mark.e2e


@pytest.fixture
async def scene(tmp_path: Path) -> AsyncIterator[Small]:
    async with small_corridor(tmp_path / "small") as made:
        await made.um()
        await made.lab()
        yield made


def _layout(scene: Small, zone: str) -> Any:
    return scene.corridor.zone(zone).layout


async def _followed(scene: Small, vkey: str) -> None:
    """lingang's mirror has taken cyberjaya's entry of a key."""

    async def there() -> bool:
        return scene.b.house.journal.mirror(CYBERJAYA).knows(vkey)

    await eventually(there)


async def test_another_key_signs_while_a_transfer_runs_and_the_other_zone_follows_and_admits_the_card(
    scene: Small,
) -> None:
    um, layout = await scene.um(), _layout(scene, CYBERJAYA)
    before = read_card(layout.card.read_bytes())
    access = await um.request(await scene.offered(chunks=6), purpose="research")
    pull = await access.pull()
    batches = pull.batches()
    await anext(batches)
    async with scene.admin(CYBERJAYA) as admin:
        rotated = await admin.rotate_ledger_key(note="the yearly change")
        after = read_card(rotated.card)
        require_successor(before, after)
        assert after.card.changed(before.card) == ("log",)
        assert after.fingerprint == rotated.fingerprint
        assert layout.card.read_bytes() == rotated.card == await admin.card()
        assert scene.a.house.journal.vkey == rotated.vkey == after.card.log
        assert (await admin.rotate_ledger_key(replaces=before.card.log)).vkey == rotated.vkey  # a repeat
        with pytest.raises(ConflictError, match="another key"):
            await admin.rotate_ledger_key(replaces=after.card.log.replace("2026", "2025"))
    await _followed(scene, rotated.vkey)
    client = scene.b.corridor.get(CYBERJAYA)
    async with scene.admin(LINGANG) as admin:
        paired = await admin.pair(rotated.card, rotated.fingerprint, confirm=True)
        assert (paired.outcome, paired.changed) == ("replaced", ("log",))

    async def admitted() -> bool:
        return scene.b.corridor.get(CYBERJAYA).card == after.card

    await eventually(admitted)
    assert scene.b.corridor.get(CYBERJAYA) is client  # nothing was cut
    async for _ in batches:
        pass
    kinds = [each["kind"] for each in await entries(scene.a) if each["subject"] == f"transfers/{pull.transfer}"]
    assert kinds.count("transfer.started") == 1
    assert "transfer.resumed" not in kinds
    # Who asked, and why, stands there: the key of a certificate and a commitment.
    approval = await recorded(scene.a, lambda each: each["body"].get("what") == "key.rotated")
    assert (approval["body"]["old"], approval["body"]["new"]) == (before.card.log, rotated.vkey)
    assert len(approval["body"]["note"]) == 64

    async def ended() -> bool:
        await scene.a.house.journal.record("approval", "log", {}, entry_id=uuid7())
        return scene.a.house.journal.finished

    await eventually(ended)
    old_key(layout.log_key).unlink()
    for zone in (CYBERJAYA, LINGANG):
        await scene.stop(zone)
    await asyncio.gather(*(scene.start(zone) for zone in (CYBERJAYA, LINGANG)))
    await (await (await um.request(await scene.offered(), purpose="research")).pull()).to_arrow()
    for vkey in (before.card.log, after.card.log):
        assert verify_directory(layout.ledger, vkey=vkey).findings == []


async def test_no_second_rotation_before_every_cosigner_has_seen_the_first(scene: Small) -> None:
    await scene.stop(LINGANG)
    async with scene.admin(CYBERJAYA) as admin:
        rotated = await admin.rotate_ledger_key()
        assert not rotated.finished
        size = scene.a.house.journal.committed_size
        with pytest.raises(ConflictError, match="last rotation is not finished"):
            await admin.rotate_ledger_key()
        assert scene.a.house.journal.committed_size == size  # not even its approval
        note = scene.a.house.journal.writer.committed.note.decode()
        assert note.count(f"— {scene.a.settings.origin} ") == 2  # both keys sign
        await scene.start(LINGANG)
        await _followed(scene, rotated.vkey)
        again = await eventually(lambda: _unless_conflict(admin))
        assert again.vkey != rotated.vkey


async def _unless_conflict(admin: AsyncAdmin) -> Any:
    try:
        return await admin.rotate_ledger_key()
    except ConflictError:
        return None


async def test_two_administrators_erase_a_note_and_the_ledger_still_verifies(scene: Small, tmp_path: Path) -> None:
    ledger = _layout(scene, CYBERJAYA).ledger
    second = AsyncAdmin(Session.open(scene.corridor.zone(CYBERJAYA).profile(ADMINS[1])))
    async with scene.admin(CYBERJAYA) as first:
        await first.rotate_ledger_key(note="asked for by Tan Mei Ling")
        noted = await recorded(scene.a, lambda each: each["body"].get("what") == "key.rotated")
        seq = noted["seq"]
        shown = tmp_path / "shown.json"
        assert await asyncio.to_thread(tdz_ledger, ["disclose", str(seq), "note", str(ledger), "-o", str(shown)]) == 0
        assert "asked for by Tan Mei Ling" in shown.read_text()
        # One administrator is not enough, however often; nothing is erased.
        for _ in range(2):
            asked = await first.erase_value(seq, "note", note="the person asked")
            assert (asked.erasure, asked.missing) == (None, 1)
            assert asked.expires_at > time.time()
        approvals = [each for each in await entries(scene.a) if each["body"].get("what") == "erasure"]
        assert [each["body"]["field"] for each in approvals] == ["/body/note"]
        # Another field of another entry is another act.
        other = await scene.a.house.journal.record(
            "approval", "log", {}, entry_id=uuid7(), values={"approver": "Tan Mei Ling"}
        )
        assert (await second.erase_value(other.seq, "approver")).missing == 1
        done = await second.erase_value(seq, "/body/note")
        assert done.erasure is not None
        erasure = await recorded(scene.a, lambda each: each["kind"] == "erasure")
        assert (erasure["seq"], erasure["body"]["seq"]) == (done.erasure, seq)
        with pytest.raises(NotFoundError, match="nothing is kept"):
            await first.erase_value(seq, "note")
        with pytest.raises(NotFoundError):
            await first.erase_value(10_000_000, "note")
        with pytest.raises(InputError):
            await first.erase_value(seq, "no\nfield")
        with pytest.raises(InputError):
            await first.erase_value(-1, "note")
        with pytest.raises(InputError, match="one line"):
            await first.erase_value(other.seq, "approver", note="x" * 501)
    await second.close()
    with pytest.raises(PermissionDeniedError):
        partner = AsyncAdmin(Session.open(scene.corridor.zone(CYBERJAYA).profile("um")))
        try:
            await partner.erase_value(seq, "note")
        finally:
            await partner.close()
    await scene.stop(CYBERJAYA)
    for file in ("vault.db", "vault.db-wal"):
        path = ledger / "state" / file
        assert not path.exists() or b"asked for by" not in path.read_bytes()
    assert b"Tan Mei Ling" not in b"".join(p.read_bytes() for p in (ledger / "tile").rglob("*") if p.is_file())
    assert verify_directory(ledger).findings == []


async def test_an_approval_counts_no_more_once_its_administrator_is_revoked(scene: Small) -> None:
    from gateway.sdk.admin import Reason

    second = AsyncAdmin(Session.open(scene.corridor.zone(CYBERJAYA).profile(ADMINS[1])))
    kept = await scene.a.house.journal.record("approval", "log", {}, entry_id=uuid7(), values={"note": "x"})
    assert (await second.erase_value(kept.seq, "note")).missing == 1
    async with scene.admin(CYBERJAYA) as first:
        await first.revoke("tdz://cyberjaya/admin/ops-2", Reason.CESSATION)
        assert (await first.erase_value(kept.seq, "note")).missing == 1
    await second.close()


async def test_a_committed_value_is_recorded_once_and_only_committed_to(scene: Small) -> None:
    journal, entry_id = scene.a.house.journal, uuid7()
    made = [
        await journal.record("approval", "log", {"n": 1}, entry_id=entry_id, values={"who": "Wan"}) for _ in range(2)
    ]
    assert made[0] == made[1]
    with pytest.raises(LedgerError, match="other values"):
        await journal.record("approval", "log", {"n": 1}, entry_id=entry_id, values={"who": "Tan"})
    with pytest.raises(LedgerError):
        await journal.record("approval", "log", {"who": "x"}, entry_id=uuid7(), values={"who": "Tan"})
    (entry,) = [each for each in await entries(scene.a) if each["id"] == entry_id]
    assert len(entry["body"]["who"]) == 64
    entry, pointer = await journal.kept(made[0].seq, "who")
    assert (entry.id, pointer) == (entry_id, "/body/who")


async def test_a_last_entry_from_the_future_stops_the_ledger_until_the_clock_is_accepted(scene: Small) -> None:
    settings = load_settings(_layout(scene, CYBERJAYA).root)
    async with scene.admin(CYBERJAYA) as admin:
        with pytest.raises(ConflictError, match="nothing to accept"):
            await admin.accept_clock()
    await scene.stop(CYBERJAYA)
    signer, *others = load_signers(settings.layout.log_key, settings.origin)
    hour = 3_600 * 10**9
    writer = await LogWriter.open(settings.layout.ledger, signer, others=others, clock=lambda: time.time_ns() + hour)
    await writer.append(id=uuid7(), kind="approval", subject="log", body={})
    await writer.close()
    await scene.start(CYBERJAYA)
    with pytest.raises(LedgerError, match="behind the last entry"):
        await scene.a.house.journal.record("approval", "log", {}, entry_id=uuid7())
    async with scene.admin(CYBERJAYA) as admin:
        seq = await admin.accept_clock(note="the machine's clock had run ahead")
    corrected = await recorded(scene.a, lambda each: each["kind"] == "clock.corrected")
    assert corrected["seq"] == seq
    asked = await recorded(scene.a, lambda each: each["body"].get("what") == "clock.corrected")
    assert asked["body"]["seq"] == seq
    await (await (await (await scene.um()).request(await scene.offered(), purpose="research")).pull()).to_arrow()
