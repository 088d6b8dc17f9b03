"""A problem of a policy directory, as its author reads it."""

from __future__ import annotations

import re
from dataclasses import asdict, dataclass
from typing import Any, Final, Literal

# A string, a raw string or a comment: what stands in them is no code.
_TEXT: Final = re.compile(r'"(?:[^"\\\n]|\\.)*"|`[^`]*`|#[^\n]*')


@dataclass(frozen=True, slots=True, order=True)
class Problem:
    """One thing that is wrong.

    Args:
        file: relative to the policy directory; "" where no file is at fault.
        line: from 1; 0 where no line is.
        text: what is wrong, one sentence.
        remedy: what would mend it.
        check: which check found it.
        level: an error refuses the policy, a warning does not.
    """

    file: str
    line: int
    text: str
    remedy: str
    check: str
    level: Literal["error", "warning"] = "error"

    def to_json(self) -> dict[str, Any]:
        """The problem as plain JSON values."""
        return asdict(self)


def without_comments(text: str) -> str:
    """A module with its comments blanked."""
    return _TEXT.sub(lambda found: found[0] if found[0][0] != "#" else " " * len(found[0]), text)


def line_of(text: str, offset: int) -> int:
    """The line, from 1, of a place in a text."""
    return text.count("\n", 0, offset) + 1


def is_test(name: str) -> bool:
    """Whether a file holds Rego tests."""
    return name.endswith("_test.rego")
