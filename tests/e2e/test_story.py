"""The main job as a partner does it: the SDK's example as written, every form of the rows, and the command line."""

from __future__ import annotations

import json
import os
import subprocess
import sys

import pyarrow as pa
import pyarrow.parquet as pq
import pytest

from gateway.config import load_profile, write_profile
from tests.e2e.material import next_id, open_dataset

pytestmark = pytest.mark.e2e

EXAMPLE = """
import gateway.sdk as tdz

with tdz.connect("um.toml") as zone:
    flights = zone.request("datasets/open", purpose="research").pull().to_arrow()

print(flights.num_rows)
"""


def same_rows(got: pa.Table, wanted: pa.Table) -> bool:
    """Equal in values whatever the chunks and dictionaries are."""
    plain = pa.schema(
        [pa.field(f.name, f.type.value_type if pa.types.is_dictionary(f.type) else f.type) for f in wanted.schema]
    )
    return got.cast(plain).combine_chunks().equals(wanted.cast(plain).combine_chunks())


def test_the_example_of_the_issue_runs_as_written(scene, tmp_path):
    write_profile(tmp_path / "um.toml", load_profile(scene.profiles["um"]))
    done = subprocess.run(
        [sys.executable, "-c", EXAMPLE],
        cwd=tmp_path,
        env={**os.environ, "PYTHONPATH": os.getcwd()},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout) == (0, f"{scene.table.num_rows}\n"), done.stderr


def test_every_form_of_the_rows_equals_the_source(scene, tmp_path):
    with scene.connect("um") as zone:
        access = zone.request("datasets/open", purpose="research")
        assert access.request.effect == "allow"
        table = access.pull().to_arrow()
        assert same_rows(table, scene.table)
        assert table.schema.equals(scene.table.schema)
        read = access.pull().reader().read_all()
        assert same_rows(read, scene.table)
        frame = access.pull().to_pandas()
        assert frame.equals(table.to_pandas())
        relation = access.pull().to_duckdb()
        assert same_rows(relation.to_arrow_table().select(["n", "word"]), scene.table.select(["n", "word"]))
        assert relation.aggregate("count(*), sum(value)").fetchall()[0] == pytest.approx(
            (scene.table.num_rows, sum(v for v in scene.table["value"].to_pylist() if v is not None))
        )
        parquet = access.pull().to_file(tmp_path / "open.parquet")
        assert same_rows(pq.read_table(parquet), scene.table)
        arrow = access.pull().to_file(tmp_path / "open.arrow")
        with pa.OSFile(str(arrow)) as file:
            assert same_rows(pa.ipc.open_file(file).read_all(), scene.table)


def test_batches_come_one_by_one_with_progress_and_a_signed_end(scene):
    seen = []
    with scene.connect("um") as zone:
        pull = zone.request("datasets/open", purpose="research").pull(progress=seen.append)
        rows = sum(batch.num_rows for batch in pull.batches())
        assert rows == pull.rows == scene.table.num_rows
        assert pull.chunks > 1
        assert [step.chunks for step in seen] == sorted({step.chunks for step in seen})
        assert seen[-1].chunks == pull.chunks
        assert json.loads(pull.end)["payloadType"] == "application/vnd.tdz.end.v1+json"


def test_a_pull_reads_once(scene):
    with scene.connect("um") as zone:
        pull = zone.request("datasets/open", purpose="research").pull()
        pull.to_arrow()
        with pytest.raises(Exception, match="read already"):
            pull.to_arrow()


def test_the_transfer_is_complete_on_both_sides_with_both_receipts(scene):
    with scene.connect("um") as zone:
        pull = zone.request("datasets/open", purpose="research").pull()
        pull.to_arrow()
        done = scene.with_receipts(zone, pull.transfer)
    assert (done.state, done.side, done.rows) == ("COMPLETED", "consumer", scene.table.num_rows)
    for receipt in (done.receipt, done.peer_receipt):
        assert json.loads(receipt)["payloadType"] == "application/vnd.tdz.receipt.v1+json"
    with scene.lingang.admin() as admin:
        assert admin.status().ledger_size > 0


