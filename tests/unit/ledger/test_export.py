"""A copy that leaves the machine, and following a log from outside."""

from __future__ import annotations

import hashlib
import json
import shutil
from pathlib import Path
from typing import Any

import pytest

from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.entry import new_id
from ledger.errors import IncompleteError, OperationalError, TamperedError
from ledger.export import export_log
from ledger.merkle import leaf_hash
from ledger.mirror_store import mirror_directory
from ledger.monitor import Monitor
from ledger.note import CosignatureVerifier, NoteVerifier
from ledger.proof import Trust
from ledger.tiles import encode_bundle, split_bundle
from ledger.verify import verify_directory


def test_an_export_is_the_log_at_its_newest_witnessed_checkpoint(
    whole: Path, zone: Any, peer: Any, tmp_path: Path
) -> None:
    target = tmp_path / "out" / "copy"
    made = export_log(whole, target)
    assert (made.size, made.origin) == (300, zone.signer.name)
    assert not (target / "state").exists()
    assert (target / "checkpoint").read_bytes() == (whole / "checkpoint.witnessed").read_bytes()
    report = verify_directory(target, vkey=zone.signer.vkey, witness_vkeys=[peer.cosigner.vkey])
    assert (report.exit_code, report.entries, report.notices) == (0, 300, [])
    assert report.first_line.endswith("; 0 entries beyond rest on the log's word alone")
    assert sorted(path.name for path in (target / "tile" / "entries").iterdir()) == ["000", "001.p"]
    # The same bytes as the log's own, where it has that width.
    assert (target / "tile/0/000").read_bytes() == (whole / "tile/0/000").read_bytes()


def test_an_export_of_an_export_and_one_without_cosignatures(whole: Path, zone: Any, tmp_path: Path) -> None:
    export_log(whole, tmp_path / "one", unwitnessed=True)
    export_log(tmp_path / "one", tmp_path / "two", unwitnessed=True)
    for name in ("one", "two"):
        report = verify_directory(tmp_path / name, vkey=zone.signer.vkey)
        assert (report.findings, report.entries) == ([], 600)
    # A copy without the narrower partial tiles can be cut too.
    for partial in (tmp_path / "one/tile/entries/001.p", tmp_path / "one/tile/0/001.p"):
        assert not partial.exists()
    shutil.copy(whole / "checkpoint.witnessed", tmp_path / "one")
    assert export_log(tmp_path / "one", tmp_path / "three").size == 300
    assert verify_directory(tmp_path / "three", vkey=zone.signer.vkey).entries == 300


def test_an_export_takes_documents_that_entries_name_and_the_mirrors(
    whole: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    documents = tmp_path / "documents"
    documents.mkdir()
    (documents / "other").write_bytes(b"nobody names this")
    # Entry 0 names its own log's key, entries name the hash of the one before.
    entries, _ = split_bundle((whole / "tile/entries/000").read_bytes())
    (documents / "leaf").write_bytes(b"\0" + entries[6])
    digest = leaf_hash(entries[6]).hex()
    assert hashlib.sha256(b"\0" + entries[6]).hexdigest() == digest
    target = tmp_path / "copy"
    arguments = ["export", str(target), str(whole), "--documents", str(documents), "--mirrors", "--json"]
    assert main(arguments) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["documents"], document["verification"]["ok"]) == ({digest: 7}, True)
    assert (target / "documents" / digest).read_bytes() == b"\0" + entries[6]
    assert json.loads((target / "export.json").read_text())["size"] == 300
    assert main(["export", str(target), str(whole)]) == 2
    assert "is there already" in capsys.readouterr().err
    other = tmp_path / "peer-copy"
    made = export_log(peer.directory, other, unwitnessed=True, with_mirrors=True)
    assert made.mirrors == [zone.signer.name]
    mirrored = mirror_directory(other, zone.signer.name)
    assert verify_directory(mirrored, vkey=zone.signer.vkey).entries == 300
    assert main(["fsck", str(whole), "--against-peer", str(other)]) == 0


def test_an_export_of_a_damaged_log_leaves_nothing_behind(whole: Path, tmp_path: Path) -> None:
    (whole / "tile/0/000").unlink()
    with pytest.raises(TamperedError):
        export_log(whole, tmp_path / "copy")
    assert [path.name for path in tmp_path.iterdir() if "copy" in path.name] == []
    (whole / "checkpoint.witnessed").unlink()
    with pytest.raises(IncompleteError):
        export_log(whole, tmp_path / "copy")
    with pytest.raises(OperationalError):
        export_log(whole, tmp_path / "copy", unwitnessed=True, documents=[tmp_path / "none"])


