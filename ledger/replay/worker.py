"""regopy, alone in a process of its own: one policy and one input on standard input, one answer on standard output.

A stranger's policy can abort the engine, run for ever or take all memory; here it takes a process that has a deadline.
"""

from __future__ import annotations

import json
import os
import resource
import sys
from typing import Any, Final

_CPU_S: Final = 120


def _evaluate(order: dict[str, Any]) -> Any:
    from regopy import Input, Interpreter

    interpreter = Interpreter()
    for name, text in sorted(order["modules"].items()):
        interpreter.add_module(name, text)
    interpreter.add_data_json(json.dumps(order["data"]))
    bundle = interpreter.build(None, [order["entrypoint"]])
    interpreter.set_input(Input(order["input"]))
    output = interpreter.query_bundle_entrypoint(bundle, order["entrypoint"])
    if len(output) != 1 or len(output[0].expressions) != 1:
        raise ValueError(str(output)[:1_000])
    return output[0].expressions[0]


def main() -> int:
    """Answer one order."""
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_CPU, (_CPU_S, _CPU_S))
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)  # whatever the engine prints must not stand in the answer
    try:
        answer: dict[str, Any] = {"result": _evaluate(json.load(sys.stdin))}
    except Exception as error:
        answer = {"error": " ".join(f"{type(error).__name__}: {error}".split())[:1_000]}
    json.dump(answer, answers)
    answers.close()
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
