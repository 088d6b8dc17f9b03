"""What an operator does to a log in the fault tests, and what must hold afterwards. Not a test."""

from __future__ import annotations

import base64
import json
import os
import sqlite3
import time
from collections.abc import Callable
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from story import COSIGNER, PEER, SIGNER, open_mirror, push, push_at_once

from ledger.disclosure import make_disclosure, verify_disclosure
from ledger.entry import Entry, new_id
from ledger.errors import LedgerError, SealedError
from ledger.key_history import KeyHistory
from ledger.mirror_store import mirror_directory
from ledger.note import NoteSigner, NoteVerifier
from ledger.proof import Trust
from ledger.storage import Storage, SyncError
from ledger.thinning import DAY_S, HOUR_S
from ledger.verify import verify_directory
from ledger.writer import Appended, LogWriter

NEW = NoteSigner(SIGNER.name, Ed25519PrivateKey.from_private_bytes(b"n" * 32))
SECRET = "Tan Mei Ling of Petaling Jaya"
PERSON = new_id()  # the entry that commits to a person's name
FIELD = "/body/by"
PREPARED = 8  # entries
PLACE = PREPARED + 2  # that of the entry that commits
NAMED = 3  # the old checkpoint that a receipt names

Tell = Callable[[str, int, str], None]
"""Hears of each step that was acknowledged: its name, the entry's number and its leaf hash."""


class Clock:
    """True, or a day ahead for a while."""

    ahead = 0

    def __call__(self) -> int:
        return time.time_ns() + self.ahead


def _entry(number: int) -> dict[str, object]:
    return {"id": new_id(), "kind": "decision", "subject": f"transfers/{number}", "body": {"n": number}}


async def _cosigned(writer: LogWriter) -> None:
    text = writer.published.checkpoint.text
    await writer.add_cosignature(text, COSIGNER.cosign(text, int(time.time())))
    await writer.keep()


async def prepare_operations(work: Path) -> None:
    """A witnessed log with checkpoints that are old enough to go, one of them named by a receipt."""
    log = work / "log"
    LogWriter.create(log, origin=SIGNER.name, signer=SIGNER, reserve_bytes=4096)
    LogWriter.create(work / "peer", origin=PEER.name, signer=PEER, reserve_bytes=4096)
    writer = await LogWriter.open(log, SIGNER)
    await writer.set_policy(f"log {SIGNER.vkey}\nwitness peer {COSIGNER.vkey}\nquorum peer\n")
    for number in range(1, PREPARED - 1):
        await writer.append(**_entry(number))  # type: ignore[arg-type]
        await _cosigned(writer)
    payload = base64.b64encode((log / f"checkpoints/{NAMED}").read_bytes()).decode()
    note = json.dumps({"checkpoint": base64.b64decode(payload).decode()}).encode()
    body = {"payload": base64.b64encode(note).decode(), "payloadType": "x", "signatures": []}
    await writer.append(id=new_id(), kind="receipt", subject="transfers/1", body={"receipt": body})  # type: ignore[dict-item]
    await writer.close()
    old = time.time() // HOUR_S * HOUR_S - 2 * DAY_S
    for number in range(2, PREPARED - 1):
        os.utime(log / f"checkpoints/{number}", (old, old))


async def run_operations(
    log: Path, storage: Storage | None, fatal: Callable[[BaseException], None], tell: Tell
) -> None:
    """Correct the clock, commit to a value, rotate, thin, end the old key, erase, seal; ends at the first error."""
    clock = Clock()
    writer = await LogWriter.open(log, SIGNER, others=[NEW], clock=clock, storage=storage, fatal=fatal)

    def told(step: str, result: Appended) -> None:
        tell(step, result.seq, result.leaf_hash.hex())

    try:
        clock.ahead = DAY_S * 10**9
        told("wrong", await writer.append(**_entry(51)))  # type: ignore[arg-type]
        clock.ahead = 0
        told("corrected", await writer.accept_clock())
        told("committed", await writer.append_committed(**_person()))  # type: ignore[arg-type]
        told("rotated", await writer.rotate(NEW))
        await _cosigned(writer)  # everybody has seen it; and what is old goes
        told("appended", await writer.append(**_entry(50)))  # type: ignore[arg-type]
        told("erased", await writer.erase(PLACE, FIELD))
        told("sealed", await writer.seal("retired"))
    except (LedgerError, SyncError, OSError):
        return
    finally:
        await writer.close()


async def run_followed_key(
    work: Path, storage: Storage | None, fatal: Callable[[BaseException], None], tell: Tell
) -> None:
    """The peer's mirror takes a new key with the entry that brings it in, in one message and in several."""
    writer = await LogWriter.open(work / "log", SIGNER, others=[NEW])
    try:
        mirror = await open_mirror(work / "peer", storage, fatal)
    except BaseException:
        await writer.close()
        raise
    try:
        await push(writer, mirror)
        for at_once in (True, False):
            if writer.keys.current != NEW.vkey:
                await writer.rotate(NEW)
            await writer.append(**_entry(1))  # type: ignore[arg-type]
            head = writer.published.checkpoint
            line = await (push_at_once(writer, mirror) if at_once else push(writer, mirror, 300))
            tell(line, head.size, head.text)
            await writer.add_cosignature(head.text, line)
    except (LedgerError, SyncError, OSError):
        return
    finally:
        await mirror.close()
        await writer.close()


