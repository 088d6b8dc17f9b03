"""Ledgers that were put back, forked or lost, over real gateways: who notices, what stops, and what mends it."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from collections.abc import AsyncIterator, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from gateway.cli.recovery import recover_zone
from gateway.config import load_settings, write_settings
from gateway.errors import (
    DeniedError,
    ForkError,
    LedgerError,
    PeerUnavailableError,
    RolledBackError,
    TdzError,
    UncosignedError,
)
from gateway.identity.card import read_card
from gateway.journal.heads import KIND, Heads
from gateway.sdk.admin import Reason
from ledger.cli.main import main as tdz_ledger
from ledger.verify import verify_directory
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import QUICK, Small, entries, eventually, recorded, small_corridor

STARTING = replace(QUICK, start=1.5, mirror=1.0, rpc=4.0)


@pytest.fixture
def memory() -> Iterator[Path]:
    """Where this test's machine remembers checkpoints."""
    if not Path("/dev/shm").is_dir():
        pytest.skip("there is no /dev/shm")
    with tempfile.TemporaryDirectory(dir="/dev/shm") as folder:
        yield Path(folder)


@pytest.fixture
async def scene(tmp_path: Path, memory: Path) -> AsyncIterator[Small]:
    """A corridor whose gateways keep their markers in folders of their own."""

    def remember(made: Small) -> None:
        for zone in (CYBERJAYA, LINGANG):
            _set(made, zone, memory=str(memory / zone))

    async with small_corridor(tmp_path / "small", STARTING, remember) as made:
        await made.um()
        await made.lab()
        yield made


def _set(made: Small, zone: str, **ledger: Any) -> None:
    root = made.corridor.zone(zone).layout.root
    settings = load_settings(root)
    write_settings(replace(settings, ledger=replace(settings.ledger, **ledger)))


async def _again(made: Small, zone: str) -> None:
    await made.stop(zone)
    await made.start(zone)


def _forget(memory: Path) -> None:
    """As a reboot does."""
    for folder in memory.iterdir():
        shutil.rmtree(folder)


async def _ready(made: Small, *zones: str) -> None:
    for zone in zones or (CYBERJAYA, LINGANG):
        await asyncio.wait_for(asyncio.shield(made.gateways[zone].starting), 20)


async def _all_mirrored(made: Small) -> None:
    """Both hold all of each other."""

    async def there() -> bool:
        a, b = made.a.house.journal, made.b.house.journal
        await asyncio.gather(a.wait_held(LINGANG, a.committed_size, 10), b.wait_held(CYBERJAYA, b.committed_size, 10))
        return a.gate.held(LINGANG) == a.committed_size and b.gate.held(CYBERJAYA) == b.committed_size

    await eventually(there)


async def _pulled(made: Small) -> int:
    """One whole exchange; its rows."""
    access = await (await made.um()).request(await made.offered(), purpose="research")
    return int((await (await access.pull()).to_arrow()).num_rows)


async def _insist(made: Small) -> int:
    """The same as soon as both gateways know each other again."""

    async def there() -> int:
        with contextlib.suppress(PeerUnavailableError, DeniedError, UncosignedError):
            return await _pulled(made)
        return 0

    return int(await eventually(there, every=0.2))


def _ledger(made: Small, zone: str) -> Path:
    return made.corridor.zone(zone).layout.ledger


# --- the question ---------------------------------------------------------------------------------------------


async def test_after_a_reboot_a_gateway_records_nothing_before_the_other_said_what_it_holds(
    scene: Small, memory: Path
) -> None:
    offered = await scene.offered()
    await _all_mirrored(scene)
    before = scene.a.house.journal.committed_size
    for zone in (CYBERJAYA, LINGANG):
        await scene.stop(zone)
    _forget(memory)
    await scene.start(CYBERJAYA)
    assert not scene.a.starting.done()
    um = await scene.um()
    with pytest.raises(PeerUnavailableError, match="asks lingang what they hold"):
        await um.request(offered, purpose="research")
    async with scene.admin(CYBERJAYA) as admin:  # who watches is answered
        assert (await admin.status()).ledger_size == before
        with pytest.raises(TdzError):
            await admin.put_participant("um", {"id": ""}, {"id": ""})
    assert scene.a.house.journal.committed_size == before
    # Both ask now, and each answers before it has its own answer.
    await scene.start(LINGANG)
    await _ready(scene)
    assert await _pulled(scene) > 0


