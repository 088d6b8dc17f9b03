"""Go's sumdb/note and sumdb/tlog verify a ledger's directory as it lies, partial tiles included.

Needs the go command and the source of golang.org/x/mod (Debian: golang-go, golang-golang-x-mod-dev).
"""

from __future__ import annotations

import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.entry import new_id
from ledger.note import NoteSigner
from ledger.writer import LogWriter

_SOURCE = Path(__file__).parent / "sumdb" / "main.go"
_MODULES = Path(os.environ.get("TDZ_GOPATH", "/usr/share/gocode"))


@pytest.fixture(scope="module")
def sumdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built from this folder's source and Go's packages."""
    go = shutil.which("go")
    if go is None or not (_MODULES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("needs go and golang.org/x/mod below TDZ_GOPATH or /usr/share/gocode")
    program = tmp_path_factory.mktemp("sumdb") / "sumdb"
    cache = tmp_path_factory.mktemp("go-cache")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(_MODULES), "GOCACHE": str(cache)}
    subprocess.run([go, "build", "-o", program, _SOURCE], env=environment, check=True, timeout=300)
    return program


async def _log(directory: Path, entries: int) -> None:
    signer = NoteSigner("tdz/test/2026-0000", Ed25519PrivateKey.generate())
    LogWriter.create(directory, origin=signer.name, signer=signer)
    writer = await LogWriter.open(directory, signer)
    for index in range(entries - 1):
        await writer.append(id=new_id(), kind="decision", subject=f"transfers/{index}", body={"n": index})
    await writer.close()


def _verify(program: Path, directory: Path) -> subprocess.CompletedProcess[str]:
    return subprocess.run([program, directory], capture_output=True, text=True, timeout=60, check=False)


@pytest.mark.parametrize("size", [1, 2, 255, 256, 257, 600])
async def test_go_verifies_every_entry_of_a_ledger_as_it_lies(sumdb: Path, tmp_path: Path, size: int) -> None:
    await _log(tmp_path / "ledger", size)
    done = _verify(sumdb, tmp_path / "ledger")
    assert (done.returncode, done.stdout.strip(), done.stderr) == (0, str(size), "")


async def test_go_finds_a_changed_entry_and_a_changed_checkpoint(sumdb: Path, tmp_path: Path) -> None:
    await _log(tmp_path / "ledger", 20)
    bundle = tmp_path / "ledger/tile/entries/000.p/20"
    good = bundle.read_bytes()
    bundle.write_bytes(good.replace(b'{"n":7}', b'{"n":8}'))
    assert "entry 8" in _verify(sumdb, tmp_path / "ledger").stderr
    bundle.write_bytes(good)
    checkpoint = tmp_path / "ledger/checkpoint"
    checkpoint.write_text(checkpoint.read_text().replace("\n20\n", "\n19\n"))
    assert _verify(sumdb, tmp_path / "ledger").returncode == 1
