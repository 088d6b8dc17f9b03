"""Appeals: an institution asks other persons to look again at a denial, in the zone that denied.

    denied in the consumer's zone    `appeal` on its ledger; its administrators answer
    denied in the provider's zone    `appeal` on the provider's ledger, then on the consumer's; its administrators
                                     answer, and the consumer's gateway hears the answer

Overturned, the request is decided anew, as a negotiation of its own, since one that has ended stays ended.
"""

from __future__ import annotations

import secrets
from typing import Any

from sqlalchemy import Connection

from gateway.decisions.inputs import kept_input
from gateway.errors import ConflictError, InputError, NotFoundError, PeerError, PeerUnavailableError
from gateway.exchange import rows
from gateway.exchange.asking import denied_by
from gateway.exchange.house import House
from gateway.exchange.peer import AppealTaken
from gateway.exchange.review_effects import create_anew, note_appeal
from gateway.exchange.reviewing import Drive, ask_anew
from gateway.flow import review_rows
from gateway.flow.house import parse_envelope
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.commitment import commitment
from gateway.model.ids import parse_uuid7, uuid7
from gateway.model.negotiation import NegotiationEvent as Event
from gateway.model.negotiation import NegotiationState as State
from gateway.model.participant import Identity
from gateway.model.review import Basis, Holder, Process, ReviewKind, ReviewState, facts_digest
from gateway.model.statements import Appeal, ZoneDecision


