"""Who is in a dataset, as keyed hashes: so that a person who is exported twice in a year is counted once.

A set belongs to one version and lies on the exporter's side alone. Of a person it holds 16 bytes of HMAC-SHA256
under a key of that exporter: sets of one exporter can be united, those of two cannot be joined.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import os
import shutil
import threading
from collections.abc import Collection, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Any, Final, NamedTuple

import pyarrow as pa
import pyarrow.compute as pc

from gateway.errors import DataFileError, ManifestError, StorageError
from gateway.model.dataset import Publication
from gateway.storage.durable import Workspace, storage_errors, sync_directory

__all__ = ["SubjectCounter", "SubjectCounts", "SubjectSets"]

_MEMORY: Final = "64MB"  # what DuckDB holds before it spills to the work space
_HASH: Final = 16  # bytes; two of 10^10 persons share one with a probability below 10^-18
_UNIONS: Final = 256  # results that are remembered: sets never change
_SCHEMA: Final = pa.schema([pa.field("person", pa.binary()), pa.field("sensitive", pa.bool_())])


class SubjectCounts(NamedTuple):
    """Persons; who is in both groups counts as sensitive."""

    non_sensitive: int
    sensitive: int


class SubjectSets:
    """The sets of one zone's versions.

    Args:
        directory: the zone's data directory.
        secret: 32 bytes or more that this zone alone knows.
    """

    def __init__(self, directory: Path, secret: bytes) -> None:
        self._directory = directory / "subjects"
        with storage_errors(f"cannot open {self._directory}"):
            self._directory.mkdir(mode=0o700, exist_ok=True)
        self._work = Workspace(directory / "subjects.work")
        self._secret = secret
        self._one = threading.Lock()  # one union at a time: each may take as much memory as is allowed
        self._remembered = lru_cache(maxsize=_UNIONS)(self._count)

    def has(self, version: str) -> bool:
        """Whether the persons of a version are known one by one."""
        return self._path(version).is_file()

    def count(self, versions: Collection[str]) -> SubjectCounts:
        """The persons in any of these versions, each once. Blocks while files are read.

        Args:
            versions: digests in hex; each has a set.

        Raises:
            StorageError: a set cannot be read, or there is no room to count.
        """
        return self._remembered(frozenset(versions)) if versions else SubjectCounts(0, 0)

    def _count(self, versions: frozenset[str]) -> SubjectCounts:
        files = [str(self._path(version)) for version in sorted(versions)]
        with self._one, self._database() as database:
            found = database.execute(
                "SELECT count(*) FILTER (NOT sensitive), count(*) FILTER (sensitive) FROM ("
                "SELECT person, bool_or(sensitive) AS sensitive FROM read_parquet($files) GROUP BY person)",
                {"files": files},
            ).fetchone()
        return SubjectCounts(*found)

    def counter(self, owner: str, publication: Publication, schema: pa.Schema) -> SubjectCounter | None:
        """What counts the persons of a publication; None where it does not say who they are.

        Args:
            owner: the exporter's URI.
            schema: of the batches to come.

        Raises:
            ManifestError: a column is not there or of a wrong type.
        """
        if publication.persons is None:
            return None
        key = hmac.new(self._secret, f"tdz-subjects/v1\n{owner}".encode(), hashlib.sha256).digest()
        return SubjectCounter(self, key, publication, schema)

    def close(self) -> None:
        """Remove the work space."""
        self._work.close()

    def _path(self, version: str) -> Path:
        return self._directory / f"{version}.parquet"

    def keep(self, version: str, made: Path) -> None:
        """Give a finished set its name, durably."""
        with storage_errors("cannot keep the persons of a dataset"):
            descriptor = os.open(made, os.O_RDONLY)
            try:
                os.fsync(descriptor)
            finally:
                os.close(descriptor)
            made.replace(self._path(version))
            sync_directory(self._directory)
        self._remembered.cache_clear()

    def scratch(self) -> Path:
        """A name in the work space that nothing has yet."""
        return self._work.new()

    @contextlib.contextmanager
    def _database(self) -> Iterator[Any]:
        with _database(self.scratch()) as database:
            yield database


class SubjectCounter:
    """Counts the persons of one publication while its batches pass; one thread at a time. Made by `SubjectSets`."""

    def __init__(self, sets: SubjectSets, key: bytes, publication: Publication, schema: pa.Schema) -> None:
        said = publication.persons
        if said is None:
            raise ManifestError("the manifest does not say who the persons are", remedy="add `persons`")
        self._sets, self._key, self._publication = sets, key, publication
        self._space = (said.namespace or f"{publication.id}/{said.column}").encode()
        self._column = _find(schema, said.column, "persons.column")
        self._sensitive = _find(schema, said.sensitive, "persons.sensitive") if said.sensitive else -1
        self._declared = SubjectCounts(
            publication.dataset.cn.subjects_non_sensitive, publication.dataset.cn.subjects_sensitive
        )
        if not said.sensitive and all(self._declared):
            raise ManifestError(
                "persons.sensitive: the data has persons of both groups",
                remedy="name a boolean column that says of whom a row tells something sensitive",
            )
        if self._sensitive >= 0 and not pa.types.is_boolean(schema.field(self._sensitive).type):
            raise ManifestError(f"persons.sensitive: column {said.sensitive!r} is not boolean")
        with contextlib.ExitStack() as stack:
            self._database = stack.enter_context(_database(sets.scratch()))
            self._database.execute("CREATE TABLE persons (person BLOB, sensitive BOOLEAN)")
            self._stack = stack.pop_all()

    def add(self, batch: pa.RecordBatch) -> None:
        """Count a batch's persons.

        Raises:
            DataFileError: a row names nobody.
            StorageError: there is no room to count.
        """
        column = batch.column(self._column)
        if column.null_count:
            raise DataFileError(
                f"column {batch.schema.field(self._column).name!r} names nobody in {column.null_count} rows",
                remedy="give each row its person, or leave `persons` out: then each dataset's persons count anew",
            )
        if self._sensitive >= 0:
            flags = pc.fill_null(batch.column(self._sensitive), True)
        else:
            flags = pa.repeat(pa.scalar(bool(self._declared.sensitive)), len(column))
        rows = pa.table([_names(column), flags], names=["name", "sensitive"]).group_by("name")
        distinct = rows.aggregate([("sensitive", "max")])
        hashed = pa.array([self._hash(name) for name in distinct.column("name").to_pylist()], pa.binary())
        flagged = pc.cast(distinct.column("sensitive_max"), pa.bool_()).combine_chunks()
        counted = pa.Table.from_arrays([hashed, flagged], schema=_SCHEMA)
        with _no_room():
            self._database.register("counted", counted)
            self._database.execute("INSERT INTO persons SELECT person, sensitive FROM counted")
            self._database.unregister("counted")

    def _hash(self, name: bytes) -> bytes:
        return hmac.digest(self._key, self._space + b"\n" + name, "sha256")[:_HASH]

    def finish(self, version: str) -> None:
        """Keep the set of what became this version, durably.

        Raises:
            ManifestError: the manifest names other numbers of persons than the data has.
            StorageError: there is no room to count.
        """
        made = self._sets.scratch()
        try:
            self._write(made)
            self._sets.keep(version, made)
        finally:
            made.unlink(missing_ok=True)

    def _write(self, made: Path) -> None:
        with _no_room():
            united = self._database.sql("SELECT person, bool_or(sensitive) AS sensitive FROM persons GROUP BY person")
            united.write_parquet(str(made), compression="zstd")
            found = SubjectCounts(
                *self._database.execute(
                    "SELECT count(*) FILTER (NOT sensitive), count(*) FILTER (sensitive) FROM read_parquet($file)",
                    {"file": str(made)},
                ).fetchone()
            )
        if found != self._declared:
            raise ManifestError(
                f"the data has {found.non_sensitive} non-sensitive and {found.sensitive} sensitive persons, "
                f"the manifest says {self._declared.non_sensitive} and {self._declared.sensitive}",
                remedy="correct dataset.cn.subjects_non_sensitive and subjects_sensitive",
            )

    def close(self) -> None:
        """Forget what was counted; may be called at any time."""
        self._stack.close()


def _find(schema: pa.Schema, name: str, field: str) -> int:
    found: list[int] = schema.get_all_field_indices(name)
    if len(found) != 1:
        raise ManifestError(
            f"{field}: the data has no column {name!r}", remedy=f"columns: {', '.join(schema.names)[:500]}"
        )
    return found[0]


def _names(column: Any) -> Any:
    """The persons' names as bytes, the same for the same name in whatever column type."""
    if pa.types.is_dictionary(column.type):
        column = column.dictionary_decode()
    kind = column.type
    if pa.types.is_integer(kind):
        column = pc.cast(column, pa.string())
    elif not (pa.types.is_string(kind) or pa.types.is_large_string(kind)):
        raise ManifestError(
            f"persons.column: a column of {kind} names no persons", remedy="name a column of text or whole numbers"
        )
    return pc.cast(column, pa.large_binary())


@contextlib.contextmanager
def _database(spill: Path) -> Iterator[Any]:
    import duckdb

    with _no_room():
        database = duckdb.connect(
            config={"memory_limit": _MEMORY, "threads": 1, "temp_directory": str(spill), "lock_configuration": True}
        )
        try:
            yield database
        finally:
            database.close()
            shutil.rmtree(spill, ignore_errors=True)  # what it spilled; its own goes when it closes, its folder may not


@contextlib.contextmanager
def _no_room() -> Iterator[None]:
    import duckdb

    try:
        yield
    except duckdb.Error as error:
        raise StorageError(
            f"the persons of a dataset cannot be counted: {str(error).splitlines()[0][:200]}",
            remedy="free space on the gateway's storage disk, then try again",
        ) from error
