"""An unmodified `pyarrow.flight` client with a partner's certificate."""

from __future__ import annotations

import json
import time

import pyarrow as pa
import pyarrow.flight as flight
import pytest

from gateway.config import load_profile
from gateway.model.dataset import Publication
from tests.e2e.material import measurements, next_id, open_dataset
from tests.e2e.small import directory_entries
from tests.e2e.test_story import same_rows

pytestmark = pytest.mark.e2e


def connect(profile_path) -> flight.FlightClient:
    profile = load_profile(profile_path)
    return flight.connect(
        f"grpc+tls://{profile.gateway}",
        tls_root_certs=profile.ca.read_bytes(),
        cert_chain=profile.cert.read_bytes(),
        private_key=profile.key.read_bytes(),
    )


@pytest.fixture(scope="module")
def um(scene):
    with connect(scene.profiles["um"]) as client:
        yield client


@pytest.fixture(scope="module")
def agreement(scene):
    return scene.agreement()


def path(agreement):
    return flight.FlightDescriptor.for_path("agreements", agreement)


def refused(entries):
    return [
        (entry["body"]["why"], entry["body"]["presented_by"]) for entry in entries if entry["kind"] == "ticket.refused"
    ]


def test_an_agreement_is_described_and_read_like_any_flight(scene, um, agreement):
    info = um.get_flight_info(path(agreement))
    assert info.schema.equals(scene.table.schema)
    assert info.total_records == scene.table.num_rows
    assert (len(info.endpoints), info.endpoints[0].locations, info.ordered) == (1, [], True)
    assert um.get_schema(path(agreement)).schema.equals(scene.table.schema)
    table = um.do_get(info.endpoints[0].ticket).read_all()
    assert same_rows(table, scene.table)
    assert pa.types.is_dictionary(table.schema.field("site").type)


def test_the_listing_names_the_callers_agreements_and_no_others(scene, um, agreement):
    listed = [info.descriptor.path for info in um.list_flights()]
    assert [b"agreements", agreement.encode()] in listed
    assert all(info.endpoints == [] for info in um.list_flights())
    with connect(scene.profiles["ghost"]) as other:
        assert list(other.list_flights()) == []


def test_every_chunk_carries_its_index_and_the_digest_of_its_stored_bytes(scene, um, agreement):
    info = um.get_flight_info(path(agreement))
    said = json.loads(info.app_metadata)
    batches = list(um.do_get(info.endpoints[0].ticket))
    marks = [json.loads(chunk.app_metadata.to_pybytes()) for chunk in batches if chunk.data is not None]
    assert [mark["index"] for mark in marks] == list(range(said["chunks"]))
    store = scene.cyberjaya.layout.chunks
    stored = {entry.name for entry in store.rglob("*") if entry.is_file()}
    assert all(any(mark["digest"].endswith(name) or name in mark["digest"] for name in stored) for mark in marks)


def test_plain_encoding_has_neither_dictionaries_nor_compression(scene, um, agreement):
    options = flight.FlightCallOptions(headers=[(b"tdz-encoding", b"plain")])
    info = um.get_flight_info(path(agreement), options)
    assert not any(pa.types.is_dictionary(field.type) for field in info.schema)
    assert not any(pa.types.is_dictionary(f.type) for f in um.get_schema(path(agreement), options).schema)
    table = um.do_get(info.endpoints[0].ticket, options).read_all()
    assert table.schema.equals(info.schema)
    assert same_rows(table, scene.table)
    with pytest.raises(pa.ArrowInvalid, match="send plain"):
        um.get_flight_info(path(agreement), flight.FlightCallOptions(headers=[(b"tdz-encoding", b"zip")]))


