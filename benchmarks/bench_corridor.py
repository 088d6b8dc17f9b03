"""A corridor for measuring: two real gateways, one institution each, tables of random numbers."""

from __future__ import annotations

import resource
import shutil
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import pyarrow as pa
import pyarrow.flight as flight

import gateway.sdk as tdz
from gateway.cli.demo.corridor import Corridor, ZoneProcess

ROWS_A_BATCH = 2 * 1024 * 1024 // (8 * 8)  # 2 MiB: eight columns of 8 bytes
INSTITUTION = {
    "legal_name": "Bench",
    "kind": "university",
    "sector": "research",
    "ciio": "no",
    "ftz_registered": "no",
    "lingang_activity": "no",
    "dpo_required": "no",
    "dpo_ref": "",
}
MANIFEST = """
id: {id}
title: Bench table {id}
description: random numbers
licence: CC0
dataset:
  sector: transport
  origin_jurisdictions: [CN]
  origin: domestic
  controller: Bench
  gov_source: none
  category: none
  my: {{sensitivity: none, subjects: 0, sensitive_subjects: 0}}
  cn:
    class: general
    notified_important: "no"
    basis: none
    exemption: none
    subjects_non_sensitive: 0
    subjects_sensitive: 0
    spi_types: []
    hgr: {{kind: none, persons: 0, special: none}}
    list_item_id: ""
terms:
  offered_to: {{zones: [cyberjaya]}}
  purposes: [research]
"""


def random_batches(mib: int) -> Iterator[Any]:
    """Record batches of incompressible numbers, 2 MiB each."""
    rng = np.random.default_rng(7)
    for _ in range(mib // 2):
        columns = [pa.array(rng.random(ROWS_A_BATCH)) for _ in range(8)]
        yield pa.RecordBatch.from_arrays(columns, names=[f"c{i}" for i in range(8)])


def random_reader(mib: int) -> Any:
    """The same as a RecordBatchReader."""
    schema = pa.schema([(f"c{i}", pa.float64()) for i in range(8)])
    return pa.RecordBatchReader.from_batches(schema, random_batches(mib))


class Bench:
    """Two gateways with one partner each: `um` in cyberjaya, `shlab` in lingang."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.corridor = Corridor.make(directory)

    @property
    def consumer(self) -> ZoneProcess:
        """Cyberjaya."""
        return self.corridor.zone("cyberjaya")

    @property
    def provider(self) -> ZoneProcess:
        """Lin-gang."""
        return self.corridor.zone("lingang")

    def start(self) -> None:
        """Start, pair, enrol."""
        self.corridor.start()
        self.corridor.pair()
        self.um = self.consumer.enrol("um")
        self.shlab = self.provider.enrol("shlab")
        for zone, name, country in ((self.consumer, "um", "MY"), (self.provider, "shlab", "CN")):
            recipient = {
                "legal_name": name,
                "kind": "university",
                "hq_country": country,
                "ultimate_parent_country": country,
                "owners": [],
            }
            zone.register(name, INSTITUTION, recipient)

    def publish(self, identifier: str, source: Any) -> Any:
        """Publish a file or a reader in Lin-gang."""
        manifest = self.directory / f"{identifier}.yaml"
        manifest.write_text(MANIFEST.format(id=identifier))
        with tdz.connect(str(self.shlab)) as zone:
            return zone.publish(source, manifest)

    def forget_landed(self) -> None:
        """Take what has landed off the consumer's disk, so that the next pull moves every byte again."""
        data = self.consumer.layout.chunks.parent
        for chunk in (data / "chunks").glob("*/*"):
            chunk.unlink()
        for version in (data / "versions").glob("*/*"):
            shutil.rmtree(version)


def flight_client(made: Bench) -> Any:
    """An unmodified pyarrow.flight client with the partner's certificate."""
    um = made.um.parent
    return flight.FlightClient(
        f"grpc+tls://{made.consumer.settings.endpoint}",
        tls_root_certs=made.consumer.layout.ca.read_bytes(),
        cert_chain=(um / "cert.pem").read_bytes(),
        private_key=(um / "key.pem").read_bytes(),
    )


@contextmanager
def bench(directory: Path) -> Iterator[Bench]:
    """A started bench; its gateways end with the context, its directory goes."""
    shutil.rmtree(directory, ignore_errors=True)
    directory.mkdir(parents=True)
    made = Bench(directory)
    try:
        made.start()
        yield made
    finally:
        made.corridor.stop()
        shutil.rmtree(directory, ignore_errors=True)


class PeakMemory:
    """Samples the resident memory of process trees, MiB; a context. Light, since it runs beside what is timed."""

    def __init__(self, pids: dict[str, int]) -> None:
        self.peak = dict.fromkeys(pids, 0)
        self._pids = pids
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)

    def __enter__(self) -> PeakMemory:
        self._thread.start()
        return self

    def __exit__(self, *_: object) -> None:
        self._stop.set()
        self._thread.join()

    def _run(self) -> None:
        trees: dict[str, list[int]] = {}
        looked = float("-inf")
        while not self._stop.wait(0.05):
            if time.monotonic() - looked > 2.0:  # finding the children costs more than asking each
                looked = time.monotonic()
                trees = {name: _tree(pid) for name, pid in self._pids.items()}
            for name, tree in trees.items():
                self.peak[name] = max(self.peak[name], sum(map(_resident, tree)) >> 20)


def _tree(pid: int) -> list[int]:
    try:
        return [pid, *(child.pid for child in psutil.Process(pid).children(recursive=True))]
    except psutil.NoSuchProcess:
        return []


def _resident(pid: int) -> int:
    try:
        return int(Path(f"/proc/{pid}/statm").read_text().split()[1]) * resource.getpagesize()
    except (OSError, IndexError):
        return 0


def timed(work: Any) -> tuple[float, Any]:
    """Seconds and result."""
    start = time.perf_counter()
    result = work()
    return time.perf_counter() - start, result
