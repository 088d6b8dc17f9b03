"""Every byte of a small log and of proofs of it is changed, and every file cut at every byte.

Each change is found, none is accepted, and nothing but an error of the ledger is ever raised.
"""

from __future__ import annotations

import asyncio
import itertools
import os
import shutil
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from story import COSIGNER, SIGNER, open_mirror, push

from ledger.cli.main import main
from ledger.entry import new_id
from ledger.errors import LedgerError
from ledger.note import MAX_NOTE_BYTES
from ledger.policy import TrustPolicy
from ledger.proof import Trust
from ledger.prove import Prover
from ledger.verify import verify_directory
from ledger.verify_file import verify_file
from ledger.writer import LogWriter

pytestmark = pytest.mark.faults


async def _small_log(directory: Path) -> None:
    """Three entries, published one by one, two of the checkpoints cosigned."""
    LogWriter.create(directory / "log", origin=SIGNER.name, signer=SIGNER, reserve_bytes=10)
    LogWriter.create(directory / "peer", origin=SIGNER.name, signer=SIGNER, reserve_bytes=10)
    writer = await LogWriter.open(directory / "log", SIGNER)
    mirror = await open_mirror(directory / "peer")
    await writer.set_policy(f"log {SIGNER.vkey}\nwitness peer {COSIGNER.vkey}\nquorum peer\n")
    for number in range(2):
        await writer.append(id=new_id(), kind="decision", subject=f"transfers/{number}", body={"n": number})
        await writer.add_cosignature(writer.published.checkpoint.text, await push(writer, mirror))
    await writer.close()
    await mirror.close()


@pytest.fixture(scope="module")
def log() -> Iterator[Path]:
    shared = Path("/dev/shm")
    with tempfile.TemporaryDirectory(dir=shared if os.access(shared, os.W_OK) else None) as name:
        asyncio.run(_small_log(Path(name)))
        shutil.rmtree(Path(name) / "log" / "state")
        yield Path(name) / "log"


def _public_files(log: Path) -> list[Path]:
    return sorted(path for path in log.rglob("*") if path.is_file())


TRUST = Trust((), (), TrustPolicy(f"log {SIGNER.vkey}\nwitness peer {COSIGNER.vkey}\nquorum peer\n"))
"""The policy finds what a bit does to the name in a cosignature's line, which makes it an unknown signer's."""


def _proofs(log: Path) -> dict[str, bytes]:
    """One of each kind, and the checkpoints that were kept."""
    prover = Prover(log)
    proofs = {f"inclusion {seq}": prover.inclusion(seq).encode() for seq in range(3)}
    proofs["inclusion without its entry"] = prover.inclusion(1, with_entry=False).encode()
    proofs["consistency"] = prover.consistency(2, 3).encode()
    proofs |= {f"checkpoints/{path.name}": path.read_bytes() for path in (log / "checkpoints").iterdir()}
    return proofs


def _verifies(name: str, data: bytes, entry: bytes) -> bool:
    """Accepted without a remark; an unknown signer on the older of two checkpoints is one."""
    report = verify_file(data, TRUST, entry=entry if "without" in name else None)
    return report.exit_code == 0 and not report.notices


def _say(capsys: pytest.CaptureFixture[str], text: str) -> None:
    with capsys.disabled():
        sys.stderr.write(f"\n{text}\n")


def _accepted(log: Path) -> bool:
    try:
        return verify_directory(log, vkey=SIGNER.vkey).exit_code == 0
    except LedgerError:
        return False


def test_a_flipped_bit_in_any_byte_is_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert _accepted(log)
    files = _public_files(log)
    assert len(files) > 12
    flipped = 0
    for path in files:
        data = path.read_bytes()
        for at in range(len(data)):
            changed = bytearray(data)
            changed[at] ^= 1 << (at % 8)
            path.write_bytes(changed)
            assert not _accepted(log), f"{path} byte {at}"
            flipped += 1
        path.write_bytes(data)
    assert flipped > 3000
    assert _accepted(log)
    _say(capsys, f"{flipped} bytes of {len(files)} files flipped, each found")


