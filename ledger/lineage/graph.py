"""The graph of a lineage: institutions, datasets, runs and models, and what went from one to the other."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Final

from ledger.canonical import JsonValue

__all__ = ["MAX_NODES", "Edge", "Graph", "Node", "counted", "party_name"]

MAX_NODES: Final = 200
"""More would be no drawing any more; the lists say how many are left out."""


@dataclass(frozen=True, slots=True)
class Node:
    """One thing: its kind (party, dataset, model, run or base), name, and facts in words."""

    key: str
    kind: str
    name: str
    zone: str = ""
    facts: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Edge:
    """From one thing to another: what happened, with facts in words."""

    source: str
    target: str
    what: str
    facts: tuple[str, ...] = ()
    refused: bool = False


@dataclass(slots=True)
class Graph:
    """Nodes by key and edges, in the order in which they were found."""

    subject: str
    nodes: dict[str, Node] = field(default_factory=dict)
    edges: dict[tuple[str, str, str], Edge] = field(default_factory=dict)
    left_out: int = 0

    def add(self, node: Node) -> bool:
        """Add a node; False where it is known, or where there is no more room."""
        if node.key in self.nodes:
            return False
        if len(self.nodes) >= MAX_NODES:
            self.left_out += 1
            return False
        self.nodes[node.key] = node
        return True

    def join(self, edge: Edge) -> None:
        """Add an edge between nodes that are there."""
        if edge.source in self.nodes and edge.target in self.nodes:
            self.edges.setdefault((edge.source, edge.target, edge.what), edge)

    def leads(self, source: str, target: str) -> bool:
        """Whether a run stands between the two: then provenance adds nothing to what the ledgers say."""
        runs = {edge.target for edge in self.out_of(source) if self.nodes[edge.target].kind == "run"}
        return any(edge.source in runs for edge in self.into(target))

    def into(self, key: str) -> list[Edge]:
        """Edges that end at a node."""
        return [edge for edge in self.edges.values() if edge.target == key]

    def out_of(self, key: str) -> list[Edge]:
        """Edges that begin at a node."""
        return [edge for edge in self.edges.values() if edge.source == key]

    def as_json(self) -> JsonValue:
        """As one document."""
        return {
            "edges": [
                {
                    "facts": [*edge.facts],
                    "from": edge.source,
                    "refused": edge.refused,
                    "to": edge.target,
                    "what": edge.what,
                }
                for edge in self.edges.values()
            ],
            "left_out": self.left_out,
            "nodes": [
                {"facts": [*node.facts], "id": node.key, "kind": node.kind, "name": node.name, "zone": node.zone}
                for node in self.nodes.values()
            ],
            "subject": self.subject,
        }


def counted(count: int, thing: str) -> str:
    """A number of things in words."""
    return f"{count:,} {thing}{'' if count == 1 else 's'}"


def party_name(uri: str) -> str:
    """``tdz://zone/role/id`` as people say it: ``id (zone)``."""
    parts = uri.removeprefix("tdz://").split("/")
    return f"{parts[2]} ({parts[0]})" if uri.startswith("tdz://") and len(parts) == 3 else uri
