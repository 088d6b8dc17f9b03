"""`opa fmt` and `opa check --strict --schema --capabilities`, as problems."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from gateway.decisions.authoring.opa_binary import OpaBinary
from gateway.decisions.authoring.problem import Problem
from gateway.decisions.authoring.sources import Sources
from gateway.model.policy_input import json_schema


def problems(sources: Sources, opa: OpaBinary) -> Iterator[Problem]:
    """What OPA finds.

    Raises:
        ConfigError: the binary does not work.
    """
    yield from _checked(sources, opa)
    listed = opa.run("fmt", "--list", str(sources.root))
    for line in listed.stdout.splitlines():
        name = _name(sources.root, line.strip())
        if name in sources.texts:
            yield Problem(name, 0, "it is not formatted as opa fmt does", "run `tdz policy check --fix`", "format")


def fix_format(sources: Sources, opa: OpaBinary) -> None:
    """Write every module as `opa fmt` does; what does not parse stays as it is."""
    opa.run("fmt", "--write", str(sources.root))


def _checked(sources: Sources, opa: OpaBinary) -> Iterator[Problem]:
    capabilities = sources.root / "capabilities.json"
    with tempfile.TemporaryDirectory() as folder:
        (Path(folder) / "input.json").write_text(json.dumps(json_schema()), "utf-8")
        arguments = ["check", "--strict", "--format", "json", "--schema", folder, "-b", str(sources.root)]
        if capabilities.is_file():
            arguments += ["--capabilities", str(capabilities)]
        done = opa.run(*arguments)
    if done.returncode == 0:
        return
    try:
        report = json.loads(done.stdout or done.stderr)
    except ValueError:
        said = " ".join((done.stderr or done.stdout).split())[:500]
        yield Problem("", 0, f"opa check: {said}", "mend what it names", "strict")
        return
    yield from (_problem(sources.root, each) for each in report.get("errors", ()))


def _problem(root: Path, error: Any) -> Problem:
    place = error.get("location", {})
    text = " ".join(str(error.get("message", "")).split())
    forbidden = text.startswith("undefined function ")
    return Problem(
        _name(root, str(place.get("file", ""))),
        int(place.get("row", 0)),
        f"the builtin {text.removeprefix('undefined function ')} is not allowed, or unknown" if forbidden else text,
        "use only the builtins that policy/capabilities.json lists" if forbidden else _remedy(text),
        "capabilities" if forbidden else "schema" if "undefined ref" in text else "strict",
    )


def _remedy(text: str) -> str:
    """What mends the errors of the compiler that authors meet most."""
    for sign, remedy in (
        ("unsafe", "give the variable a value before it is used, or import what it names"),
        ("unused", "take it away, or name it _"),
        ("conflict", "write all rules of the name as `contains`, or all as one value"),
        ("undefined ref", "see `tdz policy example` for every field of the input"),
        ("parse", "mend the syntax at this place"),
    ):
        if sign in text:
            return remedy
    return "mend it at this place"


def _name(root: Path, file: str) -> str:
    try:
        return Path(file).resolve().relative_to(root.resolve()).as_posix()
    except ValueError:
        return file
