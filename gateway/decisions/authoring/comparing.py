"""Two policies on the same inputs: which verdicts flip. `diff` compares directories, `backtest` one with the record.

Recorded decisions are compared without what the gateway itself added to them (terms, peers, clocks): those findings
have no rule in either policy.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable, Iterable, Iterator, Mapping
from contextlib import AsyncExitStack
from dataclasses import dataclass, field
from itertools import islice
from typing import Any, Final

from gateway.decisions.authoring.evaluating import ENGINES, Answer, Evaluators
from gateway.decisions.cases import Case
from gateway.decisions.kept_policy import words_of
from gateway.decisions.log.record import Record
from gateway.decisions.policy_set import ZonePolicy
from gateway.model import canonical
from gateway.model.decision import EFFECTS, strictest

FLIPS_SHOWN: Final = 1_000
_AHEAD: Final = 512

Progress = Callable[[int], None]


@dataclass(frozen=True, slots=True)
class Flip:
    """One input on which the verdict changes.

    Args:
        name: a case's name, or a decision's id.
        input_digest: SHA-256 of the input.
        before: the old verdict.
        after: the new one.
    """

    name: str
    input_digest: str
    before: Answer
    after: Answer

    @property
    def looser(self) -> bool:
        """Whether the new policy asks for less."""
        return EFFECTS.index(self.after.effect) < EFFECTS.index(self.before.effect)

    def to_json(self) -> dict[str, Any]:
        """The flip as plain JSON values."""
        return {
            "name": self.name,
            "input_digest": self.input_digest,
            "before": self.before.to_json(),
            "after": self.after.to_json(),
            "direction": "looser" if self.looser else "stricter" if self.before.effect != self.after.effect else "same",
        }


@dataclass(slots=True)
class Comparison:
    """What came of all inputs.

    Args:
        compared: inputs that both sides decided.
        skipped: inputs that could not be compared, by reason.
        flips: the first `FLIPS_SHOWN`.
        changes: how often each pair of effects came, as `allow -> deny`; pairs that are equal with other codes or
            obligations too.
    """

    compared: int = 0
    skipped: dict[str, int] = field(default_factory=dict)
    flips: list[Flip] = field(default_factory=list)
    changes: dict[str, int] = field(default_factory=dict)

    @property
    def flipped(self) -> int:
        """How many inputs flipped."""
        return sum(self.changes.values())

    def add(self, name: str, input_digest: str, before: Answer, after: Answer) -> None:
        """Count one input."""
        self.compared += 1
        if _verdict(before) == _verdict(after):
            return
        change = f"{before.effect} -> {after.effect}"
        self.changes[change] = self.changes.get(change, 0) + 1
        if len(self.flips) < FLIPS_SHOWN:
            self.flips.append(Flip(name, input_digest, before, after))

    def skip(self, reason: str) -> None:
        """Count one input that cannot be compared."""
        self.skipped[reason] = self.skipped.get(reason, 0) + 1

    def to_json(self) -> dict[str, Any]:
        """The result as plain JSON values."""
        return {
            "compared": self.compared,
            "flipped": self.flipped,
            "changes": dict(sorted(self.changes.items())),
            "skipped": dict(sorted(self.skipped.items())),
            "flips": [flip.to_json() for flip in self.flips],
        }


async def compare_cases(old: ZonePolicy, new: ZonePolicy, cases: Iterable[Case], into: Comparison) -> None:
    """Put cases to both policies.

    Raises:
        ConfigError: a policy does not compile.
        DecisionUnavailableError: an engine cannot be started.
    """
    await _compare(old, new, ((case.name, _digest(case.document), case.document) for case in cases), into)


async def compare_inputs(old: ZonePolicy, new: ZonePolicy, records: Iterable[Record], into: Comparison) -> None:
    """Put recorded inputs to both policies, whatever was decided on them; errors as `compare_records`."""
    inputs = ((each.id, each.decision.input_digest, each.input) for each in _usable(records, into))
    await _compare(old, new, inputs, into)


async def _compare(old: ZonePolicy, new: ZonePolicy, inputs: Iterable[tuple[str, str, Any]], into: Comparison) -> None:
    source = iter(inputs)
    async with Evaluators(old) as before, Evaluators(new) as after:
        while batch := list(islice(source, _AHEAD)):
            documents = [_encoded(document) for _, _, document in batch]
            one, other = await asyncio.gather(_all(before, documents), _all(after, documents))
            for (name, digest, _), was, answer in zip(batch, one, other, strict=True):
                into.add(name, digest, was, answer)


async def _all(evaluators: Evaluators, documents: list[bytes]) -> list[Answer]:
    return [answer async for answer in evaluators.every(documents)]


async def compare_records(
    new: ZonePolicy,
    records: Iterable[Record],
    into: Comparison,
    *,
    kept: Callable[[str], ZonePolicy | None],
    progress: Progress,
) -> None:
    """Put recorded inputs to a policy, and compare with what was recorded.

    Args:
        new: the policy that is tried.
        records: of the zone's decision log; masked ones, and those that policy did not decide, are skipped.
        into: where it is counted.
        kept: the policies that were in force, by their digest.
        progress: hears of each some hundred inputs.

    Raises:
        ConfigError: a policy does not compile.
        DecisionUnavailableError: an engine cannot be started.
        IntegrityError, StorageError: the log cannot be read.
    """
    async with Evaluators(new, engines=ENGINES) as after, _Past(new, kept) as past:
        done = 0
        async for batch in _batches(_usable(records, into)):
            documents = [_encoded(record.input) for record in batch]
            place = 0
            async for answer in after.every(documents):
                record, was = batch[place], past.recorded(batch[place])
                if _only_bound_more(was, answer):
                    was = await past.decided_again(record, documents[place]) or was
                into.add(record.id, record.decision.input_digest, was, answer)
                place += 1
            done += len(batch)
            progress(done)


class _Past:
    """What policy alone had said to a recorded input.

    The gateway adds to what policy says: findings, which no code document of that policy explains, and an owner's
    obligations, which nothing tells from policy's. Where that alone would make a difference, the policy of then is
    asked again.
    """

    def __init__(self, new: ZonePolicy, kept: Callable[[str], ZonePolicy | None]) -> None:
        self._kept = kept
        self._policies: dict[str, ZonePolicy | None] = {}
        self._words: dict[str, Mapping[str, str]] = {}
        self._new_words = words_of(new)
        self._evaluators: dict[str, Evaluators] = {}
        self._stack = AsyncExitStack()

    async def __aenter__(self) -> _Past:
        return self

    async def __aexit__(self, *_error: object) -> None:
        await self._stack.aclose()

    def recorded(self, record: Record) -> Answer:
        """The record without the gateway's own findings."""
        decision = record.decision
        words = self._of(decision.policy_digest)
        own = tuple(each for each in decision.findings if words.get(each.code, "") == each.cite)
        if len(own) == len(decision.findings):
            return Answer(decision.effect, own, decision.obligations)
        return Answer(strictest(finding.effect for finding in own), own, decision.obligations)

    async def decided_again(self, record: Record, document: bytes) -> Answer | None:
        """What the policy of then says; None where it was not kept."""
        digest = record.decision.policy_digest
        if digest not in self._evaluators:
            policy = self._policy(digest)
            if policy is None:
                return None
            self._evaluators[digest] = await self._stack.enter_async_context(Evaluators(policy))
        return await anext(self._evaluators[digest].every([document]))

    def _of(self, digest: str) -> Mapping[str, str]:
        if digest not in self._words:
            policy = self._policy(digest)
            self._words[digest] = self._new_words if policy is None else words_of(policy)
        return self._words[digest]

    def _policy(self, digest: str) -> ZonePolicy | None:
        if digest not in self._policies:
            self._policies[digest] = self._kept(digest)
        return self._policies[digest]


