"""Every error of the ledger, one tree.

::

    LedgerError
    ├── FormatError               bytes do not follow the format
    │   ├── NoteError             not a signed note, not a key, not a checkpoint
    │   └── EntryError            not an entry, or not one that may stand there
    ├── ProofError                a Merkle proof does not prove it
    ├── SignatureError            a known signer's signature is wrong, or a needed one is missing
    ├── TamperedError             the files contradict what was signed
    ├── ContradictionError        the files contradict each other: refuse to start, name the file
    │   └── RolledBackError       someone holds a newer checkpoint of ours than we do
    ├── AppendError               the entry was not recorded
    │   ├── ConflictingEntryError the id is recorded with other content
    │   ├── ClockError            the clock may not be trusted now
    │   ├── SealedError           the log has ended
    │   ├── StorageFullError      too little space; closing entries may still pass
    │   ├── UnaskedError          nobody was asked yet, since this start, what they hold of this log
    │   ├── ContradictedError     someone holds a checkpoint of ours that is not in this log: nothing is signed
    │   └── StoppedError          the writer has ended; whether the entry is recorded shows at the next start
    ├── OperationalError          a file, a lock or a setting is not as it must be here
    ├── IncompleteError           it cannot be judged or given yet; nothing is wrong
    └── MirrorError               the mirror refuses a request (as tlog-witness answers)
        ├── UnknownOriginError    404
        ├── BadSignatureError     403
        ├── OldSizeError          409, with the signed note that is held
        ├── BadProofError         422
        ├── BadRequestError       400
        ├── ForkError             two roots signed for one size, or a rewritten prefix: evidence
        ├── FrozenError           the origin was frozen: nothing of it is taken or cosigned any more
        ├── MirrorFullError       the mirror's quota or disk is spent
        └── MirrorBehindError     the mirror did not reach the size in time

``remedy`` is one line that says what would mend it; empty where nothing would.
"""

from __future__ import annotations

__all__ = [
    "AppendError",
    "BadProofError",
    "BadRequestError",
    "BadSignatureError",
    "ClockError",
    "ConflictingEntryError",
    "ContradictedError",
    "ContradictionError",
    "EntryError",
    "ForkError",
    "FormatError",
    "FrozenError",
    "IncompleteError",
    "LedgerError",
    "MirrorBehindError",
    "MirrorError",
    "MirrorFullError",
    "NoteError",
    "OldSizeError",
    "OperationalError",
    "ProofError",
    "RolledBackError",
    "SealedError",
    "SignatureError",
    "StoppedError",
    "StorageFullError",
    "TamperedError",
    "UnaskedError",
    "UnknownOriginError",
]


class LedgerError(Exception):
    """Base of every error that the ledger raises on purpose.

    Args:
        message: one line, what is wrong; no secrets.
        remedy: one line, what would mend it.
    """

    def __init__(self, message: str, *, remedy: str = "") -> None:
        super().__init__(message)
        self.message = message
        self.remedy = remedy

    def __str__(self) -> str:
        return f"{self.message} ({self.remedy})" if self.remedy else self.message


class FormatError(LedgerError):
    """Bytes do not follow the format."""


class NoteError(FormatError):
    """Not a signed note, a verifier key or a checkpoint."""


class EntryError(FormatError):
    """Not an entry, or not one that may stand there."""


class ProofError(LedgerError):
    """A Merkle proof does not prove what it should."""


class SignatureError(LedgerError):
    """A known signer's signature is wrong, or a needed one is missing."""


class TamperedError(LedgerError):
    """Files contradict what was signed."""


class ContradictionError(LedgerError):
    """Files contradict each other; the log refuses to start."""


class RolledBackError(ContradictionError):
    """Someone holds a newer checkpoint of ours than we do."""


class AppendError(LedgerError):
    """An entry was not recorded."""


class ConflictingEntryError(AppendError):
    """The id is recorded with other content."""


class ClockError(AppendError):
    """The clock may not be trusted now."""


class SealedError(AppendError):
    """The log is sealed: it has ended."""


class StorageFullError(AppendError):
    """Too little space is left."""


class StoppedError(AppendError):
    """The writer has ended; a retry by id after the next start shows whether the entry is recorded."""


class UnaskedError(AppendError):
    """Since this start nobody was asked yet what they hold of this log."""


class ContradictedError(AppendError):
    """Someone holds a checkpoint of ours that is not in this log."""


class OperationalError(LedgerError):
    """A file, a lock or a setting is not as it must be here."""


class IncompleteError(LedgerError):
    """What is asked for cannot be judged or given yet, and nothing is wrong."""


class MirrorError(LedgerError):
    """The mirror refuses a request."""


class UnknownOriginError(MirrorError):
    """This mirror does not follow that origin."""


class BadSignatureError(MirrorError):
    """The checkpoint carries no valid signature of the origin's key."""


class OldSizeError(MirrorError):
    """The old size is not the one that was signed last.

    Args:
        held_size: the size that was signed last.
        held_note: the signed note of that size; empty where none is held.
    """

    def __init__(self, message: str, *, held_size: int, held_note: bytes) -> None:
        super().__init__(message, remedy=f"push again from size {held_size}")
        self.held_size = held_size
        self.held_note = held_note


class BadProofError(MirrorError):
    """The consistency proof does not prove the checkpoint."""


class BadRequestError(MirrorError):
    """The request breaks the protocol."""


class ForkError(MirrorError):
    """Two signed checkpoints of one origin contradict each other.

    Args:
        first_note: the smaller one; of two of equal size the one that is held.
        second_note: the other.
        old_root: the root at the first one's size that the second one contains.
        proof: leads from that root to the second one's; empty at equal sizes.
    """

    def __init__(
        self, message: str, *, first_note: bytes, second_note: bytes, old_root: bytes, proof: list[bytes]
    ) -> None:
        super().__init__(message, remedy="keep both notes as evidence and stop what opens")
        self.first_note = first_note
        self.second_note = second_note
        self.old_root = old_root
        self.proof = proof


class FrozenError(MirrorError):
    """The origin was frozen: nothing of it is taken or cosigned any more."""


class MirrorFullError(MirrorError):
    """The mirror's quota or its disk is spent."""


class MirrorBehindError(MirrorError):
    """The mirror did not reach the size before the deadline."""
