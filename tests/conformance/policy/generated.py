"""Random policy inputs, valid and invalid: drawn over the published model, changed in one to three places."""

from __future__ import annotations

import copy
import random
from collections.abc import Iterator
from typing import Any, get_args

from gateway.decisions.example import NOW, example
from gateway.model.policy_facts import Action
from gateway.model.policy_input import json_schema

_SCHEMA = json_schema()
_FLOWS = (("CN", "MY"), ("MY", "CN"))
_COUNTS = (
    0,
    1,
    2,
    9,
    10,
    11,
    499,
    500,
    501,
    9_999,
    10_000,
    10_001,
    20_000,
    99_999,
    100_000,
    100_001,
    999_999,
    1_000_000,
)
_YEAR_S = 365 * 86_400
_TIMES = (0, 1, NOW - 3 * _YEAR_S - 86_400, NOW - 3 * _YEAR_S, NOW - 1, NOW, NOW + 1, NOW + _YEAR_S, 7_258_118_400)
_TEXTS = (
    "",
    "a",
    "mobility",
    "\u5317\u4eac\u533b\u9662",
    "Caf\u00e9",
    "\U0001f697",
    'a "quoted" name',
    "back\\slash",
    "x/y",
    " ",
    "CN",
    "no",
)
_WRONG: tuple[Any, ...] = (
    *(None, True, False, -1, 1.5, 10_000_000_001, 9_007_199_254_740_991, "", "x", "1", "YES", "yes ", "cn", "\u0441n"),
    *([], [None], [[]], {}, {"a": 1}, ["x"] * 3),
)
_MECHANISMS = _SCHEMA["$defs"]["Mechanism"]["properties"]["kind"]["enum"]


def documents(seed: int, count: int) -> Iterator[dict[str, Any]]:
    """As many documents; the same seed gives the same ones. About half of them are valid inputs."""
    chance = random.Random(seed)
    for _ in range(count):
        yield _Drawn(chance).document()


class _Drawn:
    def __init__(self, chance: random.Random) -> None:
        self._chance = chance

    def document(self) -> dict[str, Any]:
        chance = self._chance
        action = chance.choice(get_args(Action))
        made = copy.deepcopy(example(action, *chance.choice(_FLOWS)))
        if chance.random() < 0.5:
            self._persons(made)
        if chance.random() < 0.5:
            self._mechanisms(made)
        for _ in range(chance.choice((0, 1, 1, 2, 3, 5))):
            self._redraw(made)
        if chance.random() < 0.1 and made["dataset"]:
            self._widen(made["dataset"])
        if chance.random() < 0.35:
            for _ in range(chance.choice((1, 1, 1, 2))):
                self._break(made)
        return made

    def _persons(self, made: dict[str, Any]) -> None:
        """Counts around the thresholds that agree with each other, mostly."""
        dataset, chance = made["dataset"], self._chance
        if not dataset:
            return
        common, sensitive = chance.choice(_COUNTS), chance.choice(_COUNTS[:9]) if chance.random() < 0.5 else 0
        cn, my, usage = dataset["cn"], dataset["my"], made["usage"]["cn"]
        cn["subjects_non_sensitive"], cn["subjects_sensitive"] = common, sensitive
        cn["spi_types"] = ["health"] if sensitive else []
        usage["non_sensitive_after"] = common + chance.choice((0, 0, 1, 40_000))
        usage["sensitive_after"] = sensitive + chance.choice((0, 0, 1, 9_999))
        my["subjects"], my["sensitive_subjects"] = common + sensitive, sensitive
        counted = common + sensitive > 0
        my["sensitivity"] = ("sensitive" if sensitive else "personal") if counted else "none"
        dataset["category"] = chance.choice(("personal", "health", "genetic", "vehicle")) if counted else "none"

    def _mechanisms(self, made: dict[str, Any]) -> None:
        chance, subject = self._chance, (made["dataset"] or made["model"])["id"]
        made["mechanisms"] = [
            {
                "kind": chance.choice(_MECHANISMS),
                "ref": f"ref-{number}",
                "scope": {
                    "dataset_ids": [chance.choice((subject, subject, subject, "datasets/other"))],
                    "recipient_id": chance.choice((*[made["recipient"]["id"]] * 3, "other")),
                    "purposes": chance.sample(["research", "judicial", "military", "service_delivery"], 2),
                },
                "issued_at": chance.choice(_TIMES[2:6]),
                "expires_at": chance.choice(_TIMES[4:]),
                "verified_by": chance.choice(("zone_admin", "zone_admin", "regulator_register", "self", "unknown")),
            }
            for number in range(chance.choice((0, 1, 2, 4, 8)))
        ]

    def _redraw(self, made: dict[str, Any]) -> None:
        """Another valid value in one place, drawn from its schema."""
        place, schema, last = made, _SCHEMA, ""
        while True:
            schema = _resolved(schema)
            if schema.get("type") == "object" and isinstance(place, dict):
                holder, last = place, self._chance.choice(sorted(schema["properties"]))
                schema = schema["properties"][last]
            elif schema.get("type") == "array" and isinstance(place, list) and place and self._chance.random() < 0.7:
                holder, last = place, self._chance.randrange(len(place))
                schema = schema["items"]
            else:
                break
            place = holder[last]
            if place is None:
                return
        holder[last] = self._value(schema, str(last))

    def _value(self, schema: dict[str, Any], name: str) -> Any:
        chance = self._chance
        if "enum" in schema:
            return chance.choice(schema["enum"])
        if "const" in schema:
            return schema["const"]
        kind = schema.get("type")
        if kind == "integer":
            return chance.choice(_TIMES if name.endswith(("_at", "_until", "now")) else _COUNTS)
        if kind == "array":
            return [self._value(_resolved(schema["items"]), name) for _ in range(chance.choice((0, 1, 2)))]
        if kind == "object":
            return {member: self._value(_resolved(inner), member) for member, inner in schema["properties"].items()}
        if "[A-Z]{2}" in schema.get("pattern", ""):
            return chance.choice(("MY", "CN", "MO", "HK", "US", "unknown"))
        return chance.choice(_TEXTS)

    def _widen(self, dataset: dict[str, Any]) -> None:
        tags = _resolved(_SCHEMA["$defs"]["Column"]["properties"]["tags"]["items"])["enum"]
        dataset["columns"] = [
            {
                "name": f"c{number}",
                "arrow_type": "int64",
                "tags": self._chance.sample(tags, self._chance.choice((0, 0, 1, 2))),
            }
            for number in range(self._chance.choice((1, 20, 200)))
        ]

    def _break(self, made: dict[str, Any]) -> None:
        """A member gone, one too many, or a value of another kind, anywhere."""
        chance, place = self._chance, made
        path = [place]
        while isinstance(place, dict | list) and place and (len(path) < 2 or chance.random() < 0.7):
            key = chance.choice(sorted(place)) if isinstance(place, dict) else chance.randrange(len(place))
            holder, place = place, place[key]
            path.append(place)
        what = chance.random()
        if what < 0.3:
            del holder[key]
        elif what < 0.45 and isinstance(holder, dict):
            holder[chance.choice(("extra", "", "now", "id", "b c"))] = copy.deepcopy(chance.choice(_WRONG))
        else:
            holder[key] = copy.deepcopy(chance.choice(_WRONG))


def _resolved(schema: dict[str, Any]) -> dict[str, Any]:
    if "anyOf" in schema:
        (schema,) = [option for option in schema["anyOf"] if option.get("type") != "null"]
    return _SCHEMA["$defs"][schema["$ref"].rsplit("/", 1)[1]] if "$ref" in schema else schema
