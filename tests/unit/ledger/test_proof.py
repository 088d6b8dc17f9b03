"""Proof texts: written, parsed in their one form, verified with keys alone."""

from __future__ import annotations

import base64
from collections.abc import Callable
from dataclasses import replace
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from hypothesis import given
from hypothesis import strategies as st

from ledger.checkpoint import Checkpoint
from ledger.entry import Draft, first_prev, format_time, new_id
from ledger.errors import LedgerError, NoteError, ProofError, SignatureError
from ledger.merkle import NodeGetter, consistency_proof, inclusion_proof, leaf_hash, tree_hash
from ledger.note import CosignatureSigner, CosignatureVerifier, Note, NoteSigner, NoteVerifier, Signature
from ledger.policy import TrustPolicy
from ledger.proof import (
    ConsistencyProof,
    InclusionProof,
    Trust,
    verify_consistency_proof,
    verify_inclusion_proof,
)

LOG = NoteSigner("tdz/lingang/2026-00ff", Ed25519PrivateKey.generate())
WITNESS = CosignatureSigner("tdz/cyberjaya/mirror", Ed25519PrivateKey.generate())
STRANGER = CosignatureSigner("w.example", Ed25519PrivateKey.generate())
TRUST = Trust((NoteVerifier(LOG.vkey),), (CosignatureVerifier(WITNESS.vkey),))


def _entries(count: int) -> list[bytes]:
    entries: list[bytes] = []
    prev = first_prev(LOG.name)
    for seq in range(count):
        draft = Draft(new_id(), "decision", f"transfers/{seq}", {"n": seq})
        entries.append(draft.place(seq, prev, format_time(1_790_000_000_000_000 + seq)))
        prev = leaf_hash(entries[-1])
    return entries


ENTRIES = _entries(23)


def _node(height: int, index: int) -> bytes:
    part = ENTRIES[index << height : (index + 1) << height]
    assert len(part) == 1 << height
    return tree_hash(part)


NODE: NodeGetter = _node


def _note(size: int, *, signer: NoteSigner = LOG, witnesses: tuple[CosignatureSigner, ...] = (WITNESS,)) -> bytes:
    text = Checkpoint(signer.name, size, tree_hash(ENTRIES[:size])).text
    lines = [signer.sign(text), *(each.cosign(text, 1_790_000_100) for each in witnesses)]
    return Note(text, tuple(map(Signature.parse, lines))).encode()


def _inclusion(seq: int, size: int, **options: Any) -> InclusionProof:
    return InclusionProof(seq, tuple(inclusion_proof(NODE, seq, size)), _note(size, **options), ENTRIES[seq])


def _consistency(old: int, new: int) -> ConsistencyProof:
    return ConsistencyProof(tuple(consistency_proof(NODE, old, new)), _note(old, witnesses=()), _note(new))


def test_every_inclusion_proof_of_a_small_log_is_read_back_and_verifies() -> None:
    for size in range(1, len(ENTRIES) + 1):
        for seq in range(size):
            proof = InclusionProof.parse(_inclusion(seq, size).encode())
            signed, entry = verify_inclusion_proof(proof, TRUST)
            assert (entry.seq, entry.subject, signed.checkpoint.size) == (seq, f"transfers/{seq}", size)
            assert [each.name for each in signed.cosignatures] == [WITNESS.name]


def test_every_consistency_proof_of_a_small_log_is_read_back_and_verifies() -> None:
    for new in range(1, len(ENTRIES) + 1):
        for old in range(1, new + 1):
            proof = ConsistencyProof.parse(_consistency(old, new).encode())
            first, second = verify_consistency_proof(proof, TRUST)
            assert (first.checkpoint.size, second.checkpoint.size) == (old, new)


def test_the_text_is_that_of_tlog_proof() -> None:
    lines = _inclusion(2, 3).encode().decode().split("\n")
    assert lines[:3] == [
        "c2sp.org/tlog-proof@v1",
        f"extra {base64.b64encode(ENTRIES[2]).decode()}",
        "index 2",
    ]
    assert base64.b64decode(lines[3]) == tree_hash(ENTRIES[:2])
    assert lines[4:7] == ["", LOG.name, "3"]


