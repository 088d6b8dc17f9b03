"""How a negotiation goes on from what persons answered; `gateway.flow.reviewing` takes their answers.

consumer's zone approves    the request is decided anew there, and goes on
provider's zone approves    the consumer's gateway is told, decides anew and asks again; here it is decided anew
one person denies           it ends, in both zones
"""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from gateway.decisions.inputs import kept_input
from gateway.exchange import rows
from gateway.exchange.asking import denied_by
from gateway.exchange.house import House
from gateway.exchange.outbox import Outbox
from gateway.flow import findings
from gateway.flow.review_rows import ReviewRow
from gateway.flow.reviewing import Follows
from gateway.model import canonical
from gateway.model.decision import Decision
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationState as State
from gateway.model.review import Holder, ReviewKind, ReviewState, denial
from gateway.model.statements import ZoneDecision

Drive = Callable[[str], None]
_APPEAL_ENDS: Final = {
    ReviewState.APPROVED: "overturned",
    ReviewState.DENIED: "upheld",
    ReviewState.EXPIRED: "unanswered",
}


class HeldNegotiations:
    """Negotiations that wait for persons, and denials that are appealed against; `gateway.flow.reviewing.Waiting`.

    Args:
        house: this zone.
        outbox: tells the other zone.
        drive: goes on with a negotiation of this zone's institutions.
    """

    effect: Final = "review.answered"

    def __init__(self, house: House, outbox: Outbox, drive: Drive) -> None:
        self._house = house
        self._outbox = outbox
        self._drive = drive

    def hold(self, identifier: str) -> AbstractAsyncContextManager[None]:
        """A negotiation's lock."""
        return self._house.negotiations.hold(identifier)

    async def follows(self, row: ReviewRow, outcome: ReviewState, now: int) -> Follows:
        """What an answer does to the negotiation, and what is driven then."""
        negotiation = await rows.get_negotiation(self._house.state, row.process_id)
        arguments, drives = await self._moved(row, negotiation, outcome, now)

        async def then() -> None:
            self._outbox.wake()
            if drives:
                self._drive(drives)

        return Follows(arguments, then)

    async def _moved(
        self, row: ReviewRow, negotiation: rows.NegotiationRow, outcome: ReviewState, now: int
    ) -> tuple[dict[str, Any], str]:
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
        appeal = {**negotiation.document.get("appeal", {}), "state": _APPEAL_ENDS[outcome]}
        follows: dict[str, Any] = {"move": "appeal", "document": {"appeal": appeal}}
        if outcome is ReviewState.EXPIRED:
            return follows, ""
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
