"""A lineage as a drawing: layers from left to right, from whose data it is to who received what came of it."""

from __future__ import annotations

from collections import defaultdict
from dataclasses import dataclass, replace
from itertools import pairwise
from typing import Final

from ledger.lineage.graph import Edge, Graph, Node
from ledger.markup import Markup, el

__all__ = ["STYLE", "Drawing", "draw"]

_WIDTH: Final = 186
_GAP_X: Final = 100
_GAP_Y: Final = 22
_LINE: Final = 15
_MARGIN: Final = 14
_NAME_CHARACTERS: Final = 23
_FACT_CHARACTERS: Final = 28
_FACTS: Final = 6
_SAID_IN_THE_BOX: Final = {"owns": "owned by", "publishes": "published by"}
_LABEL_CHARACTERS: Final = 17
_APART: Final = 16
_SWEEPS: Final = 6
_MOST_LAYERS: Final = 24
_KINDS: Final = {"party": "institution", "base": "base model"}

STYLE: Final = """
.lineage{font:12px system-ui,sans-serif}
.lineage .box{fill:var(--card,#fff);stroke:var(--line,#9aa5b1);stroke-width:1.2}
.lineage .party .box{stroke:var(--party,#7a5c00)}.lineage .dataset .box{stroke:var(--dataset,#0b6e4f)}
.lineage .run .box{stroke:var(--run,#5b3fa8)}.lineage .model .box{stroke:var(--model,#0a5ea8);stroke-width:2}
.lineage .base .box{stroke-dasharray:4 3}
.lineage .subject .box{stroke-width:3.2}
.lineage .name{font-weight:600;fill:var(--text,#1b2733)}.lineage .fact{fill:var(--soft,#52606d)}
.lineage .kind{font-size:10px;fill:var(--soft,#52606d);letter-spacing:.04em}
.lineage .edge{fill:none;stroke:var(--line,#9aa5b1);stroke-width:1.5}
.lineage .edge.refused{stroke:var(--bad,#b3261e);stroke-dasharray:5 4}
.lineage .label{font-size:10.5px;fill:var(--text,#1b2733);paint-order:stroke;stroke:var(--card,#fff);stroke-width:4px}
.lineage .label.refused{fill:var(--bad,#b3261e)}
.lineage .head{fill:var(--line,#9aa5b1)}.lineage .head.refused{fill:var(--bad,#b3261e)}
"""


@dataclass(frozen=True, slots=True)
class Drawing:
    """A finished SVG."""

    svg: Markup
    width: int
    height: int

    def standalone(self) -> str:
        """As a file of its own."""
        return f'<?xml version="1.0" encoding="UTF-8"?>\n{self.svg}\n'.replace(
            "</title>", f"</title><style>{STYLE}</style>", 1
        )


@dataclass(slots=True)
class _Placed:
    """A box, or a point that a longer line passes on its way (no node)."""

    node: Node | None
    layer: int = 0
    x: int = 0
    y: int = 0
    height: int = _LINE

    @property
    def width(self) -> int:
        return _WIDTH if self.node else 0


@dataclass(slots=True)
class _Line:
    """An edge on its way through the layers: the keys that it passes, its ends included."""

    edge: Edge
    keys: list[str]


def draw(graph: Graph) -> Drawing:
    """Draw a lineage."""
    placed, lines = _placed(graph)
    _layer(placed, lines)
    _pass_by(placed, lines)
    layers = _ordered(placed, lines)
    width, height = _place(layers)
    ports = _ports(placed, lines)
    title = f"Lineage of {graph.subject}"
    svg = el(
        "svg",
        el("title", title),
        [_line(each, placed, ports) for each in lines],
        [_box(each, each.node, graph.subject) for each in placed.values() if each.node],
        xmlns="http://www.w3.org/2000/svg",
        viewBox=f"0 0 {width} {height}",
        width=width,
        height=height,
        class_="lineage",
        role="img",
        aria_label=f"{title}; the list beside it says the same",
    )
    return Drawing(svg, width, height)


