"""Writes `policy/tdz/lib/shape/shape.rego` from the published schema of the policy input.

Rego checks the document again, whoever calls, and the check must not drift from the model, so it is generated:
``python -m gateway.decisions.shape > policy/tdz/lib/shape/shape.rego``; a test compares. `json.match_schema`
would do it in one line, but the embedded engine has no such builtin.
"""

from __future__ import annotations

import json
import sys
from collections.abc import Iterator, Mapping
from typing import Any, Final

from gateway.model.policy_input import json_schema

_HEADER: Final = """\
# Generated from the policy input's schema by `python -m gateway.decisions.shape`; do not edit.
# A part counts only where every statement about it is proven: missing, extra, mistyped or outside of its
# enumeration leaves the part undefined, and an undefined part is named in `wrong`.
package tdz.lib.shape

default complete := false

complete if count(wrong) == 0

whole(x, low, high) if {
\tis_number(x)
\tfloor(x) == x
\tx >= low
\tx <= high
}

text(x, shortest, longest) if {
\tis_string(x)
\tcount(x) >= shortest
\tcount(x) <= longest
}

country("unknown") := true

country(x) if regex.match(`^[A-Z]{2}$`, x)
"""

# Thousands of items: each statement is one pass over all of them (an array comprehension leaves out what is
# undefined, so the counts prove that nothing was), which the embedded engine does several times faster than
# `every`. Lengths and characters are the gateway's to check.
_COLUMNS: Final = """\
part_dataset_columns if {{
\tis_array(input.dataset.columns)
\tsize := count(input.dataset.columns)
\tsize >= {low}
\tsize <= {high}
\tnames := [x | x := input.dataset.columns[_].name]
\ttypes := [x | x := input.dataset.columns[_].arrow_type]
\ttags := [x | x := input.dataset.columns[_].tags]
\tcount(names) == size
\tcount(types) == size
\tcount(tags) == size
\tis_string(concat("", names))
\tis_string(concat("", types))
\t{{y | x := tags[_]; y := type_name(x)}} == {{"array"}}
\t{{y | x := input.dataset.columns[_]; y := count(x)}} == {{3}}
\tcount({{x | x := tags[_][_]}} - {vocabulary}) == 0
}}
"""


def render() -> str:
    """The module's text, as `opa fmt` would write it."""
    return "\n".join([_HEADER, *_Writer(json_schema()).rules()])