async def test_a_restart_within_one_boot_asks_nobody(scene: Small) -> None:
    await _all_mirrored(scene)
    await scene.stop(LINGANG)
    await _again(scene, CYBERJAYA)
    assert scene.a.starting.done()
    assert scene.a.house.journal.asked
    await scene.enrol(CYBERJAYA, "late")
    await scene.start(LINGANG)
    assert await _insist(scene) > 0


async def test_a_revocation_takes_effect_while_nobody_answers_and_is_recorded_later(scene: Small, memory: Path) -> None:
    await _all_mirrored(scene)
    await scene.enrol(CYBERJAYA, "gone")
    for zone in (CYBERJAYA, LINGANG):
        await scene.stop(zone)
    _forget(memory)
    await scene.start(CYBERJAYA)
    async with scene.admin(CYBERJAYA) as admin:
        with pytest.raises(LedgerError):  # in force, and not on the ledger yet
            await admin.revoke("tdz://cyberjaya/partner/gone", Reason.KEY_COMPROMISE)
    assert [kind for kind in await _kinds(scene, CYBERJAYA) if kind == "identity.revoked"] == []
    serials = {serial for _, serial in scene.a.registry._revoked}
    assert serials
    await scene.start(LINGANG)
    await _ready(scene)
    assert "identity.revoked" in await _kinds(scene, CYBERJAYA)


async def _kinds(made: Small, zone: str) -> list[str]:
    return [entry["kind"] for entry in await entries(made.gateways[zone])]


# --- a rollback ----------------------------------------------------------------------------------------------


async def test_a_restored_backup_refuses_to_sign_and_the_peers_mirror_brings_the_log_back(
    scene: Small, memory: Path, tmp_path: Path
) -> None:
    await _all_mirrored(scene)
    ledger = _ledger(scene, LINGANG)
    await scene.stop(LINGANG)
    shutil.copytree(ledger, tmp_path / "backup")
    await scene.start(LINGANG)
    assert await _pulled(scene) > 0
    await recorded(scene.b, lambda each: each["kind"] == "transfer.completed")
    await _all_mirrored(scene)
    want = await entries(scene.b)
    await scene.stop(LINGANG)
    shutil.rmtree(ledger)
    shutil.copytree(tmp_path / "backup", ledger)
    # This machine remembers; and when it does not, the peer does.
    with pytest.raises(RolledBackError, match="memory"):
        await scene.start(LINGANG)
    shutil.rmtree(memory / LINGANG)
    with pytest.raises(RolledBackError, match="the gateway of cyberjaya holds our checkpoint of size"):
        await scene.start_until_ready(LINGANG)
    root = scene.corridor.zone(LINGANG).layout.root
    with pytest.raises(LedgerError, match="is there already"):
        await asyncio.to_thread(_recover, root)
    shutil.move(ledger, tmp_path / "old")
    made = await asyncio.to_thread(recover_zone, root)
    assert (made.rebuilt.size, made.rebuilt.lost, made.rebuilt.predecessor) == (len(want), None, "")
    await _admit(scene, CYBERJAYA, LINGANG)
    await scene.start(LINGANG)
    assert await _insist(scene) > 0
    await _all_mirrored(scene)
    assert (await entries(scene.b))[: len(want)] == want
    assert not (_ledger(scene, CYBERJAYA) / "evidence").exists()
    report = verify_directory(ledger)
    assert report.findings == []


def _recover(root: Path) -> None:
    try:
        recover_zone(root)
    except TdzError as error:
        raise LedgerError(str(error)) from error


async def _admit(made: Small, at: str, of: str) -> None:
    """The administrator of a zone admits another's newest card."""
    card = read_card(made.corridor.zone(of).layout.card.read_bytes())
    async with made.admin(at) as admin:
        await admin.pair(card.data, card.fingerprint, confirm=True)


