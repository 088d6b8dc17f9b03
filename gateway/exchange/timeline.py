"""What entries say of a request, its agreement and its transfers, in sentences; and what it waits for now."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field, replace
from typing import Any, Final

from gateway.errors import InputError
from gateway.exchange import rows
from gateway.model.decision import Finding
from gateway.model.negotiation import NegotiationState
from gateway.model.transfer import TransferState
from ledger.entry import Entry
from ledger.facts.opened import items, mapping, number, signed, text

_LATE_S: Final = 86_400
_EFFECTS: Final = {"allow": "allowed", "review": "held until a person has looked at it", "deny": "refused"}
_AGREEMENTS: Final = {
    "countersigned": "countersigned the agreement",
    "in_force": "put the agreement in force",
    "not_confirmed": "let the offer lapse: it was not confirmed in time",
}


@dataclass(frozen=True, slots=True)
class TimelineStep:
    """One entry of a ledger, told."""

    time: str
    zone: str
    seq: int
    kind: str
    subject: str
    said: str
    effect: str = ""
    findings: tuple[Finding, ...] = ()
    waiting_for: str = ""
    deadline: int = 0


@dataclass(frozen=True, slots=True)
class Standing:
    """Where it stands: whom it waits for until when, and what to type next."""

    state: str
    reason: str = ""
    waiting_for: str = ""
    deadline: int = 0
    next: str = ""


@dataclass(frozen=True, slots=True)
class Told:
    """The rows of this zone that belong together."""

    negotiation: rows.NegotiationRow | None
    agreement: rows.AgreementRow | None
    transfers: tuple[rows.TransferRow, ...] = field(default=())

    @property
    def participant(self) -> str:
        """URI of the institution that asked."""
        return self.negotiation.participant if self.negotiation else self.agreement.consumer if self.agreement else ""

    @property
    def side(self) -> str:
        """This zone's side."""
        return self.negotiation.side if self.negotiation else self.agreement.side if self.agreement else ""

    @property
    def resource(self) -> str:
        """What was asked for."""
        return self.negotiation.resource if self.negotiation else self.agreement.resource if self.agreement else ""

    @property
    def peer_zone(self) -> str:
        """The other zone; empty where none was asked."""
        asked = self.negotiation.peer_zone if self.negotiation else ""
        return asked or (self.agreement.peer_zone if self.agreement else "")

    @property
    def subjects(self) -> list[str]:
        """What entries about it are about."""
        return [
            *([f"negotiations/{self.negotiation.id}"] if self.negotiation else []),
            *([f"agreements/{self.agreement.id}"] if self.agreement else []),
            *(f"transfers/{each.id}" for each in self.transfers),
        ]

    @property
    def since(self) -> int:
        """When it began, Unix seconds."""
        known = (self.negotiation, self.agreement, *self.transfers)
        return min(row.created_at for row in known if row is not None)

    @property
    def until(self) -> int | None:
        """When nothing more was to come of it, with a day for what the other zone heard late; None where more may."""
        if len(self.transfers) == 1 and not (row := self.transfers[0]).open:
            ended = row.state == TransferState.TERMINATED or row.peer_receipt
            return row.updated_at + _LATE_S if ended else None
        if self.negotiation is not None and self.negotiation.state == NegotiationState.TERMINATED:
            return self.negotiation.updated_at + _LATE_S
        return None

    def standing(self, now: int) -> Standing:
        """Where it stands by this zone's rows.

        Args:
            now: Unix seconds.
        """
        found = self._standing(now)
        return found if self.side == "consumer" else replace(found, next="")  # the institution is the other zone's

    def _standing(self, now: int) -> Standing:
        agreement, asked = self.agreement, self.negotiation
        again = f"tdz request {self.resource} --purpose {asked.purpose if asked else 'PURPOSE'}"
        if agreement is None or agreement.state in {NegotiationState.OFFERED, NegotiationState.ACCEPTED}:
            return _of_negotiation(asked, again) if asked is not None else Standing("")
        in_force = agreement.state == NegotiationState.FINALIZED and now < agreement.expires_at
        onward = f"tdz pull {agreement.id} -o FILE" if in_force else again
        if self.transfers:
            return _of_transfer(self.transfers[0], onward)
        if in_force:
            return Standing(agreement.state, "", self.participant, agreement.expires_at, onward)
        return Standing(agreement.state, agreement.reason or "the agreement has expired", next=again)


def step_of(zone: str, entry: Entry) -> TimelineStep:
    """One entry as a step.

    Args:
        zone: whose ledger it stands on.
        entry: about a negotiation, an agreement or a transfer. What is not as expected is left out.
    """
    heard = signed(entry.body.get("peer_decision"))
    own = mapping(entry.body.get("decision"))
    deciding = own or (mapping(heard.body.get("decision")) if heard is not None else {})
    listed = [*items(deciding.get("findings")), *items([entry.body.get("finding")])]
    effect = text(entry.body.get("effect"))
    held, until = "", 0
    if effect == "review":
        held = text(heard.body.get("held_by")) if heard is not None and not own else ""
        held = held or (f"{zone}/admin" if heard is None else "")
        until = number(heard.body.get("deadline")) or 0 if heard is not None and not own else 0
    said = _SENTENCES.get(entry.kind, _recorded)(zone, entry, "" if heard is None or own else heard.issuer)
    findings = tuple(found for each in listed if (found := _finding(each)) is not None)
    return TimelineStep(entry.time, zone, entry.seq, entry.kind, entry.subject, said, effect, findings, held, until)


