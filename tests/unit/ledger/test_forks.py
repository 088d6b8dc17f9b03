"""A log that forked or was rolled back: what proves it, what is frozen, and who must be asked before it signs."""

from __future__ import annotations

import errno
import json
import os
import shutil
import sqlite3
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.errors import (
    BadProofError,
    ContradictedError,
    ForkError,
    FrozenError,
    LedgerError,
    OldSizeError,
    OperationalError,
    RolledBackError,
    SignatureError,
    UnaskedError,
)
from ledger.evidence import Evidence
from ledger.marker import Marker
from ledger.merkle import EMPTY_ROOT
from ledger.note import NoteSigner
from ledger.storage import DiskStorage

if TYPE_CHECKING:
    from ledger.mirror import Mirror
    from ledger.writer import LogWriter


@pytest.fixture
def memory(request: pytest.FixtureRequest) -> Any:
    """A folder on tmpfs."""
    base = Path("/dev/shm")
    if not os.access(base, os.W_OK):
        pytest.skip("there is no /dev/shm")
    folder = base / f"tdz-test-{os.getpid()}-{abs(hash(request.node.name))}"
    yield folder
    shutil.rmtree(folder, ignore_errors=True)


async def _forked(zone: Any, mirror: Mirror, helpers: Any, common: int, first: int, second: int) -> Any:
    """Two copies of a log of `common` entries that went on apart; the first is mirrored. The second, open."""
    writer = await zone.open()
    await helpers.append(writer, common - 1)
    await writer.close()
    copy = type(zone)(zone.directory.with_name("copy"), zone.signer, zone.cosigner)
    shutil.copytree(zone.directory, copy.directory)
    writer = await zone.open()
    await helpers.append(writer, first, side=1)
    await helpers.push(writer, mirror)
    await writer.close()
    other = await copy.open()
    await helpers.append(other, second, side=2)
    return other


@pytest.mark.parametrize(
    ("common", "first", "second"), [(3, 2, 2), (3, 2, 1), (3, 2, 5), (3, 1, 5), (2, 2, 4), (260, 3, 300), (260, 30, 9)]
)
async def test_a_forked_copy_is_found_whatever_sizes_the_two_have_and_the_evidence_convinces_anybody(
    zone: Any, peer: Any, mirror: Mirror, helpers: Any, common: int, first: int, second: int
) -> None:
    other = await _forked(zone, mirror, helpers, common, first, second)
    held, ours = mirror.size, other.published.checkpoint.size
    with pytest.raises(RolledBackError):
        await other.check_held(mirror.note)
    old = min(held, ours)
    proof = await other.consistency_proof(old, ours)
    root = await other.root_at(old)
    with pytest.raises(ForkError):
        await mirror.begin(other.published.note, old, proof, root)
    assert mirror.frozen is not None
    data = (peer.directory / mirror.frozen.evidence).read_bytes()
    evidence = Evidence.parse(data, vkeys=[zone.signer.vkey])
    assert evidence.encode() == data
    assert {evidence.first.checkpoint.size, evidence.second.checkpoint.size} == {held, ours}
    assert await mirror.evidence() == evidence
    await other.close()


