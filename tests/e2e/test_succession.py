"""Another log after a sealed or a compromised one: new origin, new card, and the paired zone goes on with it."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from gateway.cli import succession
from gateway.cli.demo.corridor import Corridor, ZoneSpec
from gateway.cli.succession import succeed_zone
from gateway.config import load_settings
from gateway.errors import ConfigError, ForkError, LedgerError, TdzError
from gateway.identity.card import read_card, require_successor
from ledger.errors import SealedError
from ledger.freezing import freeze
from ledger.keys import load_signers
from ledger.mirror_store import mirror_directory
from ledger.verify import verify_directory
from ledger.writer import LogWriter
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.small import Small, directory_entries, entries, eventually, recorded, small_corridor

pytestmark = pytest.mark.e2e


def _findings(ledger: Path, vkey: str) -> list[str]:
    """What is wrong with a ledger; the word that stands for evidence here proves nothing, and is to be kept."""
    return [each.text for each in verify_directory(ledger, vkey=vkey).findings if each.file != "evidence/fork"]


async def _pull(scene: Small) -> None:
    um = await scene.um()
    await (await (await um.request(await scene.offered(), purpose="research")).pull()).to_arrow()


async def _delivered(scene: Small) -> None:
    """cyberjaya has nothing left to deliver."""
    state = scene.corridor.zone(CYBERJAYA).layout.state

    async def empty() -> bool:
        with contextlib.closing(sqlite3.connect(f"file:{state}?mode=ro", uri=True, timeout=10)) as database:
            return database.execute("SELECT count(*) FROM outbox").fetchone() == (0,)

    await eventually(empty)


async def _held(scene: Small, size: int) -> None:
    async def held() -> bool:
        return scene.a.house.journal.held_size >= size

    await eventually(held)


async def _admit(scene: Small, fingerprint: str) -> Any:
    """lingang admits cyberjaya's newest card."""
    card = scene.corridor.zone(CYBERJAYA).layout.card.read_bytes()
    async with scene.admin(LINGANG) as admin:
        assert (await admin.pair(card, fingerprint)).outcome == "confirm"
        return await admin.pair(card, fingerprint, confirm=True)


async def test_after_a_compromise_the_zone_goes_on_under_a_new_origin_that_the_other_admits(tmp_path: Path) -> None:
    async with small_corridor(tmp_path / "small") as scene:
        layout = scene.corridor.zone(CYBERJAYA).layout
        before = read_card(layout.card.read_bytes())
        await _pull(scene)
        agreed = await (await scene.um()).request(await scene.offered(), purpose="research")
        await _held(scene, scene.a.house.journal.committed_size)
        await _delivered(scene)
        cosigned = scene.a.house.journal.held_size
        of_lingang = scene.a.house.journal.mirror(LINGANG).size
        with pytest.raises(LedgerError, match="another process"):
            await asyncio.to_thread(succeed_zone, layout.root, reason="compromised")
        # The other zone freezes the old log; from now on nothing is opened under it.
        freeze(scene.corridor.zone(LINGANG).layout.ledger, before.card.origin, "its key was stolen")
        await scene.stop(CYBERJAYA)
        made = await asyncio.to_thread(succeed_zone, layout.root, reason="compromised")
        after = read_card(layout.card.read_bytes())
        require_successor(before, after)
        assert set(after.card.changed(before.card)) == {"log", "origin"}
        assert (made.origin, made.predecessor) == (after.card.origin, before.card.origin)
        assert made.card.fingerprint == after.fingerprint
        await scene.start(CYBERJAYA)
        with pytest.raises(TdzError):
            await _pull(scene)
        paired = await _admit(scene, made.card.fingerprint)
        assert paired.outcome == "replaced"
        assert set(paired.changed) == {"log", "origin"}
        await eventually(lambda: _opens(scene))
        await _pull(scene)
        await (await agreed.pull()).to_arrow()  # an agreement that was made under the old log
        # The new log names the last checkpoint of the old one that others cosigned.
        opened = (await entries(scene.a))[0]
        assert opened["body"]["predecessor"]["origin"] == before.card.origin
        assert opened["body"]["predecessor"]["size"] >= cosigned
        # What is mirrored of the other zone goes on where it was, under the same cosigner.
        assert scene.a.house.journal.mirror(LINGANG).size > of_lingang
        admitted = await recorded(
            scene.b, lambda each: each["kind"] == "zone.paired" and each["body"]["origin"] == made.origin
        )
        assert admitted["body"]["replaces"] == before.fingerprint
        frozen = scene.b.house.journal.mirror(CYBERJAYA)
        assert frozen.origin == made.origin
        assert frozen.frozen is None
        for zone in (CYBERJAYA, LINGANG):
            await scene.stop(zone)
        assert list(directory_entries(made.archive))[-1]["body"] == {"reason": "compromised"}
        lingang = scene.corridor.zone(LINGANG).layout.ledger
        for ledger, vkey in (
            (made.archive, before.card.log),
            (layout.ledger, after.card.log),
            (mirror_directory(lingang, made.origin), after.card.log),
            (mirror_directory(lingang, made.predecessor), before.card.log),
        ):
            assert _findings(ledger, vkey) == []
        with pytest.raises(SealedError):
            await _append(made.archive, layout.keys / f"log.{before.card.origin.split('/')[2]}.key", before.card.origin)


