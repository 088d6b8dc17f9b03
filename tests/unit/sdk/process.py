"""Running the small gateway as a process of its own."""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[3]


@dataclass(frozen=True)
class SmallZone:
    """Where a running small gateway's profiles lie."""

    directory: Path

    @property
    def partner(self) -> Path:
        """The partner's profile."""
        return self.directory / "um" / "profile.toml"

    @property
    def admin(self) -> Path:
        """The administrator's profile."""
        return self.directory / "root" / "profile.toml"


@contextmanager
def running(directory: Path) -> Iterator[SmallZone]:
    """Start it, wait until it serves, end it."""
    command = [sys.executable, "-m", "tests.unit.sdk.small_gateway", str(directory)]
    with subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True) as process:
        try:
            assert process.stdout is not None
            line = process.stdout.readline()
            assert line == "ready\n", "the small gateway did not start"
            yield SmallZone(directory)
        finally:
            process.kill()
