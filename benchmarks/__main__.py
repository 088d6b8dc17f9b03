"""`make bench`: every figure of the data plane, the negotiation and the ledger, in one run and one table.

python -m benchmarks [--quick] [--only pull,latency,memory,flights,models,runs,ledger,fsck,policy] [--json FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import platform
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from benchmarks import federated, latency, models, policy, pull, rounds

SECTIONS = ("pull", "latency", "memory", "flights", "models", "runs", "ledger", "fsck", "policy")


_APPENDS_REACH = {
    ("ours, published", 1): "250/s",
    ("ours, published", 100): "Tessera's sequenced; p99 under 50 ms",
    ("ours, published", 1000): "Tessera's sequenced",
}


@contextmanager
def scratch(kind: str) -> Iterator[Path]:
    """A directory on disk, or on tmpfs where the machine has /dev/shm."""
    root = "/dev/shm" if kind == "tmpfs" else None
    with tempfile.TemporaryDirectory(prefix="tdz-bench-", dir=root) as name:
        yield Path(name)


def main() -> int:
    """Run the sections and print the table."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--quick", action="store_true", help="smaller tables, fewer runs")
    parser.add_argument("--only", default=",".join(SECTIONS), help="comma-separated sections")
    parser.add_argument("--json", type=Path, help="also write the figures to this file")
    options = parser.parse_args()
    wanted = set(options.only.split(","))
    if unknown := wanted - set(SECTIONS):
        parser.error(f"unknown sections: {', '.join(sorted(unknown))}")
    mib, runs = (128, 3) if options.quick else (1024, 5)
    figures: dict[str, Any] = {"machine": _machine(), "load_before": os.getloadavg()[0]}
    for kind in ("disk", "tmpfs"):
        if kind == "tmpfs" and not Path("/dev/shm").is_dir():
            continue
        # First what is short: ext4 makes each new file slower for minutes after thousands were deleted, as pulls do.
        if "latency" in wanted:
            with _section(f"request to first row on {kind}"), scratch(kind) as directory:
                figures[f"latency {kind}"] = latency.measure(directory, requests=20 if options.quick else 200)
        if "pull" in wanted:
            with _section(f"pull on {kind}"), scratch(kind) as directory:
                figures[f"pull {kind}"] = pull.measure(directory, mib=mib, runs=runs)
    if "memory" in wanted:
        with _section("memory with a larger table"), scratch("disk") as directory:
            figures["memory"] = pull.measure_memory(directory, mib=4 * mib)
    if "flights" in wanted:
        with _section("the flights table"), scratch("disk") as directory:
            figures["flights"] = pull.measure_flights(directory, runs=runs)
    if "models" in wanted:
        with _section("models"), scratch("disk") as directory:
            figures["models"] = models.measure(directory, mib=mib, runs=runs)
        with _section("a sparse model"), scratch("disk") as directory:
            figures["sparse model"] = models.measure_memory(directory, gib=2 if options.quick else 20)
    if "runs" in wanted:
        with _section("rounds of a run"), scratch("disk") as directory:
            figures["rounds"] = rounds.measure(directory, rounds=12 if options.quick else 40)
        with _section("federated quality"), scratch("disk") as directory:
            figures["quality"] = federated.measure_quality(splits=2 if options.quick else 5)
            figures["fedsgd"] = federated.measure_processes(directory)["fedsgd_max_difference"]
    if "ledger" in wanted:
        with _section("the ledger"):
            command = [sys.executable, str(Path(__file__).with_name("ledger.py")), "--json"]
            command += ["--seconds", "2"] if options.quick else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures["ledger"] = json.loads(done.stdout)
    if "fsck" in wanted:
        with _section("fsck of a large ledger"):
            command = [sys.executable, str(Path(__file__).with_name("ledger_fsck.py")), "--json"]
            command += ["--entries", "100000", "--signed", "5000"] if options.quick else []
            done = subprocess.run(command, check=True, capture_output=True, text=True)
            figures["fsck"] = json.loads(done.stdout)
    if "policy" in wanted:
        with _section("decisions"), scratch("disk") as directory:
            counts = (
                {"decisions": 100, "seconds": 1.0, "runs": 3}
                if options.quick
                else {"decisions": 1_000, "seconds": 5.0, "runs": 5}
            )
            figures["policy"] = policy.measure(directory, **counts)
    figures["load_after"] = os.getloadavg()[0]
    if options.json:
        options.json.write_text(json.dumps(figures, indent=1) + "\n")
    _print(figures)
    return 0


@contextmanager
def _section(name: str) -> Iterator[None]:
    start = time.perf_counter()
    sys.stderr.write(f"{name} … ")
    sys.stderr.flush()
    yield
    sys.stderr.write(f"{time.perf_counter() - start:.0f} s\n")


def _machine() -> str:
    return f"{platform.machine()}, {os.cpu_count()} cores, Python {platform.python_version()}, {platform.release()}"


