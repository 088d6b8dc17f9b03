"""The outcome of a run as a model artifact in the zones that its agreement names."""

from __future__ import annotations

from pathlib import Path
from typing import Protocol

from gateway.federation import rows


class Outcomes(Protocol):
    """Publishes what runs come to."""

    async def publish(self, row: rows.RunRow, parameters: Path, digest: str) -> str:
        """Publish the final parameters in this zone; again changes nothing.

        Args:
            row: the run, with every round completed.
            parameters: the container of the final parameters.
            digest: its SHA-256.

        Returns:
            The resource name `models/{id}`.
        """