def test_every_bit_of_the_checkpoint_counts(log: Path) -> None:
    path = log / "checkpoint"
    data = path.read_bytes()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        assert not _accepted(log), f"bit {bit}"
    path.write_bytes(data)


def test_a_file_cut_at_any_byte_is_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    cuts = 0
    for path in _public_files(log):
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            assert not _accepted(log), f"{path} cut to {length}"
            cuts += 1
        path.write_bytes(data)
    assert cuts > 3000
    _say(capsys, f"{cuts} cuts of files, each found")


def test_every_bit_and_every_cut_of_a_proof_or_a_kept_checkpoint_is_refused(
    log: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    entry = Prover(log).inclusion(1).extra or b""
    flipped = cuts = 0
    for name, data in _proofs(log).items():
        assert _verifies(name, data, entry), name
        for bit in range(len(data) * 8):
            changed = bytearray(data)
            changed[bit // 8] ^= 1 << (bit % 8)
            assert not _verifies(name, bytes(changed), entry), f"{name} bit {bit}"
            flipped += 1
        for length in range(len(data)):
            assert not _verifies(name, data[:length], entry), f"{name} cut to {length}"
            cuts += 1
        assert not _verifies(name, data + b"\n", entry), name
    assert flipped > 30_000
    _say(capsys, f"{flipped} bits of proofs and kept checkpoints flipped, {cuts} cuts, each refused")


def test_two_files_of_a_kind_in_each_others_place_are_found(log: Path, capsys: pytest.CaptureFixture[str]) -> None:
    files = [path for path in _public_files(log) if path.name != "vkeys"]
    swapped = 0
    for one, other in itertools.combinations(files, 2):
        first, second = one.read_bytes(), other.read_bytes()
        if first == second:
            continue
        one.write_bytes(second)
        other.write_bytes(first)
        assert not _accepted(log), f"{one} and {other}"
        one.write_bytes(first)
        other.write_bytes(second)
        swapped += 1
    assert swapped > 50
    _say(capsys, f"{swapped} pairs of files swapped, each found")


def test_hostile_files_end_with_exit_code_1_and_no_traceback(
    log: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    proof = Prover(log).inclusion(1).encode()
    note = (log / "checkpoint").read_bytes()
    policy = tmp_path / "policy"
    policy.write_text(TRUST.policy.text if TRUST.policy else "")
    hostile = {
        "a huge index": proof.replace(b"index 1\n", b"index 9223372036854775806\n"),
        "an index beyond": proof.replace(b"index 1\n", b"index 99999999999999999999\n"),
        "a path in the origin": note.replace(SIGNER.name.encode(), b"../../etc/passwd"),
        "a size that is none": note.replace(b"\n3\n", b"\n-3\n"),
        "a giant size": note.replace(b"\n3\n", b"\n9223372036854775807\n"),
        "control characters": note.replace(b"\n3\n", b"\n3\x1b[2J\n"),
        "nothing but newlines": b"\n" * 1000,
        "many signatures": note + b"".join(b"\xe2\x80\x94 x AAAAAAAA\n" for _ in range(100)),
        "no text": b"\n" + note[note.index(b"\n\n") + 1 :],
        "a long note": note + b"\xe2\x80\x94 x " + b"A" * MAX_NOTE_BYTES + b"\n",
        "zeroes": bytes(100_000),
    }
    for name, data in hostile.items():
        path = tmp_path / "hostile"
        path.write_bytes(data)
        assert main(["verify", str(path), "--policy", str(policy)]) == 1, name
        out, err = capsys.readouterr()
        assert out.startswith("NOT VERIFIED"), name
        assert "\x1b" not in out, name
        assert err == "", name


def test_a_missing_file_of_the_newest_checkpoint_is_found(log: Path) -> None:
    for name in ("checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"):
        data = (log / name).read_bytes()
        (log / name).unlink()
        assert not _accepted(log), name
        (log / name).write_bytes(data)
