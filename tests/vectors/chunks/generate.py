"""Write the golden chunk vectors: ``python tests/vectors/chunks/generate.py DIRECTORY``.

Each vector is a dataset's schema message and chunk files, with their digests, the root and the version digest in
``vectors.json``. The model chunk is pinned: one row, one ``large_binary`` column, no validity, uncompressed.
"""

from __future__ import annotations

import datetime
import decimal
import hashlib
import json
import sys
from pathlib import Path
from typing import Any

import pyarrow as pa

from gateway.model.dataset import DatasetManifest
from gateway.storage.arrow_chunks import encode_chunk, schema_message
from gateway.storage.chunking import DatasetChunker
from ledger import merkle


def tables() -> dict[str, tuple[Any, int]]:
    """Name to (table, chunk target in bytes)."""
    rows = 300
    mixed = pa.table(
        {
            "id": pa.array(range(rows), pa.int32()),
            "ratio": pa.array([None if i % 7 == 0 else i / 8 for i in range(rows)], pa.float64()),
            "name": pa.array([None if i % 5 == 0 else f"name {i}" for i in range(rows)]),
            "carrier": pa.array([f"carrier {i % 3}" for i in range(rows)]).dictionary_encode(),
            "flag": pa.array([None if i % 11 == 0 else i % 2 == 0 for i in range(rows)]),
            "amount": pa.array([decimal.Decimal(i) / 4 for i in range(rows)], pa.decimal128(12, 2)),
            "day": pa.array([datetime.date(2026, 1, 1) + datetime.timedelta(i) for i in range(rows)]),
            "tags": pa.array([None if i % 13 == 0 else ["t"] * (i % 3) for i in range(rows)]),
            "place": pa.array([{"x": i, "y": None if i % 2 else "south"} for i in range(rows)]),
        }
    )
    model = pa.table(
        [pa.array([bytes(range(256)) * 4], pa.large_binary())],
        schema=pa.schema([pa.field("data", pa.large_binary(), nullable=False)]),
    )
    return {"mixed": (mixed, 8 * 1024), "model": (model, 2 * 1024 * 1024), "empty": (mixed.slice(0, 0), 8 * 1024)}


def generate(directory: Path) -> None:
    """Write all vectors into a directory."""
    summary: dict[str, Any] = {}
    for name, (table, target) in tables().items():
        chunker = DatasetChunker(table.schema, target=target)
        batches = [chunk for batch in table.to_batches() for chunk in chunker.feed(batch)]
        batches += chunker.flush()
        message = schema_message(chunker.schema)
        chunks = [bytes(encode_chunk(batch)) for batch in batches]
        digests = [hashlib.sha256(chunk).digest() for chunk in chunks]
        manifest = DatasetManifest(
            kind="model" if name == "model" else "dataset",
            id=name,
            schema=hashlib.sha256(message).hexdigest(),
            descriptive=hashlib.sha256(b"").hexdigest(),
            chunks=len(chunks),
            rows=table.num_rows,
            bytes=sum(map(len, chunks)),
            root=merkle.tree_hash(digests).hex(),
            encoding="none",
        )
        (directory / f"{name}.schema").write_bytes(message)
        for i, chunk in enumerate(chunks):
            (directory / f"{name}.{i}.chunk").write_bytes(chunk)
        summary[name] = {
            "chunks": [digest.hex() for digest in digests],
            "rows": [batch.num_rows for batch in batches],
            "manifest": manifest.encode().decode(),
            "version": manifest.version,
        }
    (directory / "vectors.json").write_text(json.dumps(summary, indent=2) + "\n")


if __name__ == "__main__":
    generate(Path(sys.argv[1]))