async def test_entries_that_nobody_has_end_the_origin_and_a_new_one_names_it(
    scene: Small, memory: Path, tmp_path: Path
) -> None:
    await _all_mirrored(scene)
    mirrored = scene.b.house.journal.committed_size
    origin = scene.b.house.journal.writer.origin
    await scene.stop(CYBERJAYA)
    await scene.enrol(LINGANG, "unseen")  # the peer is away: only this machine knows that it was signed
    signed = scene.b.house.journal.committed_size
    await scene.stop(LINGANG)
    await scene.start(CYBERJAYA)
    ledger, root = _ledger(scene, LINGANG), scene.corridor.zone(LINGANG).layout.root
    shutil.move(ledger, tmp_path / "lost")
    with pytest.raises(LedgerError, match=f"entries {mirrored} to {signed - 1} were signed and are gone"):
        await asyncio.to_thread(recover_zone, root)
    assert not ledger.exists()
    made = await asyncio.to_thread(lambda: recover_zone(root, new_origin=True))
    assert made.rebuilt.lost == (mirrored, signed - 1)
    assert made.rebuilt.predecessor == origin
    await _admit(scene, CYBERJAYA, LINGANG)
    await scene.start(LINGANG)
    assert await _insist(scene) > 0
    (opened, *_) = await entries(scene.b)
    assert opened["body"]["origin"] == made.rebuilt.origin != origin
    assert opened["body"]["predecessor"]["origin"] == origin
    assert opened["body"]["predecessor"]["lost"] == {"first": mirrored, "last": signed - 1}
    frozen = [path for path in (ledger / "mirror").iterdir() if verify_directory(path).origin == origin]
    assert [verify_directory(path).size for path in frozen] == [mirrored]


# --- a fork --------------------------------------------------------------------------------------------------


async def test_a_fork_is_found_within_one_exchange_its_evidence_kept_and_only_what_closes_goes_on(
    scene: Small, memory: Path, tmp_path: Path
) -> None:
    root = scene.corridor.zone(LINGANG).layout.root
    access = await (await scene.um()).request(await scene.offered(), purpose="research")
    other = await scene.offered()
    await _all_mirrored(scene)
    common = scene.b.house.journal.committed_size
    for zone in (CYBERJAYA, LINGANG):
        await scene.stop(zone)
    # Two copies of one zone, each with a memory of its own, as two machines would have.
    shutil.copytree(root, tmp_path / "copy")
    shutil.copytree(memory / LINGANG, memory / "other")
    (memory / "other").chmod(0o700)
    for name in ("first", "second"):
        if name == "second":
            shutil.move(root, tmp_path / "first")
            shutil.move(tmp_path / "copy", root)
            _set(scene, LINGANG, memory=str(memory / "other"))
        await scene.start(LINGANG)
        await scene.enrol(LINGANG, name)
        await scene.stop(LINGANG)
    shutil.move(root, tmp_path / "second")
    shutil.move(tmp_path / "first", root)
    await scene.start(CYBERJAYA)
    await scene.start(LINGANG)
    await _all_mirrored(scene)
    await scene.stop(LINGANG)
    shutil.move(root, tmp_path / "first")
    shutil.move(tmp_path / "second", root)
    held = scene.a.house.journal.mirror(LINGANG).size
    assert held == common + 2  # two certificates
    await scene.start(LINGANG)

    entry = await recorded(scene.a, lambda each: each["kind"] == "fork.detected")
    assert entry["subject"] == f"zones/{LINGANG}"
    assert entry["body"]["evidence"]["second"]
    (evidence,) = (_ledger(scene, CYBERJAYA) / "evidence").iterdir()
    key = read_card((root / "card.json").read_bytes()).card.log
    assert tdz_ledger(["verify", str(evidence), "--vkey", key]) == 0
    for attempt in range(2):
        # What opens stops, on both sides, with a reason.
        with pytest.raises(DeniedError) as refused:
            await (await scene.um()).request(other, purpose="research", request_id=f"after-{attempt}")
        assert [finding[0] for finding in refused.value.findings] == ["TDZ-FORK"]
        with pytest.raises(TdzError, match=r"frozen|signed"):
            await (await access.pull()).to_arrow()
        with pytest.raises(ForkError):
            scene.a.house.journal.require_open(LINGANG)
        with pytest.raises((ForkError, RolledBackError)):
            scene.b.house.journal.require_open(CYBERJAYA)
        # What closes goes on.
        await scene.enrol(CYBERJAYA, f"short-{attempt}")
        async with scene.admin(CYBERJAYA) as admin:
            await admin.revoke(f"tdz://cyberjaya/partner/short-{attempt}", Reason.CESSATION)
        # And it is so after a restart too, recorded once.
        await _again(scene, CYBERJAYA)
    assert (await _kinds(scene, CYBERJAYA)).count("fork.detected") == 1
    assert scene.a.house.journal.mirror(LINGANG).size == held
    async with scene.admin(CYBERJAYA) as admin:
        (peer,) = (await admin.status()).peers
    assert "TDZ-FORK" in peer.detail


