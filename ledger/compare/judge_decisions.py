"""The rules of a comparison for negotiations and decisions: refused here, and what does the other ledger say.

A zone records its decision before anybody hears of it. So a signed decision that the other ledger holds must stand
on its own zone's ledger, with the same effect; and what was agreed on one cannot have been refused on the other.
"""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Any, Final

from ledger.compare.item import Item, Standing
from ledger.compare.judge import Judge, differing, low_and_high

__all__ = ["decisions", "negotiations"]

_ASKED: Final = ("participant", "resource", "version", "purpose")
_NEGOTIATIONS: Final = """
    SELECT d.subject AS id, d.log AS log, min(d.seq) AS first, s.last AS last, min(d.time) AS first_time,
        max(d.time) AS last_time, max(d.heard) AS heard,
        max(CASE WHEN d.seq = s.last THEN coalesce(nullif(d.outcome, ''), d.effect) END) AS outcome,
        max(CASE WHEN d.seq = s.last THEN d.reason END) AS reason, {values}
    FROM decisions d JOIN (
        SELECT subject, log, max(seq) AS last FROM decisions WHERE subject LIKE 'negotiations/%' GROUP BY subject, log
    ) s ON s.subject = d.subject AND s.log = d.log
    GROUP BY d.subject, d.log ORDER BY d.subject, d.log
"""
_DECISIONS: Final = """
    SELECT zone || ' ' || decision_id AS id, zone, log, min(seq) AS first, max(seq) AS last,
        min(time) AS first_time, max(time) AS last_time, min(effect) AS effect, max(effect) AS effect_high
    FROM decisions
    WHERE decision_id <> '' AND (heard OR (log = zone AND decision_id IN (
        SELECT decision_id FROM decisions WHERE heard)))
    GROUP BY zone, decision_id, log ORDER BY zone, decision_id, log
"""


def negotiations(judge: Judge) -> Iterator[Item]:
    """Every negotiation of both ledgers: what was asked for, and what each ledger says came of it."""
    values = low_and_high(_ASKED)
    for identifier, found in judge.pairs(_NEGOTIATIONS.format(values=values)):
        yield _negotiation(judge, identifier, found)


def _negotiation(judge: Judge, identifier: str, found: dict[str, sqlite3.Row]) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("negotiation", identifier.partition("/")[2], found, standing, text, **by)

    if texts := differing(found, _ASKED):
        return said(Standing.DIFFERS, "; ".join(texts))
    outcomes = {zone: str(row["outcome"]) for zone, row in found.items()}
    denied = [zone for zone, outcome in outcomes.items() if outcome == "deny"]
    agreed = _in_force(judge, identifier)
    if denied and agreed:
        return said(Standing.DIFFERS, f"denied on {denied[0]}, and an agreement from it is in force on {agreed}")
    if len(found) == 1:
        return _alone(judge, found, said)
    if len(set(outcomes.values())) == 1:
        return said(Standing.OPEN if "review" in outcomes.values() else Standing.SAME)
    if denied:
        (zone,) = denied
        other = judge.other(zone)
        text = f"denied on {zone}; {other} says {outcomes[other]}"
        if found[zone]["heard"] and not found[other]["heard"]:
            # It answered the other zone, which records an answer as soon as it hears it.
            row = found[zone]
            return said(Standing.UNFINISHED, text, claim=zone, seq=row["last"], time=row["last_time"])
        return said(Standing.ENDED_ALONE, text)
    return said(Standing.OPEN)


def _alone(judge: Judge, found: dict[str, sqlite3.Row], said: Any) -> Item:
    """A negotiation on one ledger."""
    ((zone, row),) = found.items()
    other, outcome = judge.other(zone), str(row["outcome"])
    item: Item
    if row["heard"]:
        item = said(Standing.ONE_SIDE, f"{zone} holds a decision of {other} on it, and {other} none", claim=zone)
    elif outcome == "deny":
        why = f": {row['reason']}" if row["reason"] else ""
        item = said(Standing.ENDED_ALONE, f"denied on {zone} before {other} recorded anything{why}")
    elif outcome == "review":
        item = said(Standing.OPEN)
    else:
        item = said(Standing.UNFINISHED, f"{outcome} on {zone}, nothing on {other} yet", claim=zone)
    return item


def _in_force(judge: Judge, identifier: str) -> str:
    """The zone on whose ledger an agreement from a negotiation is in force; empty where on none."""
    query = "SELECT log FROM agreement_entries WHERE negotiation = ? AND outcome = 'in_force' ORDER BY log LIMIT 1"
    return next((str(row["log"]) for row in judge.store.rows(query, (identifier.partition("/")[2],))), "")


def decisions(judge: Judge) -> Iterator[Item]:
    """Every decision of one zone that the other ledger holds, signed."""
    for identifier, found in judge.pairs(_DECISIONS):
        yield _decision(judge, identifier, found)


def _decision(judge: Judge, identifier: str, found: dict[str, sqlite3.Row]) -> Item:
    def said(standing: Standing, text: str = "", **by: Any) -> Item:
        return judge.item("decision", identifier, found, standing, text, **by)

    zone = str(next(iter(found.values()))["zone"])
    if zone not in judge.sides:
        return said(Standing.DIFFERS, f"it is signed by {zone or 'nobody'}, which is neither zone")
    effects = {each: sorted({row["effect"], row["effect_high"]}) for each, row in found.items()}
    if len({effect for each in effects.values() for effect in each}) > 1:
        told = "; ".join(f"{each} says {' and '.join(found_there)}" for each, found_there in sorted(effects.items()))
        return said(Standing.DIFFERS, told)
    if zone not in found:
        (other,) = found
        return said(Standing.ONE_SIDE, f"it is on {other}, and {zone} never recorded that it decided so", claim=other)
    return said(Standing.SAME)
