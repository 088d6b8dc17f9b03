"""Refuses policy that goes beyond what both engines agree on.

`policy/capabilities.json` (OPA's format) lists the builtins that may be called. A call is either of a function
that the module defines or imports from `data`, or of one of those; everything else is named in the error.
`opa check --capabilities` says the same where an OPA is at hand; this works without one.

Left out after comparing regopy 1.5.2 with OPA 1.22.2: `replace` and `strings.replace_n` (an empty pattern eats
all memory), `upper`, `lower` and `trim_space` (beyond ASCII), `object.union` (not deep), `ceil` (below zero),
`indexof` (empty text), `max` and `min` (numbers in the order of their digits: the embedded max of 9 and 800 is 9).
Allowed, but not alike on every argument: `sort` is for texts, whose order it gets right; `concat` over a set and a
comprehension over a set have another order; `<` between arrays, objects or values of different types. Prove a type
before comparing, and compare numbers one by one.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from typing import Final

from gateway.errors import ConfigError

# A string, a raw string or a comment: what stands in them is no code.
_TEXT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_CALL: Final = re.compile(r"(?<![\w.\])])([A-Za-z_]\w*(?:\s*\.\s*[A-Za-z_]\w*)*)\s*\(")
_BRACKET_CALL: Final = re.compile(r"\]\s*\(")
_IMPORT: Final = re.compile(r"^\s*import\s+(?P<path>[\w.]+)(?:\s+as\s+(?P<alias>\w+))?\s*$", re.MULTILINE)
_DEFINED: Final = re.compile(r"^(?:default\s+)?([A-Za-z_]\w*)\(", re.MULTILINE)
_PACKAGE_WORD: Final = re.compile(r"^[ \t]*package\b", re.MULTILINE)
_PACKAGE: Final = re.compile(
    r'[ \t]*package[ \t]+(?P<path>[A-Za-z_]\w*(?:\.[A-Za-z_]\w*|\["[^"\\\n]+"\])*)[ \t]*(?:#.*)?$', re.MULTILINE
)
_STEP: Final = re.compile(r'\["([^"]+)"\]|([A-Za-z_]\w*)')
_WITH: Final = re.compile(r"(?<![\w.])with\s")
_REMEDY: Final = "use only the builtins that policy/capabilities.json lists; both engines agree on those"
_KEYWORDS: Final = frozenset({"if", "in", "not", "some", "every", "else", "as", "import", "package", "default", "set"})


def allowed_builtins(capabilities: bytes) -> frozenset[str]:
    """The builtin names of a capabilities document.

    Raises:
        ConfigError: the document is not in OPA's capabilities format.
    """
    try:
        return frozenset(str(builtin["name"]) for builtin in json.loads(capabilities)["builtins"])
    except (ValueError, KeyError, TypeError) as error:
        raise ConfigError("capabilities.json is not in OPA's capabilities format") from error


def check(modules: Mapping[str, str], allowed: frozenset[str]) -> None:
    """Refuse modules that call what is not allowed, or define what is not theirs.

    A module's package is where its file stands. An engine merges whatever it loads: a zone's file with a pack's
    package could answer in the pack's place.

    Args:
        modules: Rego texts by name.
        allowed: what `allowed_builtins` gave.

    Raises:
        ConfigError: names the module, the line and the builtin.
    """
    for name, text in sorted(modules.items()):
        code = code_of(text)
        _at_its_place(name, text, code)
        _refuse(name, code, _BRACKET_CALL.search(code), "a call through brackets")
        _refuse(name, code, _WITH.search(code), "`with`, which belongs into tests")
        roots = {"data"} | {
            found["alias"] or found["path"].rsplit(".", 1)[-1]
            for found in _IMPORT.finditer(code)
            if found["path"].startswith("data.")
        }
        functions = set(_DEFINED.findall(code))
        for call in _CALL.finditer(code):
            called = re.sub(r"\s", "", call[1])
            root = called.split(".", 1)[0]
            known = called in functions or called in allowed or called in _KEYWORDS
            if not known and not ("." in called and root in roots):
                _refuse(name, code, call, f"the builtin {called}")


def code_of(text: str) -> str:
    """A module without its strings and comments; what is left stands where it stood."""
    return _TEXT.sub(_blank, text)


def _at_its_place(name: str, text: str, code: str) -> None:
    word = _PACKAGE_WORD.search(code)
    found = _PACKAGE.match(text, word.start()) if word else None
    steps = [step[1] or step[2] for step in _STEP.finditer(found["path"])] if found else []
    if steps != name.split("/")[:-1]:
        raise ConfigError(
            f"{name}: its package is {found['path'] if found else 'missing'}, and its place is not",
            remedy="a package is the path of its file's folder; a zone's own rules stand under tdz/zone/<zone>/",
        )


def _refuse(name: str, code: str, found: re.Match[str] | None, what: str) -> None:
    if found is not None:
        line = code.count("\n", 0, found.start()) + 1
        raise ConfigError(
            f"{name}, line {line}: {what} is not allowed",
            remedy=_REMEDY,
        )


def _blank(found: re.Match[str]) -> str:
    """The same number of characters and lines, without the text."""
    return re.sub(r"[^\n]", " ", found[0]) if found[0][0] != '"' else '"' + " " * (len(found[0]) - 2) + '"'
