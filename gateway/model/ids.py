"""UUIDv7 (RFC 9562, section 5.7): the ids of negotiations, agreements, transfers, jobs and decisions.

The standard library makes them from Python 3.14 on; this works from 3.11 on.
"""

from __future__ import annotations

import os
import re
import time
from typing import Final

from gateway.errors import InputError

_PATTERN: Final = re.compile(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}")
_TIMESTAMP_BITS: Final = 48


def uuid7(*, unix_ms: int | None = None) -> str:
    """A new UUIDv7 in its lower-case text form; ids of different milliseconds sort by time.

    Args:
        unix_ms: milliseconds since 1970-01-01 UTC; the wall clock where left out.

    Raises:
        InputError: the time does not fit 48 bits.
    """
    stamp = time.time_ns() // 1_000_000 if unix_ms is None else unix_ms
    if not 0 <= stamp < 1 << _TIMESTAMP_BITS:
        raise InputError(f"the time {stamp} ms does not fit a UUIDv7")
    noise = int.from_bytes(os.urandom(10), "big")
    value = stamp << 80 | 0x7 << 76 | (noise >> 68) << 64 | 0b10 << 62 | noise & ((1 << 62) - 1)
    text = f"{value:032x}"
    return f"{text[:8]}-{text[8:12]}-{text[12:16]}-{text[16:20]}-{text[20:]}"


def parse_uuid7(text: str) -> str:
    """The text itself, where it is a UUIDv7 in the one form that this system writes.

    Raises:
        InputError: anything else: another version or variant, upper case, braces, a URN.
    """
    if not isinstance(text, str) or _PATTERN.fullmatch(text) is None:
        raise InputError(
            "not a UUIDv7", remedy="give the id as it was printed: 8-4-4-4-12 lower-case hexadecimal digits"
        )
    return text


def uuid7_unix_ms(text: str) -> int:
    """The milliseconds since 1970-01-01 UTC that a UUIDv7 carries.

    Raises:
        InputError: the text is not a UUIDv7.
    """
    return int(parse_uuid7(text).replace("-", "")[:12], 16)
