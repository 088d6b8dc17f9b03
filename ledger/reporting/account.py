"""What a report tells, read from the tables: totals of everything, and the newest of each list."""

from __future__ import annotations

import json
import sqlite3
from dataclasses import dataclass, field
from typing import Any, Final

from ledger.canonical import JsonValue
from ledger.facts.store import FactStore
from ledger.lineage.graph import Graph
from ledger.lineage.trace import known, resources
from ledger.reporting.scope import Scope

__all__ = ["Account", "Listed", "give_account"]

MAX_LINEAGES: Final = 25
_MAX_NAMES: Final = 500
_MAX_FINDINGS: Final = 20

Record = dict[str, Any]


@dataclass(slots=True)
class Listed:
    """The newest of a list, and how many there are in all."""

    rows: list[Record] = field(default_factory=list)
    total: int = 0


@dataclass(slots=True)
class Account:
    """Everything that a report says; its texts are the ledgers' and are to be escaped."""

    scope: Scope
    zones: list[str]
    jurisdictions: dict[str, str]
    first: str
    last: str
    totals: dict[str, int]
    transfers: Listed
    refusals: Listed
    agreements: Listed
    runs: Listed
    models: list[Graph]
    models_left_out: int
    datasets: list[Graph]
    parties: list[Record]
    packs: list[Record]
    register: Listed

    def as_json(self) -> JsonValue:
        """As one document."""
        listed = {"agreements": self.agreements, "refusals": self.refusals, "runs": self.runs}
        return {
            "datasets": [each.as_json() for each in self.datasets],
            "from": self.first,
            "institutions": [dict(each) for each in self.parties],
            "models": [each.as_json() for each in self.models],
            "models_left_out": self.models_left_out,
            "policies": [dict(each) for each in self.packs],
            "scope": self.scope.words(),
            "to": self.last,
            "totals": {**self.totals},
            "transfers": {"rows": list(self.transfers.rows), "total": self.transfers.total},
            "zones": [*self.zones],
            **{name: {"rows": list(each.rows), "total": each.total} for name, each in listed.items()},
        }


def give_account(store: FactStore, scope: Scope, *, limit: int) -> Account:
    """Read an account.

    Args:
        store: loaded and merged.
        scope: what it is about.
        limit: how many rows each list has at most; totals and charts know all.
    """
    transfers = _transfers(store, scope, limit)
    names = [scope.resource] if scope.resource else []
    models = [each for each in names if each.startswith("models/")] or (
        [] if names else resources(store, "models", _MAX_NAMES)
    )
    if scope.participant or scope.since or scope.until:
        models = [each for each in models if _touched(store, scope, each)]
    drawn = [graph for each in models[:MAX_LINEAGES] if (graph := known(store, each))]
    datasets = [graph for each in names if each.startswith("datasets/") and (graph := known(store, each))]
    period = store.one("SELECT min(time) AS first, max(time) AS last FROM decisions")
    return Account(
        scope=scope,
        zones=[*store.zones],
        jurisdictions=_jurisdictions(store),
        first=period["first"] or "",
        last=period["last"] or "",
        totals=_totals(store, scope),
        transfers=transfers,
        refusals=_refusals(store, scope, limit),
        agreements=_agreements(store, scope, limit),
        runs=_runs(store, scope, limit),
        models=drawn,
        models_left_out=max(0, len(models) - MAX_LINEAGES),
        datasets=datasets,
        parties=_parties(store, limit),
        packs=_records(store, _PACKS, ()),
        register=_listed(store, "register_entries", "1", [], "time", limit),
    )


def _records(store: FactStore, query: str, parameters: tuple[Any, ...] | list[Any]) -> list[Record]:
    return [dict(row) for row in store.rows(query, parameters)]


def _listed(store: FactStore, table: str, where: str, values: list[Any], order: str, limit: int) -> Listed:
    # Tables, columns and conditions are our own words; values are bound.
    total = store.one(f"SELECT count(*) FROM {table} WHERE {where}", values)[0]  # noqa: S608
    query = f"SELECT * FROM {table} WHERE {where} ORDER BY {order} DESC LIMIT ?"  # noqa: S608
    return Listed(_records(store, query, [*values, limit]), total)


