"""What may be read of a log while it is written: entries, proofs, and what a mirror needs next."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TypeVar

from ledger.checkpoint import Growth, Published
from ledger.committing import stopped
from ledger.errors import ProofError
from ledger.merkle import consistency_proof, inclusion_proof, tree_root
from ledger.tiles import TileReader, read_entries
from ledger.waiters import Waiters

__all__ = ["LogReads"]

_T = TypeVar("_T")


class LogReads:
    """The reading half of a :class:`~ledger.writer.LogWriter`; its files are read on a thread of their own.

    Args:
        directory: the log's directory, absolute.
    """

    _published: Published
    _committed: Published

    def __init__(self, directory: str) -> None:
        self._directory = directory
        self._loop = asyncio.get_running_loop()
        self._waiters = Waiters(self._loop)
        self._growth: Growth | None = None
        self._ended: BaseException | None = None
        self._closed = False
        # Reads and cosignatures: they never wait for a commit.
        self._side = ThreadPoolExecutor(1, "ledger-read")

    @property
    def published(self) -> Published:
        """The newest checkpoint that is durable here: the operator's head."""
        return self._published

    @property
    def committed(self) -> Published:
        """The newest checkpoint that cannot be undone any more: published soon, and until then pushed to mirrors."""
        return self._committed

    async def read(self, start: int, stop: int, max_bytes: int) -> list[bytes]:
        """Published entries as bytes, from ``start`` up to ``stop`` exclusive, at least one where there is one.

        Args:
            max_bytes: where to end early; the caller goes on from there.
        """
        size = self._published.checkpoint.size
        return await self._run(lambda: read_entries(self._directory, start, min(stop, size), size, max_bytes))

    async def changed(self, after_size: int) -> Published:
        """Wait until more than ``after_size`` entries are published; StoppedError where the writer has ended."""
        if self._published.checkpoint.size > after_size:
            return self._published
        self._require_running()
        return await self._waiters.published_after(after_size)

    async def grown(self, after_size: int) -> Published:
        """Wait until more than ``after_size`` entries are committed; StoppedError where the writer has ended."""
        if self._committed.checkpoint.size > after_size:
            return self._committed
        self._require_running()
        return await self._waiters.committed_after(after_size)

    def _require_running(self) -> None:
        if self._closed or self._ended is not None:
            raise stopped(self._ended)

    async def consistency_proof(self, old: int, new: int) -> list[bytes]:
        """The proof between two published sizes; empty from 0 and between equal ones, as tlog-witness has it."""
        self._check_published(old, new)
        if old in (0, new):
            return []
        nodes = TileReader(self._directory).nodes(self._published.checkpoint.size)
        return await self._run(lambda: consistency_proof(nodes, old, new))

    async def root_at(self, size: int) -> bytes:
        """Our root at a published size."""
        self._check_published(0, size)
        nodes = TileReader(self._directory).nodes(self._published.checkpoint.size)
        return await self._run(lambda: tree_root(nodes, size))

    async def since(self, size: int, max_bytes: int) -> tuple[Published, list[bytes], list[bytes]]:
        """What a mirror that holds `size` entries needs next: newest checkpoint, proof, entries of about `max_bytes`.

        What was committed last comes from memory, before it is published: it cannot be undone any more.

        Raises:
            ProofError: fewer entries are published than it holds.
        """
        growth = self._growth
        if growth is not None and growth.old_size == size and sum(map(len, growth.entries)) <= max_bytes:
            return growth.committed, list(growth.proof), list(growth.entries)
        await self.changed(self._committed.checkpoint.size - 1)  # its tiles may be being written
        published = self._published
        target = published.checkpoint.size
        self._check_published(size, target)
        nodes = TileReader(self._directory).nodes(target)

        def look() -> tuple[list[bytes], list[bytes]]:
            proof = [] if size in (0, target) else consistency_proof(nodes, size, target)
            entries = read_entries(self._directory, size, target, target, max_bytes) if size < target else []
            return proof, entries

        return published, *await self._run(look)

    async def inclusion_proof(self, seq: int, size: int) -> list[bytes]:
        """The audit path of an entry at a published size.

        Raises:
            ProofError: the entry is not in a tree of that size, or the size is not published yet.
        """
        self._check_published(0, size)
        nodes = TileReader(self._directory).nodes(self._published.checkpoint.size)
        return await self._run(lambda: inclusion_proof(nodes, seq, size))

    async def _run(self, work: Callable[[], _T]) -> _T:
        if self._closed:
            raise stopped(self._ended)
        return await self._loop.run_in_executor(self._side, work)

    def _check_published(self, old: int, new: int) -> None:
        if not 0 <= old <= new <= self._published.checkpoint.size:
            raise ProofError(f"sizes {old} and {new} are not published, or not in order")
