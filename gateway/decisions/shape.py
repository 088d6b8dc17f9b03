"""Writes `policy/tdz/lib/shape/shape.rego` from the published schema of the policy input.

Rego checks the document again, whoever calls, and the check must not drift from the model, so it is generated:
``python -m gateway.decisions.shape > policy/tdz/lib/shape/shape.rego``; a test compares. `json.match_schema`
would do it in one line, but the embedded engine has no such builtin. Lengths
and characters of texts are the gateway's to check; types, members, enumerations and bounds of numbers stand here.
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

country("unknown") := true

country(x) if regex.match(`^[A-Z]{2}$`, x)
"""

# Thousands of items: each statement is one pass over all of them (an array comprehension leaves out what is
# undefined, so the counts prove that nothing was), which the embedded engine does several times faster than
# `every`.
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
        self._vocabularies: dict[tuple[str, ...], str] = {}

    def rules(self) -> Iterator[str]:
        self._part("input", "", self._schema, nullable=False)
        for values, name in self._vocabularies.items():
            yield f"{name} := {{{', '.join(json.dumps(value) for value in values)}}}\n"
        for name, body in self._parts:
            yield f'wrong contains "{name or "input"}" if not {_rule(name)}\n'
            yield from body

    def _resolve(self, node: Mapping[str, Any]) -> tuple[Mapping[str, Any], bool]:
        """The node itself and whether it may be null."""
        if "anyOf" in node:
            (inner,) = [option for option in node["anyOf"] if option.get("type") != "null"]
            return self._resolve(inner)[0], True
        if "$ref" in node:
            return self._schema["$defs"][node["$ref"].rsplit("/", 1)[1]], False
        return node, False

    def _part(self, ref: str, path: str, node: Mapping[str, Any], *, nullable: bool) -> None:
        """One rule per object: its members, its values, and whether it may be null."""
        body: list[str] = []
        self._parts.append((path, body))
        values: list[tuple[str, str, Mapping[str, Any]]] = []
        for field, child in node["properties"].items():
            inner, optional = self._resolve(child)
            inner_path = f"{path}.{field}" if path else field
            if inner.get("type") != "object":
                values.append((f"{ref}.{field}", inner_path, inner))
                continue
            self._part(f"{ref}.{field}", inner_path, inner, nullable=optional)
            if nullable or self._null_above(path):
                # Where the parent may be null the child is proven only beside a parent that is not.
                self._parts[-1][1].append(f"{_rule(inner_path)} if is_null(input.{inner_path.split('.')[0]})\n")
        body.append(_body(_rule(path), [_size(ref, node), *self._values(values)]))
        if nullable:
            body.append(f"{_rule(path)} if is_null({ref})\n")

    def _null_above(self, path: str) -> bool:
        root = path.split(".")[0]
        return bool(root) and self._resolve(self._schema["properties"][root])[1]

    def _values(self, values: list[tuple[str, str, Mapping[str, Any]]]) -> Iterator[str]:
        """Statements about the values of one object; its texts in one, for speed."""
        texts: list[str] = []
        for ref, path, node in values:
            if "const" in node:
                yield f"{ref} == {json.dumps(node['const'])}"
            elif "enum" in node:
                yield f"{ref} in {self._vocabulary(path, node)}"
            elif node["type"] == "integer":
                yield f"whole({ref}, {node['minimum']}, {node['maximum']})"
            elif node["type"] == "array":
                yield from self._items(ref, path, node)
            elif "[A-Z]{2}" in node.get("pattern", ""):
                yield f"country({ref})"
            else:
                texts.append(ref)
        if texts:
            yield f'is_string(concat("", [{", ".join(texts)}]))'

    def _items(self, ref: str, path: str, node: Mapping[str, Any]) -> Iterator[str]:
        inner, _ = self._resolve(node["items"])
        if path == "dataset.columns":
            tags, _ = self._resolve(inner["properties"]["tags"]["items"])
            self._parts[-1][1].append(
                _COLUMNS.format(
                    low=node["minItems"],
                    high=node["maxItems"],
                    vocabulary=self._vocabulary(f"{path}.tags", tags),
                )
            )
            yield "part_dataset_columns"
            return
        yield f"is_array({ref})"
        yield f"count({ref}) <= {node['maxItems']}"
        if "minItems" in node:
            yield f"count({ref}) >= {node['minItems']}"
        if "enum" in inner:
            yield f"count({{e | e := {ref}[_]}} - {self._vocabulary(path, inner)}) == 0"
        elif inner["type"] == "object":
            self._item(path, inner)
            yield f"every e in {ref} {{\n\t\t{_rule(path)}_item(e)\n\t}}"
        elif "[A-Z]{2}" in inner.get("pattern", ""):
            yield f"every e in {ref} {{\n\t\tcountry(e)\n\t}}"
        else:
            yield f'is_string(concat("", {ref}))'

    def _item(self, path: str, node: Mapping[str, Any]) -> None:
        """One function per kind of array item."""
        lines = [_size("x", node)]
        values: list[tuple[str, str, Mapping[str, Any]]] = []
        for field, child in node["properties"].items():
            inner, _ = self._resolve(child)
            if inner.get("type") != "object":
                values.append((f"x.{field}", f"{path}.{field}", inner))
                continue
            lines.append(_size(f"x.{field}", inner))
            values.extend(
                (f"x.{field}.{name}", f"{path}.{field}.{name}", self._resolve(grandchild)[0])
                for name, grandchild in inner["properties"].items()
            )
        text = _body(f"{_rule(path)}_item(x)", [*lines, *self._values(values)])
        self._parts[-1][1].append(text)

    def _vocabulary(self, path: str, node: Mapping[str, Any]) -> str:
        """The rule that holds an enumeration; named after the field that has it first."""
        name = "words_" + path.replace(".", "_")
        return self._vocabularies.setdefault(tuple(node["enum"]), name)


def _rule(path: str) -> str:
    return "part_" + (path.replace(".", "_") or "document")


def _body(head: str, lines: list[str]) -> str:
    return f"{head} if {{\n" + "".join(f"\t{line}\n" for line in lines) + "}\n"


def _size(ref: str, node: Mapping[str, Any]) -> str:
    """As many members as the schema has; that each of those is there, its own statement proves."""
    return f"count({ref}) == {len(node['properties'])}"


if __name__ == "__main__":
    sys.stdout.write(render())
