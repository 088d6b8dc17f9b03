"""Building the policy input of a transfer, and keeping what was decided on this zone's own side.

Nobody vouches for their own facts: the arguments say which source each part must come from.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final, TypeAlias

from sqlalchemy import Connection, insert, select

from gateway.model import canonical
from gateway.model.commitment import commitment
from gateway.model.decision import Decision
from gateway.model.policy_input import (
    SCHEMA_ID,
    Action,
    DatasetFacts,
    Exporter,
    Mechanism,
    ModelFacts,
    Recipient,
    Site,
    china_year,
)
from gateway.state import StateStore
from gateway.state.schema import decision_inputs, decision_log_due

_DUE: Final = insert(decision_log_due)

Subject: TypeAlias = DatasetFacts | ModelFacts
"""What crosses."""


@dataclass(frozen=True, slots=True)
class Persons:
    """Persons exported in the calendar year, this request counted in."""

    non_sensitive: int
    sensitive: int


def transfer_input(
    *,
    now: int,
    purpose: str,
    leaves: Site,
    enters: Site,
    exporter: Exporter | None,
    recipient: Recipient | None,
    subject: Subject,
    mechanisms: Sequence[Mechanism],
    persons: Persons,
) -> dict[str, Any]:
    """The input document of a dataset's or model's transfer. A part that nobody vouches for stays out, and so denies.

    Args:
        now: the gateway's clock, Unix seconds.
        purpose: the partner's word.
        leaves: the provider's zone.
        enters: the consumer's zone.
        exporter: from the register of the exporter's zone, or its signed card.
        recipient: from the register of the recipient's zone, or its signed request.
        subject: a dataset's facts from the provider's manifest, or its signed card; a model's from its verified
            manifest and provenance.
        mechanisms: from the register of the zone whose law they serve.
        persons: from the exporter's gateway; elsewhere the request's own count.
    """
    document: dict[str, Any] = {
        "request": {
            "schema": SCHEMA_ID,
            "now": now,
            "action": action_of(subject),
            "flow": {"from": leaves.document(), "to": enters.document()},
            "purpose": purpose,
        },
        "dataset": subject.document() if isinstance(subject, DatasetFacts) else None,
        "mechanisms": [mechanism.document() for mechanism in mechanisms],
        "usage": {
            "cn": {
                "year": china_year(now),
                "non_sensitive_after": persons.non_sensitive,
                "sensitive_after": persons.sensitive,
            }
        },
        "model": subject.document() if isinstance(subject, ModelFacts) else None,
        "job": None,
        "release": None,
    }
    if exporter is not None:
        document["exporter"] = exporter.document()
    if recipient is not None:
        document["recipient"] = recipient.document()
    return document


def action_of(subject: Subject) -> Action:
    """The action that moves a subject across the border."""
    return "transfer_dataset" if isinstance(subject, DatasetFacts) else "transfer_model"


def own_persons(subject: Subject) -> Persons:
    """The request's own count; a model carries no persons."""
    if isinstance(subject, ModelFacts):
        return Persons(0, 0)
    return Persons(subject.cn.subjects_non_sensitive, subject.cn.subjects_sensitive)


@dataclass(frozen=True, slots=True)
class KeptDecision:
    """A decision with its input and a salt, to be kept on this zone's own side before anybody hears it.

    `keep` belongs into the transaction that precedes the ledger entry.
    """

    decision: Decision
    document: Mapping[str, Any] = field(repr=False)
    decided_at: int
    salt: bytes = field(default_factory=lambda: secrets.token_bytes(32), repr=False)

    def keep(self, connection: Connection) -> None:
        """Keep input, whole decision and salt, for replay and for opening the commitment."""
        row = {
            "decision_id": self.decision.decision_id,
            "input": canonical.encode(dict(self.document)).decode(),
            "decision": canonical.encode(self.decision.to_json()).decode(),
            "salt": self.salt,
            "decided_at": self.decided_at,
        }
        connection.execute(insert(decision_inputs).values(**row))
        connection.execute(_DUE, {"decision_id": self.decision.decision_id})

    def entry(self) -> dict[str, Any]:
        """What a ledger entry says of it; the entry's id must be the decision's id.

        Peers mirror each other's entries, so an entry has the border-safe form, and a salted commitment to the
        whole decision (its fields, digests and home findings), which only this zone can open:
        HMAC-SHA256(salt, "tdz-commit/v1\\n" id "\\n" JSON pointer "\\n" canonical JSON).
        """
        return {
            "decision": self.decision.for_peer().to_json(),
            "commitment": commitment(self.salt, self.decision.decision_id, "/body/decision", self.decision.to_json()),
        }


async def kept_input(state: StateStore, decision_id: str) -> tuple[dict[str, Any], Decision] | None:
    """The input and the whole decision that were kept; None where there are none of this id any more."""
    query = select(decision_inputs.c.input, decision_inputs.c.decision).where(
        decision_inputs.c.decision_id == decision_id
    )
    row = await state.read(lambda connection: connection.execute(query).one_or_none())
    return None if row is None else (json.loads(row.input), Decision.from_json(json.loads(row.decision)))
