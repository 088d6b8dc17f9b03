"""Verification from the public files alone, and the auditor's commands."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.entry import Entry
from ledger.errors import OperationalError
from ledger.merkle import CompactRange, leaf_hash
from ledger.note import CosignatureSigner, NoteSigner
from ledger.report import MAX_FINDINGS
from ledger.tiles import encode_bundle, split_bundle
from ledger.verify import verify_directory


def _edit_entry(directory: Path, seq: int, old: bytes, new: bytes) -> None:
    path = directory / f"tile/entries/{seq // 256:03d}"
    if not path.exists():
        path = max((directory / f"tile/entries/{seq // 256:03d}.p").iterdir(), key=lambda part: int(part.name))
    entries, _ = split_bundle(path.read_bytes())
    assert old in entries[seq % 256]
    entries[seq % 256] = entries[seq % 256].replace(old, new, 1)
    path.write_bytes(encode_bundle(entries))


def test_an_untouched_copy_verifies_and_says_how_far_it_was_seen(copy: Path, zone: Any, peer: Any) -> None:
    progress: list[tuple[int, int]] = []
    report = verify_directory(
        copy,
        vkey=zone.signer.vkey,
        witness_vkeys=[peer.cosigner.vkey],
        progress=lambda done, total: progress.append((done, total)),
    )
    assert report.findings == []
    assert report.incomplete == []
    assert report.exit_code == 0
    assert report.entries == report.size == 600
    assert report.first_line.startswith("witnessed to size 300 at 2")
    assert report.first_line.endswith("by tdz/cyberjaya/mirror; 300 entries beyond rest on the log's word alone")
    assert progress == [(256, 600), (512, 600), (600, 600)]


def test_keys_taken_from_the_directory_are_named_in_the_first_line(copy: Path, zone: Any) -> None:
    assert "keys of the log and the witnesses were taken from the directory itself" in verify_directory(copy).first_line
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert "keys of the witnesses were taken" in report.first_line
    stranger = CosignatureSigner("w", Ed25519PrivateKey.generate())
    report = verify_directory(copy, vkey=zone.signer.vkey, witness_vkeys=[stranger.vkey])
    assert report.first_line.startswith("witnessed by nobody; 600 entries")


@pytest.mark.parametrize("seq", [0, 1, 255, 256, 511, 512, 598, 599])
def test_one_changed_byte_names_its_entry(copy: Path, zone: Any, seq: int) -> None:
    _edit_entry(copy, seq, b'"time":"2', b'"time":"3')
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert report.exit_code == 1
    assert report.first_bad_entry == seq


def test_an_entry_changed_with_its_tile_is_named_by_the_chain(copy: Path, zone: Any) -> None:
    _edit_entry(copy, 77, b'"kind":"decision"', b'"kind":"decisiox"')
    entries, _ = split_bundle((copy / "tile/entries/000").read_bytes())
    tile = bytearray((copy / "tile/0/000").read_bytes())
    tile[77 * 32 : 78 * 32] = leaf_hash(entries[77])
    (copy / "tile/0/000").write_bytes(tile)
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert report.first_bad_entry == 77
    assert any("tile/1/000" in each.file for each in report.findings)
    assert any(each.file == "checkpoint" for each in report.findings)


def test_a_changed_tile_is_told_from_a_changed_entry(copy: Path, zone: Any) -> None:
    for path in ("tile/0/000", "tile/1/000.p/2"):
        tile = bytearray((copy / path).read_bytes())
        tile[33] ^= 1
        (copy / path).write_bytes(tile)
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert {each.file for each in report.findings} == {"tile/0/000", "tile/1/000.p/2"}
    assert report.entries == 600


def test_a_log_rewritten_from_an_entry_on_fails_its_signed_roots(copy: Path, zone: Any) -> None:
    # Chain, bundles and tiles are consistent; only the signatures are not at hand.
    entries: list[bytes] = []
    for path in ("tile/entries/000", "tile/entries/001", "tile/entries/002.p/88"):
        entries += split_bundle((copy / path).read_bytes())[0]
    for seq in range(400, 600):
        entry = Entry.parse(entries[seq])
        entries[seq] = Entry(
            entry.id, seq, leaf_hash(entries[seq - 1]), entry.time, entry.kind, entry.subject, {"n": -1}
        ).encode()
    edge = CompactRange()
    leaves = [leaf_hash(each) for each in entries]
    for each in leaves:
        edge.append(each)
    for index, path in enumerate(("000", "001", "002.p/88")):
        (copy / "tile/entries" / path).write_bytes(encode_bundle(entries[index * 256 : index * 256 + 256]))
        (copy / "tile/0" / path).write_bytes(b"".join(leaves[index * 256 : index * 256 + 256]))
    from ledger.merkle import tree_hash_of_leaf_hashes

    (copy / "tile/1/000.p/2").write_bytes(b"".join(tree_hash_of_leaf_hashes(leaves[at : at + 256]) for at in (0, 256)))
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert report.exit_code == 1
    assert [each.file for each in report.findings if not each.file.startswith("tile")] == ["checkpoint"]
    assert report.first_bad_entry == 300
    assert "up to 300 they are signed" in str(report.findings)


def test_missing_truncated_swapped_and_hostile_files_are_found(copy: Path, zone: Any, tmp_path: Path) -> None:
    def check(change: Any, match: str) -> None:
        target = tmp_path / "work"
        shutil.copytree(copy, target, symlinks=True)
        change(target)
        report = verify_directory(target, vkey=zone.signer.vkey)
        assert report.exit_code == 1, match
        assert match in "\n".join(report.lines())
        shutil.rmtree(target)

    def symlink(path: Path) -> None:
        path.unlink()
        path.symlink_to("/etc/passwd")

    def fifo(path: Path) -> None:
        path.unlink()
        os.mkfifo(path)

    def swap(one: Path, two: Path) -> None:
        data = one.read_bytes()
        one.write_bytes(two.read_bytes())
        two.write_bytes(data)

    check(lambda d: (d / "tile/0/001").unlink(), "tile/0/001 is missing")
    check(lambda d: (d / "tile/entries/001").unlink(), "first bad entry is 256")
    check(lambda d: (d / "checkpoint").unlink(), "checkpoint is missing")
    check(lambda d: (d / "checkpoint").write_bytes(b""), "no signatures")
    check(lambda d: shutil.rmtree(d / "tile"), "first bad entry is 0")
    check(lambda d: os.truncate(d / "tile/0/000", 8191), "8191 bytes")
    check(lambda d: os.truncate(d / "tile/entries/000", 9000), "does not fit the bundle")
    check(lambda d: (d / "tile/entries/000").write_bytes((d / "tile/entries/000").read_bytes() + b"\0\0"), "holds 257")
    check(lambda d: swap(d / "tile/0/000", d / "tile/0/001"), "NOT VERIFIED")
    check(lambda d: swap(d / "tile/entries/000", d / "tile/entries/001"), "at place 0")
    check(lambda d: symlink(d / "tile/entries/000"), "symbolic link")
    check(lambda d: symlink(d / "checkpoint"), "symbolic link")
    check(lambda d: fifo(d / "tile/0/001"), "not a regular file")
    check(lambda d: os.symlink("/", d / "tile/0/root"), "neither a file nor a folder")
    check(lambda d: os.truncate(d / "tile/entries/001", 1 << 30), "more than")
    check(lambda d: (d / "checkpoints/300").rename(d / "checkpoints/299"), "checkpoint of size 300")
    check(lambda d: (d / "vkey").write_text("x\n"), "vkey")
    check(lambda d: (d / "vkeys").write_text("1 - x\n"), "vkeys")
    check(lambda d: (d / "policy.tlog").write_text("quorum x\n"), "policy.tlog: line 1")
    check(lambda d: (d / "checkpoint.witnessed").write_bytes((d / "checkpoint").read_bytes()), "asks for")
    check(
        lambda d: (
            (d / "checkpoint").write_bytes((d / "checkpoints/300").read_bytes())
            and shutil.copy(copy / "checkpoint", d / "checkpoints/600")
        ),
        "has size 300 only",
    )


def test_a_foreign_signature_and_another_origin_are_found(copy: Path, zone: Any) -> None:
    foreign = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate())
    assert verify_directory(copy, vkey=foreign.vkey).exit_code == 1
    text = Checkpoint("tdz/x/y", 600, bytes(32)).text
    (copy / "checkpoint").write_text(f"{text}\n{zone.signer.sign(text)}\n")
    assert "origin tdz/x/y" in "\n".join(verify_directory(copy, vkey=zone.signer.vkey).lines())


def test_files_beyond_the_checkpoint_are_tolerated_and_reported(copy: Path, zone: Any) -> None:
    (copy / "tile/entries/002").write_bytes(b"later")
    (copy / "tile/0/002.p/200").write_bytes(b"later")
    (copy / "tile/0/notes.txt").write_text("x")
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert report.exit_code == 0
    assert "2 files beyond the checkpoint" in "\n".join(report.notices)
    assert "notes.txt" in "\n".join(report.notices)


def test_a_superseded_partial_must_be_a_prefix(copy: Path, zone: Any) -> None:
    partial = copy / "tile/0/002.p/7"
    good = (copy / "tile/0/002.p/88").read_bytes()[: 7 * 32]
    partial.write_bytes(good)
    assert verify_directory(copy, vkey=zone.signer.vkey).exit_code == 0
    partial.write_bytes(good[:-1] + b"\0")
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert "tile/0/002.p/7" in [each.file for each in report.findings]


def test_a_giant_log_of_missing_files_ends_soon(copy: Path, zone: Any) -> None:
    text = Checkpoint(zone.signer.name, 2**62, bytes(32)).text
    (copy / "checkpoint").write_text(f"{text}\n{zone.signer.sign(text)}\n")
    report = verify_directory(copy, vkey=zone.signer.vkey)
    assert len(report.findings) == MAX_FINDINGS


def test_what_is_no_ledger_is_an_operational_error(tmp_path: Path, copy: Path) -> None:
    with pytest.raises(OperationalError):
        verify_directory(tmp_path / "none")
    with pytest.raises(OperationalError):
        verify_directory(tmp_path)
    (copy / "vkey").unlink()
    with pytest.raises(OperationalError, match="--vkey"):
        verify_directory(copy)


def test_the_commands_print_text_json_and_exit_codes(copy: Path, zone: Any, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["verify", str(copy), "--vkey", zone.signer.vkey]) == 0
    assert capsys.readouterr().out.splitlines()[0].startswith("witnessed to size 300")
    assert main(["verify", str(copy), "--json", "--vkey", str(copy / "vkey")]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["size"], document["witnessed"]["size"]) == (True, 600, 300)
    assert main(["head", str(copy)]) == 0
    assert "size       600" in capsys.readouterr().out
    assert main(["head", str(copy), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["witnessed"]["by"] == ["tdz/cyberjaya/mirror"]
    assert main(["show", "5", str(copy)]) == 0
    assert json.loads(capsys.readouterr().out)["seq"] == 5
    assert main(["show", "transfers", str(copy), "--json"]) == 0
    assert len(json.loads(capsys.readouterr().out)) == 599
    assert main(["show", "log", str(copy)]) == 0
    assert "log.opened" in capsys.readouterr().out
    for narrowed, count in ((["--kind", "log"], 1), (["--kind", "decision"], 599), (["--from", "2000-01-01"], 600)):
        assert main(["show", "all", str(copy), "--json", *narrowed]) == 0
        assert len(json.loads(capsys.readouterr().out)) == count
    for narrowed in (["--kind", "dec"], ["--to", "2000-01-01"], ["--from", "2999-01-01"]):
        assert main(["show", "all", str(copy), *narrowed]) == 2
        assert "within --kind" in capsys.readouterr().err
    for arguments in (["show", "600"], ["show", "nothing/there"], ["head"], ["verify"]):
        where = [str(copy)] if arguments[0] == "show" else [str(copy / "tile")]
        assert main([*arguments, *where]) == 2
        error = capsys.readouterr().err
        assert error.startswith("tdz-ledger: ")
        assert error.count("\n") == 1
    _edit_entry(copy, 5, b'"kind":"decision"', b'"kind":"decisiox"')
    assert main(["show", "5", str(copy)]) == 1
    assert "entry 5" in capsys.readouterr().err
    assert main(["verify", str(copy), "--json"]) == 1
    assert json.loads(capsys.readouterr().out)["first_bad_entry"] == 5


def test_a_kept_checkpoint_that_no_known_key_cosigned_is_incomplete(
    copy: Path, zone: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    text = Checkpoint.parse((copy / "checkpoints/300").read_text().split("\n\n")[0] + "\n").text
    (copy / "checkpoints/300").write_text(f"{text}\n{zone.signer.sign(text)}\n")
    assert main(["verify", str(copy), "--vkey", zone.signer.vkey]) == 3
    assert "not judged: checkpoints/300" in capsys.readouterr().out


def test_the_tool_runs_without_the_gateways_dependencies(copy: Path) -> None:
    code = (
        "import sys\n"
        "from ledger.cli.main import main\n"
        f"code = main(['verify', {str(copy)!r}])\n"
        "loaded = {name.split('.')[0] for name in sys.modules}\n"
        "third = loaded & {'grpc', 'pyarrow', 'duckdb', 'pydantic', 'typer', 'gateway'}\n"
        "sys.exit(code or bool(third))\n"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=False, cwd=Path.cwd())
    assert (done.returncode, done.stderr) == (0, "")
