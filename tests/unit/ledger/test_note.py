"""Signed notes, cosignatures, checkpoints, policies and key files."""

from __future__ import annotations

import base64
import os
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.checkpoint import Checkpoint
from ledger.errors import NoteError, OperationalError, SignatureError
from ledger.keys import create_key, load_key
from ledger.merkle import EMPTY_ROOT
from ledger.note import (
    CosignatureSigner,
    CosignatureVerifier,
    Note,
    NoteSigner,
    NoteVerifier,
    Signature,
    VerifierKey,
    open_note,
    verifier,
)
from ledger.policy import TrustPolicy

LOG = NoteSigner("tdz/lingang/2026-00ff", Ed25519PrivateKey.generate())
MIRROR = CosignatureSigner("tdz/cyberjaya/mirror", Ed25519PrivateKey.generate())
OTHER = CosignatureSigner("ministry/witness", Ed25519PrivateKey.generate())
TEXT = Checkpoint(LOG.name, 7, bytes(32)).text


def _note(*lines: str, text: str = TEXT) -> bytes:
    return (text + "\n" + "".join(f"{line}\n" for line in lines)).encode()


GOOD = _note(LOG.sign(TEXT), MIRROR.cosign(TEXT, 1_700_000_000))


def test_published_vectors_of_go_notes_verify() -> None:
    # From the documentation of golang.org/x/mod/sumdb/note.
    vkey = "PeterNeumann+c74f20a3+ARpc2QcUPDhMQegwxbzhKqiBfsVkmqq/LDE4izWy10TW"
    note = (
        "If you think cryptography is the answer to your problem,\n"
        "then you don't know what your problem is.\n"
        "\n"
        "— PeterNeumann x08go/ZJkuBS9UG/SffcvIAQxVBtiFupLLr8pAcElZInNIuGUgYN1FFYC2pZSNXgKvqfqdngotpRZb6KE6RyyBwJnAM=\n"
    ).encode()
    assert open_note(note, [verifier(vkey)]).verified[0].name == "PeterNeumann"


def test_a_note_written_again_gives_the_same_bytes() -> None:
    note = Note.parse(GOOD)
    assert note.encode() == GOOD
    assert note.text == TEXT


def test_known_signatures_are_verified_and_others_counted() -> None:
    opened = open_note(GOOD, [verifier(LOG.vkey)])
    assert [each.name for each in opened.verified] == [LOG.name]
    assert [each.name for each in opened.unknown] == [MIRROR.name]
    both = open_note(GOOD, [verifier(LOG.vkey), verifier(MIRROR.vkey)])
    assert both.verified[1].time == 1_700_000_000


def test_a_known_signer_with_a_bad_signature_rejects_the_whole_note() -> None:
    parsed = Signature.parse(LOG.sign(TEXT))
    bad = Signature(parsed.name, parsed.key_id, parsed.blob[:-1] + bytes([parsed.blob[-1] ^ 1])).line
    with pytest.raises(SignatureError):
        open_note(_note(MIRROR.cosign(TEXT, 5), bad), [verifier(LOG.vkey), verifier(MIRROR.vkey)])


def test_a_note_that_no_known_key_signed_is_refused() -> None:
    with pytest.raises(SignatureError):
        open_note(GOOD, [verifier(OTHER.vkey)])


def test_a_cosignature_is_bound_to_its_time_and_is_no_log_signature() -> None:
    parsed = Signature.parse(MIRROR.cosign(TEXT, 5))
    moved = Signature(parsed.name, parsed.key_id, (6).to_bytes(8, "big") + parsed.blob[8:])
    with pytest.raises(SignatureError):
        CosignatureVerifier(MIRROR.vkey).verify(TEXT, moved)
    far = Signature(parsed.name, parsed.key_id, b"\xff" * 8 + parsed.blob[8:])
    with pytest.raises(SignatureError):
        CosignatureVerifier(MIRROR.vkey).verify(TEXT, far)
    with pytest.raises(NoteError):
        NoteVerifier(MIRROR.vkey)
    with pytest.raises(NoteError):
        CosignatureVerifier(LOG.vkey)


LINE = LOG.sign(TEXT)


@pytest.mark.parametrize(
    "data",
    [
        b"",
        b"\n",
        TEXT.encode(),
        _note(),
        GOOD[:-1],
        GOOD + b"\n",
        GOOD + b"x",
        GOOD.replace("—".encode(), b"-", 1),
        GOOD.replace(b"\n", b"\r\n"),
        _note(LINE + "\x01"),
        _note(LINE.replace(" ", "  ", 1)),
        _note(LINE + " "),
        _note(LINE[:-4] + "===="),
        _note("— a+b " + LINE.split(" ")[2]),
        _note("— \u00a0 " + LINE.split(" ")[2]),
        _note("— x AAAA"),
        _note(*[LINE] * 65),
        b"\xff" + GOOD,
        b"x" * 300_000,
    ],
)
def test_what_is_no_note_is_refused(data: bytes) -> None:
    with pytest.raises(NoteError):
        Note.parse(data)


