"""Building the policy input of a transfer, and keeping what was decided on this zone's own side.

Nobody vouches for their own facts: the arguments say which source each part must come from.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from sqlalchemy.dialects.sqlite import insert

from gateway.model import canonical
from gateway.model.decision import Decision
from gateway.model.policy_input import (
    SCHEMA_ID,
    DatasetFacts,
    Exporter,
    Mechanism,
    Recipient,
    Site,
    china_year,
)
from gateway.state import StateStore
from gateway.state.schema import decision_inputs


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
    dataset: DatasetFacts,
    mechanisms: Sequence[Mechanism],
    persons: Persons,
) -> dict[str, Any]:
    """The input document of a dataset's transfer. A part that nobody vouches for stays out, and so denies.

    Args:
        now: the gateway's clock, Unix seconds.
        purpose: the partner's word.
        leaves: the provider's zone.
        enters: the consumer's zone.
        exporter: from the register of the exporter's zone, or its signed card.
        recipient: from the register of the recipient's zone, or its signed request.
        dataset: from the provider's manifest, or its signed card.
        mechanisms: from the register of the zone whose law they serve.
        persons: from the exporter's gateway; elsewhere the request's own count.
    """
    document: dict[str, Any] = {
        "request": {
            "schema": SCHEMA_ID,
            "now": now,
            "action": "transfer_dataset",
            "flow": {"from": leaves.document(), "to": enters.document()},
            "purpose": purpose,
        },
        "dataset": dataset.document(),
        "mechanisms": [mechanism.document() for mechanism in mechanisms],
        "usage": {
            "cn": {
                "year": china_year(now),
                "non_sensitive_after": persons.non_sensitive,
                "sensitive_after": persons.sensitive,
            }
        },
        "model": None,
        "job": None,
        "release": None,
    }
    if exporter is not None:
        document["exporter"] = exporter.document()
    if recipient is not None:
        document["recipient"] = recipient.document()
    return document


def own_persons(dataset: DatasetFacts) -> Persons:
    """The request's own count."""
    return Persons(dataset.cn.subjects_non_sensitive, dataset.cn.subjects_sensitive)


async def keep(state: StateStore, document: Mapping[str, Any], decision: Decision, now: int) -> None:
    """Keep input and decision for replay, on this zone's own side only; durable on return."""
    statement = (
        insert(decision_inputs)
        .values(
            decision_id=decision.decision_id,
            input=canonical.encode(dict(document)).decode(),
            decision=canonical.encode(decision.to_json()).decode(),
            decided_at=now,
        )
        .on_conflict_do_nothing()
    )
    await state.write(lambda connection: connection.execute(statement))