_PACKS: Final = """
    SELECT zone, pack, revision, max(valid_until) AS valid_until, min(time) AS first_used, max(time) AS last_used,
        count(DISTINCT decision_id) AS decisions
    FROM packs GROUP BY zone, pack, revision ORDER BY zone, pack, revision LIMIT 200
"""


def _jurisdictions(store: FactStore) -> dict[str, str]:
    query = """
        SELECT substr(subject, 7) AS zone, max(jurisdiction) AS law FROM register_entries
        WHERE event = 'zone.paired' GROUP BY subject LIMIT 20
    """
    return {row["zone"]: row["law"] for row in store.rows(query)}


def _crossing(scope: Scope) -> tuple[str, list[str]]:
    return scope.where(who=("provider", "consumer"), what="resource", when="begun_at")


def _totals(store: FactStore, scope: Scope) -> dict[str, int]:
    where, values = _crossing(scope)
    row = store.one(
        f"""SELECT coalesce(sum(state = 'completed'), 0) AS transfers,
            coalesce(sum(CASE WHEN state = 'completed' THEN bytes END), 0) AS bytes,
            coalesce(sum(CASE WHEN state = 'completed' THEN rows END), 0) AS rows,
            coalesce(sum(state = 'aborted'), 0) AS aborted, coalesce(sum(state = 'open'), 0) AS open,
            count(DISTINCT CASE WHEN state = 'completed' AND resource LIKE 'models/%'
                THEN provider_zone || resource END) AS models
        FROM crossings WHERE {where}""",  # noqa: S608 (our own words; values are bound)
        values,
    )
    asked, asked_values = scope.where(who=("participant",), what="resource", when="time")
    requests = store.one(
        f"""SELECT coalesce(sum(effect = 'deny'), 0) AS refused, coalesce(sum(effect = 'review'), 0) AS held
        FROM requests WHERE {asked}""",  # noqa: S608
        asked_values,
    )
    return {**dict(row), **dict(requests)}


def _transfers(store: FactStore, scope: Scope, limit: int) -> Listed:
    where, values = _crossing(scope)
    found = _listed(store, "crossings", where, values, "begun_at", limit)
    for each in found.rows:
        each["rules"] = _rules(store, f"transfers/{each['id']}")
        agreed = store.one(
            """SELECT max(mechanisms) AS mechanisms, max(obligations) AS obligations FROM agreed WHERE id = ?""",
            (each["agreement"],),
        )
        each["mechanisms"] = [text for text in _parsed(agreed["mechanisms"]) if isinstance(text, str)]
        each["obligations"] = [
            str(one.get("kind", "")) for one in _parsed(agreed["obligations"]) if isinstance(one, dict)
        ]
    return found


def _parsed(text: str | None) -> list[Any]:
    found = json.loads(text) if text else []
    return found if isinstance(found, list) else []


def _rules(store: FactStore, subject: str) -> list[str]:
    """The policy packs that decided on something, with their revisions."""
    query = """
        SELECT DISTINCT p.zone, p.pack, p.revision FROM decisions d
        JOIN packs p ON p.decision_id = d.decision_id AND p.zone = d.zone WHERE d.subject = ? ORDER BY 1, 2, 3 LIMIT 20
    """
    return [f"{row['pack']} {row['revision']} ({row['zone']})" for row in store.rows(query, (subject,))]


def _refusals(store: FactStore, scope: Scope, limit: int) -> Listed:
    where, values = scope.where(who=("participant",), what="resource", when="time")
    found = _listed(store, "requests", f"effect <> 'allow' AND {where}", values, "time", limit)
    query = """
        SELECT DISTINCT zone, code, effect, authority, cite, remedy FROM findings
        WHERE subject = ? AND effect <> 'allow' ORDER BY zone, code LIMIT ?
    """
    for each in found.rows:
        each["findings"] = _records(store, query, (each["subject"], _MAX_FINDINGS))
    return found


