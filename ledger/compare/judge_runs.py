"""The rules of a comparison for receipts, runs and their rounds."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from ledger.checkpoint import Checkpoint
from ledger.compare.item import Item, Standing
from ledger.compare.judge import Judge, differing, low_and_high
from ledger.errors import LedgerError
from ledger.merkle import HASH_SIZE, CompactRange
from ledger.note import Note
from ledger.tiles import TILE_WIDTH

__all__ = ["receipts", "rounds", "runs"]

_MOST_WRONG: Final = 10_000
_RECEIPTS: Final = """
    SELECT transfer || ' of ' || issuer AS id, issuer, log, min(seq) AS first, max(seq) AS last,
        min(time) AS first_time, max(time) AS last_time, max(payload_digest) AS digest,
        min(payload_digest) AS digest_low, max(checkpoint) AS checkpoint
    FROM receipts GROUP BY transfer, issuer, log ORDER BY transfer, issuer, log
"""
_RUN_VALUES: Final = ("payload_digest", "digest", "artifact")
_RUNS: Final = """
    SELECT run AS id, log, min(seq) AS first, max(seq) AS last, min(time) AS first_time, max(time) AS last_time,
        max(event = 'agreed' AND outcome = 'in_force') AS in_force, max(event = 'agreed') AS agreed,
        max(event = 'started') AS started, max(event = 'completed') AS completed,
        max(event IN ('failed', 'cancelled', 'refused')) AS ended, {values}
    FROM run_entries GROUP BY run, log ORDER BY run, log
"""
_ROUNDS: Final = """
    SELECT run || ' round ' || round || ' ' || what || ' of ' || zone AS id, run, zone, log, min(seq) AS first,
        max(seq) AS last, min(time) AS first_time, max(time) AS last_time,
        max(digest) AS digest, min(digest) AS digest_low
    FROM (
        SELECT run, round, what, log AS zone, log, seq, time, digest FROM releases
            WHERE direction = 'out' AND effect = 'allow'
        UNION ALL
        SELECT run, round, what, zone, log, seq, time, digest FROM round_entries
            WHERE event = 'accepted' AND examples > 0
    ) GROUP BY run, round, what, zone, log ORDER BY run, round, what, zone, log
"""


def receipts(judge: Judge) -> Iterator[Item]:
    """Every receipt of both ledgers, and whether the checkpoint that it names is the signer's."""
    other_histories = _other_histories(judge)
    for identifier, found in judge.pairs(_RECEIPTS):
        yield _receipt(judge, identifier, found, other_histories)


