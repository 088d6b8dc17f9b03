"""`[decisions]` of `gateway.toml`: how long the zone's decision log stays, and how large it may become."""

from __future__ import annotations

from dataclasses import dataclass

from gateway.config.toml import Document
from gateway.model import limits


@dataclass(frozen=True, slots=True, kw_only=True)
class DecisionLogSettings:
    """How the decision log is kept.

    Args:
        days: a record stays so many days; then nobody can replay its decision, nor open its commitment, any more.
        bytes: all of the log together; beyond it the oldest days go first.
    """

    days: int = limits.DECISION_LOG_DAYS
    bytes: int = limits.DECISION_LOG_BYTES


def read_decision_log(document: Document) -> DecisionLogSettings:
    """Read the table.

    Raises:
        ConfigError: a key is wrong.
    """
    section = document.section("decisions", optional=True)
    return DecisionLogSettings(
        days=section.integer("days", 1, 36_600, default=limits.DECISION_LOG_DAYS),
        bytes=section.integer("bytes", 1 << 20, (1 << 53) - 1, default=limits.DECISION_LOG_BYTES),
    )


def decision_log_lines(settings: DecisionLogSettings) -> list[str]:
    """The table as lines of `gateway.toml`; none for the defaults."""
    if settings == DecisionLogSettings():
        return []
    return ["", "[decisions]", f"days = {settings.days}", f"bytes = {settings.bytes}"]
