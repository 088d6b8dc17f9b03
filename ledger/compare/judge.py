"""The rules of a comparison, on what the tables hold of both ledgers.

Entries wait for each other (the effect gate): the consumer completes a transfer before the provider does, the
provider starts it before the first byte, an agreement is in force only behind the consumer's signature. So what a
later step stands on must be on the other ledger, whatever was on its way when the copies were made.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.compare.item import Item, Standing
from ledger.compare.sides import Side
from ledger.facts.store import FactStore

__all__ = ["Judge", "agreements", "transfers"]

_NO_RECEIPT: Final = "no receipt"

_TRANSFERS: Final = """
    SELECT id, log, min(seq) AS first, max(seq) AS last, min(time) AS first_time, max(time) AS last_time,
        max(event IN ('started', 'resumed')) AS started, max(event = 'completed') AS completed,
        max(event IN ('aborted', 'refused')) AS ended,
        max(CASE WHEN event = 'completed' THEN seq END) AS completed_seq,
        max(CASE WHEN event = 'completed' THEN time END) AS completed_time,
        max(CASE WHEN event = 'aborted' THEN reason END) AS reason,
        {values}
    FROM transfer_entries GROUP BY id, log ORDER BY id, log
"""
_TRANSFER_VALUES: Final = ("agreement", "version", "view", "chunks", "rows", "bytes", "root")

_AGREEMENTS: Final = """
    SELECT id, log, min(seq) AS first, max(seq) AS last, min(time) AS first_time, max(time) AS last_time,
        max(outcome = 'in_force') AS in_force, max(outcome = 'countersigned') AS countersigned,
        max(outcome = 'not_confirmed') AS refused,
        max(nullif(payload_digest, '')) AS digest, min(nullif(payload_digest, '')) AS digest_low
    FROM agreement_entries GROUP BY id, log ORDER BY id, log
