"""Chunk store, versions and publishing: whole or not at all, each byte once."""

from __future__ import annotations

import asyncio
import hashlib
import os
import threading
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gateway.errors import DataFileError, IntegrityError, ManifestError, NotFoundError, StorageError
from gateway.model import limits
from gateway.model.dataset import Description, Publication
from gateway.storage.durable import Workspace, write_parts
from gateway.storage.publishing import PublishSession
from gateway.storage.versions import ChunkList
from ledger import merkle


def put(place: Any, data: bytes) -> tuple[bytes, bool]:
    digest = hashlib.sha256(data).digest()
    return digest, place.chunks.put(digest, [data[:3], memoryview(data)[3:]])


def test_a_chunk_lies_under_its_digest_and_comes_back(place: Any) -> None:
    digest, new = put(place, b"some bytes")
    assert new
    assert place.chunks.path(digest).read_bytes() == b"some bytes"
    assert place.chunks.path(digest).parent.name == digest.hex()[:2]
    assert place.chunks.read(digest) == place.chunks.verify(digest) == b"some bytes"


def test_the_same_bytes_are_stored_once_and_not_rewritten(place: Any) -> None:
    digest, _ = put(place, b"some bytes")
    before = place.chunks.path(digest).stat()
    assert put(place, b"some bytes") == (digest, False)
    after = place.chunks.path(digest).stat()
    assert (before.st_ino, before.st_mtime_ns) == (after.st_ino, after.st_mtime_ns)


def test_threads_that_store_the_same_bytes_at_once_store_them_once(place: Any) -> None:
    gate = threading.Barrier(8)
    results: list[bool] = []

    def work() -> None:
        gate.wait()
        results.append(put(place, b"x" * 100_000)[1])

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert results.count(True) == 1
    assert len(place.chunk_files()) == 1


def test_a_damaged_chunk_is_named_and_a_put_of_the_right_bytes_mends_it(place: Any) -> None:
    digest, _ = put(place, b"some bytes")
    place.chunks.path(digest).write_bytes(b"some bytez")
    with pytest.raises(IntegrityError, match=digest.hex()):
        place.chunks.verify(digest)
    assert put(place, b"some bytes") == (digest, True)
    assert place.chunks.verify(digest) == b"some bytes"


def test_a_missing_an_empty_and_an_oversize_chunk_are_storage_errors(place: Any) -> None:
    digest, _ = put(place, b"some bytes")
    with pytest.raises(StorageError, match="missing"):
        place.chunks.read(bytes(32))
    path = place.chunks.path(digest)
    path.write_bytes(b"")
    with pytest.raises(StorageError, match="0 bytes"):
        place.chunks.read(digest)
    os.truncate(path, limits.CHUNK_MAX + 1)
    with pytest.raises(StorageError, match="bytes"):
        place.chunks.read(digest)
    with pytest.raises(IntegrityError):
        place.chunks.read(b"short")


async def test_the_async_face_does_the_same(place: Any) -> None:
    digest = hashlib.sha256(b"abc").digest()
    assert await place.chunks.run(lambda: place.chunks.put(digest, [b"abc"]))
    place.chunks.sync([digest])
    assert await asyncio.gather(place.chunks.aread(digest), place.chunks.averify(digest)) == [b"abc", b"abc"]


def test_scratch_of_a_dead_process_is_removed_and_that_of_a_living_one_stays(tmp_path: Path) -> None:
    living = Workspace(tmp_path / "w")
    living.new().write_bytes(b"in use")
    dead = tmp_path / "w" / "dead"
    dead.mkdir()
    (dead / "left").write_bytes(b"x")
    (tmp_path / "w" / "stray").write_bytes(b"x")
    second = Workspace(tmp_path / "w")
    assert {p.name for p in (tmp_path / "w").iterdir()} == {living.path.name, second.path.name}
    assert len(list(living.path.iterdir())) == 1
    living.close()
    second.close()
    assert list((tmp_path / "w").iterdir()) == []


def test_short_writes_are_taken_up_again(tmp_path: Path) -> None:
    reader, writer = os.pipe()
    parts = [bytes([i % 256]) * 700 for i in range(1_500)]
    got = bytearray()

    def drain() -> None:
        while data := os.read(reader, 999):
            got.extend(data)

    thread = threading.Thread(target=drain)
    thread.start()
    write_parts(writer, [b"", *parts])
    os.close(writer)
    thread.join()
    os.close(reader)
    assert bytes(got) == b"".join(parts)


def test_a_published_dataset_reads_back_and_its_manifest_adds_up(
    place: Any, publication: Publication, numbers: Any
) -> None:
    table = numbers()
    published = place.publish(table, publication)
    manifest = published.manifest
    assert place.read(published.version).equals(table)
    assert manifest.rows == table.num_rows
    assert manifest.bytes == published.bytes_new == sum(p.stat().st_size for p in place.chunk_files())
    assert manifest.chunks == published.chunks_new == len(place.chunk_files())
    stored = place.versions.open(published.version)
    assert manifest.root == merkle.tree_hash(list(stored.chunks)).hex() == stored.chunks.root()
    assert stored.manifest == manifest
    assert list(place.versions) == [published.version]
    description = Description.parse(stored.description_bytes)
    facts = description.facts(published.version)
    assert [(c.name, c.arrow_type) for c in facts.columns] == [(f"c{i}", "double") for i in range(8)]
    assert facts.digest == published.version