async def check_followed_key(work: Path, told: list[tuple[str, int, str]]) -> None:
    """After a crash of the mirror: what it cosigned it holds, and it goes on by the key that it has to follow."""
    writer = await LogWriter.open(work / "log", SIGNER, others=[NEW])
    mirror = await open_mirror(work / "peer")
    assert mirror.size >= max((size for _, size, _ in told), default=0)
    if writer.keys.current != NEW.vkey:
        await writer.rotate(NEW)
    head = writer.published.checkpoint
    await writer.add_cosignature(head.text, await push_at_once(writer, mirror))
    await writer.append(**_entry(2))  # type: ignore[arg-type]
    await push(writer, mirror)
    assert writer.keys.retiring is None
    size = writer.published.checkpoint.size
    await mirror.close()
    await writer.close()
    directory = mirror_directory(work / "peer", SIGNER.name)
    assert KeyHistory.parse((directory / "vkeys").read_text()).vkeys == [SIGNER.vkey, NEW.vkey]
    for vkey in (SIGNER.vkey, NEW.vkey):
        report = verify_directory(directory, vkey=vkey, witness_vkeys=[COSIGNER.vkey])
        assert (report.findings, report.size) == ([], size)


def _person() -> dict[str, object]:
    return {"id": PERSON, "kind": "approval", "subject": "transfers/1", "body": {}, "values": {"by": SECRET}}


def _stands(log: Path) -> list[tuple[Entry, bytes]]:
    from ledger.tiles import TileReader

    size = int((log / "checkpoint").read_text().split("\n")[1])
    return [(Entry.parse(data), data) for data in TileReader(log).entries(0, size, size)]


async def check_operations(log: Path, told: list[tuple[str, int, str]]) -> None:
    """After a crash: it opens, holds what was acknowledged, nothing that is erased, and the rest can be done."""
    from ledger.merkle import leaf_hash

    writer = await LogWriter.open(log, SIGNER, others=[NEW])
    entries = _stands(log)
    for step, seq, leaf in told:
        assert leaf_hash(entries[seq][1]).hex() == leaf, f"{step} was acknowledged and is gone"
    kinds = [entry.kind for entry, _ in entries]
    assert all(kinds.count(kind) <= 1 for kind in ("erasure", "key.rotated", "clock.corrected", "log.sealed"))
    # The value is there exactly as long as its entry stands and no erasure does.
    vault = b"".join(path.read_bytes() for path in (log / "state").glob("vault.db*"))
    if "approval" not in kinds or "erasure" in kinds:
        assert SECRET.encode() not in vault
    else:
        found = verify_disclosure(make_disclosure(log, PLACE, FIELD), Trust((NoteVerifier(_signer_of_head(writer)),)))
        assert found.value == SECRET
    assert ("key.rotated" in kinds) == (writer.keys.vkeys == [SIGNER.vkey, NEW.vkey])
    assert (log / f"checkpoints/{NAMED}").exists(), "a checkpoint that a receipt names is gone"
    await _finish(writer, kinds)
    await writer.close()
    assert not (log / f"checkpoints/{NAMED - 1}").exists()
    kinds = [entry.kind for entry, _ in _stands(log)]
    assert kinds.count("log.sealed") == kinds.count("key.rotated") == kinds.count("erasure") == 1
    assert SECRET.encode() not in b"".join(path.read_bytes() for path in (log / "state").glob("vault.db*"))
    for vkey in (SIGNER.vkey, NEW.vkey):
        report = verify_directory(log, vkey=vkey, witness_vkeys=[COSIGNER.vkey])
        assert report.findings == [], report.lines()
    with sqlite3.connect(log / "state/vault.db") as db:
        assert db.execute("SELECT count(*) FROM secrets").fetchone() == (0,)
    db.close()
    assert list((log / "state/staging").iterdir()) == []


def _signer_of_head(writer: LogWriter) -> str:
    """The newest checkpoint that covers the entry is signed by this key."""
    witnessed = writer.witnessed
    size = witnessed.checkpoint.size if witnessed and witnessed.checkpoint.size > PLACE else None
    return writer.keys.at(size or writer.published.checkpoint.size).vkey


async def _finish(writer: LogWriter, kinds: list[str]) -> None:
    """Do what the crash left undone; each step by the same means as the first time."""
    if "log.sealed" not in kinds:
        if "clock.corrected" not in kinds and len(kinds) > PREPARED:
            await writer.accept_clock()
        if "approval" not in kinds:
            await writer.append_committed(**_person())  # type: ignore[arg-type]
        if "erasure" not in kinds:
            seq = kinds.index("approval") if "approval" in kinds else writer.published.checkpoint.size - 1
            await writer.erase(seq, FIELD)
        if writer.keys.current != NEW.vkey:
            await writer.rotate(NEW)
        await _cosigned(writer)
        await writer.seal("retired")
    await _cosigned(writer)
    try:
        await writer.append(**_entry(99))  # type: ignore[arg-type]
        raise AssertionError("a sealed log takes nothing")
    except SealedError:
        pass
