"""A model is published whole, as it was signed and cut where the rule says, or not at all."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pyarrow as pa
import pytest

from gateway.artifacts.appraisal import appraise
from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.publishing import ModelPublishSession
from gateway.artifacts.signing import sign_model
from gateway.artifacts.trust import Trust
from gateway.errors import DataFileError, IntegrityError, ManifestError, StorageError, TdzError
from gateway.model.artifact import FileEntry, ModelDescription
from gateway.model.limits import MODEL_CHUNK_DATA
from gateway.model.submission import ModelSubmission
from gateway.storage.arrow_chunks import decode_chunk
from gateway.storage.model_chunks import MODEL_SCHEMA, read_model_batch
from tests.unit.artifacts.conftest import AT, SMALL, Place, Publisher, Zone, parted, raw, weights

Make = Callable[..., Path]


def test_a_published_model_is_read_back_file_by_file(
    place: Place, zone: Zone, publisher: Publisher, make_model: Make
) -> None:
    files = {
        "model.safetensors": weights({"a": raw("a", 5_000_000), "b": raw("b", 70), "c": raw("c", 400_000)}),
        "a/config.json": b"{}",
        "empty.txt": b"",
    }
    published = place.publish(make_model(files), publisher, zone.trust)
    version = place.versions.open(published.version)
    manifest = version.manifest
    assert (manifest.kind, manifest.encoding, manifest.rows) == ("model", "none", manifest.chunks)
    description = ModelDescription.parse(version.description_bytes)
    chunks = iter(version.chunks)
    back = {
        entry.name: b"".join(
            bytes(read_model_batch(decode_chunk(MODEL_SCHEMA, place.chunks.verify(next(chunks)))))
            for _ in range(entry.chunks)
        )
        for entry in description.files
    }
    assert back == files
    assert next(chunks, None) is None
    assert manifest.bytes == sum(len(place.chunks.read(digest)) for digest in version.chunks)
    table = pa.Table.from_batches(
        [decode_chunk(version.schema, place.chunks.read(digest)) for digest in version.chunks], version.schema
    )
    assert table.num_rows == manifest.rows  # any Arrow reader can take it
    assert appraise(description, version=published.version, published_at=AT, trust=zone.trust).provenance == "missing"


def test_publishing_again_stores_nothing(place: Place, zone: Zone, publisher: Publisher, make_model: Make) -> None:
    here = make_model()
    first, second = (place.publish(here, publisher, zone.trust) for _ in range(2))
    assert first.chunks_new == first.manifest.chunks
    assert (second.chunks_new, second.bytes_new) == (0, 0)
    assert place.digests(first.version) == place.digests(second.version)


def test_a_fine_tuned_model_shares_the_chunks_of_unchanged_tensors(
    place: Place, zone: Zone, publisher: Publisher, make_model: Make
) -> None:
    """One layer changed, a head inserted between two tensors, other metadata: the rest is shared."""
    layers = {f"layer.{index}.{part}": size for index in range(8) for part, size in (("bias", 50), ("weight", 700_000))}
    base = {name: raw(name, size) for name, size in layers.items()}
    tuned = {}
    for name, tensor in base.items():
        tuned[name] = raw(name, layers[name], "tuned") if name.startswith("layer.3.") else tensor
        if name == "layer.5.weight":
            tuned["head"] = raw("head", 3_000)
    first = place.publish(make_model({"m.safetensors": weights(base)}, "base"), publisher, zone.trust)
    second = place.publish(
        make_model({"m.safetensors": weights(tuned, {"tuned": "yes"})}, "tuned"), publisher, zone.trust
    )
    assert first.manifest.chunks == 9  # the header, and each bias with its weight
    assert second.manifest.chunks == 9
    # New: the header, the changed layer, and the run that the head joined.
    assert second.chunks_new == 3


def prepare(
    place: Place, zone: Zone, publisher: Publisher, make_model: Make, files: dict[str, bytes] | None = None
) -> tuple[ModelSubmission, list[bytes]]:
    model = ModelDirectory(make_model(files))
    return publisher.submit(model.scan()), [bytes(run) for run in model.runs([])]


def open_session(place: Place, submission: ModelSubmission) -> ModelPublishSession:
    return ModelPublishSession(place.chunks, place.versions, parted(submission)[0])


def publish(
    place: Place, submission: ModelSubmission, runs: list[bytes], trust: Trust, seal_as: ModelSubmission | None = None
) -> str:
    session = open_session(place, submission)
    try:
        for run in runs:
            session.write(run)
        session.seal(parted(seal_as or submission)[1], trust, AT)
        return session.finish().version
    finally:
        session.abort()


LARGE = {
    "m.safetensors": weights({"a": raw("a", MODEL_CHUNK_DATA + 9), "b": raw("b", 300_000), "c": raw("c", 7)}),
    "x.txt": b"text",
}


def changes(runs: list[bytes]) -> dict[str, list[bytes]]:
    header, first, *rest = runs
    return {
        "a changed byte": [header, b"\x00" + first[1:], *rest],
        "a changed header": [header[:-1] + b"x", first, *rest],
        "two runs in one": [header + first, *rest],
        "one run in two": [header, first[:100], first[100:], *rest],
        "a cut in the header": [header[:20], header[20:], first, *rest],
        "another order": [header, *rest, first],
        "a run left out": [header, *rest],
        "the last left out": runs[:-1],
        "one more": [*runs, b"more"],
        "an empty run": [b"", *runs],
        "nothing": [],
        "the text changed": [*runs[:-1], b"Text"],
    }


@pytest.mark.parametrize("case", list(changes([b"", b""])))
def test_other_bytes_or_cuts_than_were_signed_leave_nothing_visible(
    place: Place, zone: Zone, publisher: Publisher, make_model: Make, case: str
) -> None:
    submission, runs = prepare(place, zone, publisher, make_model, LARGE)
    assert [len(run) for run in runs][1:] == [MODEL_CHUNK_DATA, 9, 300_000, 7, 4]
    with pytest.raises((IntegrityError, DataFileError)):
        publish(place, submission, changes(runs)[case], zone.trust)
    assert list(place.versions) == []
    assert not list((place.root / "staging").rglob("*/*"))
    assert place.versions.has(publish(place, submission, runs, zone.trust))


def test_what_nobody_trusted_signed_or_another_seal_leaves_nothing_visible(
    place: Place, zone: Zone, publisher: Publisher, make_model: Make
) -> None:
    submission, runs = prepare(place, zone, publisher, make_model)
    with pytest.raises(IntegrityError, match="not trusted here"):
        publish(place, submission, runs, Trust({}))
    with pytest.raises(IntegrityError, match="another artifact"):
        publish(place, submission, runs, zone.trust, submission.model_copy(update={"artifact": "0" * 64}))
    files = (FileEntry(**{**submission.files[0].document(), "digest": "0" * 64}), *submission.files[1:])
    with pytest.raises(IntegrityError, match="not the file that was signed"):
        publish(place, submission, runs, zone.trust, submission.model_copy(update={"files": files}))
    other = publisher.submit([FileEntry(**{**file.document(), "digest": "1" * 64}) for file in submission.files])
    changed = other.model_copy(update={"files": submission.files})
    with pytest.raises(IntegrityError, match="not the one that was signed"):
        publish(place, submission, runs, zone.trust, changed)
    session = open_session(place, submission)
    with pytest.raises(ManifestError, match="not one for each file"):
        seal = parted(submission)[1]
        for run in runs:
            session.write(run)
        session.seal(seal.model_copy(update={"digests": seal.digests[:1]}), zone.trust, AT)
    unsealed = open_session(place, submission)
    for run in runs:
        unsealed.write(run)
    with pytest.raises(IntegrityError, match="before it was sealed"):
        unsealed.finish()
    assert list(place.versions) == []


def test_a_file_that_no_artifact_holds_is_refused_even_when_it_is_signed(
    place: Place, zone: Zone, publisher: Publisher
) -> None:
    files = [
        FileEntry(name="m.safetensors", bytes=9, digest="a" * 64, chunks=1),
        FileEntry(name="run.sh", bytes=9, digest="b" * 64, chunks=1),
    ]
    with pytest.raises(DataFileError, match=r"run\.sh"):
        open_session(place, publisher.submit(files))


def test_content_is_checked_where_it_arrives(place: Place, zone: Zone, publisher: Publisher) -> None:
    """A client that checks nothing: the gateway does."""
    import hashlib
    import pickle

    data = pickle.dumps([1, 2, 3], protocol=4)
    files = [FileEntry(name="m.onnx", bytes=len(data), digest=hashlib.sha256(data).hexdigest(), chunks=1)]
    session = open_session(place, publisher.submit(files, format="onnx"))
    with pytest.raises(DataFileError, match="pickle"):
        session.write(data)


def test_a_failing_disk_ends_the_publish(
    place: Place, zone: Zone, publisher: Publisher, make_model: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    submission, runs = prepare(place, zone, publisher, make_model, LARGE)

    def fail(*_: Any) -> bool:
        raise StorageError("the disk is full")

    monkeypatch.setattr(place.chunks, "put", fail)
    with pytest.raises(StorageError):
        publish(place, submission, runs, zone.trust)
    assert list(place.versions) == []


def test_the_signer_is_known_to_who_publishes(place: Place, zone: Zone, publisher: Publisher, make_model: Make) -> None:
    submission, runs = prepare(place, zone, publisher, make_model)
    session = open_session(place, submission)
    for run in runs:
        session.write(run)
    assert session.seal(parted(submission)[1], zone.trust, AT).name == "tdz://cyberjaya/partner/um"
    session.abort()
    assert list(place.versions) == []


def test_real_weights_are_published_and_shared_with_a_changed_copy(
    place: Place, zone: Zone, publisher: Publisher, minilm: Path, tmp_path: Path
) -> None:
    first = place.publish(minilm, publisher, zone.trust)
    assert first.manifest.bytes > 90_000_000
    copy = tmp_path / "copy"
    copy.mkdir()
    data = bytearray((minilm / "model.safetensors").read_bytes())
    data[-100:] = bytes(100)  # the last tensor alone
    (copy / "model.safetensors").write_bytes(data)
    second = place.publish(copy, publisher, zone.trust)
    assert second.chunks_new == 1
    description = ModelDescription.parse(place.versions.open(first.version).description_bytes)
    facts = appraise(description, version=first.version, published_at=AT, trust=zone.trust)
    assert (facts.provenance, facts.training.runs) == ("missing", ())


def test_a_huge_declared_file_costs_nothing_before_it_arrives(place: Place, zone: Zone, publisher: Publisher) -> None:
    size = 1 << 44
    files = [FileEntry(name="m.safetensors", bytes=size, digest="a" * 64, chunks=(size + (1 << 21) - 1) >> 21)]
    signed = sign_model(files, name="m", key=publisher.key, chain=publisher.chain)
    assert signed.artifact
    session = open_session(place, publisher.submit(files))
    with pytest.raises(TdzError):
        session.write(SMALL)
