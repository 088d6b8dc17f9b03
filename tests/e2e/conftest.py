"""One corridor of two gateway processes for many tests, and small ones in this process for tests of their own."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.parquet as pq
import pytest
import pytest_asyncio

import gateway.sdk as tdz
from gateway.cli.demo.corridor import Corridor, ZoneProcess
from gateway.flow.house import Timing
from tests.e2e.material import (
    CYBERJAYA,
    LINGANG,
    PLANTED_LIST,
    PLANTED_NAMES,
    institution,
    mixed,
    open_dataset,
    patients,
)
from tests.e2e.small import QUICK, Small, small_corridor


@dataclass(frozen=True)
class Said:
    """How a command ended."""

    code: int
    out: str
    err: str

    @property
    def document(self) -> Any:
        """The one JSON document on standard output."""
        return json.loads(self.out)


def ended(process: subprocess.Popen[str]) -> Said:
    """What a command said, once it has ended."""
    with process:
        try:
            out, err = process.communicate(timeout=60)
        except BaseException:
            process.kill()
            raise
    return Said(process.returncode, out, err)


@dataclass(frozen=True)
class Scene:
    """Both zones as processes, paired, with their institutions and two datasets.

    Args:
        corridor: the processes.
        directory: for the tests' own files.
        table: the rows of datasets/open.
    """

    corridor: Corridor
    directory: Path
    table: pa.Table
    profiles: dict[str, Path] = field(default_factory=dict)

    @property
    def cyberjaya(self) -> ZoneProcess:
        return self.corridor.zone(CYBERJAYA)

    @property
    def lingang(self) -> ZoneProcess:
        return self.corridor.zone(LINGANG)

    def connect(self, who: str) -> tdz.Zone:
        """A connection as one of the institutions."""
        return tdz.connect(self.profiles[who])

    def start(self, *arguments: object, as_: str = "", cwd: Path | None = None) -> subprocess.Popen[str]:
        """Start `tdz` as a process of its own."""
        environment = {**os.environ, "NO_COLOR": "1", "COLUMNS": "200"}
        environment.pop("TDZ_PROFILE", None)
        if as_:
            environment["TDZ_PROFILE"] = str(self.profiles[as_])
        return subprocess.Popen(
            [sys.executable, "-m", "gateway.cli.main", *map(str, arguments)],
            cwd=cwd or Path.cwd(),
            env=environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )

    def run(self, *arguments: object, as_: str = "", cwd: Path | None = None) -> Said:
        """Run `tdz` to its end."""
        return ended(self.start(*arguments, as_=as_, cwd=cwd))

    @staticmethod
    def with_receipts(zone: tdz.Zone, transfer: str) -> tdz.Transfer:
        """A transfer as soon as both receipts are there."""
        until = time.monotonic() + 20
        while not (found := zone.transfer(transfer)).peer_receipt:
            assert time.monotonic() < until, f"no receipt: {found}"
            time.sleep(0.02)
        return found

    def agreement(self, dataset: str = "datasets/open", by: str = "um") -> str:
        """A new agreement in force."""
        with self.connect(by) as zone:
            return zone.request(dataset, purpose="research").agreement


@pytest.fixture(scope="session")
def scene(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Scene]:
    """The corridor that most tests share; nobody may leave it different for the others."""
    directory = tmp_path_factory.mktemp("corridor")
    with Corridor.make(directory) as corridor:
        corridor.start()
        corridor.pair()
        made = Scene(corridor, tmp_path_factory.mktemp("files"), mixed())
        for zone, ids in ((CYBERJAYA, ("um", "uitm", "hospital", "ghost")), (LINGANG, ("lab", "ai-lab"))):
            process = corridor.zone(zone)
            for who in ids:
                made.profiles[who] = process.enrol(who)
                if who != "ghost":  # enrolled, yet in no register
                    name = PLANTED_NAMES[0] if who == "um" else PLANTED_NAMES[1] if who == "lab" else f"Institute {who}"
                    parts = institution(name, "MY" if zone == CYBERJAYA else "CN")
                    process.register(who, *parts, lists=PLANTED_LIST)
        pq.write_table(made.table, made.directory / "open.parquet")
        with made.connect("lab") as lab:
            lab.publish(made.table, open_dataset("open"))
        with made.connect("hospital") as hospital:
            hospital.publish(made.table.select(["n", "site"]).slice(0, 300), patients("patients"))
        yield made


@pytest.fixture
def small(tmp_path: Path) -> Callable[..., AbstractAsyncContextManager[Small]]:
    """Makes a corridor in this process, with the test's own deadlines."""

    def make(timing: Timing = QUICK) -> AbstractAsyncContextManager[Small]:
        return small_corridor(tmp_path / "small", timing)

    return make


@pytest_asyncio.fixture(scope="module", loop_scope="module")
async def shared(tmp_path_factory: pytest.TempPathFactory) -> AsyncIterator[Small]:
    """A corridor in this process that the tests of one module share."""
    async with small_corridor(tmp_path_factory.mktemp("shared")) as made:
        yield made
