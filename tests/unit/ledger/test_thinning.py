"""Kept checkpoints: all of a day, one an hour, and what receipts name."""

from __future__ import annotations

import base64
import json
import os
import time
from typing import TYPE_CHECKING, Any

from ledger import thinning
from ledger.entry import Entry, new_id
from ledger.thinning import DAY_S, HOUR_S, Kept, named_checkpoints, superseded
from ledger.verify import verify_directory

if TYPE_CHECKING:
    from pathlib import Path

    import pytest

ORIGIN = "tdz/lingang/2026-00ff"
NOW = 2_000_000 * HOUR_S + 1800.0


def test_all_of_a_day_stay_then_the_largest_of_each_hour() -> None:
    kept = [Kept(n, NOW - n * 600) for n in range(1, 500)]  # one every ten minutes, the largest size is the oldest
    kept = [Kept(500 - each.size, each.time) for each in kept]
    gone = superseded(kept, NOW)
    left = [each for each in kept if each.size not in gone]
    assert [each for each in left if NOW - each.time <= DAY_S] == [each for each in kept if NOW - each.time <= DAY_S]
    old = [each for each in left if NOW - each.time > DAY_S]
    hours = [int(each.time // HOUR_S) for each in old]
    assert len(hours) == len(set(hours))
    assert len(hours) > 50
    for each in old:
        assert each.size == max(k.size for k in kept if k.time // HOUR_S == each.time // HOUR_S)
    # Nothing more goes the next time, and each is gone an hour or a day later alike.
    assert superseded(left, NOW) == []
    assert superseded([], NOW) == []
    assert superseded([Kept(1, 0), Kept(2, 0)], NOW) == [1]


def _envelope(checkpoint: str) -> dict[str, Any]:
    payload = json.dumps({"body": {"checkpoint": checkpoint}, "kind": "receipt"}).encode()
    return {"payload": base64.b64encode(payload).decode(), "payloadType": "x", "signatures": []}


def test_a_receipt_names_what_it_carries_of_this_log() -> None:
    root = base64.b64encode(bytes(32)).decode()
    note = f"{ORIGIN}\n77\n{root}\n\n— {ORIGIN} AAAA\n"
    other = f"tdz/cyberjaya/2026-00aa\n78\n{root}\n\n— x AAAA\n"

    def named(body: Any) -> set[int]:
        entry = Entry(new_id(), 1, bytes(32), "2026-01-01T00:00:00.000000Z", "receipt", "x", body)
        return named_checkpoints(entry, ORIGIN)

    assert named({"receipt": _envelope(note), "peer_receipt": _envelope(other)}) == {77}
    assert named({"list": [note, {"deep": note.replace("77", "99")}]}) == {77, 99}
    for body in ({}, {"a": f"{ORIGIN}\n77"}, {"a": f"{ORIGIN}\nx\n{root}\n\n"}, {"payload": "%", "payloadType": "x"}):
        assert named(body) == set()


async def test_what_is_old_goes_but_for_what_receipts_name_and_the_log_verifies(
    zone: Any, peer: Any, helpers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(thinning, "SCAN_ENTRIES", 7)  # several steps
    writer = await zone.open()
    mirror = await peer.mirror(zone)
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    for number in range(12):
        await helpers.append(writer, 2)
        head = writer.published.checkpoint
        await writer.add_cosignature(head.text, await helpers.push(writer, mirror))
        if number == 4:
            await writer.append(
                id=new_id(),
                kind="receipt",
                subject="transfers/1",
                body={"receipt": _envelope(writer.witnessed.note.decode())},
            )
            named = head.size
    await writer.keep()
    await mirror.close()
    folder: Path = zone.directory / "checkpoints"
    sizes = sorted(int(each.name) for each in folder.iterdir())
    assert len(sizes) == 12
    old = time.time() // HOUR_S * HOUR_S - 3 * DAY_S
    for number, size in enumerate(sizes[:10]):
        when = old + (HOUR_S if number >= 7 else 0) + number
        os.utime(folder / str(size), (when, when))
    await writer.close()
    writer = await zone.open()
    for _ in range(2 + writer.published.checkpoint.size // 7):  # a step each
        await writer.keep()
    assert sorted(int(each.name) for each in folder.iterdir()) == sorted({named, sizes[6], *sizes[9:]})
    await writer.close()
    report = verify_directory(zone.directory, vkey=zone.signer.vkey)
    assert (report.findings, report.exit_code) == ([], 0)
