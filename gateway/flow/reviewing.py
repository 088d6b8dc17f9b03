"""The reviewers' desk: what waits for persons, and their answers.

An answer is an `approval` entry, durable before anything follows from it. Persons appear in it by the fingerprint of
their certificate, as wherever administrators act; their notes stay in this zone, and the entry has a commitment. What
follows from an answer is for whatever waits to say: see `Waiting`.
"""

from __future__ import annotations

import secrets
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass, field
from typing import Any, Protocol

from gateway.decisions.inputs import kept_input
from gateway.errors import ConflictError, InputError, NotFoundError, PermissionDeniedError
from gateway.flow import review_rows
from gateway.flow.house import ZoneHouse
from gateway.flow.review_rows import ReviewRow, VoteRow
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.commitment import commitment
from gateway.model.decision import Decision
from gateway.model.ids import uuid7
from gateway.model.participant import Identity, Role
from gateway.model.review import Holder, Process, ReviewKind, ReviewState, Verdict


@dataclass(frozen=True, slots=True)
class Voter:
    """Who answers, as their certificate proved it."""

    identity: Identity
    fingerprint: str


@dataclass(frozen=True, slots=True)
class Shown:
    """A review with what whoever may answer it has to know.

    Args:
        decision: this zone's whole decision; None where it is not kept any more.
        facts: the policy input that it was made on; None likewise, and for an owner, who is no administrator.
        counted: answers that count now: those of persons whose certificates are live.
    """

    row: ReviewRow
    votes: tuple[VoteRow, ...]
    decision: Decision | None = None
    facts: dict[str, Any] | None = field(default=None, repr=False)
    counted: int = 0


@dataclass(frozen=True, slots=True)
class Follows:
    """What an answer does to what waits.

    Args:
        arguments: JSON values for the effect, as `follows`.
        then: what goes on once the answer is recorded.
    """

    arguments: Mapping[str, Any]
    then: Callable[[], Awaitable[None]]


class Waiting(Protocol):
    """What waits for persons, as the flow that it belongs to sees it: `exchange` and `federation` each have one."""

    @property
    def effect(self) -> str:
        """The name of the effect of an answer; it begins with `review_rows.note_answer`."""

    def hold(self, identifier: str) -> AbstractAsyncContextManager[None]:
        """Its lock: held while an answer is recorded."""

    async def follows(self, row: ReviewRow, outcome: ReviewState, now: int) -> Follows:
        """What an answer with this outcome does; of OPEN: nothing yet.

        Raises:
            ConflictError: it does not wait any more.
        """