def _trust(zone: Any, peer: Any) -> Trust:
    return Trust((NoteVerifier(zone.signer.vkey),), (CosignatureVerifier(peer.cosigner.vkey),))


async def test_a_monitor_verifies_what_is_new_and_remembers_what_it_saw(
    whole: Path, zone: Any, peer: Any, tmp_path: Path, helpers: Any
) -> None:
    state = tmp_path / "seen.json"
    first = Monitor(whole, _trust(zone, peer), state=state)
    assert [each.kind for each in first.look()] == ["verified", "witnessed"]
    assert first.look() == []
    writer = await zone.open()
    await helpers.append(writer, 170)
    mirror = await peer.mirror(zone)
    await writer.add_cosignature(writer.published.checkpoint.text, await helpers.push(writer, mirror))
    await writer.close()
    await mirror.close()
    again = Monitor(whole, _trust(zone, peer), state=state)
    events = again.look()
    assert [(each.kind, each.size) for each in events] == [("grew", 770), ("witnessed", 770)]
    assert events[0].text == "170 entries since size 600"


@pytest.mark.parametrize("what", ["rollback", "rewritten", "changed", "signature", "witnessed", "gone"])
async def test_a_monitor_alerts(whole: Path, zone: Any, peer: Any, tmp_path: Path, helpers: Any, what: str) -> None:
    state, copy = tmp_path / "seen.json", tmp_path / "copy"
    shutil.copytree(whole, copy)
    assert not any(each.kind == "alert" for each in Monitor(copy, _trust(zone, peer), state=state).look())
    writer = await zone.open()
    await helpers.append(writer, 30)
    await writer.close()
    shutil.rmtree(copy)
    shutil.copytree(whole, copy)
    if what == "rollback":
        shutil.copy(copy / "checkpoints/300", copy / "checkpoint")
    elif what == "rewritten":
        text = Checkpoint(zone.signer.name, 630, bytes(32)).text
        (copy / "checkpoint").write_text(f"{text}\n{zone.signer.sign(text)}\n")
    elif what == "changed":
        bundle = copy / "tile/entries/002.p/118"
        entries, _ = split_bundle(bundle.read_bytes())
        entries[100] = entries[100].replace(b'"n":', b'"m":')
        bundle.write_bytes(encode_bundle(entries))
    elif what == "signature":
        data = (copy / "checkpoint").read_bytes()
        (copy / "checkpoint").write_bytes(data.replace(b"630\n", b"631\n"))
    elif what == "witnessed":
        text = Checkpoint(zone.signer.name, 300, bytes(32)).text
        (copy / "checkpoint.witnessed").write_text(f"{text}\n{zone.signer.sign(text)}\n")
    else:
        shutil.rmtree(copy / "tile/entries")
    events = Monitor(copy, _trust(zone, peer), state=state).look()
    assert [each.kind for each in events].count("alert") == 1, events


def test_the_monitors_command_ends_at_an_alert(
    whole: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    keys = ["--vkey", zone.signer.vkey, "--witness-vkey", peer.cosigner.vkey]
    state = ["--state", str(tmp_path / "state")]
    assert main(["monitor", str(whole), "--once", *keys, *state]) == 0
    assert "verified  size 600: witnessed to size 300" in capsys.readouterr().out
    assert main(["monitor", str(whole), "--once", "--json", *keys, *state]) == 0
    assert json.loads(capsys.readouterr().out)["kind"] == "witnessed"
    assert main(["monitor", str(whole), "--once", *state]) == 2
    assert main(["monitor", str(tmp_path / "none"), "--once", *keys]) == 2
    shutil.copy(whole / "checkpoints/300", whole / "checkpoint")
    assert main(["monitor", str(whole), *keys, *state]) == 1
    assert "600 were seen: it was rolled back" in capsys.readouterr().out
    (tmp_path / "state").write_bytes(b"{}")
    assert main(["monitor", str(whole), "--once", *keys, *state]) == 2


def test_a_monitor_alerts_when_no_news_comes(whole: Path, zone: Any, peer: Any) -> None:
    later = 4_000_000_000
    events = Monitor(whole, _trust(zone, peer), max_age=60, clock=lambda: later).look()
    assert events[-1].kind == "alert"
    assert "s old, more than 60" in events[-1].text


async def test_a_monitor_may_start_with_an_empty_seat_and_a_fresh_log(zone: Any, peer: Any) -> None:
    events = Monitor(zone.directory, _trust(zone, peer)).look()
    assert [each.kind for each in events] == ["verified"]
    writer = await zone.open()
    await writer.append(id=new_id(), kind="decision", subject="x", body={})
    await writer.close()
