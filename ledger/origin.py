"""The name of a log: ``tdz/<zone>/<label>``."""

from __future__ import annotations

__all__ = ["zone_of"]


def zone_of(origin: str) -> str:
    """The zone of an origin ``tdz/<zone>/<label>``; the origin itself where it is another kind of name."""
    parts = origin.split("/")
    return parts[1] if len(parts) == 3 and parts[0] == "tdz" else origin
