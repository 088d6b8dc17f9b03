"""The reviewers' desk: what waits for a person, their answers, and how a negotiation goes on from there.

An answer is an `approval` entry, durable before anything follows from it. Persons appear in it by the fingerprint of
their certificate, as wherever administrators act; their notes stay in this zone, and the entry has a commitment.

    consumer's zone approves    the request is decided anew there, and goes on
    provider's zone approves    the consumer's gateway is told, decides anew and asks again; here it is decided anew
    one person denies           it ends, in both zones
"""

from __future__ import annotations

import secrets
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any

from gateway.decisions.inputs import kept_input
from gateway.errors import ConflictError, InputError, NotFoundError, PermissionDeniedError
from gateway.exchange import review_rows, rows
from gateway.exchange.asking import denied_by
from gateway.exchange.house import House
from gateway.exchange.outbox import Outbox
from gateway.exchange.review_rows import ReviewRow, VoteRow
from gateway.flow import findings
from gateway.flow.steps import Step
from gateway.model import canonical, limits
from gateway.model.commitment import commitment
from gateway.model.decision import Decision
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationState as State
from gateway.model.participant import Identity, Role
from gateway.model.review import Holder, ReviewKind, ReviewState, Verdict, denial
from gateway.model.statements import ZoneDecision

Drive = Callable[[str], None]


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


