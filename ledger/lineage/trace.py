"""Follow a dataset or model through the tables, backwards to what it was made of and forwards to who has it."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from typing import Final

from ledger.errors import OperationalError
from ledger.facts.store import FactStore
from ledger.lineage.graph import Edge, Graph, Node, counted, party_name

__all__ = ["known", "resources", "trace"]

_MAX_DEPTH: Final = 12
_STATED: Final = "trained on, says its provenance"

_ORIGINS: Final = """
    SELECT zone, max(owner) AS owner, max(version) AS version, max(rows) AS rows FROM (
        SELECT zone, owner, version, rows FROM run_datasets WHERE resource = ?
        UNION ALL SELECT provider_zone, provider, version, NULL FROM agreed WHERE resource = ?
        UNION ALL SELECT log, '', version, NULL FROM run_entries WHERE model = ? AND event = 'completed'
    ) GROUP BY zone ORDER BY zone
"""
_SPOKEN_OF: Final = """
    SELECT EXISTS (SELECT 1 FROM requests WHERE resource = ?) OR EXISTS (SELECT 1 FROM model_inputs WHERE resource = ?)
        OR EXISTS (SELECT 1 FROM run_entries WHERE model = ?)
"""
_OF_RUN: Final = """
    SELECT max(participant) AS participant, max(purpose) AS purpose, max(app) AS app, max(strategy) AS strategy,
        max(rounds) AS rounds, max(licence) AS licence, min(time) AS begun, max(time) AS ended,
        max(event = 'completed') AS completed, max(event IN ('failed', 'cancelled', 'refused')) AS failed
    FROM run_entries WHERE run = ?
