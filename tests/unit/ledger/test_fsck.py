"""The operator's verification: private files, mirrors, the peer's copy, and signed statements inside entries."""

from __future__ import annotations

import base64
import json
import os
import shutil
import sqlite3
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePrivateKey
from cryptography.hazmat.primitives.asymmetric.ec import generate_private_key as generate_ec
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.cli.main import main
from ledger.entry import new_id
from ledger.envelope import KnownKey, load_public_key, pae
from ledger.errors import OperationalError
from ledger.fsck import Check, check_everything
from ledger.mirror_store import mirror_directory

KIND = "application/vnd.tdz.decision.v1+json"


def _sign(key: Ed25519PrivateKey | EllipticCurvePrivateKey, message: bytes) -> bytes:
    return key.sign(message) if isinstance(key, Ed25519PrivateKey) else key.sign(message, ECDSA(SHA256()))


def _public(key: Ed25519PrivateKey | EllipticCurvePrivateKey, name: str) -> KnownKey:
    pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
    return load_public_key(name, pem)


def _envelope(payload: bytes, *keys: Any, over: bytes | None = None) -> dict[str, Any]:
    message = pae(KIND, payload if over is None else over)
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": KIND,
        "signatures": [
            {"keyid": _public(each, "").keyid, "sig": base64.b64encode(_sign(each, message)).decode()} for each in keys
        ],
    }


def _texts(check: Check) -> str:
    return "\n".join(check.lines())


def test_an_untouched_log_passes_with_its_private_files(whole: Path, zone: Any) -> None:
    check = check_everything(whole)
    assert (check.exit_code, check.log.findings, check.log.notices) == (0, [], [])
    assert check.log.entries == 600


def test_a_copy_without_state_is_for_verify(copy: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["fsck", str(copy)]) == 2
    assert "tdz-ledger verify" in capsys.readouterr().err


def _sql(directory: Path, statement: str, *values: object) -> None:
    db = sqlite3.connect(directory / "state" / "lock.db")
    with db:
        assert db.execute(statement, values).rowcount > 0
    db.close()


def test_what_is_wrong_in_the_private_files_is_named(whole: Path, tmp_path: Path, zone: Any) -> None:
    def wrong(change: Callable[[Path], object], match: str, code: int = 1) -> None:
        target = tmp_path / "work"
        shutil.copytree(whole, target)
        change(target)
        check = check_everything(target)
        assert check.exit_code == code, (match, _texts(check))
        assert match in _texts(check)
        shutil.rmtree(target)

    older = (whole / "checkpoints" / "300").read_bytes()
    wrong(lambda d: (d / "state/lock.db").unlink(), "cannot open")
    wrong(lambda d: os.truncate(d / "state/lock.db", 20_000), "state/lock.db")
    wrong(lambda d: (d / "state/lock.db").write_bytes(b"x" * 4096), "state/lock.db")
    wrong(lambda d: _sql(d, "UPDATE lock SET note = ?", older), "checkpoint 600: it was rolled back")
    wrong(lambda d: _sql(d, "UPDATE lock SET note = ?", b"no note"), "its checkpoint")
    wrong(lambda d: _sql(d, "UPDATE lock SET origin = 'tdz/x/y'"), "origin tdz/x/y")
    wrong(lambda d: _sql(d, "DELETE FROM entries WHERE seq = 77"), "entry 77, state: state/lock.db does not know")
    wrong(lambda d: _sql(d, "UPDATE entries SET seq = 9 WHERE seq = 77"), "state/lock.db has its id at 9")
    wrong(
        lambda d: _sql(d, "UPDATE entries SET content = x'00' WHERE seq = 5"), "entry 5, state: state/lock.db has its"
    )
    wrong(lambda d: (d / "state/witness.db").unlink(), "state/witness.db")
    wrong(lambda d: os.chmod(d / "state", 0o755), "others may read it")
    wrong(lambda d: os.chmod(d / "state/lock.db", 0o644), "state/lock.db: others may read it")
    wrong(lambda d: (d / "state/staging/tmp-x").write_bytes(b"x"), "1 unfinished files", 0)
    wrong(lambda d: (d / "state/reserve").unlink(), "state/reserve is not there", 0)
    wrong(lambda d: (d / "tile/0/000").unlink(), "tile/0/000 is missing")

    def sparse(directory: Path) -> None:
        with (directory / "state/reserve").open("wb") as file:
            file.truncate(1 << 20)

    wrong(sparse, "not really written")
    wrong(lambda d: (d / "state/reserve").write_bytes(b"x" * 5000), "it is not of the")
    wrong(lambda d: (d / "state/reserve.size").write_text("much"), "state/reserve.size: it is no size")