def test_publishing_the_same_rows_again_stores_nothing_twice(
    place: Any, publication: Publication, numbers: Any
) -> None:
    first = place.publish(numbers(), publication, rows=10_000)
    files = place.chunk_files()
    again = place.publish(numbers(), publication, rows=777)
    assert (again.version, again.bytes_new, again.chunks_new) == (first.version, 0, 0)
    assert place.chunk_files() == files


def test_a_longer_table_shares_the_chunks_it_has_in_common(place: Any, publication: Publication, numbers: Any) -> None:
    table = numbers(200_000)
    first = place.publish(table.slice(0, 150_000), publication)
    second = place.publish(table, publication)
    assert second.version != first.version
    assert second.bytes_new < 0.6 * second.manifest.bytes
    assert place.read(first.version).equals(table.slice(0, 150_000))


def test_an_empty_table_is_a_version_too(place: Any, publication: Publication, numbers: Any) -> None:
    published = place.publish(numbers(0), publication)
    assert (published.manifest.chunks, published.manifest.rows) == (0, 0)
    assert published.manifest.root == merkle.EMPTY_ROOT.hex()
    assert place.read(published.version).num_rows == 0


def test_compressible_data_is_stored_compressed(place: Any, publication: Publication) -> None:
    table = pa.table({"t": [f"text {i % 50}" for i in range(300_000)]})
    published = place.publish(table, publication)
    assert published.manifest.encoding in ("lz4", "zstd")
    assert published.manifest.bytes < table.nbytes / 3
    assert place.read(published.version).equals(table)


def test_nothing_is_visible_of_an_aborted_publish(place: Any, publication: Publication, numbers: Any) -> None:
    table = numbers()
    session = PublishSession(place.chunks, place.versions, table.schema, publication)
    for batch in table.to_batches(max_chunksize=9_000):
        session.write(batch)
    session.abort()
    session.abort()
    assert list(place.versions) == []
    assert list((place.root / "staging").rglob("*/*")) == []


def test_an_error_in_the_data_ends_the_publish(place: Any, publication: Publication, numbers: Any) -> None:
    table = numbers(10)
    session = PublishSession(place.chunks, place.versions, table.schema, publication)
    with pytest.raises(DataFileError, match="another schema"):
        session.write(pa.record_batch({"other": [1]}))
    assert list((place.root / "staging").rglob("*/*")) == []


def test_a_tag_for_a_column_that_the_data_does_not_have_is_refused_at_once(
    place: Any, publication: Publication, numbers: Any
) -> None:
    document = publication.document()
    document["dataset"]["columns"] = [{"name": "C1", "tags": ["sensitive"]}]
    wrong = Publication.model_validate(document)
    with pytest.raises(ManifestError, match=r"dataset.columns.0.name: the data has no column 'C1'") as caught:
        PublishSession(place.chunks, place.versions, numbers(1).schema, wrong)
    assert caught.value.remedy == "did you mean 'c1'?"


def test_tags_stand_beside_the_column_s_real_type(place: Any, publication: Publication) -> None:
    document = publication.document()
    document["dataset"]["columns"] = [{"name": "who", "tags": ["direct_identifier"]}]
    table = pa.table({"who": ["a"], "n": [1]})
    published = place.publish(table, Publication.model_validate(document))
    stored = place.versions.open(published.version)
    columns = stored.description["dataset"]["columns"]
    assert columns == [
        {"name": "who", "arrow_type": "string", "tags": ["direct_identifier"]},
        {"name": "n", "arrow_type": "int64", "tags": []},
    ]


@pytest.mark.parametrize("name", ["manifest.json", "schema", "description.json", "chunks"])
def test_a_version_whose_files_were_changed_is_not_opened(
    place: Any, publication: Publication, numbers: Any, name: str
) -> None:
    version = place.publish(numbers(), publication).version
    path = place.root / "versions" / version[:2] / version / name
    path.write_bytes(path.read_bytes()[:-1] if name == "chunks" else path.read_bytes() + b" ")
    with pytest.raises(IntegrityError):
        place.versions.open(version)


@pytest.mark.parametrize("version", ["0" * 64, "../../etc/passwd", "", "A" * 64])
def test_an_unknown_version_is_not_found(place: Any, version: str) -> None:
    with pytest.raises(NotFoundError):
        place.versions.open(version)


def test_a_chunk_list_is_read_piece_by_piece(tmp_path: Path) -> None:
    digests = [hashlib.sha256(bytes([i % 256, i // 256])).digest() for i in range(10_000)]
    (tmp_path / "list").write_bytes(b"".join(digests))
    chunks = ChunkList(tmp_path / "list")
    assert len(chunks) == 10_000
    assert list(chunks) == digests
    assert chunks[9_999] == digests[9_999]
    assert chunks.raw(9_998, 20_000) == b"".join(digests[9_998:])
    assert chunks.root() == merkle.tree_hash(digests).hex()
    with pytest.raises(IndexError):
        chunks[10_000]
    chunks.close()
