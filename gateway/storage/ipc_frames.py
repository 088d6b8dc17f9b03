"""Strict reading of Arrow IPC framing: bounds are proved before a byte is believed.

A chunk comes from another zone, so nothing in it is trusted. This file reads the few members of the
``Message`` flatbuffer that framing needs, checks every offset, and copies nothing.

Source: Arrow Columnar Format 1.5, "Encapsulated message format"; ``format/Message.fbs``; FlatBuffers internals.
"""

from __future__ import annotations

import struct
from dataclasses import dataclass
from typing import Final, NoReturn

import numpy as np
import numpy.typing as npt

from gateway.errors import IntegrityError
from gateway.model import limits

PREFIX_BYTES: Final = 8
CONTINUATION: Final = b"\xff\xff\xff\xff"
END_OF_STREAM: Final = CONTINUATION + b"\x00\x00\x00\x00"

_V5: Final = 4  # enum MetadataVersion
_SCHEMA: Final = 1  # union MessageHeader
_DICTIONARY: Final = 2
_RECORD_BATCH: Final = 3

_U16: Final = struct.Struct("<H")
_I32: Final = struct.Struct("<i")
_U32: Final = struct.Struct("<I")
_I64: Final = struct.Struct("<q")

_BUFFER: Final = np.dtype([("offset", "<i8"), ("length", "<i8")])
_NODE_BYTES: Final = 16


@dataclass(frozen=True, slots=True)
class BatchHeader:
    """What a dictionary batch or record batch says of itself.

    Args:
        is_dictionary: True for a DictionaryBatch, False for a RecordBatch.
        body_length: bytes of the body.
        rows: length of the batch (of the dictionary).
        nodes: count of FieldNode structs.
        buffers: (offset, length) of each buffer inside the body.
        compressed: whether the body's buffers are compressed.
    """

    is_dictionary: bool
    body_length: int
    rows: int
    nodes: int
    buffers: npt.NDArray[np.void]
    compressed: bool


def _bad(what: str) -> NoReturn:
    raise IntegrityError(f"Arrow IPC message: {what}", remedy="the sender's chunk is damaged or forged; pull it again")


class _Table:
    """One flatbuffer table; every access is inside the metadata."""

    __slots__ = ("_data", "_fields", "_position", "_size", "_vtable")

    def __init__(self, data: memoryview, position: int) -> None:
        if position < 0 or position + 4 > len(data):
            _bad("a table lies outside the metadata")
        vtable = position - _I32.unpack_from(data, position)[0]
        if vtable < 0 or vtable + 4 > len(data):
            _bad("a vtable lies outside the metadata")
        vtable_bytes = _U16.unpack_from(data, vtable)[0]
        self._size: int = _U16.unpack_from(data, vtable + 2)[0]
        if vtable_bytes < 4 or vtable_bytes % 2 or vtable + vtable_bytes > len(data):
            _bad("a vtable has a wrong size")
        if self._size < 4 or position + self._size > len(data):
            _bad("a table has a wrong size")
        self._data = data
        self._position = position
        self._vtable = vtable
        self._fields = (vtable_bytes - 4) // 2

    def _at(self, field: int, width: int) -> int | None:
        if field >= self._fields:
            return None
        offset: int = _U16.unpack_from(self._data, self._vtable + 4 + 2 * field)[0]
        if offset == 0:
            return None
        if offset < 4 or offset + width > self._size:
            _bad("a field lies outside its table")
        return self._position + offset

    def integer(self, field: int, form: struct.Struct, default: int = 0) -> int:
        position = self._at(field, form.size)
        return default if position is None else int(form.unpack_from(self._data, position)[0])

    def byte(self, field: int) -> int:
        position = self._at(field, 1)
        return 0 if position is None else self._data[position]

    def table(self, field: int) -> _Table | None:
        position = self._at(field, 4)
        if position is None:
            return None
        return _Table(self._data, position + int(_U32.unpack_from(self._data, position)[0]))

    def structs(self, field: int, width: int) -> memoryview:
        """The bytes of a vector of structs, empty where the vector is absent."""
        position = self._at(field, 4)
        if position is None:
            return self._data[:0]
        start = position + int(_U32.unpack_from(self._data, position)[0])
        if start + 4 > len(self._data):
            _bad("a vector lies outside the metadata")
        end = start + 4 + int(_U32.unpack_from(self._data, start)[0]) * width
        if end > len(self._data):
            _bad("a vector is longer than the metadata")
        return self._data[start + 4 : end]


def _message(metadata: memoryview) -> tuple[_Table, int]:
    if len(metadata) < 8:
        _bad("the metadata is too short")
    message = _Table(metadata, int(_U32.unpack_from(metadata, 0)[0]))
    if message.integer(0, _U16) != _V5:
        _bad("the metadata version is not V5")
    return message, message.byte(1)


def read_batch_header(metadata: memoryview) -> BatchHeader:
    """Read a record batch's or dictionary batch's metadata.

    Args:
        metadata: the flatbuffer, without its 8-byte prefix.

    Raises:
        IntegrityError: malformed, of another kind, or a delta dictionary.
    """
    message, kind = _message(metadata)
    header = message.table(2)
    if header is None or kind not in (_DICTIONARY, _RECORD_BATCH):
        _bad("neither a record batch nor a dictionary")
    if kind == _DICTIONARY:
        if header.byte(2):
            _bad("a delta dictionary; a chunk must be readable alone")
        header = header.table(1)
        if header is None:
            _bad("a dictionary without values")
    body_length = message.integer(3, _I64)
    rows = header.integer(0, _I64)
    if not 0 <= body_length <= limits.CHUNK_MAX or body_length % 8:
        _bad("the body's length is out of bounds or not a multiple of 8")
    if rows < 0:
        _bad("a negative number of rows")
    if len(header.structs(4, 8)):
        _bad("view buffers, which chunks never have")
    return BatchHeader(
        is_dictionary=kind == _DICTIONARY,
        body_length=body_length,
        rows=rows,
        nodes=len(header.structs(1, _NODE_BYTES)) // _NODE_BYTES,
        buffers=np.frombuffer(header.structs(2, _BUFFER.itemsize), dtype=_BUFFER),
        compressed=header.table(3) is not None,
    )


