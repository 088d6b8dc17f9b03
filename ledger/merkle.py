"""Merkle trees of RFC 6962 section 2.1 (RFC 9162 section 2.1): hashes, compact ranges, proofs. No I/O.

A *height* counts levels above the leaves: the node ``(height, index)`` covers the leaves from
``index * 2**height`` to ``(index + 1) * 2**height``, and all of them exist.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Iterable, Sequence
from typing import Final, TypeAlias

from ledger.errors import ProofError

__all__ = [
    "EMPTY_ROOT",
    "HASH_SIZE",
    "CompactRange",
    "NodeGetter",
    "consistency_proof",
    "inclusion_proof",
    "leaf_hash",
    "node_hash",
    "roots_of_consistency",
    "tree_hash",
    "tree_hash_of_leaf_hashes",
    "tree_root",
    "verify_consistency",
    "verify_inclusion",
]

HASH_SIZE: Final = 32
EMPTY_ROOT: Final = hashlib.sha256(b"").digest()
"""The root of a tree of size 0 (RFC 6962 section 2.1)."""

NodeGetter: TypeAlias = Callable[[int, int], bytes]
"""``(height, index)`` to the hash of that complete subtree."""

_sha256 = hashlib.sha256


def leaf_hash(data: bytes) -> bytes:
    """SHA-256(0x00 || data), RFC 6962 section 2.1."""
    return _sha256(b"\x00" + data).digest()


def node_hash(left: bytes, right: bytes) -> bytes:
    """SHA-256(0x01 || left || right), RFC 6962 section 2.1."""
    return _sha256(b"\x01" + left + right).digest()


class CompactRange:
    """The right edge of a growing tree: one hash per set bit of the size, largest subtree first.

    Args:
        size: the number of leaves already folded in.
        hashes: their edge, as :attr:`hashes` gave it.

    Raises:
        ProofError: the number of hashes is not the number of set bits, or one is not 32 bytes.
    """

    __slots__ = ("_hashes", "_size")

    def __init__(self, size: int = 0, hashes: Sequence[bytes] = ()) -> None:
        if size < 0 or len(hashes) != size.bit_count() or any(len(h) != HASH_SIZE for h in hashes):
            raise ProofError(f"{len(hashes)} hashes are no right edge of a tree of size {size}")
        self._size = size
        self._hashes = list(hashes)

    @property
    def size(self) -> int:
        """The number of leaves."""
        return self._size

    @property
    def hashes(self) -> tuple[bytes, ...]:
        """The edge, largest subtree first: with the size all that is needed to go on."""
        return tuple(self._hashes)

    def subtrees(self) -> dict[tuple[int, int], bytes]:
        """The edge's hashes by height and index, as a `NodeGetter` names them."""
        found: dict[tuple[int, int], bytes] = {}
        start = 0
        for height in range(self._size.bit_length() - 1, -1, -1):
            if self._size >> height & 1:
                found[height, start >> height] = self._hashes[len(found)]
                start += 1 << height
        return found

    def copy(self) -> CompactRange:
        """An independent copy."""
        other = CompactRange()
        other._size = self._size
        other._hashes = self._hashes.copy()
        return other

    def append(self, leaf: bytes, height: int = 0) -> list[bytes]:
        """Fold one leaf hash in, or the hash of a complete subtree.

        Args:
            height: the subtree's height; the size so far is a multiple of its number of leaves.

        Returns:
            The hashes of the subtrees that it completes, from that height (the hash itself) upwards.
        """
        completed = [leaf]
        hashes = self._hashes
        rest = self._size >> height
        self._size += 1 << height
        while rest & 1:
            leaf = _sha256(b"\x01" + hashes.pop() + leaf).digest()
            completed.append(leaf)
            rest >>= 1
        hashes.append(leaf)
        return completed

    def root(self) -> bytes:
        """The tree's root hash; SHA-256 of nothing for an empty tree."""
        if not self._hashes:
            return EMPTY_ROOT
        root = self._hashes[-1]
        for left in reversed(self._hashes[:-1]):
            root = node_hash(left, root)
        return root


def tree_hash(leaves: Iterable[bytes]) -> bytes:
    """The root over leaf *data* (RFC 6962's MTH)."""
    return tree_hash_of_leaf_hashes(map(leaf_hash, leaves))


def tree_hash_of_leaf_hashes(hashes: Iterable[bytes]) -> bytes:
    """The root over leaf *hashes* that were computed before."""
    edge = CompactRange()
    for each in hashes:
        edge.append(each)
    return edge.root()


def inclusion_proof(node: NodeGetter, index: int, size: int) -> list[bytes]:
    """The audit path of a leaf (RFC 6962 section 2.1.1).

    Args:
        node: gives the hashes of complete subtrees.
        index: the leaf, from 0.
        size: the tree's number of leaves.

    Raises:
        ProofError: the leaf is not in a tree of that size.
    """
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of size {size}")
    path: list[bytes] = []
    start, stop = 0, size
    while stop - start > 1:
        middle = start + _split(stop - start)
        if index < middle:
            path.append(_range_hash(node, middle, stop))
            stop = middle
        else:
            path.append(_range_hash(node, start, middle))
            start = middle
    path.reverse()
    return path