"""


def resources(store: FactStore, kind: str, limit: int) -> list[str]:
    """The datasets or models that the ledgers speak of, by name.

    Args:
        store: loaded and merged.
        kind: ``datasets`` or ``models``.
        limit: how many at most.
    """
    query = """
        SELECT DISTINCT resource FROM (
            SELECT resource FROM agreed UNION SELECT resource FROM requests UNION SELECT resource FROM run_datasets
            UNION SELECT model FROM run_entries UNION SELECT resource FROM model_inputs
        ) WHERE resource LIKE ? ORDER BY resource LIMIT ?
    """
    return [row["resource"] for row in store.rows(query, (f"{kind}/_%", limit))]


def known(store: FactStore, resource: str) -> Graph | None:
    """The lineage of one dataset or model; None where no entry speaks of it."""
    tracer = _Tracer(store, Graph(resource))
    return tracer.graph if tracer.begin(resource) else None


def trace(store: FactStore, resource: str) -> Graph:
    """The lineage of one dataset or model.

    Args:
        store: both ledgers, loaded and merged.
        resource: ``datasets/ID`` or ``models/ID``.

    Raises:
        OperationalError: no entry speaks of it.
    """
    graph = known(store, resource)
    if graph is None:
        raise OperationalError(
            f"no entry speaks of {resource}", remedy="name it as datasets/ID or models/ID, as report lists them"
        )
    return graph


class _Tracer:
    def __init__(self, store: FactStore, graph: Graph) -> None:
        self._store = store
        self.graph = graph

    def begin(self, resource: str) -> bool:
        for key in self._things(resource):
            self._backwards(key, resource, 0)
            self._forwards(key, resource, 0)
        return bool(self.graph.nodes)

    def _things(self, resource: str) -> list[str]:
        """A name may stand for one thing in each zone; the nodes for them, with their owners."""
        kind = resource.partition("/")[0].removesuffix("s")
        keys = []
        rows = list(self._store.rows(_ORIGINS, (resource,) * 3))
        for row in rows:
            key = f"{resource}@{row['zone']}"
            facts = [f"version {row['version'][:12]}…"] if row["version"] else []
            facts += [counted(row["rows"], "row")] if row["rows"] is not None else []
            facts += self._making(resource) if kind == "model" else []
            fresh = self.graph.add(Node(key, kind, resource, row["zone"], tuple(facts)))
            if fresh and row["owner"]:
                self._party(row["owner"])
                self.graph.join(Edge(row["owner"], key, "owns" if kind == "dataset" else "publishes"))
            keys.append(key)
        if not rows and self._store.one(_SPOKEN_OF, (resource,) * 3)[0]:
            key = f"{resource}@"
            self.graph.add(Node(key, kind, resource, "", tuple(self._making(resource))))
            keys.append(key)
        return keys

    def _making(self, resource: str) -> Iterator[str]:
        """What a model's provenance says, as the decision on it recorded."""
        row = self._store.one(
            "SELECT max(provenance) AS p, max(artifact) AS a FROM model_inputs WHERE resource = ?", (resource,)
        )
        if row["p"]:
            yield f"provenance {row['p']}"
        yield from self._devices(resource)

    def _devices(self, run: str) -> Iterator[str]:
        query = """
            SELECT zone, sku, max(vendor_country) AS country, max("count") AS n FROM devices WHERE run = ?
            GROUP BY zone, sku ORDER BY zone, sku LIMIT 12
        """
        for row in self._store.rows(query, (run,)):
            times = f"{row['n']} × " if row["n"] and row["n"] > 1 else ""
            yield f"on {times}{row['sku']} in {row['zone']}"

    def _party(self, uri: str) -> None:
        zone = uri.removeprefix("tdz://").split("/")[0] if uri.startswith("tdz://") else ""
        self.graph.add(Node(uri, "party", party_name(uri), zone))

    # --- where it came from ---------------------------------------------------------------------------------

    def _backwards(self, key: str, resource: str, depth: int) -> None:
        if depth >= _MAX_DEPTH or not resource.startswith("models/"):
            return
        for row in list(self._store.rows("SELECT DISTINCT run, log FROM run_entries WHERE model = ?", (resource,))):
            run = self._run(row["run"])
            self._data_of(row["run"], run)
            self.graph.join(Edge(run, f"{resource}@{row['log']}", "became"))
        query = """
            SELECT DISTINCT input, name, input_digest, licence FROM model_inputs
            WHERE resource = ? AND input IN ('dataset', 'base_model') LIMIT 100
        """
        for row in list(self._store.rows(query, (resource,))):
            if row["input"] == "base_model":
                self._base(key, row, depth)
            else:
                self._stated_data(key, row)

    def _base(self, key: str, row: sqlite3.Row, depth: int) -> None:
        name = row["name"] if row["name"].startswith("models/") else f"models/{row['name']}"
        known = self._things(name)
        if not known:
            facts = (f"licence {row['licence']}",) if row["licence"] else ()
            self.graph.add(Node(name, "base", row["name"] or "unnamed base model", "", facts))
            known = [name]
        for each in known:
            self.graph.join(Edge(each, key, "base of"))
            self._backwards(each, name, depth + 1)

    def _stated_data(self, key: str, row: sqlite3.Row) -> None:
        """A dataset that provenance names by digest: known where any entry names that version."""
        query = """
            SELECT resource, zone FROM run_datasets WHERE version = ?
            UNION SELECT resource, provider_zone FROM agreed WHERE version = ? LIMIT 1
        """
        digest = row["input_digest"]
        for known in list(self._store.rows(query, (digest, digest))):
            self._things(known["resource"])
            source = f"{known['resource']}@{known['zone']}"
            if not self.graph.leads(source, key):
                self.graph.join(Edge(source, key, _STATED))
            return
        node = Node(f"data {digest}", "dataset", row["name"] or "a dataset", "", (f"version {digest[:12]}…",))
        self.graph.add(node)
        self.graph.join(Edge(node.key, key, _STATED))

    def _run(self, run: str) -> str:
        row = self._store.one(_OF_RUN, (run,))
        facts = [f"{row['app']}, {row['strategy']}, {row['rounds'] or 0} rounds", f"purpose {row['purpose']}"]
        facts += [f"started by {party_name(row['participant'])}"] if row["participant"] else []
        facts += self._devices(run)
        facts.append("given up" if row["failed"] else f"completed {row['ended'][:10]}" if row["completed"] else "open")
        key = f"runs/{run}"
        self.graph.add(Node(key, "run", f"run {run[-6:]}", "", tuple(facts)))
        return key

    def _data_of(self, run: str, key: str, only: str = "") -> None:
        query = """
            SELECT resource, zone, max(version) AS version, max(rows) AS rows FROM run_datasets
            WHERE run = ? AND (resource = ? OR ? = '') GROUP BY resource, zone
        """
        for row in list(self._store.rows(query, (run, only, only))):
            self._things(row["resource"])
            facts = (counted(row["rows"], "row"),) if row["rows"] is not None else ()
            self.graph.join(Edge(f"{row['resource']}@{row['zone']}", key, "trained on", facts))

    # --- where it went --------------------------------------------------------------------------------------

    def _forwards(self, key: str, resource: str, depth: int) -> None:
        if depth >= _MAX_DEPTH:
            return
        self._recipients(key, resource)
        if resource.startswith("datasets/"):
            for row in list(self._store.rows("SELECT DISTINCT run FROM run_datasets WHERE resource = ?", (resource,))):
                run = self._run(row["run"])
                self._data_of(row["run"], run, only=resource)
                self._released(row["run"], run, resource)
                self._models_of(row["run"], run, depth)
        query = """
            SELECT DISTINCT m.resource AS resource FROM model_inputs m
            WHERE (m.input = 'base_model' AND m.name IN (?, ?)) OR (m.input = 'dataset' AND m.input_digest IN (
                SELECT version FROM run_datasets WHERE resource = ? UNION SELECT version FROM agreed WHERE resource = ?
            )) LIMIT 100
        """
        names = (resource, resource.partition("/")[2], resource, resource)
        for row in list(self._store.rows(query, names)):
            known = set(self.graph.nodes)
            for each in self._things(row["resource"]):
                what = "base of" if resource.startswith("models/") else _STATED
                if not self.graph.leads(key, each):
                    self.graph.join(Edge(key, each, what))
                if each not in known:
                    self._forwards(each, row["resource"], depth + 1)

    def _models_of(self, run: str, key: str, depth: int) -> None:
        query = "SELECT DISTINCT model, log FROM run_entries WHERE run = ? AND model <> ''"
        for row in list(self._store.rows(query, (run,))):
            known = set(self.graph.nodes)
            for each in self._things(row["model"]):
                if each not in known:
                    self._forwards(each, row["model"], depth + 1)
            self.graph.join(Edge(key, f"{row['model']}@{row['log']}", "became"))

    def _released(self, run: str, key: str, resource: str) -> None:
        """What of a run left its zone with this dataset behind it, and who received it."""
        query = """
            SELECT recipient, group_concat(DISTINCT what) AS what, count(*) AS n, sum(bytes) AS bytes
            FROM (SELECT DISTINCT recipient, what, round, digest, bytes FROM releases
                WHERE run = ? AND resource = ? AND direction = 'out' AND effect = 'allow' AND recipient <> '')
            GROUP BY recipient
        """
        for row in list(self._store.rows(query, (run, resource))):
            self._party(row["recipient"])
            what = row["what"].replace(",", ", ")
            facts = (f"{what} in {counted(row['n'], 'release')}, {row['bytes'] or 0:,} bytes",)
            self.graph.join(Edge(key, row["recipient"], "run output, no rows", facts))

    def _recipients(self, key: str, resource: str) -> None:
        zone = key.rpartition("@")[2]
        query = """
            SELECT consumer, sum(state = 'completed') AS n, sum(CASE WHEN state = 'completed' THEN bytes END) AS bytes,
                max(ended_at) AS last, group_concat(DISTINCT purpose) AS purposes, sum(state <> 'completed') AS other
            FROM crossings WHERE resource = ? AND provider_zone = ? AND consumer <> '' GROUP BY consumer
        """
        for row in list(self._store.rows(query, (resource, zone))):
            self._party(row["consumer"])
            if row["n"]:
                facts = (f"{counted(row['n'], 'transfer')}, {row['bytes'] or 0:,} bytes", f"last {row['last'][:10]}")
                self.graph.join(Edge(key, row["consumer"], f"received for {row['purposes']}", facts))
            elif row["other"]:
                self.graph.join(Edge(key, row["consumer"], "began and did not end", (), refused=True))
        query = """
            SELECT participant, max(effect) AS effect, count(*) AS n, max(by_zones) AS zones FROM requests
            WHERE resource = ? AND effect <> 'allow' AND participant <> '' AND subject LIKE 'negotiations/%'
            GROUP BY participant
        """
        for row in list(self._store.rows(query, (resource,))):
            self._party(row["participant"])
            what = f"{'held for approval' if row['effect'] == 'review' else 'refused'} by {row['zones']}"
            self.graph.join(Edge(key, row["participant"], what, (counted(row["n"], "request"),), refused=True))
