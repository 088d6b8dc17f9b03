"""The question before the first signature after a start: what do others hold of this zone's ledger.

A ledger that was put back from a backup would sign other entries at places where others hold signed ones already.
Whoever is paired with nobody and has no witness, or was started again within one boot of the machine, need not ask.
Who must have answered: docs/decisions/0017.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from gateway.errors import RolledBackError, TdzError
from gateway.journal import Journal
from gateway.server.corridor import Corridor
from gateway.server.witnesses import Witnesses
from gateway.v1 import ledger_pb2, ledger_pb2_grpc
from gateway.wire.channel import call

_log = structlog.get_logger()
_ANSWER_S: Final = 3.0
_RETRY_S: Final = 0.1
_RETRY_MAX_S: Final = 2.0


class Assurance:
    """Asks every paired zone until each has answered, and the witnesses until nobody is missing who counts.

    Args:
        journal: our ledger.
        corridor: the paired zones, connected.
        witnesses: of our ledger.
    """

    def __init__(self, journal: Journal, corridor: Corridor, witnesses: Witnesses) -> None:
        self._journal = journal
        self._corridor = corridor
        self._witnesses = witnesses
        self._answered: set[str] = set()

    def why(self) -> str:
        """What is waited for."""
        waiting = [*self._zones(), *(f"the witness {name}" for name in self._witnesses.awaited())]
        if not waiting or self._journal.asked:
            return "what was open is being taken up"
        claims = "".join(f"; {each}" for each in self._witnesses.claims())
        return f"it asks {', '.join(waiting)} what they hold of this zone's ledger{claims}"

    async def obtain(self) -> None:
        """Return once entries may be recorded.

        Raises:
            RolledBackError: somebody holds what this ledger signed and does not have.
        """
        wait = _RETRY_S
        while not self._journal.asked:
            asked = (self._witnesses.ask(_ANSWER_S), *(self._ask(zone) for zone in self._zones()))
            for failure in await asyncio.gather(*asked, return_exceptions=True):
                if failure is not None:
                    raise failure
            if not self._zones() and not self._witnesses.awaited():
                self._journal.vouch()
                return
            await asyncio.sleep(wait)  # one that does not answer; one that is taken away is waited for no more
            wait = min(2 * wait, _RETRY_MAX_S)

    def _zones(self) -> list[str]:
        """The paired zones that have not answered."""
        return sorted(set(self._corridor.zones()) - self._answered)

    async def _ask(self, zone: str) -> None:
        try:
            stub: Any = ledger_pb2_grpc.MirrorServiceStub(self._corridor.get(zone).mirror_channel)
            request = ledger_pb2.GetHeldRequest(note=self._journal.writer.committed.note)
            held = await call(stub.GetHeld(request, timeout=_ANSWER_S))
            who = f"the gateway of {zone}"
            ours = [await self._journal.check_held(who, note) for note in (held.note, held.pending)]
            if held.frozen and any(ours):
                self._journal.frozen_by(zone, held.frozen)
        except RolledBackError:
            raise
        except TdzError as error:
            _log.warning("no answer yet to what is held of our ledger", zone=zone, error=str(error))
            return
        self._answered.add(zone)
