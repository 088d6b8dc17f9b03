"""What both ledgers say together: one row for each agreement, transfer and request, whichever ledger tells of it."""

from __future__ import annotations

from typing import Final

from ledger.facts.store import FactStore

__all__ = ["merge"]

_TABLES: Final = {
    "agreed": """
        SELECT id, 'negotiations/' || max(negotiation) AS asked,
            max(provider) AS provider, max(provider_zone) AS provider_zone,
            max(consumer) AS consumer, max(consumer_zone) AS consumer_zone, max(resource) AS resource,
            max(version) AS version, max(purpose) AS purpose, max(mechanisms) AS mechanisms,
            max(obligations) AS obligations, max(expires_at) AS expires_at, max(onward) AS onward,
            max(consumer_decision) AS consumer_decision, max(provider_decision) AS provider_decision,
            max(outcome = 'in_force') AS in_force, max(outcome = 'not_confirmed') AS not_confirmed,
            min(time) AS time, group_concat(DISTINCT log) AS logs
        FROM agreement_entries GROUP BY id
    """,
    "crossings": """
        SELECT t.id AS id, max(t.agreement) AS agreement, a.resource AS resource, a.provider AS provider,
            a.provider_zone AS provider_zone, a.consumer AS consumer, a.consumer_zone AS consumer_zone,
            a.purpose AS purpose, max(t.version) AS version,
            CASE WHEN max(t.event = 'completed') THEN 'completed' WHEN max(t.event = 'aborted') THEN 'aborted'
                WHEN max(t.event = 'refused') THEN 'refused' ELSE 'open' END AS state,
            min(t.time) AS begun_at, max(t.time) AS ended_at, max(t.rows) AS rows, max(t.bytes) AS bytes,
            max(CASE WHEN t.event = 'resumed' THEN 1 ELSE 0 END) AS resumed, max(t.reason) AS reason,
            group_concat(DISTINCT t.log) AS logs
        FROM transfer_entries t LEFT JOIN agreed a ON a.id = t.agreement GROUP BY t.id
    """,
    "requests": """
        SELECT d.subject AS subject, max(d.participant) AS participant, max(d.resource) AS resource,
            max(d.purpose) AS purpose, min(d.time) AS time,
            CASE WHEN max(a.id) IS NOT NULL THEN 'allow' WHEN max(d.effect = 'deny' OR d.outcome = 'deny') THEN 'deny'
                WHEN max(d.effect = 'review' OR d.outcome = 'review') THEN 'review' ELSE 'allow' END AS effect,
            group_concat(DISTINCT CASE WHEN d.effect <> 'allow' THEN d.zone END) AS by_zones,
            max(d.reason) AS reason, max(d.held_by) AS held_by, group_concat(DISTINCT d.log) AS logs
        FROM decisions d LEFT JOIN agreed a ON a.asked = d.subject AND a.in_force
        GROUP BY d.subject
        HAVING d.subject LIKE 'negotiations/%' OR d.subject LIKE 'runs/%' OR max(d.effect <> 'allow')
    """,
}

_INDEXED: Final = {
    "agreed": ("id", "asked", "resource"),
    "crossings": ("resource", "begun_at"),
    "requests": ("resource", "time"),
}


def merge(store: FactStore) -> None:
    """Make the tables ``agreed``, ``crossings`` and ``requests``."""
    for name, query in _TABLES.items():
        store.execute(f"CREATE TABLE {name} AS {query}")
        for column in _INDEXED[name]:
            store.execute(f"CREATE INDEX {name}_{column} ON {name} ({column})")