def test_the_mirror_of_the_peers_log_is_judged_by_what_was_cosigned(whole: Path, zone: Any, peer: Any) -> None:
    mirror = mirror_directory(peer.directory, zone.signer.name)
    check = check_everything(peer.directory)
    assert (check.exit_code, [each.origin for each in check.mirrors]) == (0, [zone.signer.name])
    assert check.mirrors[0].entries == 300
    tile = mirror / "tile/0/000"
    data = tile.read_bytes()
    tile.write_bytes(data[:-1] + bytes([data[-1] ^ 1]))
    check = check_everything(peer.directory)
    assert check.exit_code == 1
    assert "tile/0/000" in _texts(check)
    tile.write_bytes(data)
    shutil.rmtree(mirror / "tile")
    assert "state/witness.db: tdz/lingang/2026-00ff: " in _texts(check_everything(peer.directory))


async def test_the_peers_copy_shows_a_rollback_and_another_entry(
    whole: Path, zone: Any, peer: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert main(["fsck", str(whole), "--against-peer", str(peer.directory)]) == 0
    assert "this log as the peer holds it" in capsys.readouterr().out
    assert main(["fsck", str(whole), "--against-peer", str(tmp_path)]) == 2
    # The same log, begun again by the same key: other entries under the same origin.
    again = tmp_path / "again"
    from ledger.writer import LogWriter

    LogWriter.create(again, origin=zone.signer.name, signer=zone.signer, reserve_bytes=4096)
    writer = await LogWriter.open(again, zone.signer)
    await writer.append(id=new_id(), kind="decision", subject="x", body={})
    await writer.close()
    check = check_everything(again, against_peer=peer.directory)
    assert check.exit_code == 1
    assert "the peer holds 300 entries, here are 2: this log was rolled back" in _texts(check)
    assert "the peer holds another entry 0 than this log" in _texts(check)


async def test_signed_statements_are_verified_where_the_key_is_known_and_counted_where_not(
    zone: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    ours, theirs, publisher = Ed25519PrivateKey.generate(), Ed25519PrivateKey.generate(), generate_ec(SECP256R1())
    inner = json.dumps(_envelope(b'{"asked":1}', theirs), separators=(",", ":"))
    bodies = [
        {"decision": _envelope(b"{}", ours)},
        {"list": [{"agreement": _envelope(b'{"a":1}', ours, theirs)}]},
        {"manifest": _envelope(b"{}", publisher)},
        {"offer": _envelope(json.dumps({"decision": inner}).encode(), ours)},
        {"no": {"payload": 1, "payloadType": 2}},
    ]
    writer = await zone.open()
    for body in bodies:
        await writer.append(id=new_id(), kind="decision", subject="x", body=body)
    await writer.close()
    known = [_public(ours, "the zone lingang"), _public(publisher, "the publisher")]
    check = check_everything(zone.directory, keys=known)
    assert (check.exit_code, check.log.envelopes.envelopes) == (0, 5)
    assert dict(check.log.envelopes.verified) == {"the zone lingang": 3, "the publisher": 1}
    assert dict(check.log.envelopes.unknown) == {_public(theirs, "").keyid: 2}
    assert "2 signatures of the unknown key" in _texts(check)
    assert check_everything(zone.directory, keys=known, with_envelopes=False).log.envelopes.envelopes == 0
    pem = tmp_path / "theirs.pem"
    pem.write_bytes(theirs.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo))
    assert main(["fsck", str(zone.directory), "--statement-key", str(pem), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["envelopes"]["verified_signatures"] == {str(pem): 2}
    pem.write_bytes(b"x")
    assert main(["fsck", str(zone.directory), "--statement-key", str(pem)]) == 2


@pytest.mark.parametrize(
    "make",
    [
        lambda key: _envelope(b"{}", key, over=b"{ }"),
        lambda key: {**_envelope(b"{}", key), "payloadType": "application/vnd.tdz.offer.v1+json"},
        lambda key: {**_envelope(b"{}", key), "payload": "e30"},
        lambda key: {**_envelope(b"{}", key), "signatures": []},
        lambda key: {**_envelope(b"{}", key), "signatures": ["x"]},
        lambda key: {**_envelope(b"{}", key), "signatures": [{"keyid": _public(key, "").keyid, "sig": ""}]},
        lambda key: {"nested": _envelope(json.dumps(_envelope(b"{}", key, over=b"x")).encode(), key)},
    ],
)
@pytest.mark.parametrize("curve", ["Ed25519", "P-256"])
async def test_a_statement_that_a_known_key_did_not_sign_names_its_entry(zone: Any, make: Any, curve: str) -> None:
    key = generate_ec(SECP256R1()) if curve == "P-256" else Ed25519PrivateKey.generate()
    writer = await zone.open()
    await writer.append(id=new_id(), kind="decision", subject="x", body={"statement": make(key)})
    await writer.close()
    check = check_everything(zone.directory, keys=[_public(key, "the zone lingang")])
    assert check.exit_code == 1
    assert check.log.first_bad_entry == 1


def test_a_payload_that_nests_without_end_is_no_traceback(zone: Any) -> None:
    from ledger.envelope import envelopes

    deep = b"[" * 500 + b"]" * 500
    assert len(list(envelopes({"x": _envelope(deep)}))) == 1
    text = _envelope(b"{}")
    for _ in range(40):
        text = _envelope(json.dumps(text).encode())
    assert len(list(envelopes({"x": text}))) == 5


def test_a_key_that_is_none_is_refused() -> None:
    with pytest.raises(OperationalError):
        load_public_key("x", b"-----BEGIN PUBLIC KEY-----\nAAAA\n-----END PUBLIC KEY-----\n")


async def test_an_entrys_content_is_found_in_its_bytes_whatever_stands_in_them(zone: Any) -> None:
    mark = ',"id":"x","kind":"decision","prev":"y","seq":1,"subject":"z","time":"t"'
    writer = await zone.open()
    for subject in ("x", 'a","time":"b', "é\\", mark):
        await writer.append(id=new_id(), kind="decision", subject=subject, body={"n": mark, "m": {"id": subject}})
    await writer.close()
    check = check_everything(zone.directory)
    assert (check.exit_code, check.log.entries) == (0, 5)


@pytest.mark.parametrize("value", [None, 7, "text", b"bytes"])
@pytest.mark.parametrize(
    ("file", "table", "column"),
    [
        ("lock.db", "lock", "note"),
        ("lock.db", "entries", "content"),
        ("lock.db", "entries", "seq"),
        ("witness.db", "mirror", "vkey"),
        ("witness.db", "mirror", "note"),
        ("witness.db", "mirror", "size"),
        ("witness.db", "mirror", "filed"),
    ],
)
def test_a_row_with_a_value_of_another_type_is_a_finding_and_no_traceback(
    whole: Path, zone: Any, peer: Any, tmp_path: Path, file: str, table: str, column: str, value: object
) -> None:
    directory = tmp_path / "work"
    shutil.copytree(whole if file == "lock.db" else peer.directory, directory)
    db = sqlite3.connect(directory / "state" / file)
    # As a flipped bit would have it: past every constraint.
    loosened = f"UPDATE sqlite_master SET sql = replace(sql, 'NOT NULL', '') WHERE name = '{table}'"
    db.executescript(f"PRAGMA writable_schema = ON; {loosened};")
    db.close()
    db = sqlite3.connect(directory / "state" / file)
    with db:
        assert db.execute(f"UPDATE {table} SET {column} = ?", (value,)).rowcount > 0
    db.close()
    assert check_everything(directory).exit_code == 1
