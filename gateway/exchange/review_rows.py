"""The rows of reviews and appeals, as frozen objects, and how they are read."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, insert, or_, select, update

from gateway.errors import NotFoundError
from gateway.model import limits
from gateway.model.ids import uuid7
from gateway.model.review import Basis, Granted, Holder, ReviewKind, ReviewState
from gateway.state import StateStore
from gateway.state.schema import review_votes, reviews

_INSERT: Final = insert(reviews)
_BY_ID: Final = select(reviews).where(reviews.c.id == bindparam("identifier"))
_OPEN: Final = select(reviews).where(
    reviews.c.negotiation_id == bindparam("negotiation"), reviews.c.state == ReviewState.OPEN.value
)
_VOTES: Final = (
    select(review_votes)
    .where(review_votes.c.review_id == bindparam("identifier"))
    .order_by(review_votes.c.at, review_votes.c.entry_id)
)


@dataclass(frozen=True, slots=True)
class ReviewRow:
    """One review or appeal that this zone answers."""

    id: str
    kind: str
    negotiation_id: str
    holder: str
    owner: str
    participant: str
    peer_zone: str
    resource: str
    purpose: str
    decision_id: str
    basis: str
    needed: int
    state: str
    note: str
    deadline: int
    created_at: int
    closed_at: int

    @property
    def open(self) -> bool:
        """Whether it waits for somebody."""
        return self.state == ReviewState.OPEN

    @property
    def bound_to(self) -> Basis:
        """What an approval is bound to."""
        return Basis.decode(self.basis)


@dataclass(frozen=True, slots=True)
class VoteRow:
    """One person's answer to a review."""

    review_id: str
    by: str
    fingerprint: str
    verdict: str
    note: str
    salt: str
    entry_id: str
    at: int


def new_review(
    *,
    kind: ReviewKind,
    negotiation_id: str,
    holder: Holder,
    owner: str,
    participant: str,
    peer_zone: str,
    resource: str,
    purpose: str,
    decision_id: str,
    basis: Basis,
    needed: int,
    deadline: int,
    now: int,
    note: str = "",
) -> dict[str, Any]:
    """The row of a review, for the effect of the step that asks for it."""
    return {
        "id": uuid7(),
        "kind": kind.value,
        "negotiation_id": negotiation_id,
        "holder": holder.value,
        "owner": owner if holder is Holder.OWNER else "",
        "participant": participant,
        "peer_zone": peer_zone,
        "resource": resource,
        "purpose": purpose,
        "decision_id": decision_id,
        "basis": basis.encode(),
        "needed": needed if holder is Holder.ADMIN else 1,
        "state": ReviewState.OPEN.value,
        "note": note,
        "deadline": deadline,
        "created_at": now,
        "closed_at": 0,
    }


def open_review(connection: Connection, row: dict[str, Any]) -> None:
    """Let a review stand open.

    One that is open for the same holder on the same basis goes on with the answers that it has; any other of the
    negotiation is superseded, and what was answered to it counts no more.
    """
    if connection.execute(_BY_ID, {"identifier": row["id"]}).first() is not None:
        return
    for standing in connection.execute(_OPEN, {"negotiation": row["negotiation_id"]}).mappings().all():
        if (standing["kind"], standing["holder"], standing["basis"]) == (row["kind"], row["holder"], row["basis"]):
            return
        close_review(connection, standing["id"], ReviewState.SUPERSEDED, row["created_at"])
    connection.execute(_INSERT, row)


def close_review(connection: Connection, identifier: str, state: ReviewState, now: int) -> bool:
    """End an open review; whether it was open."""
    query = update(reviews).where(reviews.c.id == identifier, reviews.c.state == ReviewState.OPEN.value)
    return connection.execute(query.values(state=state.value, closed_at=now)).rowcount == 1


def close_of(connection: Connection, negotiation: str, state: ReviewState, now: int) -> None:
    """End what is open of a negotiation that has ended."""
    query = update(reviews).where(
        reviews.c.negotiation_id == negotiation,
        reviews.c.kind == ReviewKind.REVIEW.value,
        reviews.c.state == ReviewState.OPEN.value,
    )
    connection.execute(query.values(state=state.value, closed_at=now))


