"""Go's sumdb/note and sumdb/tlog verify a ledger's directory as it lies, partial tiles included; a log made of them has
its checkpoints cosigned by our witness.

Needs the go command and the source of golang.org/x/mod (Debian: golang-go, golang-golang-x-mod-dev).
"""

from __future__ import annotations

import base64
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

from ledger.entry import new_id
from ledger.note import NoteSigner
from ledger.writer import LogWriter
from tests.conformance.ledger.tlog import Key
from tests.conformance.ledger.witness_process import running

_SOURCE = Path(__file__).parent / "sumdb" / "main.go"
_CLIENT = Path(__file__).parent / "sumdb" / "client" / "main.go"
_MODULES = Path(os.environ.get("TDZ_GOPATH", "/usr/share/gocode"))


@pytest.fixture(scope="module")
def sumdb(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The verifier, built from this folder's source and Go's packages."""
    return _built(_SOURCE, tmp_path_factory)


def _built(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    go = shutil.which("go")
    if go is None or not (_MODULES / "src/golang.org/x/mod/sumdb/tlog").is_dir():
        pytest.skip("needs go and golang.org/x/mod below TDZ_GOPATH or /usr/share/gocode")
    program = tmp_path_factory.mktemp("sumdb") / "sumdb"
    cache = tmp_path_factory.mktemp("go-cache")
    environment = {**os.environ, "GO111MODULE": "off", "GOPATH": str(_MODULES), "GOCACHE": str(cache)}
    subprocess.run([go, "build", "-o", program, source], env=environment, check=True, timeout=300)
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


def test_a_log_of_another_make_is_cosigned_by_our_witness_and_goes_on_where_the_witness_stands(
    tmp_path: Path, tmp_path_factory: pytest.TempPathFactory
) -> None:
    pytest.importorskip("aiohttp", reason="the extra `witness` is not installed")
    program = _built(_CLIENT, tmp_path_factory)
    key = Key("go.example/log", 1)
    seed = key.private.private_bytes(Encoding.Raw, PrivateFormat.Raw, NoEncryption())
    signer = f"PRIVATE+KEY+{key.name}+{key.id.hex()}+{base64.b64encode(bytes([1]) + seed).decode()}"

    def ask(url: str, vkey: str, *sizes: int) -> subprocess.CompletedProcess[str]:
        command = [program, url, signer, vkey, *map(str, sizes)]
        return subprocess.run(command, capture_output=True, text=True, timeout=60, check=False)

    with running(tmp_path / "w") as witness:
        refused = ask(witness.url, witness.vkey, 1)
        assert (refused.returncode, "HTTP 404" in refused.stderr) == (1, True)
        witness.command("add-log", key.vkey)
        sizes = (1, 2, 3, 7, 8, 9, 256, 257, 1000)
        done = ask(witness.url, witness.vkey, *sizes)
        assert done.stderr == ""
        assert [tuple(map(int, line.split()[:2])) for line in done.stdout.splitlines()] == [(n, 1) for n in sizes]
        # Another process of the log knows nothing: it is told the size, and proves from there; the same size again.
        again = ask(witness.url, witness.vkey, 1000, 1000, 1500)
        assert [line.split()[:2] for line in again.stdout.splitlines()] == [["1000", "2"], ["1000", "1"], ["1500", "1"]]
        behind = ask(witness.url, witness.vkey, 900)
        assert "the witness holds" in behind.stderr
