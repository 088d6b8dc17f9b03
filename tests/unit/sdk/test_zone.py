"""The SDK against a real server over real mTLS."""

from __future__ import annotations

import asyncio
import threading
from pathlib import Path

import duckdb
import pyarrow as pa
import pyarrow.parquet as pq
import pytest

import gateway.sdk as tdz
from gateway.config import Profile, load_profile
from gateway.errors import ConflictError, ManifestError
from gateway.sdk.upload import split
from tests.unit.sdk.process import SmallZone
from tests.unit.sdk.small_gateway import CHUNKS, FINDING, ROWS_PER_CHUNK, ZONE, rows

MANIFEST = {
    "id": "flights",
    "title": "Flights",
    "dataset": {
        "sector": "aviation",
        "origin_jurisdictions": ["US"],
        "origin": "domestic",
        "controller": "test",
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


def plain(table: pa.Table) -> pa.Table:
    return table.set_column(1, "carrier", table["carrier"].cast(pa.string())).combine_chunks()


def test_the_example_of_the_readme_gives_the_rows_as_a_table(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        flights = zone.request("datasets/nyc-flights", purpose="research").pull().to_arrow()
    assert plain(flights).equals(plain(rows()))


def test_a_profile_may_be_named_by_its_directory(small_zone: SmallZone) -> None:
    with tdz.connect(str(small_zone.partner.parent)) as zone:
        assert zone.identity.uri == f"tdz://{ZONE}/partner/um"


def test_listings_follow_every_page(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        found = zone.datasets()
    assert [each.name for each in found] == ["datasets/flights", "datasets/weather", "datasets/planes"]
    assert found[0].columns == (tdz.Column("n", "int64", ("location",)),)
    assert found[0].document()["purposes"] == ("research",)


def test_an_unknown_dataset_is_not_found_with_a_remedy(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.NotFoundError) as caught:
        zone.dataset("nothing")
    assert caught.value.remedy == "list the datasets"


def test_a_refusal_raises_with_rule_citation_and_remedy(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.DeniedError) as caught:
        zone.request("datasets/denied", purpose="research")
    assert caught.value.findings == (FINDING,)
    assert caught.value.decision_id == "d-1"
    assert caught.value.request_id == "denied"


def test_a_refused_request_taken_up_again_raises_the_same_findings(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.DeniedError) as caught:
        zone.access("denied")
    assert caught.value.findings == (FINDING,)
    assert caught.value.remedy == FINDING[4]


def test_a_review_raises_with_the_request_to_look_at_again(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.ReviewError) as caught:
        zone.request("datasets/review", purpose="research")
    assert caught.value.request_id == "review"
    assert "lingang/admin" in caught.value.message


def test_a_request_whose_answer_was_lost_is_repeated_under_the_same_id(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        access = zone.request("datasets/flaky", purpose="research")
    assert access.agreement == "flaky"


def test_agreements_requests_and_transfers_can_be_listed_and_shown(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        assert [each.state for each in zone.agreements()] == ["TERMINATED", "FINALIZED"]
        assert zone.agreement("agreements/flights").in_force()
        assert [each.id for each in zone.requests()] == ["flights"]
        assert [each.id for each in zone.transfers()] == ["t-1"]
        assert zone.transfer("transfers/t-9").ended
        assert zone.access("flights").show().id == "flights"


def test_a_transfer_can_be_watched_until_something_is_seen(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        assert zone.watch("t-1", lambda transfer: transfer.chunks_done == 3).chunks_done == 3
        assert zone.watch("t-1", lambda transfer: False).state == "COMPLETED"


def test_verifying_a_dataset_tells_progress_and_gives_the_root(small_zone: SmallZone) -> None:
    seen: list[tdz.Progress] = []
    with tdz.connect(small_zone.partner) as zone:
        assert zone.verify("flights", progress=seen.append) == "ab" * 32
    assert [step.chunks for step in seen] == list(range(1, CHUNKS + 1))


def test_pulling_a_dataset_takes_the_newest_agreement_in_force(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        assert zone.pull("datasets/flights").agreement == "flights"
        assert zone.pull("agreements/other").agreement == "other"
        with pytest.raises(tdz.NotFoundError, match="no agreement in force"):
            zone.pull("datasets/unheard-of")


def test_a_reader_streams_batches(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        reader = zone.pull("agreements/flights").reader()
        assert reader.schema.names == ["n", "carrier"]
        assert [batch.num_rows for batch in reader] == [ROWS_PER_CHUNK] * CHUNKS


def test_rows_come_as_pandas(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        frame = zone.pull("agreements/flights").to_pandas()
    assert frame["n"].sum() == sum(range(CHUNKS * ROWS_PER_CHUNK))


def test_rows_come_as_a_duckdb_relation_in_a_given_connection(small_zone: SmallZone) -> None:
    connection = duckdb.connect()
    with tdz.connect(small_zone.partner) as zone:
        relation = zone.pull("agreements/flights").to_duckdb(connection, table="flights")
        assert relation.count("*").fetchall() == [(CHUNKS * ROWS_PER_CHUNK,)]
        assert zone.pull("agreements/flights").to_duckdb().count("*").fetchall() == [(CHUNKS * ROWS_PER_CHUNK,)]
    assert connection.sql("SELECT max(n) FROM flights").fetchall() == [(CHUNKS * ROWS_PER_CHUNK - 1,)]


def test_rows_go_to_a_parquet_file(small_zone: SmallZone, tmp_path: Path) -> None:
    with tdz.connect(small_zone.partner) as zone:
        pull = zone.pull("agreements/flights")
        pull.to_file(tmp_path / "flights.parquet")
    assert plain(pq.read_table(tmp_path / "flights.parquet")).equals(plain(rows()))
    assert '"payloadType":"application/vnd.tdz.end.v1+json"' in pull.end
    assert [path.name for path in tmp_path.iterdir()] == ["flights.parquet"]


def test_a_pull_is_read_once(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        pull = zone.pull("agreements/flights")
        pull.to_arrow()
        with pytest.raises(ConflictError, match="read already"):
            pull.to_arrow()


def test_a_reader_that_is_dropped_ends_its_stream(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        pull = zone.pull("agreements/flights")
        reader = pull.reader()
        reader.read_next_batch()
        pull.close()
        with pytest.raises(ConflictError, match="closed"):
            for _ in reader:
                pass


def test_a_cut_stream_is_read_on_at_the_first_chunk_that_is_missing(small_zone: SmallZone) -> None:
    seen: list[tdz.Progress] = []
    with tdz.connect(small_zone.partner) as zone:
        found = zone.pull("agreements/cut", progress=seen.append).to_arrow()
    assert plain(found).equals(plain(rows()))
    assert [step.chunks for step in seen] == list(range(1, CHUNKS + 1))
    assert seen[-1].reconnects == 2


def test_a_stream_that_ends_early_without_its_end_is_read_on(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        found = zone.pull("agreements/silent-end").to_arrow()
    assert found.num_rows == CHUNKS * ROWS_PER_CHUNK


@pytest.mark.parametrize(
    ("fault", "what"),
    [
        ("damaged", "chunk 3 does not match its digest"),
        ("skips", "chunk 4 came in place of chunk 3"),
        ("forged-end", "did not sign"),
    ],
)
def test_what_does_not_verify_is_refused(small_zone: SmallZone, fault: str, what: str) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.IntegrityError, match=what):
        zone.pull(f"agreements/{fault}").to_arrow()


@pytest.mark.parametrize("fault", ["no-end", "stall", "endless-cut"])
def test_a_pull_without_progress_is_incomplete_in_bounded_time(small_zone: SmallZone, fault: str) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.PeerUnavailableError, match="incomplete at chunk"):
        zone.pull(f"agreements/{fault}", stall_s=1.0).to_arrow()


def test_a_pull_that_fails_half_way_leaves_no_file(small_zone: SmallZone, tmp_path: Path) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.IntegrityError):
        zone.pull("agreements/damaged").to_file(tmp_path / "flights.parquet")
    assert list(tmp_path.iterdir()) == []


def test_a_pull_that_fails_half_way_leaves_no_table(small_zone: SmallZone) -> None:
    connection = duckdb.connect()
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.IntegrityError):
        zone.pull("agreements/damaged").to_duckdb(connection, table="flights")
    assert connection.sql("SHOW TABLES").fetchall() == []


def test_a_revocation_in_mid_stream_raises_its_findings(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone, pytest.raises(tdz.DeniedError) as caught:
        zone.pull("agreements/revoked").to_arrow()
    assert caught.value.findings == (FINDING,)


def test_totals_are_unknown_where_a_filter_is_on(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        pull = zone.pull("agreements/filtered")
        assert (pull.rows, pull.bytes, pull.chunks) == (-1, -1, CHUNKS)


@pytest.mark.parametrize("source", ["table", "reader", "file"])
def test_rows_are_published_from_any_source(small_zone: SmallZone, tmp_path: Path, source: str) -> None:
    table = plain(rows())
    pq.write_table(table, tmp_path / "rows.parquet")
    given = {"table": table, "reader": table.to_reader(), "file": tmp_path / "rows.parquet"}[source]
    with tdz.connect(small_zone.partner) as zone:
        done = zone.publish(given, MANIFEST)
    assert (done.name, done.rows) == ("datasets/flights", table.num_rows)


def test_a_large_batch_is_sent_in_frames_that_fit(small_zone: SmallZone) -> None:
    wide = pa.table({"text": ["x" * 400_000] * 40})
    seen: list[tdz.Progress] = []
    with tdz.connect(small_zone.partner) as zone:
        done = zone.publish(wide, MANIFEST, progress=seen.append)
    assert done.rows == 40
    assert done.bytes < 6 * 1024 * 1024  # the largest frame, as the small gateway tells it
    assert seen[-1].rows == 40


def test_dictionaries_are_published_too(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        assert zone.publish(rows(), MANIFEST).rows == CHUNKS * ROWS_PER_CHUNK


def test_an_empty_table_can_be_published(small_zone: SmallZone) -> None:
    with tdz.connect(small_zone.partner) as zone:
        assert zone.publish(rows().slice(0, 0), MANIFEST).rows == 0


def test_a_refused_publication_raises_what_the_gateway_says(small_zone: SmallZone) -> None:
    many = pa.table({"n": pa.array(range(4_000_000), pa.int64())})
    with tdz.connect(small_zone.partner) as zone, pytest.raises(ManifestError, match="sector"):
        zone.publish(many, {**MANIFEST, "id": "refused"})


def test_batches_are_cut_to_the_target_and_lose_no_row() -> None:
    batch = pa.record_batch({"n": pa.array(range(100_000), pa.int64())})
    parts = list(split(batch, 100_000))
    assert sum(part.num_rows for part in parts) == 100_000
    assert max(part.nbytes for part in parts) <= 110_000


async def test_the_asynchronous_core_works_by_itself(small_zone: SmallZone) -> None:
    async with await tdz.connect_async(small_zone.partner) as zone:
        access = await zone.request("flights", purpose="research")
        pull = await access.pull()
        found = [batch.num_rows async for batch in pull.batches()]
        two = await asyncio.gather(access.pull(), access.pull())
        tables = await asyncio.gather(*(pull.to_arrow() for pull in two))
    assert sum(found) == CHUNKS * ROWS_PER_CHUNK
    assert tables[0].equals(tables[1])


def test_connections_share_one_loop_thread_that_ends_with_the_last(small_zone: SmallZone) -> None:
    def loops() -> int:
        return sum(thread.name == "tdz-sdk" for thread in threading.enumerate())

    with tdz.connect(small_zone.partner) as one, tdz.connect(small_zone.partner) as two:
        assert one.datasets() == two.datasets()
        assert loops() == 1
    assert loops() == 0
    one.close()
    with pytest.raises(ConflictError, match="closed"):
        one.datasets()


def test_a_gateway_that_does_not_answer_is_said_to(small_zone: SmallZone) -> None:
    profile = load_profile(small_zone.partner)
    nowhere = Profile(
        zone=profile.zone,
        gateway=type(profile.gateway)("127.0.0.1", 9),
        ca=profile.ca,
        cert=profile.cert,
        key=profile.key,
    )
    with tdz.connect(nowhere) as zone, pytest.raises(tdz.PeerUnavailableError):
        zone.datasets()


def test_the_export_list_is_what_partners_were_promised() -> None:
    assert sorted(tdz.__all__) == [
        "Access",
        "AccessRequest",
        "Agreement",
        "Appeal",
        "AsyncAccess",
        "AsyncPull",
        "AsyncRun",
        "AsyncZone",
        "CertificateError",
        "Column",
        "ConfigError",
        "Dataset",
        "Decision",
        "DeniedError",
        "Finding",
        "IntegrityError",
        "Model",
        "ModelFile",
        "NotFoundError",
        "Outlook",
        "PeerUnavailableError",
        "Progress",
        "Published",
        "Pull",
        "Receipt",
        "Review",
        "ReviewAnswer",
        "ReviewError",
        "ReviewFinding",
        "Run",
        "RunDataset",
        "RunEndedError",
        "RunRound",
        "RunStatus",
        "TdzError",
        "Timeline",
        "TimelineStep",
        "Transfer",
        "Zone",
        "ZoneMetrics",
        "ZoneOutlook",
        "connect",
        "connect_async",
    ]
    assert all(hasattr(tdz, name) for name in tdz.__all__)
