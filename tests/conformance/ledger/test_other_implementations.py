"""An exported log and proofs of it, checked with SHA-256, OpenSSL and pymerkle alone.

The checks import nothing of ours: another process makes the log, the export and the proofs.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from pymerkle import InmemoryTree

MAKE_A_LOG = """
import asyncio, sys
from pathlib import Path
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from ledger.entry import new_id
from ledger.export import export_log
from ledger.mirror import Mirror
from ledger.note import CosignatureSigner, NoteSigner
from ledger.prove import Prover
from ledger.writer import LogWriter

async def main():
    base = Path(sys.argv[1])
    signer = NoteSigner("tdz/lingang/2026-00ff", Ed25519PrivateKey.generate())
    cosigner = CosignatureSigner("tdz/cyberjaya/mirror", Ed25519PrivateKey.generate())
    for name in ("log", "peer"):
        LogWriter.create(base / name, origin=signer.name, signer=signer, reserve_bytes=4096)
    writer = await LogWriter.open(base / "log", signer)
    await writer.set_policy(f"log {signer.vkey}\\nwitness peer {cosigner.vkey}\\nquorum peer\\n")
    mirror = await Mirror.open(base / "peer", peer_vkey=signer.vkey, cosigner=cosigner)
    for count in (1, 2, 300, 400):
        await asyncio.gather(*(
            writer.append(id=new_id(), kind="decision", subject="transfers/x", body={"n": n, "text": "é"})
            for n in range(count)
        ))
        head = writer.published
        size = head.checkpoint.size
        await mirror.begin(head.note, mirror.size, await writer.consistency_proof(mirror.size, size))
        await mirror.receive(await writer.read(mirror.have, size, 1 << 30))
        await writer.add_cosignature(head.checkpoint.text, await mirror.finish())
    await writer.close()
    await mirror.close()
    export_log(base / "log", base / "export")
    prover = Prover(base / "export")
    (base / "entry.tlog-proof").write_bytes(prover.inclusion(321).encode())
    (base / "consistency-proof").write_bytes(prover.consistency(304, 704).encode())

