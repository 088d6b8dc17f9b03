"""The index: its columns, that it is never older or other than its log, and that a query can do nothing but read."""

from __future__ import annotations

import csv
import io
import json
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import duckdb
import pytest

from ledger.cli.main import main
from ledger.entry import new_id
from ledger.facts.schema import TABLES, VIEWS
from tests.unit.ledger.twin import CYBERJAYA, LINGANG, Twin

HOSTILE = "=cmd|' /C calc'!A1\x1b[2J</script>' OR 1=1 --"


@pytest.fixture
async def story(twin: Twin) -> Twin:
    await twin.transfer(new_id(), await twin.agree(new_id()))
    await twin.refuse(new_id(), remedy=HOSTILE)
    await twin.run(new_id())
    await twin.mirrored()
    return twin


@pytest.fixture
def ask(capsys: pytest.CaptureFixture[str]) -> Callable[..., list[dict[str, Any]]]:
    def run(query: str, *arguments: object) -> list[dict[str, Any]]:
        code = main(["sql", query, *map(str, arguments), "--json"])
        captured = capsys.readouterr()
        assert code == 0, captured.err
        found: list[dict[str, Any]] = json.loads(captured.out)
        return found

    return run


async def test_the_views_tell_the_story(story: Twin, ask: Any) -> None:
    copy = story.export(CYBERJAYA)
    (transfer,) = ask("SELECT * FROM transfers", copy)
    assert (transfer["state"], transfer["rows"], transfer["bytes"]) == ("completed", 10, 1000)
    assert (transfer["consumer"], transfer["resource"]) == ("tdz://cyberjaya/partner/um", "datasets/flights")
    (refusal,) = ask("SELECT * FROM refusals", copy)
    assert (refusal["zone"], refusal["code"], refusal["resource"]) == (LINGANG, "MY-BASIS", "datasets/patients")
    assert refusal["remedy"] == HOSTILE
    (run,) = ask("SELECT * FROM runs", copy)
    assert (run["state"], run["model"], run["strategy"]) == ("completed", "models/classifier", "FedAvg")
    assert ask("SELECT count(*) AS n FROM receipts", copy) == [{"n": 2}]
    assert ask("SELECT DISTINCT zone, sku FROM devices ORDER BY zone", copy) == [
        {"zone": CYBERJAYA, "sku": "AMD EPYC"},
        {"zone": LINGANG, "sku": "AMD EPYC"},
    ]
    both = ask(
        "SELECT log, count(*) AS n FROM transfers GROUP BY log ORDER BY log", copy, "--peer", story.export(LINGANG)
    )
    assert both == [{"log": CYBERJAYA, "n": 1}, {"log": LINGANG, "n": 1}]


async def test_every_column_has_its_meaning_and_its_row_in_the_documents(story: Twin, ask: Any) -> None:
    copy = story.export(CYBERJAYA)
    query = "SELECT table_name AS t, column_name AS c, comment FROM duckdb_columns() WHERE NOT internal"
    found = {(row["t"], row["c"]): row["comment"] for row in ask(query, copy)}
    page = (Path(__file__).parents[3] / "docs" / "ledger" / "sql.md").read_text("utf-8")
    for table in TABLES.values():
        assert f"### {table.name}\n" in page
        for column in table.columns:
            assert found[table.name, column.name] == column.meaning
            assert f"| `{column.name}` | {column.type} | {column.meaning} |" in page
    for name, (meaning, _) in VIEWS.items():
        assert f"| `{name}` | {meaning} |" in page
        assert any(table == name for table, _ in found)


