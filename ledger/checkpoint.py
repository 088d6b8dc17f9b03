"""Checkpoints (C2SP tlog-checkpoint): what a log says about itself, in three lines and no extension."""

from __future__ import annotations

import base64
import binascii
import re
from dataclasses import dataclass
from typing import Final

from ledger.errors import NoteError
from ledger.merkle import EMPTY_ROOT, HASH_SIZE

__all__ = ["MAX_SIZE", "Checkpoint", "Growth", "Published"]

MAX_SIZE: Final = 2**63 - 1
_SIZE: Final = re.compile(r"(?:0|[1-9][0-9]{0,18})", re.ASCII)


@dataclass(frozen=True, slots=True)
class Checkpoint:
    """The origin, the number of entries and the root over them."""

    origin: str
    size: int
    root: bytes

    @property
    def text(self) -> str:
        """The note text: origin, size and root, each with its newline."""
        return f"{self.origin}\n{self.size}\n{base64.b64encode(self.root).decode()}\n"

    @classmethod
    def parse(cls, text: str) -> Checkpoint:
        """Parse a note's text.

        Raises:
            NoteError: not three lines in their one form, or a size of 0 with another root than the empty one.
        """
        checkpoint, extension = cls.split(text)
        if extension:
            raise NoteError("a checkpoint with extension lines")
        if checkpoint.size == 0 and checkpoint.root != EMPTY_ROOT:
            raise NoteError("a checkpoint of size 0 with a root that is not the empty one")
        return checkpoint

    @classmethod
    def split(cls, text: str) -> tuple[Checkpoint, str]:
        """Parse the text of any log's note: the checkpoint, and its extension lines.

        The root of a size of 0 is not judged here: tlog-witness has an answer of its own for it.

        Raises:
            NoteError: the first three lines are not in their one form, or an extension line is empty.
        """
        lines = text.split("\n")
        if len(lines) < 4 or lines[-1]:
            raise NoteError("a checkpoint has three lines: origin, size and root")
        # SPEC tlog-checkpoint: extension lines, if any, MUST be non-empty.
        if not all(lines[3:-1]):
            raise NoteError("a checkpoint with an empty extension line")
        origin, size, encoded = lines[:3]
        if not origin:
            raise NoteError("a checkpoint without an origin")
        # SPEC tlog-checkpoint: ASCII decimal with no leading zeroes.
        if not _SIZE.fullmatch(size) or int(size) > MAX_SIZE:
            raise NoteError(f"{size[:24]!r} is not a size")
        try:
            root = base64.b64decode(encoded, validate=True)
        except (binascii.Error, ValueError) as error:
            raise NoteError("a checkpoint's root is not base64") from error
        checkpoint = cls(origin, int(size), root)
        if len(root) != HASH_SIZE or not text.startswith(checkpoint.text):
            raise NoteError("a checkpoint's root is not 32 bytes of base64 in its one form")
        return checkpoint, text[len(checkpoint.text) :]


@dataclass(frozen=True, slots=True)
class Published:
    """A checkpoint with the exact bytes of its signed note."""

    checkpoint: Checkpoint
    note: bytes


@dataclass(frozen=True, slots=True)
class Growth:
    """What a mirror of the size before a commit needs: the new checkpoint, its proof, and the entries between."""

    old_size: int
    committed: Published
    proof: tuple[bytes, ...]
    entries: tuple[bytes, ...]
