"""An `opa` binary, where one is at hand: found, called with a deadline, its reports read.

Checks and cases run without one; with one they see more. Nothing is sent to it but the policy directory's files.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final

from gateway.errors import ConfigError

NONE: Final = "none"
_VARIABLE: Final = "OPA_BIN"
_DEADLINE_S: Final = 300.0


class OpaBinary:
    """An executable.

    Args:
        path: of the binary.
    """

    def __init__(self, path: Path) -> None:
        self.path = path

    @classmethod
    def find(cls, named: str = "", environment: Mapping[str, str] | None = None) -> OpaBinary | None:
        """The binary that is named, else that of OPA_BIN, else the one on PATH; `none` finds none.

        Raises:
            ConfigError: the one that was named is not there.
        """
        if named == NONE:
            return None
        variables = os.environ if environment is None else environment
        wanted = named or variables.get(_VARIABLE, "")
        if wanted:
            if not os.access(wanted, os.X_OK) or not Path(wanted).is_file():
                raise ConfigError(f"no OPA at {wanted}", remedy=f"mend --opa or {_VARIABLE}; --opa none does without")
            return cls(Path(wanted).absolute())
        found = shutil.which("opa", path=variables.get("PATH"))
        return cls(Path(found).absolute()) if found else None

    def version(self) -> str:
        """Its version, such as `1.22.2`.

        Raises:
            ConfigError: it is no OPA.
        """
        out = self.run("version").stdout
        for line in out.splitlines():
            if line.startswith("Version: "):
                return line.removeprefix("Version: ").strip()
        raise ConfigError(f"{self.path} is no OPA", remedy="name another with --opa, or --opa none")

    def run(self, *arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
        """Run a command.

        Raises:
            ConfigError: it cannot be started, or does not end in time.
        """
        try:
            return subprocess.run(
                [str(self.path), *arguments],
                cwd=cwd,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=_DEADLINE_S,
                check=False,
            )
        except (OSError, subprocess.TimeoutExpired) as error:
            raise ConfigError(f"{self.path} does not work: {error}", remedy="name another with --opa") from error

    def evaluate(
        self, files: Mapping[str, str], data: Any, documents: Sequence[Any], *, query: str, folder: Path, cover: bool
    ) -> tuple[list[Any], Mapping[str, Any]]:
        """The values of a rule for many inputs, in one process.

        Args:
            files: modules by name.
            data: the data document.
            documents: the inputs.
            query: the rule, such as `data.tdz.main.decision`.
            folder: an empty directory to work in.
            cover: report which lines were evaluated.

        Returns:
            One value for each document, None where it is undefined; the coverage report.

        Raises:
            ConfigError: OPA refuses the policy.
        """
        for name, text in files.items():
            path = folder / name
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_text(text, "utf-8")
        (folder / "data.json").write_text(json.dumps(data), "utf-8")
        (folder / "inputs.txt").write_text(json.dumps(list(documents)), "utf-8")
        asked = f"[[d | d := {query} with input as document] | some document in input]"
        coverage = ["--coverage", "--coverage-runs", ""] if cover else []
        done = self.run("eval", "-b", ".", "-i", "inputs.txt", "-f", "json", *coverage, asked, cwd=folder)
        try:
            report = json.loads(done.stdout)
            values = report["result"][0]["expressions"][0]["value"]
        except (ValueError, KeyError, IndexError) as error:
            said = " ".join((done.stderr or done.stdout).split())[:500]
            raise ConfigError(f"OPA gives no answer: {said}", remedy="run `tdz policy check`") from error
        return [each[0] if each else None for each in values], report.get("coverage", {})
