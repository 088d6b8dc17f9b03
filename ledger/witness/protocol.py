"""What goes over the wire between a log and a witness (C2SP tlog-witness), for both ends. No I/O.

Parsing is strict: what was parsed, written again, gives the same bytes.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from dataclasses import dataclass
from typing import Final

from ledger.checkpoint import MAX_SIZE
from ledger.errors import BadRequestError, NoteError
from ledger.merkle import HASH_SIZE
from ledger.mirror_judge import MAX_PROOF_HASHES
from ledger.note import MAX_NOTE_BYTES, Signature

__all__ = [
    "ADD_CHECKPOINT",
    "MAX_ANSWER_BYTES",
    "MAX_BODY_BYTES",
    "SIZE_TYPE",
    "AddCheckpoint",
    "monitoring_path",
    "parse_cosignatures",
    "parse_size",
]

ADD_CHECKPOINT: Final = "/add-checkpoint"
SIZE_TYPE: Final = "text/x.tlog.size"
"""The type of the answer that says which size was cosigned last."""

MAX_BODY_BYTES: Final = MAX_NOTE_BYTES + 8 * 1024
"""A note, and before it 63 hashes and the old size."""
MAX_ANSWER_BYTES: Final = 64 * 1024
MAX_ANSWER_LINES: Final = 16

_OLD: Final = re.compile(rb"old (0|[1-9][0-9]{0,18})")
_SIZE: Final = re.compile(rb"(0|[1-9][0-9]{0,18})\n")


@dataclass(frozen=True, slots=True)
class AddCheckpoint:
    """The body of ``add-checkpoint``: the size cosigned last, the proof from there, and the signed note."""

    old_size: int
    proof: tuple[bytes, ...]
    note: bytes

    def encode(self) -> bytes:
        """The body's bytes."""
        lines = [b"old %d" % self.old_size, *map(base64.b64encode, self.proof), b"", b""]
        return b"\n".join(lines) + self.note

    @classmethod
    def parse(cls, body: bytes) -> AddCheckpoint:
        """Split a body; the note is not looked into.

        Raises:
            BadRequestError: it is not as tlog-witness has it.
        """
        if len(body) > MAX_BODY_BYTES:
            raise BadRequestError(f"a request has at most {MAX_BODY_BYTES} bytes")
        # SPEC tlog-witness: an old size line, proof lines, an empty line, then the checkpoint.
        head, empty, note = body.partition(b"\n\n")
        if not empty:
            raise BadRequestError("no empty line before the checkpoint")
        first, *rest = head.split(b"\n")
        # SPEC tlog-witness: ASCII decimal with no leading zeroes.
        old = _OLD.fullmatch(first)
        if old is None or int(old[1]) > MAX_SIZE:
            raise BadRequestError("the first line is not `old` and a size")
        # SPEC tlog-witness: the client MUST NOT send more than 63 consistency proof lines.
        if len(rest) > MAX_PROOF_HASHES:
            raise BadRequestError(f"more than {MAX_PROOF_HASHES} lines of proof")
        return cls(int(old[1]), tuple(map(_hash, rest)), note)


def parse_cosignatures(answer: bytes) -> tuple[Signature, ...]:
    """The signature lines of an answer; none is verified.

    Raises:
        NoteError: it is not one or more signature lines.
    """
    try:
        text = answer.decode("utf-8")
    except UnicodeDecodeError as error:
        raise NoteError("a witness's answer is UTF-8") from error
    # SPEC tlog-witness: one or more signature lines, each ending with a newline.
    lines = text.split("\n")
    if len(lines) < 2 or lines[-1]:
        raise NoteError("a witness's answer is lines, each with its newline")
    if len(lines) > MAX_ANSWER_LINES:
        raise NoteError(f"a witness's answer has at most {MAX_ANSWER_LINES} lines")
    return tuple(map(Signature.parse, lines[:-1]))


def parse_size(answer: bytes) -> int:
    """The size that was cosigned last, from an answer 409.

    Raises:
        NoteError: it is not a size and a newline.
    """
    found = _SIZE.fullmatch(answer)
    if found is None or int(found[1]) > MAX_SIZE:
        raise NoteError("the answer is not a size and a newline")
    return int(found[1])


def monitoring_path(origin: str) -> str:
    """Where a witness serves what it cosigned last of a log."""
    # SPEC tlog-witness: the SHA-256 of the origin, hex encoded, in lowercase.
    return f"/{hashlib.sha256(origin.encode()).hexdigest()}/checkpoint"


def _hash(line: bytes) -> bytes:
    try:
        raw = base64.b64decode(line, validate=True)
    except (binascii.Error, ValueError) as error:
        raise BadRequestError("a line of the proof is not base64") from error
    if len(raw) != HASH_SIZE or base64.b64encode(raw) != line:
        raise BadRequestError(f"a line of the proof is not {HASH_SIZE} bytes of base64 in its one form")
    return raw
