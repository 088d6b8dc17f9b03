"""A peer that misbehaves in runs: the second `gateway.federation.peer`, around a real one over mTLS."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any

from gateway.federation.peer import Part, RunPeer
from gateway.flow.house import Peers, parse_envelope
from gateway.identity.statements import read_unverified
from gateway.model.run_statements import RunUpdate

Forge = Callable[[RunUpdate, bytes], tuple[dict[str, Any], bytes]]
"""From what the real peer released: members of its statement to change, and the bytes that are sent."""


class RunFaults:
    """The paired zones, all of them faulty; each may sign anew with the real zone's key, as a corrupt zone would.

    Args:
        real: the real ones.
        sender: the house whose key signs what is forged; it sends to `receiver`.
        receiver: the zone that hears it.
    """

    def __init__(self, real: Peers[Any], sender: Any, receiver: str) -> None:
        self.real = real
        self.sender = sender
        self.receiver = receiver
        self.forge: Forge | None = None  # what comes from the peer by fetch_update
        self.forge_sent: Forge | None = None  # what goes to the peer by send_parameters
        self.stand_ins: dict[str, Callable[..., Awaitable[Any]]] = {}
        self.sign = True
        self.cut = 0

    def get(self, zone: str) -> FaultyRunPeer:
        return FaultyRunPeer(self.real.get(zone), self)

    def zones(self) -> list[str]:
        return self.real.zones()

    async def forged(self, part: Part, forge: Forge) -> Part:
        """A part as a corrupt zone would send it."""
        update = RunUpdate.parse(read_unverified(parse_envelope(part.statement)).body)
        data = b"".join([piece async for piece in part.data])
        changes, sent = forge(update, data)
        changes = {"digest": hashlib.sha256(sent).hexdigest(), "bytes": max(len(sent), 1)} | changes
        body = update.model_copy(update=changes)
        statement = part.statement
        if self.sign:
            statement = self.sender.sign(body, to=self.receiver, process=update.run)

        async def pieces() -> AsyncIterator[bytes]:
            for start in range(0, len(sent), 1 << 18):
                yield sent[start : start + (1 << 18)]

        return Part(statement, part.ledger_size, pieces())


class FaultyRunPeer:
    """One paired gateway that tampers as told; what is not of a run passes through."""

    def __init__(self, real: RunPeer, faults: RunFaults) -> None:
        self._real = real
        self._faults = faults

    def __getattr__(self, name: str) -> Any:
        stand_in = self._faults.stand_ins.get(name)
        real = getattr(self._real, name)
        if stand_in is None:
            return real

        async def asked(*arguments: Any) -> Any:
            return await stand_in(real, *arguments)

        return asked

    async def send_parameters(self, part: Part, deadline_s: float) -> int:
        if self._faults.forge_sent is not None:
            part = await self._faults.forged(part, self._faults.forge_sent)
        return await self._real.send_parameters(part, deadline_s)

    @asynccontextmanager
    async def fetch_update(self, run: str, round_: int, ledger_size: int, deadline_s: float) -> AsyncIterator[Part]:
        async with self._real.fetch_update(run, round_, ledger_size, deadline_s) as part:
            yield part if self._faults.forge is None else await self._faults.forged(part, self._faults.forge)
