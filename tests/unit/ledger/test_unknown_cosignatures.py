"""Cosignatures that are not verified here, as those of ML-DSA-44 (note type 0x06): carried, counted, in nobody's way.

C2SP tlog-cosignature: a key id over 1,312 bytes of key; a time and 2,420 bytes of signature, random each time.
"""

from __future__ import annotations

import base64
import hashlib
import json
import os
import time
from pathlib import Path
from typing import Any

import pytest

from ledger.cli.main import main
from ledger.entry import new_id
from ledger.errors import ForkError, NoteError
from ledger.evidence import Evidence
from ledger.note import CosignatureVerifier, Note, NoteVerifier, check_note, verifier
from ledger.policy import TrustPolicy
from ledger.witness.protocol import parse_cosignatures
from ledger.witness.store import WitnessStore, create_witness
from ledger.writer import LogWriter
from tests.conformance.ledger.tlog import Key, Log, verify_cosignature


class MlDsa:
    """A cosigner whose signatures nobody here can verify: of the right form and length."""

    def __init__(self, name: str) -> None:
        self.name, self.key = name, b"\x06" + os.urandom(1312)
        self.id = hashlib.sha256(name.encode() + b"\n" + self.key).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{base64.b64encode(self.key).decode()}"

    def cosign(self) -> str:
        blob = self.id + int(time.time()).to_bytes(8, "big") + os.urandom(2420)
        return f"\u2014 {self.name} {base64.b64encode(blob).decode()}\n"


def test_a_note_carries_them_to_the_byte_and_counts_them_as_unknown() -> None:
    log, cosigner = Log(Key("example.com/log", 1)), MlDsa("witness.example/w1")
    log.grow(3)
    known = Key(cosigner.name, 4)  # the same name with another kind of key: only the key id tells them apart
    data = log.note() + f"{cosigner.cosign()}{known.cosign(log.text(), 7)}{cosigner.cosign()}".encode() * 5
    note = Note.parse(data)
    assert note.encode() == data
    opened = check_note(note, [NoteVerifier(log.key.vkey), CosignatureVerifier(known.vkey)])
    assert (len(opened.verified), len(opened.unknown)) == (6, 10)


def test_its_keys_are_refused_where_somebody_would_have_to_verify_them(tmp_path: Path) -> None:
    key = MlDsa("witness.example/w1").vkey
    for use in (verifier, CosignatureVerifier, NoteVerifier, lambda vkey: TrustPolicy(f"witness w {vkey}\nquorum w\n")):
        with pytest.raises(NoteError, match="0x06"):
            use(key)
    create_witness(tmp_path / "w", "witness.example/w2")
    store = WitnessStore(tmp_path / "w")
    with pytest.raises(NoteError, match="0x06"):
        store.add_log(key)
    store.close()


def test_a_witness_cosigns_a_checkpoint_that_has_them_and_its_own_answer_is_read_beside_them(tmp_path: Path) -> None:
    log, cosigner = Log(Key("example.com/log", 1)), MlDsa("witness.example/quantum")
    log.grow(5)
    create_witness(tmp_path / "w", "witness.example/w1")
    store = WitnessStore(tmp_path / "w")
    store.add_log(log.key.vkey)
    lines = "".join(cosigner.cosign() for _ in range(14)).encode()
    line = store.add_checkpoint(log.request(0) + lines).line
    verify_cosignature(f"{line}\n", store.vkey, log.text())
    # A fork is evidence with the log's own signatures alone, whatever else stands on the notes.
    fork = Log(log.key, [bytes(32), *log.leaves[1:]])
    with pytest.raises(ForkError):
        store.add_checkpoint(fork.request(5) + lines)
    (file,) = (tmp_path / "w" / "evidence").iterdir()
    assert Evidence.parse(file.read_bytes(), vkeys=[log.key.vkey]).second.note == fork.note()
    found = parse_cosignatures(f"{cosigner.cosign()}{line}\n{cosigner.cosign()}".encode())
    opened = check_note(Note(log.text(), found), [CosignatureVerifier(store.vkey)])
    assert (len(opened.verified), len(opened.unknown)) == (1, 2)
    store.close()


async def test_a_ledger_with_them_verifies_proves_and_is_mirrored_and_they_are_counted(
    zone: Any, peer: Any, helpers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    cosigner = MlDsa("witness.example/quantum")
    mirror = await peer.mirror(zone)
    writer: LogWriter = await zone.open()
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    await helpers.append(writer, 3)
    head = writer.published
    entries = await writer.read(0, head.checkpoint.size, 1 << 20)
    # The peer pushes a note that carries one: held and cosigned as it came.
    pushed = head.note + cosigner.cosign().encode()
    line = await mirror.take(pushed, 0, [], 0, entries)
    assert mirror.note == pushed
    await writer.add_cosignature(head.checkpoint.text, line)
    await writer.append(id=new_id(), kind="decision", subject="x", body={})
    await writer.close()
    await mirror.close()

    keys = ("--vkey", zone.signer.vkey, "--witness-vkey", peer.cosigner.vkey)
    for name in ("checkpoint.witnessed", "checkpoint"):  # the first is checkpoints/4 too: one file, two names
        path = zone.directory / name
        path.write_bytes(path.read_bytes() + cosigner.cosign().encode())
    assert main(["verify", str(zone.directory), *keys, "--json"]) == 0
    said = json.loads(capsys.readouterr().out)
    assert said["findings"] == []
    assert "unknown" in json.dumps(said["notices"])
    assert main(["verify", str(zone.directory / "checkpoint.witnessed"), *keys]) == 0
    assert "1 signatures of unknown keys" in capsys.readouterr().out
    proof = tmp_path / "proof"
    assert main(["prove", "inclusion", "1", str(zone.directory), "-o", str(proof)]) == 0
    assert main(["verify", str(proof), *keys]) == 0
    assert main(["head", str(zone.directory)]) == 0
    mirrored = peer.directory / "mirror"
    (folder,) = mirrored.iterdir()
    assert main(["verify", str(folder), "--vkey", zone.signer.vkey]) == 0
    # A gateway that starts on such files goes on.
    writer = await zone.open()
    await helpers.append(writer)
    await writer.close()
