"""Landing: verified before it counts, resumable, visible whole or not at all."""

from __future__ import annotations

import asyncio
import hashlib
from typing import Any

import pyarrow as pa
import pytest

from gateway.errors import ConflictError, IntegrityError, NotFoundError, StorageError
from gateway.model.dataset import DatasetManifest, Publication
from gateway.storage.arrow_chunks import decode_chunk, encode_chunk, join_message, schema_message, split_messages
from ledger import merkle

TRANSFER = "01930000-0000-7000-8000-000000000001"


def parts_of(chunk: bytes) -> list[Any]:
    return [part for m, body in split_messages(chunk) for part in (join_message(m, body), m, body)]


class Offered:
    """A published version, as a peer would send it."""

    def __init__(self, place: Any, version: str) -> None:
        self.stored = place.versions.open(version)
        self.version = version
        self.chunks = [place.chunks.read(digest) for digest in self.stored.chunks]

    def create(self, place: Any, **changed: Any) -> Any:
        chunk_list = place.landings.new_list()
        chunk_list.write(changed.get("digests", self.stored.chunks.raw(0, len(self.stored.chunks))))
        return place.landings.create(
            changed.get("transfer", TRANSFER),
            changed.get("version", self.version),
            changed.get("manifest", self.stored.manifest_bytes),
            changed.get("schema", self.stored.schema_message),
            changed.get("description", self.stored.description_bytes),
            chunk_list,
        )


@pytest.fixture
def there(make_place: Any) -> Any:
    return make_place("there")


@pytest.fixture
def offered(there: Any, publication: Publication, numbers: Any) -> Offered:
    return Offered(there, there.publish(numbers(300_000), publication).version)


def scratch_files(place: Any) -> list[Any]:
    return [p for name in ("tmp", "staging", "arriving") for p in (place.root / name).glob("*/*")]


async def test_a_landed_version_is_the_published_one(place: Any, there: Any, offered: Offered) -> None:
    landing = offered.create(place)
    assert await landing.first_missing() == 0
    for index, chunk in enumerate(offered.chunks):
        await landing.add(index, parts_of(chunk))
        assert list(place.versions) == []
    assert await landing.finish() == offered.version
    assert landing.progress.rows == offered.stored.manifest.rows
    assert place.read(offered.version).equals(there.read(offered.version))
    assert place.landings.ids() == [TRANSFER]
    await landing.remove()
    assert place.landings.ids() == []
    assert scratch_files(place) == []


async def test_a_reader_sees_verified_chunks_while_the_landing_goes_on(place: Any, offered: Offered) -> None:
    landing = offered.create(place)
    seen: list[int] = []
    first = asyncio.Event()

    async def read() -> None:
        index = 0
        while await landing.progress.wait_for(index):
            batch = decode_chunk(landing.schema, await place.chunks.averify(landing.chunks[index]))
            seen.append(batch.num_rows)
            first.set()
            index += 1

    reader = asyncio.create_task(read())
    await landing.add(0, parts_of(offered.chunks[0]))
    await first.wait()
    assert seen
    for index, chunk in enumerate(offered.chunks[1:], start=1):
        await landing.add(index, parts_of(chunk))
    await landing.finish()
    await reader
    assert sum(seen) == offered.stored.manifest.rows
    await landing.close()


async def test_a_resume_goes_on_at_the_first_chunk_that_is_missing(place: Any, offered: Offered) -> None:
    landing = offered.create(place)
    for index in range(3):
        await landing.add(index, parts_of(offered.chunks[index]))
    await landing.drain()
    await landing.close()

    again = place.landings.open(TRANSFER)
    assert await again.first_missing() == 3
    assert again.progress.chunks == 3
    for index in range(3, len(offered.chunks)):
        await again.add(index, parts_of(offered.chunks[index]))
    assert await again.finish() == offered.version
    # The ledger may not have heard of it: finishing twice is the same as once.
    third = place.landings.open(TRANSFER)
    assert await third.first_missing() == len(offered.chunks)
    assert await third.finish() == offered.version
    await third.remove()


@pytest.mark.parametrize("damage", ["changed", "cut off", "missing"])
async def test_a_chunk_damaged_on_disk_is_fetched_again(place: Any, offered: Offered, damage: str) -> None:
    landing = offered.create(place)
    for index in range(3):
        await landing.add(index, parts_of(offered.chunks[index]))
    await landing.drain()
    await landing.close()
    path = place.chunks.path(landing_digest := offered.stored.chunks[1])
    if damage == "missing":
        path.unlink()
    else:
        path.write_bytes(b"x" + offered.chunks[1][1:] if damage == "changed" else offered.chunks[1][:100])

    again = place.landings.open(TRANSFER)
    assert await again.first_missing() == 1
    for index in range(1, len(offered.chunks)):
        await again.add(index, parts_of(offered.chunks[index]))
    assert await again.finish() == offered.version
    assert place.chunks.verify(landing_digest) == offered.chunks[1]
    await again.close()


async def test_what_lies_here_already_need_not_be_sent(
    place: Any, offered: Offered, publication: Publication, numbers: Any
) -> None:
    place.publish(numbers(300_000), publication)
    landing = offered.create(place)
    assert await landing.first_missing() == len(offered.chunks)
    assert await landing.finish() == offered.version
    await landing.close()


