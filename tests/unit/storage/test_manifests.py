"""What people write: each mistake is named with file, line, field and remedy."""

from __future__ import annotations

import datetime
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import IntegrityError, ManifestError
from gateway.model import canonical, limits
from gateway.model.dataset import DatasetManifest, Description, Publication, load_publication
from gateway.model.policy_facts import DatasetFacts


def write(tmp_path: Path, text: str) -> Path:
    path = tmp_path / "m.yaml"
    path.write_text(text)
    return path


def test_a_whole_manifest_loads_with_dates_as_seconds(publication: Publication) -> None:
    assert publication.id == "sensor-readings"
    assert publication.dataset.cn.notified_important == "no"
    assert publication.dataset.retention_until == 1_830_211_200
    assert publication.terms is not None
    assert publication.terms.until == int(datetime.datetime.fromisoformat("2027-06-30T04:00:00+00:00").timestamp())
    assert publication.terms.actions == ("transfer_dataset",)
    assert publication.terms.limits.pulls == 5
    assert publication.terms.limits.days is None


def test_what_is_sent_is_what_was_written(publication: Publication) -> None:
    assert Publication.parse(publication.encode()) == publication


def test_the_description_gives_the_policy_input_s_dataset(publication: Publication) -> None:
    description = publication.describe([("a", "int64"), ("b", "list<item: string>")])
    back = Description.parse(description.encode())
    facts = back.facts("ab" * 32)
    assert facts == DatasetFacts.model_validate(facts.document())
    assert facts.id == "sensor-readings"
    assert [c.arrow_type for c in facts.columns] == ["int64", "list<item: string>"]
    assert b"terms" not in description.encode()


@pytest.mark.parametrize(
    ("find", "replace", "line", "field", "found", "remedy"),
    [
        ("  sector: eng", "  sectr: eng", 6, "dataset.sectr", "unknown name", "did you mean 'sector'?"),
        (
            "category: none",
            "category: Personal",
            11,
            "dataset.category",
            "found 'Personal'",
            "did you mean 'personal'? allowed: none, personal,",
        ),
        (
            "purposes: [research]",
            "purposes: [reserch]",
            26,
            "terms.purposes.0",
            "found 'reserch'",
            "did you mean 'research'?",
        ),
        ("subjects: 0, sens", "subjects: many, sens", 12, "dataset.my.subjects", "found 'many'", "valid integer"),
        ("subjects: 0, sens", "subjects: -1, sens", 12, "dataset.my.subjects", "found -1", ""),
        ("id: sensor-readings", "id: Sensor Readings", 1, "id", "found 'Sensor Readings'", "[a-z0-9]"),
        ("title: Sensor readings\n", "", 1, "title", "is missing", "add title"),
        ("    class: general\n", "", 13, "dataset.cn.class", "is missing", "add class"),
        ("[CN]", "[cn]", 7, "dataset.origin_jurisdictions.0", "found 'cn'", "[A-Z]{2}"),
        ("[CN]", "[]", 7, "dataset.origin_jurisdictions", "found", ""),
        ("2027-12-31\n", "soon\n", 23, "dataset.retention_until", "'soon' is not a date", "write a date"),
        ("{zones: [cyberjaya]}", "{}", 25, "terms.offered_to", "name at least one zone", ""),
        ("{pulls: 5}", "{pulls: 0}", 28, "terms.limits.pulls", "found 0", ""),
        ("{pulls: 5}", "{pull: 5}", 28, "terms.limits.pull", "unknown name", "did you mean 'pulls'?"),
        (
            "subjects: 0, sens",
            "subjects: 7, sens",
            11,
            "dataset.category",
            "category none, yet persons are counted",
            "dataset.my.subjects",
        ),
        (
            "notified_important: no",
            "notified_important: maybe",
            15,
            "dataset.cn.notified_important",
            "found 'maybe'",
            "allowed: yes, no, unknown",
        ),
        (
            "  limits: {pulls: 5}",
            "  obligations: [{kind: mask_colums, params: {}}]",
            28,
            "terms.obligations.0",
            "unknown kind mask_colums",
            "",
        ),
        ("title: Sensor", "title: a\ntitle: Sensor", 3, "title", "stands twice", "keep one"),
    ],
)
def test_a_mistake_is_named_with_line_field_and_remedy(
    tmp_path: Path, manifest_text: str, find: str, replace: str, line: int, field: str, found: str, remedy: str
) -> None:
    assert manifest_text.count(find) == 1
    path = write(tmp_path, manifest_text.replace(find, replace))
    with pytest.raises(ManifestError) as caught:
        load_publication(path)
    assert caught.value.message.startswith(f"{path}:{line}: {field}")
    assert found in caught.value.message
    assert remedy in caught.value.remedy


