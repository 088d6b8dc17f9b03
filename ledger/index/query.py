"""One query of somebody's on the index: one statement that reads, within limits of memory, time and rows at once."""

from __future__ import annotations

import threading
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, Final

from ledger.errors import LedgerError, OperationalError
from ledger.index.engine import engine

__all__ = ["Answer", "ask"]

MAX_QUERY_CHARACTERS: Final = 100_000
_ROWS_AT_ONCE: Final = 1024


@dataclass(frozen=True, slots=True)
class Answer:
    """A query's columns, and its rows as they come."""

    columns: list[str]
    rows: Iterator[tuple[Any, ...]]


def ask(database: Any, query: str, *, within_s: float) -> Answer:
    """Run a query.

    Args:
        database: opened read-only.
        query: one SELECT, or what DuckDB turns into one: FROM, WITH, DESCRIBE, SHOW, SUMMARIZE, EXPLAIN.
        within_s: seconds for the whole of it, reading the rows included.

    Raises:
        OperationalError: it is no such query, or it took too long; from the rows too.
    """
    duckdb = engine()
    if len(query) > MAX_QUERY_CHARACTERS:
        raise OperationalError(f"a query has at most {MAX_QUERY_CHARACTERS} characters")
    try:
        statements = database.extract_statements(query)
    except duckdb.Error as error:
        raise _refused(error) from error
    allowed = {duckdb.StatementType.SELECT, duckdb.StatementType.EXPLAIN}
    if len(statements) != 1 or statements[0].type not in allowed:
        raise OperationalError("a query is one SELECT", remedy="tdz-ledger sql 'SHOW TABLES' lists what there is")
    timer = threading.Timer(within_s, database.interrupt)
    timer.daemon = True
    timer.start()
    try:
        result = database.execute(statements[0])
        columns = [str(each[0]) for each in result.description]
    except duckdb.Error as error:
        _end(timer)
        raise _refused(error, within_s) from error
    return Answer(columns, _rows(result, timer, within_s))


def _rows(result: Any, timer: threading.Timer, within_s: float) -> Iterator[tuple[Any, ...]]:
    try:
        while found := result.fetchmany(_ROWS_AT_ONCE):
            yield from found
    except engine().Error as error:
        raise _refused(error, within_s) from error
    finally:
        _end(timer)


def _end(timer: threading.Timer) -> None:
    """Its thread holds the database: one that still ends when Python does has DuckDB complain of what leaks."""
    timer.cancel()
    timer.join()


def _refused(error: BaseException, within_s: float = 0) -> LedgerError:
    if isinstance(error, engine().InterruptException):
        return OperationalError(f"the query took longer than {within_s:g} s", remedy="ask for less, or --timeout")
    if isinstance(error, engine().OutOfMemoryException):
        return OperationalError("the query needs more memory than it may use", remedy="ask for less, or --memory")
    return OperationalError(f"the query was refused: {str(error).strip().partition(chr(10))[0][:400]}")
