"""Cases run against a policy: what was expected, what was found, and which codes and lines were reached."""

from __future__ import annotations

import json
import re
import tempfile
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Final

from gateway.decisions import cases, codes
from gateway.decisions.authoring.evaluating import Answer, Evaluators
from gateway.decisions.authoring.opa_binary import OpaBinary
from gateway.decisions.authoring.sources import Sources
from gateway.decisions.cases import Case
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import ConfigError, InputError

ENGINE_NAMES: Final = ("embedded", "opa")
_QUERY: Final = "data.tdz.main.decision"


@dataclass(frozen=True, slots=True)
class Outcome:
    """One case and what came of it."""

    file: str
    case: Case
    found: Answer

    @property
    def passed(self) -> bool:
        """Whether effect, codes and obligations are exactly those expected."""
        case, found = self.case, self.found
        return not found.failure and (found.effect, set(found.codes), set(found.kinds)) == (
            case.effect,
            set(case.codes),
            set(case.obligations),
        )

    def differences(self) -> list[str]:
        """Expected against found, a line for each thing that differs."""
        case, found = self.case, self.found
        if found.failure:
            return [f"no decision: {found.failure}"]
        lines = [] if case.effect == found.effect else [f"effect: expected {case.effect}, found {found.effect}"]
        for what, expected, came in (
            ("code", set(case.codes), set(found.codes)),
            ("obligation", set(case.obligations), set(found.kinds)),
        ):
            lines += [f"{what}: expected {each}, not found" for each in sorted(expected - came)]
            lines += [f"{what}: found {each}, not expected{self._why(each)}" for each in sorted(came - expected)]
        return lines

    def _why(self, code: str) -> str:
        fields = sorted({path for each in self.found.findings if each.code == code for path in each.fields})
        return f" (it looked at {', '.join(fields)})" if fields else ""

    def to_json(self) -> dict[str, Any]:
        """The outcome as plain JSON values."""
        case = self.case
        expected = {"effect": case.effect, "codes": sorted(case.codes), "obligations": sorted(case.obligations)}
        return {
            "file": self.file,
            "name": case.name,
            "gateway": case.gateway,
            "passed": self.passed,
            "expected": expected,
            "found": self.found.to_json(),
        }


@dataclass(frozen=True, slots=True)
class Tested:
    """What came of all cases.

    Args:
        outcomes: in the order of files and cases.
        engine: which engine answered.
        codes: each code of the policy, and in how many cases it came.
        lines: for each module the lines that no case reached; empty without an OPA.
        covered: percent of the lines that cases reached; None without an OPA.
        rego: what `opa test` says to the Rego tests; "" without an OPA.
        rego_passed: whether they passed.
    """

    outcomes: tuple[Outcome, ...]
    engine: str
    codes: Mapping[str, int]
    lines: Mapping[str, Sequence[int]] = field(default_factory=dict)
    covered: float | None = None
    rego: str = ""
    rego_passed: bool = True

    @property
    def failed(self) -> int:
        """How many cases failed."""
        return sum(not outcome.passed for outcome in self.outcomes)

    @property
    def ok(self) -> bool:
        """Whether everything passed."""
        return not self.failed and self.rego_passed

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "ok": self.ok,
            "engine": self.engine,
            "cases": len(self.outcomes),
            "failed": self.failed,
            "outcomes": [outcome.to_json() for outcome in self.outcomes],
            "coverage": {
                "codes": dict(self.codes),
                "lines_percent": self.covered,
                "lines_not_reached": {name: list(lines) for name, lines in self.lines.items()},
            },
            "rego_tests": {"passed": self.rego_passed, "said": self.rego},
        }


def load_cases(sources: Sources, pattern: str = "") -> list[tuple[str, Case]]:
    """The cases of a directory whose file or name holds a pattern (a regular expression), with their files.

    Raises:
        ConfigError: a case cannot be read.
        InputError: the pattern is none.
    """
    try:
        wanted = re.compile(pattern)
    except re.error as error:
        raise InputError(f"{pattern} is no regular expression: {error}", remedy="name a part of a case") from error
    return [
        (name, case)
        for path in sources.case_files
        for name in [path.relative_to(sources.root).as_posix()]
        for case in _loaded(path, name)
        if wanted.search(name) or wanted.search(case.name)
    ]


def _loaded(path: Path, name: str) -> list[Case]:
    try:
        return list(cases.load(path))
    except ConfigError as error:
        raise ConfigError(error.message.replace(str(path), name), remedy="run `tdz policy check`") from error