def test_a_listing_shows_own_and_offered_datasets_with_their_columns_and_finds_words(scene):
    with scene.connect("um") as zone:
        names = [dataset.name for dataset in zone.datasets()]
        assert "datasets/open" in names
        assert "datasets/patients" not in names  # offered to the other zone alone
        listed = zone.datasets("open MEASUREMENTS pair", scope="peer")
        (found,) = [dataset for dataset in listed if dataset.name == "datasets/open"]  # others publish here too
        assert (found.name, found.zone, found.rows) == ("datasets/open", "lingang", scene.table.num_rows)
        assert [column.name for column in found.columns] == scene.table.column_names
        assert zone.datasets("open nothing-like-this") == []
        assert "datasets/open" not in [dataset.name for dataset in zone.datasets("open", scope="own")]
    with scene.connect("lab") as zone:
        assert {"datasets/open", "datasets/patients"} <= {dataset.name for dataset in zone.datasets()}


def test_the_command_line_publishes_lists_asks_and_pulls(scene, tmp_path):
    dataset_id = next_id("cli")
    (tmp_path / "manifest.yaml").write_text(json.dumps(open_dataset(dataset_id)))
    published = scene.run(
        "dataset", "publish", scene.directory / "open.parquet", "--manifest", tmp_path / "manifest.yaml", "--json",
        as_="lab",
    )  # fmt: skip
    assert published.code == 0, published.err
    assert published.document["rows"] == scene.table.num_rows

    listed = scene.run("dataset", "list", "--json", as_="um")
    assert f"datasets/{dataset_id}" in [dataset["name"] for dataset in listed.document["datasets"]]

    asked = scene.run("request", f"datasets/{dataset_id}", "--purpose", "research", "--json", as_="um")
    assert (asked.code, asked.document["outcome"]) == (0, "allowed"), asked.err
    shown = scene.run("request", "show", asked.document["id"], "--json", as_="um")
    assert (shown.code, shown.document["state"]) == (0, "FINALIZED")

    pulled = scene.run("pull", asked.document["agreement"], "-o", tmp_path / "out.parquet", "--json", as_="um")
    assert pulled.code == 0, pulled.err
    assert same_rows(pq.read_table(tmp_path / "out.parquet"), scene.table)

    csv = scene.run("pull", asked.document["agreement"], "-o", tmp_path / "out.csv", as_="um")
    assert csv.code == 2  # CSV has no lists
    assert "write Arrow instead" in csv.err
    assert sorted(path.name for path in tmp_path.iterdir()) == ["manifest.yaml", "out.parquet"]

    transfers = scene.run("transfer", "list", "--json", as_="um").document["transfers"]
    assert asked.document["agreement"] in [transfer["agreement"] for transfer in transfers]


def test_the_command_line_ends_with_1_for_a_refusal_and_prints_the_findings(scene):
    refused = scene.run("request", "patients", "--purpose", "research", "--json", as_="ai-lab")
    assert refused.code == 1
    assert refused.document["outcome"] == "denied"
    codes = {finding["code"] for finding in refused.document["findings"]}
    assert "MY-SENSITIVE" in codes
    assert all(finding["remedy"] and finding["cite"] for finding in refused.document["findings"])
    readable = scene.run("request", "patients", "--purpose", "research", as_="ai-lab")
    assert readable.code == 1
    assert "MY-SENSITIVE" in readable.err + readable.out
    assert "PDPA 2010 s.40" in readable.err + readable.out


def test_the_command_line_ends_with_2_and_one_line_for_an_operational_error(scene, tmp_path):
    unknown = scene.run("request", "datasets/nothing-here", "--purpose", "research", "--json", as_="um")
    assert unknown.code == 2
    assert "TDZ-NOT-FOUND" in unknown.err
    assert "Traceback" not in unknown.err
    purpose = scene.run("request", "datasets/open", "--purpose", "fun", as_="um")
    assert purpose.code == 2
    assert "use one of" in purpose.err
    pulled = scene.run("pull", "datasets/nothing-here", "-o", tmp_path / "x.parquet", as_="um")
    assert pulled.code == 2
    assert not (tmp_path / "x.parquet").exists()
