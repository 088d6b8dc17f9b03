"""Governed views for training: the features and the target of one dataset, and nothing else, as an Arrow file.

The file is scratch of one run on the zone's own disk, for its owner alone (0600); rows leave it for nowhere else.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

import pyarrow as pa
from pyarrow import ipc, types

from gateway.errors import DataFileError
from gateway.storage.arrow_chunks import ChunkDecoder
from gateway.storage.chunks import ChunkStore
from gateway.storage.durable import storage_errors
from gateway.storage.versions import VersionStore


def write_view(
    chunks: ChunkStore, versions: VersionStore, version: str, columns: Sequence[str], path: Path, *, name: str
) -> int:
    """Write the named columns of a dataset version, chunk by chunk; memory stays flat.

    Args:
        chunks: where the chunks lie; each is hashed again.
        versions: where the version lies.
        version: its digest.
        columns: the columns that a run reads, each once.
        path: whole or not there; a file that is there already stays.
        name: the dataset's resource name, for errors.

    Returns:
        How many rows the version has.

    Raises:
        DataFileError: a column is missing, or stands twice.
        NotFoundError, IntegrityError, StorageError: the version or a chunk is not as it was published.
    """
    stored = versions.open(version)
    try:
        if path.exists():
            return int(stored.manifest.rows)
        schema: pa.Schema = stored.schema
        for column in columns:
            if len(found := schema.get_all_field_indices(column)) != 1:
                raise DataFileError(
                    f"{name}: the column {column[:80]!r} {'is missing' if not found else 'stands twice'}",
                    remedy="name columns that every dataset of the run has once: see `tdz dataset show`",
                )
        places = [schema.get_field_index(column) for column in columns]
        plain = pa.schema([_plain(schema.field(place)) for place in places])
        decoder = ChunkDecoder(schema)
        staged = path.with_name(f".{path.name}.new")
        with storage_errors("cannot write a view"):
            staged.unlink(missing_ok=True)
            descriptor = os.open(staged, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_CLOEXEC, 0o600)
            with os.fdopen(descriptor, "wb") as file, ipc.new_file(file, plain) as writer:
                for digest in stored.chunks:
                    batch = decoder.decode(chunks.verify(digest), trusted=True)
                    arrays = [_values(batch.column(place)) for place in places]
                    writer.write_batch(pa.RecordBatch.from_arrays(arrays, schema=plain))
            staged.rename(path)
        return int(stored.manifest.rows)
    finally:
        stored.chunks.close()


def _plain(field: pa.Field) -> pa.Field:
    return field.with_type(field.type.value_type) if types.is_dictionary(field.type) else field


def _values(column: pa.Array) -> pa.Array:
    return column.dictionary_decode() if types.is_dictionary(column.type) else column
