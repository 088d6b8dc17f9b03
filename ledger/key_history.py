"""A log's keys over its life: each with the sizes that it signs, each introduced by an entry that two keys signed.

``vkeys`` holds a line a key: first size, last size or ``-``, key. A key signs every checkpoint from its first size
on. The one before goes on signing beside it until every cosigner has seen the new one; its last size says when that
ended. A checkpoint is judged by the newest key whose first size it reaches. No I/O.
"""

from __future__ import annotations

import re
from collections.abc import Collection
from dataclasses import dataclass, replace
from typing import Final

from ledger.canonical import JsonValue
from ledger.entry import Entry
from ledger.errors import LedgerError, NoteError, SignatureError
from ledger.note import NoteSigner, NoteVerifier, Signature

__all__ = ["KeyHistory", "KeyRange", "Rotation", "rotation_in"]

MAX_KEYS: Final = 256
_LINE: Final = re.compile(r"(0|[1-9][0-9]{0,18}) (-|0|[1-9][0-9]{0,18}) (\S+)", re.ASCII)


@dataclass(frozen=True, slots=True)
class KeyRange:
    """A key and the sizes of the checkpoints that it signs; ``last`` is None while it signs."""

    vkey: str
    first: int
    last: int | None = None


@dataclass(frozen=True, slots=True)
class KeyHistory:
    """The keys of one log, oldest first; at least one.

    The first begins at 0; where the keys before it are not known, that says nothing.
    """

    ranges: tuple[KeyRange, ...]

    @classmethod
    def of(cls, vkey: str) -> KeyHistory:
        """The history of a log that had one key only."""
        return cls((KeyRange(vkey, 0),))

    @classmethod
    def parse(cls, text: str) -> KeyHistory:
        """Parse a ``vkeys`` file.

        Raises:
            NoteError: a line is not the next key of one origin with its range; the text names the line.
        """
        lines = text.split("\n")
        if len(lines) < 2 or lines[-1] or len(lines) > MAX_KEYS + 1:
            raise NoteError(f"1 to {MAX_KEYS} lines, each with its newline")
        ranges: list[KeyRange] = []
        for number, line in enumerate(lines[:-1], 1):
            match = _LINE.fullmatch(line)
            if match is None:
                raise NoteError(f"line {number} is not a first size, a last size and a key")
            first, last = int(match[1]), None if match[2] == "-" else int(match[2])
            name = NoteVerifier(match[3]).vkey.name
            newest = number == len(lines) - 1
            before = ranges[-1] if ranges else None
            ordered = first > before.first if before else first == 0
            if before and NoteVerifier(before.vkey).vkey.name != name:
                raise NoteError(f"line {number} is a key of another name")
            # The old one signs at least until just before the new one begins, and all but the last two have ended.
            if before and before.last is not None:
                ordered = ordered and before.last >= first - 1
            ordered = ordered and not (len(ranges) > 1 and ranges[-2].last is None)
            if not ordered or (newest and last is not None) or (last is not None and last < first):
                raise NoteError(f"line {number} is not the next key with its range of sizes")
            ranges.append(KeyRange(match[3], first, last))
        if len({each.vkey for each in ranges}) != len(ranges):
            raise NoteError("the same key twice")
        return cls(tuple(ranges))

    def encode(self) -> bytes:
        """The file ``vkeys``."""
        lines = (f"{each.first} {'-' if each.last is None else each.last} {each.vkey}\n" for each in self.ranges)
        return "".join(lines).encode()

    @property
    def origin(self) -> str:
        """The log's origin, which is the name of each key."""
        return NoteVerifier(self.current).vkey.name

    @property
    def current(self) -> str:
        """The newest key."""
        return self.ranges[-1].vkey

    @property
    def vkeys(self) -> list[str]:
        """All keys, oldest first."""
        return [each.vkey for each in self.ranges]

    @property
    def retiring(self) -> KeyRange | None:
        """The key that signs beside the newest one still, if any does."""
        before = self.ranges[-2] if len(self.ranges) > 1 else None
        return before if before is not None and before.last is None else None

    def verifiers(self) -> list[NoteVerifier]:
        """A verifier for each key."""
        return [NoteVerifier(each.vkey) for each in self.ranges]

    def at(self, size: int) -> KeyRange:
        """The key by which a checkpoint of a size is judged."""
        return next((each for each in reversed(self.ranges) if each.first <= size), self.ranges[0])

    def require_signed(self, signers: Collection[str], size: int) -> None:
        """Make sure that the right key signed a checkpoint, and none that had ended.

        Args:
            signers: the keys whose signatures on it were verified; others are passed over.

        Raises:
            SignatureError: it did not, or one had.
        """
        if self.at(size).vkey not in signers:
            raise SignatureError(f"the log's key for size {size} did not sign it")
        for each in self.ranges:
            if each.last is not None and size > each.last and each.vkey in signers:
                raise SignatureError(f"a key that ended at size {each.last} signed size {size}")

    def rotated(self, vkey: str, first: int) -> KeyHistory:
        """With another key after the newest, from a size on."""
        ranges = [*self.ended(first - 1).ranges, KeyRange(vkey, first)]
        ranges[-2] = replace(ranges[-2], last=None)
        return KeyHistory(tuple(ranges))

    def ended(self, last: int) -> KeyHistory:
        """With the end of the key that was retiring, if any was."""
        if self.retiring is None:
            return self
        old = replace(self.ranges[-2], last=max(last, self.ranges[-2].first, self.ranges[-1].first - 1))
        return KeyHistory((*self.ranges[:-2], old, self.ranges[-1]))

    def without_last(self) -> KeyHistory:
        """Without the newest key, whose entry never came to stand in the log."""
        return KeyHistory((*self.ranges[:-2], replace(self.ranges[-2], last=None)))


