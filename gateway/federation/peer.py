"""How a run reaches the other zone's gateway. `gateway.server` fills it; the tests' faulty peer is another.

Every method raises PeerUnavailableError when the other gateway does not answer before the deadline, or the error
that it answered with. Calls may be repeated: the other gateway gives the same answer to the same id and content.
"""

from __future__ import annotations

from collections.abc import AsyncIterable
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol

from gateway.flow.house import PeerTime
from gateway.model.statements import ResourceCard


@dataclass(frozen=True, slots=True)
class Said:
    """A signed answer as JSON text, and the answerer's ledger size that covers it."""

    envelope: str
    ledger_size: int


@dataclass(frozen=True, slots=True)
class Proposal:
    """What is proposed, as JSON texts: the proposal, the proposer's decisions, its own datasets' cards."""

    envelope: str
    decisions: str
    cards: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Answered:
    """The participant's answer and its decisions as JSON texts, and its ledger size that covers them."""

    envelope: str
    decisions: str
    ledger_size: int


@dataclass(frozen=True, slots=True)
class Part:
    """What one zone released: the run-update's envelope, the sender's ledger size, and the bytes in order."""

    statement: str
    ledger_size: int
    data: AsyncIterable[bytes]


class RunPeer(Protocol):
    """One paired zone's gateway."""

    @property
    def zone(self) -> str:
        """Its zone."""

    async def hello(self, ledger_size: int) -> PeerTime:
        """Its clock, now."""

    async def propose(self, proposal: Proposal, ledger_size: int) -> Answered:
        """Round trip 1: a run-answer for a run-proposal."""

    async def confirm_run(self, agreement: str, ledger_size: int) -> Said:
        """Round trip 2: the agreement with both signatures."""

    async def send_parameters(self, part: Part, deadline_s: float) -> int:
        """Send this zone's part of a round; the other's ledger size once it has accepted and stored it."""

    def fetch_update(
        self, run: str, round_: int, ledger_size: int, deadline_s: float
    ) -> AbstractAsyncContextManager[Part]:
        """The other zone's part of a round, once it is there. Leaving the context ends the call."""

    async def hold_run(self, run: str, held_by: str, deadline: int, ledger_size: int) -> int:
        """Tell it that persons look at the run here, or, with an empty `held_by`, let it go on; its ledger size."""

    async def end_run(self, run: str, state: str, reason: str, ledger_size: int) -> int:
        """Tell it that the run has ended here; its ledger size."""


class FoundCard(Protocol):
    """Another zone's dataset as its signed card describes it."""

    @property
    def zone(self) -> str:
        """Its home zone."""

    @property
    def card(self) -> ResourceCard:
        """The card, verified."""


class Cards(Protocol):
    """Dataset cards out and in; `gateway.exchange.offers` has them."""

    async def card_for(self, zone: str, resource: str) -> str:
        """Our signed card of an own dataset for another zone.

        Raises:
            NotFoundError: nothing of this name is offered to the zone.
        """

    async def find(self, resource: str, participant: str) -> FoundCard:
        """The valid card of another zone's dataset that is offered to an institution of this zone.

        Raises:
            NotFoundError: no paired zone offers it to the institution.
            PeerUnavailableError: a zone that might have it does not answer.
        """
