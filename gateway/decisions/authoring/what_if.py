"""Counterfactuals by trying: the input with one fact changed, put to the same policy again.

Nothing is derived from texts: what is said to mend a finding was evaluated, and the finding was gone. Whether the
changed fact would be true is for people to say.
"""

from __future__ import annotations

import copy
import datetime
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from typing import Any, Final, get_args

from pydantic import ValidationError

from gateway.decisions.authoring.evaluating import Answer, Evaluators
from gateway.decisions.authoring.paths import lookup, spot
from gateway.decisions.cases import put
from gateway.errors import DecisionUnavailableError
from gateway.model import canonical
from gateway.model.decision import Finding
from gateway.model.limits import MECHANISMS_PER_REQUEST
from gateway.model.policy_facts import CnMechanismKind, MyMechanismKind
from gateway.model.policy_input import PolicyInput, china_year, json_schema

_TRIES_MAX: Final = 600
_ITEMS_MAX: Final = 32
_YEAR_S: Final = 366 * 86_400
_ASKS: Final = frozenset({"deny", "review"})
_KINDS: Final = (*get_args(CnMechanismKind), *get_args(MyMechanismKind))


@dataclass(frozen=True, slots=True)
class Mend:
    """A change with which a finding would not stand.

    Args:
        change: one line.
        effect: the policy's effect then.
        codes: what would still be found, deny and review alone.
    """

    change: str
    effect: str
    codes: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Near:
    """A value at which the verdict changes, not far from the one that stands.

    Args:
        path: of the fact.
        value: as it stands.
        at: the first value with another verdict.
        effect: the effect there.
        codes: the findings there, deny and review alone.
    """

    path: str
    value: int
    at: int
    effect: str
    codes: tuple[str, ...]


