"""Dates of packs and lists: past, or soon."""

from __future__ import annotations

import datetime
import json
import re
from collections.abc import Iterator
from typing import Any, Final

from gateway.decisions.authoring.problem import Problem
from gateway.decisions.authoring.sources import Sources

SOON_S: Final = 90 * 86_400
_PACK: Final = re.compile(r"tdz/packs/[^/]+/manifest/data\.json")
_LIST: Final = re.compile(r"tdz/lists/[^/]+/[^/]+/data\.json")


def problems(sources: Sources, *, now: int) -> Iterator[Problem]:
    """Packs and lists without dates, out of date, or soon to be.

    Args:
        now: Unix seconds UTC.
    """
    for name, text in sources.texts.items():
        pack, listed = _PACK.fullmatch(name), _LIST.fullmatch(name)
        if not pack and not listed:
            continue
        try:
            document = json.loads(text)
        except ValueError as error:
            if listed:  # a manifest's is said with its pack
                yield Problem(name, getattr(error, "lineno", 0), f"it is not JSON: {error}", "mend it", "dates")
            continue
        if isinstance(document, dict):
            yield from _dated(name, document, is_pack=pack is not None, now=now)


def _dated(name: str, document: dict[str, Any], *, is_pack: bool, now: int) -> Iterator[Problem]:
    until = document.get("valid_until")
    what = "pack" if is_pack else "list"
    if type(until) is not int or not 0 < until < 1 << 53:
        yield Problem(name, 0, f"the {what} has no valid_until", "write it in Unix seconds UTC", "dates")
        return
    if not is_pack and not document.get("source"):
        yield Problem(name, 0, "the list names no source", "write where it was published", "dates")
    if is_pack and type(document.get("legal_as_of")) is not int:
        yield Problem(
            name, 0, "the pack has no legal_as_of", "write when counsel looked at it, in Unix seconds", "dates"
        )
    day = datetime.datetime.fromtimestamp(min(until, 253_402_300_799), tz=datetime.UTC).date().isoformat()
    if until <= now and is_pack:
        yield Problem(name, 0, f"the pack ended on {day}: it denies everything", "activate a current revision", "dates")
    elif until <= now:
        yield Problem(
            name, 0, f"the list ended on {day}: it exempts nothing", "check whether it was renewed", "dates", "warning"
        )
    elif until - now < SOON_S:
        text = f"the {what} ends on {day}, in {(until - now) // 86_400} days"
        yield Problem(name, 0, text, "have it looked at and write a new revision", "dates", "warning")
