"""Writers, a mirror and readers at once: readers prove what they read under the checkpoint they share."""

from __future__ import annotations

import asyncio
import random
from pathlib import Path

import pytest
from story import COSIGNER, SIGNER, open_mirror, prepare, push

from ledger.checkpoint import Checkpoint
from ledger.entry import Entry, new_id
from ledger.merkle import inclusion_proof, leaf_hash, verify_consistency, verify_inclusion
from ledger.mirror_store import mirror_directory
from ledger.note import open_note, verifier
from ledger.tiles import TileReader
from ledger.verify import verify_directory
from ledger.writer import Appended, LogWriter

pytestmark = pytest.mark.faults

WRITERS, EACH = 40, 40


async def test_writers_readers_and_a_mirror_at_once(tmp_path: Path) -> None:
    await prepare(tmp_path)
    directory = tmp_path / "log"
    writer = await LogWriter.open(directory, SIGNER)
    mirror = await open_mirror(tmp_path / "peer")
    await writer.set_policy(f"log {SIGNER.vkey}\nwitness peer {COSIGNER.vkey}\nquorum peer\n")
    done = asyncio.Event()
    results: dict[str, Appended] = {}
    reads = pushes = 0

    async def write(number: int) -> None:
        for n in range(EACH):
            entry = {"id": new_id(), "kind": "decision", "subject": f"transfers/{number}", "body": {"n": n}}
            results[str(entry["id"])] = await writer.append(**entry)  # type: ignore[arg-type]

    def read_once(chosen: random.Random, seen: Checkpoint | None) -> Checkpoint:
        """As an outsider: the checkpoint file, then tiles, without the writer's help."""
        note = open_note((directory / "checkpoint").read_bytes(), [verifier(SIGNER.vkey)])
        head = Checkpoint.parse(note.text)
        reader = TileReader(directory)
        seq = chosen.randrange(head.size)
        (data,) = reader.entries(seq, seq + 1, head.size)
        proof = inclusion_proof(reader.nodes(head.size), seq, head.size)
        verify_inclusion(leaf_hash(data), seq, head.size, proof, head.root)
        assert Entry.parse(data).seq == seq
        if seen is not None:
            from ledger.merkle import consistency_proof

            proof = consistency_proof(reader.nodes(head.size), seen.size, head.size)
            verify_consistency(seen.size, head.size, proof, seen.root, head.root)
        return head

    async def read(seed: int) -> None:
        nonlocal reads
        chosen, seen = random.Random(seed), None
        while not done.is_set():
            seen = await asyncio.to_thread(read_once, chosen, seen)
            reads += 1

    async def follow() -> None:
        nonlocal pushes
        while not done.is_set() or mirror.size < writer.published.checkpoint.size:
            head = writer.published.checkpoint
            await writer.add_cosignature(head.text, await push(writer, mirror))
            pushes += 1
            await asyncio.sleep(0)

    background = [asyncio.create_task(each) for each in (read(1), read(2), follow())]
    await asyncio.gather(*(write(number) for number in range(WRITERS)))
    done.set()
    await asyncio.gather(*background)
    assert reads > 5
    assert pushes > 2
    size = 253 + WRITERS * EACH
    assert sorted(each.seq for each in results.values()) == list(range(253, size))
    assert writer.published.checkpoint.size == mirror.size == size
    for entry_id, result in list(results.items())[::97]:
        assert await writer.find(entry_id) == result
    await writer.close()
    await mirror.close()
    report = verify_directory(directory, vkey=SIGNER.vkey)
    assert (report.findings, report.incomplete, report.size) == ([], [], size)
    assert report.witnessed is not None
    assert report.witnessed.size == size
    assert verify_directory(mirror_directory(tmp_path / "peer", SIGNER.name), vkey=SIGNER.vkey).findings == []
