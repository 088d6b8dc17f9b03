"""Keeping resident memory flat while chunks of 2 MiB come and go, and the collector of garbage out of the way.

glibc gives each thread an arena of its own and raises its mmap threshold with every large block that is freed, and
Arrow's default pool keeps what it once had: a few hundred megabytes stay with the process long after the data has
left. One arena, fixed thresholds and the system's allocator hand large blocks back at once.

This module imports nothing that starts threads or allocates much: it has to come first.
"""

from __future__ import annotations

import ctypes
import gc
import os
from typing import Final

_MIB: Final = 1 << 20

# malloc.h of glibc; other C libraries have no mallopt, or one that refuses, and keep their own ways.
_M_TRIM_THRESHOLD: Final = -1
_M_MMAP_THRESHOLD: Final = -3
_M_ARENA_MAX: Final = -8


def bound_allocators() -> bool:
    """Set the allocators' bounds, before pyarrow and gRPC are loaded. Whether the C library took them."""
    os.environ.setdefault("ARROW_DEFAULT_MEMORY_POOL", "system")  # Arrow reads it when it is loaded
    try:
        mallopt = ctypes.CDLL(None).mallopt
    except (OSError, AttributeError):
        return False
    bounds = ((_M_ARENA_MAX, 1), (_M_MMAP_THRESHOLD, _MIB), (_M_TRIM_THRESHOLD, 8 * _MIB))
    return all(mallopt(option, value) == 1 for option, value in bounds)


def keep_what_is_loaded() -> None:
    """Never look for garbage again in what a process is made of once it serves.

    A full collection goes through 150,000 objects of modules, messages and models, and every call in the process
    waits for it, 80 ms and more.
    """
    gc.collect()
    gc.freeze()
