"""The commands of docs/ledger/recovery.md are typed, on two paired zones of which one is stopped."""

from __future__ import annotations

import time
from pathlib import Path

import pytest

from gateway.cli.demo.corridor import Corridor
from tests.e2e.material import CYBERJAYA, LINGANG
from tests.e2e.test_readme import ROOT, read, type_in

pytestmark = pytest.mark.e2e


def test_a_lost_ledger_is_recovered_as_the_page_says(tmp_path: Path) -> None:
    with Corridor.make(tmp_path / "corridor") as corridor:
        corridor.start()
        corridor.pair()
        corridor.zone(LINGANG).enrol("lab")
        until = time.monotonic() + 20
        with corridor.zone(LINGANG).admin() as admin:
            while (found := admin.status()).witnessed_size < found.ledger_size:
                assert time.monotonic() < until, "the other zone does not mirror"
                time.sleep(0.05)
        corridor.zone(LINGANG).stop()
        typed = read(ROOT / "docs/ledger/recovery.md", tmp_path)
        assert len(typed) > 5
        type_in(typed, tmp_path)
        assert (corridor.zone(CYBERJAYA).layout.ledger / "mirror").is_dir()
