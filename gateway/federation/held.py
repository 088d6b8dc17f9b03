"""The step after which a run waits for persons: of this zone, or of the other one."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from gateway.federation import rows
from gateway.federation.deciding import Ruling
from gateway.federation.house import House
from gateway.flow import approved, findings
from gateway.flow.steps import Step
from gateway.model.decision import Finding
from gateway.model.review import Holder, Process


def reviews_of(
    house: House, run: str, purpose: str, peer_zone: str, rulings: Sequence[Ruling]
) -> tuple[list[dict[str, Any]], str]:
    """The reviews that this zone's decisions ask for, one for each of them, and whose persons come first."""
    reviews = [
        approved.review_for(
            house,
            ruling.kept,
            process=Process.RUN,
            process_id=run,
            participant=ruling.recipient,
            peer_zone=peer_zone,
            resource=ruling.dataset.resource,
            purpose=purpose,
            owner=ruling.dataset.owner if ruling.dataset.zone == house.zone else "",
        )
        for ruling in rulings
        if ruling.kept.decision.effect == "review"
    ]
    owner = any(each["holder"] == Holder.OWNER for each in reviews)
    return reviews, f"{house.zone}/{Holder.OWNER if owner else Holder.ADMIN}"


def held(
    house: House,
    row: rows.RunRow,
    rulings: Sequence[Ruling],
    *,
    peer_zone: str = "",
    document: Mapping[str, Any] | None = None,
    round_: int = 0,
) -> Step:
    """The step after which a run waits for persons of this zone; its decisions are recorded before, or with it.

    Args:
        house: this zone.
        row: the run.
        rulings: decisions of which at least one asks for a review, and none denies.
        peer_zone: the other zone, where the row does not have it yet.
        document: further members of the run's document.
        round_: the round that waits; 0 before there is one.
    """
    reviews, held_by = reviews_of(house, row.id, row.spec.purpose, peer_zone or row.peer_zone, rulings)
    found = [finding for ruling in rulings for finding in ruling.kept.decision.findings]
    return _held(
        house,
        row,
        held_by,
        {"round": round_, "reviews": [each["id"] for each in reviews]},
        reviews=reviews,
        peer_zone=peer_zone or row.peer_zone,
        document={**(document or {}), "findings": [finding.to_json() for finding in dict.fromkeys(found)]},
        # A coordinator tells the other zone, where that knows the run; a participant says so where it is asked.
        told=0 if row.side == "coordinator" and row.document.get("proposal") else 1,
    )


def held_there(
    house: House,
    row: rows.RunRow,
    held_by: str,
    deadline: int,
    said: Mapping[str, Any],
    document: Mapping[str, Any] | None = None,
) -> Step:
    """The step after which a run waits for persons of the other zone; what that zone tells is bounded here.

    Args:
        house: this zone.
        row: the run.
        held_by: as the other zone says; what is no reviewer of it becomes its administrators.
        deadline: until when it says.
        said: further members of the entry's body.
        document: further members of the run's document.
    """
    reviewers = {f"{row.peer_zone}/{holder.value}" for holder in Holder}
    known = held_by if held_by in reviewers else f"{row.peer_zone}/{Holder.ADMIN}"
    return _held(house, row, known, said, deadline=deadline, document=document or {}, peer_zone=row.peer_zone)


def _held(
    house: House,
    row: rows.RunRow,
    held_by: str,
    said: Mapping[str, Any],
    *,
    document: Mapping[str, Any],
    peer_zone: str,
    deadline: int = 0,
    reviews: Sequence[dict[str, Any]] = (),
    told: int = 1,
) -> Step:
    now = house.clock()
    until = now + house.timing.review
    return Step(
        kind="run.held",
        subject=f"runs/{row.id}",
        body={"by": held_by, **said},
        effect="run.held",
        arguments={
            "id": row.id,
            "held_by": held_by,
            "deadline": min(deadline, until) if deadline else until,
            "peer_zone": peer_zone,
            "document": dict(document),
            "reviews": list(reviews),
            "told": told,
            "now": now,
        },
    )


def require_free(house: House, row: rows.RunRow) -> None:
    """Refuse, for now, to go on with a run that waits for persons of this zone.

    Raises:
        ReviewError: it does.
    """
    if row.held_by.startswith(f"{house.zone}/"):
        found = [Finding.from_json(each).for_peer() for each in row.document.get("findings", ())]
        raise findings.raised(
            "review", found, decision_id="", request_id=row.id, held_by=row.held_by, show="tdz run show"
        )
