"""One line of the decision log."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Final

from gateway.errors import InputError, IntegrityError
from gateway.model import canonical
from gateway.model.decision import Decision

VERSION: Final = 1
LINE_MAX: Final = 4 * 1024 * 1024
_MEMBERS: Final = {"v", "id", "at", "decision", "salt", "input", "erased"}


@dataclass(frozen=True, slots=True)
class Record:
    """A decision as it was made, with its input as far as the mask left it.

    Args:
        at: Unix seconds UTC.
        decision: whole, as only this zone sees it.
        salt: 32 bytes; opens the commitment in the decision's ledger entry.
        input: the policy input, or what else was asked where the gateway refused by itself; None where erased whole.
        erased: how many values each pointer of the mask erased; empty where the input is whole.
    """

    at: int
    decision: Decision
    salt: bytes = field(repr=False)
    input: Mapping[str, Any] | None = field(repr=False)
    erased: Mapping[str, int]

    @property
    def id(self) -> str:
        """The decision's id, UUIDv7: also that of its ledger entry, or of one in the entry's body."""
        return self.decision.decision_id

    @property
    def replayable(self) -> bool:
        """Whether policy decided on a whole input that is here."""
        return bool(self.decision.policy_digest) and self.input is not None and not self.erased

    def to_json(self) -> dict[str, Any]:
        """The record as plain JSON values."""
        return {
            "v": VERSION,
            "id": self.id,
            "at": self.at,
            "decision": self.decision.to_json(),
            "salt": self.salt.hex(),
            "input": None if self.input is None else dict(self.input),
            "erased": dict(self.erased),
        }

    def encode(self) -> bytes:
        """The line, with its line feed."""
        return canonical.encode(self.to_json()) + b"\n"

    @classmethod
    def read(cls, line: bytes) -> Record:
        """Read a line.

        Raises:
            IntegrityError: it is none.
        """
        try:
            document = json.loads(line)
            if set(document) != _MEMBERS or document["v"] != VERSION:
                raise IntegrityError("a line of the decision log is of another form or version")
            decision = Decision.from_json(document["decision"])
            return cls(
                int(document["at"]), decision, bytes.fromhex(document["salt"]), document["input"], document["erased"]
            )
        except (ValueError, TypeError, KeyError, InputError) as error:
            raise IntegrityError(f"a line of the decision log is damaged: {error}") from error