async def run(root: Path, *, pattern: str = "", engine: str = "embedded", opa: OpaBinary | None = None) -> Tested:
    """Run the cases of a policy directory, and its Rego tests where an OPA is at hand.

    Args:
        root: the directory.
        pattern: only cases whose file or name holds it.
        engine: one of `ENGINE_NAMES`.
        opa: measures which lines the cases reach, and answers where `engine` is `opa`.

    Raises:
        ConfigError: the policy or a case cannot be loaded.
        InputError: no case is left, or there is no OPA for `engine`.
        DecisionUnavailableError: the engine cannot be started.
    """
    if engine not in ENGINE_NAMES or (engine == "opa" and opa is None):
        raise InputError(f"no engine {engine} here", remedy="embedded needs nothing; opa needs OPA_BIN, PATH or --opa")
    sources = Sources.read(root)
    chosen = load_cases(sources, pattern)
    if not chosen:
        remedy = "leave -k out, or see all names with -v" if pattern else "write cases.yaml files"
        raise InputError(f"no case{f' named {pattern}' if pattern else ''} in {root}", remedy=remedy)
    policy_set = sources.policy_set()
    found: dict[int, Answer] = {}
    lines: dict[str, set[int]] = {}
    reached: dict[str, set[int]] = {}
    for places in grouped([case for _, case in chosen]):
        documents = [chosen[place][1].document for place in places]
        policy = chosen[places[0]][1].policy(policy_set)
        if opa is not None:
            values, coverage = _by_opa(policy, documents, opa)
            _covered(coverage, sources, lines, reached)
        if engine == "opa":
            answers = [Answer.read(value) for value in values]
        else:
            answers = await _embedded(policy, documents)
        found.update(zip(places, answers, strict=True))
    outcomes = tuple(Outcome(file, case, found[place]) for place, (file, case) in enumerate(chosen))
    rego, passed = _rego_tests(root, opa) if opa is not None and not pattern else ("", True)
    all_lines, missed = sum(map(len, lines.values())), {n: sorted(lines[n] - reached[n]) for n in sorted(lines)}
    return Tested(
        outcomes,
        engine,
        _codes(root, outcomes),
        {name: numbers for name, numbers in missed.items() if numbers},
        round(100 * sum(map(len, reached.values())) / all_lines, 1) if all_lines else None,
        rego,
        passed,
    )


def grouped(chosen: Sequence[Case]) -> list[list[int]]:
    """The places of cases that one policy decides: of one zone, with the same packs taken away."""
    groups: dict[tuple[str, frozenset[str]], list[int]] = {}
    for place, case in enumerate(chosen):
        groups.setdefault((case.gateway, case.absent), []).append(place)
    return list(groups.values())


async def _embedded(policy: ZonePolicy, documents: Sequence[Any]) -> list[Answer]:
    async with Evaluators(policy) as evaluators:
        return [answer async for answer in evaluators.every(_encoded(each) for each in documents)]


def _encoded(document: Any) -> bytes:
    """Cases may hold what an input may not, such as a fraction: they are about just that."""
    return json.dumps(document, ensure_ascii=False).encode()


def _by_opa(policy: ZonePolicy, documents: Sequence[Any], opa: OpaBinary) -> tuple[list[Any], Mapping[str, Any]]:
    with tempfile.TemporaryDirectory() as folder:
        return opa.evaluate(policy.modules, policy.data, documents, query=_QUERY, folder=Path(folder), cover=True)


def _covered(
    coverage: Mapping[str, Any], sources: Sources, lines: dict[str, set[int]], reached: dict[str, set[int]]
) -> None:
    """Add one zone's report to the whole: a line counts as reached if any zone's cases reached it."""
    for name, file in coverage.get("files", {}).items():
        if name not in sources.texts:
            continue
        came, missed = _numbers(file.get("covered", ())), _numbers(file.get("not_covered", ()))
        lines.setdefault(name, set()).update(came | missed)
        reached.setdefault(name, set()).update(came)


def _numbers(ranges: Any) -> set[int]:
    return {number for each in ranges for number in range(each["start"]["row"], each["end"]["row"] + 1)}


def _codes(root: Path, outcomes: Sequence[Outcome]) -> dict[str, int]:
    counted = {code: 0 for document in codes.documents(root).values() for code in document}
    for outcome in outcomes:
        for code in outcome.found.codes:
            counted[code] = counted.get(code, 0) + 1
    return dict(sorted(counted.items()))


def _rego_tests(root: Path, opa: OpaBinary) -> tuple[str, bool]:
    done = opa.run("test", "--fail-on-empty", "-b", str(root))
    lines = [line for line in (done.stdout + done.stderr).splitlines() if line.strip()]
    return "\n".join(lines[-1:] if done.returncode == 0 else lines[-20:]), done.returncode == 0
