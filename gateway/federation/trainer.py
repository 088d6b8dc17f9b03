"""What a run asks of the zone's own computation. `gateway.compute` fills it; rows stay behind it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from gateway.model.policy_facts import Device
from gateway.model.run import RunSpec
from gateway.model.run_statements import RunDataset


@dataclass(frozen=True, slots=True)
class Work:
    """One zone's part in a run.

    Args:
        run: the run's id.
        zone: this zone.
        spec: the run.
        datasets: those of this zone.
        scratch: a private directory for the governed views; it is removed when the run ends.
    """

    run: str
    zone: str
    spec: RunSpec
    datasets: tuple[RunDataset, ...]
    scratch: Path


@dataclass(frozen=True, slots=True)
class Done:
    """What was computed: figures, and the file that holds it.

    Args:
        digest: SHA-256 of the file.
        bytes: its size.
        examples: rows behind it.
        smallest: rows of the smallest dataset.
        metrics: names and decimal texts.
        devices: what it ran on; empty where nothing was trained.
    """

    digest: str
    bytes: int
    examples: int
    smallest: int
    metrics: tuple[tuple[str, str], ...] = ()
    devices: tuple[Device, ...] = ()


class Trainer(Protocol):
    """The zone's own computation. Outputs are written whole and durable, or not at all.

    Raises (from every coroutine): ComputeError where the process died (the same again may succeed), another error
    of the tree where it would not: TrainingError, AcceleratorError, DataFileError, TooFewRowsError.
    """

    def pin(self, spec: RunSpec) -> str:
        """Check the app's settings; the code digest of the app (hex SHA-256).

        Raises:
            InputError: a setting that the app does not take; the text names it.
        """

    async def prepare(self, work: Work) -> None:
        """Write the governed views: features and target of each dataset, nothing else. Again changes nothing."""

    async def initial(self, spec: RunSpec, out: Path) -> Done:
        """The parameters that the first round opens with: a pure function of the run."""

    async def sums(self, work: Work, out: Path, deadline_s: float) -> Done:
        """Count, sum and sum of squares of each feature over the zone's datasets."""

    async def total(self, spec: RunSpec, sums: Sequence[tuple[Path, int]], out: Path) -> None:
        """Check the zones' sums and make of them what features are scaled with.

        Args:
            spec: the run.
            sums: file and rows of each zone, in one order everywhere.
            out: where it goes.

        Raises:
            UpdateError: sums that no values have, or of other features.
        """

    async def train(
        self, work: Work, round_: int, reference: tuple[Path, str], scaling: Path | None, out: Path, deadline_s: float
    ) -> Done:
        """Train one round on each dataset, aggregate within the zone, clip, write the zone's update.

        Args:
            work: the zone's part.
            round_: from 1.
            reference: the global parameters' file and its digest.
            scaling: what `total` wrote; None leaves features as they are.
            out: where the update goes.
            deadline_s: seconds.
        """

    async def evaluate(self, work: Work, parameters: tuple[Path, str], scaling: Path | None) -> Mapping[str, str]:
        """Loss and quality of given parameters on the zone's own rows: names and decimal texts.

        Args:
            work: the zone's part.
            parameters: file and digest.
            scaling: what `total` wrote; None leaves features as they are.
        """

    async def close(self) -> None:
        """End the process."""
