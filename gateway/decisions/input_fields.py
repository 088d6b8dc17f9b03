"""Finds policy that asks for a field which no input has: such a rule would be undefined for ever, and so silent.

`opa check --schema` says the same and more (types, functions); this needs no OPA.
"""

from __future__ import annotations

import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import cache
from typing import Any, Final

from gateway.decisions.capabilities import code_of
from gateway.errors import ConfigError
from gateway.model.policy_input import json_schema

_REFERENCE: Final = re.compile(r"(?<![\w.])input((?:\.[A-Za-z_]\w*|\[[^\[\]\n]*\])+)", re.ASCII)
_STEP: Final = re.compile(r"\.([A-Za-z_]\w*)|\[([^\[\]\n]*)\]", re.ASCII)
REMEDY: Final = "tdz policy example prints a document with every field; write it as it stands there"


@dataclass(frozen=True, slots=True)
class UnknownField:
    """A reference to what no input has.

    Args:
        module: the module's path.
        line: from 1.
        path: as far as the reference goes until it leaves the schema, such as `dataset.colums`.
    """

    module: str
    line: int
    path: str

    @property
    def text(self) -> str:
        """What is wrong, one sentence."""
        return f"no input has the field {self.path}, so the rule can never see it"


def unknown_fields(modules: Mapping[str, str]) -> Iterator[UnknownField]:
    """Follow every `input.a["b"][i]` of the modules through the published schema, as far as it is spelt out.

    Args:
        modules: Rego texts by path.
    """
    for name, text in sorted(modules.items()):
        for found in _REFERENCE.finditer(code_of(text)):
            # The code has its strings blanked; the steps are read from the text itself.
            steps = _STEP.finditer(text[found.start(1) : found.end(1)])
            if path := _beyond([_step(each) for each in steps]):
                yield UnknownField(name, text.count("\n", 0, found.start()) + 1, path)


def unknown_path(path: str) -> str:
    """As far as a path such as `mechanisms.0.kind` goes until it leaves the schema; "" where it does not."""
    return _beyond([f"[{step}]" if step.isdecimal() else step for step in path.split(".")])


def check_fields(modules: Mapping[str, str]) -> None:
    """Refuse modules that ask for what no input has.

    Raises:
        ConfigError: names the module, the line and the field.
    """
    for found in unknown_fields(modules):
        raise ConfigError(f"{found.module}, line {found.line}: {found.text}", remedy=REMEDY)


def resolved(schema: Mapping[str, Any], node: Mapping[str, Any]) -> Iterator[Mapping[str, Any]]:
    """What a node of a JSON Schema stands for: references followed, each of its alternatives by itself."""
    if "$ref" in node:
        yield from resolved(schema, schema["$defs"][node["$ref"].rsplit("/", 1)[-1]])
    elif options := node.get("anyOf") or node.get("oneOf"):
        for each in options:
            yield from resolved(schema, each)
    else:
        yield node


def _step(found: re.Match[str]) -> str:
    """A member's name, or an index in its brackets."""
    if found[1]:
        return found[1]
    return found[2][1:-1] if found[2].startswith('"') else f"[{found[2]}]"


def _beyond(steps: list[str]) -> str:
    """The path at which a reference leaves the schema; "" where it does not, or a variable hides where it goes."""
    schema = _schema()
    nodes: list[Mapping[str, Any]] = [schema]
    for at, step in enumerate(steps):
        index = step.startswith("[")
        following: list[Mapping[str, Any]] = []
        for node in (each for one in nodes for each in resolved(schema, one)):
            if not index and step in node.get("properties", {}):
                following.append(node["properties"][step])
            elif index and node.get("type") == "array":
                following.append(node.get("items", {}))
            elif node.get("type") == "object" and (index or "properties" not in node):
                return ""  # a variable may be any member, and free members have any name
        if not following:
            return ".".join(steps[: at + 1]).replace(".[", "[")
        nodes = following
    return ""


@cache
def _schema() -> Mapping[str, Any]:
    return json_schema()