@dataclass(frozen=True, slots=True)
class Rotation:
    """What ``key.rotated`` says: from a size on, which is that behind the entry, another key signs.

    Both keys sign it, so that whoever trusts one of them may trust the other.
    """

    origin: str
    old: str
    new: str
    first: int

    @property
    def text(self) -> str:
        """What both sign; no checkpoint, since it begins with another line than an origin."""
        return f"tdz-ledger/key-rotated/v1\n{self.origin}\n{self.old}\n{self.new}\n{self.first}\n"

    def body(self, old: NoteSigner, new: NoteSigner) -> dict[str, JsonValue]:
        """The entry's body, signed."""
        return {
            "from": self.first,
            "new": self.new,
            "old": self.old,
            "signatures": {"new": new.sign(self.text), "old": old.sign(self.text)},
        }

    @classmethod
    def of(cls, entry: Entry, origin: str) -> Rotation:
        """The rotation in an entry, with both signatures verified.

        Raises:
            NoteError, SignatureError: there is none that may be followed.
        """
        body = entry.body
        old, new, first, lines = body.get("old"), body.get("new"), body.get("from"), body.get("signatures")
        if entry.kind != "key.rotated" or type(old) is not str or type(new) is not str or first != entry.seq + 1:
            raise NoteError("no key.rotated whose size is the one behind it")
        if type(lines) is not dict or lines.keys() != {"new", "old"} or old == new:
            raise NoteError("a rotation names two keys and has a signature of each")
        rotation = cls(origin, old, new, entry.seq + 1)
        for vkey, line in ((old, lines["old"]), (new, lines["new"])):
            verifier = NoteVerifier(vkey)
            if verifier.vkey.name != origin:
                raise NoteError(f"a key of a rotation is not {origin}'s")
            signature = Signature.parse(line) if type(line) is str else None
            if signature is None or (signature.name, signature.key_id) != (origin, verifier.vkey.key_id):
                raise SignatureError("a signature of a rotation is not of its key")
            verifier.verify(rotation.text, signature)
        return rotation


def rotation_in(entry: Entry, origin: str) -> Rotation | None:
    """The rotation in an entry, None where there is none that may be followed."""
    if entry.kind != "key.rotated":
        return None
    try:
        return Rotation.of(entry, origin)
    except LedgerError:
        return None
