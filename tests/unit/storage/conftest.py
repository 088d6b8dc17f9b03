"""Stores on real files, and a publication to publish."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
import pytest

from gateway.model.dataset import Publication, load_publication
from gateway.storage.chunks import ChunkStore
from gateway.storage.landing import Landings
from gateway.storage.publishing import Published, PublishSession
from gateway.storage.versions import VersionStore

MANIFEST = """\
id: sensor-readings
title: Sensor readings
description: Readings of a test bench.
licence: CC0-1.0
dataset:
  sector: engineering
  origin_jurisdictions: [CN]
  origin: domestic
  controller: Test Bench Lab
  gov_source: none
  category: none
  my: {sensitivity: none, subjects: 0, sensitive_subjects: 0}
  cn:
    class: general
    notified_important: no
    basis: none
    exemption: none
    subjects_non_sensitive: 0
    subjects_sensitive: 0
    spi_types: []
    hgr: {kind: none, persons: 0, special: none}
    list_item_id: ""
  retention_until: 2027-12-31
terms:
  offered_to: {zones: [cyberjaya]}
  purposes: [research]
  until: 2027-06-30T12:00:00+08:00
  limits: {pulls: 5}
"""


@dataclass
class Place:
    """One gateway's storage."""

    root: Path
    chunks: ChunkStore
    versions: VersionStore
    landings: Landings

    def publish(self, table: pa.Table, publication: Publication, *, rows: int = 10_000) -> Published:
        session = PublishSession(self.chunks, self.versions, table.schema, publication)
        for batch in table.to_batches(max_chunksize=rows):
            session.write(batch)
        return session.finish()

    def read(self, version: str) -> pa.Table:
        from gateway.storage.arrow_chunks import decode_chunk

        stored = self.versions.open(version)
        batches = [decode_chunk(stored.schema, self.chunks.verify(digest)) for digest in stored.chunks]
        return pa.Table.from_batches(batches, stored.schema)

    def chunk_files(self) -> list[Path]:
        return sorted(p for p in (self.root / "chunks").rglob("*") if p.is_file())

    def close(self) -> None:
        self.chunks.close()
        self.versions.close()
        self.landings.close()


def open_place(root: Path) -> Place:
    root.mkdir(exist_ok=True)
    chunks, versions = ChunkStore(root), VersionStore(root)
    return Place(root, chunks, versions, Landings(root, chunks, versions))


@pytest.fixture
def make_place(tmp_path: Path) -> Iterator[Callable[[str], Place]]:
    places: list[Place] = []

    def make(name: str) -> Place:
        places.append(open_place(tmp_path / name))
        return places[-1]

    yield make
    for place in places:
        place.close()


@pytest.fixture
def place(make_place: Callable[[str], Place]) -> Place:
    return make_place("here")


@pytest.fixture
def manifest_text() -> str:
    return MANIFEST


@pytest.fixture
def publication(tmp_path: Path) -> Publication:
    path = tmp_path / "manifest.yaml"
    path.write_text(MANIFEST)
    return load_publication(path)


@pytest.fixture
def numbers() -> Callable[..., pa.Table]:
    def make(rows: int = 100_000, *, columns: int = 8, seed: int = 1) -> Any:
        random = np.random.default_rng(seed)
        return pa.table({f"c{i}": random.random(rows) for i in range(columns)})

    return make
