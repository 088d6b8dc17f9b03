"""A lost log made anew from a copy: whole, or ended and followed by another; bad copies are named, never taken."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.cli.main import main
from ledger.entry import Entry
from ledger.errors import LedgerError, OperationalError, TamperedError
from ledger.mirror_store import mirror_directory
from ledger.note import NoteSigner
from ledger.rebuild import EntriesLostError, read_source, rebuild
from ledger.verify import verify_directory

if TYPE_CHECKING:
    from ledger.mirror import Mirror
    from ledger.writer import LogWriter


@pytest.fixture
async def copy(writer: LogWriter, mirror: Mirror, zone: Any, peer: Any, helpers: Any) -> Path:
    """The peer's mirror of 300 entries, as a copy that lies about; the log has three more."""
    await helpers.append(writer, 299)
    await helpers.push(writer, mirror)
    directory = peer.directory.with_name("copied")
    shutil.copytree(mirror_directory(peer.directory, zone.signer.name), directory)
    await helpers.append(writer, 3)
    return directory


async def test_a_log_goes_on_where_all_that_anyone_holds_is_in_the_copy(
    copy: Path, writer: LogWriter, zone: Any, helpers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "again"
    assert main(["recover", str(target), "--from", str(copy), "--vkey", zone.signer.vkey, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert (said["size"], said["lost"], said["predecessor"]) == (300, None, None)
    again = await type(zone)(target, zone.signer, zone.cosigner).open()
    assert await again.read(0, 300, 1 << 30) == await writer.read(0, 300, 1 << 30)
    (data,) = await again.read(7, 8, 1)
    entry = Entry.parse(data)
    known = await again.append(id=entry.id, kind=entry.kind, subject=entry.subject, body=entry.body)
    assert known.seq == 7
    await helpers.append(again)
    await again.close()
    assert verify_directory(target, vkey=zone.signer.vkey).findings == []
    assert main(["recover", str(target), "--from", str(copy)]) == 2
    assert "there already" in capsys.readouterr().err


async def test_a_log_of_which_more_was_signed_than_is_left_is_followed_by_another_origin(
    copy: Path, writer: LogWriter, zone: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target, held, key = tmp_path / "next", tmp_path / "held", tmp_path / "next.key"
    held.write_bytes(writer.published.note)
    arguments = ["recover", str(target), "--from", str(copy), "--held", str(held)]
    assert main([*arguments, "--json"]) == 3
    told = capsys.readouterr()
    assert json.loads(told.out)["lost"] == {"first": 300, "last": 302}
    assert "entries 300 to 302 were signed and are gone" in told.err
    assert not target.exists()
    origin = zone.signer.name + "-b"
    assert main([*arguments, "--new-origin", origin]) == 2
    assert main([*arguments, "--new-origin", origin, "--new-key", str(key)]) == 0
    assert "LOST: entries 300 to 302" in capsys.readouterr().out
    assert verify_directory(target).origin == origin
    (path,) = (target / "tile/entries/000.p").iterdir()
    opened = json.loads(path.read_bytes()[2:])
    assert opened["body"]["predecessor"]["newest"] == writer.published.note.decode()
    old = mirror_directory(target, zone.signer.name)
    report = verify_directory(old, vkey=zone.signer.vkey)
    assert (report.findings, report.size) == ([], 300)


async def test_a_log_that_was_frozen_is_only_followed(copy: Path, zone: Any, tmp_path: Path) -> None:
    source = read_source(copy, zone.signer.vkey)
    with pytest.raises(OperationalError, match="frozen"):
        rebuild(tmp_path / "x", source, ended=True)
    with pytest.raises(OperationalError, match="another name"):
        rebuild(tmp_path / "x", source, ended=True, successor=zone.signer)
    follower = NoteSigner("tdz/lingang/next", Ed25519PrivateKey.generate())
    made = rebuild(tmp_path / "x", source, ended=True, successor=follower, reserve_bytes=4096)
    assert (made.lost, made.predecessor) == (None, zone.signer.name)


async def test_a_copy_that_the_log_did_not_sign_so_makes_nothing(
    copy: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    target = tmp_path / "again"
    bundle = copy / "tile/entries/000"
    whole = bundle.read_bytes()
    for damaged in (
        whole.replace(b'"n":7', b'"n":8', 1),
        whole[:-100],
        whole[1:],
        whole + b"\x00\x00",
        b"",
    ):
        bundle.write_bytes(damaged)
        with pytest.raises(TamperedError):
            rebuild(target, read_source(copy), reserve_bytes=4096)
        assert main(["recover", str(target), "--from", str(copy)]) == 1
        assert not target.exists()
        assert [each.name for each in tmp_path.iterdir() if each.name.startswith(".again")] == []
    bundle.write_bytes(whole)
    with pytest.raises(LedgerError):
        read_source(copy, peer.signer.vkey)
    with pytest.raises(OperationalError, match="no copy"):
        read_source(tmp_path)
    # A held note of somebody else says nothing; one of ours that is not readable neither.
    rebuild(target, read_source(copy), held=[b"", b"x", b"\xff"], reserve_bytes=4096)
    assert capsys.readouterr().err


async def test_what_is_lost_is_named_whoever_holds_the_newest_checkpoint(
    copy: Path, writer: LogWriter, tmp_path: Path
) -> None:
    with pytest.raises(EntriesLostError) as lost:
        rebuild(tmp_path / "x", read_source(copy), held=[writer.published.note])
    assert (lost.value.first, lost.value.last) == (300, 302)
