"""Everything that is checked of a policy directory, and by what."""

from __future__ import annotations

import json
import re
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from gateway.decisions import capabilities, cases, codes, input_fields, variables
from gateway.decisions.authoring import by_opa, compiling, dates, layout, metadata, style
from gateway.decisions.authoring.opa_binary import OpaBinary
from gateway.decisions.authoring.problem import Problem
from gateway.decisions.authoring.sources import Sources
from gateway.decisions.log.mask import Mask
from gateway.errors import ConfigError

_PLACE: Final = re.compile(r"(?P<file>.+?), line (?P<line>\d+): (?P<text>.*)")
_MASK: Final = re.compile(r"tdz/zone/[^/]+/log/data\.json")


@dataclass(frozen=True, slots=True)
class Checked:
    """What was found, and which check was made by what.

    Args:
        problems: sorted by file and line.
        made_by: for each check `own`, `embedded engine`, or the OPA's version.
    """

    problems: tuple[Problem, ...]
    made_by: dict[str, str]

    @property
    def errors(self) -> int:
        """Problems that refuse the policy."""
        return sum(problem.level == "error" for problem in self.problems)

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": not self.errors,
            "problems": [problem.to_json() for problem in self.problems],
            "made_by": dict(self.made_by),
        }


async def check(root: Path, *, opa: OpaBinary | None, now: int) -> Checked:
    """Check a policy directory.

    Args:
        root: the directory, in the layout of the shipped policy.
        opa: a binary that checks more; own checks stand in where there is none.
        now: Unix seconds UTC, for dates.

    Raises:
        ConfigError: no such directory, or the binary does not work.
        DecisionUnavailableError: the embedded engine cannot be started.
    """
    sources = Sources.read(root)
    found = [*read(sources, now=now)]
    made_by = {
        "roots": "own",
        "metadata": "own",
        "dates": "own",
        "cases": "own",
        "mask": "own",
        "capabilities": "own",
        "schema": "own: the fields that rules read",
        "format": "own: indentation and ends of lines only",
        "strict": "own: imports, shadowed documents, variables without a value",
        "compile": "embedded engine",
    }
    try:
        policy_set = sources.policy_set()
        found += await compiling.problems(policy_set, zones(sources))
    except ConfigError as error:
        if not found:
            found.append(Problem("", 0, error.message, error.remedy or "mend it", "files"))
        made_by["compile"] = "nothing, since a gateway would not load the directory"
    if opa is not None:
        version = f"OPA {opa.version()}"
        found += by_opa.problems(sources, opa)
        made_by |= {
            "format": version,
            "strict": version,
            "schema": f"own, {version}",
            "capabilities": f"own, {version}",
        }
    return Checked(tuple(_once(found)), made_by)


def read(sources: Sources, *, now: int) -> Iterator[Problem]:
    """What is found by reading alone, without an engine.

    Args:
        sources: the policy directory.
        now: Unix seconds UTC, for dates.
    """
    yield from sources.unreadable
    yield from layout.problems(sources)
    yield from metadata.problems(sources)
    yield from _fields(sources)
    yield from _variables(sources)
    yield from style.problems(sources)
    yield from dates.problems(sources, now=now)
    yield from _forbidden(sources)
    yield from _cases(sources)
    yield from _masks(sources)


def fix(root: Path, *, opa: OpaBinary | None) -> None:
    """Write the code documents from the METADATA; format where there is an OPA.

    Raises:
        ConfigError: the METADATA cannot be read, or the files not written.
    """
    sources = Sources.read(root)
    try:
        codes.write(root)
    except OSError as error:
        raise ConfigError(f"{root} cannot be written: {error.strerror}", remedy="check its rights") from error
    if opa is not None:
        by_opa.fix_format(sources, opa)


def zones(sources: Sources) -> list[str]:
    """The zones that the registry names."""
    registry, _ = layout.document(sources, layout.REGISTRY)
    return sorted(zone for zone, entry in registry.items() if isinstance(entry, dict))


def _fields(sources: Sources) -> Iterator[Problem]:
    """What rules read of the input and no input has."""
    for found in input_fields.unknown_fields(sources.rules):
        yield Problem(found.module, found.line, found.text, input_fields.REMEDY, "schema")


def _variables(sources: Sources) -> Iterator[Problem]:
    """Variables that never get a value."""
    for found in variables.unbound(sources.rules):
        yield Problem(found.module, found.line, found.text, variables.REMEDY, "strict")


def _forbidden(sources: Sources) -> Iterator[Problem]:
    """What a gateway would refuse to load, the first of each module: forbidden calls, packages of others."""
    text = sources.texts.get("capabilities.json")
    if text is None:
        return
    try:
        allowed = capabilities.allowed_builtins(text.encode())
    except ConfigError as error:
        yield Problem("capabilities.json", 0, error.message, "copy it from the shipped policy", "capabilities")
        return
    modules = sources.rules
    for _ in range(len(modules) + 1):
        try:
            capabilities.check(modules, allowed)
            return
        except ConfigError as error:
            place = _PLACE.fullmatch(error.message)
            name = next((each for each in modules if error.message.startswith((f"{each},", f"{each}:"))), "")
            if name or len(modules) == len(sources.rules):  # of what is left of a zone nothing more can be said
                line, said = (int(place["line"]), place["text"]) if place else (0, error.message)
                said = said.removeprefix(f"{name}: ")
                yield Problem(name, line, said, error.remedy, "capabilities")
            if not name:
                return
            modules = {each: text for each, text in modules.items() if each != name}


def _cases(sources: Sources) -> Iterator[Problem]:
    """Cases that cannot be read, and parts of packs without any."""
    for path in sources.case_files:
        name = path.relative_to(sources.root).as_posix()
        try:
            names = [case.name for case in cases.load(path)]
        except ConfigError as error:
            text = error.message.removeprefix(f"{path}: ")
            yield Problem(name, 0, text, "write it as the cases of the shipped packs", "cases")
            continue
        for double in sorted({each for each in names if names.count(each) > 1}):
            yield Problem(name, 0, f"two cases are named {double!r}", "name one otherwise", "cases")
    covered = {path.parent.relative_to(sources.root).as_posix() for path in sources.case_files}
    for part in sorted({name.rsplit("/", 1)[0] for name in sources.rules if name.startswith("tdz/packs/")}):
        if part not in covered:
            yield Problem(
                f"{part}/cases.yaml", 0, "the part has no cases", "write what it must say", "cases", "warning"
            )


def _masks(sources: Sources) -> Iterator[Problem]:
    """What a zone leaves out of its decision log: one that cannot be understood leaves out every input whole."""
    for name, text in sources.texts.items():
        if _MASK.fullmatch(name):
            try:
                Mask.parse(json.loads(text))
            except ValueError as error:
                yield Problem(name, getattr(error, "lineno", 0), f"it is not JSON: {error}", "mend it", "mask")
            except ConfigError as error:
                yield Problem(name, 0, error.message, error.remedy, "mask")


def _once(found: list[Problem]) -> list[Problem]:
    """Sorted; where two checks name one line for one reason, the first of them stands."""
    kept: dict[tuple[str, int, str], Problem] = {}
    for problem in found:
        kept.setdefault((problem.file, problem.line, problem.check if problem.line else problem.text), problem)
    return sorted(kept.values())
