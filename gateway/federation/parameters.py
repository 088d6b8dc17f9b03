"""A model's parameters: named arrays, and the one file that they make.

The file is a safetensors container: eight bytes little-endian with the header's length, a JSON header with type,
shape and place of each array, then the arrays' bytes (https://github.com/huggingface/safetensors, "Format").
Of all the headers that would do, this module writes and reads one: float64 before float32, then by name, no
spaces, no metadata, filled up with spaces to a multiple of eight. So equal parameters are equal bytes with an
equal digest, and each array lies aligned. Nothing here opens a file: callers hand in what reads and writes.
"""

from __future__ import annotations

import hashlib
import json
import math
import re
import struct
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Any, Final

import numpy as np
import numpy.typing as npt

from gateway.errors import IntegrityError, LimitError, UpdateShapeError
from gateway.model import limits

Array = npt.NDArray[Any]
Layout = tuple[tuple[str, str, tuple[int, ...]], ...]
"""For each array in the file's order: name, `F64` or `F32`, shape."""

DTYPES: Final[dict[str, np.dtype[Any]]] = {"F64": np.dtype("<f8"), "F32": np.dtype("<f4")}
_CODES: Final = {dtype: code for code, dtype in DTYPES.items()}
_LENGTH: Final = struct.Struct("<Q")
_NAME: Final = re.compile(rf"[A-Za-z0-9_][A-Za-z0-9_.:/-]{{0,{limits.PARAMETER_NAME_MAX_CHARS - 1}}}")


@dataclass(frozen=True, eq=False)
class Parameters(Mapping[str, Array]):
    """Named arrays of float64 or float32, in the file's order, read-only.

    Args:
        arrays: name to array; arrays that are C-contiguous and little-endian are taken over without a copy.

    Raises:
        UpdateShapeError: a name or type that containers do not carry, or a dimension of zero.
        LimitError: too many arrays, dimensions or bytes.
    """

    arrays: Mapping[str, Array]

    def __post_init__(self) -> None:
        held: dict[str, Array] = {}
        for name, given in self.arrays.items():
            dtype = np.dtype(given.dtype).newbyteorder("<")
            if dtype not in _CODES:
                raise UpdateShapeError(
                    f"array {_shown(name)} has a type other than float64 and float32", remedy="cast it to one of them"
                )
            array = np.asarray(given, dtype=dtype, order="C").view()
            array.flags.writeable = False
            held[name] = array
        layout = _checked(tuple((name, _CODES[array.dtype], array.shape) for name, array in held.items()))
        object.__setattr__(self, "arrays", MappingProxyType({name: held[name] for name, _, _ in layout}))

    def __getitem__(self, name: str) -> Array:
        return self.arrays[name]

    def __iter__(self) -> Iterator[str]:
        return iter(self.arrays)

    def __len__(self) -> int:
        return len(self.arrays)

    def __eq__(self, other: object) -> bool:
        if not isinstance(other, Parameters):
            return NotImplemented
        return self.layout == other.layout and all(
            _bytes(array) == _bytes(other[name]) for name, array in self.arrays.items()
        )

    __hash__ = None  # type: ignore[assignment]  # arrays may be large; `digest` is what to compare by

    def __repr__(self) -> str:
        return f"Parameters({', '.join(f'{name}: {code}{list(shape)}' for name, code, shape in self.layout)})"

    @property
    def layout(self) -> Layout:
        """Name, type and shape of each array, in the file's order."""
        return tuple((name, _CODES[array.dtype], array.shape) for name, array in self.arrays.items())

    @property
    def nbytes(self) -> int:
        """The container's size in bytes."""
        header, total = _header(self.layout)
        return len(header) + total

    def parts(self, piece: int = 2 * limits.MIB) -> Iterator[memoryview]:
        """The container's bytes in order, in pieces of at most `piece` bytes, without a copy of the arrays."""
        yield memoryview(_header(self.layout)[0])
        for array in self.arrays.values():
            view = _bytes(array)
            for start in range(0, len(view), piece):
                yield view[start : start + piece]

    def encode(self) -> bytes:
        """The container as one value; for small parameters and tests."""
        return b"".join(self.parts())

    @property
    def digest(self) -> str:
        """SHA-256 of the container, in lower-case hexadecimal."""
        found = hashlib.sha256()
        for part in self.parts():
            found.update(part)
        return found.hexdigest()


def read_parameters(read: Callable[[int], bytes], *, size: int, expected: Layout | None = None) -> Parameters:
    """Read a container from a stream, without holding its bytes a second time.

    Args:
        read: gives at most so many bytes as it is asked for, and none at the end.
        size: the container's size in bytes; not one byte more is asked for.
        expected: what the arrays have to be; checked before any memory is taken for them.

    Raises:
        IntegrityError: cut short, or a header that is not the one that these arrays have.
        UpdateShapeError: sound, but other arrays than expected.
        LimitError: past a named limit.
    """
    layout, start = _read_header(read, size)
    if expected is not None and layout != expected:
        raise UpdateShapeError(
            f"the arrays are not those of the run: {difference(layout, expected)}",
            remedy="both zones run the app that the run pins",
        )
    _, total = _header(layout)
    if start + total != size:
        raise IntegrityError(f"a parameters file of {size} bytes, where its header says {start + total}")
    arrays: dict[str, Array] = {}
    for name, code, shape in layout:
        array: Array = np.empty(shape, dtype=DTYPES[code])
        _fill(read, _bytes(array))
        arrays[name] = array
    return Parameters(arrays)


