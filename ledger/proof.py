"""Proofs that leave the machine, each one small text that needs only keys to be verified. No I/O.

An inclusion proof is a C2SP tlog-proof, whose extra data is the entry's bytes::

    c2sp.org/tlog-proof@v1
    extra <base64 of the entry>
    index <seq>
    <base64 of a hash>
    ...

    <the signed checkpoint, as it was>

For consistency C2SP has no text; ours says with two signed checkpoints that the first is a prefix of the second::

    tdz-consistency-proof@v1
    <base64 of a hash>
    ...

    <the older signed checkpoint>

    <the newer signed checkpoint>

Parsing is strict: what was parsed, written again, gives the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import re
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final, TypeVar

from ledger.checkpoint import MAX_SIZE, Checkpoint
from ledger.entry import MAX_ENTRY_BYTES, Entry
from ledger.errors import LedgerError, NoteError, ProofError, SignatureError
from ledger.merkle import HASH_SIZE, leaf_hash, verify_consistency, verify_inclusion
from ledger.note import MAX_NOTE_BYTES, CosignatureVerifier, Note, NoteVerifier, Verified, check_note
from ledger.policy import TrustPolicy

__all__ = [
    "CONSISTENCY_LINE",
    "INCLUSION_LINE",
    "MAX_PROOF_BYTES",
    "ConsistencyProof",
    "InclusionProof",
    "SignedCheckpoint",
    "Trust",
    "own_mirror",
    "verify_consistency_proof",
    "verify_inclusion_proof",
]

INCLUSION_LINE: Final = "c2sp.org/tlog-proof@v1"
CONSISTENCY_LINE: Final = "tdz-consistency-proof@v1"
MAX_HASHES: Final = 64
"""More than any proof between sizes below 2**63 can have."""
MAX_PROOF_BYTES: Final = 2 * MAX_NOTE_BYTES + 2 * MAX_ENTRY_BYTES

_INDEX: Final = re.compile(r"index (0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class InclusionProof:
    """That an entry stands at its place under a signed checkpoint.

    Args:
        index: the entry's number.
        hashes: the audit path, from the leaf's sibling upwards.
        note: the signed checkpoint's exact bytes.
        extra: data that the proof carries and does not vouch for: here the entry's bytes; None without any.
    """

    index: int
    hashes: tuple[bytes, ...]
    note: bytes
    extra: bytes | None = None

    def encode(self) -> bytes:
        """The proof as text, in bytes."""
        lines = [INCLUSION_LINE]
        if self.extra is not None:
            lines.append(f"extra {_encode(self.extra)}")
        lines.append(f"index {self.index}")
        lines += map(_encode, self.hashes)
        return ("\n".join(lines) + "\n\n").encode() + self.note

    @classmethod
    def parse(cls, data: bytes) -> InclusionProof:
        """Parse a tlog-proof.

        Raises:
            ProofError: not one, or not in its one form.
        """
        lines, note = _split(data, INCLUSION_LINE, "an inclusion proof")
        extra = None
        if lines and lines[0].startswith("extra "):
            extra = _decode(lines.pop(0).removeprefix("extra "), "the extra data")
        match = _INDEX.fullmatch(lines[0]) if lines else None
        if match is None or int(match[1]) >= MAX_SIZE:
            raise ProofError("an inclusion proof has a line with the entry's index")
        proof = cls(int(match[1]), _hashes(lines[1:]), note, extra)
        return _in_one_form(proof, data)


@dataclass(frozen=True, slots=True)
class ConsistencyProof:
    """That one signed checkpoint is a prefix of another.

    Args:
        hashes: the proof of RFC 6962 section 2.1.2; empty between equal sizes.
        old: the older signed checkpoint's exact bytes.
        new: the newer one's.
    """

    hashes: tuple[bytes, ...]
    old: bytes
    new: bytes

    def encode(self) -> bytes:
        """The proof as text, in bytes."""
        head = "".join(f"{line}\n" for line in (CONSISTENCY_LINE, *map(_encode, self.hashes)))
        return head.encode() + b"\n" + self.old + b"\n" + self.new

    @classmethod
    def parse(cls, data: bytes) -> ConsistencyProof:
        """Parse a consistency proof.

        Raises:
            ProofError: not one, or not in its one form.
        """
        lines, notes = _split(data, CONSISTENCY_LINE, "a consistency proof")
        # A checkpoint has no empty line, so each note has exactly one: text, signatures, text, signatures.
        parts = notes.split(b"\n\n")
        if len(parts) != 4:
            raise ProofError("a consistency proof ends with two signed checkpoints")
        old, new = b"\n\n".join(parts[:2]) + b"\n", b"\n\n".join(parts[2:])
        return _in_one_form(cls(_hashes(lines), old, new), data)


@dataclass(frozen=True, slots=True)
class SignedCheckpoint:
    """A checkpoint that a trusted log key signed, with the cosignatures of known witnesses.

    ``unknown`` counts the signature lines of keys that nobody vouched for.
    """

    checkpoint: Checkpoint
    vkey: str
    cosignatures: tuple[Verified, ...]
    unknown: int


@dataclass(frozen=True, slots=True)
class Trust:
    """Whose signatures count, from a trusted place: never from what is being verified.

    Args:
        logs: keys of logs; a checkpoint must bear one of its own origin.
        witnesses: keys of witnesses, beside those of the policy.
        policy: who must have cosigned; None where nobody must.
    """

    logs: tuple[NoteVerifier, ...]
    witnesses: tuple[CosignatureVerifier, ...] = ()
    policy: TrustPolicy | None = None

    @property
    def all_logs(self) -> tuple[NoteVerifier, ...]:
        """The keys of logs, those of the policy too."""
        return (*self.logs, *(self.policy.logs if self.policy else ()))

    @property
    def all_witnesses(self) -> tuple[CosignatureVerifier, ...]:
        """The keys of witnesses, those of the policy too."""
        return (*self.witnesses, *(self.policy.witnesses.values() if self.policy else ()))

    def open(self, note: bytes) -> SignedCheckpoint:
        """Verify a signed checkpoint; the procedure of tlog-proof, steps 2 and 3.

        Raises:
            NoteError: not a checkpoint, or of an origin none of whose keys is known.
            SignatureError: a known key's signature is wrong or missing, or the policy asks for more cosignatures.
        """
        parsed = Note.parse(note)
        checkpoint = Checkpoint.parse(parsed.text)
        if not any(each.vkey.name == checkpoint.origin for each in self.all_logs):
            raise NoteError(f"it is of the origin {checkpoint.origin}, whose key was not given")
        opened = check_note(parsed, (*self.all_logs, *self.all_witnesses))
        own = [each for each in opened.verified if each.time is None and each.name == checkpoint.origin]
        if not own:
            raise SignatureError(f"{checkpoint.origin} did not sign it with a key that was given")
        mirror = own_mirror(checkpoint.origin)
        cosignatures = tuple(each for each in opened.verified if each.time is not None and each.name != mirror)
        policy = self.policy
        if policy is not None and policy.quorum != "none" and not policy.satisfied(cosignatures):
            raise SignatureError("it lacks cosignatures that the policy asks for")
        return SignedCheckpoint(checkpoint, own[0].vkey, cosignatures, len(opened.unknown))


def verify_inclusion_proof(
    proof: InclusionProof, trust: Trust, *, entry: bytes | None = None
) -> tuple[SignedCheckpoint, Entry]:
    """Verify that an entry stands in a log; the procedure of tlog-proof.

    Args:
        entry: the entry's bytes, where the verifier has them; else those that the proof carries.

    Returns:
        The checkpoint, and the entry that is proven.

    Raises:
        ProofError: the entry is missing, malformed, another than the proof's, or not at that place.
        NoteError, SignatureError: the checkpoint does not hold, as :meth:`Trust.open` has it.
    """
    # 1. The leaf hash, from the exact bytes.
    data = entry if entry is not None else proof.extra
    if data is None:
        raise ProofError("the proof does not carry its entry", remedy="hand the entry's bytes over with --entry")
    if proof.extra is not None and proof.extra != data:
        raise ProofError("the proof carries another entry than the one that was handed over")
    # 2. and 3. The origin, the log's signature, the witnesses'.
    signed = trust.open(proof.note)
    # 4. The path from the leaf to the signed root.
    size = signed.checkpoint.size
    verify_inclusion(leaf_hash(data), proof.index, size, proof.hashes, signed.checkpoint.root)
    try:
        return signed, Entry.parse(data, seq=proof.index)
    except LedgerError as error:
        raise ProofError(f"what the log holds at {proof.index} is no entry: {error.message}") from error


def verify_consistency_proof(proof: ConsistencyProof, trust: Trust) -> tuple[SignedCheckpoint, SignedCheckpoint]:
    """Verify that one checkpoint is a prefix of another.

    Only the newer one must satisfy the policy: the older may be one that the verifier kept without cosignatures.

    Returns:
        The older and the newer checkpoint.

    Raises:
        ProofError: it is not proven, or the two are of different origins.
        NoteError, SignatureError: a checkpoint does not hold, as :meth:`Trust.open` has it.
    """
    lenient = Trust(trust.all_logs, trust.all_witnesses)
    old, new = lenient.open(proof.old), trust.open(proof.new)
    if old.checkpoint.origin != new.checkpoint.origin:
        raise ProofError(f"{old.checkpoint.origin} and {new.checkpoint.origin} are two logs")
    verify_consistency(old.checkpoint.size, new.checkpoint.size, proof.hashes, old.checkpoint.root, new.checkpoint.root)
    return old, new


def own_mirror(origin: str) -> str:
    """The name of the mirror cosigner of an origin's own zone: a zone is no witness of its own log."""
    return f"{origin.rpartition('/')[0]}/mirror"