def _placed(graph: Graph) -> tuple[dict[str, _Placed], list[_Line]]:
    """Nodes and edges for drawing; who owns something is said in its box, who receives something has one."""
    placed: dict[str, _Placed] = {}
    lines = []
    for edge in graph.edges.values():
        if edge.what in _SAID_IN_THE_BOX:
            continue
        target = graph.nodes[edge.target]
        key = f"{edge.target} receives" if target.kind == "party" else edge.target
        placed.setdefault(edge.source, _Placed(graph.nodes[edge.source]))
        placed.setdefault(key, _Placed(target))
        lines.append(_Line(edge, [edge.source, key]))
    alone = {edge.source for edge in graph.edges.values() if edge.what in _SAID_IN_THE_BOX}
    for name, node in graph.nodes.items():
        if name not in placed and f"{name} receives" not in placed and name not in alone:
            placed[name] = _Placed(node)
    for edge in graph.edges.values():
        box = placed.get(edge.target)
        if edge.what in _SAID_IN_THE_BOX and box is not None and box.node is not None:
            facts = (f"{_SAID_IN_THE_BOX[edge.what]} {graph.nodes[edge.source].name}", *box.node.facts)
            box.node = replace(box.node, facts=facts)
    return placed, lines


def _layer(placed: dict[str, _Placed], lines: list[_Line]) -> None:
    """Each node right of what leads to it; a bounded number of times, so that a circle ends too."""
    for _ in range(min(len(placed), _MOST_LAYERS)):
        changed = False
        for each in lines:
            source, target = placed[each.keys[0]], placed[each.keys[-1]]
            if target.layer <= source.layer < _MOST_LAYERS:
                target.layer, changed = source.layer + 1, True
        if not changed:
            break
    # A source stands directly left of the first thing that it leads to.
    leads: dict[str, list[int]] = defaultdict(list)
    for each in lines:
        leads[each.keys[0]].append(placed[each.keys[-1]].layer)
    entered = {each.keys[-1] for each in lines}
    for key, box in placed.items():
        if key not in entered and leads[key]:
            box.layer = max(0, min(leads[key]) - 1)


def _pass_by(placed: dict[str, _Placed], lines: list[_Line]) -> None:
    """A line over several layers has a place in each, so that it goes round the boxes there."""
    for number, each in enumerate(lines):
        first, last = each.keys
        points = [f"{number}/{layer}" for layer in range(placed[first].layer + 1, placed[last].layer)]
        placed |= {key: _Placed(None, int(key.partition("/")[2])) for key in points}
        each.keys = [first, *points, last]


def _ordered(placed: dict[str, _Placed], lines: list[_Line]) -> list[list[_Placed]]:
    """Layers, each in the order of the middles of what its nodes are joined with."""
    numbers = sorted({each.layer for each in placed.values()})
    layers = [[key for key, each in placed.items() if each.layer == number] for number in numbers]
    near: dict[str, list[str]] = defaultdict(list)
    for each in lines:
        for one, two in pairwise(each.keys):
            near[one].append(two)
            near[two].append(one)
    place = {key: at for layer in layers for at, key in enumerate(layer)}
    for sweep in range(_SWEEPS):
        for layer in layers if sweep % 2 == 0 else reversed(layers):
            layer.sort(key=lambda key: sum(place[k] for k in near[key]) / len(near[key]) if near[key] else place[key])
            place |= {key: at for at, key in enumerate(layer)}
    return [[placed[key] for key in layer] for layer in layers]


