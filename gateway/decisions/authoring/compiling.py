"""What the embedded engine says to a policy: it compiles, and it gives a decision in each zone."""

from __future__ import annotations

import json
from dataclasses import replace
from typing import Final

from gateway.decisions.authoring.evaluating import DEADLINE_S
from gateway.decisions.authoring.problem import Problem
from gateway.decisions.compile_errors import read
from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.example import example
from gateway.decisions.policy_set import PolicySet, ZonePolicy
from gateway.errors import ConfigError, DecisionUnavailableError

_ROUNDS: Final = 8
_REMEDY: Final = "mend the syntax at this place; an `opa` binary would say more"


async def problems(policy_set: PolicySet, zones: list[str]) -> list[Problem]:
    """Compile what each zone loads, and decide on an example.

    Raises:
        DecisionUnavailableError: the engine cannot be started.
    """
    found: dict[Problem, None] = {}
    for zone in zones:
        try:
            policy = policy_set.for_zone(zone)
        except ConfigError as error:
            found[Problem("", 0, error.message, error.remedy or "mend it", "compile")] = None
            continue
        found.update(dict.fromkeys(await _compiled(policy)))
    return list(found)


async def _compiled(policy: ZonePolicy) -> list[Problem]:
    """Each module that does not parse is named, left out, and the rest compiled again."""
    found: list[Problem] = []
    modules = dict(policy.modules)
    for _ in range(_ROUNDS):
        engine = EmbeddedEngine(replace(policy, modules=modules), deadline_s=DEADLINE_S)
        try:
            await engine.start()
            return found or await _decides(engine, policy.zone)
        except ConfigError as error:
            said = [Problem(e.file, e.line, e.text, _REMEDY, "compile") for e in read(error.message, modules)]
            if not said:
                return [*found, Problem("", 0, error.message, "mend what it names", "compile")]
            found += said
            modules = {name: text for name, text in modules.items() if name not in {each.file for each in said}}
        finally:
            await engine.close()
    return found


async def _decides(engine: EmbeddedEngine, zone: str) -> list[Problem]:
    """A policy that compiles and gives no decision would deny everything, without a reason."""
    try:
        answer = await engine.evaluate(json.dumps(example()).encode())
        wrong = "" if isinstance(answer, dict) and "effect" in answer else "the entrypoint gives no decision"
    except DecisionUnavailableError as error:
        wrong = error.message
    if not wrong:
        return []
    text = f"in the zone {zone} no decision is made: {wrong}"
    return [Problem("", 0, text, "look for a rule of one name that is both `contains` and `:=`", "compile")]
