"""What may go wrong when a partner publishes, through the SDK and the command line."""

from __future__ import annotations

import contextlib
import json

import pyarrow as pa
import pyarrow.csv as pacsv
import pyarrow.parquet as pq
import pytest

import gateway.sdk as tdz
from gateway.errors import ConflictError, DataFileError, ManifestError
from tests.e2e.material import measurements, next_id, open_dataset

pytestmark = pytest.mark.e2e


def stored(scene):
    """Names and sizes of everything that lies in lingang's storage for good."""
    data = scene.lingang.layout.chunks.parent
    return {
        path.relative_to(data): path.stat().st_size
        for part in ("chunks", "versions")
        for path in (data / part).rglob("*")
        if path.is_file()
    }


@pytest.fixture
def rows():
    return measurements().slice(0, 200)


@pytest.mark.parametrize(
    ("wrong", "line", "field", "remedy"),
    [
        ("title: A\nid: ok\nlicense: CC0\n", 3, "license", "licence"),
        ("title: A\nid: Not A Slug\n", 2, "id", ""),
        (
            "title: A\nid: ok\nterms:\n  offered_to: {zones: [cyberjaya]}\n  purposes: [fun]\n",
            5,
            "purposes",
            "research",
        ),
    ],
)
def test_a_wrong_manifest_is_told_with_file_line_field_and_remedy(scene, tmp_path, rows, wrong, line, field, remedy):
    manifest = tmp_path / "manifest.yaml"
    dataset = json.dumps(open_dataset("ok")["dataset"])
    manifest.write_text(wrong + f"dataset: {dataset}\n")
    before = stored(scene)
    with scene.connect("lab") as lab, pytest.raises(ManifestError) as caught:
        lab.publish(rows, manifest)
    assert f"{manifest}:{line}" in caught.value.message
    assert field in caught.value.message
    assert remedy in caught.value.remedy + caught.value.message
    pq.write_table(rows, tmp_path / "rows.parquet")
    told = scene.run("dataset", "publish", tmp_path / "rows.parquet", "--manifest", manifest, as_="lab")
    assert told.code == 2
    assert f"manifest.yaml:{line}" in told.err
    assert "Traceback" not in told.err
    assert stored(scene) == before


def test_a_tag_for_a_column_that_the_data_does_not_have_names_it_and_the_nearest(scene, rows):
    manifest = open_dataset(next_id("tags"))
    manifest["dataset"]["columns"] = [{"name": "xx", "tags": ["location"]}]
    before = stored(scene)
    with scene.connect("lab") as lab, pytest.raises(ManifestError, match="no column 'xx'") as caught:
        lab.publish(rows, manifest)
    assert "x" in caught.value.remedy
    assert stored(scene).keys() == before.keys()


def test_a_ragged_csv_is_told_with_its_row_and_publishes_nothing(scene, tmp_path):
    path = tmp_path / "ragged.csv"
    path.write_text("a,b\n1,2\n3,4\n5,6,7\n8,9\n")
    manifest = open_dataset(next_id("ragged"))
    with scene.connect("lab") as lab:
        with pytest.raises(DataFileError) as caught:
            lab.publish(path, manifest)
        assert "4" in caught.value.message
        assert caught.value.remedy
        assert f"datasets/{manifest['id']}" not in [dataset.name for dataset in lab.datasets(scope="own")]
    (tmp_path / "m.yaml").write_text(json.dumps(manifest))
    told = scene.run("dataset", "publish", path, "--manifest", tmp_path / "m.yaml", "--json", as_="lab")
    assert (told.code, told.out) == (2, "")
    assert "TDZ-DATA-FILE" in told.err


@pytest.mark.parametrize("keep", [0, 3, 100, -1, -9, -200])
def test_a_truncated_parquet_file_is_told_and_publishes_nothing(scene, tmp_path, rows, keep):
    path = tmp_path / "cut.parquet"
    pq.write_table(rows, path)
    path.write_bytes(path.read_bytes()[:keep])
    manifest = open_dataset(next_id("cut"))
    with scene.connect("lab") as lab:
        with pytest.raises(DataFileError) as caught:
            lab.publish(path, manifest)
        assert str(path) in caught.value.message
        with pytest.raises(tdz.NotFoundError):
            lab.dataset(manifest["id"])