def decode_parameters(data: bytes | bytearray | memoryview, *, expected: Layout | None = None) -> Parameters:
    """Read a container from memory; errors as `read_parameters`."""
    view = memoryview(data).cast("B")
    place = 0

    def read(count: int) -> bytes:
        nonlocal place
        piece = bytes(view[place : place + count])
        place += len(piece)
        return piece

    return read_parameters(read, size=len(view), expected=expected)


def difference(found: Layout, expected: Layout) -> str:
    """The first way in which arrays are not the expected ones, in words: missing, too many, type, or shape."""
    have = {name: (code, shape) for name, code, shape in found}
    want = {name: (code, shape) for name, code, shape in expected}
    if missing := sorted(want.keys() - have.keys()):
        return f"{_shown(missing[0])} is missing"
    if extra := sorted(have.keys() - want.keys()):
        return f"{_shown(extra[0])} is not among them"
    for name, (code, shape) in want.items():
        if have[name][0] != code:
            return f"{_shown(name)} is {have[name][0]}, not {code}"
        if have[name][1] != shape:
            return f"{_shown(name)} has shape {list(have[name][1])}, not {list(shape)}"
    return "none"


def _checked(layout: Layout) -> Layout:
    """The layout in the file's order, once it is within the limits."""
    if not 0 < len(layout) <= limits.PARAMETER_ARRAYS_MAX:
        raise LimitError(f"{len(layout)} arrays; the limit is 1 to {limits.PARAMETER_ARRAYS_MAX}")
    total = 0
    for name, code, shape in layout:
        if not isinstance(name, str) or _NAME.fullmatch(name) is None:
            raise UpdateShapeError(
                f"{_shown(name)} is no array's name", remedy="use letters, digits and _ . : / - as apps do"
            )
        if len(shape) > limits.PARAMETER_DIMENSIONS_MAX:
            raise LimitError(f"array {name} has more than {limits.PARAMETER_DIMENSIONS_MAX} dimensions")
        if any(extent < 1 for extent in shape):
            raise UpdateShapeError(f"array {name} is empty", remedy="leave it out")
        total += math.prod(shape) * DTYPES[code].itemsize
    if total > limits.PARAMETERS_MAX:
        raise LimitError(f"{total} bytes of parameters; the limit is {limits.PARAMETERS_MAX}")
    return tuple(sorted(layout, key=lambda each: (-DTYPES[each[1]].itemsize, each[0])))


def _header(layout: Layout) -> tuple[bytes, int]:
    """The container's header with its length before it, and the bytes of all arrays."""
    members: dict[str, Any] = {}
    place = 0
    for name, code, shape in layout:
        count = math.prod(shape) * DTYPES[code].itemsize
        members[name] = {"dtype": code, "shape": list(shape), "data_offsets": [place, place + count]}
        place += count
    text = json.dumps(members, separators=(",", ":")).encode("ascii")
    text += b" " * (-len(text) % 8)
    if len(text) > limits.PARAMETERS_HEADER_MAX:
        raise LimitError(f"a header of {len(text)} bytes; the limit is {limits.PARAMETERS_HEADER_MAX}")
    return _LENGTH.pack(len(text)) + text, place


def _read_header(read: Callable[[int], bytes], size: int) -> tuple[Layout, int]:
    """The layout that a header says, and where the arrays begin."""
    prefix = bytearray(_LENGTH.size)
    if size > limits.PARAMETERS_MAX + limits.PARAMETERS_HEADER_MAX + _LENGTH.size:
        raise LimitError(f"a parameters file of {size} bytes; the limit is {limits.PARAMETERS_MAX}")
    if size < _LENGTH.size:
        raise IntegrityError("a parameters file without a header")
    _fill(read, memoryview(prefix))
    (length,) = _LENGTH.unpack(prefix)
    if not 0 < length <= min(limits.PARAMETERS_HEADER_MAX, size - _LENGTH.size):
        raise IntegrityError(f"a header of {length} bytes in a parameters file of {size}")
    text = bytearray(length)
    _fill(read, memoryview(text))
    try:
        members = json.loads(text.decode("ascii"))
        layout = tuple(
            (name, member["dtype"], tuple(int(extent) for extent in member["shape"]))
            for name, member in members.items()
        )
        known = all(code in DTYPES for _, code, _ in layout)
    except (ValueError, KeyError, TypeError, AttributeError, RecursionError, OverflowError) as error:
        raise IntegrityError("the header of a parameters file is not one") from error
    if not known:
        raise UpdateShapeError("an array has a type other than float64 and float32", remedy="cast it to one of them")
    layout = _checked(layout)
    # Whatever else the header says or leaves out, in whatever order: then these are not the bytes of these arrays.
    if _header(layout)[0] != bytes(prefix) + bytes(text):
        raise IntegrityError("the header of a parameters file is not the one that its arrays have")
    return layout, _LENGTH.size + length


def _fill(read: Callable[[int], bytes], into: memoryview) -> None:
    place = 0
    while place < len(into):
        piece = read(min(len(into) - place, 2 * limits.MIB))
        if not piece:
            raise IntegrityError("a parameters file is cut short")
        if len(piece) > len(into) - place:
            raise IntegrityError("a parameters file is longer than it was said to be")
        into[place : place + len(piece)] = piece
        place += len(piece)


def _bytes(array: Array) -> memoryview:
    view: memoryview = array.reshape(-1).data
    return view.cast("B")


def _shown(name: object) -> str:
    return ascii(name)[:60]
