"""Finds variables that never get a value: the embedded engine takes such a rule, and the rule then says nothing.

OPA refuses them ("var x is unsafe"); a gateway without one must too, or a misspelt name is a guard that never speaks.
What is looked for is a name that nothing in its whole rule could give a value: no `:=`, `=`, `some`, `every`, index
or argument of the rule's own head, no import, and no rule of its package. A name that gets one in another body of the
same rule is not found here, and is by OPA.
"""

from __future__ import annotations

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from gateway.decisions.capabilities import code_of
from gateway.errors import ConfigError

_TOKEN: Final = re.compile(r'(?P<line>\n)|(?P<name>[A-Za-z_]\w*)|(?P<sign>"[^"\n]*"|:=|[=!<>]=|[^\s\w])', re.ASCII)
_KEYWORDS: Final = frozenset(
    "as contains data default else every false if import in input not null package some true with".split()  # noqa: SIM905
)
_OPENS: Final = frozenset("([{")
_CLOSES: Final = frozenset(")]}")
REMEDY: Final = "write the name as it is written where it gets its value, or import what it names"


@dataclass(frozen=True, slots=True)
class Unbound:
    """A variable without a value.

    Args:
        module: the module's path.
        line: from 1, of its first mention.
        name: as it is written.
    """

    module: str
    line: int
    name: str

    @property
    def text(self) -> str:
        """What is wrong, one sentence."""
        return f"the variable {self.name} never gets a value, so the rule never speaks"


@dataclass(frozen=True, slots=True)
class _Token:
    text: str
    line: int
    named: bool
    first: bool  # of its line, outside of all brackets


def unbound(modules: Mapping[str, str]) -> Iterator[Unbound]:
    """Variables that never get a value.

    Args:
        modules: Rego texts by path, tests left out; those of one folder are one package.
    """
    packages: defaultdict[str, list[tuple[str, str]]] = defaultdict(list)
    for name, text in sorted(modules.items()):
        packages[name.rpartition("/")[0]].append((name, text))
    for package in packages.values():
        yield from _unbound(tuple(package))


@lru_cache(maxsize=128)  # most packages of a policy are those of the policy before
def _unbound(package: tuple[tuple[str, str], ...]) -> tuple[Unbound, ...]:
    tokens = {name: _tokens(text) for name, text in package}
    rules = {token.text for found in tokens.values() for token in _heads(found)}
    unbound = list[Unbound]()
    for name, found in tokens.items():
        known = rules | _imported(found)
        for statement in _statements(found):
            seen: set[str] = set()
            bound = known | _bound(statement)
            for token in _mentioned(statement):
                if token.text not in bound and token.text not in seen:
                    seen.add(token.text)
                    unbound.append(Unbound(name, token.line, token.text))
    return tuple(unbound)


def check(modules: Mapping[str, str]) -> None:
    """Refuse modules with a variable that never gets a value.

    Raises:
        ConfigError: names the module, the line and the variable.
    """
    for found in unbound(modules):
        raise ConfigError(f"{found.module}, line {found.line}: {found.text}", remedy=REMEDY)


def _tokens(text: str) -> list[_Token]:
    found, line, depth, fresh = list[_Token](), 1, 0, True
    for match in _TOKEN.finditer(code_of(text)):
        if match["line"]:
            line, fresh = line + 1, True
            continue
        sign = match[0]
        depth -= sign in _CLOSES
        found.append(_Token(sign, line, match["name"] is not None, fresh and depth == 0))
        depth += sign in _OPENS
        fresh = False
    return found


def _statements(tokens: list[_Token]) -> Iterator[list[_Token]]:
    """What begins at the left, each with what follows it; package and imports left out."""
    starts = [n for n, token in enumerate(tokens) if token.first and token.named and token.text != "else"]
    for start, end in zip(starts, [*starts[1:], len(tokens)], strict=True):
        if tokens[start].text not in ("package", "import"):
            yield tokens[start:end]


def _heads(tokens: list[_Token]) -> Iterator[_Token]:
    """The names that rules define."""
    for statement in _statements(tokens):
        named = statement[statement[0].text == "default" :]
        yield from named[:1]


def _imported(tokens: list[_Token]) -> set[str]:
    """The names by which imports go: the last of each import's line."""
    found: dict[int, str] = {}
    lines = {token.line for token in tokens if token.first and token.text == "import"}
    for token in tokens:
        if token.line in lines and token.named:
            found[token.line] = token.text
    return set(found.values())


def _mentioned(statement: list[_Token]) -> Iterator[_Token]:
    """Names that stand for values: no keywords, no steps of a path, no functions that are called."""
    for at, token in enumerate(statement):
        if not token.named or token.text in _KEYWORDS or token.text == "_" or _sign(statement, at - 1) == ".":
            continue
        end = at + 1
        while _sign(statement, end) == "." and end + 1 < len(statement):
            end += 2
        if _sign(statement, end) != "(":
            yield token


def _bound(statement: list[_Token]) -> set[str]:
    """Every name that something in the statement could give a value; takes time in proportion to its length."""
    pairs = _pairs(statement)
    depth = [0] * (len(statement) + 1)  # of places that give values, as the sum up to a token
    for start, end in _places(statement, pairs):
        depth[start] += 1
        depth[min(end, len(statement))] -= 1
    found, covered = set[str](), 0
    for token, change in zip(statement, depth, strict=False):
        covered += change
        if covered and token.named and token.text not in _KEYWORDS:
            found.add(token.text)
    return found


def _places(statement: list[_Token], pairs: Mapping[int, int]) -> Iterator[tuple[int, int]]:
    """From and to which token something gives values to the names that stand there."""
    head = _head_end(statement)
    for at, token in enumerate(statement):
        before = statement[at - 1] if at else None
        match token.text:
            case ":=" | "=":
                yield pairs.get(at - 1, at - 1), at
                if token.text == "=":
                    yield at + 1, max(pairs.get(at + 1, at + 1) + 1, at + 2)
            case "some" | "every":
                yield at + 1, _declared(statement, at)
            case "[" if before is not None and (_value(before) or before.text in ("]", ")")):
                yield at, pairs.get(at, len(statement))
            case "(" if before is not None and (at == head or before.text == "walk"):
                yield at, pairs.get(at, len(statement))
            case _:
                pass


def _pairs(statement: list[_Token]) -> dict[int, int]:
    """Where the bracket stands that belongs to the one at a place, both ways."""
    open_, found = list[int](), dict[int, int]()
    for at, token in enumerate(statement):
        if token.text in _OPENS:
            open_.append(at)
        elif token.text in _CLOSES and open_:
            start = open_.pop()
            found[start], found[at] = at, start
    return found


def _head_end(statement: list[_Token]) -> int:
    """The place behind the name of the rule, which may be a path."""
    end = 1 + (statement[0].text == "default")
    while _sign(statement, end) == ".":
        end += 2
    return end


def _declared(statement: list[_Token], at: int) -> int:
    """Where the names end that stand behind `some` or `every`: at `in`, or at the end of the line."""
    for end in range(at + 1, len(statement)):
        token, before = statement[end], statement[end - 1]
        if token.text in ("in", "some", "every", ";"):
            return end
        if token.line != before.line and end > at + 1 and before.text != ",":
            return end
    return len(statement)


def _value(token: _Token) -> bool:
    return token.named and token.text not in _KEYWORDS - {"input", "data"}


def _sign(statement: list[_Token], at: int) -> str:
    return statement[at].text if 0 <= at < len(statement) and not statement[at].named else ""
