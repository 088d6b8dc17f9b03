"""Both engines behind one function: documents in, raw answers of `data.tdz.main.decision` out."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.decisions.worker import Evaluator, compiled

ROOT = Path(__file__).resolve().parents[3]

Decide = Callable[[ZonePolicy, Sequence[Any]], list[Any]]


def _find_opa() -> str | None:
    for candidate in (os.environ.get("OPA_BIN"), shutil.which("opa"), str(ROOT.parent / "shared/bin/opa")):
        if candidate and Path(candidate).is_file():
            return candidate
    return None


@pytest.fixture(scope="session")
def opa() -> str:
    found = _find_opa()
    if found is None:
        pytest.skip("no OPA found: set OPA_BIN or put opa on PATH")
    return found


@pytest.fixture(scope="session")
def policy_dir() -> Path:
    return ROOT / "policy"


@pytest.fixture(scope="session")
def policy_set(policy_dir: Path) -> PolicySet:
    return PolicySet.load(policy_dir)


@pytest.fixture(scope="session")
def embedded() -> Decide:
    """The evaluator that the workers run, in this process, so that thousands of documents take seconds."""
    loaded: dict[str, Evaluator] = {}

    def decide(policy: ZonePolicy, documents: Sequence[Any]) -> list[Any]:
        key = json.dumps([dict(policy.modules), policy.data])
        if key not in loaded:
            sources = {"modules": policy.modules, "data": policy.data, "entrypoint": policy.entrypoint}
            loaded[key] = Evaluator(compiled(sources), policy.entrypoint)
        return [json.loads(loaded[key].evaluate(document)).get("result") for document in documents]

    return decide


@pytest.fixture
def real_opa(opa: str, tmp_path: Path) -> Decide:
    """One OPA process for all documents."""

    def decide(policy: ZonePolicy, documents: Sequence[Any]) -> list[Any]:
        folder = tmp_path / f"opa-{len(list(tmp_path.iterdir()))}"
        folder.mkdir()
        for name, text in policy.modules.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        (folder / "data.json").write_text(json.dumps(policy.data), "utf-8")
        (folder / "input.json.txt").write_text(json.dumps(list(documents)), "utf-8")
        query = "[d | some document in input; d := data.tdz.main.decision with input as document]"
        run = subprocess.run(
            [opa, "eval", "-b", ".", "-i", "input.json.txt", "-f", "json", query],
            capture_output=True,
            check=True,
            cwd=folder,
        )
        answers = json.loads(run.stdout)["result"][0]["expressions"][0]["value"]
        assert len(answers) == len(documents)
        return answers

    return decide
