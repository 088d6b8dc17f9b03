"""The chunk codec: one record batch, its dictionaries first, as the encapsulated messages of Arrow IPC (V5).

Stored, hashed and sent are the same bytes. The schema message, chunk files in order and the end marker make a
valid Arrow stream. Buffers are compressed once, when a dataset is published, where the first chunk shows a gain.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any, Final, Literal

import pyarrow as pa
import pyarrow.ipc as ipc
from pyarrow import types

from gateway.errors import IntegrityError
from gateway.model import limits
from gateway.storage import arrow_layout as layout
from gateway.storage.chunking import layout_counts, oversize_row
from gateway.storage.ipc_frames import (
    END_OF_STREAM,
    PREFIX_BYTES,
    check_schema_message,
    decoded_bytes,
    join_message,
    read_batch_header,
    split_messages,
)

__all__ = [
    "END_OF_STREAM",
    "ChunkDecoder",
    "Codec",
    "choose_codec",
    "decode_chunk",
    "digest",
    "encode_chunk",
    "join_message",
    "plain_schema",
    "read_schema_message",
    "schema_message",
    "split_messages",
    "to_plain",
]

Codec = Literal["none", "lz4", "zstd"]
ChunkBytes = bytes | bytearray | memoryview

_ZSTD_LEVEL: Final = 1
_GAIN_PERCENT: Final = 90  # compressed to at most so much of the plain size, else not worth the reader's time
_LZ4_PERCENT: Final = 115  # LZ4 reads several times faster; take it where it is at most so much of ZSTD's size


def _options(codec: Codec) -> Any:
    compression: Any = None
    if codec == "zstd":
        compression = pa.Codec("zstd", compression_level=_ZSTD_LEVEL)
    elif codec == "lz4":
        compression = "lz4"
    return ipc.IpcWriteOptions(metadata_version=ipc.MetadataVersion.V5, compression=compression, use_threads=False)


def schema_message(schema: Any) -> bytes:
    """The schema's encapsulated message, as it opens a stream and as its digest is taken."""
    message: bytes = schema.serialize().to_pybytes()
    return message


def read_schema_message(message: bytes) -> Any:
    """Read a schema message from another zone.

    Raises:
        IntegrityError: malformed, or a schema that chunks cannot have.
    """
    check_schema_message(message)
    try:
        schema = ipc.read_schema(pa.py_buffer(message))
    except (pa.ArrowException, ValueError, KeyError) as error:
        raise IntegrityError(
            f"the schema cannot be read: {error}", remedy="ask the provider to publish again"
        ) from error
    for field in schema:
        data_type = field.type.value_type if types.is_dictionary(field.type) else field.type
        if types.is_dictionary(field.type) and not layout.keeps_dictionary(field.type):
            raise IntegrityError(f"column {field.name!r}: dictionary type {field.type} is not a stored type")
        if not layout.is_stored(data_type):
            raise IntegrityError(f"column {field.name!r}: {field.type} is not a stored type")
    return schema


def _schema_bytes(buffer: memoryview) -> int:
    return PREFIX_BYTES + int.from_bytes(buffer[4:8], "little")


def encode_chunk(batch: Any, codec: Codec = "none") -> memoryview:
    """Encode one canonical record batch as a chunk file.

    Args:
        batch: a batch as ``chunking`` yields it; its dictionaries hold only what it uses.
        codec: how the buffers are compressed.

    Returns:
        The chunk's bytes; what they lie in is owned by the view.

    Raises:
        DataFileError: the chunk exceeds ``limits.CHUNK_MAX``.
    """
    sink = pa.BufferOutputStream()
    writer = ipc.new_stream(sink, batch.schema, options=_options(codec))
    writer.write_batch(batch)
    # Not closed: the end marker is not part of a chunk.
    data = memoryview(sink.getvalue())
    chunk = data[_schema_bytes(data) :]
    if len(chunk) > limits.CHUNK_MAX:
        raise oversize_row(1)
    return chunk


def choose_codec(first: Any) -> Codec:
    """The dataset's codec, by the sizes of its first chunk: a pure function of the rows."""
    plain = len(encode_chunk(first))
    lz4, zstd = len(encode_chunk(first, "lz4")), len(encode_chunk(first, "zstd"))
    if min(lz4, zstd) * 100 > plain * _GAIN_PERCENT:
        return "none"
    return "lz4" if lz4 * 100 <= zstd * _LZ4_PERCENT else "zstd"


