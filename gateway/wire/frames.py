"""FlightData frames, written and read by hand.

The generated class copies a 2 MiB body several times; these functions copy once on the way out and not at all on
the way in. Field numbers are those of `FlightData` in proto/gateway/v1/flight.proto (Arrow Flight RPC).
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.errors import PeerError
from gateway.model import limits

Buffer = bytes | bytearray | memoryview

_DESCRIPTOR: Final = 1
_HEADER: Final = 2
_METADATA: Final = 3
_BODY: Final = 1000
_LENGTH_DELIMITED: Final = 2
_EMPTY: Final = memoryview(b"")


@dataclass(frozen=True, slots=True)
class Frame:
    """One FlightData: views into the received bytes, empty where a field is absent."""

    header: memoryview = _EMPTY
    metadata: memoryview = _EMPTY
    body: memoryview = _EMPTY
    descriptor: memoryview = _EMPTY


def encode(header: Buffer, body: Sequence[Buffer] = (), *, metadata: Buffer = b"") -> bytes:
    """One FlightData as bytes.

    Args:
        header: Arrow IPC message metadata, padded to 8, without the 8-byte prefix; may be empty.
        body: parts of the message body, in order.
        metadata: the app_metadata field.
    """
    parts: list[Buffer] = []
    if header:
        parts += (_tag(_HEADER), _varint(len(header)), header)
    if metadata:
        parts += (_tag(_METADATA), _varint(len(metadata)), metadata)
    length = sum(len(part) for part in body)
    if length or header:
        parts += (_tag(_BODY), _varint(length), *body)
    return b"".join(parts)


def decode(data: bytes) -> Frame:
    """Read one FlightData without copying; unknown fields are skipped, a repeated field is refused.

    Raises:
        PeerError: the bytes are not a FlightData within the limits.
    """
    if len(data) > limits.MESSAGE_MAX:
        raise PeerError(f"a Flight frame has {len(data)} bytes, at most {limits.MESSAGE_MAX} are taken")
    view = memoryview(data)
    found: dict[int, memoryview] = {}
    position = 0
    while position < len(data):
        key, position = _read_varint(data, position)
        field, wire_type = key >> 3, key & 7
        if wire_type == _LENGTH_DELIMITED:
            length, position = _read_varint(data, position)
            if length > len(data) - position:
                raise PeerError("a Flight frame ends inside a field")
            if field in found:
                raise PeerError(f"a Flight frame has field {field} twice")
            found[field] = view[position : position + length]
            position += length
        elif wire_type == 0:
            _, position = _read_varint(data, position)
        else:
            raise PeerError(f"a Flight frame has a field of wire type {wire_type}")
    return Frame(
        header=found.get(_HEADER, _EMPTY),
        metadata=found.get(_METADATA, _EMPTY),
        body=found.get(_BODY, _EMPTY),
        descriptor=found.get(_DESCRIPTOR, _EMPTY),
    )


def _tag(field: int) -> bytes:
    return _varint(field << 3 | _LENGTH_DELIMITED)


def _varint(value: int) -> bytes:
    out = bytearray()
    while value > 0x7F:
        out.append(value & 0x7F | 0x80)
        value >>= 7
    out.append(value)
    return bytes(out)


def _read_varint(data: bytes, position: int) -> tuple[int, int]:
    value = shift = 0
    while True:
        if position >= len(data) or shift > 63:
            raise PeerError("a Flight frame has a broken varint")
        byte = data[position]
        position += 1
        value |= (byte & 0x7F) << shift
        if byte < 0x80:
            return value, position
        shift += 7
