"""What a mirror needs next comes from memory at the commit, and is what the tiles give."""

from __future__ import annotations

import asyncio
import random
import shutil
import threading
from typing import TYPE_CHECKING, Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.entry import new_id
from ledger.merkle import CompactRange, leaf_hash, tree_hash_of_leaf_hashes
from ledger.note import CosignatureSigner
from ledger.storage import DiskStorage

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.mirror import Mirror
    from ledger.writer import LogWriter


async def test_proof_and_entries_of_every_growth_are_those_of_the_tiles(writer: LogWriter, helpers: Any) -> None:
    chance = random.Random(6962)
    while (old := writer.published.checkpoint.size) < 800:
        count = chance.choice((1, 1, 2, 3, 7, 64, 255))
        await asyncio.gather(*(helpers.append(writer) for _ in range(count)))
        growth = writer._growth
        assert growth is not None
        size = growth.committed.checkpoint.size
        assert growth.committed == writer.published
        assert list(growth.entries) == await writer.read(growth.old_size, size, 1 << 30)
        assert list(growth.proof) == await writer.consistency_proof(growth.old_size, size)
        newest, proof, entries = await writer.since(growth.old_size, 1 << 30)
        assert (newest, proof, entries) == (growth.committed, list(growth.proof), list(growth.entries))
        if growth.old_size != old:  # several batches since: the tiles serve what memory does not have
            newest, proof, entries = await writer.since(old, 1 << 30)
            assert (newest, len(entries)) == (writer.published, size - old)
            assert proof == await writer.consistency_proof(old, size)


async def test_what_is_larger_than_a_message_comes_in_parts_from_the_tiles(writer: LogWriter, helpers: Any) -> None:
    start = writer.published.checkpoint.size
    await asyncio.gather(*(helpers.append(writer) for _ in range(50)))
    newest, _, entries = await writer.since(start, 1_000)
    assert newest == writer.published
    assert 0 < len(entries) < 50
    assert sum(map(len, entries[:-1])) <= 1_000


async def test_a_mirror_may_hold_and_cosign_what_is_committed_and_not_published_yet(
    writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any
) -> None:
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")

    async def follow() -> None:
        while mirror.size < 41:
            await writer.grown(mirror.size)
            start = mirror.size
            newest, proof, entries = await writer.since(start, 1 << 20)
            line = await mirror.take(newest.note, start, proof, start, entries)
            seen = await writer.add_cosignature(newest.checkpoint.text, line)
            assert seen is not None
            assert seen.checkpoint.size >= newest.checkpoint.size

    following = asyncio.create_task(follow())
    for _ in range(40):
        await helpers.append(writer)
    await following
    await writer.keep()
    kept = {int(path.name) for path in (zone.directory / "checkpoints").iterdir()}
    assert max(kept) == 41
    assert await mirror.read(0, 99, 1 << 30) == await writer.read(0, 99, 1 << 30)


async def test_a_cosignature_is_kept_no_sooner_than_its_checkpoint_is_published(
    writer: LogWriter, helpers: Any
) -> None:
    cosigner = CosignatureSigner("w", Ed25519PrivateKey.generate())
    await writer.set_policy(f"witness a {cosigner.vkey}\nquorum a\n")
    await helpers.append(writer)
    head = writer.published.checkpoint
    store = writer._cosignatures
    store.add(head.text, cosigner.cosign(head.text, 1), head)
    assert store.keep(head.size - 1)
    assert store.keep(head.size) is False


def test_a_compact_range_names_its_subtrees_as_a_tree_does() -> None:
    leaves = [leaf_hash(bytes([n])) for n in range(37)]
    edge = CompactRange()
    for size, leaf in enumerate(leaves, 1):
        edge.append(leaf)
        found = edge.subtrees()
        assert len(found) == size.bit_count()
        assert all(
            each == tree_hash_of_leaf_hashes(leaves[index << height : (index + 1) << height])
            for (height, index), each in found.items()
        )


async def test_another_policy_drops_what_waits_to_be_kept_under_the_one_before(
    writer: LogWriter, zone: Any, helpers: Any
) -> None:
    before, after = (CosignatureSigner(name, Ed25519PrivateKey.generate()) for name in ("before", "after"))
    await writer.set_policy(f"witness a {before.vkey}\nquorum a\n")
    await helpers.append(writer)
    head = writer.published.checkpoint
    store = writer._cosignatures
    store.add(head.text, before.cosign(head.text, 1), head)
    store.set_policy(f"witness a {after.vkey}\nquorum a\n", head.size - 1)  # as if it were not published yet
    assert store.keep(head.size) is False
    assert not (zone.directory / "checkpoint.witnessed").exists()
    store.add(head.text, after.cosign(head.text, 1), head)
    assert store.keep(head.size) is False
    assert store.witnessed is not None
    assert (zone.directory / "checkpoint.witnessed").read_bytes() == store.witnessed.note


class HeldDisk(DiskStorage):
    """A disk that names no file until it is released."""

    def __init__(self) -> None:
        self.released = threading.Event()

    def link(self, source: str, target: str) -> None:
        assert self.released.wait(30)
        super().link(source, target)


async def test_what_is_committed_is_told_before_it_is_published_and_survives_a_crash(zone: Any, tmp_path: Path) -> None:
    disk = HeldDisk()
    writer = await zone.open(storage=disk)
    entry_id, arguments = new_id(), {"kind": "decision", "subject": "transfers/1", "body": {"n": 1}}
    try:
        published = asyncio.create_task(writer.append(id=entry_id, **arguments))
        first = await writer.append(id=entry_id, **arguments, committed=True)
        assert (first.seq, first.size, writer.committed.checkpoint.size) == (1, 2, 2)
        assert await writer.append(id=entry_id, **arguments, committed=True) == first
        assert (published.done(), writer.published.checkpoint.size) == (False, 1)
        found = asyncio.create_task(writer.find(entry_id))
        shutil.copytree(zone.directory, tmp_path / "crashed")  # as a crash would leave it
    finally:
        disk.released.set()
    assert await published == first
    assert await found == first
    head = writer.published.checkpoint
    await writer.close()
    zone.directory = tmp_path / "crashed"
    again = await zone.open()
    assert again.published.checkpoint == head
    assert await again.append(id=entry_id, **arguments) == first
    await again.close()