async def test_a_frozen_origin_stays_frozen_through_restarts_and_is_cosigned_no_more(
    zone: Any, peer: Any, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    other = await _forked(zone, mirror, helpers, 3, 2, 2)
    with pytest.raises(ForkError):
        await helpers.push(other, mirror)
    await other.close()
    entry = mirror.frozen.entry_id
    assert [each.name for each in (peer.directory / "evidence").iterdir()] == [Path(mirror.frozen.evidence).name]
    await mirror.close()
    mirror = await peer.mirror(zone)
    assert mirror.frozen is not None
    assert mirror.frozen.entry_id == entry
    writer = await zone.open()
    await helpers.append(writer)
    for _ in range(2):
        with pytest.raises(FrozenError, match="frozen"):
            await helpers.push(writer, mirror)
    with pytest.raises(FrozenError):
        await mirror.wait(99, 60)
    await writer.close()
    await mirror.close()


async def test_evidence_whose_row_was_lost_freezes_at_the_next_start_and_a_lost_file_is_written_again(
    zone: Any, peer: Any, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    before = peer.directory / "state"
    saved = before.with_name("saved")
    other = await _forked(zone, mirror, helpers, 3, 2, 2)
    await mirror.close()
    shutil.copytree(before, saved)
    mirror = await peer.mirror(zone)
    with pytest.raises(ForkError):
        await helpers.push(other, mirror)
    await other.close()
    await mirror.close()
    (path,) = (peer.directory / "evidence").iterdir()
    kept = path.read_bytes()
    path.unlink()
    await (await peer.mirror(zone)).close()
    assert path.read_bytes() == kept
    shutil.rmtree(before)
    saved.rename(before)
    mirror = await peer.mirror(zone)
    assert mirror.frozen is not None
    assert (await mirror.evidence()) == Evidence.parse(kept)
    await mirror.close()


async def test_a_log_that_only_lags_is_no_fork(zone: Any, mirror: Mirror, helpers: Any) -> None:
    writer = await zone.open()
    await helpers.append(writer, 2)
    early = writer.published.note
    await helpers.append(writer, 3)
    await helpers.push(writer, mirror)
    with pytest.raises(OldSizeError):
        await mirror.begin(early, 3, [])
    with pytest.raises(BadProofError):
        await helpers.append(writer, 3)
        await mirror.begin(writer.published.note, 6, await writer.consistency_proof(5, 9), bytes(32))
    assert mirror.frozen is None
    await helpers.push(writer, mirror)
    await writer.close()


async def test_evidence_that_proves_nothing_is_refused(zone: Any, peer: Any, mirror: Mirror, helpers: Any) -> None:
    other = await _forked(zone, mirror, helpers, 3, 2, 5)
    proof, root = await other.consistency_proof(5, 8), await other.root_at(5)
    with pytest.raises(ForkError):
        await mirror.begin(other.published.note, 5, proof, root)
    await other.close()
    good = json.loads((peer.directory / mirror.frozen.evidence).read_bytes())  # type: ignore[union-attr]
    stranger = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate())
    text = Checkpoint(zone.signer.name, 5, bytes(32)).text
    foreign = f"{text}\n{stranger.sign(text)}\n"
    empty = Checkpoint(zone.signer.name, 0, EMPTY_ROOT).text
    bad: list[dict[str, Any]] = [
        {"proof": good["proof"][:-1]},
        {"proof": [*good["proof"], "00" * 32]},
        {"proof": [each.upper() for each in good["proof"]]},
        {"old_root": "00" * 32},
        {"first": good["second"]},
        {"second": good["first"]},
        {"first": good["second"], "second": good["first"]},
        {"first": foreign},
        {"first": f"{empty}\n{zone.signer.sign(empty)}\n"},
        {"vkeys": [stranger.vkey]},
        {"vkeys": [peer.signer.vkey]},
        {"vkeys": sorted([zone.signer.vkey, stranger.vkey])},
        {"vkeys": []},
        {"vkeys": zone.signer.vkey},
        {"vkeys": [7]},
        {"origin": peer.signer.name},
        {"origin": 7},
        {"format": "tdz-fork-evidence/v2"},
        {"more": 1},
        {"proof": 7},
        {"first": 7},
    ]
    for change in bad:
        with pytest.raises(LedgerError):
            Evidence.parse(_line({**good, **change}))
    for data in (b"", b"{}", b"[]", b"\xff", _line(good)[:-9], _line(good) + b"x", b" " * 700_000):
        with pytest.raises(LedgerError):
            Evidence.parse(data)
    with pytest.raises(SignatureError, match="no key that was given"):
        Evidence.parse(_line(good), vkeys=[stranger.vkey])
    assert Evidence.parse(_line(good)).origin == zone.signer.name


def _fork(first: bytes, second: bytes, old_root: bytes, proof: list[bytes] | None = None) -> ForkError:
    return ForkError("a fork", first_note=first, second_note=second, old_root=old_root, proof=proof or [])


def _note(origin: str, size: int, root: bytes, *signers: NoteSigner, extension: str = "") -> bytes:
    text = Checkpoint(origin, size, root).text + extension
    return "\n".join([text, *(each.sign(text) for each in signers), ""]).encode()


def _signer(name: str) -> NoteSigner:
    return NoteSigner(name, Ed25519PrivateKey.generate())


def test_evidence_of_any_log_other_names_several_keys_extension_lines_and_size_0() -> None:
    old, new, stranger = _signer("keys.example/1"), _signer("keys.example/2"), _signer("keys.example/1")
    origin, keys = "logs.example/of/something", [old.vkey, new.vkey]
    unknown = f"{stranger.sign('something else')}\n".encode()
    first = _note(origin, 5, b"a" * 32, old, extension="more\n") + unknown
    evidence = Evidence.of(_fork(first, _note(origin, 5, b"b" * 32, new), b"b" * 32), origin, keys)
    assert (evidence.first_by, evidence.second_by) == ((old.vkey,), (new.vkey,))
    assert evidence.first.note == first.removesuffix(unknown)  # the log's own signatures alone
    data = evidence.encode()
    assert Evidence.parse(data, vkeys=keys) == Evidence.parse(data) == evidence
    for given in ([old.vkey], [new.vkey], [stranger.vkey], []):
        with pytest.raises(SignatureError, match="no key that was given"):
            Evidence.parse(data, vkeys=given)
    # The name is one for a log and its keys, so that a second fork takes no second file.
    again = Evidence.of(_fork(first, _note(origin, 5, b"c" * 32, new), b"c" * 32), origin, keys)
    assert again.name == evidence.name
    empty = _note(origin, 0, EMPTY_ROOT, old)
    at_zero = Evidence.of(_fork(empty, _note(origin, 0, b"x" * 32, old), b"x" * 32), origin, keys)
    assert at_zero.vkeys == (old.vkey,)
    assert at_zero.name != evidence.name
    wrong = _note(origin, 0, b"x" * 32, old)
    assert Evidence.of(_fork(wrong, _note(origin, 7, b"y" * 32, old), EMPTY_ROOT), origin, keys)
    refused: list[tuple[ForkError, str, list[str]]] = [
        (_fork(empty, _note(origin, 7, b"y" * 32, old), EMPTY_ROOT), origin, keys),  # it holds the empty one
        (_fork(empty, _note(origin, 7, b"y" * 32, old), b"y" * 32), origin, keys),
        (_fork(wrong, _note(origin, 7, b"y" * 32, old), EMPTY_ROOT, [bytes(32)]), origin, keys),
        (_fork(first, _note(origin, 5, b"a" * 32, old), b"a" * 32), origin, keys),  # other extension lines only
        (_fork(first, _note(origin, 5, b"b" * 32, old), b"c" * 32), origin, keys),
        (_fork(first, _note("other", 5, b"b" * 32, old), b"b" * 32), origin, keys),
        (_fork(first, _note(origin, 5, b"b" * 32, old), b"b" * 32), "other", keys),
        (_fork(first, _note(origin, 5, b"b" * 32, stranger), b"b" * 32), origin, keys),
        (_fork(first, first[:9], b"b" * 32), origin, keys),
    ]
    for fork, of, known in refused:
        with pytest.raises(LedgerError):
            Evidence.of(fork, of, known)


async def test_a_fork_signed_by_a_key_that_was_rotated_away_is_kept_as_evidence_too(
    zone: Any, peer: Any, helpers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    old, new = zone.signer, _signer(zone.signer.name)
    writer = await zone.open()
    await helpers.append(writer, 2)
    await writer.close()
    copy = type(zone)(zone.directory.with_name("copy"), old, zone.cosigner)
    shutil.copytree(zone.directory, copy.directory)
    mirror = await peer.mirror(zone)
    writer = await zone.open()
    await helpers.append(writer, 3, side=1)
    await helpers.push(writer, mirror)
    await writer.rotate(new)
    await helpers.push(writer, mirror)
    await helpers.append(writer, 2)
    await helpers.push(writer, mirror)
    assert mirror.note.count("—".encode()) == 1  # the new key's
    await writer.close()
    # The copy never heard of the rotation: what it signed at a size of the old key contradicts what is held.
    other = await copy.open()
    await helpers.append(other, 1, side=2)
    with pytest.raises(ForkError):
        await mirror.begin(other.published.note, 4, [])
    await other.close()
    frozen = mirror.frozen
    assert frozen is not None
    await mirror.close()
    path = peer.directory / frozen.evidence
    evidence = Evidence.parse(path.read_bytes(), vkeys=[old.vkey, new.vkey])
    assert (evidence.first_by, evidence.second_by) == ((old.vkey,), (new.vkey,))
    policy = tmp_path / "keys.tlog"
    policy.write_text(f"log {old.vkey}\nlog {new.vkey}\nquorum none\n")
    assert main(["verify", str(path), "--policy", str(policy)]) == 0
    assert f"signed by {old.vkey}\n" in capsys.readouterr().out
    assert main(["verify", str(path), "--vkey", new.vkey]) == 1
    assert "give each key that the log had" in capsys.readouterr().out


async def test_a_full_disk_keeps_no_log_from_being_frozen(
    zone: Any, peer: Any, helpers: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The mirror says no to the fork at once, and writes row and file as soon as there is room."""
    disk = Disk()
    mirror = await peer.mirror(zone, storage=disk)
    other = await _forked(zone, mirror, helpers, 3, 2, 2)
    full = OSError(errno.ENOSPC, "No space left on device")
    for broken in ("commit", "create"):
        disk.broken = {broken: full}
        with pytest.raises((ForkError, FrozenError)):
            await helpers.push(other, mirror)
        assert mirror.frozen is not None
        assert not (peer.directory / mirror.frozen.evidence).exists()
    first = mirror.frozen
    await mirror.close()
    mirror = await peer.mirror(zone, storage=disk)  # the row is durable although no file could be made
    assert mirror.frozen == first
    disk.broken = {}
    with pytest.raises(FrozenError):
        await helpers.push(other, mirror)
    data = (peer.directory / first.evidence).read_bytes()
    assert Evidence.parse(data, vkeys=[zone.signer.vkey]) == await mirror.evidence()
    await other.close()
    await mirror.close()


class Disk(DiskStorage):
    """A disk of which single operations fail."""

    def __init__(self) -> None:
        self.broken: dict[str, OSError] = {}

    def commit(self, connection: sqlite3.Connection) -> None:
        if "commit" in self.broken:
            connection.execute("ROLLBACK")
            raise self.broken["commit"]
        super().commit(connection)

    def create(self, path: str, data: bytes) -> None:
        if "create" in self.broken:
            raise self.broken["create"]
        super().create(path, data)


def _line(value: dict[str, Any]) -> bytes:
    return json.dumps(value, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode() + b"\n"


async def test_a_log_that_others_hold_signs_nothing_before_they_were_asked(
    zone: Any, helpers: Any, memory: Path
) -> None:
    writer = await zone.open(ask=True)
    with pytest.raises(UnaskedError):
        await helpers.append(writer)
    assert not writer.asked
    writer.vouch()
    await helpers.append(writer)
    await writer.close()
    # Nobody wrote a marker, so the next start must ask again; from then on the marker vouches.
    marker = Marker(memory, zone.signer.vkey)
    writer = await zone.open(ask=True, marker=marker)
    assert not writer.asked
    writer.vouch()
    await writer.close()
    for _ in range(2):
        writer = await zone.open(ask=True, marker=Marker(memory, zone.signer.vkey))
        assert writer.asked
        await helpers.append(writer)
        await writer.close()


async def test_a_log_that_was_put_back_within_one_boot_does_not_open(zone: Any, helpers: Any, memory: Path) -> None:
    saved = zone.directory.with_name("saved")
    shutil.copytree(zone.directory, saved)
    writer = await zone.open(marker=Marker(memory, zone.signer.vkey))
    await helpers.append(writer, 2)
    await writer.close()
    shutil.rmtree(zone.directory)
    saved.rename(zone.directory)
    with pytest.raises(RolledBackError, match="memory"):
        await zone.open(marker=Marker(memory, zone.signer.vkey))
    # Its directory was given back: it can be looked at, and opens where nobody remembers.
    (writer,) = [await zone.open()]
    await writer.close()


async def test_a_marker_of_another_boot_another_key_or_half_a_marker_says_nothing(
    zone: Any, peer: Any, helpers: Any, memory: Path
) -> None:
    marker = Marker(memory, zone.signer.vkey)
    writer = await zone.open(marker=marker)
    await helpers.append(writer, 2)
    note = writer.published.note
    await writer.close()
    (path,) = memory.iterdir()
    whole = path.read_bytes()
    assert marker.read() == note
    assert Marker(memory, peer.signer.vkey).read() is None
    for damaged in (whole[:-20], b"0000\n" + note, whole.replace(b"\n3\n", b"\n4\n"), b"", note):
        path.write_bytes(damaged)
        writer = await zone.open(marker=marker, ask=True)
        assert not writer.asked
        await writer.close()


async def test_a_marker_lies_in_memory_and_in_a_folder_of_this_user_alone(
    zone: Any, memory: Path, tmp_path: Path
) -> None:
    with pytest.raises(OperationalError, match="memory"):
        Marker(tmp_path / "disk", zone.signer.vkey)
    memory.mkdir(mode=0o755)
    memory.chmod(0o755)
    with pytest.raises(OperationalError, match="alone"):
        Marker(memory, zone.signer.vkey)
    memory.chmod(0o700)
    link = memory / "link"
    link.symlink_to(memory)
    with pytest.raises(OperationalError, match="alone"):
        Marker(link, zone.signer.vkey)


async def test_what_another_holds_of_us_and_is_not_in_our_log_ends_all_signing(
    zone: Any, writer: LogWriter, helpers: Any
) -> None:
    await helpers.append(writer, 4)
    for size in (1, 4):
        text = Checkpoint(zone.signer.name, size, await writer.root_at(size)).text
        assert (await writer.check_held(f"{text}\n{zone.signer.sign(text)}\n".encode())).size == size
    text = Checkpoint(zone.signer.name, 2, bytes(32)).text
    with pytest.raises(RolledBackError, match="the peer"):
        await writer.check_held(f"{text}\n{zone.signer.sign(text)}\n".encode(), "the peer")
    with pytest.raises(ContradictedError, match="the peer"):
        await helpers.append(writer)
    assert writer.contradiction is not None


async def test_an_origin_may_be_frozen_without_a_fork_and_its_first_reason_stands(
    zone: Any, peer: Any, writer: LogWriter, helpers: Any
) -> None:
    mirror = await peer.mirror(zone)
    await helpers.push(writer, mirror)
    for reason in ("its key is another's", "later"):
        await mirror.freeze(reason)
    with pytest.raises(FrozenError, match="its key is another's"):
        await helpers.push(writer, mirror)
    assert await mirror.evidence() is None
    await mirror.close()


async def test_evidence_is_verified_from_its_file_and_the_key_alone(
    zone: Any, peer: Any, mirror: Mirror, helpers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    other = await _forked(zone, mirror, helpers, 3, 2, 2)
    with pytest.raises(ForkError):
        await helpers.push(other, mirror)
    await other.close()
    assert mirror.frozen is not None
    file = tmp_path / "evidence.json"
    data = (peer.directory / mirror.frozen.evidence).read_bytes()
    file.write_bytes(data)
    assert main(["verify", str(file), "--vkey", zone.signer.vkey]) == 0
    assert f"proved: {zone.signer.name} signed two histories\n" in capsys.readouterr().out
    assert main(["verify", str(file), "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["ok"], said["keys_from_evidence"], said["first"]["size"]) == (True, True, 5)
    assert said["first"]["signed_by"] == said["second"]["signed_by"] == said["vkeys"] == [zone.signer.vkey]
    assert main(["verify", str(file), "--vkey", peer.signer.vkey]) == 1
    for at in range(0, len(data) - 1, 7):
        changed = bytearray(data)
        changed[at] ^= 1
        file.write_bytes(changed)
        assert main(["verify", str(file)]) in (1, 2), at  # 2 where it does not even say that it is evidence
    assert "NOT PROVED" in capsys.readouterr().out