def _place(layers: list[list[_Placed]]) -> tuple[int, int]:
    heights = []
    for number, layer in enumerate(layers):
        y = _MARGIN
        for each in layer:
            if each.node:
                each.height = 38 + _LINE * min(len(each.node.facts), _FACTS)
            each.x, each.y = _MARGIN + number * (_WIDTH + _GAP_X), y
            y += each.height + _GAP_Y
        heights.append(y - _GAP_Y + _MARGIN)
    tallest = max(heights, default=2 * _MARGIN)
    for layer, height in zip(layers, heights, strict=True):
        for each in layer:
            each.y += (tallest - height) // 2
    return 2 * _MARGIN + len(layers) * (_WIDTH + _GAP_X) - _GAP_X, tallest


_Ports = dict[tuple[int, str, str], int]


def _ports(placed: dict[str, _Placed], lines: list[_Line]) -> _Ports:
    """At which height each line leaves and enters each place: apart from each other, in the order of the far ends."""
    ends: dict[tuple[str, str], list[tuple[int, _Line]]] = defaultdict(list)
    for each in lines:
        for one, two in pairwise(each.keys):
            ends[one, "out"].append((placed[two].y, each))
            ends[two, "in"].append((placed[one].y, each))
    ports: _Ports = {}
    for (key, side), found in ends.items():
        found.sort(key=lambda end: end[0])
        box = placed[key]
        step = min(_APART, (box.height - 8) // len(found))
        top = box.y + box.height // 2 - step * (len(found) - 1) // 2
        for at, (_, line) in enumerate(found):
            ports[id(line), key, side] = top + at * step
    return ports


def _line(line: _Line, placed: dict[str, _Placed], ports: _Ports) -> Markup:
    edge = line.edge
    first, *_, last = line.keys
    x, y = placed[first].x + _WIDTH, ports[id(line), first, "out"]
    path, before = f"M{x},{y}", y
    for key in line.keys[1:]:
        to_x, to_y = placed[key].x, ports[id(line), key, "in"]
        stop, bend, before = to_x - (7 if key == last else 0), (to_x - x) // 2, y
        path += f" C{x + bend},{y} {stop - bend},{to_y} {stop},{to_y}"
        x, y = to_x, to_y
        if key != last:
            x, y = to_x + _WIDTH, ports[id(line), key, "out"]
            path += f" L{x},{y}"
    mark = " refused" if edge.refused else ""
    return el(
        "g",
        el("title", "\n".join((edge.what, *edge.facts))),
        el("path", d=path, class_=f"edge{mark}"),
        el("path", d=f"M{x},{y} l-8,-4 v8 z", class_=f"head{mark}"),
        el(
            "text",
            _cut(edge.what, _LABEL_CHARACTERS),
            x=x - _GAP_X // 2,
            y=(before + y) // 2 - 4,
            text_anchor="middle",
            class_=f"label{mark}",
        ),
    )


def _box(each: _Placed, node: Node, subject: str) -> Markup:
    x, y = each.x, each.y
    kind = f"{_KINDS.get(node.kind, node.kind)}{f' in {node.zone}' if node.zone and node.kind != 'party' else ''}"
    name = node.name.partition("/")[2] if node.kind in {"dataset", "model"} and "/" in node.name else node.name
    lines = [
        el("text", _cut(fact, _FACT_CHARACTERS), x=x + 10, y=y + 47 + at * _LINE, class_="fact")
        for at, fact in enumerate(node.facts[:_FACTS])
    ]
    mark = " subject" if node.name == subject else ""
    return el(
        "g",
        el("title", "\n".join((node.name, *node.facts))),
        el("rect", x=x, y=y, width=_WIDTH, height=each.height, rx=12 if node.kind == "party" else 5, class_="box"),
        el("text", kind.upper(), x=x + 10, y=y + 15, class_="kind"),
        el("text", _cut(name, _NAME_CHARACTERS), x=x + 10, y=y + 31, class_="name"),
        lines,
        class_=f"{node.kind}{mark}",
    )


def _cut(text: str, characters: int) -> str:
    return text if len(text) <= characters else text[: characters - 1] + "…"
