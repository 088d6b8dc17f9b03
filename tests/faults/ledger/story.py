"""What the fault tests do to a log, and what must hold afterwards."""

from __future__ import annotations

import asyncio
import shutil
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.entry import Entry, new_id
from ledger.errors import ForkError, FrozenError, LedgerError
from ledger.merkle import leaf_hash
from ledger.mirror import Mirror
from ledger.mirror_store import mirror_directory
from ledger.note import CosignatureSigner, CosignatureVerifier, NoteSigner, Signature
from ledger.rebuild import read_source, rebuild
from ledger.storage import DiskStorage, Storage
from ledger.verify import verify_directory
from ledger.writer import Appended, LogWriter

SIGNER = NoteSigner("tdz/lingang/2026-00ff", Ed25519PrivateKey.from_private_bytes(b"a" * 32))
PEER = NoteSigner("tdz/cyberjaya/2026-00aa", Ed25519PrivateKey.from_private_bytes(b"b" * 32))
COSIGNER = CosignatureSigner("tdz/cyberjaya/mirror", Ed25519PrivateKey.from_private_bytes(b"c" * 32))

# From 253 entries: one within the tile, and a batch across its border.
BATCHES = (1, 4)
IDS = [new_id() for _ in range(sum(BATCHES))]


@dataclass(frozen=True)
class Event:
    """An entry of the story."""

    number: int
    id: str

    def arguments(self) -> dict[str, Any]:
        return {"id": self.id, "kind": "decision", "subject": f"transfers/{self.number}", "body": {"n": self.number}}


def events(ids: list[str] = IDS) -> list[list[Event]]:
    """The story's entries by batch."""
    numbered = [Event(number, each) for number, each in enumerate(ids)]
    return [[numbered.pop(0) for _ in range(count)] for count in BATCHES]


async def prepare(directory: Path) -> None:
    """A log of 253 entries, and a peer's directory that mirrors 250 of them."""
    LogWriter.create(directory / "log", origin=SIGNER.name, signer=SIGNER, reserve_bytes=4096)
    LogWriter.create(directory / "peer", origin=PEER.name, signer=PEER, reserve_bytes=4096)
    writer = await LogWriter.open(directory / "log", SIGNER)
    mirror = await open_mirror(directory / "peer")
    for count in (249, 3):
        await asyncio.gather(
            *(writer.append(id=new_id(), kind="decision", subject="x", body={"n": n}) for n in range(count))
        )
        if count == 249:
            await push(writer, mirror)
    await writer.close()
    await mirror.close()


async def open_mirror(
    directory: Path, storage: Storage | None = None, fatal: Callable[[BaseException], None] | None = None
) -> Mirror:
    """The peer's mirror of the log."""
    options: dict[str, Any] = {"storage": storage}
    if fatal is not None:
        options["fatal"] = fatal
    return await Mirror.open(directory, peer_vkey=SIGNER.vkey, cosigner=COSIGNER, **options)


async def push(writer: LogWriter, mirror: Mirror, step: int = 1 << 20) -> str:
    """Push what is published; returns the cosignature line."""
    head = writer.published
    size = head.checkpoint.size
    await mirror.begin(head.note, mirror.size, await writer.consistency_proof(mirror.size, size))
    while mirror.have < size:
        await mirror.receive(await writer.read(mirror.have, size, step))
    return await mirror.finish()


async def push_at_once(writer: LogWriter, mirror: Mirror) -> str:
    """Push what is published in one message; returns the cosignature line."""
    start = mirror.size
    published, proof, entries = await writer.since(start, 1 << 30)
    return await mirror.take(published.note, start, proof, start, entries)


async def check_log(directory: Path, acknowledged: dict[str, tuple[int, str]], planned: list[Event]) -> None:
    """After a crash: it opens, holds what was acknowledged, takes the rest once, and verifies."""
    writer = await LogWriter.open(directory, SIGNER)
    try:
        size = writer.published.checkpoint.size
        for each, (seq, leaf) in acknowledged.items():
            found = await writer.find(each)
            assert found is not None, f"{each} was acknowledged and is gone"
            assert (found.seq, found.leaf_hash.hex()) == (seq, leaf)
            assert found.seq < size
        results = [await writer.append(**event.arguments()) for event in planned]
        assert len({each.seq for each in results}) == len(planned), "an entry stands twice"
        assert writer.published.checkpoint.size == 253 + len(planned), "a retry doubled an entry"
        for event, result in zip(planned, results, strict=True):
            (data,) = await writer.read(result.seq, result.seq + 1, 1)
            assert Entry.parse(data).id == event.id
            assert leaf_hash(data) == result.leaf_hash
    finally:
        await writer.close()
    report = verify_directory(directory, vkey=SIGNER.vkey)
    assert report.findings == []
    assert list((directory / "state/staging").iterdir()) == []


async def check_mirror(work: Path, log: Path, cosigned: list[tuple[int, str, str]]) -> None:
    """After a crash: whatever was cosigned is held; the push goes on, and the mirror verifies."""
    directory = mirror_directory(work, SIGNER.name)
    for size, text, line in cosigned:
        CosignatureVerifier(COSIGNER.vkey).verify(text, Signature.parse(line))
        assert size <= 266, "the log is not that large"
    mirror = await open_mirror(work)
    writer = await LogWriter.open(log, SIGNER)
    try:
        largest = max([250, *(size for size, _, _ in cosigned)])
        assert mirror.size >= largest, "a cosignature said more than the mirror holds"
        assert mirror.have >= mirror.size
        size = writer.published.checkpoint.size
        await push_at_once(writer, mirror)
        assert mirror.size == size
        assert await mirror.read(0, size, 1 << 30) == await writer.read(0, size, 1 << 30)
    finally:
        await mirror.close()
        await writer.close()
    report = verify_directory(directory, vkey=SIGNER.vkey, witness_vkeys=[COSIGNER.vkey])
    assert report.findings == []
    assert report.witnessed is not None
    assert report.witnessed.size == size


