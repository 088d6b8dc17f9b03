"""HTML and SVG as values: every text is escaped, because there is no way to write one that is not."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable
from typing import Final, TypeAlias

__all__ = ["Content", "Markup", "el", "joined", "raw"]

_NAME: Final = re.compile(r"[a-zA-Z][a-zA-Z0-9-]*")
_VOID: Final = frozenset({"br", "meta", "input", "link", "hr"})
# Neither HTML nor XML may hold these; bidirectional controls could turn a text's order about.
_UNPRINTABLE: Final = re.compile(
    "[\x00-\x08\x0b\x0c\x0e-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u2069\ufeff\ufffe\uffff]"
)


class Markup:
    """Finished markup. Only this module makes it, from escaped texts, and from constants of ours by :func:`raw`."""

    __slots__ = ("_text",)

    def __init__(self, text: str) -> None:
        self._text = text

    def __str__(self) -> str:
        return self._text


Content: TypeAlias = "Markup | str | int | Iterable[Content] | None"


def raw(constant: str) -> Markup:
    """Markup of a constant in our own source; never of anything that was read."""
    return Markup(constant)


def joined(content: Content) -> Markup:
    """Any content, escaped."""
    return Markup(_render(content))


def el(tag: str, /, *content: Content, **attributes: str | int | float | bool | None) -> Markup:
    """An element.

    Args:
        tag: its name.
        content: texts are escaped, markup stays.
        attributes: ``class_`` is class, other underscores are hyphens; None and False leave one out, True names it.

    Raises:
        ValueError: a name that is none.
    """
    parts = [tag]
    for key, value in attributes.items():
        attribute = key.rstrip("_").replace("_", "-")
        if not _NAME.fullmatch(attribute) or attribute.lower().startswith("on"):
            raise ValueError(f"{attribute} is no attribute of ours")
        if value is None or value is False:
            continue
        parts.append(attribute if value is True else f'{attribute}="{_escape(str(value))}"')
    if not _NAME.fullmatch(tag):
        raise ValueError(f"{tag} is no element")
    opening = f"<{' '.join(parts)}>"
    return Markup(opening if tag in _VOID else f"{opening}{_render(content)}</{tag}>")


def _render(content: Content) -> str:
    if content is None:
        return ""
    if isinstance(content, Markup):
        return str(content)
    if isinstance(content, (str, int)):
        return _escape(str(content))
    return "".join(map(_render, content))


def _escape(text: str) -> str:
    return html.escape(_UNPRINTABLE.sub("\ufffd", text), quote=True)