def test_a_parquet_file_that_is_damaged_in_its_middle_publishes_nothing(scene, tmp_path):
    path = tmp_path / "damaged.parquet"
    words = pa.table({"w": [f"word {i % 5_000} of many" for i in range(200_000)]})
    pq.write_table(words, path, row_group_size=20_000, compression="zstd", use_dictionary=False)
    data = bytearray(path.read_bytes())
    data[len(data) // 2 : len(data) // 2 + 4_096] = bytes(4_096)
    path.write_bytes(data)
    manifest = open_dataset(next_id("damaged"))
    with scene.connect("lab") as lab:
        with pytest.raises(DataFileError):
            lab.publish(path, manifest)
        with pytest.raises(tdz.NotFoundError):
            lab.dataset(manifest["id"])


def test_an_id_of_another_institution_is_refused_and_its_dataset_stays(scene, rows):
    with scene.connect("ai-lab") as other, pytest.raises(ConflictError, match="another institution") as caught:
        other.publish(rows, open_dataset("open"))
    assert caught.value.remedy == "choose another id"
    with scene.connect("um") as um:
        assert um.dataset("open").rows == scene.table.num_rows


def test_publishing_the_same_rows_twice_stores_nothing_twice(scene, tmp_path):
    manifest = open_dataset(next_id("twice"))
    table = measurements(2)
    with scene.connect("lab") as lab:
        first = lab.publish(table, manifest)
        before = stored(scene)
        assert lab.publish(table, manifest) == first
        assert stored(scene) == before
        pq.write_table(table, tmp_path / "same.parquet")
        assert lab.publish(tmp_path / "same.parquet", manifest).version == first.version
        other = lab.publish(table, open_dataset(next_id("twin")))
        assert other.version != first.version
        chunks = {path for path in stored(scene).keys() - before.keys() if path.parts[0] == "chunks"}
        assert chunks == set()  # another dataset of the same rows shares every chunk
        assert lab.verify(manifest["id"]) == lab.verify(other.name)


def test_a_new_version_replaces_the_old_one_and_agreements_name_the_old(scene):
    manifest = open_dataset(next_id("versions"))
    with scene.connect("lab") as lab, scene.connect("um") as um:
        old = lab.publish(measurements().slice(0, 100), manifest)
        access = um.request(old.name, purpose="research")
        new = lab.publish(measurements().slice(0, 70), manifest)
        assert new.version != old.version
        assert access.pull().to_arrow().num_rows == 100
        with contextlib.suppress(tdz.DeniedError):  # the other zone may keep the old card until it is told so once
            um.request(old.name, purpose="research")
        newest = um.request(old.name, purpose="research")
        assert newest.pull().to_arrow().num_rows == 70
        assert um.dataset(old.name).version == newest.show().version == new.version


def test_csv_arrow_and_parquet_of_the_same_rows_are_the_same_dataset(scene, tmp_path):
    table = pa.table({"n": pa.array(range(500), pa.int64()), "w": [f"w{i % 7}" for i in range(500)]})
    pacsv.write_csv(table, tmp_path / "t.csv")
    pq.write_table(table, tmp_path / "t.parquet")
    with pa.OSFile(str(tmp_path / "t.arrow"), "wb") as sink, pa.ipc.new_file(sink, table.schema) as writer:
        writer.write_table(table)
    manifest = open_dataset(next_id("formats"))
    with scene.connect("lab") as lab:
        versions = {lab.publish(tmp_path / f"t.{suffix}", manifest).version for suffix in ("csv", "parquet", "arrow")}
    assert len(versions) == 1


def test_a_withdrawn_dataset_is_listed_and_requested_no_more_and_agreements_stay(scene):
    manifest = open_dataset(next_id("withdrawn"))
    with scene.connect("lab") as lab, scene.connect("um") as um:
        name = lab.publish(measurements().slice(0, 30), manifest).name
        access = um.request(name, purpose="research")
        lab.withdraw(name)
        assert name not in [dataset.name for dataset in um.datasets()]
        with pytest.raises(tdz.TdzError):
            um.request(name, purpose="research")
        assert access.pull().to_arrow().num_rows == 30
        with pytest.raises(tdz.NotFoundError):
            lab.withdraw(name)


def test_a_table_without_rows_is_published_and_pulled(scene):
    manifest = open_dataset(next_id("empty"))
    with scene.connect("lab") as lab, scene.connect("um") as um:
        name = lab.publish(scene.table.slice(0, 0), manifest).name
        table = um.request(name, purpose="research").pull().to_arrow()
        assert table.num_rows == 0
        assert table.column_names == scene.table.column_names


async def test_a_wide_table_is_listed_requested_and_pulled(small):
    async with small() as own:
        table = pa.table({f"measure_{n:04}": pa.array([n, n + 1]) for n in range(600)})
        lab, um = await own.lab(), await own.um()
        name = (await lab.publish(table, open_dataset("wide-table"))).name
        assert [each.name for each in await um.datasets(scope="peer")] == [name]
        pulled = await (await (await um.request(name, purpose="research")).pull()).to_arrow()
        assert pulled.equals(table)
