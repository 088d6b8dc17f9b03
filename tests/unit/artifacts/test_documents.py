"""The documents of a model: written by a person, sent by a client, stored with a version."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import IntegrityError, ManifestError, PeerError
from gateway.model import limits
from gateway.model.artifact import (
    FileEntry,
    ModelDescription,
    name_problem,
    names_problem,
)
from gateway.model.dataset import DatasetManifest
from gateway.model.statements import ResourceCard
from gateway.model.submission import ModelAnnouncement, ModelSeal, load_model_publication
from gateway.storage.model_chunks import model_schema_message
from tests.unit.artifacts.conftest import Publisher, parted

MANIFEST = """\
id: sentiment
title: A sentiment classifier
licence: Apache-2.0
model:
  format: safetensors
  openness: published
  end_use: civil
provenance: [training.json, platform.json]
terms:
  offered_to: {zones: [lingang]}
  purposes: [research]
  until: 2027-06-30
"""


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "M.yaml"
    path.write_text(text)
    return path


def test_a_written_manifest_is_read_and_its_action_need_not_be_said(tmp_path: Path) -> None:
    publication = load_model_publication(write(tmp_path, MANIFEST))
    assert publication.provenance == ("training.json", "platform.json")
    assert publication.model.memorisation_test == "none"
    assert publication.terms is not None
    assert publication.terms.actions == ("transfer_model",)
    assert publication.terms.until == 1_814_313_600


@pytest.mark.parametrize(
    ("old", "new", "found"),
    [
        ("openness: published", "openness: open", r"M\.yaml:6: model\.openness: found 'open'.*allowed: closed"),
        ("end_use", "enduse", r"M\.yaml:7: model\.enduse: unknown name.*did you mean 'end_use'"),
        ("id: sentiment", "id: My Model", r"M\.yaml:1: id: found 'My Model'"),
        ("title: A sentiment classifier\n", "", r"title: is missing"),
        ("training.json", "../training.json", r"M\.yaml:8: provenance\.0.*beside the manifest"),
        ("training.json", ".hidden", r"provenance\.0.*hidden"),
        ("training.json", "platform.json", r"provenance.*twice"),
        ("[training.json, platform.json]", "[a, b, c, d, e, f, g, h, i]", r"provenance"),
        ("until: 2027-06-30", "until: soon", r"M\.yaml:12: terms\.until"),
        ("format: safetensors", "format: pickle", r"M\.yaml:5: model\.format.*safetensors"),
    ],
)
def test_an_error_names_file_line_field_and_remedy(tmp_path: Path, old: str, new: str, found: str) -> None:
    with pytest.raises(ManifestError, match=found):
        load_model_publication(write(tmp_path, MANIFEST.replace(old, new, 1)))


def test_a_model_is_not_offered_for_what_datasets_are(tmp_path: Path) -> None:
    text = MANIFEST.replace("  purposes: [research]", "  purposes: [research]\n  actions: [transfer_dataset]")
    with pytest.raises(ManifestError, match=r"terms\.actions: a model is offered for transfer_model"):
        load_model_publication(write(tmp_path, text))


def entry(name: str = "m.safetensors", size: int = 9, chunks: int = 1) -> FileEntry:
    return FileEntry(name=name, bytes=size, digest="c" * 64, chunks=chunks)


def test_documents_come_back_as_they_were_written(publisher: Publisher) -> None:
    submission = publisher.submit([entry(), entry("a.txt"), entry("a/b.txt"), entry("z.txt", 0, 0)])
    announcement, seal = parted(submission)
    assert ModelAnnouncement.parse(announcement.encode()) == announcement
    assert ModelSeal.parse(seal.encode()) == seal
    assert announcement.sealed(seal) == submission
    description = submission.describe()
    assert ModelDescription.parse(description.encode()) == description
    assert [file.name for file in description.files] == ["a/b.txt", "a.txt", "m.safetensors", "z.txt"]
    assert (description.chunks, description.bytes) == (3, 27)


@pytest.mark.parametrize(
    "changed", [{"kind": "dataset"}, {"id": "other"}, {"rows": 2}, {"chunks": 2}, {"encoding": "lz4"}]
)
def test_a_manifest_of_something_else_is_told_apart(publisher: Publisher, changed: dict[str, Any]) -> None:
    description = publisher.submit([entry()]).describe()
    given = {"id": "m", "kind": "model", "chunks": 1, "rows": 1, "bytes": 200, "encoding": "none", "root": "0" * 64}
    given |= {"schema": "1" * 64, "descriptive": "2" * 64}
    description.require_manifest(DatasetManifest(**given))
    with pytest.raises(IntegrityError, match="not that of the model"):
        description.require_manifest(DatasetManifest(**{**given, **changed}))


@pytest.mark.parametrize("changed", [{}, {"rows": 2}, {"chunks": 2}, {"encoding": "lz4"}])
def test_another_zones_card_of_a_model_has_the_manifest_of_its_files(
    publisher: Publisher, changed: dict[str, Any]
) -> None:
    description, schema = publisher.submit([entry()]).describe(), model_schema_message()
    given = {"id": "m", "kind": "model", "chunks": 1, "rows": 1, "bytes": 200, "encoding": "none", "root": "0" * 64}
    given |= {
        "schema": hashlib.sha256(schema).hexdigest(),
        "descriptive": hashlib.sha256(description.encode()).hexdigest(),
    }
    manifest = DatasetManifest(**{**given, **changed})
    exporter = {"id": "lab", "legal_name": "Lab", "kind": "university", "sector": "education", "ciio": "no"}
    exporter |= dict.fromkeys(("ftz_registered", "lingang_activity", "dpo_required"), "no") | {"dpo_ref": ""}
    card = {
        "resource": "models/m",
        "owner": "tdz://lingang/partner/lab",
        "version": manifest.version,
        "manifest": json.loads(manifest.encode()),
        "description": description.document(),
        "schema_message": base64.b64encode(schema).decode(),
        "published_at": 1,
        "exporter": exporter,
        "terms": {"offered_to": {"zones": ["cyberjaya"]}, "purposes": ["research"], "actions": ["transfer_model"]},
    }
    if not changed:
        assert ResourceCard.parse(card).version == manifest.version
        return
    with pytest.raises(PeerError, match="not that of the model"):
        ResourceCard.parse(card)


def mutate(document: dict[str, Any], path: str, value: object) -> None:
    *steps, last = path.split(".")
    holder: Any = document
    for step in steps:
        holder = holder[int(step) if step.isdigit() else step]
    holder[int(last) if last.isdigit() else last] = value


WRONG: dict[str, tuple[str, object]] = {
    "a file twice": ("files", [entry().document()] * 2),
    "not sorted": ("files", [entry("z.safetensors").document(), entry("a.txt").document()]),
    "names that differ in case": ("files", [entry("A.safetensors").document(), entry("a.safetensors").document()]),
    "a file within a file": ("files", [entry("a.safetensors/b.txt").document(), entry("a.safetensors").document()]),
    "no files": ("files", []),
    "no weights": ("files", [entry("a.txt").document()]),
    "only empty files": ("files", [entry(size=0, chunks=0).document()]),
    "a climbing name": ("files.0.name", "../m.safetensors"),
    "too few chunks": ("files.0.bytes", 3 * limits.MODEL_CHUNK_DATA),
    "more chunks than bytes": ("files.0.chunks", 10),
    "chunks without bytes": ("files.0.bytes", 0),
    "bytes without chunks": ("files.0.chunks", 0),
    "a digest in capitals": ("files.0.digest", "C" * 64),
    "an unknown format": ("model.format", "pickle"),
    "another kind": ("kind", "dataset"),
    "another version": ("v", 2),
    "too much provenance": ("provenance", ["{}"] * 9),
    "a long envelope": ("provenance", ["x" * (limits.PROVENANCE_ENVELOPE_MAX + 1)]),
    "a long signature": ("signature", "x" * (limits.MODEL_SIGNATURE_MAX + 1)),
    "something more": ("extra", 1),
}


@pytest.mark.parametrize("case", WRONG)
def test_a_wrong_description_or_submission_is_refused(publisher: Publisher, case: str) -> None:
    path, value = WRONG[case]
    submission = publisher.submit([entry()])
    announcement, seal = parted(submission)
    for part in (submission.describe(), announcement, seal):
        document = part.document()
        if path.split(".")[0] not in {*document, "extra"}:
            continue  # a seal has no files, an announcement no signature
        mutate(document, path, value)
        data = json.dumps(document, sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
        with pytest.raises(IntegrityError if isinstance(part, ModelDescription) else ManifestError):
            type(part).parse(data)


def test_a_description_that_leaves_out_a_member_is_refused(publisher: Publisher) -> None:
    document = publisher.submit([entry()]).describe().document()
    del document["model"]["memorisation_test"]
    with pytest.raises(IntegrityError, match="leaves out"):
        ModelDescription.parse(json.dumps(document, sort_keys=True, separators=(",", ":")).encode())


def test_a_model_of_many_files_is_described_or_refused_with_the_remedy(publisher: Publisher) -> None:
    fits = [entry(f"{'d' * 12}/{index:04}.safetensors") for index in range(limits.MODEL_FILES_MAX)]
    submission = publisher.submit(fits)
    assert len(submission.describe().encode()) < limits.MANIFEST_MAX
    statements = [b'{"x":"%s"}' % (b"y" * 30_000)] * 5
    with pytest.raises(ManifestError, match="the limit is") as caught:
        publisher.submit(fits, provenance=statements).describe()
    assert "fewer files" in caught.value.remedy


def test_names_are_judged_one_by_one_and_together() -> None:
    assert name_problem("unet/diffusion_model-00001.safetensors") == ""
    assert name_problem("词表.txt") == ""
    assert names_problem(["a/b", "a.b", "c"]) == ""
    assert "case" in names_problem(["Straße.txt", "STRASSE.txt"])
    assert "directory" in names_problem(["a", "b", "a/c/d"])