def test_base64_with_loose_trailing_bits_is_refused() -> None:
    raw = base64.b64encode(bytes(68)).decode()
    assert raw.endswith("A=")
    with pytest.raises(NoteError):
        Signature.parse(f"— x {raw[:-2]}B=")


def test_verifier_keys_have_one_form() -> None:
    for key in (LOG.vkey, MIRROR.vkey):
        assert str(VerifierKey.parse(key)) == key
    for bad in (
        LOG.vkey.upper(),
        LOG.vkey + " ",
        LOG.vkey.replace("+", "-"),
        LOG.vkey.replace("tdz", "tdx"),
        "a+00000000+",
        "",
    ):
        with pytest.raises(NoteError):
            VerifierKey.parse(bad)


def test_a_key_of_a_type_to_come_is_parsed_and_not_trusted() -> None:
    key = VerifierKey("ministry/witness", 0x06, bytes(1312))
    assert VerifierKey.parse(str(key)) == key
    with pytest.raises(NoteError, match="0x06"):
        verifier(str(key))


def test_private_keys_are_never_in_a_repr(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    key = create_key(path)
    assert "PRIVATE" in path.read_text()
    assert repr(NoteSigner("x", key)) == f"NoteSigner({NoteSigner('x', key).vkey})"
    assert repr(CosignatureSigner("x", key)).startswith("CosignatureSigner(x+")


def test_key_files_are_private_and_never_replaced(tmp_path: Path) -> None:
    path = tmp_path / "log.pem"
    key = create_key(path)
    assert path.stat().st_mode & 0o777 == 0o600
    assert NoteSigner("x", load_key(path)).vkey == NoteSigner("x", key).vkey
    with pytest.raises(OperationalError, match="exists"):
        create_key(path)
    os.chmod(path, 0o644)
    with pytest.raises(OperationalError, match="chmod 600"):
        load_key(path)
    path.write_text("no key")
    os.chmod(path, 0o600)
    with pytest.raises(OperationalError, match="PKCS#8"):
        load_key(path)
    with pytest.raises(OperationalError):
        load_key(tmp_path / "none.pem")


def test_checkpoints_have_one_form() -> None:
    assert Checkpoint.parse(TEXT) == Checkpoint(LOG.name, 7, bytes(32))
    empty = Checkpoint(LOG.name, 0, EMPTY_ROOT)
    assert Checkpoint.parse(empty.text) == empty
    for bad in (
        "",
        TEXT[:-1],
        TEXT + "extension\n",
        TEXT.replace("7", "07"),
        TEXT.replace("7", "-7"),
        TEXT.replace("7", "7 "),
        TEXT.replace("7", "٧"),
        TEXT.replace("7", "9" * 30),
        TEXT.replace("7", "0"),
        TEXT.replace("AA=", "AB="),
        TEXT.replace("AAAA", "", 1),
        "\n" + TEXT.split("\n", 1)[1],
    ):
        with pytest.raises(NoteError):
            Checkpoint.parse(bad)


def _verified(*signers: CosignatureSigner) -> list[object]:
    lines = [each.cosign(TEXT, 9) for each in signers]
    return list(open_note(_note(*lines), [verifier(each.vkey) for each in signers]).verified)


def test_a_quorum_counts_witnesses_and_groups() -> None:
    third = CosignatureSigner("third", Ed25519PrivateKey.generate())
    policy = TrustPolicy(
        f"# who must cosign\nlog {LOG.vkey}\n\nwitness a {MIRROR.vkey} https://a\n"
        f"witness b {OTHER.vkey}\n  witness\tc {third.vkey}\ngroup two 2 a b\ngroup all all two c\nquorum all\n"
    )
    assert policy.satisfied(_verified(MIRROR, OTHER, third))  # type: ignore[arg-type]
    for few in ([MIRROR, OTHER], [MIRROR, third], [third]):
        assert not policy.satisfied(_verified(*few))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "text",
    [
        "",
        "quorum none",
        "quorum a\n",
        "quorum none\nquorum none\n",
        pytest.param(f"witness none {MIRROR.vkey}\nquorum none\n", id="a witness named none"),
        pytest.param(f"witness a {LOG.vkey}\nquorum a\n", id="a log as witness"),
        pytest.param(f"log {MIRROR.vkey}\nquorum none\n", id="a witness as log"),
        f"witness a {MIRROR.vkey}\nwitness b {MIRROR.vkey}\nquorum a\n",
        f"witness a {MIRROR.vkey}\ngroup g 0 a\nquorum g\n",
        f"witness a {MIRROR.vkey}\ngroup g 2 a\nquorum g\n",
        f"witness a {MIRROR.vkey}\ngroup g any a a\nquorum g\n",
        f"witness a {MIRROR.vkey}\ngroup g any a\ngroup h any a g\nquorum h\n",
        f"group g any a\nwitness a {MIRROR.vkey}\nquorum g\n",
        "quorum none\x01\n",
        "witnesses none\nquorum none\n",
        "quorum none extra\n",
    ],
)
def test_a_wrong_policy_is_refused(text: str) -> None:
    with pytest.raises(NoteError):
        TrustPolicy(text)
