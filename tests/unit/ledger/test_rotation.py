"""Another key of a log: signed by both, seen by all, followed by those who trust one of the two."""

from __future__ import annotations

import shutil
import time
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.entry import Entry, new_id
from ledger.errors import (
    BadSignatureError,
    ContradictionError,
    EntryError,
    NoteError,
    OperationalError,
    SignatureError,
    StorageFullError,
)
from ledger.key_history import KeyHistory, KeyRange, Rotation, rotation_in
from ledger.mirror_store import mirror_directory
from ledger.note import CosignatureSigner, Note, NoteSigner, check_note
from ledger.storage import DiskStorage
from ledger.verify import verify_directory
from ledger.writer import LogWriter

if TYPE_CHECKING:
    from pathlib import Path


def _signer(name: str) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.generate())


def _signed_by(note: bytes, *signers: NoteSigner) -> list[bool]:
    keys = KeyHistory(tuple(KeyRange(each.vkey, number) for number, each in enumerate(signers)))
    found = {each.vkey for each in check_note(Note.parse(note), keys.verifiers()).verified}
    return [each.vkey in found for each in signers]


async def _policy(writer: LogWriter, zone: Any, *cosigners: CosignatureSigner) -> None:
    names = [f"w{number}" for number in range(len(cosigners))]
    lines = [f"witness {name} {each.vkey}" for name, each in zip(names, cosigners, strict=True)]
    await writer.set_policy(
        "\n".join([f"log {zone.signer.vkey}", *lines, f"group g any {' '.join(names)}", "quorum g\n"])
    )


async def test_both_keys_sign_until_every_cosigner_has_seen_the_entry(
    writer: LogWriter, zone: Any, helpers: Any
) -> None:
    old, new = zone.signer, _signer(zone.signer.name)
    one, two = (CosignatureSigner(f"w{n}", Ed25519PrivateKey.generate()) for n in range(2))
    await _policy(writer, zone, one, two)
    await helpers.append(writer)
    before = writer.published.checkpoint
    rotated = await writer.rotate(new)
    assert (rotated.seq, writer.published.checkpoint.size) == (2, 3)
    entry = Entry.parse((await writer.read(2, 3, 1))[0])
    assert rotation_in(entry, zone.signer.name) == Rotation(zone.signer.name, old.vkey, new.vkey, 3)
    assert (zone.directory / "vkey").read_text() == f"{new.vkey}\n"
    assert (zone.directory / "vkeys").read_text() == f"0 - {old.vkey}\n3 - {new.vkey}\n"
    assert f"log {new.vkey}\n" in (zone.directory / "policy.tlog").read_text()
    assert _signed_by(writer.published.note, old, new) == [True, True]
    # One cosigner of two has seen it, the other only what was before: both keys go on.
    await writer.add_cosignature(
        writer.published.checkpoint.text, one.cosign(writer.published.checkpoint.text, int(time.time()))
    )
    await writer.add_cosignature(before.text, two.cosign(before.text, int(time.time())))
    await helpers.append(writer)
    assert _signed_by(writer.published.note, old, new) == [True, True]
    assert writer.keys.retiring is not None
    with pytest.raises(OperationalError, match="not finished"):
        await writer.rotate(_signer(zone.signer.name))
    await writer.add_cosignature(
        writer.published.checkpoint.text, two.cosign(writer.published.checkpoint.text, int(time.time()))
    )
    await helpers.append(writer)
    assert _signed_by(writer.published.note, old, new) == [False, True]
    assert writer.keys.retiring is None
    assert (zone.directory / "vkeys").read_text() == f"0 4 {old.vkey}\n3 - {new.vkey}\n"
    third = _signer(zone.signer.name)
    await writer.rotate(third)
    assert writer.keys.vkeys == [old.vkey, new.vkey, third.vkey]
    for vkey in writer.keys.vkeys:
        assert verify_directory(zone.directory, vkey=vkey).findings == []


async def test_a_start_needs_the_keys_that_the_log_says(zone: Any, helpers: Any) -> None:
    old, new = zone.signer, _signer(zone.signer.name)
    cosigner = CosignatureSigner("w", Ed25519PrivateKey.generate())
    writer = await zone.open()
    await _policy(writer, zone, cosigner)
    await writer.rotate(new)
    await writer.close()
    for given in ((old,), (_signer(zone.signer.name),)):
        with pytest.raises(ContradictionError, match="key"):
            await LogWriter.open(zone.directory, *given)
    with pytest.raises(OperationalError, match="not every cosigner"):
        await LogWriter.open(zone.directory, new)
    for order in ((old, new), (new, old)):
        writer = await LogWriter.open(zone.directory, order[0], others=order[1:])
        await helpers.append(writer)
        assert _signed_by(writer.published.note, old, new) == [True, True]
        await writer.close()
    writer = await LogWriter.open(zone.directory, new, others=[old])
    head = writer.published.checkpoint
    await writer.add_cosignature(head.text, cosigner.cosign(head.text, int(time.time())))
    await helpers.append(writer)
    await writer.close()
    writer = await LogWriter.open(zone.directory, new)
    await helpers.append(writer)
    await writer.close()


