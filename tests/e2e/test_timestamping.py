"""A gateway has its checkpoints stamped by an RFC 3161 authority, and nothing waits for that."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import pytest

from gateway.cli.demo.corridor import Corridor
from gateway.config import TimestampSettings, load_settings, write_settings
from gateway.errors import ConfigError
from gateway.model.ids import uuid7
from gateway.server import timestamping
from ledger.checkpoint import Checkpoint
from ledger.note import Note
from ledger.timestamps import Timestamp, verify_timestamps
from tests.conformance.ledger.plain_witness import plain_witness
from tests.e2e.material import LINGANG
from tests.e2e.small import QUICK, Small, eventually
from tests.unit.ledger.tsa import OPENSSL, authority

pytest.importorskip("rfc3161_client", reason="the extra `timestamp` is not installed")
pytestmark = [pytest.mark.e2e, pytest.mark.skipif(OPENSSL is None, reason="openssl is not on the path")]


def stamps(ledger: Path, ca: Path) -> list[Timestamp]:
    head = Checkpoint.parse(Note.parse((ledger / "checkpoint").read_bytes()).text)
    return list(verify_timestamps(ledger, head, ca=ca.read_bytes()))


async def test_witnessed_checkpoints_are_stamped_at_an_interval_and_a_failing_authority_stops_nothing(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(timestamping, "RETRY_S", 0.05)
    monkeypatch.setattr(timestamping, "LOOK_S", 0.05)
    zones = Small(await asyncio.to_thread(Corridor.make, tmp_path / "zones"), QUICK)
    layout = zones.corridor.zone(LINGANG).layout
    with authority(tmp_path / "tsa") as tsa, plain_witness() as witness:
        layout.witness_policy.write_text(f"witness w {witness.key.vkey} {witness.url}\nquorum w\n")
        (layout.root / "tsa.pem").write_bytes(tsa.ca.read_bytes())
        given = TimestampSettings(authority=tsa.url, every_s=3600, ca="tsa.pem")
        write_settings(replace(load_settings(layout.root), timestamps=given))
        assert load_settings(layout.root).timestamps == given
        good = tsa.change
        tsa.change = lambda status, body: (503, b"")
        gateway = await zones.start(LINGANG)
        journal = gateway.house.journal

        async def append() -> int:
            return (await journal.record("decision", "transfers/x", {}, entry_id=uuid7())).size

        async def asked() -> bool:
            return len(tsa.queries) >= 2

        await eventually(asked)  # and again, since the first time failed
        async with zones.admin(LINGANG) as admin:
            stamping = (await admin.status()).timestamps
            assert stamping is not None
            assert (stamping.authority, stamping.size, stamping.stamped_at) == (tsa.url, 0, 0)
            assert stamping.failure
        size = await append()  # entries, and their cosignatures, do not wait

        async def witnessed() -> bool:
            return journal.witnessed_size >= size

        await eventually(witnessed)
        assert stamps(layout.ledger, tsa.ca) == []
        tsa.change = good

        async def stamped() -> list[Timestamp]:
            return stamps(layout.ledger, tsa.ca)

        (stamp,) = await eventually(stamped)
        assert (stamp.trusted, stamp.problem, stamp.tsa) == (True, "", "127.0.0.1")
        # The log grows and the interval is not over: no second one, nor after a restart.
        count = len(tsa.queries)
        await append()
        await zones.stop(LINGANG)
        gateway = await zones.start(LINGANG)
        journal = gateway.house.journal
        size = await append()
        await eventually(witnessed)
        stamping = gateway.timestamping
        assert stamping is not None
        wait = stamping._step()
        async with zones.admin(LINGANG) as admin:
            standing = (await admin.status()).timestamps
        assert standing is not None
        assert stamp.time is not None
        assert (standing.size, standing.stamped_at) == (stamp.size, int(stamp.time.timestamp()))
        assert standing.failure == ""
        assert 3000 < wait <= 3600
        assert (len(tsa.queries), stamps(layout.ledger, tsa.ca)) == (count, [stamp])
        # It is over.
        assert stamp.time.tzinfo is not None
        later = stamp.time.timestamp() + 3601
        assert later > datetime.now(UTC).timestamp()
        stamping._clock = lambda: later
        stamping._step()
        sizes = [each.size for each in stamps(layout.ledger, tsa.ca) if each.trusted]
        assert len(sizes) == 2
        assert sizes[1] == journal.witnessed_size
        await zones.stop(LINGANG)
    write_settings(replace(load_settings(layout.root), timestamps=TimestampSettings(authority="ftp://x/")))
    with pytest.raises(ConfigError, match="no authority's URL"):
        load_settings(layout.root)
