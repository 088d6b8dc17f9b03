"""The product's files, as the checks of this folder read them."""

from __future__ import annotations

import ast
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]


def product_files() -> list[Path]:
    """Python files of the product; generated code is not of our hand."""
    generated = ROOT / "gateway" / "v1"
    return sorted(
        path for room in ("gateway", "ledger") for path in (ROOT / room).rglob("*.py") if generated not in path.parents
    )


def relative(path: Path) -> str:
    """A path as a test's id shows it."""
    return str(path.relative_to(ROOT))


def tree(path: Path) -> ast.Module:
    """A file's syntax tree."""
    return ast.parse(path.read_text("utf-8"), str(path))
