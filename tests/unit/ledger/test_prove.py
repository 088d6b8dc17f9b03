"""Proofs made from a directory's public files, and verified from the file and keys alone, on the command line."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import canonical
from ledger.checkpoint import Checkpoint
from ledger.cli.main import main
from ledger.entry import new_id
from ledger.envelope import pae
from ledger.errors import IncompleteError, OperationalError, ProofError, TamperedError
from ledger.note import CosignatureSigner, NoteSigner
from ledger.proof import InclusionProof
from ledger.proof_set import ProofSet
from ledger.prove import Prover

KEYS = {name: Ed25519PrivateKey.generate() for name in ("log", "mirror", "statement")}


def _make_card(name: str, origin: str, log: NoteSigner, mirror: CosignatureSigner, **changes: Any) -> bytes:
    statement = KEYS["statement"]
    card: dict[str, Any] = {
        "ca": "-",
        "date": 1_790_000_000,
        "endpoint": "127.0.0.1:7443",
        "jurisdiction": "CN",
        "log": log.vkey,
        "mirror": mirror.vkey,
        "origin": origin,
        "serial": 1,
        "statement_key": base64.b64encode(statement.public_key().public_bytes_raw()).decode(),
        "zone": name,
        **changes,
    }
    message = pae("application/vnd.tdz.zone-card.v1+json", canonical.encode(card))
    signatures = [log._key.sign(message), statement.sign(message)]
    lines = [{"keyid": "0" * 64, "sig": base64.b64encode(each).decode()} for each in signatures]
    return canonical.encode({"card": card, "signatures": lines})


def test_an_entry_is_proven_by_a_small_file_and_the_logs_key_alone(
    copy: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "entry.tlog-proof"
    assert main(["prove", "inclusion", "5", str(copy), "-o", str(file)]) == 0
    assert "inclusion proof of tdz/lingang/2026-00ff at size 300" in capsys.readouterr().out
    assert file.stat().st_size < 3000
    proof = InclusionProof.parse(file.read_bytes())
    assert (proof.index, proof.note) == (5, (copy / "checkpoint.witnessed").read_bytes())
    assert main(["verify", str(file), "--vkey", zone.signer.vkey]) == 0
    out = capsys.readouterr().out
    assert out.startswith("witnessed by nobody whose key was given")
    assert "verified: entry 5 stands in tdz/lingang/2026-00ff" in out
    assert '"subject": "transfers/0"' in out
    assert "1 signatures of unknown keys" in out
    witness = ["--witness-vkey", peer.cosigner.vkey]
    assert main(["verify", str(file), "--vkey", zone.signer.vkey, *witness, "--json"]) == 0
    document = json.loads(capsys.readouterr().out)
    assert (document["ok"], document["entry"]["seq"], document["size"]) == (True, 5, 300)
    assert document["witnessed"]["by"] == ["tdz/cyberjaya/mirror"]


def test_a_proof_is_refused_without_a_key_by_another_key_and_for_another_entry(
    copy: Path, zone: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file = tmp_path / "p"
    assert main(["prove", "inclusion", "5", str(copy), "-o", str(file), "--without-entry"]) == 0
    key = ["--vkey", zone.signer.vkey]
    assert main(["verify", str(file)]) == 2
    assert "--vkey" in capsys.readouterr().err
    foreign = NoteSigner(zone.signer.name, Ed25519PrivateKey.generate()).vkey
    assert main(["verify", str(file), *key]) == 2
    assert "--entry" in capsys.readouterr().err
    entry = tmp_path / "entry-5"
    entry.write_bytes(Prover(copy).inclusion(5).extra or b"")
    assert main(["verify", str(file), "--vkey", foreign, "--entry", str(entry)]) == 1
    assert "did not sign it" in capsys.readouterr().out
    other = NoteSigner("tdz/x/2026-0000", Ed25519PrivateKey.generate()).vkey
    assert main(["verify", str(file), "--vkey", other, "--entry", str(entry)]) == 1
    assert "of the origin tdz/lingang/2026-00ff, whose key was not given" in capsys.readouterr().out
    for seq, code in ((5, 0), (6, 1)):
        proof = Prover(copy).inclusion(seq)
        entry = tmp_path / f"entry-{seq}"
        entry.write_bytes(proof.extra or b"")
        assert main(["verify", str(file), *key, "--entry", str(entry)]) == code
    stranger = CosignatureSigner("w", Ed25519PrivateKey.generate())
    assert main(["verify", str(file), *key, "--entry", str(tmp_path / "entry-5"), "--witness-vkey", stranger.vkey]) == 3
    assert "not judged: no cosignature of a witness" in capsys.readouterr().out


def test_what_is_not_witnessed_yet_is_said_to_be_so(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["prove", "inclusion", "599", str(copy)]) == 3
    assert "entry 599 is not witnessed yet" in capsys.readouterr().err
    assert main(["prove", "inclusion", "600", str(copy)]) == 2
    assert main(["prove", "inclusion", "599", str(copy), "--unwitnessed"]) == 0
    assert capsys.readouterr().out.startswith("c2sp.org/tlog-proof@v1\nextra ")
    (copy / "checkpoint.witnessed").unlink()
    with pytest.raises(IncompleteError):
        Prover(copy).inclusion(0)


def test_every_entry_of_a_copy_with_public_files_can_be_proven(copy: Path, zone: Any) -> None:
    for prover, size in ((Prover(copy), 300), (Prover(copy, unwitnessed=True), 600)):
        for seq in range(size):
            assert prover.inclusion(seq).index == seq
        with pytest.raises(OperationalError):
            prover.inclusion(600)


def test_consistency_between_kept_sizes_and_with_a_file_that_was_kept(
    copy: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    file, key = tmp_path / "c", ["--vkey", zone.signer.vkey, "--witness-vkey", peer.cosigner.vkey]
    assert main(["prove", "consistency", "300", "600", str(copy), "-o", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["old_size"] == 300
    assert main(["verify", str(file), "--vkey", zone.signer.vkey]) == 0
    assert "the first 300 of 600 entries" in capsys.readouterr().out
    # Size 600 was cosigned by nobody.
    assert main(["verify", str(file), *key]) == 3
    kept = copy / "checkpoints" / "300"
    assert main(["prove", "consistency", str(kept), "witnessed", str(copy), "-o", str(file)]) == 0
    assert main(["verify", str(file), *key]) == 0
    assert main(["verify", str(file), *key, "--seen", str(kept)]) == 0
    assert main(["verify", str(file), *key, "--seen", str(copy / "checkpoint")]) == 3
    assert "prove consistency 300 600" in capsys.readouterr().out
    for sizes in (["0", "300"], ["299", "300"], ["600", "300"], ["300", "599"], ["300", str(10**18)], ["no", "300"]):
        assert main(["prove", "consistency", *sizes, str(copy)]) == 2, sizes


def test_a_checkpoint_is_verified_alone_and_against_one_seen_before(
    copy: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    key = ["--vkey", zone.signer.vkey, "--witness-vkey", peer.cosigner.vkey]
    witnessed = str(copy / "checkpoint.witnessed")
    assert main(["verify", witnessed, *key]) == 0
    assert capsys.readouterr().out.startswith("witnessed to size 300 at 2")
    assert main(["verify", str(copy / "checkpoint"), "--vkey", zone.signer.vkey]) == 0
    assert main(["verify", witnessed, *key, "--max-age", "1h"]) == 0
    assert main(["verify", witnessed, *key, "--seen", witnessed]) == 0
    # A second root of the same size, signed by the log: a fork.
    text = Checkpoint(zone.signer.name, 300, bytes(32)).text
    forked = tmp_path / "forked"
    forked.write_text(f"{text}\n{zone.signer.sign(text)}\n")
    capsys.readouterr()
    assert main(["verify", witnessed, *key, "--seen", str(forked)]) == 1
    assert "signed two roots of size 300" in capsys.readouterr().out
    for bad in (b"", b"x", b"\xff" * 99, text.encode(), (copy / "vkey").read_bytes(), b"c2sp.org/tlog-proof@v1\n"):
        forked.write_bytes(bad)
        assert main(["verify", str(forked), *key]) == 1, bad
        assert capsys.readouterr().out.startswith("NOT VERIFIED")


def test_tiles_that_are_missing_or_changed_give_no_proof(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    tile = copy / "tile/0/000"
    data = bytearray(tile.read_bytes())
    data[100] ^= 1
    tile.write_bytes(data)
    with pytest.raises(TamperedError):
        Prover(copy).inclusion(5)
    tile.unlink()
    assert main(["prove", "inclusion", "5", str(copy)]) == 1
    assert "missing" in capsys.readouterr().err
    (copy / "checkpoint.witnessed").write_bytes(b"x")
    assert main(["prove", "inclusion", "5", str(copy)]) == 1


def test_cards_give_the_keys_and_say_what_was_verified_of_them(
    copy: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs = tmp_path / "lingang.json", tmp_path / "cyberjaya.json"
    ours.write_bytes(_make_card("lingang", zone.signer.name, zone.signer, zone.cosigner))
    theirs.write_bytes(_make_card("cyberjaya", peer.signer.name, peer.signer, peer.cosigner))
    assert main(["verify", str(copy), "--card", str(ours), "--card", str(theirs)]) == 0
    out = capsys.readouterr().out
    assert "taken from the directory itself" not in out
    assert "card of lingang, serial 1, of 2026-09-21: signed by its log and statement keys" in out
    assert main(["verify", str(copy), "--card", str(ours)]) == 0
    assert "keys of the witnesses were taken from the directory itself" in capsys.readouterr().out
    assert main(["verify", str(copy), "--card", str(theirs)]) == 1
    assert (
        "it is of the origin tdz/lingang/2026-00ff; the keys that were given are of tdz/cyber"
        in capsys.readouterr().out
    )
    proof = tmp_path / "p"
    assert main(["prove", "inclusion", "1", str(copy), "-o", str(proof)]) == 0
    assert main(["verify", str(proof), "--card", str(ours), "--card", str(theirs)]) == 0
    # A zone's own mirror is no witness of its own log.
    assert main(["verify", str(proof), "--card", str(ours), "--witness-vkey", zone.cosigner.vkey]) == 0
    whole = _make_card("lingang", zone.signer.name, zone.signer, zone.cosigner)
    for bad in (
        b"{}",
        whole[:-1],
        whole.replace(b'"serial":1', b'"serial":2'),
        whole.replace(b"127.0.0.1", b"127.0.0.2"),
        _make_card("lingang", zone.signer.name, zone.signer, peer.cosigner),
        _make_card("lingang", zone.signer.name, zone.signer, zone.cosigner, zone="other"),
        _make_card("lingang", zone.signer.name, zone.signer, zone.cosigner, serial="1"),
        _make_card("lingang", zone.signer.name, zone.signer, zone.cosigner, statement_key="AAAA"),
        b"x" * 70000,
    ):
        ours.write_bytes(bad)
        capsys.readouterr()
        assert main(["verify", str(copy), "--card", str(ours)]) == 2
        assert capsys.readouterr().err.count("\n") == 1


def test_a_policy_file_gives_keys_and_the_quorum(copy: Path, zone: Any, peer: Any, tmp_path: Path) -> None:
    policy, proof = tmp_path / "policy", tmp_path / "p"
    assert main(["prove", "inclusion", "1", str(copy), "-o", str(proof)]) == 0
    stranger = CosignatureSigner("w.example", Ed25519PrivateKey.generate())
    lines = f"log {zone.signer.vkey}\nwitness a {peer.cosigner.vkey}\nwitness b {stranger.vkey}\ngroup both all a b\n"
    for quorum, code in (("a", 0), ("both", 1), ("none", 0)):
        policy.write_text(f"{lines}quorum {quorum}\n")
        assert main(["verify", str(proof), "--policy", str(policy)]) == code, quorum
        assert main(["verify", str(copy), "--policy", str(policy)]) == code, quorum
    policy.write_text("quorum x\n")
    assert main(["verify", str(proof), "--policy", str(policy)]) == 2


async def test_all_entries_of_a_transfer_are_proven_in_one_file(
    zone: Any, peer: Any, helpers: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    statement = KEYS["statement"]
    payload = b'{"rows":3}'
    envelope = {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": "application/vnd.tdz.receipt.v1+json",
        "signatures": [
            {
                "keyid": hashlib.sha256(statement.public_key().public_bytes_raw()).hexdigest(),
                "sig": base64.b64encode(statement.sign(pae("application/vnd.tdz.receipt.v1+json", payload))).decode(),
            }
        ],
    }
    writer, mirror = await zone.open(), await peer.mirror(zone)
    await writer.set_policy(f"log {zone.signer.vkey}\nwitness peer {peer.cosigner.vkey}\nquorum peer\n")
    for subject, kind, body in (
        ("agreements/a1", "agreement", {}),
        ("transfers/t1", "transfer.started", {"agreement": "a1"}),
        ("transfers/t2", "transfer.started", {"agreement": "a2"}),
        ("transfers/t1", "transfer.completed", {"receipt": envelope}),
    ):
        await writer.append(id=new_id(), kind=kind, subject=subject, body=body)
    await writer.add_cosignature(writer.published.checkpoint.text, await helpers.push(writer, mirror))
    await writer.close()
    await mirror.close()
    file, ours, theirs = tmp_path / "kept", tmp_path / "ours.json", tmp_path / "theirs.json"
    assert main(["prove", "subject", "transfers/t1", str(zone.directory), "-o", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["entries"] == [1, 2, 4]
    ours.write_bytes(_make_card("lingang", zone.signer.name, zone.signer, zone.cosigner))
    theirs.write_bytes(_make_card("cyberjaya", peer.signer.name, peer.signer, peer.cosigner))
    cards = ["--card", str(ours), "--card", str(theirs)]
    assert main(["verify", str(file), *cards]) == 0
    out = capsys.readouterr().out
    assert out.startswith("verified: 3 entries about transfers/t1")
    assert out.count("witnessed to size 5 at") == 3
    assert "1 signatures of the zone" in out
    assert main(["verify", str(file), *cards, "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["proofs"][2]["entry"]["kind"] == "transfer.completed"
    data = file.read_bytes()
    proofs = ProofSet.parse(data)
    for bad in (
        data[:-1],
        data + b"\n",
        data.replace(b"transfers/t1", b"transfers/t9", 1)[:-1] + b" ",
        data.replace(b'"subject":"transfers/t1"', b'"subject":"transfers/t9"'),
        ProofSet("transfers/t1", (*proofs.proofs, Prover(zone.directory).inclusion(3))).encode(),
        data.replace(b"index 4", b"index 3"),
        data.replace(b"/v1", b"/v2"),
    ):
        file.write_bytes(bad)
        assert main(["verify", str(file), *cards]) == 1
        assert capsys.readouterr().out.startswith("NOT VERIFIED")
    assert main(["prove", "subject", "transfers/t3", str(zone.directory)]) == 3


def test_a_proof_set_is_bounded_and_carries_entries() -> None:
    bare = InclusionProof(0, (), b"", None)
    for proofs in ((), (bare,), (InclusionProof(0, (), b"", b""),) * 65):
        with pytest.raises(ProofError):
            ProofSet("transfers/x", proofs)
    for bad in (b"", b"{}", b"[]", b'{"proofs":[1],"subject":"x","v":"tdz-proof-set/v1"}\n', b"x" * 9_000_000):
        with pytest.raises(ProofError):
            ProofSet.parse(bad)
