"""What leaves a zone in a run, and what comes in: decided by each zone, on its ledger before the first byte moves.

The zone that something leaves decides and records before it sends; the other decides and records before it uses
what came. Each dataset behind it is decided on, for each institution that receives; the strictest counts. A part of
a round has one digest for ever: what was released once is given again as it is, and not decided on again.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import Any, Final, NoReturn

from gateway.errors import LimitError, PeerError, UpdateRunError
from gateway.federation import rows
from gateway.federation.deciding import Deciding, Matter, Ruling
from gateway.federation.held import held
from gateway.federation.house import House
from gateway.federation.rulings import not_allowed
from gateway.federation.trainer import Done
from gateway.flow import findings
from gateway.flow.house import parse_envelope
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.canonical import JsonValue
from gateway.model.policy_facts import Recipient, ReleaseFacts
from gateway.model.run_statements import Metric, RunUpdate
from gateway.model.statements import ResourceCard

_MATTERS_MAX: Final = 32


class Releases:
    """Releases and accepts the parts of rounds."""

    def __init__(self, house: House, deciding: Deciding) -> None:
        self._house = house
        self._deciding = deciding
        self._matters: dict[str, Matter] = {}

    def matter(self, row: rows.RunRow) -> Matter:
        """What a run's decisions are about; it does not change once the run is agreed on."""
        known = self._matters.get(row.id)
        if known is None:
            while len(self._matters) >= _MATTERS_MAX:
                self._matters.pop(next(iter(self._matters)))
            known = self._matters[row.id] = matter_of(row, self._house.zone)
        return known

    async def out(self, row: rows.RunRow, what: str, round_: int, done: Done, *, also: Sequence[Step] = ()) -> str:
        """Release what this zone computed: the signed statement that goes before the bytes.

        Args:
            row: the run.
            what: sums, parameters, update or outcome.
            round_: 0 for the sums.
            done: the file's digest and size, and what is behind it; no examples: nothing of this zone is in it.
            also: entries that are recorded with it; the last may carry an effect, which then stands for the release's.

        Raises:
            DeniedError: a decision does not allow it; all decisions are on the ledger.
            ReviewError: persons of this zone have to look first; the run waits, and nothing has left.
        """
        house = self._house
        facts = ReleaseFacts(smallest_group=done.smallest, suppressed=0, rows=0, bytes=done.bytes, digest=done.digest)
        own = row.of_zone(house.zone) if done.examples else ()
        rulings = await self._deciding.release(row.id, self.matter(row), own, facts)
        common = {"direction": "out", "what": what, "round": round_, "digest": done.digest, "bytes": done.bytes}
        steps = [_entry(row, common, ruling) for ruling in rulings]
        if effect := not_allowed(rulings):
            await self._stopped(row, round_, steps, rulings, effect)
        statement = house.sign(
            RunUpdate(
                run=row.id,
                round=round_,
                what=what,  # type: ignore[arg-type]  # the model checks it
                digest=done.digest,
                bytes=done.bytes,
                examples=done.examples,
                smallest_group=done.smallest,
                metrics=tuple(Metric(name=name, value=value) for name, value in done.metrics),
                devices=done.devices,
                decisions=tuple(ruling.kept.decision.decision_id for ruling in rulings),
            ),
            to=row.peer_zone,
            process=row.id,
            ttl=max(row.agreed.expires_at - house.clock(), 1),
        )
        part = _part(row.id, round_, "out", done.digest, done.bytes, statement)
        last = [*also] or [Step(kind="round.released", subject=f"runs/{row.id}", body={**common, "run": row.id})]
        last[-1] = _with_part(last[-1], part)
        await self._record([*steps, *last])
        return statement

    async def rule(self, row: rows.RunRow, update: RunUpdate) -> list[Ruling]:
        """Decide on what the other zone announces, while it arrives; `accept` records the decisions."""
        facts = ReleaseFacts(
            smallest_group=update.smallest_group, suppressed=0, rows=0, bytes=update.bytes, digest=update.digest
        )
        theirs = row.of_zone(row.peer_zone) if update.examples else ()
        return await self._deciding.release(row.id, self.matter(row), theirs, facts)

    async def accept(
        self,
        row: rows.RunRow,
        envelope: str,
        update: RunUpdate,
        rulings: Sequence[Ruling],
        *,
        deadline: int,
        also: Sequence[Step] = (),
    ) -> None:
        """Record the decisions on what the other zone released, before it is used.

        Raises:
            DeniedError: a decision does not allow it; all decisions are on the ledger.
            ReviewError: persons of this zone have to look first; the run waits, and nothing was used.
        """
        house = self._house
        common = {
            "direction": "in",
            "what": update.what,
            "round": update.round,
            "digest": update.digest,
            "bytes": update.bytes,
        }
        steps = [_entry(row, common, ruling) for ruling in rulings]
        if effect := not_allowed(rulings):
            await self._stopped(row, update.round, steps, rulings, effect)
        accepted = Step(
            kind="round.accepted",
            subject=f"runs/{row.id}",
            body={**common, "statement": parse_envelope(envelope).to_json()},
            effect="run.accepted",
            arguments={
                "part": _part(row.id, update.round, "in", update.digest, update.bytes, envelope),
                "deadline": deadline,
                "now": house.clock(),
            },
        )
        await self._record([*steps, *also, accepted])

    async def _stopped(
        self, row: rows.RunRow, round_: int, steps: Sequence[Step], rulings: Sequence[Ruling], effect: str
    ) -> NoReturn:
        held_by = ""
        if effect == "review":
            step = held(self._house, row, rulings, round_=round_)
            held_by = step.arguments["held_by"]
            steps = [*steps, step]
        await self._record(steps)
        stopped = next(ruling for ruling in rulings if ruling.kept.decision.effect == effect)
        found = [finding for ruling in rulings for finding in ruling.kept.decision.for_peer().findings]
        raise findings.raised(
            effect,
            found,
            decision_id=stopped.kept.decision.decision_id,
            request_id=row.id,
            held_by=held_by,
            show="tdz run show",
        )

    async def _record(self, steps: Sequence[Step]) -> None:
        """Record entries together, in one batch of the ledger; each has its intent before any has its effect."""
        await self._house.steps.run_all(steps)


