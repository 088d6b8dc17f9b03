"""Values behind commitments: kept, disclosed to whoever gets the file, and erased for good."""

from __future__ import annotations

import asyncio
import hashlib
import hmac
import json
import shutil
import sqlite3
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import canonical
from ledger.commitment import commitment, field_pointer
from ledger.disclosure import make_disclosure, verify_disclosure
from ledger.entry import Entry, new_id
from ledger.errors import ConflictingEntryError, EntryError, OperationalError, TamperedError
from ledger.note import CosignatureSigner, CosignatureVerifier, NoteSigner, NoteVerifier
from ledger.proof import Trust
from ledger.verify import verify_directory

if TYPE_CHECKING:
    from pathlib import Path

    from ledger.writer import LogWriter

SECRET = "Tan Mei Ling of Petaling Jaya"


def _entry(**more: Any) -> dict[str, Any]:
    return {
        "id": new_id(),
        "kind": "approval",
        "subject": "transfers/1",
        "body": {"outcome": "approved", "by": {}},
        "values": {"/by/name": SECRET, "reason": {"text": "checked", "n": 1}},
        **more,
    }


def _files(zone: Any) -> bytes:
    """Every byte of the vault, its journal too."""
    return b"".join(path.read_bytes() for path in sorted((zone.directory / "state").glob("vault.db*")))


async def test_a_value_is_committed_to_as_anybody_can_compute(writer: LogWriter, zone: Any) -> None:
    given = _entry()
    appended = await writer.append_committed(**given)
    (data,) = await writer.read(appended.seq, appended.seq + 1, 1)
    assert SECRET.encode() not in data
    assert SECRET.encode() in _files(zone)
    entry = Entry.parse(data)
    disclosed = json.loads(make_disclosure(zone.directory, appended.seq, "/by/name"))
    salt = bytes.fromhex(disclosed["salt"])
    message = f"tdz-commit/v1\n{given['id']}\n/body/by/name\n".encode() + json.dumps(SECRET).encode()
    assert entry.body["by"] == {"name": hmac.new(salt, message, hashlib.sha256).hexdigest()}
    assert len(salt) == 32
    other = json.loads(make_disclosure(zone.directory, appended.seq, "reason"))
    assert other["salt"] != disclosed["salt"]
    assert other["value"] == {"text": "checked", "n": 1}


async def test_a_retry_repeats_the_entry_and_other_values_are_a_conflict(zone: Any) -> None:
    given = _entry()
    writer = await zone.open()
    first = await writer.append_committed(**given)
    results = await asyncio.gather(*(writer.append_committed(**given) for _ in range(5)))
    assert results == [first] * 5
    await writer.close()
    writer = await zone.open()
    assert await writer.append_committed(**given) == first
    with pytest.raises(ConflictingEntryError):
        await writer.append_committed(**{**given, "values": {**given["values"], "reason": "another"}})
    with pytest.raises(ConflictingEntryError):
        await writer.append_committed(**{**given, "values": {"/by/name": SECRET}})
    await writer.erase(first.seq, "/by/name")
    with pytest.raises(ConflictingEntryError, match="erased"):
        await writer.append_committed(**given)
    assert SECRET.encode() not in _files(zone)
    await writer.close()


async def test_what_cannot_be_committed_to_is_refused_before_anything_is_kept(writer: LogWriter, zone: Any) -> None:
    for values in (
        {},
        {"outcome": "x"},
        {"/by": {}},
        {"/nowhere/name": "x"},
        {"a\nb": "x"},
        {"/by/": "x"},
        {"/by/~2": "x"},
        {"name": 1.5},
        {"name": "x", "/body/name": "x"},
        {f"m{n}": n for n in range(65)},
    ):
        with pytest.raises(EntryError):
            await writer.append_committed(**_entry(values=values))
    with pytest.raises(EntryError):
        await writer.append_committed(**_entry(id="none"))
    assert writer.published.checkpoint.size == 1
    with sqlite3.connect(zone.directory / "state/vault.db") as db:
        assert db.execute("SELECT count(*) FROM secrets").fetchone() == (0,)
    db.close()


def test_fields_are_named_shortly_or_by_pointer() -> None:
    assert field_pointer("a") == field_pointer("/a") == field_pointer("/body/a") == "/body/a"
    assert field_pointer("/a~1b/~0") == "/body/a~1b/~0"
    salt = bytes(range(32))
    one = commitment(salt, "id", "/body/a", {"b": 1, "a": 2})
    assert one == commitment(salt, "id", "/body/a", {"a": 2, "b": 1})
    assert len({one, commitment(salt, "id", "/body/b", {"b": 1, "a": 2}), commitment(salt, "i", "/body/a", 1)}) == 3
    with pytest.raises(EntryError):
        commitment(salt[1:], "id", "/body/a", 1)


