"""The staged batch: everything that publishing needs, durable with the commit point."""

from __future__ import annotations

from dataclasses import dataclass

from ledger import canonical
from ledger.canonical import CanonicalError
from ledger.tiles import encode_bundle, split_bundle

__all__ = ["TEMPORARY", "Batch"]

TEMPORARY = "tmp-"
"""What the names of unfinished files in ``state/staging`` begin with."""

_MEMBERS = {"note", "old_root", "old_size", "root", "size"}


@dataclass(frozen=True, slots=True)
class Batch:
    """A batch of entries that takes the log from one checkpoint to the next."""

    old_size: int
    old_root: bytes
    size: int
    root: bytes
    note: bytes
    entries: tuple[bytes, ...]

    def encode(self) -> bytes:
        """One line of canonical JSON, then the entries as a bundle."""
        line = canonical.encode(
            {
                "note": self.note.decode(),
                "old_root": self.old_root.hex(),
                "old_size": self.old_size,
                "root": self.root.hex(),
                "size": self.size,
            }
        )
        return line + b"\n" + encode_bundle(self.entries)

    @classmethod
    def parse(cls, data: bytes) -> Batch:
        """Parse a staged batch.

        Raises:
            ValueError: not one.
        """
        line, newline, rest = data.partition(b"\n")
        try:
            value = canonical.decode(line)
        except CanonicalError as error:
            raise ValueError(str(error)) from error
        if not newline or not isinstance(value, dict) or value.keys() != _MEMBERS:
            raise ValueError("not the line of a staged batch")
        old_size, size = value["old_size"], value["size"]
        old_root, root, note = value["old_root"], value["root"], value["note"]
        if not (isinstance(old_size, int) and isinstance(size, int) and isinstance(note, str)) or not (
            isinstance(old_root, str) and isinstance(root, str)
        ):
            raise ValueError("a member has another type")  # noqa: TRY004 (the file's fault, not the caller's)
        entries, fault = split_bundle(rest)
        if fault or len(entries) != size - old_size:
            raise ValueError(fault or f"{len(entries)} entries from size {old_size} to {size}")
        return cls(old_size, bytes.fromhex(old_root), size, bytes.fromhex(root), note.encode(), tuple(entries))
