"""Refuses policy that goes beyond what both engines agree on.

`policy/capabilities.json` (OPA's format) lists the builtins that may be called. A call is either of a function
that the module defines or imports from `data`, or of one of those; everything else is named in the error.
`opa check --capabilities` says the same where an OPA is at hand; this works without one, and before either engine
has seen the text. It reads tokens, not patterns, and refuses what would make the reading uncertain: calls through
brackets or parentheses, texts with expressions in them (`$"{...}"`), functions and imports under a builtin's name,
`with` (which replaces builtins, and belongs into tests), escapes that the engines keep apart.

Left out after comparing regopy 1.5.2 with OPA 1.22.2: `replace` and `strings.replace_n` (an empty pattern eats
all memory), `upper`, `lower` and `trim_space` (beyond ASCII), `regex.match` (bytes, not characters: `.` is a third of
a Chinese one), `object.union` (not deep), `ceil` (below zero), `indexof` (empty text), `array.slice` and `rem` (a
fraction ends the whole evaluation), `max` and `min` (numbers in the order of their digits: the embedded max of 9 and
800 is 9). Allowed, but not alike on every argument: `sort` is for texts, whose order it gets right; `concat` over a
set and a comprehension over a set have another order; comparisons across types (prove a type first), `/` where the
quotient is no exact decimal, products past 64 bits, and functions of texts where a text has a quotation mark or a
backslash, each of which the embedded engine takes for two characters: no text of a policy input has one
(`gateway.model.policy_facts.FactText`). `tests/conformance/policy/test_builtins.py` compares each builtin on both
engines.
"""

from __future__ import annotations

import json
import re
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final, NoReturn

from gateway.errors import ConfigError

