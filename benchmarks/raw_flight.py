"""The peer of the pull figure: a pyarrow.flight server over mTLS that streams batches from memory.

Run as `python -m benchmarks.raw_flight serve MIB CERTS` or `python -m benchmarks.raw_flight pull PORT CERTS OUT`.
The client writes what it gets to an Arrow IPC file and fsyncs it; it prints its seconds.
"""

from __future__ import annotations

import os
import sys
import time
from pathlib import Path
from typing import Any

import pyarrow as pa
import pyarrow.flight as flight

from benchmarks.bench_corridor import random_batches


def _pem(certs: Path, name: str) -> bytes:
    return (certs / name).read_bytes()


class _Server(flight.FlightServerBase):  # type: ignore[misc]
    def __init__(self, mib: int, certs: Path) -> None:
        pair = (_pem(certs, "server.pem"), _pem(certs, "server.key"))
        super().__init__(
            "grpc+tls://127.0.0.1:0",
            tls_certificates=[pair],
            verify_client=True,
            root_certificates=_pem(certs, "ca.pem"),
        )
        # One batch's memory serves all: the wire cannot tell, and the server's memory stays small.
        distinct = list(random_batches(min(mib, 64)))
        self._batches = [distinct[i % len(distinct)] for i in range(mib // 2)]

    def do_get(self, context: Any, ticket: Any) -> Any:
        """All batches."""
        return flight.RecordBatchStream(pa.RecordBatchReader.from_batches(self._batches[0].schema, self._batches))


def _pull(port: int, certs: Path, out: Path) -> float:
    client = flight.FlightClient(
        f"grpc+tls://127.0.0.1:{port}",
        tls_root_certs=_pem(certs, "ca.pem"),
        cert_chain=_pem(certs, "client.pem"),
        private_key=_pem(certs, "client.key"),
    )
    start = time.perf_counter()
    reader = client.do_get(flight.Ticket(b"all"))
    with out.open("wb") as file:
        with pa.ipc.new_file(file, reader.schema) as writer:
            while True:
                try:
                    chunk = reader.read_chunk()
                except StopIteration:
                    break
                writer.write_batch(chunk.data)
        file.flush()
        os.fsync(file.fileno())
    return time.perf_counter() - start


def main() -> None:
    """Serve until standard input ends, or pull once."""
    if sys.argv[1] == "serve":
        server = _Server(int(sys.argv[2]), Path(sys.argv[3]))
        sys.stdout.write(f"{server.port}\n")
        sys.stdout.flush()
        sys.stdin.read()
        os._exit(0)
    sys.stdout.write(f"{_pull(int(sys.argv[2]), Path(sys.argv[3]), Path(sys.argv[4]))}\n")


if __name__ == "__main__":
    main()
