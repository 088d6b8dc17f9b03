"""Refuses policy that asks for a field which no input has: such a rule would be undefined for ever, and so silent."""

from __future__ import annotations

import re
from collections.abc import Mapping
from functools import cache
from typing import Any, Final

from gateway.errors import ConfigError
from gateway.model.policy_input import json_schema

_COMMENT_OR_RAW: Final = re.compile(r'("(?:[^"\\\n]|\\.)*")|`[^`]*`|#[^\n]*')
_REFERENCE: Final = re.compile(r'(?<![\w.])input((?:\.[A-Za-z_]\w*|\["[^"\\\n]*"\])+)', re.ASCII)
_STEP: Final = re.compile(r'\.([A-Za-z_]\w*)|\["([^"]*)"\]', re.ASCII)


def check_fields(modules: Mapping[str, str]) -> None:
    """Follow every `input.a.b` of the modules through the published schema, as far as it is spelt out.

    Raises:
        ConfigError: names the module, the line and the member that no input has.
    """
    for name, text in sorted(modules.items()):
        code = _COMMENT_OR_RAW.sub(lambda found: found[1] or re.sub(r"[^\n]", " ", found[0]), text)
        for found in _REFERENCE.finditer(code):
            steps = [step[1] or step[2] for step in _STEP.finditer(found[1])]
            if (unknown := _first_unknown(steps)) is not None:
                line = code.count("\n", 0, found.start()) + 1
                raise ConfigError(
                    f"{name}, line {line}: no input has the field {unknown}",
                    remedy="tdz policy example prints a document with every field",
                )


def _first_unknown(steps: list[str]) -> str | None:
    schemas = [_schema()]
    for index, step in enumerate(steps):
        below: list[dict[str, Any]] = []
        for schema in schemas:
            if "properties" in schema and step in schema["properties"]:
                below += _alternatives(schema["properties"][step])
            elif "properties" not in schema and schema.get("type") == "object":
                return None  # free members
        if not below:
            return ".".join(steps[: index + 1])
        schemas = below
    return None


def _alternatives(schema: dict[str, Any]) -> list[dict[str, Any]]:
    """The schemas that a value may have, references followed."""
    if "$ref" in schema:
        return _alternatives(_schema()["$defs"][schema["$ref"].rsplit("/", 1)[-1]])
    for word in ("anyOf", "oneOf", "allOf"):
        if word in schema:
            return [each for option in schema[word] for each in _alternatives(option)]
    return [schema]


@cache
def _schema() -> dict[str, Any]:
    return json_schema()