async def test_without_witnesses_the_old_key_signs_the_entry_s_checkpoint_only(
    writer: LogWriter, zone: Any, helpers: Any
) -> None:
    new = _signer(zone.signer.name)
    await writer.rotate(new)
    assert _signed_by(writer.published.note, zone.signer, new) == [True, True]
    await helpers.append(writer)
    assert _signed_by(writer.published.note, zone.signer, new) == [False, True]


async def test_what_is_no_fresh_key_of_the_log_is_refused(writer: LogWriter, zone: Any) -> None:
    for each in (zone.signer, _signer("tdz/other/2026-0000")):
        with pytest.raises(OperationalError, match="fresh"):
            await writer.rotate(each)
    for kind in ("key.rotated", "log.sealed", "clock.corrected", "erasure", "log.opened"):
        with pytest.raises(EntryError, match="own"):
            await writer.append(id=new_id(), kind=kind, subject="log", body={})
    assert writer.published.checkpoint.size == 1


class FullAtCommit(DiskStorage):
    """A disk that is full at the next commit point."""

    full = False

    def commit(self, connection: Any) -> None:
        if self.full:
            self.full = False
            connection.execute("ROLLBACK")
            raise OSError(28, "No space left on device")
        super().commit(connection)


async def test_a_rotation_that_the_disk_refused_leaves_no_trace(zone: Any, helpers: Any) -> None:
    disk, new = FullAtCommit(), _signer(zone.signer.name)
    writer = await zone.open(storage=disk)
    disk.full = True
    with pytest.raises(StorageFullError):
        await writer.rotate(new)
    assert (zone.directory / "vkeys").read_text() == f"0 - {zone.signer.vkey}\n"
    await helpers.append(writer)
    assert _signed_by(writer.published.note, zone.signer, new) == [True, False]
    assert (await writer.rotate(new)).seq == 2
    await writer.close()
    assert verify_directory(zone.directory, vkey=zone.signer.vkey).findings == []


async def test_a_line_of_vkeys_whose_entry_never_came_to_stand_is_taken_back_at_the_start(zone: Any) -> None:
    vkeys = zone.directory / "vkeys"
    vkeys.write_bytes(KeyHistory.of(zone.signer.vkey).rotated(_signer(zone.signer.name).vkey, 2).encode())
    writer = await zone.open()
    assert writer.keys == KeyHistory.of(zone.signer.vkey)
    await writer.close()
    assert vkeys.read_text() == f"0 - {zone.signer.vkey}\n"