def in_time(steps: Sequence[TimelineStep], own: str) -> list[TimelineStep]:
    """Steps of both ledgers in one order."""
    return sorted(steps, key=lambda each: (each.time, each.zone != own, each.seq))


def _finding(document: dict[str, Any]) -> Finding | None:
    try:
        return Finding.from_json(document)
    except InputError:
        return None


def _decision(zone: str, entry: Entry, heard_of: str) -> str:
    effect, reason = text(entry.body.get("effect")), text(entry.body.get("reason"))
    outcome = _EFFECTS.get(effect, effect)
    if entry.subject.startswith("transfers/"):
        return f"{zone} refused the pull: what its policy says now does not allow it"
    if heard_of:
        return f"{zone} heard the answer of {heard_of}: {outcome}"
    asked = mapping(entry.body.get("request")) or entry.body
    if reason or not text(asked.get("resource")):
        return f"{zone} ended the request: {reason or outcome}"
    what = f"the request of {text(asked.get('participant'))} for {text(asked.get('resource'))}"
    return f"{zone} decided on {what} ({text(asked.get('purpose'))}): {outcome}"


def _agreement(zone: str, entry: Entry, _heard_of: str) -> str:
    outcome = text(entry.body.get("outcome"))
    return f"{zone} {_AGREEMENTS.get(outcome, f'recorded of the agreement: {outcome}')}"


def _begun(zone: str, entry: Entry, _heard_of: str) -> str:
    word = "began" if entry.kind == "transfer.started" else "took up"
    first, chunks = number(entry.body.get("first_chunk")) or 0, number(entry.body.get("chunks")) or 0
    if first >= chunks:
        return f"{zone} {word} the transfer: all {chunks} chunks have crossed before"
    return f"{zone} {word} the transfer at chunk {first} of {chunks}"


def _completed(zone: str, entry: Entry, _heard_of: str) -> str:
    count = f"{number(entry.body.get('chunks')) or 0} chunks, {number(entry.body.get('bytes')) or 0} bytes"
    if "receipts" in entry.body:
        return f"{zone} took the receipt for {count} and signed its own"
    return f"{zone} verified all that arrived ({count}) and signed its receipt"


def _receipt(zone: str, _entry: Entry, _heard_of: str) -> str:
    return f"{zone} took the other zone's receipt: both sides have signed the same"


def _aborted(zone: str, entry: Entry, _heard_of: str) -> str:
    return f"{zone} gave the transfer up: {text(entry.body.get('reason')) or 'no reason given'}"


_ANSWERS: Final = {
    ("review", "APPROVED"): "the request may go on",
    ("review", "DENIED"): "the request ends",
    ("review", "OPEN"): "others must approve too",
    ("appeal", "APPROVED"): "the denial is overturned, and the request decided anew",
    ("appeal", "DENIED"): "the denial is upheld",
    ("appeal", "OPEN"): "others must agree",
    ("appeal", "EXPIRED"): "nobody answered in time",
}


def _approval(zone: str, entry: Entry, _heard_of: str) -> str:
    what, outcome = text(entry.body.get("what")), text(entry.body.get("outcome"))
    verdict = {"approve": "approved", "deny": "denied"}.get(text(entry.body.get("verdict")), "answered")
    verb = "ended an appeal" if outcome == "EXPIRED" else f"{verdict} an appeal" if what == "appeal" else verdict
    who = text(entry.body.get("holder")) or zone
    return f"{who} {verb}: {_ANSWERS.get((what, outcome), outcome)}"


def _appeal(zone: str, entry: Entry, _heard_of: str) -> str:
    return f"{zone} took the appeal of {text(entry.body.get('by'))}; {text(entry.body.get('zone'))} answers it"


def _revocation(zone: str, entry: Entry, _heard_of: str) -> str:
    return f"{zone} ended the agreement: {text(entry.body.get('reason'))}"


def _recorded(zone: str, entry: Entry, _heard_of: str) -> str:
    return f"{zone} recorded {entry.kind}"


_SENTENCES: Final = {
    "decision": _decision,
    "approval": _approval,
    "appeal": _appeal,
    "revocation": _revocation,
    "agreement": _agreement,
    "transfer.started": _begun,
    "transfer.resumed": _begun,
    "transfer.completed": _completed,
    "transfer.aborted": _aborted,
    "receipt": _receipt,
}


def _of_negotiation(row: rows.NegotiationRow, again: str) -> Standing:
    if row.open:
        return Standing(row.state, "", row.held_by or row.peer_zone, row.deadline, f"tdz request show {row.id}")
    reason = str(row.document.get("reason", "")) or ("refused" if row.effect == "deny" else "")
    return Standing(row.state, reason, next=again)


def _of_transfer(row: rows.TransferRow, onward: str) -> Standing:
    if row.state == TransferState.COMPLETED:
        if not row.peer_receipt:
            return Standing(row.state, row.reason, row.peer_zone, 0, f"tdz transfer show {row.id}")
        return Standing(row.state, next=f"tdz transfer receipt {row.id} -o {row.id}.receipt")
    if row.state == TransferState.TERMINATED:
        return Standing(row.state, row.reason, next=onward)
    waits = row.participant if row.state == TransferState.SUSPENDED else row.peer_zone
    return Standing(row.state, row.reason, waits, row.deadline, f"{onward} --transfer {row.id}")