def _metadata_end(data: memoryview, start: int) -> int:
    if start + PREFIX_BYTES > len(data):
        _bad("the prefix is cut off")
    if data[start : start + 4].tobytes() != CONTINUATION:
        _bad("the continuation marker 0xFFFFFFFF is missing")
    size: int = _I32.unpack_from(data, start + 4)[0]
    if size <= 0 or size % 8 or start + PREFIX_BYTES + size > len(data):
        _bad("the metadata's size is out of bounds or not a multiple of 8")
    return start + PREFIX_BYTES + size


def split_messages(chunk: bytes | bytearray | memoryview) -> list[tuple[memoryview, memoryview]]:
    """Split a chunk file into its messages, without copying.

    Args:
        chunk: the bytes of one chunk file, at most ``limits.CHUNK_MAX``.

    Returns:
        (metadata, body) of each message; the last is the record batch, those before it are dictionaries.

    Raises:
        IntegrityError: a bound does not hold, bytes are left over, or the order is wrong.
    """
    data = memoryview(chunk).cast("B")
    if len(data) > limits.CHUNK_MAX:
        _bad(f"a chunk of {len(data)} bytes; the limit is {limits.CHUNK_MAX}")
    messages = []
    position = 0
    while True:
        body_start = _metadata_end(data, position)
        metadata = data[position + PREFIX_BYTES : body_start]
        header = read_batch_header(metadata)
        end = body_start + header.body_length
        if end > len(data):
            _bad("the body is cut off")
        messages.append((metadata, data[body_start:end]))
        position = end
        if not header.is_dictionary:
            break
        if position == len(data):
            _bad("a chunk must end with its record batch")
    if position != len(data):
        _bad(f"{len(data) - position} bytes after the record batch")
    return messages


def join_message(metadata: bytes | memoryview, body: bytes | memoryview) -> bytes:
    """The 8-byte prefix that framing as FlightData leaves out, to be put back before hashing.

    Args:
        metadata: ``FlightData.data_header``: the flatbuffer, padded to 8 bytes.
        body: ``FlightData.data_body``.

    Returns:
        The prefix; the message as stored is prefix, metadata, body.

    Raises:
        IntegrityError: padding or lengths are not those of a stored message.
    """
    if not len(metadata) or len(metadata) % 8 or len(metadata) > limits.CHUNK_MAX:
        _bad("the metadata's size is out of bounds or not a multiple of 8")
    if read_batch_header(memoryview(metadata)).body_length != len(body):
        _bad("the body's length differs from what the metadata says")
    return CONTINUATION + _I32.pack(len(metadata))


def join_schema(metadata: bytes | memoryview) -> bytes:
    """A schema message from its metadata: the prefix put back, the framing checked.

    Raises:
        IntegrityError: it is no schema message.
    """
    message = CONTINUATION + _I32.pack(len(metadata)) + bytes(metadata)
    check_schema_message(message)
    return message


def check_schema_message(message: bytes) -> None:
    """Check the framing of a schema message: one message, V5, no body, nothing left over.

    Raises:
        IntegrityError: it is not that.
    """
    if len(message) > limits.SCHEMA_MESSAGE_MAX:
        _bad(f"a schema of {len(message)} bytes; the limit is {limits.SCHEMA_MESSAGE_MAX}")
    data = memoryview(message)
    if _metadata_end(data, 0) != len(data):
        _bad("bytes after the schema")
    table, kind = _message(data[PREFIX_BYTES:])
    if kind != _SCHEMA or table.integer(3, _I64) != 0:
        _bad("not a schema message")


def decoded_bytes(header: BatchHeader, body: memoryview) -> int:
    """Bytes that a body needs once decompressed, read from the lengths before anything is allocated.

    IPC body compression puts the uncompressed length as int64 before each buffer; -1 means stored as is.

    Raises:
        IntegrityError: a buffer lies outside the body, overlaps the one before it, or its length is absurd.
    """
    if not len(header.buffers):
        return 0
    offsets = header.buffers["offset"].astype(np.int64)
    lengths = header.buffers["length"].astype(np.int64)
    if (offsets < 0).any() or (lengths < 0).any() or (offsets % 8).any():
        _bad("a buffer has a negative or unaligned place")
    if (offsets > len(body)).any() or (lengths > len(body) - offsets).any():
        _bad("a buffer lies outside the body")
    # One after the other: else a small body could be counted, and decompressed, many times over.
    if (offsets[1:] < offsets[:-1] + lengths[:-1]).any():
        _bad("buffers overlap")
    if not header.compressed:
        return int(lengths.sum())
    filled = lengths > 0
    if (lengths[filled] < 8).any():
        _bad("a compressed buffer is too short")
    words = np.frombuffer(body, dtype="<i8")[offsets[filled] // 8]
    sizes = np.where(words == -1, lengths[filled] - 8, words)
    if (sizes < 0).any() or (sizes > limits.CHUNK_DECODED_MAX).any():
        _bad(f"a buffer decompresses to more than {limits.CHUNK_DECODED_MAX} bytes")
    return int(sizes.sum())