class Desk:
    """Reviews and appeals that this zone answers.

    Args:
        house: this zone.
        waiting: what waits, by kind.
    """

    def __init__(self, house: ZoneHouse[Any], waiting: Mapping[Process, Waiting]) -> None:
        self._house = house
        self._waiting = waiting

    async def show(self, who: Identity, identifier: str) -> Shown:
        """One review, by its own id or that of what waits for it.

        Raises:
            NotFoundError: there is none that the caller is asked or oversees.
        """
        row = await review_rows.get_review(self._house.state, identifier)
        if who.role is Role.PARTNER and (row.holder != Holder.OWNER or row.owner != who.uri):
            raise NotFoundError(f"no review {identifier[:80]}", remedy="see `tdz approvals list`")
        votes = await review_rows.get_votes(self._house.state, row.id)
        kept = await kept_input(self._house.state, row.decision_id)
        decision, facts = (None, None) if kept is None else (kept[1], kept[0])
        counted = len(await self._counted(votes))
        if who.role is Role.PARTNER:
            return Shown(row, tuple(votes), None if decision is None else decision.for_peer(), None, counted)
        return Shown(row, tuple(votes), decision, facts, counted)

    async def answer(self, voter: Voter, identifier: str, verdict: Verdict, note: str, *, basis: str = "") -> ReviewRow:
        """Approve or deny.

        1. The caller is who is asked: an administrator, or the institution that published.
        2. It is open, and still about what the caller has looked at.
        3. Nobody answers twice; nobody answers an appeal against what they took part in.
        4. The answer is on the ledger before anything follows from it.
        5. One denial ends it; an approval counts once enough different persons gave theirs, all with live certificates.

        Args:
            voter: who answers.
            identifier: the review's id, or that of what waits for it.
            verdict: approve or deny; of an appeal: overturn or uphold.
            note: kept in this zone; a denial and an answer to an appeal need one.
            basis: digest of what the caller has looked at; empty takes what stands.

        Returns:
            The review as it is then.

        Raises:
            NotFoundError, PermissionDeniedError: step 1.
            ConflictError: steps 2 or 3.
            InputError: a note is missing or too long.
            LedgerError: nothing was recorded, and nothing happened.
        """
        house = self._house
        found = await review_rows.get_review(house.state, identifier)
        async with self._waiting[Process(found.process)].hold(found.process_id):
            row = await review_rows.get_review(house.state, found.id)
            self._require_asked(voter.identity, row)  # 1
            self._require_open(row, basis)  # 2
            if len(note) > limits.NOTE_MAX_CHARS:
                raise InputError(f"a note has at most {limits.NOTE_MAX_CHARS} characters")
            if not note.strip() and (verdict == "deny" or row.kind == ReviewKind.APPEAL):
                raise InputError("say why", remedy="--note TEXT; it stays in your zone")
            votes = await review_rows.get_votes(house.state, row.id)
            await self._require_impartial(voter.identity, row, votes)  # 3
            approving = 1 + len(await self._counted(votes)) if verdict == "approve" else 0
            outcome = (
                ReviewState.DENIED
                if verdict == "deny"
                else ReviewState.APPROVED
                if approving >= row.needed
                else ReviewState.OPEN
            )
            await self._record(voter, row, verdict, note, outcome, approving)  # 4
        return await review_rows.get_review(house.state, row.id)

    def _require_asked(self, who: Identity, row: ReviewRow) -> None:
        hidden = NotFoundError(f"no review {row.id}", remedy="see `tdz approvals list`")
        if row.holder == Holder.OWNER:
            if who.role is Role.PARTNER and who.uri != row.owner:
                raise hidden
            if who.role is not Role.PARTNER:
                raise PermissionDeniedError(
                    "the institution that published answers this", remedy=f"ask {row.owner} for its answer"
                )
        elif who.role is Role.PARTNER:
            raise hidden
        elif who.role is not Role.ADMIN:
            raise PermissionDeniedError("an administrator of the zone answers this")

    def _require_open(self, row: ReviewRow, basis: str) -> None:
        if not row.open:
            raise ConflictError(f"the {row.kind} is {row.state}", remedy="tdz approvals list")
        if row.deadline < self._house.clock():
            raise ConflictError(f"the {row.kind} has expired", remedy="the institution may ask again")
        if basis and basis != row.bound_to.digest:
            raise ConflictError("facts or policy have changed since you looked", remedy=f"tdz approvals show {row.id}")

    async def _require_impartial(self, who: Identity, row: ReviewRow, votes: list[VoteRow]) -> None:
        if any(vote.by == who.uri for vote in votes):
            raise ConflictError("you have answered this already", remedy="another administrator must")
        if row.kind == ReviewKind.APPEAL and who.uri in await review_rows.voters_of(self._house.state, row.process_id):
            raise PermissionDeniedError(
                "you took part in what is appealed against", remedy="an administrator who did not must answer"
            )

    async def _counted(self, votes: list[VoteRow]) -> list[VoteRow]:
        """Approvals of persons who still may approve."""
        now, found = self._house.clock(), []
        for vote in votes:
            if vote.verdict == "approve":
                held = await self._house.registry.of_holder(vote.by)
                found += [vote] if any(each.live(now) for each in held) else []
        return found

    async def _record(
        self, voter: Voter, row: ReviewRow, verdict: Verdict, note: str, outcome: ReviewState, approving: int
    ) -> None:
        now, entry_id = self._house.clock(), uuid7()
        salt = secrets.token_bytes(32)
        vote = {
            "review_id": row.id,
            "by": voter.identity.uri,
            "fingerprint": voter.fingerprint,
            "verdict": verdict,
            "note": note,
            "salt": salt.hex(),
            "entry_id": entry_id,
            "at": now,
        }
        said = {
            "verdict": verdict,
            "by": voter.fingerprint,
            "approvals": approving,
            "needed": row.needed,
            "decision": row.decision_id,
            "codes": list(row.bound_to.codes),
            "basis": commitment(salt, entry_id, "/body/basis", row.bound_to.to_json()),
            "note": commitment(salt, entry_id, "/body/note", note),
        }
        await self._close(row, outcome, said, vote, closing=verdict == "deny", entry_id=entry_id)

    async def _close(
        self,
        row: ReviewRow,
        outcome: ReviewState,
        said: Mapping[str, Any],
        vote: Mapping[str, Any] | None,
        *,
        closing: bool,
        entry_id: str = "",
    ) -> None:
        house, waiting = self._house, self._waiting[Process(row.process)]
        now = house.clock()
        follows = await waiting.follows(row, outcome, now)
        await house.steps.run(
            Step(
                kind="approval",
                subject=row.about,
                body={
                    "what": row.kind,
                    "review": row.id,
                    "holder": f"{house.zone}/{row.holder}",
                    "outcome": outcome.value,
                    **said,
                },
                effect=waiting.effect,
                arguments={
                    "vote": vote,
                    "review": row.id,
                    "outcome": outcome.value,
                    "of": row.process_id,
                    "follows": follows.arguments,
                    "now": now,
                },
                closing=closing,
                entry_id=entry_id,
            )
        )
        await follows.then()

    async def expire(self) -> int:
        """End appeals that nobody answered, on the ledger; the count of them. Reviews end with what waits for them."""
        house, now = self._house, self._house.clock()
        late = await review_rows.list_reviews(house.state, due=now, kind=ReviewKind.APPEAL.value, size=None)
        for found in late:
            async with self._waiting[Process(found.process)].hold(found.process_id):
                row = await review_rows.get_review(house.state, found.id)
                if row.open and row.deadline < now:
                    await self._close(row, ReviewState.EXPIRED, {}, None, closing=True)
        return len(late)