class ChunkDecoder:
    """Decodes the chunks of one schema; what depends on the schema alone is worked out once.

    Args:
        schema: the stored schema.
    """

    def __init__(self, schema: Any) -> None:
        self._schema = schema
        self._dictionaries = sum(types.is_dictionary(t) for t in schema.types)
        # A dictionary column's record batch holds the codes: one node, two buffers.
        counts = [(1, 2) if types.is_dictionary(t) else layout_counts(t) for t in schema.types]
        self._nodes = sum(nodes for nodes, _ in counts)
        self._buffers = sum(buffers for _, buffers in counts)
        self._message = schema_message(schema)

    def decode(self, chunk: ChunkBytes, *, trusted: bool = False) -> Any:
        """Decode a chunk file; see ``decode_chunk``."""
        return self._decode(split_messages(chunk), [chunk], trusted=trusted)

    def decode_parts(self, parts: Sequence[ChunkBytes]) -> Any:
        """Decode a chunk that is given as prefix, metadata and body of each of its messages, without joining them.

        Raises:
            IntegrityError: as ``decode_chunk``.
        """
        if len(parts) % 3:
            return self.decode(b"".join(parts))
        messages = [(memoryview(m), memoryview(b)) for m, b in zip(parts[1::3], parts[2::3], strict=True)]
        return self._decode(messages, parts, trusted=False)

    def _decode(
        self, messages: Sequence[tuple[memoryview, memoryview]], parts: Sequence[ChunkBytes], *, trusted: bool
    ) -> Any:
        if len(messages) != self._dictionaries + 1:
            raise IntegrityError(f"a chunk has {len(messages) - 1} dictionaries, its schema {self._dictionaries}")
        needed = 0
        for metadata, body in messages:
            header = read_batch_header(metadata)
            needed += decoded_bytes(header, body)
            if needed > limits.CHUNK_DECODED_MAX:
                raise IntegrityError(
                    f"a chunk decompresses to more than {limits.CHUNK_DECODED_MAX} bytes",
                    remedy="the sender's chunk is forged; do not pull it again",
                )
        if header.nodes != self._nodes or len(header.buffers) != self._buffers:
            raise IntegrityError("a chunk does not have the columns of its schema", remedy="pull it again")
        try:
            if self._dictionaries:
                stream = pa.BufferReader(b"".join((self._message, *parts, END_OF_STREAM)))
                with ipc.open_stream(stream) as reader:
                    batch = reader.read_next_batch()
            elif len(parts) == 1:
                batch = ipc.read_record_batch(pa.py_buffer(parts[0]), self._schema)
            else:
                batch = ipc.read_record_batch(ipc.read_message(pa.PythonFile(_Pieces(parts), "r")), self._schema)
            batch.validate(full=not trusted)
        except (pa.ArrowException, ValueError, OSError, KeyError, StopIteration) as error:
            raise IntegrityError(f"a chunk cannot be read as its schema: {error}", remedy="pull it again") from error
        if batch.num_rows != header.rows:
            raise IntegrityError("a chunk has another number of rows than it says")
        return batch


class _Pieces:
    """A file whose reads are the pieces of one message, as Arrow asks for them: nothing is copied."""

    closed = False

    def __init__(self, parts: Sequence[ChunkBytes]) -> None:
        prefix, metadata, body = parts
        self._pieces = [body, metadata, prefix[4:], prefix[:4]]

    def read(self, size: int) -> ChunkBytes:
        piece = self._pieces.pop() if self._pieces else b""
        if len(piece) != size:
            raise ValueError("a message has another length than its prefix and metadata say")
        return piece

    def readable(self) -> bool:
        return True

    def seekable(self) -> bool:
        return False

    def close(self) -> None:
        self._pieces.clear()


def decode_chunk(schema: Any, chunk: ChunkBytes, *, trusted: bool = False) -> Any:
    """Decode a chunk file.

    Args:
        schema: the stored schema.
        chunk: the chunk's bytes; the batch may refer to them.
        trusted: skip the check of every value (these bytes were checked when they landed).

    Returns:
        The pyarrow.RecordBatch.

    Raises:
        IntegrityError: malformed, of another schema, or larger than ``limits.CHUNK_DECODED_MAX`` once
            decompressed; nothing is allocated before that is known.
    """
    return ChunkDecoder(schema).decode(chunk, trusted=trusted)


def plain_schema(schema: Any) -> Any:
    """The stored schema without dictionaries, as ``tdz-encoding: plain`` sends it."""
    return layout.stored_schema(schema, frozenset())


def to_plain(schema: Any, chunk: ChunkBytes) -> memoryview:
    """Encode a chunk anew, uncompressed and without dictionaries, for clients that read neither.

    Args:
        schema: the stored schema.
        chunk: a verified chunk.

    Returns:
        A chunk file under ``plain_schema(schema)``; the bytes handed in where nothing had to change.
    """
    plain = plain_schema(schema)
    if plain.equals(schema) and not any(read_batch_header(m).compressed for m, _ in split_messages(chunk)):
        return memoryview(chunk)
    batch = decode_chunk(schema, chunk, trusted=True)
    columns = [layout.to_stored(column, field.type) for column, field in zip(batch.columns, plain, strict=True)]
    arrays = [layout.canonical(c, nullable=f.nullable, name=f.name) for c, f in zip(columns, plain, strict=True)]
    return encode_chunk(pa.RecordBatch.from_arrays(arrays, schema=plain))


def digest(parts: Sequence[ChunkBytes]) -> bytes:
    """SHA-256 over a chunk file that is given in parts."""
    state = hashlib.sha256()
    for part in parts:
        state.update(part)
    return state.digest()
