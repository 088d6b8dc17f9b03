"""A process to be killed: publishes or lands a fixed dataset, one line on standard output per step.

``python worker.py publish ROOT`` · ``python worker.py land ROOT SOURCE VERSION``. After each line it waits for one on
standard input, so that the test decides where it dies; at the input's end it runs on.
"""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa

from gateway.errors import StorageError
from gateway.model.dataset import Publication
from gateway.storage.arrow_chunks import join_message, split_messages
from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landing, Landings
from gateway.storage.publishing import PublishSession
from gateway.storage.versions import Version, VersionStore

TRANSFER = "01930000-0000-7000-8000-000000000001"
BATCHES = 30
_BEHIND = 2  # chunks that may still be on their way to the disk when a step is said
LIMIT = "STORAGE_WORKER_FILE_LIMIT"  # bytes; the largest file that this process may write
PUBLICATION = {
    "id": "numbers",
    "title": "Numbers",
    "dataset": {
        "sector": "engineering",
        "origin_jurisdictions": ["CN"],
        "origin": "domestic",
        "controller": "Test Bench Lab",
        "gov_source": "none",
        "category": "none",
        "my": {"sensitivity": "none", "subjects": 0, "sensitive_subjects": 0},
        "cn": {
            "class": "general",
            "notified_important": "no",
            "basis": "none",
            "exemption": "none",
            "subjects_non_sensitive": 0,
            "subjects_sensitive": 0,
            "spi_types": [],
            "hgr": {"kind": "none", "persons": 0, "special": "none"},
            "list_item_id": "",
        },
    },
}


def say(what: object) -> None:
    print(what, flush=True)
    sys.stdin.readline()


def batches() -> Iterator[Any]:
    random = np.random.default_rng(7)
    for _ in range(BATCHES):
        yield pa.record_batch({f"c{i}": random.random(20_000) for i in range(8)})


def publish(root: Path) -> str:
    chunks, versions = ChunkStore(root), VersionStore(root)
    stream = list(batches())
    session = PublishSession(chunks, versions, stream[0].schema, Publication.model_validate(PUBLICATION))
    for number, batch in enumerate(stream):
        session.write(batch)
        say(number)
    say("finishing")
    published = session.finish()
    say(published.version)
    chunks.close()
    versions.close()
    return published.version


def begin(landings: Landings, stored: Version) -> Landing:
    chunk_list = landings.new_list()
    chunk_list.write(stored.chunks.raw(0, len(stored.chunks)))
    return landings.create(
        TRANSFER, stored.version, stored.manifest_bytes, stored.schema_message, stored.description_bytes, chunk_list
    )


async def land(root: Path, source: Path, version: str) -> None:
    source_chunks, stored = ChunkStore(source), VersionStore(source).open(version)
    chunks, versions = ChunkStore(root), VersionStore(root)
    landings = Landings(root, chunks, versions)
    landing = begin(landings, stored)
    start = await landing.first_missing()
    say(f"from {start}")
    try:
        for index in range(start, len(stored.chunks)):
            parts = split_messages(source_chunks.read(stored.chunks[index]))
            await landing.add(index, [p for m, body in parts for p in (join_message(m, body), m, body)])
            await landing.progress.wait_for(index - _BEHIND)  # else a busy machine says nothing until the end
            await asyncio.to_thread(say, f"verified {landing.progress.chunks}")
        await landing.drain()
        say("finishing")
        say(await landing.finish())
    except StorageError as error:
        say(f"StorageError: {error}")


if __name__ == "__main__":
    if LIMIT in os.environ:
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        most = int(os.environ[LIMIT])
        resource.setrlimit(resource.RLIMIT_FSIZE, (most, most))
    if sys.argv[1] == "publish":
        publish(Path(sys.argv[2]))
    else:
        asyncio.run(land(Path(sys.argv[2]), Path(sys.argv[3]), sys.argv[4]))