# Seven lists, each of ten times the one before.
LAUGHS = b"a: &a [x, x, x, x, x, x, x, x, x, x]\n" + b"".join(
    b"%c: &%c [%s]\n" % (c + 1, c + 1, b", ".join([b"*%c" % c] * 10)) for c in range(97, 103)
)


@pytest.mark.parametrize(
    ("data", "said"),
    [
        (b"", "m.yaml:1: the manifest is empty"),
        (b"id: x\n\ttitle: y", "m.yaml:2: not YAML"),
        (b"id: [1, 2", "not YAML"),
        (b"id: x\ntitle: caf\xe9\n", "m.yaml:2: not UTF-8"),
        (b"- a\n- b\n", r"m.yaml:1: the manifest: found \['a', 'b'\].*write names and values"),
        (b"just text", "m.yaml:1: the manifest: found 'just text'.*write names and values"),
        (b"id: !!python/object/apply:os.system ['true']", "m.yaml:1: id: tag tag:yaml"),
        (b"id: !!python/name:os.system x", "m.yaml:1: not YAML"),
        (b"1: x", "m.yaml:1: 1: unknown name"),
        (b"? [a]\n: b\n", "m.yaml:1"),
        (b"id: &a [*a]", "m.yaml:1: too many values"),
        (LAUGHS, "too many values"),
        (b"x" * (limits.MANIFEST_MAX + 1), "the limit is"),
        (b"[" * 5_000, "not YAML"),
    ],
)
def test_what_is_no_manifest_at_all_is_refused(tmp_path: Path, data: bytes, said: str) -> None:
    path = tmp_path / "m.yaml"
    path.write_bytes(data)
    with pytest.raises(ManifestError, match=said):
        load_publication(path)


def test_a_missing_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ManifestError, match=r"none\.yaml: cannot be read"):
        load_publication(tmp_path / "none.yaml")


def test_a_manifest_without_terms_is_offered_to_nobody(tmp_path: Path, manifest_text: str) -> None:
    publication = load_publication(write(tmp_path, manifest_text.split("terms:")[0]))
    assert publication.terms is None


def test_terms_offer_to_zones_and_participants_until_their_end(publication: Publication) -> None:
    terms = publication.terms
    assert terms is not None
    somebody = {"participant": "tdz://cyberjaya/partner/um"}
    assert terms.offers(zone="cyberjaya", now=terms.until - 1, **somebody)
    assert not terms.offers(zone="cyberjaya", now=terms.until, **somebody)
    assert not terms.offers(zone="other", now=0, participant="tdz://other/partner/x")
    document = terms.document() | {"offered_to": {"zones": [], "participants": ["tdz://other/partner/x"]}}
    named = type(terms).model_validate(document)
    assert named.offers(zone="other", now=0, participant="tdz://other/partner/x")
    assert not named.offers(zone="other", now=0, participant="tdz://other/partner/y")


def test_a_sent_publication_is_as_strict(publication: Publication) -> None:
    document = publication.document()
    for change in ({"extra": 1}, {"id": "Not A Slug"}, {"title": 5}):
        with pytest.raises(ManifestError):
            Publication.parse(canonical.encode(document | change))
    with pytest.raises(ManifestError, match="not canonical"):
        Publication.parse(publication.encode() + b" ")


MANIFEST: dict[str, Any] = {
    "v": 1,
    "kind": "dataset",
    "id": "x",
    "schema": "0" * 64,
    "descriptive": "1" * 64,
    "chunks": 1,
    "rows": 2,
    "bytes": 3,
    "root": "2" * 64,
    "encoding": "none",
}


def test_the_manifest_s_bytes_are_canonical_and_its_version_is_their_digest() -> None:
    manifest = DatasetManifest.parse(canonical.encode(MANIFEST))
    assert manifest.encode() == canonical.encode(MANIFEST)
    assert manifest.version == canonical.digest(MANIFEST)


@pytest.mark.parametrize(
    "change",
    [
        {"v": 2},
        {"kind": "file"},
        {"extra": 1},
        {"root": "2" * 63},
        {"root": "A" * 64},
        {"chunks": -1},
        {"chunks": "1"},
        {"chunks": limits.CHUNKS_MAX + 1},
        {"rows": True},
        {"encoding": "gzip"},
        {"id": "x" * 4_096},
    ],
)
def test_a_manifest_that_is_not_exactly_one_is_refused(change: dict[str, Any]) -> None:
    with pytest.raises(IntegrityError):
        DatasetManifest.parse(canonical.encode(MANIFEST | change))


@pytest.mark.parametrize("member", list(MANIFEST))
def test_a_manifest_needs_every_member(member: str) -> None:
    with pytest.raises(IntegrityError):
        DatasetManifest.parse(canonical.encode({k: v for k, v in MANIFEST.items() if k != member}))


def test_a_manifest_in_another_form_of_the_same_json_is_refused() -> None:
    with pytest.raises(IntegrityError, match="canonical"):
        DatasetManifest.parse(b" " + canonical.encode(MANIFEST))
