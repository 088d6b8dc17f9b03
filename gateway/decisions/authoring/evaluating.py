"""Many inputs on one policy: raw answers of the entrypoint, several engines side by side.

What the gateway adds to a policy's answer (terms, obligations that it cannot fulfil) is left out: here policy is looked
at alone.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass
from itertools import islice
from typing import Any, Final

from gateway.decisions.compile_errors import readable
from gateway.decisions.engine import EmbeddedEngine
from gateway.decisions.policy_set import ZonePolicy
from gateway.errors import ConfigError, DecisionUnavailableError, InputError
from gateway.model import canonical
from gateway.model.decision import Effect, Finding
from gateway.model.obligation import Obligation

Progress = Callable[[int], None]
"""Called with the number of inputs that are done."""

ENGINES: Final = max(1, min(8, os.cpu_count() or 1))
DEADLINE_S: Final = 15.0
"""More than a gateway gives: here nobody waits but the author, perhaps on a machine that does much else."""
_BATCH: Final = 256


@dataclass(frozen=True, slots=True)
class Answer:
    """What a policy says to one input.

    Args:
        effect: a failing engine, or an answer that is none, denies.
        findings: the policy's own.
        obligations: the policy's own.
        failure: why there is no answer; "" where there is one.
    """

    effect: Effect
    findings: tuple[Finding, ...] = ()
    obligations: tuple[Obligation, ...] = ()
    failure: str = ""

    @property
    def codes(self) -> tuple[str, ...]:
        """The codes of the findings, sorted, each once."""
        return tuple(sorted({finding.code for finding in self.findings}))

    @property
    def kinds(self) -> tuple[str, ...]:
        """The kinds of the obligations, sorted, each once."""
        return tuple(sorted({obligation.kind for obligation in self.obligations}))

    def to_json(self) -> dict[str, Any]:
        """What is compared, as plain JSON values."""
        document = {"effect": self.effect, "codes": [*self.codes], "obligations": [*self.kinds]}
        return {**document, "failure": self.failure} if self.failure else document

    @classmethod
    def read(cls, value: object) -> Answer:
        """An engine's value, read as strictly as a gateway reads it."""
        try:
            if not isinstance(value, Mapping):
                raise InputError("the policy gave no result" if value is None else "the answer is no object")
            if value.get("effect") not in {"allow", "review", "deny"}:
                raise InputError("its effect is none")
            return cls(
                value["effect"],
                tuple(Finding.from_json(each) for each in value["findings"]),
                tuple(Obligation.from_json(each) for each in value["obligations"]),
            )
        except (InputError, KeyError, TypeError) as error:
            text = error.message if isinstance(error, InputError) else f"{type(error).__name__}: {error}"
            return cls("deny", failure=text)


class Evaluators:
    """Embedded engines for one policy, as many as there are cores; each crash or hang costs one input.

    Use as an asynchronous context.

    Args:
        policy: what is evaluated.
        engines: how many.
    """

    def __init__(self, policy: ZonePolicy, *, engines: int = 1) -> None:
        self._modules = policy.modules
        self._engines = [EmbeddedEngine(policy, deadline_s=DEADLINE_S) for _ in range(engines)]
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> Evaluators:
        """Start the engines.

        Raises:
            ConfigError: the policy does not compile.
            DecisionUnavailableError: an engine cannot be started.
        """
        try:
            for engine in self._engines:
                self._stack.push_async_callback(engine.close)
                await engine.start()
        except BaseException as error:
            await self._stack.aclose()
            if isinstance(error, ConfigError):
                raise readable(error, self._modules) from error
            raise
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    async def one(self, document: object) -> Answer:
        """The answer to one document."""
        return await self._ask(self._engines[0], canonical.encode(document))  # type: ignore[arg-type]

    async def every(self, inputs: Iterable[bytes]) -> AsyncIterator[Answer]:
        """The answers to JSON documents, in their order; a few hundred are held at a time."""
        source: Iterator[bytes] = iter(inputs)
        while batch := list(islice(source, _BATCH)):
            answers: list[Answer | None] = [None] * len(batch)
            left = iter(range(len(batch)))
            await asyncio.gather(*(self._drain(engine, batch, answers, left) for engine in self._engines))
            for answer in answers:
                if answer is not None:
                    yield answer

    async def _drain(
        self, engine: EmbeddedEngine, batch: list[bytes], answers: list[Answer | None], left: Iterator[int]
    ) -> None:
        for place in left:
            answers[place] = await self._ask(engine, batch[place])

    @staticmethod
    async def _ask(engine: EmbeddedEngine, document: bytes) -> Answer:
        try:
            return Answer.read(await engine.evaluate(document))
        except DecisionUnavailableError as error:
            return Answer("deny", failure=error.message)
