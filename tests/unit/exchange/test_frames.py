"""FlightData by hand: what is written is what others read, and hostile bytes are refused within the limits."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from gateway.errors import PeerError
from gateway.exchange.peer import ChunkMark, StreamOpening
from gateway.model import limits
from gateway.v1 import flight_pb2
from gateway.wire import frames

SHORT = st.binary(max_size=300)


@given(header=SHORT, metadata=SHORT, body=st.lists(SHORT, max_size=4))
def test_a_frame_is_read_back_as_it_was_written_by_us_and_by_the_generated_class(header, metadata, body):
    data = frames.encode(header, body, metadata=metadata)
    found = frames.decode(data)
    assert (bytes(found.header), bytes(found.metadata), bytes(found.body)) == (header, metadata, b"".join(body))
    theirs = flight_pb2.FlightData.FromString(data)
    assert (theirs.data_header, theirs.app_metadata, theirs.data_body) == (header, metadata, b"".join(body))


@given(header=SHORT, metadata=SHORT, body=SHORT, path=st.lists(st.text(max_size=20), max_size=3))
def test_a_frame_of_the_generated_class_is_read_the_same(header, metadata, body, path):
    descriptor = flight_pb2.FlightDescriptor(path=path)
    theirs = flight_pb2.FlightData(
        data_header=header, app_metadata=metadata, data_body=body, flight_descriptor=descriptor
    )
    found = frames.decode(theirs.SerializeToString())
    assert (bytes(found.header), bytes(found.metadata), bytes(found.body)) == (header, metadata, body)
    assert flight_pb2.FlightDescriptor.FromString(bytes(found.descriptor)) == descriptor


@settings(max_examples=300)
@given(data=st.binary(max_size=200))
def test_any_bytes_are_a_frame_or_a_peer_error(data):
    try:
        found = frames.decode(data)
    except PeerError:
        return
    assert len(found.header) + len(found.metadata) + len(found.body) + len(found.descriptor) <= len(data)


@given(header=SHORT, body=st.binary(min_size=1, max_size=300), cut=st.integers(min_value=1))
def test_a_frame_that_was_cut_is_never_read_as_a_whole_one(header, body, cut):
    data = frames.encode(header, [body])
    data = data[: -(cut % len(body)) or -1]
    with pytest.raises(PeerError):
        frames.decode(data)


@pytest.mark.parametrize(
    "data",
    [
        b"\x12",  # a field without a length
        b"\x12\x05abc",  # shorter than it says
        b"\x12\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01",  # a length of more than 64 bits
        b"\x12\x01a\x12\x01b",  # a field twice
        b"\x15\x00\x00\x00\x00",  # a wire type that FlightData does not have
        b"\x13\x14",  # a group
        b"\x80" * 11,
    ],
)
def test_bytes_that_are_no_frame_are_refused(data):
    with pytest.raises(PeerError):
        frames.decode(data)


def test_a_frame_over_the_limit_is_refused_before_it_is_read():
    with pytest.raises(PeerError, match=str(limits.MESSAGE_MAX)):
        frames.decode(bytes(limits.MESSAGE_MAX + 1))


def test_reading_copies_nothing():
    data = frames.encode(b"h", [b"body"])
    assert frames.decode(data).body.obj is data


@given(index=st.integers(min_value=0, max_value=1 << 40), digest=st.text("0123456789abcdef", min_size=64, max_size=64))
def test_a_mark_and_an_opening_are_read_back(index, digest):
    assert ChunkMark.decode(ChunkMark(index, digest).encode()) == ChunkMark(index, digest)
    assert StreamOpening.decode(StreamOpening(index).encode()) == StreamOpening(index)


@pytest.mark.parametrize(
    "noise", [b"", b"[]", b'{"ledger_size":-1}', b'{"ledger_size": 1}', b'{"ledger_size":1,"x":1}', b"9" * 600]
)
def test_an_opening_is_read_strictly(noise):
    with pytest.raises(PeerError):
        StreamOpening.decode(noise)


@pytest.mark.parametrize(
    "noise",
    [b"", b'{"index":0}', b'{"digest":1,"index":0}', b'{"digest":"a","index":true}', b'{"index":0,"digest":"a"}'],
)
def test_a_mark_is_read_strictly(noise):
    with pytest.raises(PeerError):
        ChunkMark.decode(noise)


@given(data=st.binary(max_size=600))
def test_any_metadata_is_a_mark_or_a_peer_error(data):
    try:
        found = ChunkMark.decode(data)
    except PeerError:
        return
    assert found.encode() == data