async def _opens(scene: Small) -> bool:
    try:
        scene.a.house.journal.require_open(LINGANG)
        scene.b.house.journal.require_open(CYBERJAYA)
    except (ForkError, TdzError):
        return False
    journal = scene.a.house.journal
    return journal.gate.held(LINGANG) == journal.committed_size


async def _append(ledger: Path, key: Path, origin: str) -> None:
    (signer,) = load_signers(key, origin)
    writer = await LogWriter.open(ledger, signer)
    try:
        await writer.seal("retired")
    finally:
        await writer.close()


async def test_a_seal_is_cosigned_before_the_next_log_follows_it(tmp_path: Path) -> None:
    async with small_corridor(tmp_path / "small") as scene:
        layout = scene.corridor.zone(CYBERJAYA).layout
        settings = load_settings(layout.root)
        await scene.stop(CYBERJAYA)
        await _append(layout.ledger, layout.log_key, settings.origin)
        sealed = len(list(directory_entries(layout.ledger)))
        await scene.start(CYBERJAYA)  # it records nothing any more; the other zone still cosigns
        await _held(scene, sealed)
        await scene.stop(CYBERJAYA)
        made = await asyncio.to_thread(succeed_zone, layout.root, reason="superseded")
        opened = next(directory_entries(layout.ledger))
        assert opened["body"]["predecessor"]["size"] == sealed
        await scene.start(CYBERJAYA)
        await _admit(scene, made.card.fingerprint)
        await eventually(lambda: _opens(scene))
        await _pull(scene)


class Cut(Exception):
    """The process ends here."""


@pytest.fixture(scope="module")
def sealed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("zone")
    Corridor.make(directory, (ZoneSpec("lingang", "CN"),))
    ledger = directory / "lingang" / "ledger"
    (ledger / "mirror" / ("0" * 64)).mkdir()
    (ledger / "mirror" / ("0" * 64) / "checkpoint").write_text("a peer's")
    (ledger / "evidence").mkdir()
    (ledger / "evidence" / "fork").write_text("kept")
    freeze(ledger, "tdz/cyberjaya/2020-0000", "for the test")
    return directory / "lingang"


