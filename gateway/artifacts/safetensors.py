"""The header of a safetensors file, checked completely and read without building what it says.

Source: the format's specification (github.com/huggingface/safetensors, README "Format") and the rules of its
reference reader: eight bytes little-endian length, a JSON object that begins with ``{``, tensors whose offsets
follow from dtype and shape and which cover the rest of the file without gap or overlap. Stricter here: no name
stands twice, names and shapes are bounded, and the header has at most ``limits.MODEL_HEADER_MAX`` bytes where the
format allows 100 MB.
"""

from __future__ import annotations

import json
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Final

from gateway.artifacts.json_text import NUMBER, STRING, JsonError, Tokens
from gateway.model import limits

LENGTH_BYTES: Final = 8
NAME_MAX: Final = 512  # characters of a tensor's name
DIMENSIONS_MAX: Final = 32
METADATA: Final = "__metadata__"

BITS: Final[dict[str, int]] = {
    "BOOL": 8,
    "F4": 4,
    "F6_E2M3": 6,
    "F6_E3M2": 6,
    "U8": 8,
    "I8": 8,
    "F8_E5M2": 8,
    "F8_E4M3": 8,
    "F8_E8M0": 8,
    "F8_E4M3FNUZ": 8,
    "F8_E5M2FNUZ": 8,
    "I16": 16,
    "U16": 16,
    "F16": 16,
    "BF16": 16,
    "I32": 32,
    "U32": 32,
    "F32": 32,
    "C64": 64,
    "F64": 64,
    "I64": 64,
    "U64": 64,
}

_MEMBERS: Final = frozenset({"dtype", "shape", "data_offsets"})


@dataclass(frozen=True, slots=True)
class Tensor:
    """One tensor: its name, dtype, shape, and where it lies behind the header, in bytes."""

    name: str
    dtype: str
    shape: tuple[int, ...]
    begin: int
    end: int


def header_length(first: bytes, size: int) -> int:
    """Bytes before the tensors: the length field and the header that it announces.

    Args:
        first: the file's first eight bytes.
        size: the file's size.

    Raises:
        JsonError: the header is longer than the file or the limit.
    """
    length = int.from_bytes(first[:LENGTH_BYTES], "little")
    if size < LENGTH_BYTES or length < 2 or length > size - LENGTH_BYTES:
        raise JsonError(f"its header claims {length} bytes in a file of {size}")
    if length > limits.MODEL_HEADER_MAX:
        raise JsonError(f"its header has {length} bytes; the limit is {limits.MODEL_HEADER_MAX}")
    return LENGTH_BYTES + length


def read_header(header: bytes | bytearray | memoryview, size: int) -> list[Tensor]:
    """Check a header against its file's size.

    Args:
        header: the JSON, without the length field.
        size: bytes of the file behind the header.

    Returns:
        The tensors in the order in which they lie in the file.

    Raises:
        JsonError: a rule of the format does not hold.
    """
    if bytes(header[:1]) != b"{":
        raise JsonError("its header does not begin with {")
    try:
        str(header, "utf-8")
    except UnicodeDecodeError as error:
        raise JsonError("its header is not UTF-8") from error
    tensors = sorted(_Reader(header).tensors(), key=lambda tensor: (tensor.begin, tensor.end))
    position = 0
    for tensor in tensors:
        if tensor.begin != position:
            what = "overlaps the one before it" if tensor.begin < position else "leaves a gap before it"
            raise JsonError(f"tensor {tensor.name!r} {what}")
        position = tensor.end
    if position != size:
        raise JsonError(f"its tensors cover {position} of {size} bytes")
    return tensors