class _Writer:
    def __init__(self, schema: Mapping[str, Any]) -> None:
        self._schema = schema
        self._parts: list[tuple[str, list[str]]] = []

    def rules(self) -> Iterator[str]:
        self._part("input", "", self._schema, nullable=False)
        for name, body in self._parts:
            path = name or "input"
            yield f'wrong contains "{path}" if not {_rule(name)}\n'
            yield from body

    def _resolve(self, node: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        if "anyOf" in node:
            (inner,) = [option for option in node["anyOf"] if option.get("type") != "null"]
            return self._resolve(inner)[0], True
        if "$ref" in node:
            return self._schema["$defs"][node["$ref"].rsplit("/", 1)[1]], False
        return node, False

    def _part(self, ref: str, path: str, node: Mapping[str, Any], *, nullable: bool) -> None:
        """One rule per object: its members, its values, and whether it may be null."""
        name = _rule(path)
        lines = [_keys(ref, node)]
        body: list[str] = []
        self._parts.append((path, body))
        for field, child in node["properties"].items():
            inner, optional = self._resolve(child)
            inner_path = f"{path}.{field}" if path else field
            inner_ref = f"{ref}.{field}"
            if inner.get("type") == "object":
                # Where the parent may be null the child is proven only beside a parent that is not.
                if nullable or self._null_above(path):
                    self._part(inner_ref, inner_path, inner, nullable=optional)
                    root = inner_path.split(".")[0]
                    self._parts[-1][1].append(f"{_rule(inner_path)} if is_null(input.{root})\n")
                else:
                    self._part(inner_ref, inner_path, inner, nullable=optional)
                continue
            lines.extend(self._value(inner_ref, inner_path, inner, depth=0))
        body.append(f"{name} if {{\n" + "".join(f"\t{line}\n" for line in lines) + "}\n")
        if nullable:
            body.append(f"{name} if is_null({ref})\n")

    def _null_above(self, path: str) -> bool:
        root = path.split(".")[0]
        return bool(root) and self._resolve(self._schema["properties"][root])[1]

    def _value(self, ref: str, path: str, node: Mapping[str, Any], *, depth: int) -> Iterator[str]:
        if "const" in node:
            yield f"{ref} == {json.dumps(node['const'])}"
        elif "enum" in node:
            yield f"{ref} in {_set(node['enum'])}"
        elif node["type"] == "integer":
            yield f"whole({ref}, {node['minimum']}, {node['maximum']})"
        elif node["type"] == "string":
            yield _text(ref, node)
        else:
            yield from self._items(ref, path, node, depth=depth)

    def _items(self, ref: str, path: str, node: Mapping[str, Any], *, depth: int) -> Iterator[str]:
        inner, _ = self._resolve(node["items"])
        if path != "dataset.columns":
            yield f"is_array({ref})"
            yield f"count({ref}) <= {node['maxItems']}"
            if "minItems" in node:
                yield f"count({ref}) >= {node['minItems']}"
        if path == "dataset.columns":
            tags, _ = self._resolve(inner["properties"]["tags"]["items"])
            self._parts[-1][1].append(
                _COLUMNS.format(low=node["minItems"], high=node["maxItems"], vocabulary=_set(tags["enum"]))
            )
            yield "part_dataset_columns"
        elif "enum" in inner:
            yield f"every e in {ref} {{\n\t\te in {_set(inner['enum'])}\n\t}}"
        elif inner.get("type") == "object":
            yield f"every e in {ref} {{\n\t\t{_rule(path)}_item(e)\n\t}}"
            self._item(path, inner)
        else:
            checks = "".join(f"\t\t{line}\n" for line in self._value("e", path, inner, depth=depth))
            yield f"every e in {ref} {{\n{checks}\t}}"

    def _item(self, path: str, node: Mapping[str, Any]) -> None:
        """One function per kind of array item."""
        lines = [_keys("x", node)]
        for field, child in node["properties"].items():
            inner, _ = self._resolve(child)
            if inner.get("type") == "object":
                lines.append(_keys(f"x.{field}", inner))
                for name, grandchild in inner["properties"].items():
                    leaf, _ = self._resolve(grandchild)
                    lines.extend(self._value(f"x.{field}.{name}", f"{path}.{field}.{name}", leaf, depth=1))
            else:
                lines.extend(self._value(f"x.{field}", f"{path}.{field}", inner, depth=1))
        text = f"{_rule(path)}_item(x) if {{\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"
        self._parts[-1][1].append(text)


def _rule(path: str) -> str:
    return "part_" + (path.replace(".", "_") or "document")


def _keys(ref: str, node: Mapping[str, Any]) -> str:
    """As many members as the schema has; that each of those is there, its own statement proves."""
    return f"count({ref}) == {len(node['properties'])}"


def _text(ref: str, node: Mapping[str, Any]) -> str:
    """Type and length. Characters are the gateway's to check, but for countries, which are compared."""
    pattern = node.get("pattern", "")
    if "[A-Z]{2}" in pattern:
        return f"country({ref})"
    if "0-9a-f" in pattern:
        return f"text({ref}, {0 if '?' in pattern else 64}, 64)"
    shortest = node.get("minLength", 0 if pattern.endswith(")?$") else 1 if "maxLength" not in node else 0)
    return f"text({ref}, {shortest}, {node.get('maxLength', 200)})"


def _set(values: list[str]) -> str:
    return "{" + ", ".join(json.dumps(value) for value in values) + "}"


if __name__ == "__main__":
    sys.stdout.write(render())
