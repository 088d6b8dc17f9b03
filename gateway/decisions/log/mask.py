"""What a zone's policy leaves out of its decision log.

`tdz/zone/<zone>/log/data.json` holds `{"mask": ["/recipient/screening", "/dataset/columns/*/name"]}`: JSON pointers
(RFC 6901) into the policy input, where `*` stands for every item of a list or member of an object. What they point at
is erased and counted, as OPA's decision-log mask does it. A list that cannot be understood erases the whole input:
whoever wrote it wanted something hidden.
"""

from __future__ import annotations

import copy
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import ConfigError

EVERYTHING: Final = ""
"""The pointer to the whole input."""
_POINTERS_MAX: Final = 256
_POINTER_MAX_CHARS: Final = 500


@dataclass(frozen=True, slots=True)
class Mask:
    """Pointers to erase."""

    pointers: tuple[str, ...] = ()

    @classmethod
    def of(cls, data: Mapping[str, Any], zone: str) -> Mask:
        """The mask in a policy's data; one that erases everything where it cannot be understood."""
        try:
            return cls.parse(data.get("tdz", {}).get("zone", {}).get(zone, {}).get("log"))
        except (ConfigError, AttributeError):
            return cls((EVERYTHING,))

    @classmethod
    def parse(cls, document: object) -> Mask:
        """Read the data document of a mask; None is no mask.

        Raises:
            ConfigError: it is not of the form above.
        """
        if document is None:
            return cls()
        remedy = 'write it as {"mask": ["/recipient/screening"]}'
        if not isinstance(document, Mapping) or set(document) != {"mask"} or not isinstance(document["mask"], list):
            raise ConfigError("a mask has exactly the member mask, a list", remedy=remedy)
        pointers = document["mask"]
        if len(pointers) > _POINTERS_MAX:
            raise ConfigError(f"a mask has at most {_POINTERS_MAX} pointers", remedy=remedy)
        for pointer in pointers:
            if not isinstance(pointer, str) or not pointer.startswith("/") or len(pointer) > _POINTER_MAX_CHARS:
                raise ConfigError(f"{str(pointer)[:80]!r} is no JSON pointer into the input", remedy=remedy)
        return cls(tuple(pointers))

    def erase(self, document: Any) -> tuple[Any, dict[str, int]]:
        """A document without what the pointers point at, and how many values each erased, zeros left out."""
        if EVERYTHING in self.pointers:
            return None, {EVERYTHING: 1}
        if not self.pointers:
            return document, {}
        left = copy.deepcopy(document)
        counts = {pointer: _erase(left, _steps(pointer)) for pointer in self.pointers}
        return left, {pointer: count for pointer, count in counts.items() if count}


def _steps(pointer: str) -> list[str]:
    return [step.replace("~1", "/").replace("~0", "~") for step in pointer[1:].split("/")]


def _erase(value: Any, steps: list[str]) -> int:
    step, *rest = steps
    if isinstance(value, dict):
        names = list(value) if step == "*" else [step] if step in value else []
        if rest:
            return sum(_erase(value[name], rest) for name in names)
        for name in names:
            del value[name]
        return len(names)
    if isinstance(value, list):
        places = (
            range(len(value)) if step == "*" else [int(step)] if step.isdecimal() and int(step) < len(value) else []
        )
        if rest:
            return sum(_erase(value[place], rest) for place in places)
        for place in places:
            value[place] = None  # the others keep their places
        return len(places)
    return 0