class _Reader:
    """Walks the one shape that a header has, token by token."""

    def __init__(self, header: bytes | bytearray | memoryview) -> None:
        self._tokens: Iterator[tuple[str, bytes]] = Tokens().feed(memoryview(header), last=True)
        self._ahead: tuple[str, bytes] | None = None

    def _next(self) -> tuple[str, bytes]:
        if self._ahead is not None:
            token, self._ahead = self._ahead, None
            return token
        found = next(self._tokens, None)
        if found is None:
            raise JsonError("its header ends too early")
        return found

    def _take(self, kind: str) -> bytes:
        found, text = self._next()
        if found != kind:
            raise JsonError(f"its header has {text[:40]!r} where {kind!r} belongs")
        return text

    def _string(self, most: int) -> str:
        text = self._take(STRING)
        if len(text) > 6 * most + 2:
            raise JsonError(f"a name or text in its header has more than {most} characters")
        value: str = json.loads(text)
        if len(value) > most:
            raise JsonError(f"a name or text in its header has more than {most} characters")
        return value

    def _members(self, most: int) -> Iterator[str]:
        """The names of an object's members; the caller takes each value."""
        self._take("{")
        kind, text = self._next()
        if kind == "}":
            return
        self._ahead = kind, text
        seen: set[str] = set()
        while True:
            name = self._string(NAME_MAX)
            if name in seen:
                raise JsonError(f"{name[:80]!r} stands twice in its header")
            seen.add(name)
            if len(seen) > most:
                raise JsonError(f"its header has more than {most} members in one object")
            self._take(":")
            yield name
            kind, text = self._next()
            if kind == "}":
                return
            if kind != ",":
                raise JsonError(f"its header has {text[:40]!r} where ',' belongs")

    def tensors(self) -> Iterator[Tensor]:
        for name in self._members(limits.MODEL_TENSORS_MAX + 1):
            if name == METADATA:
                for _ in self._members(limits.MODEL_TENSORS_MAX):
                    self._take(STRING)
            elif not name or not name.isprintable():
                raise JsonError(f"the tensor name {name[:80]!r} is empty or holds a character that cannot be shown")
            else:
                yield self._tensor(name)
        if next(self._tokens, None) is not None:
            raise JsonError("something stands behind its header's object")

    def _tensor(self, name: str) -> Tensor:
        dtype = ""
        shape: tuple[int, ...] = ()
        offsets: tuple[int, ...] = ()
        seen = set()
        for member in self._members(len(_MEMBERS)):
            seen.add(member)
            if member == "dtype":
                dtype = self._string(NAME_MAX)
            elif member == "shape":
                shape = self._integers(DIMENSIONS_MAX)
            elif member == "data_offsets":
                offsets = self._integers(2)
            else:
                raise JsonError(f"tensor {name!r} has an unknown member {member[:40]!r}")
        if seen != _MEMBERS:
            raise JsonError(f"tensor {name!r} lacks {', '.join(sorted(_MEMBERS - seen))}")
        if dtype not in BITS:
            raise JsonError(f"tensor {name!r} has the unknown dtype {dtype[:40]!r}")
        if len(offsets) != 2 or offsets[0] > offsets[1]:
            raise JsonError(f"tensor {name!r} ends before it begins")
        bits = BITS[dtype]
        for length in shape:
            bits *= length
            if bits > 8 * limits.ROWS_MAX:
                raise JsonError(f"tensor {name!r} has too large a shape")
        if bits % 8 or offsets[1] - offsets[0] != bits // 8:
            raise JsonError(f"tensor {name!r} does not have the bytes of its dtype and shape")
        return Tensor(name, dtype, shape, offsets[0], offsets[1])

    def _integers(self, most: int) -> tuple[int, ...]:
        self._take("[")
        kind, text = self._next()
        if kind == "]":
            return ()
        values: list[int] = []
        while True:
            if kind != NUMBER or not text.isdigit() or len(text) > 16 or len(values) == most:
                raise JsonError(f"its header has {text[:40]!r} where one of at most {most} integers belongs")
            values.append(int(text))
            kind, text = self._next()
            if kind == "]":
                return tuple(values)
            if kind != ",":
                raise JsonError(f"its header has {text[:40]!r} where ',' belongs")
            kind, text = self._next()