def review(connection: Connection, identifier: str) -> ReviewRow:
    """One review.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_BY_ID, {"identifier": identifier}).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no review {identifier[:80]}", remedy="see `tdz approvals list`")
    return ReviewRow(**row)


async def get_review(state: StateStore, identifier: str) -> ReviewRow:
    """One review, by its id or that of the request that waits for it, the newest.

    Raises:
        NotFoundError: there is none.
    """

    def work(connection: Connection) -> ReviewRow:
        newest = (
            select(reviews.c.id)
            .where(reviews.c.negotiation_id == identifier)
            .order_by(reviews.c.created_at.desc(), reviews.c.id.desc())
            .limit(1)
        )
        return review(connection, str(connection.execute(newest).scalar() or identifier))

    return await state.read(work)


async def get_votes(state: StateStore, identifier: str) -> list[VoteRow]:
    """The answers to a review, oldest first."""
    return await state.read(lambda connection: _votes(connection, identifier))


def _votes(connection: Connection, identifier: str) -> list[VoteRow]:
    return [VoteRow(**row) for row in connection.execute(_VOTES, {"identifier": identifier}).mappings()]


async def of_negotiation(state: StateStore, negotiation: str) -> list[ReviewRow]:
    """All reviews and appeals of a negotiation, oldest first."""
    query = select(reviews).where(reviews.c.negotiation_id == negotiation).order_by(reviews.c.created_at, reviews.c.id)
    return await state.read(lambda connection: [ReviewRow(**row) for row in connection.execute(query).mappings()])


async def voters_of(state: StateStore, negotiation: str) -> set[str]:
    """URIs of everybody who answered a review or an appeal of a negotiation."""
    query = select(review_votes.c.by).where(
        review_votes.c.review_id.in_(select(reviews.c.id).where(reviews.c.negotiation_id == negotiation))
    )
    return await state.read(lambda connection: {str(by) for by in connection.execute(query).scalars()})


async def granted_to(
    state: StateStore, *, negotiations: Sequence[str], participant: str, resource: str, since: int
) -> list[Granted]:
    """What was approved for a negotiation, or for one before it that an overturned appeal has decided anew.

    Args:
        negotiations: the one that is decided, and the one that it decides anew.
        participant: who asks.
        resource: what for.
        since: appeals of the same institution on the same resource that were overturned before count no more, Unix
            seconds.
    """
    overturned = select(reviews.c.negotiation_id).where(
        reviews.c.kind == ReviewKind.APPEAL.value,
        reviews.c.state == ReviewState.APPROVED.value,
        reviews.c.participant == participant,
        reviews.c.resource == resource,
        reviews.c.closed_at >= since,
    )
    query = select(reviews).where(
        reviews.c.state == ReviewState.APPROVED.value,
        or_(reviews.c.negotiation_id.in_(list(negotiations)), reviews.c.negotiation_id.in_(overturned)),
    )
    return await state.read(lambda connection: _granted(connection, query))


async def granted(state: StateStore, identifiers: Sequence[str]) -> list[Granted]:
    """Approved reviews by their ids: those that an agreement rests on."""
    if not identifiers:
        return []
    query = select(reviews).where(reviews.c.id.in_(list(identifiers)), reviews.c.state == ReviewState.APPROVED.value)
    return await state.read(lambda connection: _granted(connection, query))


def _granted(connection: Connection, query: Any) -> list[Granted]:
    found = [ReviewRow(**row) for row in connection.execute(query).mappings()]
    return [Granted(row.id, Holder(row.holder), row.bound_to) for row in found]


async def list_reviews(
    state: StateStore,
    *,
    owner: str = "",
    open_only: bool = True,
    due: int | None = None,
    kind: str = "",
    before: str = "",
    size: int | None = limits.LIST_PAGE_MAX,
) -> list[ReviewRow]:
    """Reviews and appeals that this zone answers, newest first.

    Args:
        owner: only what this institution is asked as the owner.
        due: only those whose deadline is before.
        kind: review or appeal; empty for both.
    """
    query = select(reviews).order_by(reviews.c.id.desc()).limit(size)
    for wanted, condition in (
        (owner, reviews.c.owner == owner),
        (open_only, reviews.c.state == ReviewState.OPEN.value),
        (due is not None, reviews.c.deadline < (due or 0)),
        (kind, reviews.c.kind == kind),
        (before, reviews.c.id < before),
    ):
        query = query.where(condition) if wanted else query
    return await state.read(lambda connection: [ReviewRow(**row) for row in connection.execute(query).mappings()])
