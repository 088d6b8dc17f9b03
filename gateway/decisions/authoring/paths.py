"""Dotted paths of the policy input, as findings name them: values, and what the schema says of them."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any


def lookup(document: Any, path: str) -> Any:
    """The value at a path; None where there is none."""
    for step in path.split("."):
        if isinstance(document, Mapping) and step in document:
            document = document[step]
        elif isinstance(document, list) and step.isdecimal() and int(step) < len(document):
            document = document[int(step)]
        else:
            return None
    return document


def spot(schema: Mapping[str, Any], path: str) -> Mapping[str, Any]:
    """What a JSON Schema says of a path; empty where it says nothing."""
    nodes: list[Mapping[str, Any]] = [schema]
    for step in path.split("."):
        following = []
        for node in (each for one in nodes for each in resolved(schema, one)):
            if step in node.get("properties", {}):
                following.append(node["properties"][step])
            elif step.isdecimal() and "items" in node:
                following.append(node["items"])
        nodes = following
    return next((each for one in nodes for each in resolved(schema, one)), {})


def resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a node stands for: references followed, each of its alternatives by itself."""
    if "$ref" in node:
        yield from resolved(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    elif "anyOf" in node:
        for each in node["anyOf"]:
            yield from resolved(schema, each)
    else:
        yield node
