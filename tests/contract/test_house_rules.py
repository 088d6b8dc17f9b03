"""Rules of the house that no linter has."""

from __future__ import annotations

import ast
import re

from tests.contract.conftest import ROOT, product_files, relative, tree

MOST_LINES = 400
VAGUE_NAMES = {"utils", "util", "helpers", "helper", "common", "misc"}
FILES = product_files()
WRITTEN = [
    *FILES,
    *(path for room in ("docs", "policy", "proto", "benchmarks") for path in sorted((ROOT / room).rglob("*"))),
    *(ROOT.iterdir()),
    ROOT / ".ci" / "run",
]
TEXT = {".py", ".md", ".toml", ".yaml", ".yml", ".rego", ".json", ".proto", ".txt", ""}


def test_the_product_is_found() -> None:
    assert len(FILES) > 100


def test_no_assert_validates() -> None:
    """Python -O takes them away."""
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Assert)
    ]
    assert found == []


def test_no_error_is_passed_over_in_silence() -> None:
    anything = {"Exception", "BaseException"}
    found = [
        f"{relative(path)}:{node.lineno}"
        for path in FILES
        for node in ast.walk(tree(path))
        if isinstance(node, ast.ExceptHandler)
        and (node.type is None or (isinstance(node.type, ast.Name) and node.type.id in anything))
        and all(isinstance(statement, ast.Pass) for statement in node.body)
    ]
    assert found == []


def test_each_module_says_what_it_is_for() -> None:
    public = [path for path in FILES if not path.stem.startswith("_") or path.stem == "__init__"]
    assert [relative(path) for path in public if not ast.get_docstring(tree(path))] == []


def test_a_file_stays_short_enough_to_read() -> None:
    lengths = {relative(path): len(path.read_text("utf-8").splitlines()) for path in FILES}
    assert {name: lines for name, lines in lengths.items() if lines > MOST_LINES} == {}


def test_a_file_is_named_for_what_it_holds() -> None:
    assert [relative(path) for path in FILES if {path.stem, path.parent.name} & VAGUE_NAMES] == []


def test_nothing_names_a_place_that_a_reader_does_not_have() -> None:
    foreign = re.compile(r"\.\./" + "shared" + r"\b|(?<![\w.])/" + r"work/")
    found = [
        relative(path)
        for path in WRITTEN
        if path.is_file() and path.suffix in TEXT and foreign.search(path.read_text("utf-8", "replace"))
    ]
    assert found == []