def _other_histories(judge: Judge) -> set[tuple[str, int, str]]:
    """Checkpoints in receipts, by signer, size and root, that are not the signer's log as it is here.

    One pass over the leaves gives the root at every size that is named.
    """
    wrong: set[tuple[str, int, str]] = set()
    for zone, side in judge.sides.items():
        tree, size = CompactRange(), side.size
        query = "SELECT DISTINCT log_size, log_root FROM receipts WHERE issuer = ? AND log_size <= ? ORDER BY log_size"
        for row in judge.store.rows(query, (zone, size)):
            while tree.size < row["log_size"]:
                index, first = divmod(tree.size, TILE_WIDTH)
                leaves = side.log.reader.tile(0, index, min(TILE_WIDTH, size - index * TILE_WIDTH))
                for place in range(first, min(len(leaves) // HASH_SIZE, row["log_size"] - index * TILE_WIDTH)):
                    tree.append(leaves[place * HASH_SIZE : (place + 1) * HASH_SIZE])
            if tree.root().hex() != row["log_root"] and len(wrong) < _MOST_WRONG:
                wrong.add((zone, row["log_size"], row["log_root"]))
    return wrong


def _receipt(
    judge: Judge, identifier: str, found: dict[str, sqlite3.Row], other_histories: set[tuple[str, int, str]]
) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("receipt", identifier, found, standing, text, **by)

    if differing(found, ("digest",)):
        return said(Standing.DIFFERS, "the ledgers hold different receipts")
    issuer: str = next(iter(found.values()))["issuer"]
    if issuer not in judge.sides:
        return said(Standing.DIFFERS, f"it is signed by {issuer}, which is neither zone")
    for row in found.values():
        if text := _checkpoint_fault(judge, issuer, row["checkpoint"], other_histories):
            return said(Standing.DIFFERS, text)
    if len(found) == 2:
        return said(Standing.SAME)
    (zone,) = found
    if zone != issuer:
        return said(Standing.ONE_SIDE, f"it is on {zone}, and {issuer} never recorded that it gave it", claim=zone)
    return said(Standing.UNFINISHED, f"{judge.other(zone)} has not recorded it yet", claim=zone)


def _checkpoint_fault(judge: Judge, issuer: str, note: str, other_histories: set[tuple[str, int, str]]) -> str:
    """What is wrong with the checkpoint in a receipt; a receipt holds its signer to its own log."""
    side = judge.sides[issuer]
    try:
        checkpoint = Checkpoint.parse(Note.parse(note.encode()).text)
    except LedgerError as error:
        return f"it names no checkpoint: {error.message}"
    if checkpoint.origin != side.log.checkpoint.origin:
        return f"it names a checkpoint of {checkpoint.origin}, not of {side.log.checkpoint.origin}"
    side.seen = max(side.seen, checkpoint.size)
    if (issuer, checkpoint.size, checkpoint.root.hex()) in other_histories:
        return f"it names another history of {issuer} up to size {checkpoint.size} than this ledger has"
    return ""


def runs(judge: Judge) -> Iterator[Item]:
    """Every run of both ledgers: its agreement and what it came to."""
    for identifier, found in judge.pairs(_RUNS.format(values=low_and_high(_RUN_VALUES))):
        yield _run(judge, identifier, found)


def _run(judge: Judge, identifier: str, found: dict[str, sqlite3.Row]) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("run", identifier, found, standing, text, **by)

    texts = differing(found, _RUN_VALUES)
    if texts:
        return said(Standing.DIFFERS, "; ".join(texts))
    for zone, row in found.items():
        other = judge.other(zone)
        theirs = found.get(other)
        if row["in_force"] and (theirs is None or not theirs["agreed"]):
            return said(Standing.ONE_SIDE, f"in force on {zone}, never signed on {other}", claim=zone)
        if (row["started"] or row["completed"]) and (theirs is None or not theirs["agreed"]):
            return said(Standing.ONE_SIDE, f"begun on {zone}, never agreed on {other}", claim=zone)
    completed = [zone for zone, row in found.items() if row["completed"]]
    ended = [zone for zone, row in found.items() if row["ended"]]
    if len(completed) == 2 or len(ended) == 2:
        return said(Standing.SAME)
    if completed and ended:
        return said(Standing.DIFFERS, f"completed on {completed[0]}, ended without an outcome on {ended[0]}")
    if len(found) == 1:
        (zone,) = found
        if ended:
            return said(Standing.ENDED_ALONE, f"ended on {zone} before {judge.other(zone)} recorded anything")
        return said(Standing.UNFINISHED, f"on {zone}, not on {judge.other(zone)} yet", claim=zone)
    if completed or ended:
        (zone,) = completed or ended
        row = found[zone]
        text = f"ended on {zone}, open on {judge.other(zone)}"
        return said(Standing.UNFINISHED, text, claim=zone, seq=row["last"], time=row["last_time"])
    return said(Standing.OPEN)


def rounds(judge: Judge) -> Iterator[Item]:
    """Everything with somebody's data behind it that one zone released in a run and the other took in."""
    for identifier, found in judge.pairs(_ROUNDS):
        yield _round(judge, identifier, found)


def _round(judge: Judge, identifier: str, found: dict[str, sqlite3.Row]) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("round", identifier, found, standing, text, **by)

    if texts := differing(found, ("digest",)):
        return said(Standing.DIFFERS, f"what was sent is not what was taken in: {texts[0]}")
    if len(found) == 2:
        return said(Standing.SAME)
    (zone,) = found
    row = found[zone]
    if zone != row["zone"]:
        return said(Standing.ONE_SIDE, f"taken in on {zone}, never released on {row['zone']}", claim=zone)
    over = judge.store.one(
        "SELECT count(*) FROM run_entries WHERE run = ? AND event IN ('failed', 'cancelled')", (row["run"],)
    )[0]
    if over:
        return said(Standing.ENDED_ALONE, f"released on {zone} in a run that was given up")
    return said(Standing.UNFINISHED, f"released on {zone}, not taken in on {judge.other(zone)} yet", claim=zone)