class Desk:
    """Reviews and appeals that this zone answers.

    Args:
        house: this zone.
        outbox: tells the other zone.
        drive: goes on with a negotiation of this zone's institutions.
    """

    def __init__(self, house: House, outbox: Outbox, drive: Drive) -> None:
        self._house = house
        self._outbox = outbox
        self._drive = drive

    async def show(self, who: Identity, identifier: str) -> Shown:
        """One review, by its own id or the request's.

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
            identifier: the review's id or the request's.
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
        async with house.negotiations.hold(found.negotiation_id):
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
        if row.kind == ReviewKind.APPEAL and who.uri in await review_rows.voters_of(
            self._house.state, row.negotiation_id
        ):
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

    # --- what follows -----------------------------------------------------------------------------------

    async def _record(
        self, voter: Voter, row: ReviewRow, verdict: Verdict, note: str, outcome: ReviewState, approving: int
    ) -> None:
        house, now, entry_id = self._house, self._house.clock(), uuid7()
        salt = secrets.token_bytes(32)
        negotiation = await rows.get_negotiation(house.state, row.negotiation_id)
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
        follows, drives = await self._follows(row, negotiation, outcome, now)
        await house.steps.run(
            Step(
                kind="approval",
                subject=f"negotiations/{row.negotiation_id}",
                body={
                    "what": row.kind,
                    "review": row.id,
                    "holder": f"{house.zone}/{row.holder}",
                    "verdict": verdict,
                    "by": voter.fingerprint,
                    "outcome": outcome.value,
                    "approvals": approving,
                    "needed": row.needed,
                    "decision": row.decision_id,
                    "codes": list(row.bound_to.codes),
                    "basis": commitment(salt, entry_id, "/body/basis", row.bound_to.to_json()),
                    "note": commitment(salt, entry_id, "/body/note", note),
                },
                effect="review.answered",
                arguments={
                    "vote": vote,
                    "review": row.id,
                    "outcome": outcome.value,
                    "negotiation": negotiation.id,
                    "follows": follows,
                    "now": now,
                },
                closing=verdict == "deny",
                entry_id=entry_id,
            )
        )
        self._outbox.wake()
        if drives:
            self._drive(drives)

    async def _follows(
        self, row: ReviewRow, negotiation: rows.NegotiationRow, outcome: ReviewState, now: int
    ) -> tuple[dict[str, Any], str]:
        """What an answer does to the negotiation, for the effect; and what is driven then."""
        house, own = self._house, negotiation.side == "consumer"
        until = now + house.timing.review
        if outcome is ReviewState.OPEN:
            return {"move": ""}, ""
        if row.kind == ReviewKind.APPEAL:
            return self._appealed(row, negotiation, outcome, now)
        if outcome is ReviewState.DENIED:
            decision, document = await self._denied(row, negotiation)
            follows: dict[str, Any] = {"move": "deny", "document": document}
            if not own:
                follows["mail"] = self._mail(row, negotiation, self._signed(negotiation, decision, Holder(row.holder)))
            return follows, ""
        follows = {"move": "release", "document": {"until": until}, "deadline": until}
        if own:
            return {**follows, "effect": ""}, negotiation.id
        mail = self._mail(row, negotiation, "")
        return {**follows, "effect": negotiation.effect, "mail": mail}, ""

    def _appealed(
        self, row: ReviewRow, negotiation: rows.NegotiationRow, outcome: ReviewState, now: int
    ) -> tuple[dict[str, Any], str]:
        own = negotiation.side == "consumer"
        overturned = outcome is ReviewState.APPROVED
        state = "overturned" if overturned else "upheld"
        appeal = {**negotiation.document.get("appeal", {}), "state": state}
        follows: dict[str, Any] = {"move": "appeal", "document": {"appeal": appeal}}
        if own:
            if not overturned:
                return follows, ""
            anew = ask_anew(self._house, negotiation, now)
            appeal["anew"] = anew["id"]
            return {**follows, "anew": anew}, str(anew["id"])
        decision = findings.refusal(self._house.zone, denial(self._house.zone, Holder.ADMIN))
        payload = "" if overturned else self._signed(negotiation, decision, Holder.ADMIN)
        follows["mail"] = self._mail(row, negotiation, payload)
        return follows, ""

    async def _denied(self, row: ReviewRow, negotiation: rows.NegotiationRow) -> tuple[Decision, dict[str, Any]]:
        """This zone's decision once a person has denied, and what the negotiation's row says of it."""
        house = self._house
        kept = await kept_input(house.state, row.decision_id)
        finding = denial(house.zone, Holder(row.holder))
        said = findings.refusal(house.zone, finding)
        if kept is not None:
            said = findings.tighten(kept[1], finding)
        known = [each for each in negotiation.document.get("findings", []) if each["effect"] != "info"]
        document = {
            "findings": [finding.to_json(), *known],
            "reason": f"denied by {house.zone}/{row.holder}",
            "denied_by": denied_by(house.zone, said, row.holder),
            "decisions": [
                *(each for each in negotiation.document["decisions"] if each[0] != house.zone),
                [house.zone, "deny", said.decision_id],
            ],
        }
        if negotiation.side == "provider":
            stored = negotiation.document["answer"]
            answer = self._signed(negotiation, said, Holder(row.holder))
            document["answer"] = {**stored, "decision": answer}
        return said, document

    def _mail(self, row: ReviewRow, negotiation: rows.NegotiationRow, decision: str) -> dict[str, Any]:
        """What tells the other zone: a signed denial, or nothing where its negotiation may go on."""
        payload = canonical.encode({"review": row.id, "decision": decision}).decode()
        return self._outbox.mail("reviewed", negotiation.peer_zone, negotiation.id, payload)

    def _signed(self, negotiation: rows.NegotiationRow, decision: Decision, holder: Holder) -> str:
        """The denial as the other zone's gateway takes it, also when it was away for long."""
        house = self._house
        body = ZoneDecision(
            negotiation=negotiation.id,
            decision=decision.for_peer().to_json(),
            effect="deny",
            held_by=f"{house.zone}/{holder.value}",
            deadline=0,
        )
        return house.sign(body, to=negotiation.peer_zone, process=negotiation.id, ttl=house.timing.review)

    async def expire(self) -> int:
        """End appeals that nobody answered, on the ledger; the count of them. Reviews end with their negotiation."""
        house, now = self._house, self._house.clock()
        late = await review_rows.list_reviews(house.state, due=now, kind=ReviewKind.APPEAL.value, size=None)
        for found in late:
            async with house.negotiations.hold(found.negotiation_id):
                row = await review_rows.get_review(house.state, found.id)
                if not row.open or row.deadline >= now:
                    continue
                negotiation = await rows.get_negotiation(house.state, row.negotiation_id)
                await house.steps.run(
                    Step(
                        kind="approval",
                        subject=f"negotiations/{row.negotiation_id}",
                        body={
                            "what": row.kind,
                            "review": row.id,
                            "holder": f"{house.zone}/{row.holder}",
                            "outcome": ReviewState.EXPIRED.value,
                        },
                        effect="review.answered",
                        arguments={
                            "vote": None,
                            "review": row.id,
                            "outcome": ReviewState.EXPIRED.value,
                            "negotiation": negotiation.id,
                            "follows": {
                                "move": "appeal",
                                "document": {
                                    "appeal": {**negotiation.document.get("appeal", {}), "state": "unanswered"}
                                },
                            },
                            "now": now,
                        },
                        closing=True,
                    )
                )
        return len(late)


def ask_anew(house: House, negotiation: rows.NegotiationRow, now: int) -> dict[str, Any]:
    """The row of a negotiation that asks again for what an overturned appeal was about."""
    identifier = uuid7()
    until = now + house.timing.review
    return {
        "id": identifier,
        "side": "consumer",
        "participant": negotiation.participant,
        "request_id": identifier,
        "body_digest": negotiation.body_digest,
        "peer_zone": "",
        "resource": negotiation.resource,
        "purpose": negotiation.purpose,
        "state": State.REQUESTED.value,
        "deadline": until,
        "document": {
            "mechanisms": negotiation.document["mechanisms"],
            "appeal_of": negotiation.id,
            "until": until,
        },
        "created_at": now,
        "updated_at": now,
    }
