"""A copy of the shipped policy to edit, and an OPA where one is found."""

from __future__ import annotations

import os
import shutil
from collections.abc import Callable
from pathlib import Path

import pytest

from gateway.decisions.authoring.opa_binary import OpaBinary

ROOT = Path(__file__).resolve().parents[4]


@pytest.fixture
def policy(tmp_path: Path) -> Path:
    """A policy directory of the test's own."""
    return Path(shutil.copytree(ROOT / "policy", tmp_path / "policy"))


@pytest.fixture
def write(policy: Path) -> Callable[[str, str], Path]:
    """Write a file of the policy."""

    def put(name: str, text: str) -> Path:
        path = policy / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, "utf-8")
        return path

    return put


@pytest.fixture(scope="session")
def opa() -> OpaBinary:
    """A real OPA."""
    for candidate in (os.environ.get("OPA_BIN"), shutil.which("opa"), str(ROOT.parent / "shared/bin/opa")):
        if candidate and Path(candidate).is_file():
            return OpaBinary(Path(candidate))
    pytest.skip("no OPA found: set OPA_BIN or put opa on PATH")
