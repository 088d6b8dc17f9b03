"""The coordinator's way to an agreement on a run, in two round trips.

    A decides on the other zone's datasets          job.decided on A
    A -> B proposal; B decides on all datasets      job.decided on B
    A hears B, decides on its own datasets          job.decided on A, run.agreed with A's signature
    A -> B agreement; B signs too                   run.agreed on B with both signatures: in force

A cannot decide on its own datasets before it knows which institutions of B receive what they give.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from typing import Any

import structlog

from gateway.errors import (
    ClockError,
    LedgerError,
    LimitError,
    PeerError,
    PeerUnavailableError,
    StorageError,
    TdzError,
)
from gateway.federation import rows
from gateway.federation.deciding import ELSEWHERE, NO_OTHER_ZONE, Deciding, Matter, Ruling
from gateway.federation.ending import Ending
from gateway.federation.held import held, held_there
from gateway.federation.house import House
from gateway.federation.involved import Datasets
from gateway.federation.peer import Answered, Cards, Proposal
from gateway.federation.rulings import (
    check_decisions,
    heard,
    not_allowed,
    patiently,
    record_rulings,
    said,
    sign_decisions,
)
from gateway.flow import findings
from gateway.flow.house import parse_envelope
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.decision import Decision, Finding
from gateway.model.run import RunEnd, RunEvent
from gateway.model.run_statements import (
    RunAgreement,
    RunAnswer,
    RunDecisionIds,
    RunDecisions,
    RunProposal,
)
from gateway.model.statements import ResourceCard

_log = structlog.get_logger()


class Stopped(Exception):
    """The run ends here, or waits for persons: what the ledger says is on it already."""


class Agreeing:
    """Takes a submitted run to an agreement in force, or to its refusal."""

    def __init__(self, house: House, deciding: Deciding, ending: Ending, cards: Cards) -> None:
        self._house = house
        self._deciding = deciding
        self._ending = ending
        self._datasets = Datasets(house, cards)

    async def propose(self, row: rows.RunRow) -> rows.RunRow:
        """From SUBMITTED to DECIDED, to a review, or to an end; the row as it is then."""
        try:
            if "proposal" not in row.document or row.document.get("stale"):
                row = await self._decide_first(row)
            await self._decide_rest(row, await self._answered(row))
        except Stopped:
            pass
        except PeerUnavailableError:
            return await self._ending.end(row, RunEvent.FAIL, RunEnd.PEER_AWAY)
        except ClockError as error:
            return await self._ending.end(row, RunEvent.FAIL, error.reason)
        except (LedgerError, StorageError):
            raise  # nobody's decision: a restart goes on
        except TdzError as error:
            _log.error("a run is not agreed on", run=row.id, reason=error.reason, error=str(error))
            return await self._ending.end(row, RunEvent.FAIL, error.reason)
        return await rows.get(self._house.state, row.id)

    # --- round trip 1 -----------------------------------------------------------------------------------

    async def _decide_first(self, row: rows.RunRow) -> rows.RunRow:
        """Find the datasets, decide on the other zone's, and sign the proposal."""
        house = self._house
        until = row.deadline if row.document.get("stale") else 0  # as long as their review might have taken
        found = await patiently(house, until, lambda: self._datasets.find(row))
        if found.missing:
            await self._refuse(row, findings.NOT_OFFERED, resource=found.missing)
        if len(others := found.others(house.zone)) != 1:
            await self._refuse(row, NO_OTHER_ZONE)
        (other,) = others
        if not set(row.spec.result.zones) <= {house.zone, other}:
            await self._refuse(row, ELSEWHERE)
        await patiently(house, until, lambda: house.check_clock(other))
        recipient = await house.recipient(row.participant)
        if recipient is None:
            await self._refuse(row, findings.NOT_OFFERED)
        matter = Matter(
            spec=row.spec,
            app_digest=row.document["app_digest"],
            participant=row.participant,
            coordinator=house.zone,
            other=other,
            datasets=tuple(found.datasets),
            cards=found.cards,
            recipients={},
        )
        rulings = await self._deciding.job(row.id, matter, found.of_zone(other))
        members: dict[str, Any] = {
            "datasets": [each.document() for each in found.datasets],
            "cards": [card.document() for card in found.cards.values()],
        }
        await record_rulings(house, row.id, rulings)
        if effect := not_allowed(rulings):
            members["decisions"] = said(house.zone, rulings)
            await self._stopped(row, rulings, effect, members, other)
        ttl = max(row.deadline - house.clock(), 1)
        decisions = sign_decisions(house, row.id, other, rulings, ttl=ttl)
        cards = await self._datasets.own_cards(other, found.of_zone(house.zone))
        proposal = RunProposal.parse(
            {
                "id": row.id,
                "participant": row.participant,
                "recipient": recipient.document() if recipient is not None else {},
                "spec": row.spec.document(),
                "app_digest": matter.app_digest,
                "datasets": members["datasets"],
                "cards": [hashlib.sha256(card.encode()).hexdigest() for card in cards],
                "attempt": row.document.get("attempt", 0),
            }
        )
        envelope = house.sign(proposal, to=other, process=row.id, ttl=ttl)
        document = {
            **members,
            "stale": False,
            "proposal": envelope,
            "proposal_decisions": decisions,
            "own_cards": cards,
            "decisions": said(house.zone, rulings),
        }
        await house.steps.run(
            Step(
                kind="job.proposed",
                subject=f"runs/{row.id}",
                body={"to": other, "datasets": members["datasets"]},
                effect="run.proposed",
                arguments={"id": row.id, "peer_zone": other, "document": document, "now": house.clock()},
            )
        )
        return await rows.get(house.state, row.id)

    async def _answered(self, row: rows.RunRow) -> Answered:
        house, document = self._house, row.document
        proposal = Proposal(document["proposal"], document["proposal_decisions"], tuple(document["own_cards"]))

        async def ask() -> Answered:
            house.journal.require_open(row.peer_zone)
            answer = await house.peers.get(row.peer_zone).propose(proposal, house.journal.committed_size)
            await house.journal.wait_mirrored(row.peer_zone, answer.ledger_size, house.timing.mirror)
            return answer

        return await patiently(house, row.deadline, ask)

    async def _decide_rest(self, row: rows.RunRow, answered: Answered) -> None:
        """Hear the other zone's decisions, decide on the own datasets, and sign the agreement."""
        house = self._house
        answer = house.read(RunAnswer, answered.envelope, of=row.peer_zone, process=row.id)
        theirs = house.read(RunDecisions, answered.decisions, of=row.peer_zone, process=row.id)
        matter = self._matter(row, answer)
        decisions = check_decisions(matter, theirs, row.peer_zone)
        if theirs.effect == "review":
            await self._held_there(row, answered, answer, decisions)
        if theirs.effect != "allow":
            found = [finding for decision in decisions for finding in decision.findings]
            document = {
                "findings": [finding.to_json() for finding in found],
                "decisions": [*row.document["decisions"], *heard(row.peer_zone, decisions)],
            }
            await self._moved(
                row, "run.refused", RunEvent.REFUSE, document,
                {"effect": theirs.effect, "peer_decisions": parse_envelope(answered.decisions).to_json()},
                reason=RunEnd.POLICY,
            )  # fmt: skip
            raise Stopped
        own = row.of_zone(house.zone)
        rulings = await self._deciding.job(row.id, matter, own)
        await record_rulings(house, row.id, rulings)
        if effect := not_allowed(rulings):
            both_zones = [*heard(row.peer_zone, decisions), *said(house.zone, rulings)]
            members = {"decisions": [*row.document["decisions"], *both_zones]}
            await self._stopped(row, rulings, effect, members, row.peer_zone)
        now = house.clock()
        until = [now + house.timing.agreement]
        until += [card.terms.until for card in matter.cards.values() if card.terms.until]
        until += [end for each in rulings for end in house.ends(each.kept)]
        until += [pack.valid_until for decision in decisions for pack in decision.packs if pack.valid_until]
        confirm_before = now + limits.RUN_CONFIRM_S
        coordinator = [ids[2] for ids in row.document["decisions"]] + [r.kept.decision.decision_id for r in rulings]
        agreement = RunAgreement(
            id=row.id,
            participant=row.participant,
            coordinator_zone=house.zone,
            participant_zone=row.peer_zone,
            spec=row.spec.without_texts(),
            spec_digest=row.body_digest,
            app_digest=matter.app_digest,
            datasets=row.datasets,
            decisions=RunDecisionIds(
                coordinator=tuple(coordinator), participant=tuple(d.decision_id for d in decisions)
            ),
            confirm_before=confirm_before,
            expires_at=min(until),
        )
        envelope = house.sign(agreement, to=row.peer_zone, process=row.id, ttl=max(agreement.expires_at - now, 1))
        if len(envelope) > limits.STATEMENT_MAX:
            raise LimitError(
                "the run's agreement does not fit a ledger entry", remedy="name fewer features or datasets"
            )
        document = {
            "decisions": [*row.document["decisions"], *said(house.zone, rulings), *heard(row.peer_zone, decisions)],
            "recipients": [each.document() for each in answer.recipients],
            "findings": [],
        }
        await self._moved(
            row, "run.agreed", RunEvent.DECIDE, document,
            {
                "outcome": "signed",
                "agreement": parse_envelope(envelope).to_json(),
                "peer_decisions": parse_envelope(answered.decisions).to_json(),
            },
            agreement=envelope, deadline=confirm_before,
        )  # fmt: skip

    # --- round trip 2 -----------------------------------------------------------------------------------

    async def confirm(self, row: rows.RunRow) -> rows.RunRow:
        """From DECIDED to QUEUED, or to an end if the other zone has not confirmed in time."""
        house = self._house

        async def ask() -> str:
            house.journal.require_open(row.peer_zone)
            peer = house.peers.get(row.peer_zone)
            answer = await peer.confirm_run(row.agreement, house.journal.committed_size)
            await house.journal.wait_mirrored(row.peer_zone, answer.ledger_size, house.timing.mirror)
            return answer.envelope

        try:
            envelope = await patiently(house, row.agreed.confirm_before, ask)
            both = parse_envelope(envelope)
            if both.payload != parse_envelope(row.agreement).payload:
                raise PeerError("the other zone signed something else than the agreement")
            both.require_signature(house.card(row.peer_zone).verification_key())
        except PeerUnavailableError:
            return await self._ending.end(row, RunEvent.FAIL, RunEnd.NOT_CONFIRMED)
        except (LedgerError, StorageError):
            raise
        except TdzError as error:
            _log.error("a run is not confirmed", run=row.id, reason=error.reason, error=str(error))
            return await self._ending.end(row, RunEvent.FAIL, error.reason)
        now = house.clock()
        await house.state.write(
            lambda connection: rows.move(
                connection,
                row.id,
                RunEvent.AGREE,
                agreement=envelope,
                deadline=row.agreed.expires_at,
                updated_at=now,
            )
        )
        return await rows.get(house.state, row.id)

    # --- what both round trips share --------------------------------------------------------------------

    def _matter(self, row: rows.RunRow, answer: RunAnswer) -> Matter:
        """With the other zone's institutions, which nobody but its own register vouches for."""
        for recipient in answer.recipients:
            if not recipient.id.startswith(f"tdz://{row.peer_zone}/partner/"):
                raise PeerError(f"{row.peer_zone} vouches for an institution that is not its own")
        return Matter(
            spec=row.spec,
            app_digest=row.document["app_digest"],
            participant=row.participant,
            coordinator=self._house.zone,
            other=row.peer_zone,
            datasets=row.datasets,
            cards={card.resource: card for card in map(ResourceCard.parse, row.document["cards"])},
            recipients={each.id: each for each in answer.recipients},
        )

    async def _refuse(self, row: rows.RunRow, finding: Finding, *, resource: str = "") -> None:
        """A denial by the gateway itself, before there is anything that policy could decide on."""
        kept = self._house.refuse({"run": row.id, "resource": resource}, finding)
        await self._house.steps.run(
            Step(
                kind="job.decided",
                subject=f"runs/{row.id}",
                body={**kept.entry(), "effect": "deny", "resource": resource},
                effect="run.moved",
                arguments=self._move(
                    row,
                    RunEvent.REFUSE,
                    {
                        "findings": [finding.to_json()],
                        "decisions": [[self._house.zone, "deny", kept.decision.decision_id]],
                    },
                    reason=RunEnd.POLICY.value,
                    told=0 if row.document.get("proposal") else 1,
                ),
                kept=kept,
            )
        )
        raise Stopped

    async def _held_there(
        self, row: rows.RunRow, answered: Answered, answer: RunAnswer, decisions: Sequence[Decision]
    ) -> None:
        """Persons of the other zone look at it; what they approve is decided anew here too."""
        document = {
            "findings": [each.to_json() for decision in decisions for each in decision.findings],
            "decisions": [*row.document["decisions"], *heard(row.peer_zone, decisions)],
        }
        said_there = {"effect": "review", "peer_decisions": parse_envelope(answered.decisions).to_json()}
        step = held_there(self._house, row, answer.held_by, answer.deadline, said_there, document)
        await self._house.steps.run(step)
        raise Stopped

    async def _stopped(
        self, row: rows.RunRow, rulings: Sequence[Ruling], effect: str, members: dict[str, Any], other: str
    ) -> None:
        """Own decisions that deny end the run; those that ask for a review let it wait for persons."""
        if effect == "review":
            await self._house.steps.run(held(self._house, row, rulings, peer_zone=other, document=members))
            raise Stopped
        found = [finding for ruling in rulings for finding in ruling.kept.decision.findings]
        document = {**members, "findings": [finding.to_json() for finding in dict.fromkeys(found)]}
        told = 0 if row.peer_zone and row.document.get("proposal") else 1
        await self._moved(
            row, "run.refused", RunEvent.REFUSE, document, {"effect": effect}, reason=RunEnd.POLICY, told=told
        )
        raise Stopped

    def _move(self, row: rows.RunRow, event: RunEvent, document: dict[str, Any], **values: Any) -> dict[str, Any]:
        return {
            "id": row.id,
            "event": event.value,
            "document": document,
            "values": {**values, "updated_at": self._house.clock()},
        }

    async def _moved(
        self,
        row: rows.RunRow,
        kind: str,
        event: RunEvent,
        document: dict[str, Any],
        body: dict[str, Any],
        **values: Any,
    ) -> None:
        values = {name: str(value) if isinstance(value, RunEnd) else value for name, value in values.items()}
        await self._house.steps.run(
            Step(
                kind=kind,
                subject=f"runs/{row.id}",
                body=body,
                effect="run.moved",
                arguments=self._move(row, event, document, **values),
            )
        )
