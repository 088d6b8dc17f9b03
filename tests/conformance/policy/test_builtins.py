"""Every builtin that policy may call says the same on both engines, argument by argument.

OPA's own compliance suite (`v1`, 2,067 cases as copied by swift-opa in July 2026) was run once on regopy 1.5.2: of
the 1,067 cases that use allowed builtins only, 1,061 agree, five ask for annotations, which no policy here can, and
one needs strict errors. What stands here is smaller and generated, so that another version of either engine, or
another builtin in `capabilities.json`, is looked at in the same way.
"""

from __future__ import annotations

import json
import random
import subprocess
from itertools import product
from pathlib import Path
from typing import Any

import pytest

from gateway.decisions.worker import Evaluator, compiled

_CAPABILITIES = json.loads((Path(__file__).resolve().parents[3] / "policy/capabilities.json").read_text("utf-8"))
_BUILTINS = {builtin["name"]: builtin for builtin in _CAPABILITIES["builtins"]}
_CALLS_MAX = 400
_SYNTAX = {"assign", "eq"}  # not functions: they bind

_NUMBERS = [0, 1, -1, 2, 3, 7, 10, 255, -86_400, 1_000_003, 9_007_199_254_740_991, 1.5, -2.5, 0.25]
_TEXTS = [
    "",
    "a",
    "b",
    "ab",
    "abc",
    "A",
    "a.b",
    "x/y",
    "/",
    "aaa",
    "\u00e9\u00e0",
    "\u5317\u4eac",
    "\U0001f600",
    " a ",
    "it's <b>&",
    "e\u0301\u2028\u0085",
    "10",
    "a b c",
]
_ARRAYS = [[], [1], [1, 2, 3], [3, 1, 2, 1], ["b", "a"], [[1], [2]], [None], [True, False], [{"a": 1}]]
_OBJECTS = [{}, {"a": 1}, {"a": 1, "b": {"c": [1, 2]}}, {"": None}, {"b": 2, "a": [1]}]
_OTHERS = [None, True, False]
# What one engine takes for an argument and the other refuses must not decide: all kinds are tried on each place.
_ODD = [None, True, "a", 1, [1], {"a": 1}]
_WHOLE = [n for n in _NUMBERS if isinstance(n, int)]
_SAME_KIND = [[1, 2, 3], [3, 1, 2, 1], [], ["b", "a", "c"], [7], [-1, 0], ["x"]]

# Where a builtin does not agree on all that its declaration allows, what it agrees on; the policy's rules keep to it.
_TAMED: dict[str, list[list[Any]]] = {
    "concat": [["", ",", "ab"], [[], ["a"], ["a", "b"], ["b", "", "\u5317"], [1], None]],  # not over sets: their order
    "sort": [_SAME_KIND],
    "min": [_SAME_KIND],
    "max": [_SAME_KIND],
    **{name: [_WHOLE, _WHOLE] for name in ("lt", "lte", "gt", "gte")},
    "time.date": [[0, 1, -1, 1_795_305_600, 951_782_400, 4_102_444_800, "a", None]],
    "time.add_date": [
        [0, 1_709_164_800, 1_795_305_600, 951_782_400],
        [0, 1, 3, -1, 100],
        [0, 1, 13, -1],
        [0, 1, -1, 31, 366],
    ],
    "div": [
        [0, 1, -7, 12, 1_000_000_000, 1_795_305_600, "a", None],
        [0, 1, 2, -4, 1_000, "a", None],
    ],  # exact quotients
    "mul": [[0, 1, -1, 3, 1_795_305_600, 0.5, "a", None], [0, 1, 2, -4, 1_000_000_000, "a", None]],  # below 2**63
    "numbers.range": [[0, 1, -3, 5, 10], [0, 1, -3, 5, 10]],
    "substring": [_TEXTS, [0, 1, 2, 5], [-1, 0, 1, 2, 9]],
    "round": [_NUMBERS],
    "product": [[*_SAME_KIND[:2], [], [7], [-1, 0]]],
    "sum": [[*_SAME_KIND[:2], [], [7], [-1, 0]]],
}