def consistency_proof(node: NodeGetter, old: int, new: int) -> list[bytes]:
    """The proof that the tree of size ``old`` is a prefix of that of size ``new`` (RFC 6962 section 2.1.2).

    Raises:
        ProofError: not ``0 < old <= new``: from nothing there is nothing to prove.
    """
    if not 0 < old <= new:
        raise ProofError(f"there is no consistency proof from size {old} to size {new}")
    proof: list[bytes] = []
    start, stop = 0, new
    while stop != old:
        middle = start + _split(stop - start)
        if old <= middle:
            proof.append(_range_hash(node, middle, stop))
            stop = middle
        else:
            proof.append(_range_hash(node, start, middle))
            start = middle
    if start:
        proof.append(_range_hash(node, start, stop))
    proof.reverse()
    return proof


def tree_root(node: NodeGetter, size: int) -> bytes:
    """The root of the first ``size`` leaves, from the hashes of complete subtrees."""
    return _range_hash(node, 0, size) if size else EMPTY_ROOT


def verify_inclusion(leaf: bytes, index: int, size: int, proof: Sequence[bytes], root: bytes) -> None:
    """Check an audit path (RFC 9162 section 2.1.3.2).

    Raises:
        ProofError: the leaf hash does not stand at that index under that root, the size is 0, or a hash is
            not 32 bytes.
    """
    _check_hashes(leaf, root, *proof)
    if not 0 <= index < size:
        raise ProofError(f"leaf {index} is not in a tree of size {size}")
    inner = (index ^ (size - 1)).bit_length()
    border = (index >> inner).bit_count()
    if len(proof) != inner + border:
        raise ProofError(f"a proof of leaf {index} in size {size} has {inner + border} hashes, not {len(proof)}")
    computed = leaf
    for height, sibling in enumerate(proof[:inner]):
        computed = node_hash(sibling, computed) if index >> height & 1 else node_hash(computed, sibling)
    for sibling in proof[inner:]:
        computed = node_hash(sibling, computed)
    if computed != root:
        raise ProofError(f"leaf {index} is not under this root of size {size}")


def verify_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes, new_root: bytes) -> None:
    """Check that the tree of size ``old`` is a prefix of that of size ``new`` (RFC 9162 section 2.1.4.2).

    Raises:
        ProofError: it is not proven, a size is 0, or a hash is not 32 bytes.
    """
    _check_hashes(old_root, new_root, *proof)
    if not 0 < old <= new:
        raise ProofError(f"nothing can be proven from size {old} to size {new}")
    computed_old, computed_new = roots_of_consistency(old, new, proof, old_root)
    if computed_new != new_root:
        raise ProofError(f"the proof does not lead to the root of size {new}")
    if computed_old != old_root:
        raise ProofError(f"the tree of size {old} is not a prefix of this one of size {new}")


def roots_of_consistency(old: int, new: int, proof: Sequence[bytes], old_root: bytes) -> tuple[bytes, bytes]:
    """The two roots that the hashes of a consistency proof lead to.

    A proof that leads to the signed new root and to another old root than the signed one shows a fork; one
    that does not even lead to the new root shows nothing.

    Args:
        old_root: used as the first hash where ``old`` is a power of two, as the proof then leaves it out.

    Raises:
        ProofError: the number of hashes does not belong to these sizes.
    """
    if old == new:
        if proof:
            raise ProofError("between equal sizes a proof is empty")
        return old_root, old_root
    shift = (old & -old).bit_length() - 1
    inner = ((old - 1) ^ (new - 1)).bit_length() - shift
    border = ((old - 1) >> (inner + shift)).bit_count()
    first = 0 if old == 1 << shift else 1
    if len(proof) != first + inner + border:
        raise ProofError(f"a proof from size {old} to {new} has {first + inner + border} hashes, not {len(proof)}")
    seed = proof[0] if first else old_root
    path = proof[first:]
    mask = (old - 1) >> shift
    computed_old = computed_new = seed
    for height, sibling in enumerate(path[:inner]):
        if mask >> height & 1:
            computed_old = node_hash(sibling, computed_old)
            computed_new = node_hash(sibling, computed_new)
        else:
            computed_new = node_hash(computed_new, sibling)
    for sibling in path[inner:]:
        computed_old = node_hash(sibling, computed_old)
        computed_new = node_hash(sibling, computed_new)
    return computed_old, computed_new


def _check_hashes(*hashes: bytes) -> None:
    for each in hashes:
        if len(each) != HASH_SIZE:
            raise ProofError(f"a hash has {HASH_SIZE} bytes, not {len(each)}")


def _split(width: int) -> int:
    """The largest power of two below ``width`` (which is at least 2)."""
    return 1 << ((width - 1).bit_length() - 1)


def _range_hash(node: NodeGetter, start: int, stop: int) -> bytes:
    """The hash over the leaves from ``start`` to ``stop``, where ``start`` is aligned as RFC 6962 splits."""
    parts: list[bytes] = []
    while start < stop:
        height = (stop - start).bit_length() - 1
        parts.append(node(height, start >> height))
        start += 1 << height
    result = parts.pop()
    while parts:
        result = node_hash(parts.pop(), result)
    return result
