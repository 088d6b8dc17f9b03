"""What a witness cosigns (C2SP tlog-witness). No I/O: it judges bytes against what was cosigned last."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from ledger.checkpoint import Checkpoint
from ledger.errors import (
    BadProofError,
    BadRequestError,
    BadSignatureError,
    ForkError,
    LedgerError,
    OldSizeError,
    ProofError,
    SignatureError,
    UnknownOriginError,
)
from ledger.merkle import EMPTY_ROOT, roots_of_consistency
from ledger.note import Note, NoteVerifier, Signature, check_note
from ledger.witness.protocol import AddCheckpoint

__all__ = ["Followed", "Offered", "judge", "read_offer"]


@dataclass(frozen=True, slots=True)
class Followed:
    """A log that this witness follows, and what it cosigned of it last.

    ``cosigned`` is None before the first time; ``note`` is that checkpoint's note; ``frozen`` says why the log's keys
    are trusted no more, and is empty while they are.
    """

    origin: str
    verifiers: tuple[NoteVerifier, ...]
    cosigned: Checkpoint | None
    note: bytes
    frozen: str

    @property
    def size(self) -> int:
        """The size cosigned last, 0 before the first time."""
        return self.cosigned.size if self.cosigned else 0


@dataclass(frozen=True, slots=True)
class Offered:
    """A request that is well formed: nothing of it is verified."""

    request: AddCheckpoint
    note: Note
    checkpoint: Checkpoint


def read_offer(body: bytes) -> Offered:
    """Parse a request.

    Raises:
        BadRequestError: it is not as tlog-witness has it.
    """
    request = AddCheckpoint.parse(body)
    try:
        note = Note.parse(request.note)
        checkpoint, _ = Checkpoint.split(note.text)
    except LedgerError as error:
        raise BadRequestError(f"not a checkpoint: {error.message}") from error
    return Offered(request, note, checkpoint)


def judge(offered: Offered, followed: Followed | None) -> bytes:
    """Judge a request in the order of the specification.

    Returns:
        The note with the log's own signatures alone, as it may be kept and served.

    Raises:
        UnknownOriginError: 404. BadSignatureError: 403. BadRequestError: 400. OldSizeError: 409. BadProofError: 422.
        ForkError: refused as one of the last two are, and evidence against the log.
    """
    # 1. SPEC: if the checkpoint origin is unknown, 404.
    checkpoint, old = offered.checkpoint, offered.request.old_size
    if followed is None:
        raise UnknownOriginError("this witness does not follow the log")
    # 2. SPEC: no signature from a trusted key for the origin, or one that fails, 403. A frozen log has none.
    if followed.frozen:
        raise BadSignatureError(f"the log's keys are trusted no more: {followed.frozen}")
    note = Note(offered.note.text, _signatures(offered.note, followed.verifiers)).encode()
    # 3. SPEC: the old size MUST be equal to or lower than the checkpoint size, 400.
    if old > checkpoint.size:
        raise BadRequestError(f"the old size {old} is above the checkpoint's {checkpoint.size}")
    # 4. Two roots signed for one size are evidence, whatever else the request says. SPEC: the witness MAY log it.
    held = followed.cosigned
    if held is not None and held.size == checkpoint.size and held.root != checkpoint.root:
        raise ForkError(
            f"{followed.origin} signed two roots of size {checkpoint.size}",
            first_note=followed.note,
            second_note=note,
            old_root=checkpoint.root,
            proof=[],
        )
    # 5. SPEC: the old size matches that of the latest cosigned checkpoint, else 409.
    if old != followed.size:
        raise OldSizeError(
            f"the old size is {old}, cosigned last was {followed.size}",
            held_size=followed.size,
            held_note=followed.note,
        )
    # 6. SPEC: a checkpoint of size zero MUST have the root hash of the empty tree, else 422.
    if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
        raise BadProofError("the root of size 0 is not the empty one")
    _check_proof(offered.request.proof, checkpoint, followed, note)
    return note


def _signatures(note: Note, verifiers: Sequence[NoteVerifier]) -> tuple[Signature, ...]:
    try:
        opened = check_note(note, verifiers)
    except SignatureError as error:
        raise BadSignatureError(error.message) from error
    if not opened.verified:
        raise BadSignatureError("no key that is trusted for this origin signed the checkpoint")
    return tuple(Signature.parse(each.line) for each in opened.verified)


def _check_proof(proof: Sequence[bytes], checkpoint: Checkpoint, followed: Followed, note: bytes) -> None:
    held = followed.cosigned
    # SPEC: if the old size is zero, the proof MUST be empty; between equal sizes RFC 6962 has an empty one; else 422.
    if held is None or held.size in (0, checkpoint.size):
        if proof:
            raise BadProofError("a proof from size 0 or between equal sizes is empty")
        return
    # SPEC: a Merkle consistency proof that does not verify, 422.
    try:
        old_root, new_root = roots_of_consistency(held.size, checkpoint.size, list(proof), held.root)
    except ProofError as error:
        raise BadProofError(error.message) from error
    if new_root != checkpoint.root:
        raise BadProofError(f"the proof does not lead to the root of size {checkpoint.size}")
    if old_root != held.root:
        # The log signed the new root, and the proof shows what stands below it: not what was signed before.
        raise ForkError(
            f"{followed.origin} signed a size {checkpoint.size} that does not hold its size {held.size}",
            first_note=followed.note,
            second_note=note,
            old_root=old_root,
            proof=list(proof),
        )
