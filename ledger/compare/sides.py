"""The two ledgers of a comparison, and how far each zone is known to have mirrored the other."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from ledger.checkpoint import Checkpoint
from ledger.cli.output import OpenedLog
from ledger.entry import Entry, first_prev
from ledger.errors import LedgerError, TamperedError
from ledger.note import MAX_NOTE_BYTES, Note
from ledger.origin import zone_of
from ledger.tiles import read_regular_file

__all__ = ["Side", "measure", "mirrors_of"]


@dataclass(slots=True)
class Side:
    """One zone's ledger in a comparison.

    Args:
        log: opened, its checkpoint verified.
        mirrored: how many of its entries the other zone is known to hold.
        until: time of its last entry: what is younger on the other side it cannot know.
        seen: the largest size of it that the other side has seen.
    """

    log: OpenedLog
    mirrored: int = 0
    until: str = ""
    seen: int = 0

    @property
    def zone(self) -> str:
        """Its zone."""
        return zone_of(self.log.checkpoint.origin)

    @property
    def size(self) -> int:
        """Its entries."""
        return self.log.checkpoint.size

    def judged(self, seq: int, time: str, other: Side) -> bool:
        """Whether the other ledger must know of an entry of this one."""
        return seq < self.mirrored and time <= other.until


def mirrors_of(directory: Path) -> list[Path]:
    """The mirrors of other zones' logs below a zone's own directory."""
    folder = directory / "mirror"
    return sorted(each for each in folder.iterdir() if (each / "checkpoint").is_file()) if folder.is_dir() else []


def measure(one: Side, two: Side) -> None:
    """Find out how far each zone has mirrored the other, from cosignatures and from mirrors that lie here.

    Raises:
        TamperedError: the last entry is not one.
    """
    for side, other in ((one, two), (two, one)):
        side.until = _last_time(side.log)
        cosigned = side.log.cosigned()
        if cosigned is not None and any(each.name == f"tdz/{other.zone}/mirror" for each in cosigned[1]):
            side.mirrored = cosigned[0].size
        mirror = other.log.directory / "mirror" / first_prev(side.log.checkpoint.origin).hex()
        held = _size(mirror / "checkpoint", side.log.checkpoint.origin)
        side.seen = max(side.seen, held)
        side.mirrored = max(side.mirrored, min(held, side.size))
        if side.log.directory.resolve().parent.parent == other.log.directory.resolve():
            side.mirrored = side.size  # it is the mirror itself


def _last_time(log: OpenedLog) -> str:
    size = log.checkpoint.size
    if not size:
        return ""
    (data,) = log.reader.entries(size - 1, size, size)
    try:
        return Entry.parse(data, seq=size - 1).time
    except LedgerError as error:
        raise TamperedError(f"entry {size - 1}: {error.message}", remedy="run tdz-ledger verify") from error


def _size(path: Path, origin: str) -> int:
    """The size that a mirror's checkpoint names; whether it holds is `fsck`'s to say."""
    try:
        checkpoint = Checkpoint.parse(Note.parse(read_regular_file(str(path), MAX_NOTE_BYTES)).text)
    except LedgerError:
        return 0
    return checkpoint.size if checkpoint.origin == origin else 0
