"""The writer: acknowledgement, ids, order, clocks, space, cosignatures and what it refuses."""

from __future__ import annotations

import asyncio
import os
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, new_id
from ledger.errors import (
    AppendError,
    ClockError,
    ConflictingEntryError,
    ContradictionError,
    EntryError,
    NoteError,
    OperationalError,
    ProofError,
    RolledBackError,
    SignatureError,
    StoppedError,
    StorageFullError,
)
from ledger.merkle import verify_consistency, verify_inclusion
from ledger.note import CosignatureSigner, NoteSigner, open_note, verifier
from ledger.storage import DiskStorage
from ledger.verify import verify_directory
from ledger.writer import LogWriter

if TYPE_CHECKING:
    from pathlib import Path

SECOND = 1_000_000_000


class Clock:
    """A clock that stands where the test puts it."""

    def __init__(self) -> None:
        self.now = 1_800_000_000 * SECOND

    def __call__(self) -> int:
        return self.now


class SmallDisk(DiskStorage):
    """A disk with as much space as the test says."""

    free = 1 << 40

    def free_bytes(self, path: str) -> int:
        return self.free


async def test_an_acknowledged_entry_stands_in_the_published_log(writer: LogWriter, zone: Any, helpers: Any) -> None:
    first, second = await helpers.append(writer, 2)
    assert (first.seq, second.seq) == (1, 2)
    head = writer.published
    assert head.checkpoint.size == second.size == 3
    assert open_note((zone.directory / "checkpoint").read_bytes(), [verifier(zone.signer.vkey)])
    proof = await writer.inclusion_proof(2, 3)
    verify_inclusion(second.leaf_hash, 2, 3, proof, head.checkpoint.root)
    entries = [Entry.parse(each, seq=n) for n, each in enumerate(await writer.read(0, 3, 1 << 20))]
    assert [each.kind for each in entries] == ["log.opened", "decision", "decision"]
    assert entries[0].body == {"origin": zone.signer.name, "vkey": zone.signer.vkey}
    assert entries[2].time == second.time


async def test_the_same_id_is_recorded_once(writer: LogWriter, zone: Any) -> None:
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "transfers/1", "body": {"n": 1}}
    first = await writer.append(**entry)
    assert await writer.append(**entry) == first
    assert await writer.find(entry["id"]) == first
    assert await asyncio.gather(*(writer.append(**entry) for _ in range(20))) == [first] * 20
    assert writer.published.checkpoint.size == 2
    for other in ({"body": {"n": 2}}, {"kind": "receipt"}, {"subject": "transfers/2"}):
        with pytest.raises(ConflictingEntryError):
            await writer.append(**{**entry, **other})
    assert await writer.find(new_id()) is None


async def test_the_same_id_at_once_is_recorded_once_and_a_conflict_shows(writer: LogWriter) -> None:
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "transfers/1"}
    results = await asyncio.gather(
        writer.append(**entry, body={"n": 1}),
        writer.append(**entry, body={"n": 1}),
        writer.append(**entry, body={"n": 2}),
        return_exceptions=True,
    )
    assert results[0] == results[1]
    assert isinstance(results[2], ConflictingEntryError)
    assert writer.published.checkpoint.size == 2


async def test_a_cancelled_caller_does_not_undo_its_entry(writer: LogWriter) -> None:
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "transfers/1", "body": {}}
    caller = asyncio.create_task(writer.append(**entry))
    other = asyncio.create_task(writer.append(**entry))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    assert (await other).seq == 1
    assert (await writer.append(**entry)).seq == 1


async def test_ids_are_found_after_a_restart(zone: Any, helpers: Any) -> None:
    writer = await zone.open()
    entry: dict[str, Any] = {"id": new_id(), "kind": "decision", "subject": "transfers/1", "body": {"n": 1}}
    first = await writer.append(**entry)
    await helpers.append(writer, 3)
    await writer.close()
    again = await zone.open()
    assert await again.find(entry["id"]) == first
    assert await again.append(**entry) == first
    with pytest.raises(ConflictingEntryError):
        await again.append(**{**entry, "body": {}})
    await again.close()


