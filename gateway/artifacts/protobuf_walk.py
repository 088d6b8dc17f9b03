"""Walking the top level of one protobuf message that comes in pieces, without building anything.

Source: the Protocol Buffers encoding guide. Only the fields that the caller names may stand there, each with its
wire type; a field with a length is passed over.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Final

VARINT: Final = 0
LENGTH: Final = 2

_VARINT_BYTES: Final = 10
_FIELD_MAX: Final = (1 << 29) - 1
_FIELDS_MAX: Final = 1_000_000  # top-level fields; a tokenizer has one for each of its pieces


class WalkError(ValueError):
    """The bytes are not such a message; the first argument says why."""


class Walk:
    """Reads the keys of one message.

    Args:
        size: bytes of the message.
        fields: the wire type of each field that may stand there.
        first: the field that the message begins with.
    """

    def __init__(self, size: int, fields: Mapping[int, int], *, first: int) -> None:
        self._left = size
        self._fields = fields
        self._first = first
        self._skip = 0
        self._held = b""
        self._key: int | None = None
        self.seen: dict[int, int] = {}
        self._count = 0

    def feed(self, data: bytes | memoryview, *, last: bool = False) -> None:
        """Take the next piece.

        Raises:
            WalkError: an unknown field, another wire type, or a length that leaves the message.
        """
        view = memoryview(data)
        position = 0
        while True:
            step = min(self._skip, len(view) - position)
            position += step
            self._skip -= step
            self._left -= step
            if position == len(view):
                break
            position = self._varint(view, position)
        if last and (self._skip or self._held or self._key is not None or self._left):
            raise WalkError("it ends within a field")

    def _varint(self, view: memoryview, position: int) -> int:
        """Take bytes of one varint; act on it once it is whole."""
        end = position
        while end < len(view) and end - position + len(self._held) < _VARINT_BYTES:
            end += 1
            if view[end - 1] < 0x80:
                break
        self._held += bytes(view[position:end])
        self._left -= end - position
        if self._held[-1] >= 0x80:
            if len(self._held) >= _VARINT_BYTES:
                raise WalkError("a number in it has more than ten bytes")
            return end
        value = sum((byte & 0x7F) << (7 * index) for index, byte in enumerate(self._held))
        self._held = b""
        if self._key is None:
            self._begin(value)
        else:
            field, self._key = self._key, None
            if self._fields[field] == LENGTH:
                if value > self._left:
                    raise WalkError("a field in it is longer than the file")
                self._skip = value
        return end

    def _begin(self, key: int) -> None:
        field, wire = key >> 3, key & 7
        self._count += 1
        if not self.seen and field != self._first:
            raise WalkError(f"it begins with field {field}, not {self._first}")
        if not 1 <= field <= _FIELD_MAX or self._fields.get(field) != wire or self._count > _FIELDS_MAX:
            raise WalkError(f"field {field} of wire type {wire} has no place in it")
        self.seen[field] = self.seen.get(field, 0) + 1
        self._key = field