class Appeals:
    """Files appeals, takes those of the other zones, and hears what other zones' reviewers answered.

    Args:
        house: this zone.
        drive: goes on with a negotiation of this zone's institutions.
    """

    def __init__(self, house: House, drive: Drive) -> None:
        self._house = house
        self._drive = drive

    async def file(self, caller: Identity, identifier: str, note: str) -> rows.NegotiationRow:
        """Appeal against the denial of an own request.

        Raises:
            NotFoundError: not the caller's.
            ConflictError: nothing to appeal against, or appealed before.
            InputError: the note is empty or too long.
            PeerUnavailableError: the zone that denied does not answer; nothing was recorded here.
        """
        house = self._house
        if not note.strip() or len(note) > limits.NOTE_MAX_CHARS:
            raise InputError(f"say why, in at most {limits.NOTE_MAX_CHARS} characters", remedy="--note TEXT")
        async with house.negotiations.hold(identifier):
            row = await rows.get_negotiation(house.state, identifier)
            if row.participant != caller.uri or row.side != "consumer" or row.document.get("unknown"):
                raise NotFoundError(f"no request {identifier[:80]} of yours", remedy="see `tdz request list`")
            zone = self._require_appealable(row)
            if zone == house.zone:
                await self._take(row, note, house.clock() + house.timing.review)
            else:
                body = Appeal(negotiation=row.id, participant=caller.uri, note=note)
                envelope = house.sign(body, to=zone, process=row.id)
                taken = await house.peers.get(zone).appeal(envelope, house.journal.committed_size)
                if not taken.review:
                    raise PeerError(f"{zone} takes an appeal without naming it")
                until = min(taken.deadline, house.clock() + house.timing.review)
                await self._note(row, AppealTaken(parse_uuid7(taken.review), until), zone, note)
        return await rows.get_negotiation(house.state, identifier)

    async def take(self, zone: str, envelope: str) -> AppealTaken:
        """Take an appeal of another zone's institution; repeated, it gives the same answer.

        Raises:
            NotFoundError: no such negotiation of that zone.
            ConflictError: nothing to appeal against here.
            IntegrityError, PeerError: not what the peer may send.
        """
        house = self._house
        body = house.read(Appeal, envelope, of=zone)
        async with house.negotiations.hold(body.negotiation):
            row = await rows.get_negotiation(house.state, body.negotiation)
            if row.side != "provider" or row.peer_zone != zone or row.participant != body.participant:
                raise NotFoundError("no such negotiation")
            standing = row.document.get("appeal", {})
            if standing.get("state") == "open":
                return AppealTaken(standing["review"], standing["deadline"])
            if self._require_appealable(row) != house.zone:
                raise ConflictError("this zone did not deny it")
            deadline = house.clock() + house.timing.review
            return AppealTaken(await self._take(row, body.note, deadline), deadline)

    async def hear(self, zone: str, identifier: str, review: str, decision: str, ledger_size: int) -> None:
        """Hear what reviewers of the other zone answered; repeated, it changes nothing.

        Args:
            zone: the zone that tells.
            identifier: the negotiation.
            review: what they answered; what is told again late must not pass for the answer to a later appeal.
            decision: its signed denial; empty where the negotiation may go on.
            ledger_size: of its ledger, with the answer on it.

        Raises:
            NotFoundError: no such negotiation with that zone.
            PeerError, IntegrityError: the denial does not hold.
            PeerUnavailableError: our mirror did not reach the peer's size.
        """
        house = self._house
        async with house.negotiations.hold(identifier):
            row = await rows.get_negotiation(house.state, identifier)
            if row.side != "consumer" or row.peer_zone != zone:
                raise NotFoundError("no such negotiation")
            appeal: dict[str, Any] = row.document.get("appeal", {})
            held = row.state == State.REQUESTED and row.held_by.startswith(f"{zone}/")
            standing = tuple(appeal.get(name) for name in ("state", "zone", "review"))
            appealed = row.state == State.TERMINATED and standing == ("open", zone, review)
            if row.state == State.REQUESTED and not row.held_by:
                # Its answer that the negotiation waits is just being recorded, or it goes on already.
                raise PeerUnavailableError("the negotiation is under way here", remedy="tell it again")
            if not held and not appealed:
                return
            await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror, closing=bool(decision))
            if decision:
                await self._hear_denial(row, zone, decision, appeal if appealed else None)
                return
            drives = await self._go_on(row, appeal if appealed else None)
        self._drive(drives)

    # --- the steps --------------------------------------------------------------------------------------

    def _require_appealable(self, row: rows.NegotiationRow) -> str:
        """The zone whose persons can look again at what ended a negotiation."""
        denied: dict[str, str] = row.document.get("denied_by") or {}
        standing = row.document.get("appeal", {}).get("state", "")
        if row.state != State.TERMINATED or row.effect != "deny" or row.agreement_id:
            raise ConflictError("the request was not denied", remedy=f"tdz request show {row.id}")
        if standing:
            raise ConflictError(f"the denial was appealed against before: {standing}", remedy="ask again")
        if denied.get("by") == "owner":
            raise ConflictError("the owner did not approve it, whose word is final", remedy="ask the owner")
        if denied.get("by") not in {"policy", "admin"}:
            raise ConflictError(
                "no policy and no administrator denied it", remedy="mend what the findings name, then ask again"
            )
        return denied["zone"]

    async def _take(self, row: rows.NegotiationRow, note: str, deadline: int) -> str:
        """This zone answers it; its id."""
        house, now = self._house, self._house.clock()
        review = review_rows.new_review(
            kind=ReviewKind.APPEAL,
            process=Process.NEGOTIATION,
            process_id=row.id,
            holder=Holder.ADMIN,
            owner="",
            participant=row.participant,
            peer_zone=row.peer_zone,
            resource=row.resource,
            purpose=row.purpose,
            decision_id=row.document["denied_by"]["decision"],
            basis=await self._basis(row),
            needed=house.administrators,
            deadline=deadline,
            now=now,
            note=note,
        )
        appeal = {"zone": house.zone, "state": "open", "deadline": deadline, "review": review["id"]}
        await self._record(row, note, appeal, review)
        return str(review["id"])

    async def _note(self, row: rows.NegotiationRow, taken: AppealTaken, zone: str, note: str) -> None:
        """The other zone answers it."""
        appeal = {"zone": zone, "state": "open", "deadline": taken.deadline, "review": taken.review}
        await self._record(row, note, appeal, None)

    async def _record(
        self, row: rows.NegotiationRow, note: str, appeal: dict[str, Any], review: dict[str, Any] | None
    ) -> None:
        entry_id, salt = uuid7(), secrets.token_bytes(32)
        await self._house.steps.run(
            Step(
                kind="appeal",
                subject=f"negotiations/{row.id}",
                body={
                    "negotiation": row.id,
                    "by": row.participant,
                    "zone": appeal["zone"],
                    "decision": row.document["denied_by"]["decision"],
                    "deadline": appeal["deadline"],
                    "note": commitment(salt, entry_id, "/body/note", note),
                },
                effect="review.appealed",
                arguments={
                    "negotiation": row.id,
                    "appeal": {**appeal, "note": note, "salt": salt.hex()},
                    "review": review,
                },
                entry_id=entry_id,
            )
        )

    async def _basis(self, row: rows.NegotiationRow) -> Basis:
        """What an overturned appeal lifts: the findings of the review that persons denied; else nothing."""
        of_it = await review_rows.of_negotiation(self._house.state, row.id)
        if row.document["denied_by"]["by"] == "admin":
            for each in reversed(of_it):
                if each.kind == ReviewKind.REVIEW and each.state == ReviewState.DENIED:
                    return each.bound_to
        kept = await kept_input(self._house.state, row.document["denied_by"]["decision"])
        return Basis("" if kept is None else facts_digest(kept[0]), "", "", (), ())

    async def _hear_denial(
        self, row: rows.NegotiationRow, zone: str, envelope: str, appeal: dict[str, Any] | None
    ) -> None:
        house = self._house
        theirs = house.read(ZoneDecision, envelope, of=zone, process=row.id)
        decision = theirs.peer_decision()
        holder = theirs.held_by.removeprefix(f"{zone}/")
        if theirs.effect != "deny" or decision.effect != "deny" or decision.zone != zone or holder not in set(Holder):
            raise PeerError(f"{zone} tells of a denial and sends none")
        body = {"effect": "deny", "peer_decision": parse_envelope(envelope).to_json()}
        if appeal is not None:
            step = Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={**body, "reason": "appeal upheld"},
                effect="review.upheld",
                arguments={"negotiation": row.id, "appeal": {**appeal, "state": "upheld"}},
                closing=True,
            )
        else:
            own = [each for each in row.document["decisions"] if each[0] == house.zone]
            step = Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body=body,
                effect="consumer.ended",
                arguments={
                    "id": row.id,
                    "effect": "deny",
                    "document": {
                        "findings": [finding.to_json() for finding in decision.findings],
                        "reason": f"denied by {zone}/{holder}",
                        "denied_by": denied_by(zone, decision, holder),
                        "decisions": [*own, [zone, "deny", decision.decision_id]],
                    },
                    "now": house.clock(),
                },
                closing=True,
            )
        await house.steps.run(step)

    async def _go_on(self, row: rows.NegotiationRow, appeal: dict[str, Any] | None) -> str:
        """Let the negotiation go on, durably, before the peer hears that we heard; the one that is driven."""
        house, now = self._house, self._house.clock()
        anew = ask_anew(house, row, now)
        until = now + house.timing.review

        def work(connection: Connection) -> None:
            if appeal is None:
                rows.advance_negotiation(
                    connection,
                    row.id,
                    Event.DECIDE,
                    document={"until": until},
                    held_by="",
                    effect="",
                    deadline=until,
                    updated_at=now,
                )
            else:
                note_appeal(connection, row.id, {**appeal, "state": "overturned", "anew": anew["id"]})
                create_anew(connection, anew)

        await house.state.write(work)
        return row.id if appeal is None else str(anew["id"])
