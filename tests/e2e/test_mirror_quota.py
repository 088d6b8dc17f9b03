"""A mirror without room for more: nothing is opened between the two zones, what closes goes on, and room mends it."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import pytest

from gateway.config import load_settings, write_settings
from gateway.errors import ConfigError, DeniedError, MirrorFullError
from gateway.model.ids import uuid7
from gateway.sdk.admin import Reason
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import QUICK, Small, entries, eventually, small_corridor

pytestmark = pytest.mark.e2e
QUOTA = 128 * 1024
TIMING = replace(QUICK, mirror=2.0)


def _quota(made: Small, zone: str, size: int) -> None:
    root = made.corridor.zone(zone).layout.root
    settings = load_settings(root)
    write_settings(replace(settings, ledger=replace(settings.ledger, mirror_bytes=size)))
    assert load_settings(root).ledger.mirror_bytes == size


async def _fill(made: Small) -> None:
    """Let cyberjaya's ledger grow past what lingang may mirror."""
    journal = made.a.house.journal
    for _ in range(4):
        await journal.record("approval", "keys/0", {"text": "x" * 50_000}, entry_id=uuid7())


async def test_a_full_mirror_stops_what_opens_and_not_what_closes_until_there_is_room(tmp_path: Path) -> None:
    async with small_corridor(tmp_path, TIMING, lambda made: _quota(made, LINGANG, QUOTA)) as scene:
        um = await scene.um()
        mine, theirs = await scene.offered(), await scene.offered()
        access = await um.request(mine, purpose="research")
        await (await access.pull()).to_arrow()
        for zone in (CYBERJAYA, LINGANG):
            await scene.enrol(zone, "leaving")
        await _fill(scene)
        journals = scene.a.house.journal, scene.b.house.journal

        async def known_to_both() -> bool:
            found = []
            for journal, zone in zip(journals, (LINGANG, CYBERJAYA), strict=True):
                try:
                    journal.require_open(zone)
                except MirrorFullError as error:
                    found.append(error)
            return len(found) == 2 and all("quota of 131072 bytes" in error.message for error in found)

        await eventually(known_to_both)
        held = journals[1].mirror(CYBERJAYA).size
        # What opens is refused, with the reason, and both operators see why.
        with pytest.raises(DeniedError) as refused:
            await um.request(theirs, purpose="research")
        assert [finding[0] for finding in refused.value.findings] == ["TDZ-MIRROR-FULL"]
        with pytest.raises(MirrorFullError):
            await (await access.pull()).to_arrow()
        for zone in (CYBERJAYA, LINGANG):
            async with scene.admin(zone) as admin:
                (peer,) = (await admin.status()).peers
            assert "TDZ-MIRROR-FULL" in peer.detail
        # What closes goes on, in both zones.
        async with scene.admin(CYBERJAYA) as admin:
            await admin.revoke("tdz://cyberjaya/partner/leaving", Reason.CESSATION)
        async with scene.admin(LINGANG) as admin:
            await admin.revoke("tdz://lingang/partner/leaving", Reason.CESSATION)
        for gateway in (scene.a, scene.b):
            assert "identity.revoked" in [entry["kind"] for entry in await entries(gateway)]
        # lingang mirrors nothing more, cyberjaya goes on mirroring lingang.
        assert journals[1].mirror(CYBERJAYA).size == held
        size = journals[1].committed_size

        async def mirrored() -> bool:
            return journals[0].mirror(LINGANG).size >= size

        await eventually(mirrored)
        # Room mends it.
        _quota(scene, LINGANG, 64 * 1024 * 1024)
        await scene.stop(LINGANG)
        await scene.start(LINGANG)
        wanted = scene.a.house.journal.committed_size

        async def taken_up() -> bool:
            return scene.b.house.journal.mirror(CYBERJAYA).size >= wanted and not await shut()

        async def shut() -> bool:
            try:
                scene.a.house.journal.require_open(LINGANG)
            except MirrorFullError:
                return True
            return False

        await eventually(taken_up)
        await (await (await um.request(theirs, purpose="research")).pull()).to_arrow()


def test_a_quota_is_bounded(tmp_path: Path) -> None:
    from gateway.cli.demo.corridor import Corridor, ZoneSpec

    corridor = Corridor.make(tmp_path, (ZoneSpec("lingang", "CN"),))
    root = corridor.zone("lingang").layout.root
    text = (root / "gateway.toml").read_text()
    for wrong in ("0", "65535", "-1", '"64 GiB"', "9007199254740992", "true"):
        (root / "gateway.toml").write_text(f"{text}\n[ledger]\nmirror_bytes = {wrong}\n")
        with pytest.raises(ConfigError, match="mirror_bytes"):
            load_settings(root)