async def test_what_is_no_entry_is_refused_at_once(writer: LogWriter) -> None:
    with pytest.raises(EntryError, match="UUIDv7"):
        await writer.append(id="1", kind="decision", subject="x", body={})
    with pytest.raises(EntryError, match="float"):
        await writer.append(id=new_id(), kind="decision", subject="x", body={"a": 1.5})  # type: ignore[dict-item]


async def test_a_group_crosses_tile_borders_and_every_size_stays_readable(
    writer: LogWriter, zone: Any, helpers: Any
) -> None:
    for count in (250, 3, 1, 1, 1, 300):
        await asyncio.gather(*(helpers.append(writer) for _ in range(count)))
        report = verify_directory(zone.directory, vkey=zone.signer.vkey)
        assert report.findings == []
        assert report.size == writer.published.checkpoint.size
    assert not (zone.directory / "tile/0/000.p").exists()
    assert (zone.directory / "tile/entries/000").exists()
    assert list((zone.directory / "state/staging").iterdir()) == []


async def test_consistency_is_proven_between_any_two_sizes(writer: LogWriter, helpers: Any) -> None:
    roots = {1: writer.published.checkpoint.root}
    for _ in range(12):
        await helpers.append(writer)
        roots[writer.published.checkpoint.size] = writer.published.checkpoint.root
    for old in roots:
        for new in range(old, 14):
            proof = await writer.consistency_proof(old, new)
            verify_consistency(old, new, proof, roots[old], roots[new])
    assert await writer.consistency_proof(0, 5) == []
    for old, new in ((5, 4), (1, 14), (-1, 2)):
        with pytest.raises(ProofError):
            await writer.consistency_proof(old, new)


async def test_reading_ends_at_the_limit_but_gives_one(writer: LogWriter, helpers: Any) -> None:
    await helpers.append(writer, 5)
    everything = await writer.read(0, 100, 1 << 20)
    assert len(everything) == 6
    assert await writer.read(2, 6, 1) == everything[2:3]
    assert await writer.read(1, 6, len(everything[1]) + len(everything[2])) == everything[1:3]
    assert await writer.read(6, 6, 10) == []


async def test_a_watcher_hears_of_a_larger_log(writer: LogWriter, helpers: Any) -> None:
    assert (await writer.changed(0)).checkpoint.size == 1
    watcher = asyncio.create_task(writer.changed(2))
    await helpers.append(writer, 2)
    assert (await watcher).checkpoint.size == 3


async def test_closing_commits_what_waits_and_then_refuses(zone: Any, helpers: Any) -> None:
    writer = await zone.open()
    callers = [asyncio.create_task(helpers.append(writer)) for _ in range(50)]
    watcher = asyncio.create_task(writer.changed(1000))
    await asyncio.sleep(0)
    await writer.close()
    assert sorted(result[0].seq for result in await asyncio.gather(*callers)) == list(range(1, 51))
    with pytest.raises(StoppedError):
        await watcher
    for call in (helpers.append(writer), writer.read(0, 1, 1), writer.find(new_id()), writer.changed(99)):
        with pytest.raises(StoppedError):
            await call
    await writer.close()


async def test_one_process_opens_a_log_at_a_time(writer: LogWriter, zone: Any) -> None:
    with pytest.raises(OperationalError, match="another process"):
        await zone.open()


async def test_time_never_runs_backwards_and_a_clock_far_behind_signs_nothing(zone: Any, helpers: Any) -> None:
    clock = Clock()
    clock.now = 4_000_000_000 * SECOND
    writer = await zone.open(clock=clock)
    (first,) = await helpers.append(writer)
    clock.now -= SECOND
    (second,) = await helpers.append(writer)
    assert second.time == first.time
    clock.now -= 2 * SECOND
    with pytest.raises(ClockError, match="behind"):
        await helpers.append(writer)
    clock.now += 4 * SECOND
    (third,) = await helpers.append(writer)
    assert third.time > first.time
    assert third.seq == 3
    await writer.close()


