"""Request to first row: from RequestAccess to the first batch at a pyarrow client; a new agreement each time."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pyarrow.flight as flight

import gateway.sdk as tdz
from benchmarks.bench_corridor import bench, flight_client, random_reader


def measure(directory: Path, *, requests: int) -> dict[str, Any]:
    """Both decisions, both ledgers durable and mirrored, channels warm.

    Each request begins when the receipts of the one before are on both ledgers; then a quarter as many back to back,
    where the end of one pull and the beginning of the next share the two cores.
    """
    negotiated, first_row, crowded = [], [], []
    with bench(directory / "corridor") as made:
        made.publish("small", random_reader(4))
        client = flight_client(made)
        with tdz.connect(str(made.um)) as zone:
            zone.datasets()
            for index in range(requests + 5):
                agreed, first, transfer = _request(zone, client)
                _settled(zone, transfer)
                if index >= 5:  # the first ones warm the channels
                    negotiated.append(agreed)
                    first_row.append(first)
            crowded = [_request(zone, client)[1] for _ in range(max(requests // 4, 5))]
        client.close()
    return {
        "requests": requests,
        "agreement_p50_ms": _percentile(negotiated, 50),
        "agreement_p99_ms": _percentile(negotiated, 99),
        "first_row_p50_ms": _percentile(first_row, 50),
        "first_row_p99_ms": _percentile(first_row, 99),
        "back_to_back_p50_ms": _percentile(crowded, 50),
        "back_to_back_p99_ms": _percentile(crowded, 99),
    }


def _request(zone: Any, client: Any) -> tuple[float, float, str]:
    """Milliseconds to the agreement and to the first batch, and the transfer."""
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
    return (agreed - start) * 1e3, (end - start) * 1e3, json.loads(info.app_metadata)["transfer"]


def _settled(zone: Any, transfer: str) -> None:
    """Wait until both receipts are on both ledgers."""
    zone.watch(transfer, lambda step: step.ended)
    while not zone.transfer(transfer).peer_receipt:
        time.sleep(0.02)


def _percentile(values: list[float], percent: int) -> float:
    ordered = sorted(values)
    return ordered[min(len(ordered) - 1, len(ordered) * percent // 100)]
