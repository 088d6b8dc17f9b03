"""JSON read token by token, so that memory stays flat whatever a hostile file nests, repeats or leaves open.

Source: RFC 8259. Numbers are checked and never converted; strings keep their escapes.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from typing import Final

DEPTH_MAX: Final = 64
STRING_MAX: Final = 1 << 20  # bytes of one string, with its escapes
TOKENS_MAX: Final = 1_000_000  # read one by one; vocabularies are read many members at a time

STRING: Final = "s"
NUMBER: Final = "n"
WORD: Final = "w"

_TOKEN: Final = re.compile(
    rb'[ \t\n\r]*(?:(?P<s>"[^"\\\x00-\x1f]*(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*)*")'
    rb"|(?P<n>-?(?:0|[1-9][0-9]*)(?:\.[0-9]+)?(?:[eE][+-]?[0-9]+)?)"
    rb"|(?P<w>true|false|null)|(?P<p>[\[\]{},:]))"
)
# What files of vocabularies are made of, matched many at a time: members and items with a plain value, and items
# that are short lists of plain values. The quantifiers are possessive: nothing is tried twice.
_WS = rb"[ \t\n\r]*+"
_STRING = rb'"[^"\\\x00-\x1f]*+(?:\\(?:["\\/bfnrt]|u[0-9a-fA-F]{4})[^"\\\x00-\x1f]*+)*+"'
_SCALAR = rb"(?:" + _STRING + rb"|-?(?:0|[1-9][0-9]*+)(?:\.[0-9]++)?+(?:[eE][+-]?[0-9]++)?+|true|false|null)"
_LIST = rb"\[" + _WS + _SCALAR + rb"(?:" + _WS + rb"," + _WS + _SCALAR + rb")*+" + _WS + rb"\]"
_MEMBERS: Final = re.compile(rb"(?:" + _WS + _STRING + _WS + rb":" + _WS + _SCALAR + _WS + rb",)++")
_ITEMS: Final = re.compile(rb"(?:" + _WS + rb"(?:" + _SCALAR + rb"|" + _LIST + rb")" + _WS + rb",)++")
_SPACE: Final = re.compile(rb"[ \t\n\r]*")
_WORDS: Final = (b"true", b"false", b"null")
_NUMBER_MAX: Final = 400  # a double with all its digits
_NUMBER_CHARS: Final = b"0123456789+-.eE"


class JsonError(ValueError):
    """The text is not JSON within these bounds; the first argument says why."""


class Tokens:
    """Cuts a text that comes in pieces into tokens.

    A token is (kind, text): kind is one of the constants above, or the punctuation itself.
    """

    def __init__(self) -> None:
        self._text = b""
        self._at = 0
        self.count = 0

    def feed(self, data: bytes | memoryview, *, last: bool = False) -> Iterator[tuple[str, bytes]]:
        """The tokens that are whole now.

        Args:
            data: the next piece; UTF-8, which is the caller's to check.
            last: nothing follows.

        Raises:
            JsonError: no token begins here, one is too long, or there are too many.
        """
        self._text = self._text[self._at :] + bytes(data) if self._at < len(self._text) else bytes(data)
        self._at = 0
        while True:
            found = _TOKEN.match(self._text, self._at)
            if found is None:
                break
            kind = found.lastgroup or ""
            # A number may go on in the next piece: its point or exponent too.
            behind = self._text[found.end() : found.end() + 3] if kind == NUMBER and not last else b"..."
            if len(behind) < 3 and not behind.strip(_NUMBER_CHARS):
                break
            self._at = found.end()
            self.count += 1
            if self.count > TOKENS_MAX:
                raise JsonError(f"it has more than {TOKENS_MAX} values and marks")
            token = found[kind]
            if len(token) > (STRING_MAX if kind == STRING else _NUMBER_MAX):
                raise JsonError("a string or number is too long")
            yield (token.decode("ascii") if kind == "p" else kind), token
        space = _SPACE.match(self._text, self._at)
        self._at = space.end() if space is not None else self._at
        rest = self._text[self._at :]
        if rest and (last or not _may_go_on(rest)):
            raise JsonError(f"it is not JSON at {rest[:20]!r}")

    def skip(self, pattern: re.Pattern[bytes]) -> bool:
        """Pass over what a pattern matches where the next token would begin; between two tokens of `feed`."""
        found = pattern.match(self._text, self._at)
        if found is None:
            return False
        self._at = found.end()
        return True


def _may_go_on(rest: bytes) -> bool:
    if rest[:1] == b'"':
        return len(rest) <= STRING_MAX
    if rest[:1] in b"-0123456789":
        return len(rest) <= _NUMBER_MAX and not rest.strip(_NUMBER_CHARS)
    return any(word.startswith(rest) for word in _WORDS)


class JsonCheck:
    """Whether a text that comes in pieces is one JSON value."""

    def __init__(self) -> None:
        self._tokens = Tokens()
        self._open: list[str] = []
        self._state = "value"  # what may stand next: value, first (a value or the end), name, key, colon, after, end

    def feed(self, data: bytes | memoryview, *, last: bool = False) -> None:
        """Take the next piece.

        Raises:
            JsonError: it is not JSON.
        """
        for kind, _ in self._tokens.feed(data, last=last):
            self._step(kind)
            if self._state in ("name", "key") and self._tokens.skip(_MEMBERS):
                self._state = "key"
            elif self._state in ("first", "value") and self._open[-1:] == ["["] and self._tokens.skip(_ITEMS):
                self._state = "value"
        if last and self._state != "end":
            raise JsonError("it ends too early")

    def _step(self, kind: str) -> None:
        state = self._state
        if state in ("value", "first") and kind in (STRING, NUMBER, WORD):
            self._after_value()
        elif state in ("value", "first") and kind in ("{", "["):
            if len(self._open) >= DEPTH_MAX:
                raise JsonError(f"it has more than {DEPTH_MAX} levels")
            self._open.append(kind)
            self._state = "name" if kind == "{" else "first"
        elif state in ("name", "key") and kind == STRING:
            self._state = "colon"
        elif state == "colon" and kind == ":":
            self._state = "value"
        elif state == "after" and kind == ",":
            self._state = "key" if self._open[-1] == "{" else "value"
        elif (state in ("after", "name") and kind == "}" and self._open[-1] == "{") or (
            state in ("after", "first") and kind == "]" and self._open[-1] == "["
        ):
            self._open.pop()
            self._after_value()
        else:
            raise JsonError(f"a {kind!r} has no place where it stands")

    def _after_value(self) -> None:
        self._state = "after" if self._open else "end"
