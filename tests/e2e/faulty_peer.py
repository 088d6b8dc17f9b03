"""A peer that misbehaves: the second implementation of `gateway.exchange.peer`, around a real one over mTLS.

Each method may be given a stand-in that gets the real peer and the call's arguments; what has none behaves.
"""

from __future__ import annotations

from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.errors import PeerUnavailableError
from gateway.exchange.peer import Answer, AppealTaken, Granted, PeerFrame, PeerGateway
from gateway.flow.house import Peers, PeerTime

Frames = AsyncIterator[PeerFrame]


class FaultyPeer:
    """One paired gateway that tampers as told."""

    def __init__(self, real: PeerGateway, faults: Faults) -> None:
        self._real = real
        self._faults = faults

    @property
    def zone(self) -> str:
        return self._real.zone

    async def hello(self, ledger_size: int) -> PeerTime:
        return await self._do("hello", ledger_size)

    async def list_cards(self, after: str) -> tuple[list[str], str]:
        return await self._do("list_cards", after)

    async def get_card(self, resource: str) -> str:
        return await self._do("get_card", resource)

    async def negotiate(self, envelope: str, ledger_size: int) -> Answer:
        return await self._do("negotiate", envelope, ledger_size)

    async def confirm(self, agreement: str, ledger_size: int) -> Granted:
        return await self._do("confirm", agreement, ledger_size)

    async def issue_ticket(self, agreement: str, transfer: str) -> Granted:
        return await self._do("issue_ticket", agreement, transfer)

    @asynccontextmanager
    async def read(self, ticket: str, transfer: str, first_chunk: int, ledger_size: int) -> AsyncIterator[Frames]:
        self._faults.reads.append(first_chunk)
        tamper = self._faults.frames
        async with self._real.read(ticket, transfer, first_chunk, ledger_size) as frames:
            yield frames if tamper is None else tamper(frames)

    async def deliver_receipt(self, receipt: str, ledger_size: int) -> tuple[str, int]:
        return await self._do("deliver_receipt", receipt, ledger_size)

    async def reviewed(self, negotiation: str, review: str, decision: str, ledger_size: int) -> None:
        return await self._do("reviewed", negotiation, review, decision, ledger_size)

    async def appeal(self, envelope: str, ledger_size: int) -> AppealTaken:
        return await self._do("appeal", envelope, ledger_size)

    async def end_agreement(self, agreement: str, envelope: str, ledger_size: int) -> None:
        return await self._do("end_agreement", agreement, envelope, ledger_size)

    async def preview(self, envelope: str) -> list[str]:
        return await self._do("preview", envelope)

    async def abort(self, transfer: str, reason: str, ledger_size: int) -> None:
        return await self._do("abort", transfer, reason, ledger_size)

    async def _do(self, name: str, *arguments: Any) -> Any:
        self._faults.calls.append(name)
        stand_in = self._faults.stand_ins.get(name)
        if stand_in is None:
            return await getattr(self._real, name)(*arguments)
        return await stand_in(self._real, *arguments)


class Faults:
    """The paired zones, all of them faulty, and what is wrong with them now."""

    def __init__(self, real: Peers) -> None:
        self._real = real
        self.stand_ins: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.frames: Callable[[Frames], Frames] | None = None
        self.calls: list[str] = []
        self.reads: list[int] = []  # the chunk at which each stream began

    def get(self, zone: str) -> FaultyPeer:
        return FaultyPeer(self._real.get(zone), self)

    def zones(self) -> list[str]:
        return self._real.zones()

    def heal(self) -> None:
        """From now on nothing is wrong."""
        self.stand_ins.clear()
        self.frames = None
        self.calls.clear()
        self.reads.clear()


async def gone(real: PeerGateway, *arguments: Any) -> Any:
    """The other gateway does not answer."""
    raise PeerUnavailableError("the other gateway does not answer", remedy="check the link")


def answer_lost(name: str) -> Callable[..., Awaitable[Any]]:
    """The other gateway does what it is asked, and its first answer is lost."""
    lost: list[bool] = []

    async def stand_in(real: PeerGateway, *arguments: Any) -> Any:
        answer = await getattr(real, name)(*arguments)
        if not lost:
            lost.append(True)
            raise PeerUnavailableError("the answer was lost")
        return answer

    return stand_in
