"""Keeping resident memory flat while chunks of 2 MiB come and go.

glibc gives each thread an arena of its own and raises its mmap threshold with every large block that is freed, so a
few hundred megabytes stay with the process long after the data has left. One arena and fixed thresholds hand large
blocks back to the system at once. See docs/decisions/.
"""

from __future__ import annotations

import ctypes
from typing import Final

import pyarrow as pa

from gateway.model import limits

# malloc.h of glibc; other C libraries have no mallopt, or one that refuses, and keep their own ways.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def bound_allocators() -> bool:
    """Set the allocators' bounds; called once, before threads start. Whether the C library took them."""
    pa.set_memory_pool(pa.system_memory_pool())
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    return all(
        mallopt(option, value) == 1
        for option, value in (
            (_M_ARENA_MAX, 1),
            (_M_MMAP_THRESHOLD, limits.MIB),
            (_M_TRIM_THRESHOLD, 8 * limits.MIB),
        )
    )
