"""DuckDB, always hardened: it reads and writes no file but its own, loads nothing, and cannot be told otherwise."""

from __future__ import annotations

import os
from types import ModuleType
from typing import Any, Final

from ledger.errors import OperationalError

__all__ = ["MEMORY_LIMIT_MIB", "connect", "engine"]

MEMORY_LIMIT_MIB: Final = 1024
_THREADS: Final = 4


def engine() -> ModuleType:
    """The module `duckdb`.

    Raises:
        OperationalError: it is not installed.
    """
    try:
        import duckdb
    except ImportError as error:
        raise OperationalError("the ledger's index needs DuckDB", remedy="pip install 'tdz-gateway[sql]'") from error
    return duckdb


def connect(path: str, *, read_only: bool, memory_mib: int = MEMORY_LIMIT_MIB) -> Any:
    """Open a database file.

    Args:
        path: the file.
        read_only: whether nothing may be changed in it.
        memory_mib: what a query may use; it fails beyond, since nothing may be spilled to a disk.

    Raises:
        duckdb.Error: it is no database, or another process has it open.
    """
    config: dict[str, str | bool | int | float | list[str]] = {
        "enable_external_access": "false",
        "autoinstall_known_extensions": "false",
        "autoload_known_extensions": "false",
        "allow_community_extensions": "false",
        "memory_limit": f"{memory_mib}MiB",
        "temp_directory": "",
        # DuckDB 2.0.0 and 2.0.1 lose a LIMIT over a LEFT JOIN whose right side this optimizer finds to be empty.
        "disabled_optimizers": "statistics_propagation",
        "threads": str(min(_THREADS, os.cpu_count() or 1)),
        "lock_configuration": "true",
    }
    return engine().connect(path, read_only=read_only, config=config)
