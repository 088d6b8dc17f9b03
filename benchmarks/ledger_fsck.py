"""`tdz-ledger fsck` of a large log: seconds, memory at two sizes, and signed statements a second.

The log is made without the writer, so that a million entries take seconds: the same bytes, files and lock database,
without a sync. Run from the repository's root: ``python benchmarks/ledger_fsck.py [--entries N] [--dir DIR] [--json]``.
"""

from __future__ import annotations

import argparse
import base64
import hashlib
import json
import os
import platform
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

from ledger.checkpoint import Checkpoint
from ledger.edge import TileEdge
from ledger.entry import Draft, first_prev, format_time, new_id
from ledger.envelope import KnownKey, pae
from ledger.fsck import check_everything
from ledger.merkle import leaf_hash
from ledger.note import CosignatureSigner, Note, NoteSigner, Signature
from ledger.tiles import TILE_WIDTH, TileReader
from ledger.workers import processors
from ledger.writer import LogWriter

BODY: dict[str, Any] = {"digest": "ab" * 32, "n": 1, "rule": "x" * 150}
KIND = "application/vnd.tdz.decision.v1+json"
START_US = 1_790_000_000_000_000
KEPT_EVERY = 20_000
"""Entries between two kept checkpoints."""


class _Maker:
    """Writes a log's files as its writer would leave them."""

    def __init__(self, directory: Path, statement: Ed25519PrivateKey | None) -> None:
        self.directory = directory
        self.signer = NoteSigner("tdz/bench/2026-0001", Ed25519PrivateKey.generate())
        self.witness = CosignatureSigner("tdz/other/mirror", Ed25519PrivateKey.generate())
        self.statement = statement
        LogWriter.create(
            directory, origin=self.signer.name, signer=self.signer, reserve_bytes=4096, clock=lambda: START_US * 1000
        )
        policy = f"log {self.signer.vkey}\nwitness other {self.witness.vkey}\nquorum other\n"
        (directory / "policy.tlog").write_text(policy)

    def fill(self, size: int) -> None:
        (opened,) = TileReader(self.directory).bundle(0, 1)
        edge = TileEdge(first_prev(self.signer.name))
        edge.append(opened, leaf_hash(opened))
        shutil.rmtree(self.directory / "tile")
        db = sqlite3.connect(self.directory / "state" / "lock.db", isolation_level=None)
        db.execute("PRAGMA synchronous = OFF")
        db.execute("BEGIN")
        rows: list[tuple[str, int, int, bytes]] = []
        for seq in range(1, size):
            time_us = START_US + seq * 1000
            body = {**BODY, "n": seq} if self.statement is None else self._signed(seq)
            draft = Draft(new_id(time_us * 1000), "decision", f"transfers/{seq}", body)
            entry = draft.place(seq, edge.prev, format_time(time_us))
            edge.append(entry, leaf_hash(entry))
            rows.append((draft.id, seq, seq + 1, draft.content))
            if not (seq + 1) % TILE_WIDTH:
                self._write(edge.take_full())
                db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
                rows.clear()
            if not (seq + 1) % KEPT_EVERY or seq + 1 == size:
                note = self._note(edge, time_us)
                self._write([(f"checkpoints/{seq + 1}", note)])
        db.executemany("INSERT INTO entries VALUES (?, ?, ?, ?)", rows)
        db.execute("UPDATE lock SET note = ?", (note,))
        db.execute("DELETE FROM staged")
        db.execute("COMMIT")
        db.close()
        self._write([*edge.partials(0), ("checkpoint", note), ("checkpoint.witnessed", note)])

    def _signed(self, seq: int) -> dict[str, Any]:
        payload = json.dumps({**BODY, "n": seq}, sort_keys=True, separators=(",", ":")).encode()
        key = self.statement
        assert key is not None
        keyid = hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest()
        signature = base64.b64encode(key.sign(pae(KIND, payload))).decode()
        return {
            "decision": {
                "payload": base64.b64encode(payload).decode(),
                "payloadType": KIND,
                "signatures": [{"keyid": keyid, "sig": signature}],
            }
        }

    def _note(self, edge: TileEdge, time_us: int) -> bytes:
        text = Checkpoint(self.signer.name, edge.size, edge.root()).text
        lines = [self.signer.sign(text), self.witness.cosign(text, time_us // 1_000_000 + 1)]
        return Note(text, tuple(map(Signature.parse, lines))).encode()

    def _write(self, files: list[tuple[str, bytes]]) -> None:
        for name, data in files:
            path = self.directory / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)


def make(directory: Path, size: int, statement: Ed25519PrivateKey | None = None) -> None:
    """Make a log of so many entries, each with a signed statement where a key is given."""
    _Maker(directory, statement).fill(size)


def _judge(directory: Path, statement: str) -> dict[str, Any]:
    """Time and memory of one fsck; in a process of its own, so that the peaks are its own."""
    keys = [KnownKey("the zone", bytes.fromhex(statement))] if statement else []
    start = time.perf_counter()
    check = check_everything(directory, keys=keys, with_envelopes=bool(keys), workers=processors())
    seconds = time.perf_counter() - start
    return {
        "ok": check.exit_code == 0,
        "entries": check.log.entries,
        "signatures": sum(check.log.envelopes.verified.values()),
        "seconds": seconds,
        "peak_mib": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "worker_peak_mib": round(resource.getrusage(resource.RUSAGE_CHILDREN).ru_maxrss / 1024),
        "workers": processors(),
    }


def _run(base: Path, size: int, statement: Ed25519PrivateKey | None = None) -> dict[str, Any]:
    directory = base / f"log-{size}-{statement is not None}"
    start = time.perf_counter()
    make(directory, size, statement)
    made = time.perf_counter() - start
    key = statement.public_key().public_bytes_raw().hex() if statement else ""
    command = [sys.executable, __file__, "--judge", str(directory), "--statement", key]
    done = subprocess.run(command, check=True, capture_output=True, text=True)
    shutil.rmtree(directory)
    return {**json.loads(done.stdout), "made_s": made}


def main() -> None:
    parser = argparse.ArgumentParser(description="Measure fsck.")
    parser.add_argument("--entries", type=int, default=1_000_000)
    parser.add_argument("--signed", type=int, default=20_000, help="entries of the log with signed statements")
    parser.add_argument("--dir", type=Path, default=None, help="where the logs lie; default: the temporary folder")
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--judge", type=Path, help=argparse.SUPPRESS)
    parser.add_argument("--statement", default="", help=argparse.SUPPRESS)
    arguments = parser.parse_args()
    if arguments.judge:
        print(json.dumps(_judge(arguments.judge, arguments.statement)))
        return
    base = Path(tempfile.mkdtemp(prefix="fsck-bench-", dir=arguments.dir))
    try:
        found = {
            "small": _run(base, max(arguments.entries // 10, 1)),
            "large": _run(base, arguments.entries),
            "signed": _run(base, arguments.signed, Ed25519PrivateKey.generate()),
            "conditions": {
                "storage": "files in the page cache: just written",
                "cores": os.cpu_count(),
                "python": platform.python_version(),
            },
        }
    finally:
        shutil.rmtree(base, ignore_errors=True)
    if arguments.json:
        print(json.dumps(found, indent=2))
        return
    print(", ".join(f"{name}: {value}" for name, value in found["conditions"].items()))
    for name in ("small", "large", "signed"):
        row = found[name]
        print(
            f"fsck of {row['entries']:,} entries, {row['signatures']:,} signed statements: {row['seconds']:.1f} s, "
            f"peak {row['peak_mib']} MiB and {row['worker_peak_mib']} MiB in each of {row['workers']} workers, "
            f"ok: {row['ok']} (made in {row['made_s']:.0f} s)"
        )


if __name__ == "__main__":
    main()