def test_a_succession_that_is_cut_off_anywhere_is_finished_by_a_repeat(
    sealed: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    steps, cut_at = 0, -1

    def counted(work: Callable[..., Any]) -> Callable[..., Any]:
        def run(*args: Any, **kwargs: Any) -> Any:
            nonlocal steps
            for before in (True, False):
                if before:
                    if steps == cut_at:
                        raise Cut
                    steps += 1
                    result = work(*args, **kwargs)
                else:
                    if steps == cut_at:
                        raise Cut
                    steps += 1
            return result

        return run

    for name in ("create_key", "_move", "write_settings", "renew_card"):
        monkeypatch.setattr(succession, name, counted(getattr(succession, name)))
    monkeypatch.setattr(LogWriter, "create", staticmethod(counted(LogWriter.create)))

    def succeeded(root: Path) -> None:
        before = read_card((sealed / "card.json").read_bytes())
        made = succeed_zone(root, reason="superseded")
        layout = load_settings(root).layout
        after = read_card(layout.card.read_bytes())
        require_successor(before, after)
        assert after.card.serial == before.card.serial + 1
        assert load_settings(root).origin == made.origin == after.card.origin != before.card.origin
        assert made.predecessor == before.card.origin
        assert sorted(path.name for path in root.iterdir() if path.name.startswith("ledger")) == [
            "ledger",
            made.archive.name,
        ]
        assert (layout.ledger / "mirror" / ("0" * 64) / "checkpoint").read_text() == "a peer's"
        assert (layout.ledger / "evidence" / "fork").read_text() == "kept"
        assert not freeze(layout.ledger, "tdz/cyberjaya/2020-0000", "again")  # it is frozen still
        assert json.loads(json.dumps(next(directory_entries(layout.ledger))["body"]["predecessor"]["origin"])) == (
            made.predecessor
        )
        for ledger, vkey in ((made.archive, before.card.log), (layout.ledger, after.card.log)):
            assert _findings(ledger, vkey) == []
        (signer,) = load_signers(layout.log_key, made.origin)
        assert signer.vkey == after.card.log
        assert not (layout.keys / "successor.key").exists()
        assert os.listdir(layout.ledger / "state").count("witness.db") == 1

    shutil.copytree(sealed, tmp_path / "whole")
    succeeded(tmp_path / "whole")
    all_steps = steps
    assert all_steps >= 20
    for cut_at in range(all_steps):
        root = tmp_path / f"cut-{cut_at}"
        shutil.copytree(sealed, root)
        steps = 0
        with pytest.raises(Cut):
            succeed_zone(root, reason="superseded")
        steps = -(10**6)
        succeeded(root)
        shutil.rmtree(root)


def _write_state(root: Path, statement: str) -> None:
    with contextlib.closing(sqlite3.connect(root / "state" / "state.db")) as database, database:
        database.execute(statement)


def test_nothing_half_done_or_undelivered_is_left_behind(sealed: Path, tmp_path: Path) -> None:
    root = tmp_path / "zone"
    shutil.copytree(sealed, root)
    before = sorted(path.relative_to(root) for path in root.rglob("*") if "state" not in path.parts)
    _write_state(root, "INSERT INTO pending VALUES ('x', 'identity', 's', '{}', 0)")
    with pytest.raises(ConfigError, match="1 steps are half done"):
        succeed_zone(root, reason="superseded", undelivered=True)
    _write_state(root, "DELETE FROM pending")
    with contextlib.closing(sqlite3.connect(root / "state" / "state.db")) as database:
        columns = [(row[1], row[2]) for row in database.execute("PRAGMA table_info(outbox)")]
    values = ", ".join("0" if "INT" in kind else "'x'" for _, kind in columns)
    _write_state(root, f"INSERT INTO outbox VALUES ({values})")
    with pytest.raises(ConfigError, match="not delivered yet"):
        succeed_zone(root, reason="superseded")
    assert sorted(path.relative_to(root) for path in root.rglob("*") if "state" not in path.parts) == before
    made = succeed_zone(root, reason="superseded", undelivered=True)
    assert made.card.card.serial == 2


async def test_a_log_whose_key_is_lost_is_followed_without_a_seal(sealed: Path, tmp_path: Path) -> None:
    root = tmp_path / "zone"
    shutil.copytree(sealed, root)
    (root / "keys" / "log.key").unlink()
    with pytest.raises(LedgerError):
        await asyncio.to_thread(succeed_zone, root, reason="compromised")
    made = await asyncio.to_thread(succeed_zone, root, reason="compromised", key_lost=True)
    assert _findings(root / "ledger", made.card.card.log) == []
    assert [each["kind"] for each in directory_entries(made.archive)][-1] != "log.sealed"
