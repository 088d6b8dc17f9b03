"""Appends a second of the ledger, beside a hash-chained table in SQLite, and Tessera's POSIX log where it is at hand.

An append counts when it is acknowledged: its tiles and a signed checkpoint over it are on disk. Run from the
repository's root: ``python benchmarks/ledger.py [--seconds 6] [--dir DIR] [--verify ENTRIES] [--json]``; with
``--beside`` it appends now and then until its input ends, to measure what other work on the disk does to an append.
"""

from __future__ import annotations

import argparse
import asyncio
import hashlib
import json
import os
import platform
import re
import resource
import shutil
import sqlite3
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

sys.path.insert(0, str(Path(__file__).parent.parent))

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger.entry import new_id
from ledger.marker import Marker, marker_folder
from ledger.note import NoteSigner
from ledger.verify import verify_directory
from ledger.writer import LogWriter

CALLERS = (1, 100, 1000)
BODY: dict[str, Any] = {"digest": "ab" * 32, "n": 1, "rule": "x" * 150}


async def _append_for(writer: LogWriter, callers: int, seconds: float) -> dict[str, Any]:
    latencies: list[float] = []
    start = time.perf_counter()
    end = start + seconds

    async def caller() -> None:
        while (now := time.perf_counter()) < end:
            await writer.append(id=new_id(), kind="decision", subject="transfers/bench", body=BODY)
            latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(caller() for _ in range(callers)))
    return _row("ours, published", callers, latencies, time.perf_counter() - start)


