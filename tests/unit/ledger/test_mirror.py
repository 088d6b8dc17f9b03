"""The mirror and its cosigner: what it holds, what it signs, what it refuses."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import Checkpoint
from ledger.entry import Entry
from ledger.errors import (
    BadProofError,
    BadRequestError,
    BadSignatureError,
    ContradictionError,
    ForkError,
    FrozenError,
    MirrorBehindError,
    MirrorFullError,
    OldSizeError,
    OperationalError,
    StoppedError,
    UnknownOriginError,
)
from ledger.merkle import CompactRange, leaf_hash
from ledger.mirror_store import mirror_directory
from ledger.note import NoteSigner, open_note, verifier
from ledger.verify import verify_directory

if TYPE_CHECKING:
    from ledger.mirror import Mirror
    from ledger.writer import LogWriter


def _note(signer: NoteSigner, size: int, root: bytes, origin: str | None = None) -> bytes:
    text = Checkpoint(origin or signer.name, size, root).text
    return f"{text}\n{signer.sign(text)}\n".encode()


def _root(entries: list[bytes]) -> bytes:
    edge = CompactRange()
    for each in entries:
        edge.append(leaf_hash(each))
    return edge.root()


async def test_a_cosignature_means_that_the_entries_are_held(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any
) -> None:
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    for count in (1, 5, 260, 1):
        await asyncio.gather(*(helpers.append(writer) for _ in range(count)))
        head = writer.published.checkpoint
        line = await helpers.push(writer, mirror)
        assert (mirror.size, mirror.have, mirror.checkpoint) == (head.size, head.size, head)
        seen = await writer.add_cosignature(head.text, line)
        assert seen is not None
        assert seen.checkpoint == head
    assert mirror.note == writer.published.note
    assert await mirror.read(0, 9999, 1 << 30) == await writer.read(0, 9999, 1 << 30)
    directory = mirror_directory(peer.directory, zone.signer.name)
    report = verify_directory(directory, vkey=zone.signer.vkey, witness_vkeys=[peer.cosigner.vkey])
    assert (report.findings, report.size) == ([], 268)
    assert report.witnessed is not None
    assert report.witnessed.size == 268
    served = open_note((directory / "checkpoint").read_bytes(), [verifier(peer.cosigner.vkey)])
    assert len(served.verified) == 1


async def test_a_repeat_of_the_same_size_gives_a_new_cosignature(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    times = iter((100, 200))
    mirror = await peer.mirror(zone, clock=lambda: next(times))
    await helpers.append(writer)
    lines = [await helpers.push(writer, mirror) for _ in range(2)]
    text = writer.published.checkpoint.text
    known = [verifier(peer.cosigner.vkey)]
    assert [open_note(f"{text}\n{line}\n".encode(), known).verified[0].time for line in lines] == [100, 200]
    await mirror.close()


async def test_an_interrupted_push_goes_on_at_the_first_missing_bundle(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    await helpers.append(writer, 9)
    await helpers.push(writer, mirror)
    await asyncio.gather(*(helpers.append(writer) for _ in range(590)))
    head = writer.published
    proof = await writer.consistency_proof(10, 600)
    assert await mirror.begin(head.note, 10, proof) == 10
    await mirror.receive(await writer.read(10, 300, 1 << 30))
    assert (mirror.size, mirror.have) == (10, 300)
    await mirror.close()
    mirror = await peer.mirror(zone)
    assert (mirror.size, mirror.have) == (10, 256)
    with pytest.raises(BadRequestError, match="missing"):
        await mirror.finish()
    await mirror.receive(await writer.read(256, 600, 1 << 30))
    await mirror.finish()
    assert mirror.size == 600
    await mirror.close()
    directory = mirror_directory(peer.directory, zone.signer.name)
    assert verify_directory(directory, vkey=zone.signer.vkey).findings == []


async def _take(writer: LogWriter, mirror: Mirror) -> str:
    start = mirror.size
    published, proof, entries = await writer.since(start, 1 << 30)
    return await mirror.take(published.note, start, proof, start, entries)


async def test_a_push_in_one_message_is_held_before_it_is_cosigned_and_its_files_follow(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    directory = mirror_directory(peer.directory, zone.signer.name)
    await helpers.append(writer, 3)
    line = await _take(writer, mirror)
    head = writer.published
    assert (mirror.size, mirror.have, mirror.checkpoint) == (4, 4, head.checkpoint)
    assert open_note(f"{head.checkpoint.text}\n{line}\n".encode(), [verifier(peer.cosigner.vkey)]).verified
    assert not (directory / "checkpoint").exists()
    await helpers.append(writer, 2)
    await _take(writer, mirror)
    # A killed process leaves what lies there now: a copy shows it, and the next start brings the files up to date.
    copied = type(peer)(peer.directory.with_name("copied"), peer.signer, peer.cosigner)
    shutil.copytree(peer.directory, copied.directory)
    again = await copied.mirror(zone)
    assert (again.size, again.have, again.note) == (6, 6, writer.published.note)
    assert await again.read(0, 9, 1 << 20) == await writer.read(0, 9, 1 << 20)
    await again.close()
    for closed in (mirror, None):
        if closed is not None:
            await closed.close()
        report = verify_directory(
            mirror_directory(copied.directory if closed is None else peer.directory, zone.signer.name),
            vkey=zone.signer.vkey,
            witness_vkeys=[peer.cosigner.vkey],
        )
        assert (report.findings, report.size) == ([], 6)
        assert report.witnessed is not None


async def test_pushes_in_one_message_across_tile_borders_keep_little_unfiled(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    directory = mirror_directory(peer.directory, zone.signer.name)
    for count in (250, 3, 10, 300, 1):
        await asyncio.gather(*(helpers.append(writer) for _ in range(count)))
        await _take(writer, mirror)
    served = Checkpoint.parse(open_note((directory / "checkpoint").read_bytes(), [verifier(peer.cosigner.vkey)]).text)
    assert mirror.size - served.size <= 1 + 300
    await mirror.close()
    again = await peer.mirror(zone)
    assert await again.read(0, 9999, 1 << 30) == await writer.read(0, 9999, 1 << 30)
    await again.close()
    report = verify_directory(directory, vkey=zone.signer.vkey, witness_vkeys=[peer.cosigner.vkey])
    assert (report.findings, report.size) == ([], 565)


async def test_a_push_in_one_message_is_judged_like_any_other(
    writer: LogWriter, mirror: Mirror, zone: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await _take(writer, mirror)
    held = writer.published
    await helpers.append(writer, 2)
    note, proof = writer.published.note, await writer.consistency_proof(5, 7)
    entries = await writer.read(5, 7, 1 << 20)
    for old, start, sent in ((4, 5, entries), (0, 5, entries)):
        with pytest.raises(OldSizeError):
            await mirror.take(note, old, proof, start, sent)
    with pytest.raises(BadProofError):
        await mirror.take(note, 5, proof[:-1], 5, entries)
    for start, sent in ((6, entries), (5, entries[:1]), (5, entries[::-1]), (5, [*entries, entries[1]]), (5, [])):
        with pytest.raises(BadRequestError):
            await mirror.take(note, 5, proof, start, sent)
    other = Entry.parse(entries[1])
    forged = Entry(other.id, 6, other.prev, other.time, other.kind, other.subject, {"n": -1}).encode()
    with pytest.raises(BadProofError, match="root"):
        await mirror.take(note, 5, proof, 5, [entries[0], forged])
    assert (mirror.size, mirror.have, mirror.note) == (5, 5, held.note)
    # Entries that are here already are passed over; an equal size asks for another cosignature.
    everything = await writer.read(0, 7, 1 << 20)
    await mirror.take(note, 5, proof, 0, everything)
    await mirror.take(note, 7, [], 7, [])
    assert mirror.size == 7
    with pytest.raises(ForkError):
        await mirror.take(_note(zone.signer, 7, bytes(32)), 7, [], 7, [])


async def test_what_is_held_and_does_not_give_the_cosigned_root_refuses_the_start(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    await helpers.append(writer, 4)
    await _take(writer, mirror)
    for number, damage in enumerate(
        (
            "DELETE FROM held WHERE seq = 4",
            "DELETE FROM held WHERE seq = 2",
            "UPDATE held SET entry = x'7b7d' WHERE seq = 1",
        )
    ):
        copied = type(peer)(peer.directory.with_name(f"copied-{number}"), peer.signer, peer.cosigner)
        shutil.copytree(peer.directory, copied.directory)
        with contextlib.closing(sqlite3.connect(copied.directory / "state/witness.db")) as database:
            database.execute(damage)
            database.commit()
        with pytest.raises(ContradictionError, match=r"witness\.db"):
            await copied.mirror(zone)
    await mirror.close()


async def test_a_request_is_judged_as_tlog_witness_does(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await helpers.push(writer, mirror)
    held = writer.published
    await helpers.append(writer, 2)
    head = writer.published
    proof = await writer.consistency_proof(5, 7)
    stranger = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate())
    with pytest.raises(UnknownOriginError):
        await mirror.begin(_note(peer.signer, 7, head.checkpoint.root), 5, proof)
    with pytest.raises(UnknownOriginError):
        await mirror.begin(_note(zone.signer, 7, head.checkpoint.root, "tdz/x/y"), 5, proof)
    with pytest.raises(BadSignatureError):
        await mirror.begin(_note(stranger, 7, head.checkpoint.root), 5, proof)
    for note in (b"", b"x\n\n", head.note + b"x", b"\xff"):
        with pytest.raises(BadRequestError):
            await mirror.begin(note, 5, proof)
    for old in (0, 4, 6, 8, -1):
        with pytest.raises(OldSizeError) as caught:
            await mirror.begin(head.note, old, proof)
        assert (caught.value.held_size, caught.value.held_note) == (5, held.note)
    early = _note(zone.signer, 3, _root(await writer.read(0, 3, 1 << 20)))
    with pytest.raises(BadRequestError, match="above"):
        await mirror.begin(early, 5, [])
    for bad in ([], proof[:-1], [*proof, bytes(32)], [bytes(32)] * len(proof)):
        with pytest.raises(BadProofError):
            await mirror.begin(head.note, 5, bad)
    for bad in ([b"x"], [bytes(32)] * 64):
        with pytest.raises(BadRequestError):
            await mirror.begin(head.note, 5, bad)
    with pytest.raises(BadProofError):
        await mirror.begin(held.note, 5, proof)
    assert (mirror.size, mirror.note) == (5, held.note)
    await helpers.push(writer, mirror)
    assert mirror.size == 7


async def test_two_roots_of_one_size_are_a_fork_and_never_cosigned(
    writer: LogWriter, mirror: Mirror, zone: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await helpers.push(writer, mirror)
    held = writer.published.note
    other = _note(zone.signer, 5, bytes(32))
    with pytest.raises(ForkError) as caught:
        await mirror.begin(other, 5, [])
    assert (caught.value.first_note, caught.value.second_note) == (held, other)
    with pytest.raises(FrozenError):
        await helpers.push(writer, mirror)


async def test_two_roots_of_a_size_that_is_pending_are_a_fork_too(
    writer: LogWriter, mirror: Mirror, zone: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await mirror.begin(writer.published.note, 0, [])
    with pytest.raises(ForkError):  # the log signed both
        await mirror.begin(_note(zone.signer, 5, bytes(32)), 0, [])


async def test_a_rewritten_prefix_is_a_fork_and_its_proof_is_kept(
    writer: LogWriter, mirror: Mirror, zone: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await helpers.push(writer, mirror)
    leaves = [leaf_hash(bytes([n])) for n in range(7)]
    edge = CompactRange()
    for each in leaves:
        edge.append(each)
    from ledger.merkle import consistency_proof, tree_hash_of_leaf_hashes

    proof = consistency_proof(lambda h, i: tree_hash_of_leaf_hashes(leaves[i << h : (i + 1) << h]), 5, 7)
    with pytest.raises(ForkError) as caught:
        await mirror.begin(_note(zone.signer, 7, edge.root()), 5, proof)
    assert caught.value.proof == proof


async def test_entries_that_may_not_stand_there_are_not_taken(
    writer: LogWriter, mirror: Mirror, zone: Any, helpers: Any
) -> None:
    await helpers.append(writer, 5)
    good = await writer.read(0, 6, 1 << 20)
    with pytest.raises(BadRequestError, match="pending"):
        await mirror.receive(good)
    with pytest.raises(BadRequestError):
        await mirror.finish()
    await mirror.begin(writer.published.note, 0, [])
    await mirror.receive(good[:2])
    for bad in (
        [good[0]],
        [good[3]],
        [good[2], good[4]],
        [good[2] + b" "],
        [good[2].replace(b'"n":1', b'"n":7'), good[3]],
        [b""],
        [b"{}"],
        [*good[2:], good[5]],
        [b"x" * 70_000],
    ):
        with pytest.raises(BadRequestError):
            await mirror.receive(bad)
        assert (mirror.have, mirror.size) == (2, 0)
    await mirror.receive(good[2:])
    await mirror.finish()
    assert mirror.size == 6


async def test_entries_that_do_not_give_the_signed_root_are_forgotten(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await helpers.push(writer, mirror)
    await asyncio.gather(*(helpers.append(writer) for _ in range(295)))
    good = await writer.read(0, 300, 1 << 30)
    # A chain of its own behind entry 5: every entry may stand there, and none was signed.
    other = list(good[:5])
    for seq in range(5, 300):
        entry = Entry.parse(good[seq])
        other.append(
            Entry(entry.id, seq, leaf_hash(other[-1]), entry.time, entry.kind, entry.subject, {"n": -1}).encode()
        )
    assert _root(other) != _root(good)
    proof = await writer.consistency_proof(5, 300)
    await mirror.begin(writer.published.note, 5, proof)
    await mirror.receive(other[5:])
    with pytest.raises(BadProofError):
        await mirror.finish()
    assert (mirror.size, mirror.have) == (5, 5)
    await helpers.push(writer, mirror)
    assert await mirror.read(0, 300, 1 << 30) == good
    directory = mirror_directory(peer.directory, zone.signer.name)
    assert verify_directory(directory, vkey=zone.signer.vkey).findings == []


async def test_a_quota_bounds_what_a_peer_may_store(writer: LogWriter, zone: Any, peer: Any, helpers: Any) -> None:
    mirror = await peer.mirror(zone, quota_bytes=1000)
    await helpers.append(writer, 5)
    await mirror.begin(writer.published.note, 0, [])
    with pytest.raises(MirrorFullError, match="quota"):
        await mirror.receive(await writer.read(0, 6, 1 << 20))
    for send in (helpers.push, _take):
        with pytest.raises(MirrorFullError, match="raise the quota"):
            await send(writer, mirror)
        assert mirror.size == 0
        await helpers.append(writer)  # the own log goes on
    await mirror.close()
    mirror = await peer.mirror(zone, quota_bytes=100_000)
    await helpers.push(writer, mirror)
    assert mirror.size == 8
    await mirror.close()


async def test_waiting_ends_with_the_size_or_the_deadline(writer: LogWriter, mirror: Mirror, helpers: Any) -> None:
    await mirror.wait(0, 0)
    with pytest.raises(MirrorBehindError, match="stands at 0"):
        await mirror.wait(2, 0.001)
    await helpers.append(writer)
    waiting = asyncio.create_task(mirror.wait(2, 60))
    never = asyncio.create_task(mirror.wait(99, 60))
    await helpers.push(writer, mirror)
    await waiting
    await mirror.close()
    with pytest.raises(StoppedError):
        await never
    with pytest.raises(StoppedError):
        await mirror.finish()


async def test_a_mirror_survives_a_restart_and_belongs_to_one_process(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await helpers.push(writer, mirror)
    with pytest.raises(OperationalError, match="another process"):
        await peer.mirror(zone)
    await mirror.close()
    again = await peer.mirror(zone)
    assert (again.size, again.note) == (5, writer.published.note)
    await again.close()


async def test_a_lost_or_contradicting_witness_database_refuses_the_start(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    await helpers.push(writer, mirror)
    await mirror.close()
    database = peer.directory / "state/witness.db"
    aside = peer.directory / "state/aside"
    shutil.move(database, aside)
    with pytest.raises(OperationalError, match=r"witness\.db"):
        await peer.mirror(zone)
    from ledger.create import WITNESS_SCHEMA
    from ledger.lock import create_database

    create_database(database, WITNESS_SCHEMA)
    with pytest.raises(ContradictionError, match="new cosigner key"):
        await peer.mirror(zone)
    shutil.move(aside, database)
    other = await peer.mirror(
        type(zone)(zone.directory, NoteSigner(zone.signer.name, Ed25519PrivateKey.generate()), None)
    )
    await helpers.append(writer)
    with pytest.raises(BadSignatureError, match="zone card"):
        await helpers.push(writer, other)
    assert other.size == 5
    await other.close()
    tile = mirror_directory(peer.directory, zone.signer.name) / "tile/0/000.p/5"
    tile.write_bytes(bytes(160))
    with pytest.raises(ContradictionError, match="tile"):
        await peer.mirror(zone)
