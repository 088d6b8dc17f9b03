"""All that a zone's gateway does in federated runs, put together."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from gateway.federation import rows
from gateway.federation.agreeing import Agreeing
from gateway.federation.answering import Answering
from gateway.federation.computing import Computing
from gateway.federation.coordinator import Coordinator
from gateway.federation.deciding import Deciding
from gateway.federation.ending import Ending
from gateway.federation.files import RunFiles
from gateway.federation.house import House
from gateway.federation.participant import Participant
from gateway.federation.parts import Parts
from gateway.federation.peer import Cards
from gateway.federation.publishing import Outcomes
from gateway.federation.releases import Releases
from gateway.federation.rounds import Rounds
from gateway.federation.tasks import RunTasks
from gateway.federation.trainer import Trainer
from gateway.flow.locks import KeyedLocks
from gateway.identity.signing import SigningIdentity
from gateway.model.ids import parse_uuid7
from gateway.model.participant import Identity


class Federation:
    """A zone's part in federated runs, on both sides.

    Args:
        house: this zone.
        directory: `data/runs`.
        trainer: the zone's own computation.
        cards: dataset cards out and in.
        signing: this gateway's signing key, read when it is needed.
        builder: this gateway's URI.
    """

    def __init__(
        self,
        house: House,
        directory: Path,
        trainer: Trainer,
        cards: Cards,
        signing: Callable[[], SigningIdentity],
        builder: str,
    ) -> None:
        self.house = house
        files, locks, deciding = RunFiles(directory), KeyedLocks(), Deciding(house)
        parts = Parts(house, files, trainer)
        computing = Computing(files, trainer, parts)
        releases = Releases(house, deciding)
        outcomes = Outcomes(house, files, parts, trainer, deciding, signing, builder)
        self.ending = Ending(house, files)
        rounds = Rounds(house, files, parts, computing, releases, self.ending)
        agreeing = Agreeing(house, deciding, self.ending, cards)
        self.answering = Answering(house, deciding, trainer, locks)
        self._tasks = tasks = RunTasks()
        self.coordinator = Coordinator(house, files, trainer, agreeing, rounds, self.ending, outcomes, locks, tasks)
        self.holding = self.coordinator.holding
        self.participant = Participant(house, files, parts, computing, releases, self.ending, outcomes, locks, tasks)
        self._trainer = trainer

    async def cancel(self, caller: Identity, identifier: str) -> rows.RunRow:
        """End a run at once, whichever side it is; see `Coordinator.cancel`."""
        return await self.coordinator.cancel(caller, identifier)

    async def ended(self, zone: str, run: str, state: str, reason: str, ledger_size: int) -> int:
        """The other zone has ended a run.

        Raises:
            NotFoundError: no such run of this peer.
        """
        row = await rows.get(self.house.state, parse_uuid7(run))
        if row.side == "coordinator":
            return await self.coordinator.ended(zone, run, state, reason)
        return await self.participant.ended(zone, run, state, reason, ledger_size)

    async def held(self, zone: str, run: str, held_by: str, deadline: int, ledger_size: int) -> int:
        """Persons of the other zone look at a run, or let it go on; see `Holding.hear`."""
        return await self.holding.hear(zone, run, held_by, deadline, ledger_size)

    async def expire(self) -> int:
        """End what passed its deadline and drive again what stopped; the count of them."""
        return await self.holding.expire() + await self.participant.expire() + await self.coordinator.expire()

    async def tell(self) -> None:
        """Tell the other zones of ends and reviews until cancelled."""
        while True:
            await self.ending.tell()
            await asyncio.sleep(self.house.timing.reaper)

    async def stop(self) -> None:
        """Stop what runs; what is open goes on after the next start."""
        await self._tasks.close()

    async def close(self) -> None:
        """Stop what runs and end the training process."""
        await self.stop()
        await self._trainer.close()
