"""A pull: one transfer's rows as Arrow, pandas, DuckDB or a file, in memory that does not grow with the data."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
from collections.abc import AsyncGenerator, AsyncIterator, Callable, Iterator
from pathlib import Path
from typing import Any, Final, TypeVar

import pyarrow as pa

from gateway.errors import ConflictError, InputError
from gateway.model import limits
from gateway.model.artifact import ModelDescription
from gateway.model.described import resource_of
from gateway.sdk.files import format_of, write_file
from gateway.sdk.model_files import check_target, write_model
from gateway.sdk.resources import Progress
from gateway.sdk.stream import ChunkStream, ProgressCallback, open_transfer

T = TypeVar("T")

_AHEAD: Final = 4  # chunks read ahead of the consumer: at most 16 MiB
_RELATIONS: Final = itertools.count(1)


class Prefetch:
    """Reads batches ahead of their consumer, by at most `_AHEAD`; owns the task that does.

    Args:
        batches: closed when this is.
    """

    def __init__(self, batches: AsyncGenerator[Any, None]) -> None:
        self.error: BaseException | None = None
        self._batches = batches
        self._queue: asyncio.Queue[Any] = asyncio.Queue(_AHEAD)
        self._loop = asyncio.get_running_loop()
        self._task = asyncio.create_task(self._pump(), name="tdz-prefetch")

    async def next(self) -> Any:
        """The next batch, None at the end.

        Raises:
            TdzError: what ended the stream early; the same at each further call.
        """
        if self._queue.empty() and not self._task.done():
            getter = asyncio.ensure_future(self._queue.get())
            try:
                await asyncio.wait({getter, self._task}, return_when=asyncio.FIRST_COMPLETED)
                if getter.done():
                    return getter.result()
            finally:
                getter.cancel()
        if not self._queue.empty():
            return self._queue.get_nowait()
        if self.error is not None:
            raise self.error
        return None

    async def close(self) -> None:
        """End the reading; whoever still waits for a batch is told."""
        self._task.cancel()
        await asyncio.wait({self._task})

    def iterate(self) -> Iterator[Any]:
        """The batches, for another thread than the loop's. Every wait ends with the stream's own deadline."""
        try:
            while True:
                batch = asyncio.run_coroutine_threadsafe(self.next(), self._loop).result()
                if batch is None:
                    return
                yield batch
        finally:
            if not self._loop.is_closed():
                self._loop.call_soon_threadsafe(self._task.cancel)

    async def _pump(self) -> None:
        try:
            async with contextlib.aclosing(self._batches) as batches:
                async for batch in batches:
                    await self._queue.put(batch)
        except asyncio.CancelledError:
            self.error = ConflictError("the pull was closed", remedy="pull again; nothing is fetched twice")
            raise
        except Exception as error:  # handed to the consumer, whatever it is
            self.error = error


class AsyncPull:
    """One opened transfer, to be read once.

    `transfer` is its id in both zones; `rows`, `bytes` and `chunks` are totals, -1 where a filter is on;
    `schema` is a `pyarrow.Schema`.
    """

    def __init__(self, stream: ChunkStream) -> None:
        self._stream = stream
        self._taken = False
        self._prefetch: Prefetch | None = None
        self.transfer = stream.opened.transfer
        self.agreement = stream.opened.agreement
        self.schema = stream.opened.schema
        self.rows = stream.opened.rows
        self.bytes = stream.opened.bytes
        self.chunks = stream.opened.chunks

    @classmethod
    async def open(
        cls,
        session: Any,
        agreement: str,
        *,
        transfer: str = "",
        progress: ProgressCallback | None = None,
        stall_s: float = limits.LEASE_S,
    ) -> AsyncPull:
        """Open a transfer under an agreement; see `AsyncAccess.pull`."""
        opened = await open_transfer(session, agreement, transfer, 0)
        return cls(ChunkStream(session, opened, stall_s=stall_s, progress=progress))

    def __repr__(self) -> str:
        return f"<Pull {self.transfer}: {self.rows} rows in {self.chunks} chunks>"

    @property
    def progress(self) -> Progress:
        """How far it is."""
        return self._stream.progress

    @property
    def resource(self) -> str:
        """What is pulled: `datasets/{id}` or `models/{id}`."""
        return resource_of(self._stream.opened.description)

    @property
    def end(self) -> str:
        """The gateway's signed end of the stream, a DSSE envelope as JSON; empty until all was read."""
        return self._stream.end_envelope

    async def batches(self) -> AsyncIterator[Any]:
        """The rows as verified `pyarrow.RecordBatch`es, in order; nothing is read ahead.

        Raises:
            IntegrityError: a chunk or the end is not what was promised.
            PeerUnavailableError: no progress in time, reconnects included; pull again to read on.
            ConflictError: it was read before.
        """
        async with contextlib.aclosing(self._take()) as batches:
            async for batch in batches:
                yield batch

    async def reader(self) -> Any:
        """A `pyarrow.RecordBatchReader` that streams with back-pressure, for another thread than the loop's.

        Raises:
            ConflictError: it was read before.
        """
        self._prefetch = Prefetch(self._take())
        return pa.RecordBatchReader.from_batches(self.schema, self._prefetch.iterate())

    async def to_arrow(self) -> Any:
        """All rows as one `pyarrow.Table`.

        Raises:
            TdzError: as `batches`.
        """
        async with contextlib.aclosing(self._take()) as batches:
            return pa.Table.from_batches([batch async for batch in batches], schema=self.schema)

    async def to_pandas(self) -> Any:
        """All rows as one `pandas.DataFrame`.

        Raises:
            TdzError: as `batches`.
        """
        table = await self.to_arrow()
        return await asyncio.to_thread(table.to_pandas)

    async def to_duckdb(self, connection: Any = None, *, table: str = "") -> Any:
        """Stream the rows into a temporary DuckDB table.

        Args:
            connection: a `duckdb.DuckDBPyConnection`; one of its own in memory where left out.
            table: the table's name; made up where left out.

        Returns:
            The table as a `duckdb.DuckDBPyRelation`.

        Raises:
            TdzError: as `batches`; no table is left then.
        """
        import duckdb  # most who pull never need it

        target = duckdb.connect() if connection is None else connection
        number = next(_RELATIONS)
        name, source = table or f"tdz_pull_{number}", f"tdz_stream_{number}"

        def load(reader: Any) -> Any:
            quoted = '"' + name.replace('"', '""') + '"'
            target.register(source, reader)
            try:
                target.execute(f"CREATE TEMP TABLE {quoted} AS SELECT * FROM {source}")  # noqa: S608  quoted above
            finally:
                target.unregister(source)
            return target.table(name)

        return await self._threaded(load)

    async def to_file(self, path: Path | str, *, format: str = "") -> Path:  # noqa: A002  the option's name
        """Write the rows to a file that appears under its name only when it is complete.

        Args:
            path: where; an existing file is replaced.
            format: parquet, arrow or csv; by the suffix where left out.

        Raises:
            TdzError: as `batches`; InputError for an unknown format; StorageError where the disk is full.
        """
        target = Path(path)
        chosen = format_of(target, format)
        await self._threaded(lambda reader: write_file(reader, target, chosen))
        return target

    async def to_directory(self, path: Path | str) -> Path:
        """Write a model's files, its signature and its provenance to a directory.

        The directory appears under its name only when every file has the digest that its publisher signed.

        Args:
            path: a directory that does not exist yet, or is empty.

        Raises:
            TdzError: as `batches`; InputError for a dataset, or where something stands at this name.
        """
        target, description = Path(path), self._stream.opened.description
        if not isinstance(description, ModelDescription):
            raise InputError(f"datasets/{description.id} is a dataset", remedy="write it to a file: to_file()")
        check_target(target)
        await self._threaded(lambda reader: write_model(reader, description, target))
        return target

    async def close(self) -> None:
        """End the reading; the transfer itself goes on landing in the zone."""
        self._taken = True
        if self._prefetch is not None:
            await self._prefetch.close()

    async def _threaded(self, consume: Callable[[Any], T]) -> T:
        """Let a thread consume the stream; its own error counts before what a library made of it."""
        reader = await self.reader()
        prefetch = self._prefetch
        try:
            return await asyncio.to_thread(consume, reader)
        except Exception as error:
            if prefetch is not None and prefetch.error is not None and prefetch.error is not error:
                raise prefetch.error from error
            raise
        finally:
            await self.close()

    def _take(self) -> AsyncGenerator[Any, None]:
        if self._taken:
            raise ConflictError("this pull was read already", remedy="call pull() again; nothing is fetched twice")
        self._taken = True
        return self._stream.batches()
