"""A model's chunks: one pinned form of Arrow record batch around a run of a file's bytes, and the rule of cutting.

A chunk is one record batch of the schema ``data: large_binary not null`` with one row: no validity, buffers
aligned to 8 bytes, uncompressed, metadata version V5. For a given run of bytes there is exactly one chunk, which
is also what pyarrow's IPC writer makes of it, so that any Flight client reads a model. Only two numbers in the
152 bytes of metadata depend on the data: the length of the body and that of the data.
"""

from __future__ import annotations

import struct
from collections.abc import Iterable, Iterator
from functools import cache
from typing import Any, Final, NoReturn

import pyarrow as pa

from gateway.errors import IntegrityError
from gateway.model import limits
from gateway.storage.arrow_chunks import schema_message
from gateway.storage.ipc_frames import PREFIX_BYTES

MODEL_SCHEMA: Final = pa.schema([pa.field("data", pa.large_binary(), nullable=False)])
GROUP_MIN: Final = 256 * limits.KIB  # small tensors share a chunk until it has so much

# Continuation marker, length of the metadata, then the flatbuffer of Message{RecordBatch}, from its root table on
# as Arrow's C++ builder lays it out (format/Message.fbs). The two 64-bit zeros after bodyLength and buffer 2 are
# filled in.
_HEAD: Final = bytes.fromhex(
    "ffffffff98000000"
    "14000000000000000c0016000600050008000c000c00000000030400180000000000000000000000"  # bodyLength at 40
    "00000a0018000c00040008000a0000004c0000001000000001000000000000000000000003000000"
    "00000000000000000000000000000000000000000000000010000000000000001000000000000000"
    "0000000000000000000000000100000001000000000000000000000000000000"  # length of buffer 2 at 128
)
_BODY_AT: Final = 40
_LENGTH_AT: Final = 128
_OFFSETS: Final = struct.Struct("<qq")
_I64: Final = struct.Struct("<q")
_FRONT: Final = len(_HEAD) + _OFFSETS.size  # everything before the data


@cache
def model_schema_message() -> bytes:
    """The schema message of every model's version."""
    return schema_message(MODEL_SCHEMA)


def encode_model_chunk(data: bytes | bytearray | memoryview) -> tuple[bytes | bytearray | memoryview, ...]:
    """A run of bytes as the parts of its chunk file; the data itself is not copied.

    Args:
        data: 1 to ``limits.MODEL_CHUNK_DATA`` bytes.

    Returns:
        Prefix and metadata with the offsets, the data, and the padding (which may be empty).

    Raises:
        IntegrityError: no data, or too much.
    """
    size = len(data)
    if not 0 < size <= limits.MODEL_CHUNK_DATA:
        raise IntegrityError(f"a model's chunk holds 1 to {limits.MODEL_CHUNK_DATA} bytes, not {size}")
    return _front(size), data, bytes(-size % 8)


def _front(size: int) -> bytes:
    front = bytearray(_HEAD)
    _I64.pack_into(front, _BODY_AT, _OFFSETS.size + size + -size % 8)
    _I64.pack_into(front, _LENGTH_AT, size)
    return bytes(front) + _OFFSETS.pack(0, size)


def _refuse(what: str) -> NoReturn:
    raise IntegrityError(f"not a chunk of a model: {what}", remedy="pull or publish the model again")


def cut(size: int, header: int = 0, tensors: Iterable[int] = ()) -> Iterator[int]:
    """The lengths of the runs into which a file is cut, one chunk each.

    Runs have at most ``limits.MODEL_CHUNK_DATA`` bytes; a chunk file is up to 175 bytes longer. Of safetensors
    the header stands alone, so that its metadata may differ. A tensor of a whole run or more is cut by itself.
    Smaller ones that follow one another share a run until it has ``GROUP_MIN`` bytes, or the next would not fit:
    a run always ends behind a tensor of that size, so that an inserted, changed or longer tensor moves the cuts
    of its neighbours alone. A fine-tuned model thus shares the chunks of unchanged tensors with its base, and a
    bias of 50 bytes does not make a chunk. The cuts are a function of size, header and tensor lengths alone.

    Args:
        size: bytes of the file.
        header: for safetensors, bytes before the tensors.
        tensors: for safetensors, bytes of each tensor in the order of the file.
    """
    if not header:
        yield from _pieces(size)
        return
    yield from _pieces(header)
    group = 0
    for tensor in tensors:
        if group and group + tensor > limits.MODEL_CHUNK_DATA:
            yield group
            group = 0
        if tensor >= limits.MODEL_CHUNK_DATA:
            yield from _pieces(tensor)
            continue
        group += tensor
        if group >= GROUP_MIN:
            yield group
            group = 0
    if group:
        yield group


def _pieces(size: int) -> Iterator[int]:
    whole, rest = divmod(size, limits.MODEL_CHUNK_DATA)
    for _ in range(whole):
        yield limits.MODEL_CHUNK_DATA
    if rest:
        yield rest


def read_model_message(header: memoryview, body: memoryview) -> memoryview | None:
    """The bytes in one Arrow message as it comes over the wire, without copying them or asking Arrow.

    Args:
        header: the message's metadata, without its 8-byte prefix.
        body: its body.

    Returns:
        The data; None where the message is not the pinned form, though it may still be one of its schema.
    """
    if len(header) != len(_HEAD) - PREFIX_BYTES or len(body) <= _OFFSETS.size:
        return None
    size: int = _I64.unpack_from(header, _LENGTH_AT - PREFIX_BYTES)[0]
    end = _OFFSETS.size + size
    if not 0 < size <= limits.MODEL_CHUNK_DATA or len(body) != end + -size % 8:
        return None
    front = memoryview(_front(size))
    if header != front[PREFIX_BYTES : len(_HEAD)] or body[: _OFFSETS.size] != front[len(_HEAD) :] or any(body[end:]):
        return None
    return body[_OFFSETS.size : end]


def read_model_batch(batch: Any) -> memoryview:
    """The bytes in a record batch that a Flight client or server holds, without copying them.

    Raises:
        IntegrityError: it is not one row of a model.
    """
    if batch.num_rows != 1 or not batch.schema.equals(MODEL_SCHEMA):
        _refuse("it is not one row of the one column `data`")
    data = memoryview(batch.column(0)[0].as_buffer())
    if not 0 < len(data) <= limits.MODEL_CHUNK_DATA:
        _refuse(f"it has {len(data)} bytes")
    return data
