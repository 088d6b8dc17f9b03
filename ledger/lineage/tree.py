"""A lineage as text: what it came from, and where it went."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Final

from ledger.lineage.graph import Edge, Graph, Node

__all__ = ["tree"]


_BACKWARDS: Final = {"owns": "owned by", "publishes": "published by", "became": "outcome of", "base of": "made from"}


def tree(graph: Graph) -> Iterator[str]:
    """The lines of a terminal's view; each is a log's text and is to be made printable."""
    subjects = [node for node in graph.nodes.values() if node.name == graph.subject]
    for node in subjects:
        yield _title(node)
        yield "  came from"
        yield from _branches(graph, node, graph.into, lambda edge: edge.source, set(), "  ")
        yield "  went to"
        yield from _branches(graph, node, graph.out_of, lambda edge: edge.target, set(), "  ")
    if graph.left_out:
        yield f"and {graph.left_out} more, left out"


def _title(node: Node) -> str:
    where = f" in {node.zone}" if node.zone and node.kind != "party" else ""
    facts = f"  [{'; '.join(node.facts)}]" if node.facts else ""
    return f"{node.name}{where}{facts}"


def _branches(
    graph: Graph,
    node: Node,
    edges: Callable[[str], list[Edge]],
    end: Callable[[Edge], str],
    seen: set[str],
    indent: str,
) -> Iterator[str]:
    found = edges(node.key)
    if not found and not seen:
        yield f"{indent}└─ nothing that the ledgers know of"
    for at, edge in enumerate(found, 1):
        last = at == len(found)
        other = graph.nodes[end(edge)]
        facts = f" ({'; '.join(edge.facts)})" if edge.facts else ""
        mark = "✗ " if edge.refused else ""
        what = _BACKWARDS.get(edge.what, edge.what) if end(edge) == edge.source else edge.what
        yield f"{indent}{'└─' if last else '├─'} {mark}{what}{facts}: {_title(other)}"
        if other.key not in seen | {node.key} and not edge.refused and other.kind != "party":
            yield from _branches(graph, other, edges, end, seen | {node.key}, indent + ("   " if last else "│  "))
