"""Merkle trees: published vectors, a second implementation, and every proof of small trees."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pymerkle import InmemoryTree

from ledger import merkle
from ledger.errors import ProofError

VECTORS = Path(__file__).parents[2] / "vectors" / "merkle"


def _vectors(kind: str) -> list[Path]:
    return sorted((VECTORS / kind).rglob("*.json"))


def _hash(text: str | None) -> bytes:
    return base64.b64decode(text or "")


@pytest.mark.parametrize("path", _vectors("inclusion"), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_inclusion_vectors_are_judged_as_published(path: Path) -> None:
    case = json.loads(path.read_text())
    arguments = (
        _hash(case["leafHash"]),
        case["leafIdx"],
        case["treeSize"],
        [_hash(each) for each in case["proof"] or []],
        _hash(case["root"]),
    )
    if case["wantErr"]:
        with pytest.raises(ProofError):
            merkle.verify_inclusion(*arguments)
    else:
        merkle.verify_inclusion(*arguments)


@pytest.mark.parametrize("path", _vectors("consistency"), ids=lambda p: f"{p.parent.name}/{p.stem}")
def test_consistency_vectors_are_judged_as_published(path: Path) -> None:
    case = json.loads(path.read_text())
    arguments = (
        case["size1"],
        case["size2"],
        [_hash(each) for each in case["proof"] or []],
        _hash(case["root1"]),
        _hash(case["root2"]),
    )
    # Stricter than the vectors: nothing is proven from size 0 (ledger format, section 8).
    if case["wantErr"] or case["size1"] == 0:
        with pytest.raises(ProofError):
            merkle.verify_consistency(*arguments)
    else:
        merkle.verify_consistency(*arguments)


def test_the_vectors_are_all_there() -> None:
    assert len(_vectors("inclusion")) + len(_vectors("consistency")) > 150


def _nodes(leaves: list[bytes]) -> merkle.NodeGetter:
    def node(height: int, index: int) -> bytes:
        part = leaves[index << height : (index + 1) << height]
        assert len(part) == 1 << height
        return merkle.tree_hash(part)

    return node


LEAVES = [bytes([i]) * (i + 1) for i in range(40)]


def test_every_inclusion_proof_of_small_trees_verifies_and_no_other_leaf_does() -> None:
    node = _nodes(LEAVES)
    for size in range(1, len(LEAVES) + 1):
        root = merkle.tree_hash(LEAVES[:size])
        assert merkle.tree_root(node, size) == root
        for index in range(size):
            proof = merkle.inclusion_proof(node, index, size)
            leaf = merkle.leaf_hash(LEAVES[index])
            merkle.verify_inclusion(leaf, index, size, proof, root)
            with pytest.raises(ProofError):
                merkle.verify_inclusion(merkle.leaf_hash(b"other"), index, size, proof, root)


def test_every_consistency_proof_of_small_trees_verifies_and_no_other_root_does() -> None:
    node = _nodes(LEAVES)
    roots = [merkle.tree_hash(LEAVES[:size]) for size in range(len(LEAVES) + 1)]
    wrong = hashlib.sha256(b"wrong").digest()
    for new in range(1, len(LEAVES) + 1):
        for old in range(1, new + 1):
            proof = merkle.consistency_proof(node, old, new)
            merkle.verify_consistency(old, new, proof, roots[old], roots[new])
            with pytest.raises(ProofError):
                merkle.verify_consistency(old, new, proof, wrong, roots[new])
            with pytest.raises(ProofError):
                merkle.verify_consistency(old, new, proof, roots[old], wrong)


def test_a_second_implementation_gives_the_same_roots() -> None:
    theirs = InmemoryTree(algorithm="sha256")
    ours = merkle.CompactRange()
    for leaf in LEAVES:
        theirs.append_entry(leaf)
        ours.append(merkle.leaf_hash(leaf))
        assert ours.root() == theirs.get_root()


@given(st.integers(min_value=0, max_value=300), st.integers(min_value=0, max_value=60))
def test_an_edge_that_was_stored_goes_on_as_the_one_that_was_not(size: int, more: int) -> None:
    edge = merkle.CompactRange()
    for number in range(size):
        edge.append(merkle.leaf_hash(str(number).encode()))
    stored = merkle.CompactRange(edge.size, edge.hashes)
    for number in range(size, size + more):
        edge.append(merkle.leaf_hash(str(number).encode()))
        stored.append(merkle.leaf_hash(str(number).encode()))
    assert stored.root() == edge.root() == merkle.tree_hash(str(n).encode() for n in range(size + more))


def test_an_edge_with_the_wrong_number_of_hashes_is_refused() -> None:
    with pytest.raises(ProofError):
        merkle.CompactRange(3, [b"\0" * 32])
    with pytest.raises(ProofError):
        merkle.CompactRange(1, [b"\0" * 31])


def test_nothing_is_proven_in_or_from_an_empty_tree() -> None:
    empty = merkle.EMPTY_ROOT
    assert merkle.CompactRange().root() == empty == hashlib.sha256(b"").digest()
    with pytest.raises(ProofError):
        merkle.verify_inclusion(empty, 0, 0, [], empty)
    with pytest.raises(ProofError):
        merkle.verify_consistency(0, 0, [], empty, empty)
    with pytest.raises(ProofError):
        merkle.consistency_proof(_nodes([]), 0, 3)


def test_a_hash_of_another_length_is_refused() -> None:
    leaf = merkle.leaf_hash(b"x")
    for bad in (leaf[:-1], leaf + b"\0", b""):
        with pytest.raises(ProofError):
            merkle.verify_inclusion(bad, 0, 1, [], bad)
        with pytest.raises(ProofError):
            merkle.verify_consistency(1, 1, [], bad, bad)
        with pytest.raises(ProofError):
            merkle.verify_inclusion(leaf, 0, 2, [bad], merkle.node_hash(leaf, bad))
