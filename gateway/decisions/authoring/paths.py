"""Dotted paths of the policy input, as findings name them: values, and what the schema says of them."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from gateway.decisions.input_fields import resolved


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
