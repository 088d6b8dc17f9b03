"""The rows of reviews and appeals, as frozen objects, how they are read, and what answers do to them."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, bindparam, case, func, insert, or_, select, update
from sqlalchemy.dialects.sqlite import insert as upsert

from gateway.errors import NotFoundError
from gateway.model import limits
from gateway.model.ids import uuid7
from gateway.model.review import Basis, Granted, Holder, Process, ReviewKind, ReviewState
from gateway.state import StateStore
from gateway.state.schema import review_votes, reviews

_INSERT: Final = insert(reviews)
_BY_ID: Final = select(reviews).where(reviews.c.id == bindparam("identifier"))
_OPEN: Final = select(reviews).where(
    reviews.c.process_id == bindparam("process_id"), reviews.c.state == ReviewState.OPEN.value
)
_OPEN_FIRST: Final = case((reviews.c.state == ReviewState.OPEN.value, 0), else_=1)
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
    process: str
    process_id: str
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
    def about(self) -> str:
        """The resource name of what waits."""
        return f"{self.process}/{self.process_id}"

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
    process: Process,
    process_id: str,
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
        "process": process.value,
        "process_id": process_id,
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

    One that is open for the same holder on the same basis goes on with the answers that it has; any other of what
    waits is superseded, and what was answered to it counts no more. A run has one for each of its datasets and each
    institution that would receive, none of which stands for another.
    """
    if connection.execute(_BY_ID, {"identifier": row["id"]}).first() is not None:
        return
    for standing in connection.execute(_OPEN, {"process_id": row["process_id"]}).mappings().all():
        if (standing["resource"], standing["participant"]) != (row["resource"], row["participant"]):
            continue
        if (standing["kind"], standing["holder"], standing["basis"]) == (row["kind"], row["holder"], row["basis"]):
            return
        close_review(connection, standing["id"], ReviewState.SUPERSEDED, row["created_at"])
    connection.execute(_INSERT, row)


def open_reviews(connection: Connection, process_id: str, rows: Sequence[dict[str, Any]], now: int) -> None:
    """Let the reviews of a run stand open, and no others of it."""
    wanted = {(row["resource"], row["participant"]) for row in rows}
    for standing in connection.execute(_OPEN, {"process_id": process_id}).mappings().all():
        if (standing["resource"], standing["participant"]) not in wanted:
            close_review(connection, standing["id"], ReviewState.SUPERSEDED, now)
    for row in rows:
        open_review(connection, row)


def close_review(connection: Connection, identifier: str, state: ReviewState, now: int) -> bool:
    """End an open review; whether it was open."""
    query = update(reviews).where(reviews.c.id == identifier, reviews.c.state == ReviewState.OPEN.value)
    return connection.execute(query.values(state=state.value, closed_at=now)).rowcount == 1


def close_of(connection: Connection, process_id: str, state: ReviewState, now: int) -> None:
    """End what is open of a negotiation or a run that has ended."""
    query = update(reviews).where(
        reviews.c.process_id == process_id,
        reviews.c.kind == ReviewKind.REVIEW.value,
        reviews.c.state == ReviewState.OPEN.value,
    )
    connection.execute(query.values(state=state.value, closed_at=now))


def still_open(connection: Connection, process_id: str) -> int:
    """How many reviews something waits for in this zone."""
    query = select(func.count()).where(reviews.c.process_id == process_id, reviews.c.state == ReviewState.OPEN.value)
    return int(connection.execute(query).scalar_one())


def note_answer(connection: Connection, arguments: Mapping[str, Any]) -> bool:
    """Let an answer stand; whether it decides its review, so that something follows from it now.

    Args:
        connection: of the effect's transaction.
        arguments: of the step: `vote`, `review`, `outcome` and `now`.
    """
    if arguments["vote"] is not None:
        connection.execute(upsert(review_votes).values(**arguments["vote"]).on_conflict_do_nothing())
    outcome = ReviewState(arguments["outcome"])
    return outcome is not ReviewState.OPEN and close_review(connection, arguments["review"], outcome, arguments["now"])


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
    """One review, by its id or that of the request or run that waits for it: an open one, or else the newest.

    Raises:
        NotFoundError: there is none.
    """

    def work(connection: Connection) -> ReviewRow:
        newest = (
            select(reviews.c.id)
            .where(reviews.c.process_id == identifier)
            .order_by(_OPEN_FIRST, reviews.c.created_at.desc(), reviews.c.id.desc())
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
    query = select(reviews).where(reviews.c.process_id == negotiation).order_by(reviews.c.created_at, reviews.c.id)
    return await state.read(lambda connection: [ReviewRow(**row) for row in connection.execute(query).mappings()])


async def voters_of(state: StateStore, negotiation: str) -> set[str]:
    """URIs of everybody who answered a review or an appeal of a negotiation."""
    query = select(review_votes.c.by).where(
        review_votes.c.review_id.in_(select(reviews.c.id).where(reviews.c.process_id == negotiation))
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
    overturned = select(reviews.c.process_id).where(
        reviews.c.kind == ReviewKind.APPEAL.value,
        reviews.c.state == ReviewState.APPROVED.value,
        reviews.c.participant == participant,
        reviews.c.resource == resource,
        reviews.c.closed_at >= since,
    )
    query = select(reviews).where(
        reviews.c.state == ReviewState.APPROVED.value,
        or_(reviews.c.process_id.in_(list(negotiations)), reviews.c.process_id.in_(overturned)),
    )
    return await state.read(lambda connection: _granted(connection, query))


async def granted_of(state: StateStore, process_id: str) -> list[Granted]:
    """What was approved for a run."""
    query = select(reviews).where(reviews.c.process_id == process_id, reviews.c.state == ReviewState.APPROVED.value)
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