asyncio.run(main())
"""


@pytest.fixture(scope="module")
def log(tmp_path_factory: pytest.TempPathFactory) -> Path:
    directory = tmp_path_factory.mktemp("conformance")
    environment = {**os.environ, "PYTHONPATH": os.pathsep.join([os.getcwd(), *sys.path])}
    subprocess.run([sys.executable, "-c", MAKE_A_LOG, str(directory)], check=True, env=environment)
    assert not (directory / "export" / "state").exists()
    return directory / "export"


def _note(path: Path) -> tuple[str, list[tuple[str, bytes]]]:
    return _split(path.read_text())


def _split(note: str) -> tuple[str, list[tuple[str, bytes]]]:
    text, _, tail = note.rpartition("\n\n")
    lines = [line.split(" ") for line in tail.splitlines()]
    return text + "\n", [(name, base64.b64decode(blob)) for _, name, blob in lines]


def _key(vkey: str) -> tuple[str, bytes, int, bytes]:
    name, key_id, encoded = vkey.strip().split("+", 2)
    raw = base64.b64decode(encoded)
    assert hashlib.sha256(name.encode() + b"\n" + raw).digest()[:4].hex() == key_id
    return name, bytes.fromhex(key_id), raw[0], raw[1:]


def _openssl_verifies(key: bytes, message: bytes, signature: bytes, directory: Path) -> bool:
    der = bytes.fromhex("302a300506032b6570032100") + key  # RFC 8410: SubjectPublicKeyInfo of Ed25519
    files = {"key.der": der, "message": message, "signature": signature}
    for name, data in files.items():
        (directory / name).write_bytes(data)
    done = subprocess.run(
        [
            "openssl",
            "pkeyutl",
            "-verify",
            "-rawin",
            "-pubin",
            "-keyform",
            "DER",
            "-inkey",
            "key.der",
            "-in",
            "message",
            "-sigfile",
            "signature",
        ],
        cwd=directory,
        capture_output=True,
        check=False,
    )
    return done.returncode == 0


def _path(index: int) -> str:
    path = f"{index % 1000:03d}"
    while index >= 1000:
        index //= 1000
        path = f"x{index % 1000:03d}/{path}"
    return path


def _entries(log: Path, size: int) -> list[bytes]:
    entries: list[bytes] = []
    for index in range((size + 255) // 256):
        width = min(256, size - index * 256)
        path = log / "tile/entries" / (_path(index) + (f".p/{width}" if width < 256 else ""))
        data = path.read_bytes()
        while data:
            length = int.from_bytes(data[:2], "big")
            entries.append(data[2 : 2 + length])
            data = data[2 + length :]
    return entries


def test_openssl_verifies_the_logs_and_the_mirrors_signatures(log: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program on this machine")
    name, key_id, kind, key = _key((log / "vkey").read_text())
    assert kind == 1
    words = (log / "policy.tlog").read_text().split()
    witness = _key(words[words.index("peer") + 1])
    for file in ("checkpoint", "checkpoint.witnessed", "checkpoints/2", "checkpoints/704"):
        text, signatures = _note(log / file)
        (own,) = [blob[4:] for each, blob in signatures if (each, blob[:4]) == (name, key_id)]
        assert _openssl_verifies(key, text.encode(), own, tmp_path)
        assert not _openssl_verifies(key, text.encode() + b"x", own, tmp_path)
        for each, blob in signatures:
            if (each, blob[:4]) == witness[:2]:
                seconds = int.from_bytes(blob[4:12], "big")
                cosigned = f"cosignature/v1\ntime {seconds}\n{text}".encode()
                assert _openssl_verifies(witness[3], cosigned, blob[12:], tmp_path)
    assert len(_note(log / "checkpoint.witnessed")[1]) == 2


def test_pymerkle_gives_the_signed_roots_of_every_kept_checkpoint(log: Path) -> None:
    entries = _entries(log, 704)
    tree = InmemoryTree(algorithm="sha256")
    roots = {}
    for number, entry in enumerate(entries, 1):
        tree.append_entry(entry)
        roots[number] = tree.get_root()
    kept = sorted(path.name for path in (log / "checkpoints").iterdir())
    assert kept == ["2", "304", "4", "704"]
    for name in kept:
        lines = _note(log / "checkpoints" / name)[0].splitlines()
        assert lines[1] == name
        assert base64.b64decode(lines[2]) == roots[int(name)]
    assert _note(log / "checkpoint")[0] == _note(log / "checkpoints/704")[0]


def test_the_tiles_are_those_of_tlog_tiles_partial_ones_included(log: Path) -> None:
    leaves = [hashlib.sha256(b"\0" + each).digest() for each in _entries(log, 704)]
    assert (log / "tile/0/000").read_bytes() == b"".join(leaves[:256])
    assert (log / "tile/0/001").read_bytes() == b"".join(leaves[256:512])
    assert (log / "tile/0/002.p/192").read_bytes() == b"".join(leaves[512:])
    for index in range(2):
        level = leaves[index * 256 : index * 256 + 256]
        while len(level) > 1:
            level = [hashlib.sha256(b"\1" + a + b).digest() for a, b in zip(level[::2], level[1::2], strict=True)]
        assert (log / "tile/1/000.p/2").read_bytes()[index * 32 : index * 32 + 32] == level[0]


def test_the_entries_are_chained_and_in_canonical_form(log: Path) -> None:
    origin = (log / "checkpoint").read_text().split("\n", 1)[0]
    prev = hashlib.sha256(origin.encode()).hexdigest()
    for seq, data in enumerate(_entries(log, 704)):
        entry = json.loads(data)
        assert (entry["seq"], entry["prev"]) == (seq, prev)
        again = json.dumps(entry, sort_keys=True, separators=(",", ":"), ensure_ascii=False)
        assert again.encode() == data
        prev = hashlib.sha256(b"\0" + data).hexdigest()


def test_an_inclusion_proof_holds_by_openssl_and_by_rfc_9162_alone(log: Path, tmp_path: Path) -> None:
    if shutil.which("openssl") is None:
        pytest.skip("no openssl program on this machine")
    head, _, note = (log.parent / "entry.tlog-proof").read_text().partition("\n\n")
    first, extra, index, *hashes = head.split("\n")
    assert first == "c2sp.org/tlog-proof@v1"
    entry = base64.b64decode(extra.removeprefix("extra "))
    place = int(index.removeprefix("index "))
    assert (place, json.loads(entry)["seq"], entry) == (321, 321, _entries(log, 704)[321])
    # RFC 9162 section 2.1.3.2.
    text, signatures = _split(note)
    origin, size, root = text.splitlines()
    number, last, computed = place, int(size) - 1, hashlib.sha256(b"\0" + entry).digest()
    for each in map(base64.b64decode, hashes):
        assert last > 0
        if number & 1 or number == last:
            computed = hashlib.sha256(b"\1" + each + computed).digest()
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            computed = hashlib.sha256(b"\1" + computed + each).digest()
        number, last = number >> 1, last >> 1
    assert (last, computed) == (0, base64.b64decode(root))
    # Both signatures: the log's, and the witness's over the time that it names.
    name, key_id, _, key = _key((log / "vkey").read_text())
    assert name == origin
    (own,) = [blob[4:] for each, blob in signatures if (each, blob[:4]) == (name, key_id)]
    assert _openssl_verifies(key, text.encode(), own, tmp_path)
    words = (log / "policy.tlog").read_text().split()
    witness = _key(words[words.index("peer") + 1])
    (blob,) = [blob for each, blob in signatures if (each, blob[:4]) == witness[:2]]
    cosigned = f"cosignature/v1\ntime {int.from_bytes(blob[4:12], 'big')}\n{text}".encode()
    assert _openssl_verifies(witness[3], cosigned, blob[12:], tmp_path)


def test_a_consistency_proof_holds_by_rfc_9162_and_by_pymerkles_roots(log: Path) -> None:
    head, _, notes = (log.parent / "consistency-proof").read_text().partition("\n\n")
    first, *hashes = head.split("\n")
    assert first == "tdz-consistency-proof@v1"
    texts = [part + "\n" for part in notes.split("\n\n")[::2]]
    (_, old, old_root), (_, new, new_root) = [text.splitlines() for text in texts]
    tree = InmemoryTree(algorithm="sha256")
    roots = {}
    for number, entry in enumerate(_entries(log, int(new)), 1):
        tree.append_entry(entry)
        roots[number] = tree.get_root()
    assert (base64.b64decode(old_root), base64.b64decode(new_root)) == (roots[int(old)], roots[int(new)])
    # RFC 9162 section 2.1.4.2; 304 is no power of two, so the proof begins with a node of its own.
    path = [base64.b64decode(each) for each in hashes]
    number, last = int(old) - 1, int(new) - 1
    while number & 1:
        number, last = number >> 1, last >> 1
    one = two = path[0]
    for each in path[1:]:
        assert last > 0
        if number & 1 or number == last:
            one, two = hashlib.sha256(b"\1" + each + one).digest(), hashlib.sha256(b"\1" + each + two).digest()
            while not number & 1 and number:
                number, last = number >> 1, last >> 1
        else:
            two = hashlib.sha256(b"\1" + two + each).digest()
        number, last = number >> 1, last >> 1
    assert (last, one, two) == (0, roots[int(old)], roots[int(new)])