async def test_a_received_cosignature_far_from_our_clock_stops_signing_until_it_heals(zone: Any, helpers: Any) -> None:
    clock = Clock()
    clock.now = 4_000_000_000 * SECOND
    writer = await zone.open(clock=clock)
    cosigner = CosignatureSigner("tdz/other/mirror", Ed25519PrivateKey.generate())
    await writer.set_policy(f"witness a {cosigner.vkey}\nquorum a\n")
    text = writer.published.checkpoint.text
    assert await writer.add_cosignature(text, cosigner.cosign(text, clock.now // SECOND + 400))
    with pytest.raises(ClockError, match="cosigner"):
        await helpers.append(writer)
    await writer.add_cosignature(text, cosigner.cosign(text, clock.now // SECOND + 10))
    assert await helpers.append(writer)
    await writer.close()


async def test_the_reserve_is_for_what_closes(zone: Any, helpers: Any) -> None:
    disk = SmallDisk()
    writer = await zone.open(storage=disk)
    reserve = zone.directory / "state/reserve"
    assert reserve.stat().st_size == 4096
    disk.free = 266_500
    results = await asyncio.gather(
        writer.append(id=new_id(), kind="decision", subject="x", body={}),
        writer.append(id=new_id(), kind="revocation", subject="x", body={}, closing=True),
        return_exceptions=True,
    )
    assert isinstance(results[0], StorageFullError)
    assert results[1].seq == 1  # type: ignore[union-attr]
    disk.free = 263_000
    with pytest.raises(StorageFullError):
        await helpers.append(writer)
    disk.free = 1_000
    with pytest.raises(StorageFullError):
        await writer.append(id=new_id(), kind="revocation", subject="x", body={}, closing=True)
    assert not reserve.exists()
    disk.free = 1 << 30
    await helpers.append(writer)
    assert reserve.stat().st_size > 0
    await writer.close()


async def test_a_reserve_that_was_given_up_comes_back_in_its_size_after_a_start(zone: Any, helpers: Any) -> None:
    disk = SmallDisk()
    reserve = zone.directory / "state/reserve"
    writer = await zone.open(storage=disk)
    disk.free = 1_000
    with pytest.raises(StorageFullError):
        await writer.append(id=new_id(), kind="revocation", subject="x", body={}, closing=True)
    assert not reserve.exists()
    await writer.close()
    disk.free = 1 << 30
    writer = await zone.open(storage=disk)
    await helpers.append(writer)
    assert reserve.stat().st_size == 4096  # not the default of 16 MiB
    await writer.close()


async def test_a_log_from_before_its_reserve_had_a_size_written_down_keeps_the_size_it_has(
    zone: Any, helpers: Any
) -> None:
    chosen = zone.directory / "state/reserve.size"
    for damaged in (None, b"", b"x\n", b"-1\n", b"01\n", b"9999999999999999\n"):
        chosen.unlink()
        if damaged is not None:
            chosen.write_bytes(damaged)
        writer = await zone.open()
        await writer.close()
        assert chosen.read_bytes() == b"4096\n"


async def test_a_cosigned_checkpoint_that_satisfies_the_policy_is_kept(
    writer: LogWriter, zone: Any, helpers: Any
) -> None:
    one, two = (CosignatureSigner(f"w{n}", Ed25519PrivateKey.generate()) for n in range(2))
    assert writer.witnessed is None
    await writer.set_policy(f"witness a {one.vkey}\nwitness b {two.vkey}\ngroup g 2 a b\nquorum g\n")
    await helpers.append(writer, 2)
    old = writer.published.checkpoint
    await helpers.append(writer, 2)
    assert await writer.add_cosignature(old.text, one.cosign(old.text, _now())) is None
    assert not (zone.directory / "checkpoint.witnessed").exists()
    seen = await writer.add_cosignature(old.text, two.cosign(old.text, _now()) + "\n")
    assert seen is not None
    assert seen.checkpoint == old == writer.witnessed.checkpoint  # type: ignore[union-attr]
    await writer.keep()
    for name in ("checkpoint.witnessed", f"checkpoints/{old.size}"):
        note = (zone.directory / name).read_bytes()
        assert len(open_note(note, [verifier(each.vkey) for each in (zone.signer, one, two)]).verified) == 3
    assert verify_directory(zone.directory, vkey=zone.signer.vkey).witnessed.size == old.size  # type: ignore[union-attr]
    # A policy that asks for another witness finds nothing witnessed any more.
    other = CosignatureSigner("w9", Ed25519PrivateKey.generate())
    assert await writer.set_policy(f"witness a {other.vkey}\nquorum a\n") is None
    assert not (zone.directory / "checkpoint.witnessed").exists()


def _now() -> int:
    import time

    return int(time.time())


async def test_only_a_known_witness_over_our_own_history_counts(writer: LogWriter, zone: Any) -> None:
    known, stranger = (CosignatureSigner(f"w{n}", Ed25519PrivateKey.generate()) for n in range(2))
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness a {known.vkey}\nquorum a\n")
    head = writer.published.checkpoint
    cases = [
        (head.text, stranger.cosign(head.text, 1)),
        (head.text, known.cosign(Checkpoint(head.origin, 1, bytes(32)).text, 1)),
    ]
    for other in (
        Checkpoint(head.origin, 1, bytes(32)),
        Checkpoint(head.origin, 9, bytes(32)),
        Checkpoint("tdz/x/y", 1, head.root),
    ):
        cases.append((other.text, known.cosign(other.text, 1)))
    for text, line in cases:
        with pytest.raises(SignatureError):
            await writer.add_cosignature(text, line)
    with pytest.raises(NoteError):
        await writer.add_cosignature(head.text, "nonsense")
    with pytest.raises(NoteError, match="key"):
        await writer.set_policy(f"log {NoteSigner('x', Ed25519PrivateKey.generate()).vkey}\nquorum none\n")
    assert writer.witnessed is None


async def test_a_writer_that_hears_of_a_newer_checkpoint_of_its_own_signs_no_more(zone: Any, helpers: Any) -> None:
    writer = await zone.open()
    await writer.check_held(writer.published.note)
    ours = Checkpoint(zone.signer.name, 9, bytes(32))
    with pytest.raises(SignatureError):
        await writer.check_held(
            (ours.text + "\n" + NoteSigner(zone.signer.name, _key()).sign(ours.text) + "\n").encode()
        )
    await helpers.append(writer)
    with pytest.raises(RolledBackError):
        await writer.check_held((ours.text + "\n" + zone.signer.sign(ours.text) + "\n").encode())
    with pytest.raises(AppendError, match="another holds our checkpoint of size 9"):
        await helpers.append(writer)
    await writer.close()


def _key() -> Ed25519PrivateKey:
    return Ed25519PrivateKey.generate()


async def test_a_new_log_takes_a_free_directory_and_an_origin_of_its_key(tmp_path: Path, zone: Any) -> None:
    signer = NoteSigner("tdz/x/y", _key())
    for path, origin in (
        (zone.directory, "tdz/x/y"),
        (tmp_path / "new", "tdz/x/z"),
        (tmp_path / "new", "tdz/X/y"),
        (tmp_path / "new", "y"),
    ):
        with pytest.raises(OperationalError):
            LogWriter.create(path, origin=origin, signer=signer)
    (tmp_path / "new").mkdir()
    LogWriter.create(tmp_path / "new", origin="tdz/x/y", signer=signer, predecessor={"note": "n"}, reserve_bytes=100)
    state = tmp_path / "new" / "state"
    assert state.stat().st_mode & 0o777 == 0o700
    assert (tmp_path / "new" / "vkey").read_text() == signer.vkey + "\n"
    writer = await LogWriter.open(tmp_path / "new", signer)
    assert Entry.parse((await writer.read(0, 1, 1))[0]).body["predecessor"] == {"note": "n"}
    await writer.close()


async def _contradiction(zone: Any, match: str) -> None:
    with pytest.raises(ContradictionError, match=match):
        await zone.open()


async def test_files_that_contradict_each_other_refuse_the_start(zone: Any, helpers: Any, tmp_path: Path) -> None:
    writer = await zone.open()
    await helpers.append(writer, 3)
    await writer.close()
    old = tmp_path / "old"
    shutil.copytree(zone.directory, old)
    writer = await zone.open()
    await helpers.append(writer, 3)
    await writer.close()
    new = tmp_path / "new"
    shutil.copytree(zone.directory, new)

    def restore(source: Path, *names: str) -> None:
        shutil.rmtree(zone.directory)
        shutil.copytree(new, zone.directory)
        for name in names:
            target = zone.directory / name
            if target.is_dir():
                shutil.rmtree(target)
            elif target.exists():
                target.unlink()
            if (source / name).is_dir():
                shutil.copytree(source / name, target)
            elif (source / name).exists():
                shutil.copy(source / name, target)

    restore(old, "state")
    await _contradiction(zone, "rolled back")
    restore(old, "tile")
    await _contradiction(zone, "missing")
    restore(old, "tile", "checkpoint")
    await _contradiction(zone, "the tiles between are gone")
    restore(tmp_path, "state/lock.db", "state/lock.db-wal")
    await _contradiction(zone, "lock.db")
    restore(tmp_path, "checkpoint")
    await _contradiction(zone, "checkpoint is missing")
    restore(new)
    tile = zone.directory / "tile/0/000.p/7"
    tile.write_bytes(bytes(32) + tile.read_bytes()[32:])
    await _contradiction(zone, "tile")
    restore(new)
    with sqlite3.connect(zone.directory / "state/lock.db") as db:
        db.execute("UPDATE staged SET batch = ?", (b"{}\n",))
    db.close()
    await _contradiction(zone, "not a staged batch")
    restore(new)
    with sqlite3.connect(zone.directory / "state/lock.db") as db, sqlite3.connect(old / "state/lock.db") as before:
        db.execute("UPDATE staged SET batch = ?", before.execute("SELECT batch FROM staged").fetchone())
    db.close()
    before.close()
    await _contradiction(zone, "staged batch is not that of its checkpoint")
    restore(new)
    with sqlite3.connect(zone.directory / "state/lock.db") as db:
        db.execute("UPDATE lock SET note = ?", ((old / "checkpoint").read_bytes(),))
    db.close()
    await _contradiction(zone, "rolled back")
    restore(new)
    ours = Checkpoint(zone.signer.name, 50, bytes(32))
    (zone.directory / "checkpoints/50").write_text(f"{ours.text}\n{zone.signer.sign(ours.text)}\n")
    await _contradiction(zone, "checkpoints/50")
    # Not a contradiction: the checkpoint alone is behind, its tiles are there; it is published anew.
    restore(old, "checkpoint")
    writer = await zone.open()
    assert writer.published.checkpoint.size == 7
    await writer.close()
    assert (zone.directory / "checkpoint").read_bytes() == (new / "checkpoint").read_bytes()


async def test_another_key_does_not_open_the_log(zone: Any) -> None:
    other = NoteSigner(zone.signer.name, _key())
    with pytest.raises(ContradictionError, match="key"):
        await LogWriter.open(zone.directory, other)


async def test_an_existing_tile_with_other_bytes_ends_the_process(zone: Any, helpers: Any) -> None:
    ended: list[BaseException] = []
    writer = await zone.open(fatal=ended.append)
    os.makedirs(zone.directory / "tile/0/000.p", exist_ok=True)
    (zone.directory / "tile/0/000.p/2").write_bytes(bytes(64))
    with pytest.raises(StoppedError):
        await helpers.append(writer)
    await writer.close()
    assert [type(each) for each in ended] == [ContradictionError]
    assert "tile/0/000.p/2" in str(ended[0])
    await _contradiction(zone, "tile/0/000.p/2")
