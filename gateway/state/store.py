"""The state database: SQLite in WAL mode, synchronous=FULL, with one writer thread.

Durability: `StateStore.write` returns after the commit is on disk. Atomicity: one call, one transaction, begun
with BEGIN IMMEDIATE. A caller that is cancelled does not tear a transaction: it runs to its end in its thread and
only the result is dropped. Reads see one snapshot, the last commit at its start or a later one.

Work is handed in as a function of a synchronous SQLAlchemy connection: one hop to a thread for a transaction,
however many statements it has.
"""

from __future__ import annotations

import asyncio
import os
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any, Final, TypeVar

from sqlalchemy import Connection, Engine, create_engine, event, text
from sqlalchemy.exc import DBAPIError, SQLAlchemyError
from sqlalchemy.pool import QueuePool

from gateway.errors import StorageError
from gateway.state.migrations import FIRST, migrate
from gateway.state.schema import SCHEMA_VERSION

T = TypeVar("T")
BUSY_TIMEOUT_MS: Final = 10_000
READERS: Final = 2


class StateStore:
    """One gateway's state database.

    Raises (from every method): StorageError when the database cannot be read or written.
    """

    def __init__(self, engine: Engine) -> None:
        self._engine = engine
        self._immediate = engine.execution_options(tdz_immediate=True)
        self._writer = ThreadPoolExecutor(1, thread_name_prefix="state-writer")
        self._readers = ThreadPoolExecutor(READERS, thread_name_prefix="state-reader")
        # A connection for each thread, kept: taking one from the pool costs as much as a small query.
        self._own = threading.local()
        self._connections: list[Connection] = []
        self._ahead: set[asyncio.Future[Any]] = set()

    @classmethod
    async def open(cls, path: Path) -> StateStore:
        """Open the database file, creating it (0600) and its tables where they do not exist.

        Raises:
            StorageError: the file cannot be opened, or it was written by a newer version.
        """

        def connect() -> StateStore:
            try:
                os.close(os.open(path, os.O_CREAT | os.O_WRONLY, 0o600))
            except OSError as error:
                raise _unusable(path) from error
            engine = create_engine(
                f"sqlite:///{path}",
                poolclass=QueuePool,
                pool_size=READERS + 1,
                max_overflow=0,
                connect_args={"check_same_thread": False},
            )
            event.listen(engine, "connect", _pragmas)
            event.listen(engine, "begin", _begin)
            store = cls(engine)
            try:
                store._prepare()
            except SQLAlchemyError as error:
                engine.dispose()
                raise _unusable(path) from error
            except StorageError:
                engine.dispose()
                raise
            return store

        return await asyncio.to_thread(connect)

    async def read(self, work: Callable[[Connection], T]) -> T:
        """Run `work` on a connection for reading and return its result, after all that was `begun` before."""
        if self._ahead:  # of now: what is begun while this waits need not be seen
            await asyncio.wait(set(self._ahead))
        return await asyncio.get_running_loop().run_in_executor(self._readers, self._run, self._engine, work)

    async def write(self, work: Callable[[Connection], T]) -> T:
        """Run `work` in a transaction of its own; return after it is durable.

        An exception from `work` rolls the transaction back and is raised here.
        """
        return await self._submit(work)

    def begin(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        """Start a transaction of its own without waiting for it.

        Whatever is handed in later, reads too, sees what it did. The caller looks at the future in the end.
        """
        begun = self._submit(work)
        self._ahead.add(begun)
        begun.add_done_callback(self._ahead.discard)
        return begun

    def _submit(self, work: Callable[[Connection], T]) -> asyncio.Future[T]:
        return asyncio.get_running_loop().run_in_executor(self._writer, self._run, self._immediate, work)

    async def close(self) -> None:
        """Finish what was handed in and close every connection."""

        def finish() -> None:
            self._writer.shutdown()
            self._readers.shutdown()
            for connection in self._connections:
                connection.close()
            self._engine.dispose()

        await asyncio.to_thread(finish)

    def _run(self, engine: Engine, work: Callable[[Connection], T]) -> T:
        try:
            connection = self._connection(engine)
            with connection.begin():
                return work(connection)
        except DBAPIError as error:
            raise StorageError(
                f"the state database failed: {type(error.orig).__name__}: {error.orig}",
                remedy="check free space and permissions of the state directory",
            ) from error

    def _connection(self, engine: Engine) -> Connection:
        connection: Connection | None = getattr(self._own, "connection", None)
        if connection is None:
            connection = self._own.connection = engine.connect()
            self._connections.append(connection)
        return connection

    def _prepare(self) -> None:
        with self._immediate.begin() as connection:
            version = connection.execute(text("PRAGMA user_version")).scalar_one()
            if version > SCHEMA_VERSION:
                raise StorageError(
                    f"the state database has schema {version}, this program knows {SCHEMA_VERSION}",
                    remedy="run the newer version of the gateway",
                )
            if 0 < version < FIRST:
                raise StorageError(
                    f"the state database has schema {version}, which was never released",
                    remedy="make the zone anew: tdz zone init",
                )
            migrate(connection, version)


def _unusable(path: Path) -> StorageError:
    return StorageError(f"cannot open the state database {path}", remedy="check that the path is a writable database")


def _pragmas(connection: Any, _record: Any) -> None:
    connection.isolation_level = None  # transactions begin where we say
    cursor = connection.cursor()
    for pragma, expected in (
        ("journal_mode=WAL", "wal"),
        ("synchronous=FULL", None),
        ("foreign_keys=ON", None),
    ):
        cursor.execute(f"PRAGMA {pragma}")
        if expected is not None and (found := cursor.fetchone()) != (expected,):
            raise StorageError(f"SQLite answered {found} to {pragma}", remedy="do not use a network filesystem")
    cursor.execute(f"PRAGMA busy_timeout={BUSY_TIMEOUT_MS}")
    cursor.execute("PRAGMA secure_delete=ON")
    cursor.close()


def _begin(connection: Connection) -> None:
    immediate = connection.get_execution_options().get("tdz_immediate", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if immediate else "BEGIN")