def _print(figures: dict[str, Any]) -> None:
    table = Table("figure", "measured", "to reach", title=f"{figures['machine']}")
    for kind in ("disk", "tmpfs"):
        if found := figures.get(f"pull {kind}"):
            size = f"{found['mib']} MiB, median of {found['runs']}, {kind}"
            table.add_row(f"raw pyarrow.flight, {size}", f"{found['raw_mib_s']:.0f} MiB/s", "")
            table.add_row(f"governed pull, {size}", f"{found['governed_mib_s']:.0f} MiB/s", "")
            table.add_row("  ratio", f"{found['ratio']:.2f}", "0.6")
            table.add_row("  partner reads and writes too", f"{found['with_reader_mib_s']:.0f} MiB/s", "")
            table.add_row("  publish", f"{found['publish_mib_s']:.0f} MiB/s", "")
            table.add_row("  peak memory, each gateway's tree", _peak(found), "under 300 MiB")
            beside = found["appends_beside"]
            table.add_row(
                "  single ledger appends during a pull",
                f"p50 {beside['p50_ms']:.1f} ms, p99 {beside['p99_ms']:.1f} ms",
                "",
            )
        if found := figures.get(f"latency {kind}"):
            table.add_row(
                f"request to first row, {found['requests']} requests, {kind}",
                f"p50 {found['first_row_p50_ms']:.0f} ms, p99 {found['first_row_p99_ms']:.0f} ms",
                "p50 under 150 ms",
            )
            table.add_row(
                "  back to back",
                f"p50 {found['back_to_back_p50_ms']:.0f} ms, p99 {found['back_to_back_p99_ms']:.0f} ms",
                "",
            )
            table.add_row(
                "  of it to the agreement",
                f"p50 {found['agreement_p50_ms']:.0f} ms, p99 {found['agreement_p99_ms']:.0f} ms",
                "",
            )
    if found := figures.get("memory"):
        table.add_row(f"peak memory at {found['mib']} MiB", _peak(found), "under 300 MiB")
    if found := figures.get("flights"):
        table.add_row(
            f"governed pull of {found['rows']:,} flights ({found['stored_mib']:.1f} MiB stored)",
            f"{found['seconds']:.2f} s",
            "",
        )
    if found := figures.get("models"):
        size = f"{found['mib']} MiB, median of {found['runs']}"
        table.add_row(f"openssl dgst -sha256, {size}", f"{found['dgst_s']:.2f} s", "")
        table.add_row("  model verify", f"{found['verify_s']:.2f} s, {found['verify_ratio']:.2f} of its speed", "0.5")
        table.add_row("openssl dgst, cp and sync", f"{found['dgst_s'] + found['copy_s']:.2f} s", "")
        table.add_row(
            "  model publish", f"{found['publish_s']:.2f} s, {found['publish_ratio']:.2f} of its speed", "0.6"
        )
    if found := figures.get("sparse model"):
        table.add_row(
            f"publish a sparse model of {found['gib']} GiB",
            f"{found['seconds']:.0f} s, {_peak(found)}",
            "under 300 MiB",
        )
    if found := figures.get("rounds"):
        size = f"round of a run, {found['update_bytes'] >> 10:,} KiB each way, {found['rounds']} rounds"
        table.add_row(size, f"p50 {found['round_p50_ms']:.0f} ms", "")
        overhead = f"p50 {found['overhead_p50_ms']:.0f} ms, p99 {found['overhead_p99_ms']:.0f} ms"
        table.add_row("  of it beyond local training", overhead, "p50 under 300 ms")
    for name, difference in figures.get("fedsgd", {}).items():
        table.add_row(f"FedSGD against pooled descent, {name}", f"{difference:.0e}", "below 1e-9")
    for name, found in figures.get("quality", {}).items():
        for what, value in found.items():
            table.add_row(f"{name}: {what}", f"{value:.2f}", "")
    for row in figures.get("ledger", {}).get("appends", []):
        table.add_row(
            f"ledger: {row['what']}, {row['callers']} callers",
            f"{row['per_second']:,.0f}/s, p99 {row['p99_ms']:.1f} ms",
            _APPENDS_REACH.get((row["what"], row["callers"]), ""),
        )
    if found := figures.get("ledger"):
        table.add_row("  its storage", f"{found['conditions']['storage']}, {found['conditions']['fsync']}", "")
        table.add_row("  its marker against rollback", found["conditions"]["marker"], "")
    for name, reach in (("small", ""), ("large", "under 60 s for 1,000,000"), ("signed", "")):
        if found := figures.get("fsck", {}).get(name):
            table.add_row(
                f"ledger: fsck of {found['entries']:,} entries, {found['signatures']:,} signed statements",
                f"{found['seconds']:.1f} s, {found['peak_mib']} + {found['workers']} × {found['worker_peak_mib']} MiB",
                reach,
            )
    if found := figures.get("policy"):
        for engine, reach in (("embedded", "p99 under 5 ms"), ("opa", "p99 under 10 ms")):
            for columns, took in found.get(engine, {}).items():
                table.add_row(
                    f"decision, {engine}, {columns} columns, {found['decisions']} decisions, median of {found['runs']}",
                    f"p50 {took['p50_ms']:.1f} ms, p99 {took['p99_ms']:.1f} ms (best {took['best_p99_ms']:.1f} ms)",
                    reach if columns == found["columns"] else "",
                )
        for name, rate in found["sustained"].items():
            table.add_row(f"  with ledger records, {name} columns, {found['cores']} cores", f"{rate:,.0f}/s", "500/s")
    table.caption = f"load {figures['load_before']:.1f} before, {figures['load_after']:.1f} after"
    Console().print(table)


def _peak(found: dict[str, Any]) -> str:
    return ", ".join(f"{zone} {mib} MiB" for zone, mib in found["peak_mib"].items())


if __name__ == "__main__":
    sys.exit(main())
