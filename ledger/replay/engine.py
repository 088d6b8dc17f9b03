"""What evaluates a kept policy: regopy in a process of its own, or an `opa` binary. Neither sees the environment."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import tempfile
from importlib.util import find_spec
from pathlib import Path
from typing import Any, Final

from ledger.errors import IncompleteError, OperationalError
from ledger.replay.policy import ENTRYPOINT, KeptPolicy

__all__ = ["ENGINES", "evaluate"]

ENGINES: Final = ("auto", "regopy", "opa")
_DEADLINE_S: Final = 120.0
_ANSWER_MAX: Final = 4 * 1024 * 1024
_ROOT: Final = str(Path(__file__).resolve().parents[2])


def evaluate(policy: KeptPolicy, document: Any, *, engine: str = "auto", opa: str = "") -> tuple[Any, str]:
    """The policy's answer to an input, and what gave it.

    Args:
        policy: the policy.
        document: the input.
        engine: one of `ENGINES`; auto takes regopy where it is installed, else OPA.
        opa: the binary; else that of OPA_BIN, else the one on PATH.

    Raises:
        IncompleteError: there is no engine here, or it gives no answer.
        OperationalError: an engine that was named is not here.
    """
    binary = opa or os.environ.get("OPA_BIN", "") or shutil.which("opa") or ""
    if engine not in ENGINES or (opa and not os.access(opa, os.X_OK)):
        raise OperationalError(f"no engine {opa or engine}", remedy=f"one of {', '.join(ENGINES)}, and --opa a binary")
    installed = find_spec("regopy") is not None
    if engine == "regopy" or (engine == "auto" and installed and not opa):
        if not installed:
            raise OperationalError("regopy is not installed", remedy="pip install 'tdz-gateway[replay]'")
        return _by_regopy(policy, document), "regopy"
    if not binary:
        raise IncompleteError(
            "no Rego engine is here", remedy="pip install 'tdz-gateway[replay]', or name an OPA with --opa"
        )
    return _by_opa(policy, document, binary), f"OPA at {binary}"


def _by_regopy(policy: KeptPolicy, document: Any) -> Any:
    order = {"modules": dict(policy.modules), "data": policy.data, "entrypoint": ENTRYPOINT, "input": document}
    done = _run([sys.executable, "-m", "ledger.replay.worker"], json.dumps(order).encode())
    return _answer(done.stdout, done)


def _by_opa(policy: KeptPolicy, document: Any, binary: str) -> Any:
    with tempfile.TemporaryDirectory() as folder:
        place = Path(folder)
        for name, text in policy.modules.items():
            path = place / "policy" / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        (place / "policy" / "data.json").write_text(json.dumps(policy.data), "utf-8")
        (place / "input.json").write_text(json.dumps(document), "utf-8")
        (place / "capabilities.json").write_text(policy.capabilities, "utf-8")
        query = f"[data.{ENTRYPOINT.replace('/', '.')}]"
        files = ["-b", str(place / "policy"), "-i", str(place / "input.json")]
        limits = ["--capabilities", str(place / "capabilities.json")]
        done = _run([binary, "eval", *files, *limits, "-f", "json", query], b"")
    try:
        (value,) = json.loads(done.stdout)["result"][0]["expressions"][0]["value"]
    except (ValueError, KeyError, IndexError, TypeError) as error:
        raise IncompleteError(f"OPA gives no answer: {_said(done)}") from error
    return value


def _run(command: list[str], data: bytes) -> subprocess.CompletedProcess[bytes]:
    try:
        return subprocess.run(
            command,
            input=data,
            capture_output=True,
            timeout=_DEADLINE_S,
            check=False,
            env={"PYTHONPATH": _ROOT, "LANG": "C.UTF-8", "HOME": os.sep},
        )
    except subprocess.TimeoutExpired as error:
        raise IncompleteError(f"the engine gave no answer in {_DEADLINE_S:g} s") from error
    except OSError as error:
        raise OperationalError(f"{command[0]} cannot be started: {error.strerror}") from error


def _answer(data: bytes, done: subprocess.CompletedProcess[bytes]) -> Any:
    try:
        answer = json.loads(data) if len(data) <= _ANSWER_MAX else None
    except ValueError:
        answer = None
    if not isinstance(answer, dict) or "result" not in answer:
        said = answer.get("error", "") if isinstance(answer, dict) else ""
        raise IncompleteError(f"the engine gives no answer: {said or _said(done)}")
    return answer["result"]


def _said(done: subprocess.CompletedProcess[bytes]) -> str:
    return " ".join((done.stderr or done.stdout).decode("utf-8", "replace").split())[:500] or f"exit {done.returncode}"