async def test_a_chunk_with_another_digest_is_refused_and_nothing_of_it_is_stored(place: Any, offered: Offered) -> None:
    landing = offered.create(place)
    forged = bytearray(offered.chunks[0])
    forged[-1] ^= 1
    with pytest.raises(IntegrityError, match="chunk 0 is not the one"):
        await landing.add(0, [bytes(forged)])
        await landing.drain()
    assert place.chunk_files() == []
    with pytest.raises(IntegrityError, match="chunk 0 is not the one"):
        await landing.add(1, [offered.chunks[1]])
    assert not await landing.progress.wait_for(0)
    with pytest.raises(IntegrityError):
        await landing.finish()
    assert list(place.versions) == []
    await landing.close()


async def test_chunks_out_of_order_or_beyond_the_end_are_refused(place: Any, offered: Offered) -> None:
    landing = offered.create(place)
    with pytest.raises(IntegrityError, match="chunk 1 came where 0"):
        await landing.add(1, [offered.chunks[1]])
    await landing.add(0, [offered.chunks[0]])
    with pytest.raises(IntegrityError, match="chunk 0 came where 1"):
        await landing.add(0, [offered.chunks[0]])
    with pytest.raises(IntegrityError, match="chunks have landed"):
        await landing.finish()
    await landing.close()


def version_of(chunks: list[bytes], schema: Any, offered: Offered, **changed: Any) -> dict[str, Any]:
    digests = [hashlib.sha256(chunk).digest() for chunk in chunks]
    message = schema_message(schema)
    members = offered.stored.manifest.document() | {
        "schema": hashlib.sha256(message).hexdigest(),
        "chunks": len(chunks),
        "bytes": sum(map(len, chunks)),
        "root": merkle.tree_hash(digests).hex(),
    }
    manifest = DatasetManifest.model_validate(members | changed)
    return {
        "manifest": manifest.encode(),
        "version": manifest.version,
        "schema": message,
        "digests": b"".join(digests),
    }


async def test_chunks_that_do_not_fit_the_schema_are_refused_though_their_digests_hold(
    place: Any, offered: Offered
) -> None:
    chunk = bytes(encode_chunk(pa.record_batch({"a": [1, 2, 3]})))
    landing = offered.create(place, **version_of([chunk], pa.schema([("a", pa.string())]), offered, rows=3))
    with pytest.raises(IntegrityError, match="columns of its schema"):
        await landing.add(0, [chunk])
        await landing.drain()
    assert place.chunk_files() == []
    await landing.close()


@pytest.mark.parametrize("changed", [{"rows": 4}, {"bytes": 1}])
async def test_a_manifest_whose_sums_are_wrong_does_not_become_visible(
    place: Any, offered: Offered, changed: dict[str, int]
) -> None:
    batch = pa.record_batch({"a": [1, 2, 3]})
    chunk = bytes(encode_chunk(batch))
    landing = offered.create(place, **version_of([chunk], batch.schema, offered, **({"rows": 3} | changed)))
    await landing.add(0, [chunk])
    with pytest.raises(IntegrityError, match="rows or bytes"):
        await landing.finish()
    assert list(place.versions) == []
    await landing.close()


@pytest.mark.parametrize(
    "change",
    [
        lambda o: {"version": "0" * 64},
        lambda o: {"manifest": o.stored.manifest_bytes + b" "},
        lambda o: {"schema": o.stored.schema_message + bytes(8)},
        lambda o: {"schema": schema_message(pa.schema([("a", pa.int8())]))},
        lambda o: {"description": o.stored.description_bytes + b" "},
        lambda o: {"digests": o.stored.chunks.raw(0, len(o.stored.chunks))[:-32]},
        lambda o: {"digests": o.stored.chunks.raw(0, len(o.stored.chunks)) + bytes(32)},
        lambda o: {"digests": bytes(32 * len(o.stored.chunks))},
    ],
)
def test_parts_that_do_not_belong_to_the_version_make_no_landing(place: Any, offered: Offered, change: Any) -> None:
    with pytest.raises(IntegrityError):
        offered.create(place, **change(offered))
    assert place.landings.ids() == []
    assert scratch_files(place) == []


async def test_creating_a_landing_twice_is_the_same_landing_unless_it_is_another_version(
    place: Any, there: Any, offered: Offered, publication: Publication, numbers: Any
) -> None:
    await offered.create(place).close()
    await offered.create(place).close()
    other = Offered(there, there.publish(numbers(10), publication).version)
    with pytest.raises(ConflictError):
        other.create(place)
    assert place.landings.ids() == [TRANSFER]


@pytest.mark.parametrize("name", ["../up", "", "A", "x" * 64, "a/b"])
def test_a_transfer_id_that_is_no_name_is_not_found(place: Any, name: str) -> None:
    with pytest.raises(NotFoundError):
        place.landings.open(name)


async def test_a_removed_landing_leaves_no_version(place: Any, offered: Offered) -> None:
    landing = offered.create(place)
    await landing.add(0, [offered.chunks[0]])
    await landing.remove()
    assert list(place.versions) == []
    with pytest.raises(NotFoundError):
        place.landings.open(TRANSFER)


async def test_a_store_that_fails_ends_the_landing_with_a_storage_error(place: Any, offered: Offered) -> None:
    landing = offered.create(place)
    shelf = place.root / "chunks" / offered.stored.chunks[0].hex()[:2]
    shelf.write_bytes(b"a file where a directory should be")
    with pytest.raises(StorageError, match="cannot store a chunk"):
        await landing.add(0, [offered.chunks[0]])
        await landing.drain()
    await landing.close()
