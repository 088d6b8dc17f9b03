"""Every byte of a small log is changed, and every file cut at every byte: each is found, none is accepted."""

from __future__ import annotations

import asyncio
import os
import shutil
import tempfile
from collections.abc import Iterator
from pathlib import Path

import pytest
from story import COSIGNER, SIGNER, open_mirror, push

from ledger.entry import new_id
from ledger.errors import LedgerError
from ledger.verify import verify_directory
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


def _accepted(log: Path) -> bool:
    try:
        return verify_directory(log, vkey=SIGNER.vkey).exit_code == 0
    except LedgerError:
        return False


def test_a_flipped_bit_in_any_byte_is_found(log: Path) -> None:
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


def test_every_bit_of_the_checkpoint_counts(log: Path) -> None:
    path = log / "checkpoint"
    data = path.read_bytes()
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        path.write_bytes(changed)
        assert not _accepted(log), f"bit {bit}"
    path.write_bytes(data)


def test_a_file_cut_at_any_byte_is_found(log: Path) -> None:
    for path in _public_files(log):
        data = path.read_bytes()
        for length in range(len(data)):
            path.write_bytes(data[:length])
            assert not _accepted(log), f"{path} cut to {length}"
        path.write_bytes(data)


def test_a_missing_file_of_the_newest_checkpoint_is_found(log: Path) -> None:
    for name in ("checkpoint", "tile/0/000.p/3", "tile/entries/000.p/3"):
        data = (log / name).read_bytes()
        (log / name).unlink()
        assert not _accepted(log), name
        (log / name).write_bytes(data)