async def test_an_erasure_stands_in_the_log_and_nothing_of_the_value_stays(writer: LogWriter, zone: Any) -> None:
    kept = await writer.append_committed(**_entry())
    assert SECRET.encode() in _files(zone)
    erased = await writer.erase(kept.seq, "/by/name")
    entry = Entry.parse((await writer.read(erased.seq, erased.seq + 1, 1))[0])
    assert entry.kind == "erasure"
    assert entry.body["seq"] == kept.seq
    assert entry.body["field"] == "/body/by/name"
    assert SECRET.encode() not in _files(zone)
    with pytest.raises(OperationalError, match="nothing is kept"):
        make_disclosure(zone.directory, kept.seq, "/by/name")
    for seq, field in ((kept.seq, "/by/name"), (kept.seq, "outcome"), (0, "x"), (99, "x"), (-1, "x")):
        with pytest.raises(OperationalError):
            await writer.erase(seq, field)
    assert json.loads(make_disclosure(zone.directory, kept.seq, "reason"))["value"] == {"n": 1, "text": "checked"}
    assert verify_directory(zone.directory, vkey=zone.signer.vkey).findings == []


async def test_a_large_value_goes_whole(writer: LogWriter, zone: Any) -> None:
    mark = "never again " * 3000
    kept = await writer.append_committed(**_entry(values={"essay": mark}))
    assert b"never again" in _files(zone)
    await writer.erase(kept.seq, "essay")
    assert b"never again" not in _files(zone)


async def test_a_cancelled_caller_does_not_tear_an_erasure(writer: LogWriter, zone: Any) -> None:
    kept = await writer.append_committed(**_entry())
    caller = asyncio.create_task(writer.erase(kept.seq, "/by/name"))
    await asyncio.sleep(0)
    caller.cancel()
    with pytest.raises(asyncio.CancelledError):
        await caller
    while writer._running:
        await asyncio.wait(set(writer._running))
    assert writer.published.checkpoint.size == 3
    assert SECRET.encode() not in _files(zone)


async def test_a_start_forgets_what_never_came_to_stand_and_erases_again_from_an_older_vault(
    zone: Any, tmp_path: Path
) -> None:
    writer = await zone.open()
    kept = await writer.append_committed(**_entry())
    await writer.close()
    state = zone.directory / "state"
    shutil.copy(state / "vault.db", tmp_path / "older")
    with sqlite3.connect(state / "vault.db") as db:
        db.execute("INSERT INTO secrets VALUES (?, '/body/x', ?, '\"never\"', 0)", (new_id(), bytes(32)))
    db.close()
    writer = await zone.open()
    with sqlite3.connect(state / "vault.db") as db:
        assert db.execute("SELECT DISTINCT settled FROM secrets").fetchall() == [(1,)]
        assert db.execute("SELECT count(*) FROM secrets").fetchone() == (2,)
    db.close()
    await writer.erase(kept.seq, "/by/name")
    await writer.close()
    for name in state.glob("vault.db*"):
        name.unlink()
    shutil.copy(tmp_path / "older", state / "vault.db")
    assert SECRET.encode() in _files(zone)
    await (await zone.open()).close()
    assert SECRET.encode() not in _files(zone)
    # A lost vault costs its values, not the log.
    for name in state.glob("vault.db*"):
        name.unlink()
    writer = await zone.open()
    with pytest.raises(OperationalError, match="nothing is kept"):
        await writer.erase(kept.seq, "reason")
    await writer.close()


async def test_a_disclosure_holds_with_the_log_s_key_alone_and_no_byte_of_it_may_change(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    await helpers.append(writer, 5)
    kept = await writer.append_committed(**_entry())
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    mirror = await peer.mirror(zone)
    await writer.add_cosignature(writer.published.checkpoint.text, await helpers.push(writer, mirror))
    await writer.keep()
    await mirror.close()
    await helpers.append(writer, 3)
    data = make_disclosure(zone.directory, kept.seq, "/by/name")
    trust = Trust((NoteVerifier(zone.signer.vkey),), (CosignatureVerifier(peer.cosigner.vkey),))
    found = verify_disclosure(data, trust)
    assert (found.value, found.entry.seq, found.signed.checkpoint.size) == (SECRET, 6, 7)
    assert [each.name for each in found.signed.cosignatures] == ["tdz/cyberjaya/mirror"]
    for at in range(len(data)):
        changed = bytearray(data)
        changed[at] ^= 1 << (at % 8)
        try:
            seen = verify_disclosure(bytes(changed), trust)
        except TamperedError:
            continue
        assert not seen.signed.cosignatures, f"byte {at}"  # a line of a signer whom nobody knows proves nothing
    document: Any = canonical.decode(data)
    for change in (
        {"value": "another"},
        {"salt": "00" * 32},
        {"salt": "00"},
        {"field": "/body/reason"},
        {"field": "by/name"},
        {"proof": []},
        {"proof": ["00" * 32] * 65},
        {"proof": ["zz"]},
        {"disclosure": 2},
        {"disclosure": True},
        {"more": 1},
        {"note": 1},
    ):
        with pytest.raises(TamperedError):
            verify_disclosure(canonical.encode({**document, **change}), trust)
    other = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate())
    with pytest.raises(TamperedError):
        verify_disclosure(data, Trust((NoteVerifier(other.vkey),)))
    stranger = CosignatureSigner("w", Ed25519PrivateKey.generate())
    seen = verify_disclosure(data, Trust(trust.logs, (CosignatureVerifier(stranger.vkey),)))
    assert not seen.signed.cosignatures