_TOKEN: Final = re.compile(
    r"""(?P<space>[ \t\n]+|\r\n)
    |(?P<comment>\#[^\n\r]*)
    |(?P<template>\$["`])
    |(?P<text>"(?:[^"\\\x00-\x1f]|\\.)*")
    |(?P<raw>`[^`\r]*`)
    |(?P<name>[A-Za-z_][A-Za-z0-9_]*)
    |(?P<number>[0-9]+(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)
    |(?P<operator>:=|==|!=|<=|>=|[-+*/%&|<>=.,:;(){}\[\]])""",
    re.VERBOSE,
)
# A string, a raw string or a comment: what stands in them is no code.
_NO_CODE: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')
_REMEDY: Final = "use only the builtins that policy/capabilities.json lists; both engines agree on those"
_OPENS: Final = frozenset("([{")
_CLOSES: Final = frozenset(")]}")
_KEYWORDS: Final = frozenset(
    {"if", "in", "not", "some", "every", "else", "as", "import", "package", "default", "set", "and", "or"}
)
_INFIX: Final = {"+": "plus", "-": "minus", "*": "mul", "/": "div", "%": "rem", "&": "and"}
_COMPARED: Final = {"<": "lt", "<=": "lte", ">": "gt", ">=": "gte", "==": "equal", "!=": "neq"}
# Of OPA 1.22: the first word of every builtin's name, and so what no function and no import may be called.
_BUILTIN_WORDS: Final = frozenset(
    """abs all and any array assign base64 base64url bits cast_array cast_boolean cast_null cast_object cast_set
    cast_string ceil concat contains count crypto div endswith eq equal floor format_int glob graph graphql gt gte hex
    http indexof indexof_n internal intersection io is_array is_boolean is_null is_number is_object is_set is_string
    json lower lt lte max min minus mul neq net numbers object opa or plus print product providers rand re_match regex
    rego rem replace round semver set_diff sort split sprintf startswith strings substring sum time to_number trace
    trim trim_left trim_prefix trim_right trim_space trim_suffix type_name union units upper uri urlquery uuid walk
    yaml""".split()  # noqa: SIM905  # a list of a hundred quoted words is not read better
)


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

    A module's package is where its file stands. An engine merges whatever it loads: a zone's file with a
    pack's package could answer in the pack's place.

    Args:
        modules: Rego texts by path.
        allowed: what `allowed_builtins` gave.

    Raises:
        ConfigError: names the module, the line and the builtin.
    """
    for name, text in sorted(modules.items()):
        _check(name, text, allowed)


@lru_cache(maxsize=256)  # a policy that is tried, activated or put beside another shares most of its modules with it
def _check(name: str, text: str, allowed: frozenset[str]) -> None:
    _Module(name, text, allowed).check()


def code_of(text: str) -> str:
    """A module without its strings and comments; what is left stands where it stood."""
    return _NO_CODE.sub(_blank, text)


def _blank(found: re.Match[str]) -> str:
    """The same number of characters and lines, without the text."""
    return re.sub(r"[^\n]", " ", found[0]) if found[0][0] != '"' else '"' + " " * (len(found[0]) - 2) + '"'


@dataclass(frozen=True, slots=True)
class _Token:
    kind: str
    text: str
    line: int
    depth: int  # of brackets around it


def _odd(token: _Token) -> bool:
    """A text that names a step of a package which no plain name could: each package is written in one way."""
    return token.kind == "text" and not re.fullmatch(r"[A-Za-z_]\w*", json.loads(token.text))


class _Module:
    def __init__(self, name: str, text: str, allowed: frozenset[str]) -> None:
        self._name = name
        self._allowed = allowed
        self._tokens = list(self._read(text))

    def check(self) -> None:
        tokens = self._tokens
        self._check_package()
        roots, functions = {"data"}, set()
        for at, token in enumerate(tokens):
            if token.kind == "name" and token.text == "import" and token.depth == 0:
                roots |= self._imported(at)
            elif self._defines(at):
                if token.text in _BUILTIN_WORDS:
                    self._refuse(token, f"a function with the name of a builtin, {token.text},")
                functions.add(token.text)
        for at, token in enumerate(tokens):
            if token.text == "(" and at:
                self._check_call(at, roots, functions)
            elif token.kind == "name" and not self._is(at - 1, "."):
                if token.text == "with":
                    self._refuse(token, "`with`, which belongs into tests")
                if token.text == "in":
                    self._need(token, "internal.member_2")
            elif token.kind == "operator" and (builtin := _INFIX.get(token.text) or _COMPARED.get(token.text)):
                self._need(token, builtin)

    def _read(self, text: str) -> Iterator[_Token]:
        at, line, depth = 0, 1, 0
        while at < len(text):
            found = _TOKEN.match(text, at)
            kind = found.lastgroup if found is not None else None
            here = _Token(str(kind), found[0] if found is not None else text[at], line, depth)
            if found is None or kind is None:
                self._refuse(here, f"the character {here.text!r}, or a text that does not end,")
            if kind == "template":
                self._refuse(here, "a text with expressions in it")
            if kind == "text":
                self._check_text(here)
            depth -= here.text in _CLOSES
            if kind not in {"space", "comment"}:
                yield _Token(here.kind, here.text, line, depth)
            depth += here.text in _OPENS
            line += here.text.count("\n")
            at = found.end()

    def _check_text(self, token: _Token) -> None:
        """The embedded engine compares texts as they are written: the same text must have one form."""
        try:
            written = json.dumps(json.loads(token.text), ensure_ascii=False)
        except ValueError:
            written = ""
        if written != token.text:
            self._refuse(token, f"the text {token.text[:40]} with an escape that is not needed")

    def _check_package(self) -> None:
        """An engine merges whatever it loads: a module's package is the folder of its file."""
        tokens = [token for token in self._tokens if token.line == self._tokens[0].line]  # of the first statement
        steps, at = [], 1
        while at < len(tokens):
            if tokens[at].kind == "name" and (at == 1 or tokens[at - 1].text == "."):
                steps.append(tokens[at].text)
                at += 1
            elif at > 1 and tokens[at].text == "." and at + 1 < len(tokens) and tokens[at + 1].kind == "name":
                at += 1
            elif [token.text for token in tokens[at : at + 3 : 2]] == ["[", "]"] and _odd(tokens[at + 1]):
                steps.append(json.loads(tokens[at + 1].text))
                at += 3
            else:
                break
        wanted = self._name.split("/")[:-1]
        if not tokens or tokens[0].text != "package" or at < len(tokens) or steps != wanted:
            stated = "".join(token.text for token in tokens[1:]) or "missing"
            raise ConfigError(
                f"{self._name}: its package is {stated[:200]}, and its place is not",
                remedy="a package is the path of its file's folder; a zone's own rules stand under tdz/zone/<zone>/",
            )

    def _imported(self, at: int) -> set[str]:
        """The name that an import gives to a part of `data`."""
        line = [token.text for token in self._tokens[at + 1 :] if token.line == self._tokens[at].line]
        path, _, alias = " ".join(line).partition(" as ")
        parts = path.split(" . ")
        given = alias or parts[-1]
        if parts in (["rego", "v1"], ["future", "keywords"]) or parts[:2] == ["future", "keywords"]:
            return set()
        if given in _BUILTIN_WORDS:
            self._refuse(self._tokens[at], f"an import under the name of a builtin, {given},")
        plain = all(re.fullmatch(r"\w+", part) for part in (*parts, given))
        return {given} if plain and parts[0] == "data" and len(parts) > 1 else set()

    def _defines(self, at: int) -> bool:
        """Whether a function's head begins here: outside of all brackets, behind the end of something."""
        token = self._tokens[at]
        if token.kind != "name" or token.depth or not self._is(at + 1, "(") or token.text in _KEYWORDS:
            return False
        before = self._tokens[at - 1] if at else None
        if before is None or before.text == "default":
            return True
        if before.line == token.line:
            return False
        return before.kind in {"text", "raw", "number"} or (
            before.text in _CLOSES if before.kind == "operator" else before.text not in _KEYWORDS
        )

    def _check_call(self, at: int, roots: set[str], functions: set[str]) -> None:
        before = self._tokens[at - 1]
        if before.text in _CLOSES or before.kind in {"text", "raw"}:
            self._refuse(before, "a call through brackets")
        if before.kind != "name":
            return
        path, start = [before.text], at - 1
        while self._is(start - 1, "."):
            start -= 2
            if start < 0 or self._tokens[start].kind != "name":
                self._refuse(before, "a call through brackets")
            path.insert(0, self._tokens[start].text)
        called = ".".join(path)
        if len(path) == 1:
            known = called in functions or called in self._allowed or called in _KEYWORDS
        else:
            known = called in self._allowed or path[0] in roots
        if known:
            return
        if path[0] not in _BUILTIN_WORDS:
            raise ConfigError(
                f"{self._name}, line {before.line}: nothing here defines the function {called}",
                remedy="define it, import the package that has it, or look how it is written",
            )
        self._refuse(before, f"the builtin {called}")

    def _need(self, token: _Token, builtin: str) -> None:
        if builtin not in self._allowed:
            self._refuse(token, f"the builtin {builtin} ({token.text})")

    def _is(self, at: int, text: str) -> bool:
        return 0 <= at < len(self._tokens) and self._tokens[at].text == text

    def _refuse(self, token: _Token, what: str) -> NoReturn:
        raise ConfigError(f"{self._name}, line {token.line}: {what} is not allowed", remedy=_REMEDY)
