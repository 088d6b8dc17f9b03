"""Request to first row: from RequestAccess to the first batch at a pyarrow client; a new agreement each time."""

from __future__ import annotations

import time
from pathlib import Path
from typing import Any

import pyarrow.flight as flight

import gateway.sdk as tdz
from benchmarks.bench_corridor import bench, flight_client, random_reader


def measure(directory: Path, *, requests: int) -> dict[str, Any]:
    """Both decisions, both ledgers durable and mirrored, channels warm."""
    negotiated, first_row = [], []
    with bench(directory / "corridor") as made:
        made.publish("small", random_reader(4))
        client = flight_client(made)
        with tdz.connect(str(made.um)) as zone:
            zone.datasets()
            for index in range(requests + 5):
                start = time.perf_counter()
                access = zone.request("datasets/small", purpose="research")
                agreed = time.perf_counter()
                info = client.get_flight_info(flight.FlightDescriptor.for_path("agreements", access.agreement))
                reader = client.do_get(info.endpoints[0].ticket)
                batch = reader.read_chunk()
                end = time.perf_counter()
                if not batch.data.num_rows:
                    raise RuntimeError("an empty batch")
                reader.read_all()
                if index >= 5:  # the first ones warm the channels
                    negotiated.append((agreed - start) * 1e3)
                    first_row.append((end - start) * 1e3)
        client.close()
    return {
        "requests": requests,
        "agreement_p50_ms": _percentile(negotiated, 50),
        "agreement_p99_ms": _percentile(negotiated, 99),
        "first_row_p50_ms": _percentile(first_row, 50),
        "first_row_p99_ms": _percentile(first_row, 99),
    }


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
