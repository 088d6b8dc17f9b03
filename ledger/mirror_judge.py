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
    NoteError,
    OldSizeError,
    ProofError,
    SignatureError,
    UnknownOriginError,
)
from ledger.key_history import KeyHistory, rotation_in
from ledger.merkle import HASH_SIZE, NodeGetter, consistency_proof, leaf_hash, roots_of_consistency, tree_root
from ledger.note import Note, NoteVerifier, open_note

__all__ = ["MAX_PROOF_HASHES", "MirrorJudge"]

MAX_PROOF_HASHES: Final = 63
_ROTATED: Final = b'"kind":"key.rotated"'


class MirrorJudge:
    """Judges checkpoints and entries of one origin.

    Another key of the log is followed through its entries alone: from the one that ``log.opened`` names, by each
    ``key.rotated`` that two keys signed, in order. The key of the zone card must be among them.

    Args:
        vkey: the peer log's key, from its zone card.
    """

    def __init__(self, vkey: str) -> None:
        self._card: Final = NoteVerifier(vkey)
        self.origin: Final = self._card.vkey.name
        self.keys: KeyHistory | None = None
        """The keys that the mirrored entries introduced; None before the first."""
        self._known: tuple[KeyHistory | None, list[NoteVerifier]] = None, [self._card]

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
        if self._known[0] != self.keys:  # made once for each history: every push is judged by them
            self._known = self.keys, [self._card, *(self.keys.verifiers() if self.keys else ())]
        wanted = {self.keys.at(checkpoint.size).vkey} if self.keys else set()
        if not self.keys or str(self._card.vkey) not in self.keys.vkeys:
            wanted.add(str(self._card.vkey))  # its entry may be among those that come with this checkpoint
        try:
            opened = open_note(note, self._known[1])
        except SignatureError as error:
            raise BadSignatureError(f"the checkpoint: {error.message}") from error
        if not wanted & {each.vkey for each in opened.verified}:
            raise BadSignatureError("the checkpoint: the log's key for this size did not sign it")
        return checkpoint

    def follow(self, keys: KeyHistory | None, entries: Sequence[bytes], start: int) -> KeyHistory | None:
        """The log's keys after further entries, which were judged before.

        Args:
            keys: those before them.
            start: the first one's number.
        """
        for seq, data in enumerate(entries, start):
            if seq == 0:
                keys = self._first(Entry.parse(data))
            elif keys is not None and _ROTATED in data:
                rotation = rotation_in(Entry.parse(data), self.origin)
                if rotation is not None and rotation.old == keys.current and rotation.new not in keys.vkeys:
                    keys = keys.rotated(rotation.new, rotation.first)
        return keys

    def _first(self, entry: Entry) -> KeyHistory:
        vkey = entry.body.get("vkey")
        try:
            if entry.kind == "log.opened" and isinstance(vkey, str) and NoteVerifier(vkey).vkey.name == self.origin:
                return KeyHistory.of(vkey)
        except NoteError:
            pass  # it names none: then it is the card's
        return KeyHistory.of(str(self._card.vkey))

    def require_keys(self, published: Published, keys: KeyHistory | None) -> None:
        """Make sure that a checkpoint is signed as the entries under it ask for; before it is cosigned.

        Raises:
            BadSignatureError: the entries do not introduce the key of the zone card, or theirs did not sign it.
        """
        if keys is None:
            return
        if str(self._card.vkey) not in keys.vkeys:
            raise BadSignatureError(f"the log {self.origin} does not introduce the key of its zone card")
        try:
            opened = open_note(published.note, keys.verifiers())
            keys.require_signed({each.vkey for each in opened.verified}, published.checkpoint.size)
        except SignatureError as error:
            raise BadSignatureError(f"the checkpoint: {error.message}") from error

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