"""


@dataclass(frozen=True, slots=True)
class Judge:
    """Two ledgers and the tables of both."""

    store: FactStore
    one: Side
    two: Side

    @property
    def sides(self) -> dict[str, Side]:
        """By zone."""
        return {self.one.zone: self.one, self.two.zone: self.two}

    def other(self, zone: str) -> str:
        """The other zone."""
        return self.two.zone if zone == self.one.zone else self.one.zone

    def pairs(self, query: str, key: str = "id") -> Iterator[tuple[str, dict[str, sqlite3.Row]]]:
        """Rows of a query that is ordered by its key, those of one key together, by zone."""
        current, found = "", dict[str, sqlite3.Row]()
        for row in self.store.rows(query):
            if row[key] != current and found:
                yield current, found
                found = {}
            current = row[key]
            found[row["log"]] = row
        if found:
            yield current, found

    def item(
        self, kind: str, identifier: str, found: dict[str, sqlite3.Row], standing: Standing, text: str = "", **by: Any
    ) -> Item:
        """An item; a divergence that rests on an entry which the other copy need not know is pending.

        Args:
            kind: as in the item.
            identifier: as in the item.
            found: the rows by zone; their ``last`` and ``last_time`` are the entry that says it.
            standing: what the rules say.
            text: what differs or lacks.
            by: ``claim``: the zone whose entry claims what the other lacks, ``seq`` and ``time`` of that entry.
        """
        seqs = {zone: int(row["last"]) for zone, row in found.items()}
        entry = None
        claim: str = by.get("claim", "")
        if claim:
            row = found[claim]
            seq, time = by.get("seq", row["first"]), by.get("time", row["first_time"])
            entry = (claim, int(seq))
            if not self.sides[claim].judged(int(seq), time, self.sides[self.other(claim)]):
                standing = Standing.PENDING
        elif standing.bad:
            zone = min(seqs)
            entry = (zone, int(found[zone]["first"]))
        return Item(kind, identifier, standing, text, seqs, entry)


def differing(found: dict[str, sqlite3.Row], names: tuple[str, ...]) -> list[str]:
    """The values that both ledgers state and that are not one."""
    texts = []
    for name in names:
        said = {zone: {row[name], row[f"{name}_low"]} - {None, ""} for zone, row in found.items()}
        if len(set().union(*said.values())) > 1:
            told = "; ".join(f"{zone} {', '.join(sorted(map(str, values)))}" for zone, values in said.items())
            texts.append(f"{name}: {told}")
    return texts


def low_and_high(names: tuple[str, ...]) -> str:
    """Columns for `differing`: the smallest and the largest value that a ledger states."""
    return ", ".join(f'max("{name}") AS "{name}", min(nullif("{name}", \'\')) AS "{name}_low"' for name in names)


def transfers(judge: Judge) -> Iterator[Item]:
    """Every transfer of both ledgers."""
    for identifier, found in judge.pairs(_TRANSFERS.format(values=low_and_high(_TRANSFER_VALUES))):
        yield _transfer(judge, identifier, found)


def _transfer(judge: Judge, identifier: str, found: dict[str, sqlite3.Row]) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("transfer", identifier, found, standing, text, **by)

    texts = differing(found, _TRANSFER_VALUES)
    if texts:
        return said(Standing.DIFFERS, "; ".join(texts))
    completed = [zone for zone, row in found.items() if row["completed"]]
    if len(completed) == 2:
        return said(Standing.SAME)
    consumer = _consumer(judge, found)
    if completed:
        (zone,) = completed
        other = judge.other(zone)
        claim = {"claim": zone, "seq": found[zone]["completed_seq"], "time": found[zone]["completed_time"]}
        if other not in found or not found[other]["started"]:
            return said(Standing.ONE_SIDE, f"completed on {zone}, never begun on {other}", **claim)
        reason = found[other]["reason"] or ""
        if consumer and zone != consumer:
            return said(Standing.ONE_SIDE, f"completed on {zone}, which needs the receipt of {other}", **claim)
        if found[other]["ended"] and _NO_RECEIPT not in reason:
            return said(Standing.DIFFERS, f"completed on {zone}, aborted on {other}: {reason}")
        return said(Standing.UNFINISHED, f"completed on {zone}, no receipt on {other} yet", **claim)
    ended = [zone for zone, row in found.items() if row["ended"]]
    if len(ended) == 2:
        return said(Standing.SAME)
    if len(found) == 2:
        if ended:
            text = f"ended on {ended[0]}, open on {judge.other(ended[0])}"
            return said(Standing.UNFINISHED, text, claim=ended[0], seq=found[ended[0]]["last"])
        return said(Standing.OPEN)
    (zone,) = found
    other = judge.other(zone)
    if ended:
        return said(Standing.ENDED_ALONE, f"ended on {zone} before {other} recorded anything")
    if consumer == other:
        return said(Standing.ONE_SIDE, f"begun on {zone}, which waits for the entry of {other}", claim=zone)
    return said(Standing.UNFINISHED, f"begun on {zone}, not on {other} yet", claim=zone)


def _consumer(judge: Judge, found: dict[str, sqlite3.Row]) -> str:
    """The consumer's zone, from the agreement on either ledger; empty where none names it."""
    for row in found.values():
        named = judge.store.rows(
            "SELECT consumer_zone FROM agreement_entries WHERE id = ? AND consumer_zone <> ''", (row["agreement"],)
        )
        for each in named:
            if each["consumer_zone"] in judge.sides:
                return str(each["consumer_zone"])
    return ""


def agreements(judge: Judge) -> Iterator[Item]:
    """Every agreement of both ledgers."""
    for identifier, found in judge.pairs(_AGREEMENTS):
        yield _agreement(judge, identifier, found)


def _agreement(judge: Judge, identifier: str, found: dict[str, sqlite3.Row]) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("agreement", identifier, found, standing, text, **by)

    texts = differing(found, ("digest",))
    if texts:
        return said(Standing.DIFFERS, f"the zones signed different texts: {texts[0]}")
    in_force = next((zone for zone, row in found.items() if row["in_force"]), "")
    if in_force:
        consumer = judge.other(in_force)
        if consumer not in found or not found[consumer]["countersigned"]:
            return said(Standing.ONE_SIDE, f"in force on {in_force}, never signed on {consumer}", claim=in_force)
        if found[consumer]["refused"]:
            return said(Standing.DIFFERS, f"in force on {in_force}, not confirmed on {consumer}")
        return said(Standing.SAME)
    zone = next(iter(found))
    if any(row["refused"] for row in found.values()):
        return said(Standing.ENDED_ALONE, f"signed on {zone}, never confirmed: an offer, not an agreement")
    return said(Standing.UNFINISHED, f"signed on {zone}, not in force on {judge.other(zone)} yet", claim=zone)