@pytest.mark.parametrize("make", [lambda: _inclusion(5, 11), lambda: _consistency(3, 11)], ids=["inclusion", "other"])
def test_every_flipped_bit_and_every_cut_of_a_proof_is_refused(make: Callable[[], Any]) -> None:
    proof = make()
    data = proof.encode()

    def judge(text: bytes) -> None:
        parsed = type(proof).parse(text)
        if isinstance(parsed, InclusionProof):
            verify_inclusion_proof(parsed, strict)
        else:
            verify_consistency_proof(parsed, strict)

    # The policy stands in for what a flipped name does to a signature line: it becomes one of an unknown signer.
    policy = TrustPolicy(f"log {LOG.vkey}\nwitness w {WITNESS.vkey}\nquorum w\n")
    strict = Trust((), (), policy)
    judge(data)
    for bit in range(len(data) * 8):
        changed = bytearray(data)
        changed[bit // 8] ^= 1 << (bit % 8)
        with pytest.raises(LedgerError):
            judge(bytes(changed))
    for length in range(len(data)):
        with pytest.raises(LedgerError):
            judge(data[:length])


def test_a_proof_without_its_entry_asks_for_it_and_takes_no_other() -> None:
    bare = replace(_inclusion(4, 9), extra=None)
    assert b"extra" not in bare.encode()
    parsed = InclusionProof.parse(bare.encode())
    with pytest.raises(ProofError, match="--entry"):
        verify_inclusion_proof(parsed, TRUST)
    assert verify_inclusion_proof(parsed, TRUST, entry=ENTRIES[4])[1].seq == 4
    with pytest.raises(ProofError, match="not under this root"):
        verify_inclusion_proof(parsed, TRUST, entry=ENTRIES[5])
    with pytest.raises(ProofError, match="another entry"):
        verify_inclusion_proof(_inclusion(4, 9), TRUST, entry=ENTRIES[5])


@pytest.mark.parametrize(
    ("change", "match"),
    [
        (lambda p: replace(p, index=5), "not under this root"),
        (lambda p: replace(p, index=9), "not in a tree"),
        (lambda p: replace(p, hashes=p.hashes[:-1]), "hashes, not"),
        (lambda p: replace(p, hashes=(*p.hashes, p.hashes[0])), "hashes, not"),
        (lambda p: replace(p, hashes=p.hashes[::-1]), "not under this root"),
        (lambda p: replace(p, note=_note(10)), "hashes, not|not under this root"),
        (lambda p: replace(p, extra=b"{}"), "not under this root"),
    ],
)
def test_an_inclusion_proof_with_another_place_path_or_root_is_refused(change: Any, match: str) -> None:
    with pytest.raises(ProofError, match=match):
        verify_inclusion_proof(InclusionProof.parse(change(_inclusion(4, 9)).encode()), TRUST)


def test_a_consistency_proof_of_other_sizes_or_from_nothing_is_refused() -> None:
    good = _consistency(4, 9)
    for proof in (
        replace(good, old=good.new, new=good.old),
        replace(good, old=_note(5)),
        replace(good, new=_note(10)),
        replace(good, hashes=()),
        ConsistencyProof((), _note(0), _note(4)),
        ConsistencyProof((), _note(4), _note(5)),
    ):
        with pytest.raises(ProofError):
            verify_consistency_proof(ConsistencyProof.parse(proof.encode()), TRUST)


@pytest.mark.parametrize(
    "change",
    [
        lambda t: t.replace("index 4", "index 04"),
        lambda t: t.replace("index 4", "index -4"),
        lambda t: t.replace("index 4", "index 4 "),
        lambda t: t.replace("index 4", f"index {2**63}"),
        lambda t: t.replace("index 4\n", ""),
        lambda t: t.replace("index 4", "index 4\nextra e30="),
        lambda t: t.replace("extra ", "extra  "),
        lambda t: t.replace("\n", "\r\n"),
        lambda t: t.replace("@v1", "@v2"),
        lambda t: t.replace("\n\n", "\n", 1),
        lambda t: t + "\n",
        lambda t: "\ufeff" + t,
        lambda t: t.replace("index 4\n", "index 4\nAAAA\n"),
        lambda t: t.replace("index 4\n", "index 4\n" + "A" * 43 + "=\n" * 1 + ("A" * 43 + "=\n") * 64),
        lambda t: "x" * (1 << 20),
        lambda t: "",
    ],
)
def test_a_proof_in_another_form_is_refused(change: Any) -> None:
    with pytest.raises((ProofError, NoteError)):
        verify_inclusion_proof(InclusionProof.parse(change(_inclusion(4, 9).encode().decode()).encode()), TRUST)


@given(st.binary(max_size=200))
def test_any_bytes_are_a_proof_in_its_one_form_or_a_proof_error(tail: bytes) -> None:
    for first, kind in (
        (b"c2sp.org/tlog-proof@v1\n", InclusionProof),
        (b"tdz-consistency-proof@v1\n", ConsistencyProof),
    ):
        data = first + tail
        try:
            assert kind.parse(data).encode() == data
        except ProofError:
            continue


def test_who_signed_counts_only_by_a_key_that_was_given() -> None:
    other = NoteSigner(LOG.name, Ed25519PrivateKey.generate())
    with pytest.raises(SignatureError, match="did not sign it"):
        verify_inclusion_proof(_inclusion(1, 9, signer=other), TRUST)
    elsewhere = NoteSigner("tdz/other/2026-1111", Ed25519PrivateKey.generate())
    with pytest.raises(NoteError, match="origin tdz/other"):
        verify_inclusion_proof(_inclusion(1, 9, signer=elsewhere), TRUST)
    # A known log's signature under another log's origin is none of that origin.
    both = Trust((NoteVerifier(LOG.vkey), NoteVerifier(elsewhere.vkey)))
    text = Checkpoint(elsewhere.name, 9, tree_hash(ENTRIES[:9])).text
    note = Note(text, (Signature.parse(LOG.sign(text)),)).encode()
    with pytest.raises(SignatureError, match="did not sign it"):
        both.open(note)
    signed, _ = verify_inclusion_proof(_inclusion(1, 9, witnesses=(STRANGER,)), TRUST)
    assert (signed.cosignatures, signed.unknown) == ((), 1)


def test_a_policy_asks_for_its_quorum() -> None:
    text = f"log {LOG.vkey}\nwitness a {WITNESS.vkey}\nwitness b {STRANGER.vkey}\ngroup g 2 a b\nquorum g\n"
    trust = Trust((), (), TrustPolicy(text))
    verify_inclusion_proof(_inclusion(1, 9, witnesses=(WITNESS, STRANGER)), trust)
    with pytest.raises(SignatureError, match="policy"):
        verify_inclusion_proof(_inclusion(1, 9), trust)
    lone = Trust((), (), TrustPolicy(f"log {LOG.vkey}\nquorum none\n"))
    verify_inclusion_proof(_inclusion(1, 9, witnesses=()), lone)
    with pytest.raises(SignatureError, match="policy"):
        verify_consistency_proof(_consistency(3, 9), trust)