async def test_the_peer_s_mirror_follows_the_entry_and_then_needs_the_new_key(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    old, new = zone.signer, _signer(zone.signer.name)
    mirror = await peer.mirror(zone)
    await _policy(writer, zone, peer.cosigner)
    await helpers.append(writer, 2)
    await helpers.push(writer, mirror)
    await writer.rotate(new)
    await helpers.append(writer)
    assert mirror.size == 3
    await writer.add_cosignature(writer.published.checkpoint.text, await helpers.push(writer, mirror))
    await helpers.append(writer)
    await helpers.push(writer, mirror)
    assert _signed_by(mirror.note, old, new) == [False, True]
    # What the old key alone signs is no checkpoint of the log any more.
    await helpers.append(writer)
    head = writer.published.checkpoint
    forged = f"{head.text}\n{old.sign(head.text)}\n".encode()
    with pytest.raises(BadSignatureError):
        await mirror.begin(forged, mirror.size, await writer.consistency_proof(mirror.size, head.size))
    await mirror.close()
    directory = mirror_directory(peer.directory, zone.signer.name)
    assert (directory / "vkey").read_text() == f"{new.vkey}\n"
    assert KeyHistory.parse((directory / "vkeys").read_text()).vkeys == [old.vkey, new.vkey]
    for vkey in (old.vkey, new.vkey):
        assert verify_directory(directory, vkey=vkey).findings == []
    # After a restart, with the card of before and with the one that came since.
    for signer in (old, new):
        again = await peer.mirror(type(zone)(zone.directory, signer, None))
        await helpers.append(writer)
        await helpers.push(writer, again)
        await again.close()


async def test_a_mirror_that_begins_with_the_newest_key_takes_the_log_from_its_start(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    old, new, third = zone.signer, _signer(zone.signer.name), _signer(zone.signer.name)
    for each in (new, third):
        await helpers.append(writer, 200)
        await writer.rotate(each)
    await helpers.append(writer, 200)
    mirror = await peer.mirror(type(zone)(zone.directory, third, None))
    await helpers.push(writer, mirror)
    assert mirror.size == 603
    await mirror.close()
    directory = mirror_directory(peer.directory, zone.signer.name)
    assert KeyHistory.parse((directory / "vkeys").read_text()).vkeys == [old.vkey, new.vkey, third.vkey]
    assert verify_directory(directory, vkey=third.vkey).findings == []


async def test_a_mirror_that_missed_the_time_of_both_keys_follows_by_the_card(
    writer: LogWriter, zone: Any, peer: Any, helpers: Any
) -> None:
    new = _signer(zone.signer.name)
    mirror = await peer.mirror(zone)
    await helpers.push(writer, mirror)
    await writer.rotate(new)
    await helpers.append(writer)
    assert _signed_by(writer.published.note, zone.signer, new) == [False, True]
    with pytest.raises(BadSignatureError):
        await helpers.push(writer, mirror)
    await mirror.close()
    mirror = await peer.mirror(type(zone)(zone.directory, new, None))
    await helpers.push(writer, mirror)
    assert mirror.size == 3
    await mirror.close()


async def test_a_stolen_key_brings_in_no_other_one_where_the_card_names_it(
    zone: Any, peer: Any, helpers: Any, tmp_path: Path
) -> None:
    # The thief goes on with a copy of the log; the zone has told its peer another key on a card.
    shutil.copytree(zone.directory, tmp_path / "stolen")
    thief = await LogWriter.open(tmp_path / "stolen", zone.signer)
    mirror = await peer.mirror(zone)
    await helpers.push(thief, mirror)
    await mirror.close()
    await thief.rotate(_signer(zone.signer.name))
    named = type(zone)(zone.directory, _signer(zone.signer.name), None)
    mirror = await peer.mirror(named)
    with pytest.raises(BadSignatureError, match="card"):
        await helpers.push(thief, mirror)
    assert mirror.size == 1
    await mirror.close()
    await thief.close()


def test_a_rotation_counts_with_both_signatures_in_its_place_only() -> None:
    origin = "tdz/lingang/2026-00ff"
    old, new, other = (_signer(origin) for _ in range(3))
    rotation = Rotation(origin, old.vkey, new.vkey, 8)
    body = rotation.body(old, new)

    def entry(body: Any, seq: int = 7, kind: str = "key.rotated") -> Entry:
        return Entry(new_id(), seq, bytes(32), "2026-01-01T00:00:00.000000Z", kind, "log", body)

    assert Rotation.of(entry(body), origin) == rotation
    signatures: Any = body["signatures"]
    for broken in (
        entry(body, seq=8),
        entry(body, kind="decision"),
        entry({**body, "from": 9}),
        entry({**body, "old": other.vkey}),
        entry({**body, "new": other.vkey}),
        entry({**body, "new": old.vkey, "signatures": {"old": signatures["old"], "new": signatures["old"]}}),
        entry({**body, "signatures": {"old": signatures["old"]}}),
        entry({**body, "signatures": {"old": signatures["new"], "new": signatures["old"]}}),
        entry({**body, "signatures": {**signatures, "new": other.sign(rotation.text)}}),
        entry({**body, "signatures": {**signatures, "old": "nonsense"}}),
        entry({**body, "old": "nonsense"}),
        entry({}),
    ):
        assert rotation_in(broken, origin) is None
        with pytest.raises((NoteError, SignatureError)):
            Rotation.of(broken, origin)
    assert rotation_in(entry(body), "tdz/other/2026-00ff") is None


def test_vkeys_are_parsed_in_their_one_form() -> None:
    origin = "tdz/lingang/2026-00ff"
    one, two, three = (_signer(origin).vkey for _ in range(3))
    history = KeyHistory.of(one).rotated(two, 5).ended(9).rotated(three, 12)
    text = history.encode().decode()
    assert text == f"0 9 {one}\n5 - {two}\n12 - {three}\n"
    assert KeyHistory.parse(text) == history
    assert [history.at(size).vkey for size in (0, 4, 5, 11, 12, 99)] == [one, one, two, two, three, three]
    history.require_signed({one, two}, 9)
    with pytest.raises(SignatureError, match="ended at size 9"):
        history.require_signed({one, two}, 10)
    with pytest.raises(SignatureError, match="for size 12"):
        history.require_signed({one, two}, 12)
    for broken in (
        "",
        f"0 - {one}",
        f"1 - {one}\n",
        f"0 5 {one}\n",
        f"0 - {one}\n0 - {two}\n",
        f"0 3 {one}\n5 - {two}\n",
        f"0 - {one}\n5 - {two}\n9 - {three}\n",
        f"0 9 {one}\n5 - {one}\n",
        f"0 9 {one}\n05 - {two}\n",
        f"0 9 {one}\n5 - {_signer('tdz/other/x').vkey}\n",
        f"0 - {one} \n",
        "0 - nonsense\n",
        f"0 - {one}\n\n",
    ):
        with pytest.raises(NoteError):
            KeyHistory.parse(broken)