async def run_log(
    directory: Path,
    storage: Storage,
    fatal: Callable[[BaseException], None],
    acknowledge: Callable[[Event, Appended], None],
) -> None:
    """Append the story's batches; stops at the first error."""
    writer = await LogWriter.open(directory, SIGNER, storage=storage, fatal=fatal)
    try:
        for batch in events():
            results = await asyncio.gather(
                *(writer.append(**event.arguments()) for event in batch), return_exceptions=True
            )
            for event, result in zip(batch, results, strict=True):
                if isinstance(result, Appended):
                    acknowledge(event, result)
                elif not isinstance(result, LedgerError):
                    raise result
            if any(isinstance(each, BaseException) for each in results):
                return
    finally:
        await writer.close()


async def run_mirror(
    work: Path,
    log: Path,
    storage: Storage,
    fatal: Callable[[BaseException], None],
    cosigned: Callable[[int, str, str], None],
) -> None:
    """Push the log in goes of one message and of several, each answered with a cosignature."""
    writer = await LogWriter.open(log, SIGNER)
    try:
        mirror = await open_mirror(work, storage, fatal)
    except BaseException:
        await writer.close()
        raise
    try:
        for count, at_once in ((1, True), (4, True), (1, False), (6, False), (1, True)):
            for _ in range(count):
                await writer.append(id=new_id(), kind="decision", subject="x", body={})
            head = writer.published.checkpoint
            line = await (push_at_once(writer, mirror) if at_once else push(writer, mirror, 500))
            cosigned(head.size, head.text, line)
    finally:
        await mirror.close()
        await writer.close()


async def prepare_fork(directory: Path) -> None:
    """A peer that mirrors one copy of the log, and another copy that went on otherwise."""
    copy(directory / "log", directory / "other")
    for name, count in (("log", 2), ("other", 4)):
        writer = await LogWriter.open(directory / name, SIGNER)
        for n in range(count):
            await writer.append(id=new_id(), kind="decision", subject=name, body={"n": n})
        if name == "log":
            mirror = await open_mirror(directory / "peer")
            await push(writer, mirror)
            await mirror.close()
        await writer.close()


async def run_fork(
    work: Path, other: Path, storage: Storage, fatal: Callable[[BaseException], None], cosigned: Callable[[str], None]
) -> None:
    """Show the mirror the other copy; tells what it was cosigned, which must be nothing."""
    writer = await LogWriter.open(other, SIGNER)
    try:
        mirror = await open_mirror(work, storage, fatal)
    except BaseException:
        await writer.close()
        raise
    try:
        cosigned(await push_at_once(writer, mirror))
    except (ForkError, FrozenError):
        pass  # as it must be
    finally:
        await mirror.close()
        await writer.close()


async def check_fork(work: Path, log: Path, other: Path) -> None:
    """After a crash: whichever copy is shown, nothing of the other is ever cosigned, and the evidence is kept."""
    mirror = await open_mirror(work)
    size = mirror.size
    writer = await LogWriter.open(other, SIGNER)
    try:
        for _ in range(2):
            try:
                await push_at_once(writer, mirror)
            except (ForkError, FrozenError):
                continue
            raise AssertionError("the fork was cosigned")
        assert mirror.size == size
        assert mirror.frozen is not None
        evidence = await mirror.evidence()
        assert evidence is not None
        assert evidence.origin == SIGNER.name
        assert (work / mirror.frozen.evidence).read_bytes() == evidence.encode()
    finally:
        await writer.close()
        await mirror.close()
    assert verify_directory(mirror_directory(work, SIGNER.name), vkey=SIGNER.vkey).findings == []
    assert verify_directory(log, vkey=SIGNER.vkey).findings == []


def run_recover(target: Path, work: Path, storage: Storage) -> None:
    """Make the lost log anew from the peer's mirror."""
    rebuild(target, read_source(mirror_directory(work, SIGNER.name), SIGNER.vkey), reserve_bytes=4096, storage=storage)


async def check_recover(target: Path, work: Path) -> None:
    """After a crash: it is there whole, or not at all and is made by the next try; then it goes on."""
    if not target.exists():
        run_recover(target, work, DiskStorage())
    mirrored = verify_directory(mirror_directory(work, SIGNER.name), vkey=SIGNER.vkey)
    writer = await LogWriter.open(target, SIGNER)
    try:
        assert (writer.published.checkpoint.size, writer.published.checkpoint.root) == (mirrored.size, mirrored.root)
        (first,) = await writer.read(1, 2, 1)
        known = Entry.parse(first)
        assert (await writer.append(id=known.id, kind=known.kind, subject=known.subject, body=known.body)).seq == 1
        assert (await writer.append(id=new_id(), kind="decision", subject="x", body={})).seq == mirrored.size
    finally:
        await writer.close()
    assert verify_directory(target, vkey=SIGNER.vkey).findings == []


def copy(source: Path, target: Path) -> Path:
    """A copy to destroy."""
    shutil.copytree(source, target)
    return target