# --- bounds --------------------------------------------------------------------------------------------------


async def test_past_the_bounds_nothing_is_opened_until_the_peer_cosigns_again(scene: Small) -> None:
    await _all_mirrored(scene)
    offered = await scene.offered()
    await _all_mirrored(scene)
    _set(scene, CYBERJAYA, uncosigned_entries=4)
    await scene.stop(LINGANG)
    await _again(scene, CYBERJAYA)
    await scene.enrol(CYBERJAYA, "one")  # two certificates
    um = await scene.um()
    with pytest.raises(DeniedError):  # the peer is away
        await um.request(offered, purpose="research")
    with pytest.raises(TdzError):
        for number in range(4):
            await scene.enrol(CYBERJAYA, f"more-{number}")
    size = scene.a.house.journal.committed_size
    with pytest.raises(UncosignedError, match="not cosigned") as refused:
        await um.request(offered, purpose="research")
    assert "start the paired zone's gateway" in refused.value.remedy
    assert scene.a.house.journal.committed_size == size
    async with scene.admin(CYBERJAYA) as admin:  # what closes goes on
        await admin.revoke("tdz://cyberjaya/partner/one", Reason.CESSATION)
    assert scene.a.house.journal.committed_size > size
    await scene.start(LINGANG)
    assert await _insist(scene) > 0


async def test_what_is_not_cosigned_for_too_long_stops_what_opens(scene: Small) -> None:
    await _all_mirrored(scene)
    _set(scene, CYBERJAYA, uncosigned_s=1)
    await scene.stop(LINGANG)
    await _again(scene, CYBERJAYA)

    async def full() -> bool:
        with contextlib.suppress(TdzError, FileExistsError):
            await scene.enrol(CYBERJAYA, "one")
        return scene.a.house.journal.full() is not None

    await eventually(full, every=0.2)
    with pytest.raises(UncosignedError):
        await (await scene.um()).request("datasets/none", purpose="research")
    await scene.start(LINGANG)
    assert await _insist(scene) > 0


# --- what each says of the other -------------------------------------------------------------------------------


async def test_checkpoints_of_the_peer_ride_with_other_entries_and_never_feed_each_other(scene: Small) -> None:
    for gateway in (scene.a, scene.b):
        journal = gateway.house.journal
        journal.heads = Heads(journal._mirrors, ride=0.0, alone=0.01)
    await _all_mirrored(scene)
    assert await _pulled(scene) > 0
    await _all_mirrored(scene)
    said = 0
    for gateway, zone in ((scene.a, LINGANG), (scene.b, CYBERJAYA)):
        for entry in await entries(gateway):
            if entry["kind"] == KIND:
                said += 1
                assert entry["body"]["zone"] == zone
                assert entry["body"]["note"].startswith(entry["body"]["origin"])
    assert said

    async def quiet() -> bool:
        """By themselves they say what was left to say, and then nothing more, however often they are asked."""
        counts = [await gateway.house.journal.record_heads(alone=True) for gateway in (scene.a, scene.b)]
        await _all_mirrored(scene)
        return counts == [0, 0]

    await eventually(quiet)
    sizes = [gateway.house.journal.committed_size for gateway in (scene.a, scene.b)]
    for _ in range(5):
        await asyncio.sleep(0.02)
        assert [await gateway.house.journal.record_heads(alone=True) for gateway in (scene.a, scene.b)] == [0, 0]
    assert [gateway.house.journal.committed_size for gateway in (scene.a, scene.b)] == sizes
