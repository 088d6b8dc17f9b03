"""A zone's ledger takes another key between two runs of its gateway, and the paired zone follows."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from gateway.cli.zone_keys import rotate_log_key
from gateway.config import load_settings
from gateway.errors import LedgerError
from gateway.identity.card import read_card, require_successor
from ledger.key_history import KeyHistory
from ledger.keys import next_key, old_key
from ledger.mirror_store import mirror_directory
from ledger.verify import verify_directory
from tests.faults.exchange.stage import Gate, Stage, eventually, stage

pytestmark = pytest.mark.e2e


def _keys(directory: Path) -> KeyHistory:
    return KeyHistory.parse((directory / "vkeys").read_text())


async def _mirrored(corridor: Stage, key: str) -> None:
    """The other zone's mirror has taken everything, the entry of the key among it."""
    a, b = corridor.a.layout.ledger, corridor.b.layout.ledger
    mirror = mirror_directory(b, load_settings(a.parent).origin)

    async def followed() -> bool:
        return key in (mirror / "vkeys").read_text() if (mirror / "vkeys").exists() else False

    await eventually(followed, "the mirror follows the key")


async def _pull(corridor: Stage) -> None:
    access = await corridor.agreed(chunks=1)
    pull = await access.pull()
    await pull.to_arrow()
    await corridor.receipts(pull.transfer)


async def test_another_key_signs_and_the_other_zone_follows_with_the_old_card_and_the_new(tmp_path: Path) -> None:
    async with stage(tmp_path) as corridor:
        gate: Gate = corridor.a
        layout = gate.layout
        settings = load_settings(layout.root)
        before = read_card(layout.card.read_bytes())
        await _pull(corridor)
        with pytest.raises(LedgerError, match="another process"):
            await asyncio.to_thread(rotate_log_key, settings)
        await gate.stop()
        after = await asyncio.to_thread(rotate_log_key, settings)
        require_successor(before, after)
        assert after.card.changed(before.card) == ("log",)
        assert old_key(layout.log_key).exists()
        assert not next_key(layout.log_key).exists()
        assert _keys(layout.ledger).vkeys == [before.card.log, after.card.log]
        await gate.start()
        # The other zone has the old card still: it follows the entry that both keys signed.
        await _pull(corridor)
        await _mirrored(corridor, after.card.log)
        await _pull(corridor)
        await corridor.a.stop()
        await corridor.b.stop()
        history = _keys(layout.ledger)
        assert history.retiring is None  # every cosigner has seen the new one
        for ledger in (layout.ledger, mirror_directory(corridor.b.layout.ledger, settings.origin)):
            for key in history.vkeys:
                assert verify_directory(ledger, vkey=key).findings == []
        old_key(layout.log_key).unlink()
        await corridor.a.start()
        await corridor.b.start()
        await _pull(corridor)


@pytest.mark.parametrize("step", ["made", "recorded", "moved", "placed"])
def test_a_rotation_that_was_cut_off_is_finished_by_a_repeat(
    tmp_path: Path, step: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    import os

    from gateway.cli import zone_init
    from gateway.config import Address
    from gateway.server import log_key
    from ledger.writer import LogWriter

    made = zone_init.init_zone(
        tmp_path / "lingang",
        zone="lingang",
        jurisdiction="CN",
        listen=Address.parse("127.0.0.1:8443"),
        endpoint=Address.parse("127.0.0.1:8443"),
        names=["127.0.0.1"],
        admins=["ops-1"],
    )
    settings = load_settings(tmp_path / "lingang")
    path = settings.layout.log_key

    class Cut(Exception):
        pass

    def cut(*_: object) -> None:
        raise Cut

    with monkeypatch.context() as patch:
        if step == "made":
            patch.setattr(LogWriter, "rotate", cut)
        elif step == "recorded":
            patch.setattr(log_key, "_place", cut)
        elif step == "moved":
            real = os.replace
            patch.setattr(os, "replace", lambda a, b: cut() if Path(b) == path else real(a, b))
        else:
            patch.setattr(log_key, "renew_card", cut)
        with pytest.raises(Cut):
            rotate_log_key(settings)
    signed = rotate_log_key(settings)
    require_successor(made.card, signed)
    history = _keys(settings.layout.ledger)
    assert history.vkeys == [made.card.card.log, signed.card.log]
    assert verify_directory(settings.layout.ledger, vkey=signed.card.log).findings == []
