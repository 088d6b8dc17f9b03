"""The participant's side of an agreement on a run: decide on every dataset, answer, and put the agreement in force."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from typing import Any, Final

from gateway.errors import ConflictError, IntegrityError, LimitError, NotFoundError, PeerError
from gateway.federation import rows
from gateway.federation.deciding import MODEL_TAKEN, OTHER_APP, Deciding, Matter, Ruling
from gateway.federation.held import reviews_of
from gateway.federation.house import House
from gateway.federation.peer import Answered, Said
from gateway.federation.peer import Proposal as Proposed
from gateway.federation.rulings import check_decisions, heard, record_rulings, said, sign_decisions
from gateway.federation.trainer import Trainer
from gateway.flow import findings
from gateway.flow.house import parse_envelope
from gateway.flow.locks import KeyedLocks, both
from gateway.flow.steps import Step
from gateway.model import canonical, limits
from gateway.model.decision import Decision, strictest
from gateway.model.participant import Identity
from gateway.model.policy_facts import Recipient
from gateway.model.run import RunEnd, RunEvent, RunState, advance
from gateway.model.run_statements import RunAgreement, RunAnswer, RunDecisions, RunProposal
from gateway.model.statements import ResourceCard

_EVENTS: Final = {"allow": RunEvent.DECIDE, "review": RunEvent.HOLD, "deny": RunEvent.REFUSE}


@dataclass(frozen=True, slots=True)
class _Asked:
    """A proposal that was read: as it came, its digest, the coordinator's decisions, and its ledger's size then."""

    proposal: RunProposal
    proposed: Proposed
    digest: str
    decisions: list[Decision]
    ledger_size: int


class Answering:
    """Answers proposals. Every method may be called again with the same content and answers the same."""

    def __init__(self, house: House, deciding: Deciding, trainer: Trainer, locks: KeyedLocks) -> None:
        self._house = house
        self._deciding = deciding
        self._trainer = trainer
        self._locks = locks

    async def propose(self, zone: str, proposed: Proposed, ledger_size: int) -> Answered:
        """Decide on another zone's proposal.

        1. The peer signed it for us; its institution is of its zone.
        2. A known id gives the stored answer, or a refusal if the content differs; what waits for persons is decided
           anew, on what the peer says now and with what was approved.
        3. Our mirror holds the peer's entries of its own decisions.
        4. Owners' terms and own policy decide on each dataset, for each receiver.
        5. All decisions are on our ledger before the answer leaves.

        Raises:
            IntegrityError, PeerError: the proposal is not what the peer may send.
            ConflictError: the id is known with other content.
            LimitError: too long, or too many open runs of that zone.
            PeerUnavailableError: our mirror did not reach the peer's size.
        """
        house = self._house
        texts = (proposed.envelope, proposed.decisions, *proposed.cards)
        if len(proposed.cards) > limits.RUN_DATASETS_MAX or max(map(len, texts)) > limits.CARD_STATEMENT_MAX:
            raise LimitError(f"a proposal has at most {limits.RUN_DATASETS_MAX} cards, and each a statement's length")
        proposal = house.read(RunProposal, proposed.envelope, of=zone)  # 1
        if proposal.cards != tuple(hashlib.sha256(card.encode()).hexdigest() for card in proposed.cards):
            raise PeerError(f"{zone} proposes other cards than it sends")
        if Identity.parse(proposal.participant).zone != zone or proposal.recipient.id != proposal.participant:
            raise PeerError(f"{zone} proposes a run of an institution that is not its own")
        digest = canonical.digest(proposal.document())
        async with self._locks.hold(proposal.id):
            standing = await rows.known(house.state, proposal.id)  # 2
            if standing is None:
                await self._require_room(zone)
            elif not self._anew(standing, zone, proposal, digest):
                document = standing.document
                return Answered(document["answer"], document["answer_decisions"], document["ledger_size"])
            matter = self._matter(zone, proposal, proposed)
            theirs = house.read(RunDecisions, proposed.decisions, of=zone, process=proposal.id)
            if theirs.effect != "allow":
                raise PeerError(f"{zone} proposes a run without decisions of its own that allow it")
            their_decisions = check_decisions(matter, theirs, zone, only=house.zone)
            recipients, _ = await both(
                self._recipients(matter),
                house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror),  # 3
            )
            rulings = await self._rule(proposal.id, matter)  # 4
            asked = _Asked(proposal, proposed, digest, their_decisions, ledger_size)
            return await self._answer(matter, asked, rulings, recipients)

    async def _require_room(self, zone: str) -> None:
        open_runs = await rows.listed(self._house.state, side="participant", where_state=rows.OPEN)
        if sum(each.peer_zone == zone for each in open_runs) >= limits.RUNS_OPEN_MAX:
            raise LimitError(
                f"at most {limits.RUNS_OPEN_MAX} runs of one zone are open", remedy="wait until one has ended"
            )

    def _anew(self, standing: rows.RunRow, zone: str, proposal: RunProposal, digest: str) -> bool:
        """Whether a known run is decided anew: persons have approved something of it, and it asks for the same.

        Raises:
            ConflictError: the id is known with other content.
        """
        known = standing.side == "participant" and standing.peer_zone == zone
        same = (standing.participant, standing.spec) == (proposal.participant, proposal.spec)
        if known and same and standing.state in {RunState.SUBMITTED, RunState.DECIDED}:
            approved = standing.state == RunState.SUBMITTED and not standing.held_by.startswith(f"{self._house.zone}/")
            if approved or proposal.attempt > standing.document["attempt"]:
                return True
        if not known or standing.body_digest != digest:
            raise ConflictError("this run id is known with other content", remedy="use a new id")
        return False

    def _matter(self, zone: str, proposal: RunProposal, proposed: Proposed) -> Matter:
        house = self._house
        if tuple(each.resource for each in proposal.datasets) != proposal.spec.datasets:
            raise PeerError(f"{zone} proposes other datasets than its run names")
        if not {each.zone for each in proposal.datasets} <= {zone, house.zone}:
            raise PeerError(f"{zone} proposes datasets of a third zone")
        if not set(proposal.spec.result.zones) <= {zone, house.zone}:
            raise PeerError(f"{zone} proposes a result for a third zone")
        cards = {}
        for envelope in proposed.cards:
            card = house.read(ResourceCard, envelope, of=zone)
            cards[card.resource] = card
        for dataset in proposal.datasets:
            card_ = cards.get(dataset.resource) if dataset.zone == zone else None
            if card_ is not None and (card_.owner, card_.version, card_.manifest.rows) != (
                dataset.owner,
                dataset.version,
                dataset.rows,
            ):
                raise PeerError(f"{zone} proposes {dataset.resource} otherwise than its card says")
        return Matter(
            spec=proposal.spec,
            app_digest=proposal.app_digest,
            participant=proposal.participant,
            coordinator=zone,
            other=zone,
            datasets=proposal.datasets,
            cards={name: card for name, card in cards.items() if any(d.resource == name for d in proposal.datasets)},
            recipients={proposal.participant: proposal.recipient},
        )

    async def _recipients(self, matter: Matter) -> list[Recipient]:
        """Our institutions that would receive what leaves the coordinator; one that is not registered is left out."""
        owners = sorted({each.owner for each in matter.datasets if each.zone == self._house.zone})
        found = [await self._house.recipient(owner) for owner in owners]
        return [each for each in found if each is not None]

    async def _rule(self, run: str, matter: Matter) -> list[Ruling]:
        house = self._house
        refused: dict[str, Any] = {}
        for dataset in matter.datasets:
            if dataset.zone != house.zone:
                continue
            try:
                published = await house.catalog.get(dataset.resource)
            except NotFoundError:
                refused[dataset.resource] = findings.NOT_OFFERED
                continue
            if published.owner != dataset.owner:
                refused[dataset.resource] = findings.NOT_OFFERED
            elif (published.version, published.manifest.rows) != (dataset.version, dataset.rows):
                refused[dataset.resource] = findings.STALE
        if await self._taken(matter):
            refused = {each.resource: MODEL_TAKEN for each in matter.datasets} | refused
        if self._trainer.pin(matter.spec) != matter.app_digest:
            refused = {each.resource: OTHER_APP for each in matter.datasets} | refused
        good = [each for each in matter.datasets if each.resource not in refused]
        rulings = await self._deciding.job(run, matter, good)
        for dataset in matter.datasets:
            if dataset.resource in refused:
                for uri in matter.receivers(dataset):
                    named = {"run": matter.spec.name, "resource": dataset.resource}
                    rulings.append(Ruling(dataset, uri, house.refuse(named, refused[dataset.resource])))
        return rulings

    async def _taken(self, matter: Matter) -> bool:
        """Whether the outcome could not be published here, since its id is another institution's."""
        house, result = self._house, matter.spec.result
        owners = sorted(each.owner for each in matter.datasets if each.zone == house.zone)
        if house.zone not in result.zones or not owners:
            return False
        try:
            await house.catalog.check_owner(f"models/{result.model}", owners[0])
        except ConflictError:
            return True
        return False

    async def _answer(
        self,
        matter: Matter,
        asked: _Asked,
        rulings: list[Ruling],
        recipients: list[Recipient],
    ) -> Answered:
        house, zone, proposal = self._house, matter.other, asked.proposal
        now = house.clock()
        effect = strictest(ruling.kept.decision.effect for ruling in rulings)
        await record_rulings(house, proposal.id, rulings)
        reviews, held_by = reviews_of(house, proposal.id, proposal.spec.purpose, zone, rulings)
        if effect != "review":
            reviews, held_by = [], ""
        deadline = now + (house.timing.review if held_by else limits.RUN_CONFIRM_S)
        body = RunAnswer(
            run=proposal.id, recipients=tuple(recipients), held_by=held_by, deadline=deadline if held_by else 0
        )
        answer = house.sign(body, to=zone, process=proposal.id)
        decisions = sign_decisions(house, proposal.id, zone, rulings)
        event = _EVENTS[effect]
        found = [finding for ruling in rulings for finding in ruling.kept.decision.findings]
        row = {
            "id": proposal.id,
            "side": "participant",
            "participant": proposal.participant,
            "request_id": proposal.id,
            "body_digest": asked.digest,
            "peer_zone": zone,
            "state": advance(RunState.SUBMITTED, event).value,
            "spec": canonical.encode(proposal.spec.document()).decode(),
            "held_by": held_by,
            "deadline": deadline,
            "reason": RunEnd.POLICY.value if effect == "deny" else "",
            "document": {
                "app_digest": proposal.app_digest,
                "datasets": [each.document() for each in proposal.datasets],
                "cards": [card.document() for card in matter.cards.values()],
                "recipients": [proposal.recipient.document()],
                "answer": answer,
                "answer_decisions": decisions,
                "findings": [finding.to_json() for finding in dict.fromkeys(found)] if effect != "allow" else [],
                "asked_size": asked.ledger_size,
                "attempt": proposal.attempt,
                "decisions": [*heard(zone, asked.decisions), *said(house.zone, rulings)],
            },
            "created_at": now,
            "updated_at": now,
        }
        recorded = await house.steps.run(
            Step(
                kind="job.answered",
                subject=f"runs/{proposal.id}",
                body={
                    "effect": effect,
                    "held_by": held_by,
                    "datasets": [each.document() for each in proposal.datasets],
                    "peer_decisions": parse_envelope(asked.proposed.decisions).to_json(),
                },
                effect="run.answered",
                arguments={"row": row, "event": event.value, "reviews": reviews},
            )
        )
        return Answered(answer, decisions, recorded.size)

    # --- round trip 2 -----------------------------------------------------------------------------------

    async def confirm(self, zone: str, envelope: str, ledger_size: int) -> Said:
        """Sign and record an agreement: from then on it is in force.

        Raises:
            IntegrityError, PeerError: not what was proposed and answered, or the signature fails.
            ConflictError: too late, refused, or ended.
            PeerUnavailableError: our mirror did not reach the peer's size.
        """
        house = self._house
        if len(envelope) > limits.STATEMENT_MAX:
            raise LimitError(f"an agreement has at most {limits.STATEMENT_MAX} bytes")
        body = house.read(RunAgreement, envelope, of=zone)
        async with self._locks.hold(body.id):
            row = await rows.get(house.state, body.id)
            if row.side != "participant" or row.peer_zone != zone:
                raise NotFoundError(f"no run {body.id}")
            if row.agreement:
                if parse_envelope(row.agreement).payload != parse_envelope(envelope).payload:
                    raise IntegrityError("another agreement on this run was signed before")
                return Said(row.agreement, row.document["ledger_size"])
            if row.state != RunState.DECIDED:
                raise ConflictError(f"the run is {row.state}", remedy="start a new run")
            now = house.clock()
            if min(body.confirm_before, row.deadline) < now:
                raise ConflictError("the agreement came too late", remedy="start a new run")
            self._check(row, zone, body)
            await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror)
            signed = house.countersign(parse_envelope(envelope))
            recorded = await house.steps.run(
                Step(
                    kind="run.agreed",
                    subject=f"runs/{row.id}",
                    body={"outcome": "in_force", "agreement": parse_envelope(signed).to_json()},
                    effect="run.moved",
                    arguments={
                        "id": row.id,
                        "event": RunEvent.AGREE.value,
                        "values": {
                            "agreement": signed,
                            "deadline": now + patience(row),
                            "updated_at": now,
                        },
                    },
                )
            )
        return Said(signed, recorded.size)

    def _check(self, row: rows.RunRow, zone: str, body: RunAgreement) -> None:
        """An agreement must be what was proposed and answered; our signature stands under nothing else."""
        house = self._house
        own = {ids[2] for ids in row.document["decisions"] if ids[0] == house.zone}
        theirs = {ids[2] for ids in row.document["decisions"] if ids[0] == zone}
        expected: dict[str, Any] = {
            "participant": row.participant,
            "coordinator_zone": zone,
            "participant_zone": house.zone,
            "spec": row.spec.without_texts(),
            "spec_digest": canonical.digest(row.spec.document()),
            "app_digest": row.document["app_digest"],
            "datasets": row.datasets,
        }
        for name, value in expected.items():
            if getattr(body, name) != value:
                raise PeerError(f"the agreement of {zone} has another {name} than was proposed")
        if set(body.decisions.participant) != own or not theirs <= set(body.decisions.coordinator):
            raise PeerError(f"the agreement of {zone} names other decisions")
        due = sum(len(_receivers(row, each.zone == zone)) for each in row.datasets)
        if len(set(body.decisions.coordinator)) != due:
            raise PeerError(f"{zone} has not decided on every dataset of the run")
        if body.expires_at <= house.clock():
            raise PeerError(f"the agreement of {zone} has expired already")


def _receivers(row: rows.RunRow, of_coordinator: bool) -> set[str]:
    if not of_coordinator:
        return {row.participant}
    return {each.owner for each in row.datasets if each.zone != row.peer_zone}


def patience(row: rows.RunRow) -> int:
    """Seconds that a participant waits for the coordinator's next call before it gives the run up."""
    return row.spec.round_deadline_s + limits.RUN_GRACE_S