def _pool(declared: dict[str, Any]) -> list[Any]:
    kind = declared.get("type", "any")
    if kind == "any" and "of" in declared:
        return [value for option in declared["of"] for value in _pool(option)]
    return {
        "number": _NUMBERS,
        "string": _TEXTS,
        "boolean": [True, False],
        "null": [None],
        "array": _ARRAYS,
        "set": [{"set": array} for array in _ARRAYS],
        "object": _OBJECTS,
    }.get(kind, [*_NUMBERS[:4], *_TEXTS[:4], *_ARRAYS[:4], *_OBJECTS[:3], *_OTHERS])


def _calls(name: str) -> list[list[Any]]:
    declared = _BUILTINS[name]["decl"].get("args", [])
    pools = _TAMED.get(name) or [_pool(argument) for argument in declared]
    calls = [list(call) for call in product(*pools)] if len(pools) < 3 else []
    chosen = random.Random(name)
    if len(calls) > _CALLS_MAX or not calls:
        calls = [[chosen.choice(pool) for pool in pools] for _ in range(_CALLS_MAX)]
    if name not in _TAMED:
        for place in range(len(pools)):
            for odd in _ODD:
                call = [chosen.choice(pool) for pool in pools]
                call[place] = odd
                calls.append(call)
    return calls


def _term(value: Any) -> str:
    """A Rego term; sets have no JSON."""
    if isinstance(value, dict) and set(value) == {"set"}:
        return "{" + ", ".join(map(_term, value["set"])) + "}" if value["set"] else "set()"
    return json.dumps(value, ensure_ascii=False)


def _called(name: str, arguments: list[str]) -> str:
    if name in {"internal.member_2", "internal.member_3"}:
        return f"({', '.join(arguments[:-1])} in {arguments[-1]})"
    infix = _BUILTINS[name].get("infix")
    return f"({arguments[0]} {infix} {arguments[1]})" if infix else f"{name}({', '.join(arguments)})"


def _module(name: str, calls: list[list[Any]]) -> str:
    """Arguments come as data, as facts do, but for sets; nothing is folded away when it compiles."""
    lines = ["package tdz.main", ""]
    for number, call in enumerate(calls):
        places = [
            f"{{x | some x in input.calls[{number}][{place}]}}"
            if isinstance(value, dict) and set(value) == {"set"}
            else f"input.calls[{number}][{place}]"
            for place, value in enumerate(call)
        ]
        if name.startswith("time."):  # seconds, as in an input; nanoseconds are past what JSON carries exactly
            places[0] = f"{places[0]} * 1000000000"
        lines.append(f'decision["{number}"] := x if x := {_called(name, places)}\n')
    return "\n".join(lines)


def _plain(call: list[Any]) -> list[Any]:
    return [value["set"] if isinstance(value, dict) and set(value) == {"set"} else value for value in call]


@pytest.mark.parametrize("name", sorted(set(_BUILTINS) - _SYNTAX))
def test_a_builtin_says_the_same_on_both_engines(name, opa, tmp_path):
    calls = _calls(name)
    text = _module(name, calls)
    document = {"calls": [_plain(call) for call in calls]}
    sources = {"modules": {"m.rego": text}, "data": {}, "entrypoint": "tdz/main/decision"}
    ours = json.loads(Evaluator(compiled(sources), "tdz/main/decision").evaluate(document)).get("result", {})
    (tmp_path / "m.rego").write_text(text, "utf-8")
    (tmp_path / "input.json").write_text(json.dumps(document), "utf-8")
    run = subprocess.run(
        [opa, "eval", "-d", "m.rego", "-i", "input.json", "-f", "json", "data.tdz.main.decision"],
        capture_output=True,
        check=True,
        cwd=tmp_path,
    )
    theirs = json.loads(run.stdout)["result"][0]["expressions"][0]["value"]
    assert theirs, "nothing that was asked has an answer"
    different = [
        (f"{_called(name, list(map(_term, call)))}", ours.get(str(number)), theirs.get(str(number)))
        for number, call in enumerate(calls)
        if _kind(ours.get(str(number), _NOTHING)) != _kind(theirs.get(str(number), _NOTHING))
    ]
    assert different == [], f"{len(different)} of {len(calls)} calls"
    print(f"{name}: {len(calls)} calls, {len(theirs)} with an answer")


_NOTHING = object()


def _kind(value: Any) -> str:
    """Equal as JSON: 1 and true differ, 1 and 1.0 do not."""
    return (
        "undefined" if value is _NOTHING else json.dumps(value, sort_keys=True).replace(".0,", ",").removesuffix(".0")
    )
