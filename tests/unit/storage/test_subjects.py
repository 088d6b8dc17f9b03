"""Persons are counted once by keyed hash, whatever the column's type, and in bounded memory."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.errors import ConfigError, DataFileError, ManifestError
from gateway.identity.keys import keep_secret
from gateway.model import canonical
from gateway.model.dataset import Publication
from gateway.storage.subjects import SubjectCounts, SubjectSets
from tests.e2e.material import CYBERJAYA, personal_dataset

SECRET = bytes(range(32))
OWNER, OTHER = "tdz://lingang/partner/lab", "tdz://lingang/partner/clinic"


@pytest.fixture
def sets(tmp_path: Path) -> Iterator[SubjectSets]:
    made = SubjectSets(tmp_path, SECRET)
    yield made
    made.close()


def publication(plain: int, ill: int = 0, *, id_: str = "people", **persons: str) -> Publication:
    document = personal_dataset(id_, CYBERJAYA, plain)
    document["dataset"]["cn"] |= {
        "subjects_sensitive": ill,
        "spi_types": ["health"] if ill else [],
    }
    return Publication.parse(canonical.encode({**document, "persons": {"column": "who", **persons}}))


def keep(sets: SubjectSets, name: str, table: pa.Table, said: Publication, owner: str = OWNER, rows: int = 7) -> str:
    counter = sets.counter(owner, said, table.schema)
    assert counter is not None
    version = name * 64
    try:
        for batch in table.to_batches(max_chunksize=rows):
            counter.add(batch)
        counter.finish(version)
    finally:
        counter.close()
    return version


def people(*names: object) -> pa.Table:
    return pa.table({"who": pa.array(names)})


def test_a_person_in_two_versions_of_one_namespace_counts_once(sets: SubjectSets) -> None:
    a = keep(sets, "a", people(*(f"p{i}" for i in range(100))), publication(100, namespace="mykad"))
    b = keep(sets, "b", people(*(f"p{i}" for i in range(40, 160))), publication(120, id_="more", namespace="mykad"))
    assert sets.count([a]) == (100, 0)
    assert sets.count([b]) == (120, 0)
    assert sets.count([a, b]) == (160, 0)
    assert sets.count([]) == (0, 0)


def test_datasets_that_share_no_namespace_share_no_person(sets: SubjectSets) -> None:
    a = keep(sets, "a", people(1, 2, 3), publication(3))
    b = keep(sets, "b", people(1, 2, 3), publication(3, id_="more"))
    assert sets.count([a, b]) == (6, 0)


def test_two_exporters_hashes_cannot_be_joined(sets: SubjectSets) -> None:
    a = keep(sets, "a", people("x"), publication(1, namespace="n"))
    b = keep(sets, "b", people("x"), publication(1, namespace="n"), owner=OTHER)
    assert sets.count([a, b]) == (2, 0)


def test_text_numbers_and_dictionaries_name_the_same_persons_and_rows_repeat(sets: SubjectSets) -> None:
    said = publication(3, namespace="n")
    versions = [
        keep(sets, "a", people(*([7, 8, 9] * 30)), said),
        keep(sets, "b", people("7", "8", "9"), said),
        keep(sets, "c", pa.table({"who": pa.array(["7", "9", "8", "7"]).dictionary_encode()}), said),
        keep(sets, "d", pa.table({"who": pa.array(["7", "9", "8"], pa.large_string())}), said),
    ]
    assert sets.count(versions) == (3, 0)


def test_one_sensitive_row_makes_the_person_sensitive_over_all_versions(sets: SubjectSets) -> None:
    table = pa.table({"who": [1, 1, 2, 3, 4], "ill": [False, True, False, False, None]})
    a = keep(sets, "a", table, publication(2, 2, namespace="n", sensitive="ill"), rows=2)
    b = keep(sets, "b", people(2, 5), publication(0, 2, namespace="n"))
    assert sets.count([a]) == SubjectCounts(2, 2)
    assert sets.count([a, b]) == SubjectCounts(1, 4)


def test_the_manifest_must_say_how_many_there_are(sets: SubjectSets) -> None:
    with pytest.raises(ManifestError, match="has 3 non-sensitive and 0 sensitive persons, the manifest says 2 and 0"):
        keep(sets, "a", people(1, 2, 3), publication(2))
    assert not sets.has("a" * 64)


def test_nothing_of_a_count_that_failed_or_was_given_up_is_left_in_the_work_space(
    sets: SubjectSets, tmp_path: Path
) -> None:
    before = sorted(tmp_path.rglob("*"))
    table = people("a", "b")
    wrong = sets.counter(OWNER, publication(3), table.schema)
    given_up = sets.counter(OWNER, publication(2), table.schema)
    assert wrong is not None
    assert given_up is not None
    for batch in table.to_batches():
        wrong.add(batch)
        given_up.add(batch)
    with pytest.raises(ManifestError):
        wrong.finish("00" * 32)
    wrong.close()
    given_up.close()
    assert sorted(tmp_path.rglob("*")) == before


def test_a_row_without_a_person_and_columns_that_name_none_are_refused(sets: SubjectSets) -> None:
    with pytest.raises(DataFileError, match="names nobody in 1 rows"):
        keep(sets, "a", people("x", None), publication(1))
    with pytest.raises(ManifestError, match="has no column 'who'"):
        keep(sets, "a", pa.table({"other": [1]}), publication(1))
    with pytest.raises(ManifestError, match="a column of double names no persons"):
        keep(sets, "a", people(1.5), publication(1))
    with pytest.raises(ManifestError, match="persons of both groups"):
        keep(sets, "a", people(1), publication(1, 1))
    with pytest.raises(ManifestError, match="is not boolean"):
        keep(sets, "a", pa.table({"who": [1], "ill": [1]}), publication(1, 1, sensitive="ill"))


def test_the_set_holds_no_name_and_no_plain_hash(sets: SubjectSets, tmp_path: Path) -> None:
    keep(sets, "a", people("S1234567D"), publication(1))
    (file,) = (tmp_path / "subjects").iterdir()
    assert b"S1234567D" not in file.read_bytes()
    assert [len(each) for each in pq.read_table(file).column("person").to_pylist()] == [16]


def test_sets_outlive_their_process_and_scratch_does_not(tmp_path: Path) -> None:
    first = SubjectSets(tmp_path, SECRET)
    version = keep(first, "a", people(1, 2), publication(2, namespace="n"))
    first.scratch().write_bytes(b"left")
    first.close()
    second = SubjectSets(tmp_path, SECRET)
    again = keep(second, "b", people(2, 3), publication(2, namespace="n"))
    assert second.count([version, again]) == (3, 0)
    second.close()
    assert list((tmp_path / "subjects.work").iterdir()) == []


def test_a_million_persons_are_counted(sets: SubjectSets) -> None:
    names = pa.table({"who": pa.array(range(1_000_000))})
    version = keep(sets, "a", names, publication(1_000_000), rows=80_000)
    assert sets.count([version]) == (1_000_000, 0)


def test_the_secret_is_made_once_and_for_its_owner_alone(tmp_path: Path) -> None:
    path = tmp_path / "subjects.secret"
    secret = keep_secret(path)
    assert len(secret) == 32
    assert keep_secret(path) == secret
    assert path.stat().st_mode & 0o777 == 0o600
    path.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        keep_secret(path)
    path.chmod(0o600)
    path.write_bytes(b"short")
    with pytest.raises(ConfigError, match="does not hold 32 bytes"):
        keep_secret(path)
