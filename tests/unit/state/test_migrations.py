"""A state database of an older schema becomes one of this, rows and all; what no program wrote is refused."""

from __future__ import annotations

import contextlib
import sqlite3
from pathlib import Path
from typing import Any

import pytest

from gateway.errors import StorageError
from gateway.exchange import rows
from gateway.federation import rows as run_rows
from gateway.flow import review_rows
from gateway.state import StateStore
from gateway.state.migrations import FIRST, STATEMENTS
from gateway.state.schema import SCHEMA_VERSION

VECTORS = Path(__file__).parents[2] / "vectors" / "state"


def _old(path: Path, version: int = FIRST) -> sqlite3.Connection:
    """A database as the program of that schema made it."""
    database = sqlite3.connect(path)
    database.executescript((VECTORS / f"schema-{version}.sql").read_text())
    return database


def _shape(path: Path) -> dict[str, Any]:
    """Tables with their columns and indexes; in which order columns were added says nothing."""
    with contextlib.closing(sqlite3.connect(path)) as database:
        tables = [name for (name,) in database.execute("SELECT name FROM sqlite_master WHERE type='table'")]
        return {
            name: (
                {column[1:4] + column[5:] for column in database.execute(f"PRAGMA table_info({name})")},
                {
                    (index[1], index[2], tuple(row[2] for row in database.execute(f"PRAGMA index_info({index[1]})")))
                    for index in database.execute(f"PRAGMA index_list({name})")
                },
            )
            for name in tables
        }


def _row(database: sqlite3.Connection, table: str, **values: object) -> None:
    """A row with values where the test has none of its own: empty texts and zeroes."""
    columns = {name: ("" if "CHAR" in kind or kind == "TEXT" else 0) for _, name, kind, *_ in database.execute(
        f"PRAGMA table_info({table})"
    )} | values  # fmt: skip
    names, marks = ", ".join(f'"{name}"' for name in columns), ", ".join("?" * len(columns))
    database.execute(f"INSERT INTO {table} ({names}) VALUES ({marks})", tuple(columns.values()))


async def test_every_schema_since_the_first_has_its_vector_and_leads_to_this_one(tmp_path: Path) -> None:
    new = tmp_path / "new.db"
    await (await StateStore.open(new)).close()
    assert max(STATEMENTS) == SCHEMA_VERSION
    for version in range(FIRST, SCHEMA_VERSION):
        old = tmp_path / f"{version}.db"
        _old(old, version).close()
        await (await StateStore.open(old)).close()
        assert _shape(old) == _shape(new)
        with contextlib.closing(sqlite3.connect(old)) as database:
            assert database.execute("PRAGMA user_version").fetchone() == (SCHEMA_VERSION,)
        await (await StateStore.open(old)).close()  # again changes nothing
        assert _shape(old) == _shape(new)


async def test_rows_of_schema_5_are_read_on(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    basis = '{"codes":[],"data":"","facts":"","findings":[],"policy":""}'
    with contextlib.closing(_old(path)) as database, database:
        _row(
            database,
            "reviews",
            id="r-1",
            kind="review",
            negotiation_id="n-1",
            holder="admin",
            basis=basis,
            state="OPEN",
        )
        _row(
            database, "runs", id="run-1", side="coordinator", request_id="q", state="RUNNING", document="{}", spec="{}"
        )
        for name, state, reason in (
            ("a-1", "TERMINATED", "revoked by lingang/admin"),
            ("a-2", "TERMINATED", "not confirmed"),
            ("a-3", "FINALIZED", ""),
        ):
            _row(database, "agreements", id=name, side="provider", state=state, reason=reason)
    state = await StateStore.open(path)
    try:
        review = await review_rows.get_review(state, "n-1")
        assert (review.id, review.about, review.open) == ("r-1", "negotiations/n-1", True)
        assert (await run_rows.get(state, "run-1")).held_by == ""
        ended = [(await rows.get_agreement(state, f"a-{n}")).ended_as for n in (1, 2, 3)]
        assert ended == ["revoked", "not_confirmed", ""]
    finally:
        await state.close()


@pytest.mark.parametrize("version", [1, FIRST - 1, SCHEMA_VERSION + 1])
async def test_a_schema_that_is_not_known_is_refused_and_left_as_it_is(tmp_path: Path, version: int) -> None:
    path = tmp_path / "state.db"
    with contextlib.closing(sqlite3.connect(path)) as database:
        database.execute(f"PRAGMA user_version = {version}")
    with pytest.raises(StorageError, match=f"schema {version}"):
        await StateStore.open(path)
    assert _shape(path) == {}


async def test_a_migration_that_fails_leaves_the_old_schema(tmp_path: Path) -> None:
    path = tmp_path / "state.db"
    with contextlib.closing(_old(path)) as database, database:
        database.execute("ALTER TABLE runs ADD COLUMN held_by TEXT")  # what a hand has changed
    before = _shape(path)
    with pytest.raises(StorageError):
        await StateStore.open(path)
    assert _shape(path) == before
    with contextlib.closing(sqlite3.connect(path)) as database:
        assert database.execute("PRAGMA user_version").fetchone() == (FIRST,)
