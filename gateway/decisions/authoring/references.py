"""What rules read of the input, held against its schema: a field that no input has is never true.

`opa check --schema` says the same and more (types, functions); this needs no OPA.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.decisions.authoring.paths import resolved
from gateway.decisions.authoring.problem import Problem, code_of, line_of
from gateway.decisions.authoring.sources import Sources
from gateway.model.policy_input import json_schema

_REFERENCE: Final = re.compile(r"(?<![\w.])input((?:\.[A-Za-z_]\w*|\[[^\[\]\n]*\])+)")
_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[([^\[\]\n]*)\]")
_GENERATED: Final = "tdz/lib/shape/"


def problems(sources: Sources) -> Iterator[Problem]:
    """References to what the policy input does not have."""
    schema = json_schema()
    for name, text in sources.rules.items():
        if name.startswith(_GENERATED):
            continue
        for found in _REFERENCE.finditer(code_of(text)):
            # The code has its strings blanked; the steps are read from the text itself.
            steps = list(_STEP.finditer(text[found.start(1) : found.end(1)]))
            if fault := _fault(schema, steps):
                yield Problem(
                    name,
                    line_of(text, found.start()),
                    f"input has no {fault}: the rule can never see it",
                    "see `tdz policy example` for every field, and write it as it stands there",
                    "schema",
                )


def _fault(schema: Mapping[str, Any], steps: list[re.Match[str]]) -> str:
    """The path at which a reference leaves the schema; "" where it does not."""
    nodes: list[Mapping[str, Any]] = [schema]
    path: list[str] = []
    for step in steps:
        name = step[1] or (step[2][1:-1] if step[2].startswith('"') else None)
        path.append(name if name is not None else f"[{step[2]}]")
        following: list[Mapping[str, Any]] = []
        for node in (each for one in nodes for each in resolved(schema, one)):
            if name is not None and name in node.get("properties", {}):
                following.append(node["properties"][name])
            elif name is None and node.get("type") == "array":
                following.append(node.get("items", {}))
            elif name is None and "properties" in node:
                return ""  # a variable may be any member
        if not following:
            return ".".join(path).replace(".[", "[")
        nodes = following
    return ""
