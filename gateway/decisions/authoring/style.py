"""Format and strictness, as far as they can be seen without an OPA."""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

from gateway.decisions.authoring.problem import Problem, line_of
from gateway.decisions.authoring.sources import Sources
from gateway.decisions.capabilities import code_of

_IMPORT: Final = re.compile(r"^import[ \t]+(?P<path>[\w.]+)(?:[ \t]+as[ \t]+(?P<alias>\w+))?[ \t]*$", re.MULTILINE)
_SHADOW: Final = re.compile(r"(?<![\w.])(?:some[ \t]+)?(input|data)[ \t]*:=")
_RULE: Final = re.compile(r"^(?:default[ \t]+)?([A-Za-z_]\w*)", re.MULTILINE)
_MEMBER: Final = re.compile(r'"([A-Za-z_]\w*)"\s*:')
_OF_GATEWAY: Final = frozenset({"data.tdz.local", "data.tdz.local.loaded", "data.tdz.local.zone"})
_FORMAT: Final = "run `tdz policy check --fix` with an OPA at hand, or write it as opa fmt would"


def problems(sources: Sources) -> Iterator[Problem]:
    """Blanks at ends of lines or as indentation, imports unused, doubled or of nothing, shadowed documents."""
    places = _places(sources)
    for name, text in sources.texts.items():
        if name.endswith(".rego"):
            yield from _format(name, text)
            yield from _imports(name, text, places)


def _format(name: str, text: str) -> Iterator[Problem]:
    raw = "`" in text  # a raw string may hold anything
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() and not raw:
            yield Problem(name, number, "blanks at the end of the line", _FORMAT, "format")
        if line.startswith(" ") and line.strip() and not raw:
            yield Problem(name, number, "indented with blanks; Rego is indented with tabs", _FORMAT, "format")
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield Problem(name, text.count("\n") + 1, "it does not end with one line feed", _FORMAT, "format")


def _places(sources: Sources) -> set[str]:
    """The paths of data at or below which something stands: packages, their rules, documents, their members."""
    found: set[str] = set()
    for name, text in sources.texts.items():
        folder = ".".join(["data", *name.replace("-", "_").split("/")[:-1]])
        if name.endswith(".rego"):
            found.update(f"{folder}.{rule[1]}" for rule in _RULE.finditer(code_of(text)))
        elif name.endswith("/data.json"):
            found.update(f"{folder}.{member[1]}" for member in _MEMBER.finditer(text))
        else:
            continue
        while folder:
            found.add(folder)
            folder = folder.rpartition(".")[0]
    return found


def _imports(name: str, text: str, places: set[str]) -> Iterator[Problem]:
    code = code_of(text)
    seen: set[str] = set()
    for found in _IMPORT.finditer(code):
        alias = found["alias"] or found["path"].rsplit(".", 1)[-1]
        line = line_of(code, found.start())
        if found["path"] in {"rego.v1"} or found["path"].startswith("future."):
            continue
        if found["path"].startswith("data.") and found["path"] not in places | _OF_GATEWAY:
            yield Problem(name, line, f"nothing stands at {found['path']}", "import what is there", "strict")
        if alias in seen:
            yield Problem(name, line, f"{alias} is imported twice", "take one import away", "strict")
        seen.add(alias)
        rest = code[: found.start()] + code[found.end() :]
        if not re.search(rf"(?<![\w.]){re.escape(alias)}(?!\w)", rest):
            yield Problem(name, line, f"{alias} is imported and not used", "take the import away", "strict")
    for found in _SHADOW.finditer(code):
        yield Problem(
            name, line_of(code, found.start()), f"{found[1]} is hidden by a variable", "name it otherwise", "strict"
        )
