"""`policy.witnesses`: who must cosign the log, said on the log whenever that changes.

The file `policy.tlog` names its entry in a comment, ``# entry <id>``, from the moment it is in force: so a crash
between the two doubles nothing, and leaves nothing out. The lines that name the log's own keys are no part of the
entry: `key.rotated` says those.
"""

from __future__ import annotations

import hashlib
import re
from typing import Final

from gateway.model.canonical import JsonValue

__all__ = ["KIND", "announced", "cosigning_part", "of"]

KIND: Final = "policy.witnesses"
WHOLE_MAX: Final = 16 * 1024
"""Bytes of a policy that stands in its entry whole; a longer one is named by its digest alone."""
_ENTRY: Final = re.compile(r"^# entry ([0-9a-f]{8}(?:-[0-9a-f]{4}){3}-[0-9a-f]{12})$", re.ASCII | re.MULTILINE)


def announced(text: str, entry_id: str) -> str:
    """A policy's text that names its entry."""
    return f"# entry {entry_id}\n{text}"


def cosigning_part(text: str) -> str:
    """The lines of a policy that say who must cosign: witnesses, groups, quorum."""
    return "".join(
        f"{line}\n"
        for line in text.splitlines()
        if (words := line.split()) and words[0] in ("witness", "group", "quorum")
    )


def of(text: str) -> tuple[str, dict[str, JsonValue]] | None:
    """Id and body of the entry that a policy's text names; None where it names none, as a new log's does."""
    match = _ENTRY.search(text)
    if match is None:
        return None
    part = cosigning_part(text)
    data = part.encode()
    whole = part if len(data) <= WHOLE_MAX else None
    return match[1], {"digest": hashlib.sha256(data).hexdigest(), "policy": whole}
