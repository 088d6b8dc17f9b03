"""How the exchange reaches the other zone's gateway. `gateway.server` fills it; the tests' faulty peer is another.

Every method raises PeerUnavailableError when the other gateway does not answer before the deadline, or the error
that it answered with. Calls may be repeated: the other gateway gives the same answer to the same id and content.
"""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import AbstractAsyncContextManager
from dataclasses import dataclass
from typing import Protocol


@dataclass(frozen=True, slots=True)
class Answer:
    """The provider's answer to Negotiate: envelopes as JSON text; `offer` is empty without one."""

    decision: str
    offer: str
    ledger_size: int


@dataclass(frozen=True, slots=True)
class Granted:
    """A ticket for one stream; `until` in Unix seconds."""

    ticket: str
    until: int
    ledger_size: int = 0


@dataclass(frozen=True, slots=True)
class PeerTime:
    """The other gateway's clock (Unix milliseconds) and ledger size."""

    time_ms: int
    ledger_size: int


@dataclass(frozen=True, slots=True)
class PeerFrame:
    """One frame of a stream: views into received bytes, empty where absent."""

    header: memoryview
    metadata: memoryview
    body: memoryview


class PeerGateway(Protocol):
    """One paired zone's gateway."""

    @property
    def zone(self) -> str:
        """Its zone."""

    async def hello(self, ledger_size: int) -> PeerTime:
        """Its clock, now."""

    async def list_cards(self, after: str) -> tuple[list[str], str]:
        """A page of signed dataset cards and where the next begins, empty at the end."""

    async def get_card(self, resource: str) -> str:
        """One signed dataset card."""

    async def negotiate(self, envelope: str, ledger_size: int) -> Answer:
        """Round trip 1."""

    async def confirm(self, agreement: str, ledger_size: int) -> Granted:
        """Round trip 2."""

    async def issue_ticket(self, agreement: str, transfer: str) -> Granted:
        """A new ticket for a transfer of an agreement in force."""

    def read(
        self, ticket: str, transfer: str, first_chunk: int, ledger_size: int
    ) -> AbstractAsyncContextManager[AsyncIterator[PeerFrame]]:
        """Round trip 3: the stream; leaving the context ends the call."""

    async def deliver_receipt(self, receipt: str, ledger_size: int) -> tuple[str, int]:
        """The provider's receipt for the consumer's, and its ledger size."""

    async def abort(self, transfer: str, reason: str, ledger_size: int) -> None:
        """Tell it that the transfer is given up."""


class Peers(Protocol):
    """The paired zones."""

    def get(self, zone: str) -> PeerGateway:
        """One of them.

        Raises:
            PeerUnavailableError: the zone is not paired.
        """

    def zones(self) -> list[str]:
        """All of them."""
