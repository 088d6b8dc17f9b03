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
_FORMAT: Final = "run `tdz policy check --fix` with an OPA at hand, or write it as opa fmt would"


def problems(sources: Sources) -> Iterator[Problem]:
    """Blanks at ends of lines, blanks as indentation, imports that are unused or doubled, shadowed documents."""
    for name, text in sources.texts.items():
        if name.endswith(".rego"):
            yield from _format(name, text)
            yield from _imports(name, text)


def _format(name: str, text: str) -> Iterator[Problem]:
    raw = "`" in text  # a raw string may hold anything
    for number, line in enumerate(text.split("\n"), 1):
        if line != line.rstrip() and not raw:
            yield Problem(name, number, "blanks at the end of the line", _FORMAT, "format")
        if line.startswith(" ") and line.strip() and not raw:
            yield Problem(name, number, "indented with blanks; Rego is indented with tabs", _FORMAT, "format")
    if text and (not text.endswith("\n") or text.endswith("\n\n")):
        yield Problem(name, text.count("\n") + 1, "it does not end with one line feed", _FORMAT, "format")


def _imports(name: str, text: str) -> Iterator[Problem]:
    code = code_of(text)
    seen: set[str] = set()
    for found in _IMPORT.finditer(code):
        alias = found["alias"] or found["path"].rsplit(".", 1)[-1]
        line = line_of(code, found.start())
        if found["path"] in {"rego.v1"} or found["path"].startswith("future."):
            continue
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
