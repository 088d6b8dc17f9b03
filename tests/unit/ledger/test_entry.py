"""Entries and where tiles lie."""

from __future__ import annotations

import hashlib
import re

import pytest

from ledger import canonical
from ledger.entry import Draft, Entry, content_of, first_prev, format_time, new_id, parse_time
from ledger.errors import EntryError
from ledger.tiles import encode_bundle, entries_path, split_bundle, tile_path

ID = "01890a5d-ac96-774b-bcce-b302099a8057"
ENTRY = Entry(ID, 3, bytes(range(32)), "2026-11-22T07:04:20.298293Z", "decision", 'transfers/"é', {"n": 1, "a": "ü"})


def test_an_entry_is_canonical_json_with_exactly_its_members() -> None:
    expected = {
        "v": 1,
        "id": ID,
        "seq": 3,
        "prev": bytes(range(32)).hex(),
        "time": ENTRY.time,
        "kind": "decision",
        "subject": 'transfers/"é',
        "body": {"n": 1, "a": "ü"},
    }
    assert ENTRY.encode() == canonical.encode(expected)  # type: ignore[arg-type]
    assert Entry.parse(ENTRY.encode(), seq=3, prev=bytes(range(32))) == ENTRY


def test_an_entry_at_another_place_is_refused() -> None:
    with pytest.raises(EntryError, match="at place 4"):
        Entry.parse(ENTRY.encode(), seq=4)
    with pytest.raises(EntryError, match="prev"):
        Entry.parse(ENTRY.encode(), prev=bytes(32))


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("v", 2),
        ("v", True),
        ("v", "1"),
        ("id", ID.upper()),
        ("id", ID.replace("-7", "-4", 1)),
        ("id", 7),
        ("seq", -1),
        ("seq", True),
        ("seq", "3"),
        ("prev", "00"),
        ("prev", ("ab" * 32).upper()),
        ("time", "2026-11-22T07:04:20Z"),
        ("time", "2026-13-22T07:04:20.298293Z"),
        ("time", "2026-11-22T07:04:20.298293+00:00"),
        ("kind", "Decision"),
        ("kind", "a..b"),
        ("kind", ""),
        ("subject", ""),
        ("subject", "a\nb"),
        ("subject", "x" * 513),
        ("body", []),
        ("more", 1),
    ],
)
def test_a_wrong_member_is_refused(name: str, value: object) -> None:
    document = canonical.decode(ENTRY.encode())
    assert isinstance(document, dict)
    document[name] = value  # type: ignore[assignment]
    with pytest.raises(EntryError):
        Entry.parse(canonical.encode(document))


def test_a_missing_member_and_another_form_are_refused() -> None:
    document = canonical.decode(ENTRY.encode())
    assert isinstance(document, dict)
    del document["body"]
    with pytest.raises(EntryError, match="members"):
        Entry.parse(canonical.encode(document))
    with pytest.raises(EntryError, match="canonical"):
        Entry.parse(ENTRY.encode().replace(b":", b": ", 1))
    with pytest.raises(EntryError, match="65535"):
        Entry.parse(b"x" * 65_536)


def test_an_unknown_kind_is_an_entry_and_a_known_one_has_its_members() -> None:
    Draft(ID, "job.submitted", "jobs/1", {"anything": [1]})
    Draft(ID, "something.new", "x", {})
    with pytest.raises(EntryError, match=r"log\.opened"):
        Draft(ID, "log.opened", "log", {"origin": "x"})
    with pytest.raises(EntryError, match=r"log\.opened"):
        Draft(ID, "log.opened", "log", {"origin": "x", "vkey": "y", "name": "z"})


def test_an_entry_that_is_too_long_is_refused_before_it_is_handed_over() -> None:
    Draft(ID, "decision", "x", {"a": "x" * 60_000})
    with pytest.raises(EntryError, match="digest"):
        Draft(ID, "decision", "x", {"a": "x" * 66_000})


def test_what_a_retry_must_repeat_is_kind_subject_and_body() -> None:
    content = content_of(ENTRY)
    assert Draft(ID, "decision", 'transfers/"é', {"a": "ü", "n": 1}).content == content
    assert Draft(ID, "decision", "transfers/x", {"a": "ü", "n": 1}).content != content
    assert Draft(ID, "receipt", 'transfers/"é', {"a": "ü", "n": 1}).content != content
    assert Draft(ID, "decision", 'transfers/"é', {"a": "ü", "n": 2}).content != content


def test_ids_are_uuid_version_7_in_order_of_time() -> None:
    ids = [new_id(1_700_000_000_000_000_000 + n * 1_000_000) for n in range(200)]
    assert ids == sorted(set(ids))
    for each in ids:
        assert re.fullmatch(r"[0-9a-f]{8}-[0-9a-f]{4}-7[0-9a-f]{3}-[89ab][0-9a-f]{3}-[0-9a-f]{12}", each)


def test_times_are_written_and_read_to_the_microsecond() -> None:
    for moment in (0, 1, 1_700_000_000_123_456, 4_102_444_799_999_999):
        assert parse_time(format_time(moment)) == moment
    assert format_time(1_700_000_000_123_456) == "2023-11-14T22:13:20.123456Z"


def test_the_first_entry_is_chained_to_the_origin() -> None:
    assert first_prev("tdz/a/b") == hashlib.sha256(b"tdz/a/b").digest()


def test_paths_are_those_of_tlog_tiles() -> None:
    assert tile_path(0, 1_234_067) == "tile/0/x001/x234/067"
    assert tile_path(1, 17, 112) == "tile/1/017.p/112"
    assert entries_path(0, 255) == "tile/entries/000.p/255"
    assert entries_path(1000) == "tile/entries/x001/000"


def test_a_bundle_with_a_wrong_length_gives_the_entries_before_it() -> None:
    data = encode_bundle([b"one", b"", b"three"])
    assert data == b"\x00\x03one\x00\x00\x00\x05three"
    assert split_bundle(data) == ([b"one", b"", b"three"], "")
    for cut in range(len(data)):
        entries, fault = split_bundle(data[:cut], 3)
        assert fault
        assert entries == [b"one", b"", b"three"][: len(entries)]
    assert split_bundle(data + b"\x00")[1]
    assert split_bundle(data, 2) == ([b"one", b""], "")
