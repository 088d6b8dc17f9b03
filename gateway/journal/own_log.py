"""What may be read of this zone's own log while it grows: its sizes, and what a mirror needs next."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.journal.peer_mirror import refusals
from ledger.writer import LogWriter

__all__ = ["Batch", "OwnLog", "Recorded"]


@dataclass(frozen=True, slots=True)
class Batch:
    """A checkpoint to push: its size, text and signed note, the proof from the mirror's size, and first entries."""

    size: int
    text: str
    note: bytes
    proof: list[bytes]
    entries: list[bytes]


@dataclass(frozen=True, slots=True)
class Recorded:
    """An entry that is durable: its place, and the log's size that covers it."""

    entry_id: str
    seq: int
    size: int


class OwnLog:
    """The reading half of a :class:`~gateway.journal.Journal`.

    Args:
        writer: the log.
    """

    def __init__(self, writer: LogWriter) -> None:
        self.writer = writer

    @property
    def size(self) -> int:
        """Entries published."""
        return self.writer.published.checkpoint.size

    @property
    def committed_size(self) -> int:
        """Entries that cannot be undone any more; those past `size` are published in a moment."""
        return self.writer.committed.checkpoint.size

    @property
    def witnessed_size(self) -> int:
        """Entries covered by a checkpoint that satisfies the witness policy."""
        witnessed = self.writer.witnessed
        return 0 if witnessed is None else witnessed.checkpoint.size

    def head(self) -> str:
        """The newest witnessed checkpoint's note, which may leave this machine; empty before the first."""
        witnessed = self.writer.witnessed
        return "" if witnessed is None else witnessed.note.decode()

    async def newer(self, size: int) -> None:
        """Wait until more than `size` entries are committed: a mirror may have them.

        Raises:
            LedgerError: the log has ended.
        """
        with refusals("the log cannot be read"):
            await self.writer.grown(size)

    async def since(self, size: int, max_bytes: int) -> Batch:
        """What a mirror that holds `size` entries needs next."""
        with refusals("the log cannot be read"):
            newest, proof, entries = await self.writer.since(size, max_bytes)
        return Batch(newest.checkpoint.size, newest.checkpoint.text, newest.note, proof, entries)

    async def entries(self, start: int, stop: int, max_bytes: int) -> list[bytes]:
        """Published entries as bytes, at least one where there is one."""
        with refusals("the log cannot be read"):
            return await self.writer.read(start, stop, max_bytes)

    async def root_at(self, size: int) -> bytes:
        """Our root at a published size."""
        with refusals("the log cannot be read"):
            return await self.writer.root_at(size)
