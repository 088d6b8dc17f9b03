"""Proof that a log forked: two checkpoints that it signed, and what shows that no one log holds both. No I/O.

One format for whoever finds a fork, the mirror of a zone or a witness, and for any log of C2SP tlog-checkpoint: its
origin need not be its key's name, it may have had several keys, and its checkpoints may have extension lines. An
evidence file is one line of canonical JSON with these members, so that anybody can check it anew:

- ``format``: ``tdz-fork-evidence/v1``
- ``origin``: the origin line of both checkpoints
- ``vkeys``: the verifier keys that signed them, in ascending order; a hint, never a reason to trust them
- ``first``, ``second``: the signed notes as text; the first one's size is not the larger
- ``old_root``: hex; the root at the first one's size that the second one contains
- ``proof``: hex; the consistency proof (RFC 9162 section 2.1.4) from ``old_root`` to the second one's root; empty
  where both have one size, and from size 0

It holds where a key of the log signed each of the two, the proof leads from ``old_root`` to the second one's root, and
``old_root`` is not what the first one says. At one size ``old_root`` is the second one's root; at size 0 no log has
another root than SHA-256 of nothing.
"""

from __future__ import annotations

import hashlib
from collections.abc import Collection
from dataclasses import dataclass
from typing import Final

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.checkpoint import Checkpoint, Published
from ledger.errors import ForkError, FormatError, ProofError, SignatureError
from ledger.merkle import EMPTY_ROOT, HASH_SIZE, roots_of_consistency
from ledger.note import MAX_NOTE_BYTES, Note, NoteVerifier, Signature, check_note

__all__ = ["FORMAT", "MAX_EVIDENCE_BYTES", "Evidence", "evidence_prefix"]

FORMAT: Final = "tdz-fork-evidence/v1"
MAX_EVIDENCE_BYTES: Final = 4 * MAX_NOTE_BYTES + 64 * 1024
"""Two notes of which JSON escapes every byte, and what stands around them."""
_MAX_PROOF: Final = 63
_MAX_KEYS: Final = 64
_MEMBERS: Final = {"first", "format", "old_root", "origin", "proof", "second", "vkeys"}


@dataclass(frozen=True, slots=True)
class Evidence:
    """Two contradicting checkpoints of one log, verified.

    Made by :meth:`of` and :meth:`parse`, which check all of it.

    Args:
        origin: the log that forked.
        vkeys: the keys that signed, in ascending order.
        first_by: those of them that signed the first checkpoint.
        second_by: those that signed the second.
    """

    origin: str
    vkeys: tuple[str, ...]
    first: Published
    first_by: tuple[str, ...]
    second: Published
    second_by: tuple[str, ...]
    old_root: bytes
    proof: tuple[bytes, ...]

    @classmethod
    def of(cls, fork: ForkError, origin: str, vkeys: Collection[str]) -> Evidence:
        """The evidence that a refusal carries; its notes keep the log's own signatures alone.

        Args:
            origin: the log's origin line.
            vkeys: every key that the log has or had.

        Raises:
            FormatError, ProofError, SignatureError: it proves nothing.
        """
        verifiers = [NoteVerifier(each) for each in vkeys]
        notes = []
        for data in (fork.first_note, fork.second_note):
            note = Note.parse(data)
            own = tuple(each for each in note.signatures if _holds(note.text, each, verifiers))
            notes.append(Note(note.text, own).encode() if own else data)
        return _checked(origin, vkeys, notes[0], notes[1], fork.old_root, fork.proof)

    @classmethod
    def parse(cls, data: bytes, *, vkeys: Collection[str] | None = None) -> Evidence:
        """Read an evidence file and check that it proves a fork.

        Args:
            vkeys: the log's keys from a trusted place: each note must be signed by one of them. Without, the file is
                judged by the keys that it names itself, and proves something of those alone.

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
        named = [_text(each) for each in _list(value["vkeys"], _MAX_KEYS, "keys")]
        found = _checked(
            _text(value["origin"]),
            named,
            _text(value["first"]).encode(),
            _text(value["second"]).encode(),
            _hash(value["old_root"]),
            [_hash(each) for each in _list(value["proof"], _MAX_PROOF, "hashes")],
        )
        if found.encode() != data:
            raise FormatError("the evidence names keys that signed nothing, or in another order")
        if vkeys is not None:
            for which, signers in (("first", found.first_by), ("second", found.second_by)):
                if not set(signers) & set(vkeys):
                    raise SignatureError(
                        f"the {which} checkpoint was signed by {', '.join(signers)}, by no key that was given",
                        remedy="give each key that the log had: those before the present one stand in its file vkeys",
                    )
        return found

    @property
    def name(self) -> str:
        """The name of its file: one for a log and the keys that signed."""
        keys = hashlib.sha256("\n".join(self.vkeys).encode()).hexdigest()[:16]
        return f"{evidence_prefix(self.origin)}{keys}.json"

    def encode(self) -> bytes:
        """The file's bytes."""
        return (
            canonical.encode(
                {
                    "first": self.first.note.decode(),
                    "format": FORMAT,
                    "old_root": self.old_root.hex(),
                    "origin": self.origin,
                    "proof": [each.hex() for each in self.proof],
                    "second": self.second.note.decode(),
                    "vkeys": [*self.vkeys],
                }
            )
            + b"\n"
        )


