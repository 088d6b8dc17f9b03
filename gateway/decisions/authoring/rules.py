"""Which rule a finding came from: its code may be one that several parts of a pack share."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, replace
from typing import Any, Final

from gateway.decisions import codes
from gateway.decisions.authoring.evaluating import DEADLINE_S
from gateway.decisions.authoring.problem import line_of
from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import ConfigError, DecisionUnavailableError
from gateway.model import canonical

_MARK: Final = "# METADATA"


@dataclass(frozen=True, slots=True)
class Rule:
    """Where a finding is made: file, line, and the title of its code's METADATA."""

    file: str
    line: int
    title: str


async def rules_of(policy: ZonePolicy, document: Mapping[str, Any], wanted: Collection[str]) -> dict[str, Rule]:
    """The rule of each code: that of the part which has the finding on this input, where several name the code.

    Args:
        policy: that decided.
        document: what it decided on.
        wanted: codes of the decision's findings.

    Returns:
        by code; codes that the gateway itself gives are not there.
    """
    titles: dict[str, str] = {}
    named: dict[str, list[str]] = {code: [] for code in wanted}
    for name, text in sorted(policy.modules.items()):
        here = _titles(text)
        titles |= here
        for code in wanted:
            if code in here or _head(code) in text:
                named[code].append(name)
    shared = {name for modules in named.values() if len(modules) > 1 for name in modules}
    said = {name: await _codes_of(policy, name, document) for name in sorted(shared)}
    return {
        code: _rule(policy, code, titles.get(code, ""), [m for m in modules if code in said.get(m, ())] or modules)
        for code, modules in named.items()
        if modules
    }


def _titles(text: str) -> dict[str, str]:
    """The title of each code that a module explains."""
    blocks = [each for each in codes.annotation_blocks(text) if "code" in each.get("custom", {})]
    return {str(each["custom"]["code"]): str(each.get("title", "")) for each in blocks}


def _head(code: str) -> str:
    return f'"code": "{code}"'


async def _codes_of(policy: ZonePolicy, module: str, document: Mapping[str, Any]) -> set[str]:
    """The codes of the findings of a module's package; none where it has no findings to ask for."""
    entrypoint = f"{module.rpartition('/')[0]}/findings"
    engine = EmbeddedEngine(replace(policy, entrypoint=entrypoint), deadline_s=DEADLINE_S)
    try:
        await engine.start()
        found = await engine.evaluate(canonical.encode(dict(document)))
    except (ConfigError, DecisionUnavailableError):
        return set()
    finally:
        await engine.close()
    return {str(each.get("code")) for each in found if isinstance(each, dict)} if isinstance(found, list) else set()


def _rule(policy: ZonePolicy, code: str, title: str, modules: list[str]) -> Rule:
    """The first rule of the first module: where its METADATA begins, or else its head."""
    text = policy.modules[modules[0]]
    at = 0
    for annotation in codes.annotation_blocks(text):
        at = text.index(_MARK, at) + 1
        if annotation.get("custom", {}).get("code") == code:
            return Rule(modules[0], line_of(text, at), title)
    return Rule(modules[0], line_of(text, text.index(_head(code))), title)