def _only_bound_more(was: Answer, answer: Answer) -> bool:
    return (was.effect, was.codes) == (answer.effect, answer.codes) and set(was.kinds) > set(answer.kinds)


def _usable(records: Iterable[Record], into: Comparison) -> Iterator[Record]:
    for record in records:
        codes = {finding.code for finding in record.decision.findings}
        if not record.decision.policy_digest:
            into.skip("the gateway refused by itself, without policy")
        elif record.input is None or record.erased:
            into.skip("masked")
        elif "TDZ-DECISION-UNAVAILABLE" in codes:
            into.skip("the engine had failed")
        else:
            yield record


async def _batches(records: Iterator[Record]) -> AsyncIterator[list[Record]]:
    """Read ahead in a thread: reading and parsing a large log takes its time."""
    ahead = asyncio.ensure_future(asyncio.to_thread(lambda: list(islice(records, _AHEAD))))
    try:
        while batch := await ahead:
            ahead = asyncio.ensure_future(asyncio.to_thread(lambda: list(islice(records, _AHEAD))))
            yield batch
    finally:
        await asyncio.gather(ahead, return_exceptions=True)


def _verdict(answer: Answer) -> tuple[Any, ...]:
    return answer.effect, answer.codes, answer.kinds if answer.effect != "deny" else (), answer.failure


def _encoded(document: Any) -> bytes:
    return json.dumps(document, ensure_ascii=False, separators=(",", ":")).encode()


def _digest(document: Any) -> str:
    try:
        return canonical.digest(document)
    except canonical.CanonicalError:
        return ""
