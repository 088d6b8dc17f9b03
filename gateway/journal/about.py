"""Entries about something, on this zone's own log or on a mirror, and a file that proves them to anybody."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import PeerUnavailableError
from gateway.journal.journal import Journal
from gateway.journal.peer_mirror import refusals
from ledger import canonical
from ledger.entry import Entry, parse_time
from ledger.proof import InclusionProof, Trust, verify_inclusion_proof
from ledger.proof_set import ProofSet

__all__ = ["Noted", "Proven", "entries_about", "proven", "published"]

Read = Callable[[int, int, int], Awaitable[list[bytes]]]
_BATCH_BYTES: Final = 512 * 1024
_MARGIN_S: Final = 3600
"""By how much an entry's time may differ from the row's that it belongs to: two zones' clocks, late tries."""


@dataclass(frozen=True, slots=True)
class Noted:
    """An entry with its exact bytes."""

    entry: Entry
    data: bytes


@dataclass(frozen=True, slots=True)
class Proven:
    """A set of proofs as a file's bytes, and the witnessed checkpoint that they name."""

    data: bytes
    origin: str
    size: int
    entries: int


async def published(journal: Journal) -> int:
    """The own log's size once everything that is committed can be read."""
    with refusals("the log cannot be read"):
        await journal.writer.changed(journal.committed_size - 1)
    return journal.size


async def entries_about(
    read: Read,
    size: int,
    subjects: Collection[str],
    *,
    since: int,
    until: int | None = None,
    last: Callable[[Entry], bool] = lambda _: False,
) -> list[Noted]:
    """The entries about some subjects, in order; read in parts, so that nobody waits for the whole.

    Args:
        read: reads entries by number, as `OwnLog.entries` does.
        size: where to end.
        subjects: resource names.
        since: none of them is older, Unix seconds.
        until: none of them is newer; None where that is not known.
        last: whether an entry is the last one that is looked for.

    Raises:
        IntegrityError, LedgerError: the log cannot be read.
    """
    marks = [canonical.encode(each) for each in subjects]
    found: list[Noted] = []
    at = await _first_since(read, size, since - _MARGIN_S)
    while at < size:
        batch = await read(at, size, _BATCH_BYTES)
        if not batch:
            break
        with refusals("the log cannot be read"):
            for seq, data in enumerate(batch, at):
                if any(mark in data for mark in marks) and (entry := Entry.parse(data, seq=seq)).subject in subjects:
                    found.append(Noted(entry, data))
                    if last(entry):
                        return found
            at += len(batch)
            if until is not None and _seconds(batch[-1], at - 1) > until + _MARGIN_S:
                break
    return found


async def proven(journal: Journal, subject: str, found: Sequence[Noted], *, within: float) -> Proven:
    """Prove entries of the own log under its newest witnessed checkpoint.

    Args:
        within: how long to wait in seconds until those who must cosign have done so.

    Raises:
        PeerUnavailableError: they have not.
        IntegrityError, LedgerError: the log cannot be read, or is not as it was signed.
    """
    writer, wanted, until = journal.writer, max(each.entry.seq for each in found) + 1, time.monotonic() + within
    while journal.witnessed_size < wanted and (left := until - time.monotonic()) > 0:
        await journal.stirred(min(left, 1.0))  # a witness that is no mirror stirs nobody
    witnessed = writer.witnessed
    if witnessed is None or witnessed.checkpoint.size < wanted:
        raise PeerUnavailableError(
            f"not everything about {subject} is cosigned yet by those who must", remedy="try again in a moment"
        )
    size = witnessed.checkpoint.size
    with refusals("the entries cannot be proven"):
        await writer.changed(size - 1)  # what was just cosigned is published in a moment
        proofs = []
        for each in found:
            hashes = await writer.inclusion_proof(each.entry.seq, size)
            proofs.append(InclusionProof(each.entry.seq, tuple(hashes), witnessed.note, each.data))
        trust = Trust(tuple(writer.keys.verifiers()))

        def work() -> bytes:
            for proof in proofs:
                verify_inclusion_proof(proof, trust)
            return ProofSet(subject, tuple(proofs)).encode()

        data = await asyncio.to_thread(work)
    return Proven(data, writer.origin, size, len(proofs))


async def _first_since(read: Read, size: int, since: int) -> int:
    """The first entry that is not older: times never go back, but where the clock was corrected."""
    low, high = 0, size
    while low < high:
        middle = (low + high) // 2
        data, *_ = await read(middle, middle + 1, 1)
        with refusals("the log cannot be read"):
            older = _seconds(data, middle) < since
        low, high = (middle + 1, high) if older else (low, middle)
    return low


def _seconds(data: bytes, seq: int) -> float:
    return parse_time(Entry.parse(data, seq=seq).time) / 1e6