async def test_an_operators_index_is_kept_extended_and_never_trusted_when_it_is_another(
    story: Twin, ask: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    query = "SELECT (SELECT count(*) FROM entries) AS n, size FROM built_from"
    directory = story.zones[CYBERJAYA].directory
    index = directory / "state" / "index.duckdb"
    (before,) = ask(query, directory)
    assert before["n"] == before["size"]
    assert index.stat().st_mode & 0o777 == 0o600
    inode = index.stat().st_ino
    for _ in range(3):
        await story.refuse(new_id())
    (after,) = ask(query, directory)
    assert after["n"] == after["size"] == before["n"] + 6
    assert index.stat().st_ino == inode, "it was extended"
    # Another log's index, one of an older history, and no index at all: each is built anew.
    other = story.zones[LINGANG].directory
    ask(query, other)
    for change in (
        lambda: shutil.copy(other / "state" / "index.duckdb", index),
        lambda: _alter(index, "UPDATE built_from SET root = repeat('00', 32)"),
        lambda: _alter(index, "UPDATE built_from SET size = size - 2"),
        lambda: _alter(index, "UPDATE built_from SET schema_version = 99"),
        lambda: _alter(index, "DROP TABLE built_from"),
        lambda: index.write_bytes(b"no database"),
    ):
        change()
        assert main(["sql", query, str(directory), "--json"]) == 0
        captured = capsys.readouterr()
        assert json.loads(captured.out) == [after]
        assert "it is built anew" in captured.err
    assert main(["index", "rebuild", str(directory)]) == 0
    assert f"from {after['n']} entries" in capsys.readouterr().out
    assert ask(query, directory) == [after]


async def test_an_index_grows_while_another_process_reads_it(story: Twin, ask: Any) -> None:
    query, kept = "SELECT count(*) AS n FROM entries", ["index.duckdb", "index.duckdb.lock"]
    directory = story.zones[CYBERJAYA].directory
    (before,) = ask(query, directory)
    code = (
        "import sys; from ledger.index.engine import connect\n"
        f"database = connect({str(directory / 'state' / 'index.duckdb')!r}, read_only=True)\n"
        "print('open', flush=True); sys.stdin.read()\n"
        "print(database.execute('SELECT count(*) FROM entries').fetchone()[0])\n"
    )
    pipes: dict[str, Any] = {"stdin": subprocess.PIPE, "stdout": subprocess.PIPE, "text": True}
    with subprocess.Popen([sys.executable, "-c", code], **pipes) as reader:
        assert reader.stdout is not None
        assert reader.stdout.readline() == "open\n"
        await story.refuse(new_id())
        assert ask(query, directory) == [{"n": before["n"] + 2}]
        assert reader.communicate()[0] == f"{before['n']}\n"
    assert ask(query, directory) == [{"n": before["n"] + 2}]
    assert sorted(path.name for path in (directory / "state").glob("index*")) == kept


def _alter(index: Path, statement: str) -> None:
    with duckdb.connect(str(index)) as database:
        database.execute(statement)


async def test_a_log_that_is_not_as_it_was_signed_gives_no_answer_and_leaves_no_index(
    story: Twin, ask: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = story.export(CYBERJAYA)
    kept = tmp_path / "kept.duckdb"
    ask("SELECT 1", copy, "--index", kept)
    bundle = max((copy / "tile/entries/000.p").iterdir(), key=lambda part: int(part.name))
    bundle.write_bytes(bundle.read_bytes().replace(b'"rows":10', b'"rows":90'))
    kept.unlink()
    assert main(["sql", "SELECT rows FROM transfers", str(copy), "--index", str(kept)]) == 1
    captured = capsys.readouterr()
    assert captured.out == ""
    assert "was changed" in captured.err
    assert not kept.exists()
    assert [each.name for each in tmp_path.glob("kept*")] == ["kept.duckdb.lock"]


@pytest.mark.parametrize(
    "query",
    [
        "SELECT * FROM read_csv('/etc/passwd')",
        "SELECT * FROM '/etc/passwd'",
        "SELECT content FROM read_text('/etc/hostname')",
        "COPY entries TO '/tmp/stolen.csv'",
        "ATTACH '/tmp/other.db'",
        "INSTALL httpfs",
        "LOAD httpfs",
        "SET memory_limit = '1TB'",
        "PRAGMA enable_external_access = true",
        "CREATE TABLE mine (i INTEGER)",
        "DELETE FROM entries",
        "SELECT 1; SELECT 2",
        "SELECT nothing FROM entries",
        "SELEC 1",
        "",
        "SELECT getenv('HOME')",
        "WITH x AS (DELETE FROM entries RETURNING *) SELECT * FROM x",
    ],
)
async def test_a_query_can_do_nothing_but_read(story: Twin, query: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["sql", query, str(story.export(CYBERJAYA))]) == 2
    error = capsys.readouterr().err
    assert error.startswith("tdz-ledger: ")
    assert error.count("\n") == 1


async def test_time_and_memory_of_a_query_are_limited(story: Twin, capsys: pytest.CaptureFixture[str]) -> None:
    copy = story.export(CYBERJAYA)
    endless = "SELECT count(*) FROM range(100000000) a, range(100000000) b WHERE a.range * b.range % 7 = 3"
    assert main(["sql", endless, str(copy), "--timeout", "0.3"]) == 2
    assert "longer than 0.3 s" in capsys.readouterr().err
    assert main(["sql", "SELECT list(range) FROM range(100000000)", str(copy), "--memory", "64"]) == 2
    assert "more memory" in capsys.readouterr().err


async def test_tables_and_csv_keep_a_terminal_and_a_spreadsheet_safe(
    story: Twin, capsys: pytest.CaptureFixture[str]
) -> None:
    copy = story.export(CYBERJAYA)
    assert main(["sql", "SELECT remedy FROM findings", str(copy)]) == 0
    assert "\x1b" not in capsys.readouterr().out
    assert main(["sql", "SELECT remedy FROM findings", str(copy), "--csv"]) == 0
    (_, (cell,)) = csv.reader(io.StringIO(capsys.readouterr().out))
    assert cell == f"'{HOSTILE}"


async def test_a_limit_holds_over_a_join_with_nothing(story: Twin, ask: Any) -> None:
    """DuckDB 2.0.0 loses it otherwise; see the index's settings."""
    query = "SELECT e.seq FROM entries e LEFT JOIN entries r ON r.id = e.id AND r.kind = 'never' LIMIT 2"
    assert len(ask(query, story.export(CYBERJAYA))) == 2
