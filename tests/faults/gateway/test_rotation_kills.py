"""A gateway that dies at every step of a rotation of its ledger's key: it goes on, and a repeat rotates once."""

from __future__ import annotations

import asyncio
import contextlib
from pathlib import Path

import pytest

from gateway.cli.demo.corridor import ZoneProcess
from gateway.config import load_settings
from gateway.errors import ConflictError, PeerUnavailableError, TdzError
from gateway.identity.card import read_card
from gateway.sdk.admin_resources import KeyRotation
from ledger.key_history import KeyHistory
from ledger.keys import load_key, next_key, old_key
from ledger.mirror_store import mirror_directory
from ledger.note import NoteSigner
from ledger.verify import verify_directory
from tests.faults.exchange.stage import Stage, eventually, stage

pytestmark = pytest.mark.e2e

STEPS = [
    ("make key", "before"),
    ("make key", "after"),
    ("append approval", "after"),
    ("rotate", "before"),
    ("rotate", "after"),
    ("move log.key", "before"),
    ("move log.key", "after"),
    ("move log.next.key", "before"),
    ("move log.next.key", "after"),
    ("renew card", "before"),
    ("renew card", "after"),
]


def _rotate(zone: ZoneProcess, replaces: str) -> KeyRotation:
    with zone.admin() as admin:
        return admin.rotate_ledger_key(replaces=replaces)


async def _rotated(zone: ZoneProcess, replaces: str) -> KeyRotation:
    """Rotate as soon as the rotation before is finished."""

    async def tried() -> KeyRotation | None:
        with contextlib.suppress(ConflictError):
            return await asyncio.to_thread(_rotate, zone, replaces)
        return None

    found: KeyRotation = await eventually(tried, "the last rotation is finished")
    return found


async def _pull(corridor: Stage) -> None:
    access = await corridor.agreed(chunks=1)
    pull = await access.pull()
    await pull.to_arrow()
    await corridor.receipts(pull.transfer)


async def test_a_rotation_survives_a_kill_at_every_step_and_happens_once(tmp_path: Path) -> None:
    async with stage(tmp_path) as corridor:
        gate, zone = corridor.a, corridor.a.zone
        layout, settings = gate.layout, load_settings(corridor.a.layout.root)
        keys = [read_card(layout.card.read_bytes()).card.log]
        await _pull(corridor)
        for label, when in STEPS:
            before = keys[-1]

            async def seen(key: str = before) -> bool:  # the rotation before is finished: the next may begin
                mirror = mirror_directory(corridor.b.layout.ledger, settings.origin) / "vkeys"
                return mirror.exists() and key in mirror.read_text()

            await eventually(seen, "the mirror knows the key")
            await gate.arm(label=label, occurrence=1, when=when)

            async def dies(key: str = before, step: str = f"{when} {label}") -> bool:
                try:
                    await asyncio.to_thread(_rotate, zone, key)
                except ConflictError:
                    return False
                except (PeerUnavailableError, TdzError):
                    return True
                raise AssertionError(f"it did not die {step}")

            await eventually(dies, f"it dies {when} {label}")
            await gate.ended()
            await gate.start()
            rotated = await _rotated(zone, before)
            keys.append(rotated.vkey)
            history = KeyHistory.parse((layout.ledger / "vkeys").read_text())
            assert history.vkeys == keys, (label, when)
            # The files are in their places, and the card names the key.
            assert not next_key(layout.log_key).exists()
            for path, vkey in ((layout.log_key, keys[-1]), (old_key(layout.log_key), keys[-2])):
                assert NoteSigner(settings.origin, load_key(path)).vkey == vkey, (label, when)
            assert read_card(layout.card.read_bytes()).card.log == keys[-1]
        await _pull(corridor)  # the other zone has the first card still
        await corridor.quiet()
        mirror = mirror_directory(corridor.b.layout.ledger, settings.origin)
        for ledger in (layout.ledger, mirror):
            for vkey in (keys[0], keys[-1]):
                assert verify_directory(ledger, vkey=vkey).findings == []
        assert len(set(keys)) == len(STEPS) + 1
