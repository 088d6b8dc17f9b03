"""What a mirror accepts of a peer's log, as tlog-witness has it. No I/O: it judges the bytes that it is handed."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Final

from ledger.checkpoint import Checkpoint, Published
from ledger.edge import TileEdge
from ledger.entry import Entry
from ledger.errors import (
    BadProofError,
    BadRequestError,
    BadSignatureError,
    EntryError,
    ForkError,
    LedgerError,
    OldSizeError,
    ProofError,
    SignatureError,
    UnknownOriginError,
)
from ledger.merkle import HASH_SIZE, NodeGetter, consistency_proof, leaf_hash, roots_of_consistency, tree_root
from ledger.note import Note, NoteVerifier, open_note

__all__ = ["MAX_PROOF_HASHES", "MirrorJudge"]

MAX_PROOF_HASHES: Final = 63


class MirrorJudge:
    """Judges checkpoints and entries of one origin.

    Args:
        vkey: the peer log's key, from its zone card.
    """

    def __init__(self, vkey: str) -> None:
        self.verifier: Final = NoteVerifier(vkey)
        self.origin: Final = self.verifier.vkey.name

    def open(self, note: bytes) -> Checkpoint:
        """The checkpoint in a note that the peer signed.

        Raises:
            UnknownOriginError, BadSignatureError, BadRequestError: it is none.
        """
        try:
            parsed = Note.parse(note)
            checkpoint = Checkpoint.parse(parsed.text)
        except LedgerError as error:
            raise BadRequestError(f"not a checkpoint: {error.message}") from error
        # SPEC tlog-witness: an unknown origin is 404, a missing or wrong signature 403.
        if checkpoint.origin != self.origin:
            raise UnknownOriginError(f"this mirror follows {self.origin}, not {checkpoint.origin}")
        try:
            open_note(note, [self.verifier])
        except SignatureError as error:
            raise BadSignatureError(f"the checkpoint: {error.message}") from error
        return checkpoint

    def checkpoint(
        self,
        note: bytes,
        old_size: int,
        proof: Sequence[bytes],
        *,
        held: Published | None,
        pending: Published | None,
        nodes: Callable[[], NodeGetter],
        own_root: bytes = b"",
    ) -> Checkpoint:
        """Judge a new checkpoint against what is held.

        Args:
            note: the signed note.
            old_size: the size that was mirrored last, from which the proof goes.
            proof: the consistency proof; empty from 0 and for an equal size.
            held: what was mirrored and cosigned last.
            pending: what was accepted since and is not mirrored yet.
            nodes: gives the subtrees of what is held.
            own_root: what the log says its root at the old size is; it need not say so.

        Raises:
            MirrorError: the request is refused; a ForkError carries the evidence.
        """
        checkpoint = self.open(note)
        if len(proof) > MAX_PROOF_HASHES or any(len(each) != HASH_SIZE for each in proof):
            raise BadRequestError(f"a proof has at most {MAX_PROOF_HASHES} hashes of {HASH_SIZE} bytes")
        # Two roots for one size are evidence, whatever else the request says.
        for other in (held, pending):
            if other and other.checkpoint.size == checkpoint.size and other.checkpoint.root != checkpoint.root:
                raise ForkError(
                    f"{self.origin} signed two roots of size {checkpoint.size}",
                    first_note=other.note,
                    second_note=note,
                    old_root=checkpoint.root,
                    proof=[],
                )
        if held and 0 < checkpoint.size < held.checkpoint.size:
            self._contained(note, checkpoint, held, nodes())
        size = held.checkpoint.size if held else 0
        # SPEC tlog-witness: the old size MUST be the one last signed (409), and not above the new one (400).
        if old_size != size:
            raise OldSizeError(
                f"the old size is {old_size}, signed last was {size}",
                held_size=size,
                held_note=held.note if held else b"",
            )
        if old_size > checkpoint.size:
            raise BadRequestError(f"the old size {old_size} is above the checkpoint's {checkpoint.size}")
        self._consistent(note, checkpoint, proof, held, own_root)
        return checkpoint

    def _contained(self, note: bytes, checkpoint: Checkpoint, held: Published, nodes: NodeGetter) -> None:
        """A smaller size than is held: an old checkpoint, unless the log signed another one at that size."""
        root = tree_root(nodes, checkpoint.size)
        if root != checkpoint.root:
            raise ForkError(
                f"{self.origin} signed a size {checkpoint.size} that its size {held.checkpoint.size} does not hold",
                first_note=note,
                second_note=held.note,
                old_root=root,
                proof=consistency_proof(nodes, checkpoint.size, held.checkpoint.size),
            )

    def _consistent(
        self, note: bytes, checkpoint: Checkpoint, proof: Sequence[bytes], held: Published | None, own_root: bytes
    ) -> None:
        # SPEC tlog-witness: from size 0, and to an equal size, the proof MUST be empty.
        if held is None or held.checkpoint.size in (0, checkpoint.size):
            if proof:
                raise BadProofError("a proof from size 0 or between equal sizes is empty")
            return
        old = held.checkpoint
        # From a power of two the proof leaves the old root out: another one than is held must be named to be seen.
        for known in (old.root, own_root) if len(own_root) == HASH_SIZE else (old.root,):
            try:
                old_root, new_root = roots_of_consistency(old.size, checkpoint.size, list(proof), known)
            except ProofError as error:
                raise BadProofError(error.message) from error
            if new_root == checkpoint.root:
                break
        else:
            raise BadProofError(f"the proof does not lead to the root of size {checkpoint.size}")
        if old_root != old.root:
            raise ForkError(
                f"{self.origin} signed a size {checkpoint.size} that does not hold its size {old.size}",
                first_note=held.note,
                second_note=note,
                old_root=old_root,
                proof=list(proof),
            )

    @staticmethod
    def entries(entries: Sequence[bytes], edge: TileEdge) -> TileEdge:
        """The edge with these entries behind it: judged by bytes, canonical form, seq and prev; never by kind.

        Raises:
            BadRequestError: one may not stand there; the edge that was handed in is as it was.
        """
        longer = edge.copy()
        for seq, entry in enumerate(entries, edge.size):
            try:
                Entry.parse(entry, seq=seq, prev=longer.prev)
            except EntryError as error:
                raise BadRequestError(f"entry {seq}: {error.message}") from error
            longer.append(entry, leaf_hash(entry))
        return longer