def test_another_participants_spent_and_garbage_tickets_are_refused_alike_and_all_but_garbage_recorded(
    scene, um, agreement
):
    ledger = scene.cyberjaya.layout.ledger
    before = len(list(directory_entries(ledger)))
    ticket = um.get_flight_info(path(agreement)).endpoints[0].ticket
    texts = set()
    with connect(scene.profiles["uitm"]) as other:
        for _ in range(2):  # refusing it does not spend it
            with pytest.raises(flight.FlightUnauthorizedError) as another:
                other.do_get(ticket).read_all()
            texts.add(str(another.value).split(". gRPC")[0].split("Detail:")[0])
    assert um.do_get(ticket).read_all().num_rows == scene.table.num_rows
    with pytest.raises(flight.FlightUnauthorizedError, match="ask for a new one") as spent:
        um.do_get(ticket).read_all()
    recorded: list[tuple[str, str]] = []
    until = time.monotonic() + 10
    while len(recorded) < 3 and time.monotonic() < until:  # the files follow the entries by some milliseconds
        recorded = refused(list(directory_entries(ledger))[before:])
    assert recorded == [
        ("another's", "tdz://cyberjaya/partner/uitm"),
        ("another's", "tdz://cyberjaya/partner/uitm"),
        ("spent", "tdz://cyberjaya/partner/um"),
    ]
    size = len(list(directory_entries(ledger)))
    for garbage in (b"", b"x", b"\xff\xfe", b"A" * 5_000, ticket.ticket[:-1]):
        with pytest.raises(flight.FlightUnauthorizedError) as unknown:
            um.do_get(flight.Ticket(garbage)).read_all()
        texts.add(str(unknown.value).split(". gRPC")[0].split("Detail:")[0])
    texts.add(str(spent.value).split(". gRPC")[0].split("Detail:")[0])
    assert len(texts) == 1
    assert refused(list(directory_entries(ledger))[size:]) == []


def test_a_ticket_of_the_gateways_is_none_of_a_partners(scene, um, agreement):
    """A ticket that lingang would take from cyberjaya's gateway is nothing to cyberjaya's partners, nor the reverse."""
    ticket = um.get_flight_info(path(agreement)).endpoints[0].ticket
    with connect(scene.profiles["lab"]) as foreign, pytest.raises(flight.FlightUnauthorizedError):
        foreign.do_get(ticket).read_all()


def test_unknown_flights_and_wrong_descriptors_are_clear_errors(scene, um, agreement):
    with pytest.raises(pa.ArrowKeyError, match="no agreement"):
        um.get_flight_info(path("0197a3bf-0000-7000-8000-000000000000"))
    with connect(scene.profiles["uitm"]) as other, pytest.raises(pa.ArrowKeyError, match="no agreement"):
        other.get_flight_info(path(agreement))
    for descriptor in (
        flight.FlightDescriptor.for_path("agreements"),
        flight.FlightDescriptor.for_path("models", agreement),
        flight.FlightDescriptor.for_command(b"select 1"),
    ):
        with pytest.raises(pa.ArrowInvalid, match="for_path"):
            um.get_flight_info(descriptor)


def test_calls_that_the_gateway_does_not_have_say_so(um):
    with pytest.raises(NotImplementedError):
        list(um.list_actions())
    with pytest.raises(NotImplementedError):
        list(um.do_action("anything"))


def test_a_flight_client_publishes_by_do_put(scene, um):
    dataset_id = next_id("put")
    publication = Publication.parse(
        json.dumps(open_dataset(dataset_id), sort_keys=True, separators=(",", ":"), ensure_ascii=False).encode()
    )
    table = scene.table.slice(0, 50_000)
    with connect(scene.profiles["lab"]) as lab:
        writer, reader = lab.do_put(flight.FlightDescriptor.for_command(publication.encode()), table.schema)
        with writer:
            writer.write_table(table, max_chunksize=10_000)
            writer.done_writing()
            answer = json.loads(reader.read().to_pybytes())
    assert (answer["name"], answer["rows"]) == (f"datasets/{dataset_id}", table.num_rows)
    agreement = scene.agreement(f"datasets/{dataset_id}")
    pulled = um.do_get(um.get_flight_info(path(agreement)).endpoints[0].ticket).read_all()
    assert same_rows(pulled, table)


def test_a_do_put_that_is_wrong_publishes_nothing(scene):
    table = measurements().slice(0, 10)
    good = open_dataset(next_id("wrong"))
    cases = [
        (flight.FlightDescriptor.for_path("datasets", "x"), "publishes by command"),
        (flight.FlightDescriptor.for_command(b"{}"), "id"),
        (flight.FlightDescriptor.for_command(b"not json"), "JSON"),
        (
            flight.FlightDescriptor.for_command(json.dumps(good | {"colour": "red"}, sort_keys=True).encode()),
            "canonical",
        ),
    ]
    with connect(scene.profiles["lab"]) as lab:
        for descriptor, text in cases:
            with pytest.raises((pa.ArrowException, flight.FlightError), match=text):
                writer, reader = lab.do_put(descriptor, table.schema)
                with writer:
                    writer.write_table(table)
                    writer.done_writing()
                    reader.read()
    with scene.connect("lab") as lab:
        assert f"datasets/{good['id']}" not in [dataset.name for dataset in lab.datasets(scope="own")]
