"""A zone's decisions on a run: on its ledger one by one, and signed together for the other zone."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable, Sequence
from typing import Final, TypeVar

from gateway.errors import LimitError, PeerError, PeerUnavailableError
from gateway.federation.deciding import Matter, Ruling
from gateway.federation.house import House
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.decision import Decision, strictest
from gateway.model.run_statements import JobDecision, RunDecisions

_RETRY_MAX_S: Final = 5.0
T = TypeVar("T")


def not_allowed(rulings: Sequence[Ruling]) -> str:
    """deny or review where the strictest decision is one of them, else empty."""
    effect = strictest(ruling.kept.decision.effect for ruling in rulings)
    return "" if effect == "allow" else effect


async def record_rulings(house: House, run: str, rulings: Sequence[Ruling]) -> None:
    """One entry for each decision, all in one batch."""
    steps = [
        Step(
            kind="job.decided",
            subject=f"runs/{run}",
            body=ruling.entry(),
            kept=ruling.kept,
        )
        for ruling in rulings
    ]
    await house.steps.run_all(steps)


def sign_decisions(house: House, run: str, to: str, rulings: Sequence[Ruling], *, ttl: int | None = None) -> str:
    """A zone's decisions on a run, in their border-safe form, signed.

    Args:
        house: this zone.
        run: the run's id.
        to: the other zone.
        rulings: all of them.
        ttl: how long the statement holds, seconds; None takes what statements usually have.

    Raises:
        LimitError: they do not fit an entry of the other zone's ledger.
    """
    body = RunDecisions(
        run=run,
        effect=strictest(ruling.kept.decision.effect for ruling in rulings),
        decisions=tuple(
            JobDecision(
                resource=ruling.dataset.resource,
                recipient=ruling.recipient,
                decision=ruling.kept.decision.for_peer().to_json(),
            )
            for ruling in rulings
        ),
    )
    envelope = house.sign(body, to=to, process=run, ttl=ttl)
    if len(envelope) > limits.STATEMENT_MAX:
        raise LimitError("the decisions on a run do not fit a ledger entry", remedy="name fewer datasets")
    return envelope


def check_decisions(matter: Matter, theirs: RunDecisions, zone: str, *, only: str = "") -> list[Decision]:
    """The other zone's decisions: one on each dataset for each receiver, or it allows nothing.

    Args:
        only: the zone whose datasets they must cover; empty for all.

    Raises:
        PeerError: one is missing where all allow, or one is of another zone, or milder than they say together.
    """
    decisions = [each.read() for each in theirs.decisions]
    if any(decision.zone != zone for decision in decisions):
        raise PeerError(f"{zone} sent decisions that are not its own")
    if strictest(decision.effect for decision in decisions) != theirs.effect and theirs.effect == "allow":
        raise PeerError(f"{zone} calls allowed what one of its decisions does not allow")
    made = {(each.resource, each.recipient) for each in theirs.decisions}
    datasets = [each for each in matter.datasets if not only or each.zone == only]
    due = {(each.resource, uri) for each in datasets for uri in matter.receivers(each)}
    if theirs.effect == "allow" and made != due:
        raise PeerError(f"{zone} has not decided on every dataset of the run")
    return decisions


def said(zone: str, rulings: Sequence[Ruling]) -> list[list[str]]:
    """Decisions as a run's document holds them: zone, effect, id."""
    return [[zone, r.kept.decision.effect, r.kept.decision.decision_id] for r in rulings]


def heard(zone: str, decisions: Sequence[Decision]) -> list[list[str]]:
    """Another zone's decisions, likewise."""
    return [[zone, decision.effect, decision.decision_id] for decision in decisions]


async def patiently(house: House, until: int, ask: Callable[[], Awaitable[T]]) -> T:
    """Ask the peer again while it does not answer, until a time in Unix seconds.

    Raises:
        PeerUnavailableError: it did not answer.
    """
    wait = house.timing.retry
    while True:
        try:
            return await ask()
        except PeerUnavailableError:
            if house.clock() + wait > until:
                raise
        await asyncio.sleep(wait)
        wait = min(2 * wait, _RETRY_MAX_S)
