"""JSON logs, one line an event, no data values: ids, states, reasons."""

from __future__ import annotations

import sys
from pathlib import Path

import structlog


def configure_logging(path: Path | None) -> None:
    """Write the gateway's log to a file (appended, line by line), or to standard error.

    Args:
        path: the log file; None for standard error.
    """
    stream = sys.stderr if path is None else path.open("a", encoding="utf-8", buffering=1)
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            structlog.processors.format_exc_info,
            structlog.processors.JSONRenderer(),
        ],
        wrapper_class=structlog.make_filtering_bound_logger("info"),
        logger_factory=structlog.WriteLoggerFactory(stream),
        cache_logger_on_first_use=True,
    )