def _agreements(store: FactStore, scope: Scope, limit: int) -> Listed:
    where, values = scope.where(who=("provider", "consumer"), what="resource", when="time")
    return _listed(store, "agreed", where, values, "time", limit)


_RUNS: Final = """
    SELECT run, max(participant) AS participant, max(purpose) AS purpose, max(app) AS app, max(strategy) AS strategy,
        max(rounds) AS rounds, min(time) AS time, max(time) AS ended_at, max(event = 'completed') AS completed,
        max(event IN ('failed', 'cancelled', 'refused')) AS failed, max(model) AS model, max(reason) AS reason,
        group_concat(DISTINCT log) AS logs
    FROM run_entries GROUP BY run
"""


def _runs(store: FactStore, scope: Scope, limit: int) -> Listed:
    names = """run IN (SELECT run FROM run_datasets WHERE resource = ? OR substr(owner, -length(?)) = ?)
        OR model = ? OR substr(participant, -length(?)) = ?"""
    narrowed = Scope(since=scope.since, until=scope.until)
    where, values = narrowed.where(who=(), what="", when="time")
    if scope.resource or scope.participant:
        who = scope.participant if "/" in scope.participant or not scope.participant else f"/{scope.participant}"
        where, values = (
            f"({names}) AND {where}",
            [
                *(scope.resource or "-", who or "-", who or "-"),
                *(scope.resource or "-", who or "-", who or "-"),
                *values,
            ],
        )
    found = _listed(store, f"({_RUNS})", where, values, "time", limit)
    for each in found.rows:
        run = each["run"]
        data = """
            SELECT resource, zone, max(owner) AS owner, max(rows) AS rows FROM run_datasets WHERE run = ?
            GROUP BY resource, zone ORDER BY zone, resource LIMIT 50
        """
        out = """
            SELECT log AS zone, recipient, count(*) AS releases, sum(bytes) AS bytes FROM (
                SELECT DISTINCT log, recipient, what, round, digest, bytes FROM releases
                WHERE run = ? AND direction = 'out' AND effect = 'allow')
            GROUP BY log, recipient ORDER BY log, recipient LIMIT 50
        """
        devices = 'SELECT DISTINCT zone, sku, vendor_country, "count" FROM devices WHERE run = ? LIMIT 50'
        each["datasets"] = _records(store, data, (run,))
        each["releases"] = _records(store, out, (run,))
        each["devices"] = _records(store, devices, (run,))
    return found


def _parties(store: FactStore, limit: int) -> list[Record]:
    query = """
        SELECT identity, zone, min(CASE WHEN event = 'issued' THEN time END) AS since,
            count(DISTINCT CASE WHEN event = 'issued' THEN certificate END) AS certificates,
            max(CASE WHEN event = 'issued' THEN not_after END) AS until
        FROM identity_entries WHERE identity <> '' AND role = 'partner'
        GROUP BY identity, zone ORDER BY identity LIMIT ?
    """
    revoked = """
        SELECT count(DISTINCT r.certificate) FROM identity_entries r
        JOIN identity_entries i ON i.certificate = r.certificate AND i.identity = ? WHERE r.event = 'revoked'
    """
    found = _records(store, query, (limit,))
    for each in found:
        each["revoked"] = store.one(revoked, (each["identity"],))[0]
    return found


def _touched(store: FactStore, scope: Scope, model: str) -> bool:
    """Whether a model was asked for or crossed within a scope."""
    narrowed = Scope(scope.participant, model, scope.since, scope.until)
    where, values = _crossing(narrowed)
    asked, asked_values = narrowed.where(who=("participant",), what="resource", when="time")
    row: sqlite3.Row = store.one(
        f"""SELECT EXISTS (SELECT 1 FROM crossings WHERE {where})
        OR EXISTS (SELECT 1 FROM requests WHERE {asked})""",  # noqa: S608
        [*values, *asked_values],
    )
    return bool(row[0])