def _row(what: str, callers: int, latencies: list[float], elapsed: float) -> dict[str, Any]:
    latencies.sort()
    return {
        "what": what,
        "callers": callers,
        "per_second": len(latencies) / elapsed,
        "p50_ms": latencies[len(latencies) // 2] * 1e3,
        "p99_ms": latencies[int(len(latencies) * 0.99)] * 1e3,
    }


class _HashChain:
    """What users would otherwise take: an append-only hash-chained table in SQLite, one commit per entry."""

    def __init__(self, path: Path) -> None:
        # Any thread, one at a time.
        self._db = sqlite3.connect(path, isolation_level=None, check_same_thread=False)
        (mode,) = self._db.execute("PRAGMA journal_mode = WAL").fetchone()
        self._db.execute("PRAGMA synchronous = FULL")
        (synchronous,) = self._db.execute("PRAGMA synchronous").fetchone()
        if (mode, synchronous) != ("wal", 2):
            raise RuntimeError("SQLite does not give WAL with synchronous=FULL")
        self._db.execute("CREATE TABLE chain (seq INTEGER PRIMARY KEY, entry BLOB NOT NULL, hash BLOB NOT NULL)")
        self._db.execute(
            "CREATE TRIGGER append_only BEFORE UPDATE ON chain BEGIN SELECT RAISE(ABORT, 'append only'); END"
        )
        self._last = b"\0" * 32

    def append(self) -> None:
        entry = json.dumps({"id": new_id(), "kind": "decision", "body": BODY}, sort_keys=True).encode()
        self._last = hashlib.sha256(self._last + entry).digest()
        self._db.execute("BEGIN IMMEDIATE")
        self._db.execute("INSERT INTO chain (entry, hash) VALUES (?, ?)", (entry, self._last))
        self._db.execute("COMMIT")

    def close(self) -> None:
        self._db.close()


async def _hash_chain(path: Path, callers: int, seconds: float) -> dict[str, Any]:
    """Callers of one table wait in turn; the commits run in a thread, as in any program that must not block."""
    chain = _HashChain(path)
    turn = asyncio.Lock()
    latencies: list[float] = []
    start = time.perf_counter()
    end = start + seconds

    async def caller() -> None:
        while (now := time.perf_counter()) < end:
            async with turn:
                await asyncio.to_thread(chain.append)
            latencies.append(time.perf_counter() - now)

    await asyncio.gather(*(caller() for _ in range(callers)))
    elapsed = time.perf_counter() - start
    chain.close()
    return _row("SQLite hash chain", callers, latencies, elapsed)


def _marker_us() -> float | None:
    """Microseconds that keeping the marker takes in each commit; None where this machine has no place for one."""
    folder = marker_folder()
    if folder is None:
        return None
    vkey = f"tdz/bench/{new_id()}"
    marker = Marker(folder, vkey)
    took = []
    for _ in range(2_000):
        start = time.perf_counter()
        marker.write(b"x" * 200)
        took.append(time.perf_counter() - start)
    (folder / hashlib.sha256(vkey.encode()).hexdigest()).unlink()
    return sorted(took)[len(took) // 2] * 1e6


async def _beside(directory: Path) -> dict[str, Any]:
    """Single appends, twenty a second, until standard input ends."""
    signer = NoteSigner("tdz/bench/2026-0002", Ed25519PrivateKey.generate())
    LogWriter.create(directory, origin=signer.name, signer=signer)
    writer = await LogWriter.open(directory, signer)
    print("ready", flush=True)
    ended = asyncio.create_task(asyncio.to_thread(sys.stdin.read))
    latencies: list[float] = []
    start = time.perf_counter()
    while not ended.done():
        now = time.perf_counter()
        await writer.append(id=new_id(), kind="decision", subject="transfers/bench", body=BODY)
        latencies.append(time.perf_counter() - now)
        await asyncio.wait({ended}, timeout=0.05)
    await ended
    await writer.close()
    return _row("ours, published", 1, latencies, time.perf_counter() - start)


async def _ours(directory: Path, callers: int, seconds: float) -> dict[str, Any]:
    signer = NoteSigner("tdz/bench/2026-0000", Ed25519PrivateKey.generate())
    LogWriter.create(directory, origin=signer.name, signer=signer)
    writer = await LogWriter.open(directory, signer)
    result = await _append_for(writer, callers, seconds)
    await writer.close()
    return result


def _tessera(program: str, directory: Path, callers: int, seconds: float, publish: bool) -> dict[str, Any] | None:
    command = [program, "-callers", str(callers), "-seconds", str(round(seconds)), "-dir", str(directory)]
    done = subprocess.run([*command, *(["-publish"] if publish else [])], capture_output=True, text=True, check=False)
    found = re.search(r"rate=(\S+)/s p50=(\S+) p99=(\S+)", done.stdout)
    if found is None:
        return None
    return {
        "what": f"Tessera, {'published' if publish else 'sequenced'}",
        "callers": callers,
        "per_second": float(found[1]),
        "p50_ms": _milliseconds(found[2]),
        "p99_ms": _milliseconds(found[3]),
    }


def _milliseconds(duration: str) -> float:
    number, unit = re.fullmatch(r"([\d.]+)(µs|ms|s)", duration).groups()  # type: ignore[union-attr]
    return float(number) * {"µs": 1e-3, "ms": 1.0, "s": 1e3}[unit]


def _tessera_program() -> str | None:
    given = os.environ.get("TESSERA_BENCH")
    beside = Path(__file__).resolve().parents[2] / "shared" / "bin" / "tessera-bench"
    return given or (str(beside) if os.access(beside, os.X_OK) else None)


def _storage(directory: Path) -> str:
    """The file system that the logs of this run lie on."""
    device = os.stat(directory).st_dev
    wanted = f"{os.major(device)}:{os.minor(device)}"
    try:
        for line in Path("/proc/self/mountinfo").read_text().splitlines():
            fields = line.split(" ")
            if fields[2] == wanted:
                kind, source = fields[fields.index("-") + 1 :][:2]
                return f"{kind} on {source}"
    except OSError:
        pass
    return "unknown"


async def _fill(directory: Path, entries: int) -> str:
    signer = NoteSigner("tdz/bench/2026-0001", Ed25519PrivateKey.generate())
    LogWriter.create(directory, origin=signer.name, signer=signer)
    writer = await LogWriter.open(directory, signer)
    left = entries - 1

    async def caller() -> None:
        nonlocal left
        while left > 0:
            left -= 1
            await writer.append(id=new_id(), kind="decision", subject="transfers/bench", body=BODY)

    await asyncio.gather(*(caller() for _ in range(1000)))
    await writer.close()
    return signer.vkey


def _verify(base: Path, entries: int) -> dict[str, Any]:
    """Time and memory of a verification, in a process of its own so that its peak is its own."""
    vkey = asyncio.run(_fill(base / "verify", entries))
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        start = time.perf_counter()
        report = verify_directory(base / "verify", vkey=vkey)
        peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        result = {"ok": report.exit_code == 0, "seconds": time.perf_counter() - start, "grew_kib": peak - before}
        os.write(writing, json.dumps({"entries": report.entries, **result}).encode())
        os._exit(0)
    os.waitpid(child, 0)
    result: dict[str, Any] = json.loads(os.read(reading, 4096))
    return result


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure the ledger.")
    parser.add_argument("--seconds", type=float, default=6.0)
    parser.add_argument("--dir", type=Path, default=None, help="where the logs lie; default: the temporary folder")
    parser.add_argument("--verify", type=int, default=0, metavar="ENTRIES", help="verify a log of so many entries")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--beside", action="store_true", help="append now and then until standard input ends")
    arguments = parser.parse_args()
    base = Path(tempfile.mkdtemp(prefix="ledger-bench-", dir=arguments.dir))
    if arguments.beside:
        try:
            print(json.dumps(asyncio.run(_beside(base / "beside"))))
        finally:
            shutil.rmtree(base, ignore_errors=True)
        return
    program = _tessera_program()
    rows: list[dict[str, Any]] = []
    try:
        for callers in CALLERS:
            rows.append(asyncio.run(_ours(base / f"ours-{callers}", callers, arguments.seconds)))
            rows.append(asyncio.run(_hash_chain(base / f"chain-{callers}.db", callers, arguments.seconds)))
            for publish in (False, True) if program else ():
                directory = base / f"tessera-{callers}-{publish}"
                row = _tessera(program or "", directory, callers, arguments.seconds, publish)
                if row is not None:
                    rows.append(row)
        verified = _verify(base, arguments.verify) if arguments.verify else None
        conditions = {
            "storage": _storage(base),
            "fsync": "fsync of every file and folder; SQLite WAL, synchronous=FULL",
            "cores": os.cpu_count(),
            "python": platform.python_version(),
            "marker": f"{marker:.0f} µs a commit" if (marker := _marker_us()) is not None else "none on this machine",
        }
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if arguments.json:
        print(json.dumps({"conditions": conditions, "appends": rows, "verify": verified}, indent=2))
        return
    print(", ".join(f"{name}: {value}" for name, value in conditions.items()))
    if program is None:
        print("Tessera is not measured: set TESSERA_BENCH to its benchmark program")
    print(f"{'':<22}{'callers':>8}{'appends/s':>12}{'p50 ms':>10}{'p99 ms':>10}")
    for row in rows:
        print(
            f"{row['what']:<22}{row['callers']:>8}{row['per_second']:>12,.0f}{row['p50_ms']:>10.1f}{row['p99_ms']:>10.1f}"
        )
    if verified:
        print(
            f"verify: {verified['entries']:,} entries in {verified['seconds']:.1f} s, "
            f"memory grew by {verified['grew_kib'] / 1024:.0f} MiB, ok: {verified['ok']}"
        )


if __name__ == "__main__":
    main()