def _split(data: bytes, first: str, what: str) -> tuple[list[str], bytes]:
    """The lines between the first one and the first empty one, and what follows."""
    if len(data) > MAX_PROOF_BYTES:
        raise ProofError(f"a proof has at most {MAX_PROOF_BYTES} bytes")
    head, separator, rest = data.partition(b"\n\n")
    try:
        lines = head.decode("ascii").split("\n")
    except UnicodeDecodeError as error:
        raise ProofError(f"the lines of {what} are not ASCII") from error
    if lines[0] != first:
        raise ProofError(f"{what} begins with the line {first}")
    if not separator:
        raise ProofError(f"{what} without a checkpoint behind an empty line")
    return lines[1:], rest


def _hashes(lines: Sequence[str]) -> tuple[bytes, ...]:
    if len(lines) > MAX_HASHES:
        raise ProofError(f"a proof has at most {MAX_HASHES} hashes")
    hashes = tuple(_decode(line, "a hash") for line in lines)
    if any(len(each) != HASH_SIZE for each in hashes):
        raise ProofError(f"a hash has {HASH_SIZE} bytes")
    return hashes


_ProofT = TypeVar("_ProofT", InclusionProof, ConsistencyProof)


def _in_one_form(proof: _ProofT, data: bytes) -> _ProofT:
    if proof.encode() != data:
        raise ProofError("the proof is not in its one form")
    return proof


def _encode(data: bytes) -> str:
    return base64.b64encode(data).decode()


def _decode(text: str, what: str) -> bytes:
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise ProofError(f"{what} is not base64") from error