def read_update(house: House, row: rows.RunRow, envelope: str, *, what: str, round_: int, most: int) -> RunUpdate:
    """Verify the statement that goes before what the other zone released.

    Args:
        what: what it has to be.
        round_: of which round.
        most: the most bytes that may follow.

    Raises:
        IntegrityError, PeerError: the signature does not hold.
        UpdateRunError: it is of another run, round or kind.
        LimitError: it announces more bytes.
    """
    if len(envelope) > limits.STATEMENT_MAX:
        raise PeerError(f"a statement has at most {limits.STATEMENT_MAX} bytes")
    update = house.read(RunUpdate, envelope, of=row.peer_zone, process=row.id)
    if (update.run, update.round, update.what) != (row.id, round_, what):
        raise UpdateRunError(
            f"{row.peer_zone} sent the {update.what} of round {update.round}; due is the {what} of round {round_}",
            remedy="send what is due",
        )
    if update.bytes > most:
        raise LimitError(f"{row.peer_zone} announces {update.bytes} bytes, where at most {most} are due")
    return update


def matter_of(row: rows.RunRow, zone: str) -> Matter:
    """What a run's decisions are about."""
    cards = [ResourceCard.parse(card) for card in row.document.get("cards", ())]
    recipients = [Recipient.model_validate(each) for each in row.document.get("recipients", ())]
    return Matter(
        spec=row.spec,
        app_digest=row.document["app_digest"],
        participant=row.participant,
        coordinator=zone if row.side == "coordinator" else row.peer_zone,
        other=row.peer_zone,
        datasets=row.datasets,
        cards={card.resource: card for card in cards},
        recipients={each.id: each for each in recipients},
    )


def _entry(row: rows.RunRow, common: dict[str, Any], ruling: Ruling) -> Step:
    body: dict[str, JsonValue] = {**common, **ruling.entry()}
    return Step(kind="release", subject=f"runs/{row.id}", body=body, kept=ruling.kept)


def _part(run: str, round_: int, direction: str, digest: str, size: int, statement: str) -> dict[str, Any]:
    return {
        "run_id": run,
        "round": round_,
        "direction": direction,
        "digest": digest,
        "bytes": size,
        "statement": statement,
    }


def _with_part(step: Step, part: dict[str, Any]) -> Step:
    if not step.effect:
        return replace(step, effect="run.released", arguments={"part": part})
    return replace(step, arguments={**step.arguments, "released": part})