def evidence_prefix(origin: str) -> str:
    """What the names of the evidence files about a log begin with."""
    return f"{hashlib.sha256(origin.encode()).hexdigest()[:16]}-"


def _checked(
    origin: str, vkeys: Collection[str], first: bytes, second: bytes, old_root: bytes, proof: list[bytes]
) -> Evidence:
    verifiers = [NoteVerifier(each) for each in vkeys]
    one, first_by = _signed(origin, first, verifiers)
    other, second_by = _signed(origin, second, verifiers)
    _contradict(one.checkpoint, other.checkpoint, old_root, proof)
    signers = tuple(sorted({*first_by, *second_by}))
    return Evidence(origin, signers, one, first_by, other, second_by, old_root, tuple(proof))


def _signed(origin: str, data: bytes, verifiers: list[NoteVerifier]) -> tuple[Published, tuple[str, ...]]:
    note = Note.parse(data)
    checkpoint, _ = Checkpoint.split(note.text)
    if checkpoint.origin != origin:
        raise SignatureError(f"a checkpoint of {checkpoint.origin} says nothing of {origin}")
    signers = tuple(sorted({each.vkey for each in check_note(note, verifiers).verified}))
    if not signers:
        raise SignatureError("no key of the log signed the checkpoint")
    return Published(checkpoint, data), signers


def _holds(text: str, signature: Signature, verifiers: list[NoteVerifier]) -> bool:
    try:
        return bool(check_note(Note(text, (signature,)), verifiers).verified)
    except SignatureError:
        return False


def _contradict(one: Checkpoint, other: Checkpoint, old_root: bytes, proof: list[bytes]) -> None:
    """Make sure that no log holds both.

    Raises:
        ProofError: that is not shown.
    """
    if one.size > other.size:
        raise ProofError("the first checkpoint's size is above the second one's")
    if one.size in (0, other.size):
        if proof or old_root != (other.root if one.size == other.size else EMPTY_ROOT):
            raise ProofError("between equal sizes and from size 0 there is nothing to prove")
    elif roots_of_consistency(one.size, other.size, proof, old_root) != (old_root, other.root):
        raise ProofError(f"the proof does not lead to the root of size {other.size}")
    if old_root == one.root:
        raise ProofError("both checkpoints are of one log: they contradict each other in nothing")


def _list(value: JsonValue, most: int, what: str) -> list[JsonValue]:
    if not isinstance(value, list) or len(value) > most:
        raise FormatError(f"a member of the evidence is a list of at most {most} {what}")
    return value


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
