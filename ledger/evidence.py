"""Proof that a log forked: two checkpoints that it signed, and what shows that no one log holds both.

An evidence file is one line of canonical JSON with these members, so that anybody can check it anew:

- ``format``: ``tdz-fork-evidence/v1``
- ``vkey``: the log's verifier key, as its zone card had it
- ``first``, ``second``: two signed notes of that key and one origin, as text; the first one's size is not the larger
- ``old_root``: hex; the root at the first one's size that the second one contains
- ``proof``: hex; the consistency proof (RFC 9162 section 2.1.4) from ``old_root`` to the second one's root; empty
  where both have one size

It holds where both signatures verify, the proof leads from ``old_root`` to the second one's root, and ``old_root``
is not what the first one says.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Final

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.checkpoint import Checkpoint, Published
from ledger.errors import ForkError, FormatError, ProofError, SignatureError
from ledger.merkle import HASH_SIZE, roots_of_consistency
from ledger.note import MAX_NOTE_BYTES, NoteVerifier, open_note

__all__ = ["FORMAT", "MAX_EVIDENCE_BYTES", "Evidence"]

FORMAT: Final = "tdz-fork-evidence/v1"
MAX_EVIDENCE_BYTES: Final = 2 * MAX_NOTE_BYTES + 64 * 1024
_MAX_PROOF: Final = 63
_MEMBERS: Final = {"first", "format", "old_root", "proof", "second", "vkey"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two contradicting checkpoints of one log, verified.

    Made by :meth:`of` and :meth:`parse`, which check all of it.
    """

    vkey: str
    first: Published
    second: Published
    old_root: bytes
    proof: tuple[bytes, ...]

    @classmethod
    def of(cls, fork: ForkError, vkey: str) -> Evidence:
        """The evidence that a mirror's refusal carries.

        Raises:
            ProofError, SignatureError: it proves nothing.
        """
        return _checked(vkey, fork.first_note, fork.second_note, fork.old_root, fork.proof)

    @classmethod
    def parse(cls, data: bytes, *, vkey: str | None = None) -> Evidence:
        """Read an evidence file and check that it proves a fork.

        Args:
            vkey: the log's key from a trusted place; the file's own must be the same.

        Raises:
            FormatError: not an evidence file.
            ProofError, SignatureError: it proves nothing.
        """
        if len(data) > MAX_EVIDENCE_BYTES:
            raise FormatError(f"an evidence file has at most {MAX_EVIDENCE_BYTES} bytes")
        try:
            value = canonical.decode(data.removesuffix(b"\n"))
        except CanonicalError as error:
            raise FormatError(f"not an evidence file: {error}") from error
        if not isinstance(value, dict) or value.keys() != _MEMBERS or value["format"] != FORMAT:
            raise FormatError(f"not an evidence file of the format {FORMAT}")
        own, proof = _text(value["vkey"]), value["proof"]
        if not isinstance(proof, list) or len(proof) > _MAX_PROOF:
            raise FormatError(f"proof is a list of at most {_MAX_PROOF} hashes")
        if vkey is not None and own != vkey:
            raise SignatureError("the evidence is about another key than the one that was given")
        return _checked(
            own,
            _text(value["first"]).encode(),
            _text(value["second"]).encode(),
            _hash(value["old_root"]),
            [_hash(each) for each in proof],
        )

    @property
    def origin(self) -> str:
        """The log that forked."""
        return self.first.checkpoint.origin

    @property
    def name(self) -> str:
        """The name of its file: origin and sizes, the same for the same pair."""
        about = hashlib.sha256(self.origin.encode()).hexdigest()[:16]
        return f"{about}-{self.first.checkpoint.size}-{self.second.checkpoint.size}.json"

    def encode(self) -> bytes:
        """The file's bytes."""
        proof: list[JsonValue] = [each.hex() for each in self.proof]
        return (
            canonical.encode(
                {
                    "first": self.first.note.decode(),
                    "format": FORMAT,
                    "old_root": self.old_root.hex(),
                    "proof": proof,
                    "second": self.second.note.decode(),
                    "vkey": self.vkey,
                }
            )
            + b"\n"
        )


def _checked(vkey: str, first: bytes, second: bytes, old_root: bytes, proof: list[bytes]) -> Evidence:
    verifier = NoteVerifier(vkey)
    both = []
    for note in (first, second):
        checkpoint = Checkpoint.parse(open_note(note, [verifier]).text)
        if checkpoint.origin != verifier.vkey.name:
            raise SignatureError(f"a checkpoint of {checkpoint.origin} says nothing of {verifier.vkey.name}")
        both.append(Published(checkpoint, note))
    one, other = both[0].checkpoint, both[1].checkpoint
    if not 0 < one.size <= other.size:
        raise ProofError("the first checkpoint's size is not above 0, or above the second one's")
    if roots_of_consistency(one.size, other.size, proof, old_root) != (old_root, other.root):
        raise ProofError(f"the proof does not lead to the root of size {other.size}")
    if old_root == one.root:
        raise ProofError("both checkpoints are of one log: they contradict each other in nothing")
    return Evidence(vkey, both[0], both[1], old_root, tuple(proof))


def _text(value: JsonValue) -> str:
    if not isinstance(value, str):
        raise FormatError("a member of the evidence has another type")
    return value


def _hash(value: JsonValue) -> bytes:
    text = _text(value)
    try:
        data = bytes.fromhex(text)
    except ValueError as error:
        raise FormatError(f"{text[:80]!r} is no hash in hex") from error
    if len(data) != HASH_SIZE or data.hex() != text:
        raise FormatError(f"{text[:80]!r} is no hash of {HASH_SIZE} bytes in lower-case hex")
    return data