class WhatIf:
    """Tries changes of one input.

    Args:
        evaluators: of the policy.
        document: the input, valid as it stands.
        answer: what the policy says to it.
    """

    def __init__(self, evaluators: Evaluators, document: Mapping[str, Any], answer: Answer) -> None:
        self._evaluators = evaluators
        self._document = document
        self._answer = answer
        self._tries = 0

    async def mends(self, finding: Finding) -> list[Mend]:
        """Changes of single facts that the finding looked at, each of which would do away with it."""
        found: list[tuple[str, str, Answer]] = []
        for path in finding.fields:
            value = lookup(self._document, path)
            if path == "mechanisms":
                tries = [(kind, [*value, _valid(kind, self._document)]) for kind in _KINDS]
                phrase = "there were a valid"
                if len(value) >= MECHANISMS_PER_REQUEST:
                    continue
            elif type(value) is int:
                found += await self._numbers(finding, path, value)
                continue
            else:
                tries = list(_alternatives(path, value))
                phrase = f"{path} were"
            for word, other in tries:
                answer = await self._with(path, other)
                if answer is not None and self._gone(finding, answer):
                    found.append((phrase, word, answer))
        return _grouped(found)

    async def near(self) -> list[Near]:
        """Where the verdict changes up to twice and down to half of each count, and within a year from now."""
        found = []
        for path, value in _counts(self._document):
            for bound in (max(1, 2 * value), value // 2):
                if bound != value and (edge := await self._edge(path, value, bound)):
                    found.append(edge)
        now = self._document["request"]["now"]
        if edge := await self._edge("request.now", now, now + _YEAR_S):
            found.append(edge)
        return found

    async def _numbers(self, finding: Finding, path: str, value: int) -> list[tuple[str, str, Answer]]:
        """The last value on either side with which the finding does not stand."""
        found = []
        for bound, word in ((self._least(path), "or less"), (max(10, 1_000 * value), "or more")):
            answer = None if bound == value else await self._with(path, bound)
            if answer is None or not self._gone(finding, answer):
                continue
            standing, gone, then = value, bound, answer
            while abs(gone - standing) > 1:
                middle = (gone + standing) // 2
                tried = await self._with(path, middle)
                if tried is not None and self._gone(finding, tried):
                    gone, then = middle, tried
                else:
                    standing = middle
            found.append((f"{path} were", f"{gone:,} {word}", then))
        return found

    def _least(self, path: str) -> int:
        """The least that a count may be: the year's persons are never fewer than the request's own."""
        facts = (self._document["dataset"] or {}).get("cn")
        if facts is None or not path.startswith("usage.cn."):
            return 0
        if path.endswith(".sensitive_after"):
            return int(facts["subjects_sensitive"])
        own = facts["subjects_non_sensitive"] + facts["subjects_sensitive"]
        return max(0, int(own - self._document["usage"]["cn"]["sensitive_after"]))

    async def _edge(self, path: str, value: int, bound: int) -> Near | None:
        """The first value between the two with another verdict than the one that stands."""
        answer = await self._with(path, bound)
        if answer is None or not self._changed(answer):
            return None
        same, other, then = value, bound, answer
        while abs(other - same) > 1:
            middle = (other + same) // 2
            tried = await self._with(path, middle)
            if tried is not None and not self._changed(tried):
                same = middle
            elif tried is None:
                return None  # facts that contradict each other lie between
            else:
                other, then = middle, tried
        return Near(path, value, other, then.effect, _asking(then))

    async def _with(self, path: str, value: Any) -> Answer | None:
        """The answer with one fact changed; None where that is no valid input, or enough was tried."""
        if self._tries >= _TRIES_MAX:
            return None
        changed = copy.deepcopy(dict(self._document))
        put(changed, path, value)
        if path == "request.now":
            changed["usage"]["cn"]["year"] = china_year(value)
        try:
            document = canonical.encode(PolicyInput.model_validate(changed).document())
        except (ValidationError, canonical.CanonicalError):
            return None
        self._tries += 1
        answer = await self._evaluators.one(canonical.decode(document))
        if answer.failure:
            raise DecisionUnavailableError(answer.failure)
        return answer

    def _gone(self, finding: Finding, answer: Answer) -> bool:
        """Whether the finding is gone and nothing else asks for as much that did not before."""
        asked = {(each.code, each.effect) for each in self._answer.findings if each.effect in _ASKS}
        asks = {(each.code, each.effect) for each in answer.findings if each.effect in _ASKS}
        return (finding.code, finding.effect) not in asks and asks <= asked

    def _changed(self, answer: Answer) -> bool:
        return (answer.effect, _asking(answer)) != (self._answer.effect, _asking(self._answer))


def _grouped(found: Iterable[tuple[str, str, Answer]]) -> list[Mend]:
    """One mend for all values that lead to the same: `there were a valid pipia or certification`."""
    groups: dict[tuple[str, str, tuple[str, ...]], list[str]] = {}
    for phrase, word, answer in found:
        groups.setdefault((phrase, answer.effect, _asking(answer)), []).append(word)
    return [
        Mend(f"{phrase} {' or '.join(filter(None, (', '.join(words[:-1]), words[-1])))}", effect, codes)
        for (phrase, effect, codes), words in groups.items()
    ]


def _asking(answer: Answer) -> tuple[str, ...]:
    return tuple(sorted({finding.code for finding in answer.findings if finding.effect in _ASKS}))


def _alternatives(path: str, value: Any) -> Iterator[tuple[str, Any]]:
    """Other values, with their words: of an enumeration each, a list without one of its items, a text left empty."""
    allowed = spot(json_schema(), path).get("enum")
    if allowed:
        yield from ((str(each), each) for each in allowed if each not in (value, "unknown"))
    elif isinstance(value, str) and value:
        yield "empty", ""
    elif isinstance(value, list) and value:
        yield "empty", []
        for place, item in enumerate(value[:_ITEMS_MAX]):
            yield f"without {_named(item, place)}", [*value[:place], *value[place + 1 :]]


def _named(item: Any, place: int) -> str:
    """An item as people know it."""
    if isinstance(item, str):
        return item
    named = item if isinstance(item, dict) else {}
    return str(named.get("name") or named.get("id") or named.get("country") or f"item {place + 1}")


def _counts(document: Mapping[str, Any]) -> Iterator[tuple[str, int]]:
    """Persons, groups and budgets: the facts that thresholds are set on."""
    for path in (
        "usage.cn.non_sensitive_after",
        "usage.cn.sensitive_after",
        "dataset.my.subjects",
        "dataset.my.sensitive_subjects",
        "dataset.cn.hgr.persons",
        "job.min_group",
        "job.dp.epsilon_milli",
        "release.smallest_group",
    ):
        if type(value := lookup(document, path)) is int:
            yield path, value


def _valid(kind: str, document: Mapping[str, Any]) -> dict[str, Any]:
    now = document["request"]["now"]
    subject = document["dataset"] or document["model"]
    return {
        "kind": kind,
        "ref": "what-if",
        "scope": {
            "dataset_ids": [subject["id"]],
            "recipient_id": document["recipient"]["id"],
            "purposes": [document["request"]["purpose"]],
        },
        "issued_at": now - 86_400,
        "expires_at": now + _YEAR_S,
        "verified_by": "regulator_register",
    }


def day(seconds: int) -> str:
    """A time as people write it, UTC."""
    return datetime.datetime.fromtimestamp(seconds, tz=datetime.UTC).strftime("%Y-%m-%dT%H:%M:%SZ")
