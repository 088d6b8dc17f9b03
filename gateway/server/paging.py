"""Pages of lists (AIP-158): a size within bounds, a token that names where the next page begins, a known state."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from enum import StrEnum
from typing import Final, TypeVar

from gateway.errors import InputError
from gateway.model import limits
from gateway.v1 import common_pb2

T = TypeVar("T")
_DEFAULT: Final = 100
_TOKEN_MAX_CHARS: Final = 200


def page_size(page: common_pb2.Page) -> int:
    """How many items to return.

    Raises:
        InputError: out of bounds.
    """
    if not 0 <= page.size <= limits.LIST_PAGE_MAX or len(page.token) > _TOKEN_MAX_CHARS:
        raise InputError(f"a page has 1 to {limits.LIST_PAGE_MAX} items", remedy="leave page.size out for 100")
    return page.size or _DEFAULT


def page_of(items: Sequence[T], page: common_pb2.Page, *, key: Callable[[T], str]) -> tuple[list[T], str]:
    """One page of items that are sorted by their key, and the next page's token.

    Raises:
        InputError: the page is malformed.
    """
    size = page_size(page)
    rest = [item for item in items if key(item) > page.token] if page.token else list(items)
    return rest[:size], key(rest[size - 1]) if len(rest) > size else ""


def wanted_states(states: type[StrEnum], text: str) -> list[str]:
    """The states that a listing is cut down to; none: all.

    Raises:
        InputError: there is no such state; a misspelt one must not look like an empty list.
    """
    if not text:
        return []
    if text not in states.__members__:
        raise InputError(f"the state {text[:40]!r} is unknown", remedy=f"use one of: {', '.join(states.__members__)}")
    return [text]


def newest_first(rows: Sequence[T], size: int, *, key: Callable[[T], str]) -> tuple[Sequence[T], str]:
    """Cut a list that was read with one item too many, newest first; the last one's key is the next token."""
    return rows[:size], key(rows[size - 1]) if len(rows) > size else ""
