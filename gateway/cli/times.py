"""Times on the command line."""

from __future__ import annotations

import datetime
import re
import time
from typing import Final

from gateway.errors import InputError

_AGO: Final = re.compile(r"(\d{1,6})([smhdw])")
_UNITS: Final = {"s": 1, "m": 60, "h": 3_600, "d": 86_400, "w": 604_800}


def since(text: str, *, now: int | None = None) -> int:
    """When something began: `30d` (s, m, h, d, w ago) or a day as 2026-11-22, UTC; "" is the beginning.

    Returns:
        Unix seconds UTC.

    Raises:
        InputError: neither.
    """
    if not text:
        return 0
    at = int(time.time()) if now is None else now
    if found := _AGO.fullmatch(text):
        return max(0, at - int(found[1]) * _UNITS[found[2]])
    try:
        day = datetime.date.fromisoformat(text)
    except ValueError as error:
        raise InputError(f"{text!r} is no time", remedy="write 30d, 12h, or a day as 2026-11-22") from error
    return int(datetime.datetime(day.year, day.month, day.day, tzinfo=datetime.UTC).timestamp())
