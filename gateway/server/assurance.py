"""The question before the first signature after a start: what do the paired zones hold of this zone's ledger.

A ledger that was put back from a backup would sign other entries at places where others hold signed ones already.
Whoever is paired with nobody, or was started again within one boot of the machine, need not ask.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import structlog

from gateway.errors import RolledBackError, TdzError
from gateway.journal import Journal
from gateway.server.corridor import Corridor
from gateway.v1 import ledger_pb2, ledger_pb2_grpc
from gateway.wire.channel import call

_log = structlog.get_logger()
_ANSWER_S: Final = 3.0
_RETRY_S: Final = 0.1
_RETRY_MAX_S: Final = 2.0


class Assurance:
    """Asks every paired zone until each has answered.

    Args:
        journal: our ledger.
        corridor: the paired zones, connected.
    """

    def __init__(self, journal: Journal, corridor: Corridor) -> None:
        self._journal = journal
        self._corridor = corridor
        self._answered: set[str] = set()

    def why(self) -> str:
        """What is waited for."""
        waiting = sorted(set(self._corridor.zones()) - self._answered)
        if not waiting or self._journal.asked:
            return "what was open is being taken up"
        return f"it asks {', '.join(waiting)} what they hold of this zone's ledger"

    async def obtain(self) -> None:
        """Return once entries may be recorded.

        Raises:
            RolledBackError: somebody holds what this ledger signed and does not have.
        """
        wait = _RETRY_S
        while not self._journal.asked:
            waiting = sorted(set(self._corridor.zones()) - self._answered)
            await asyncio.gather(*(self._ask(zone) for zone in waiting))
            if set(self._corridor.zones()) <= self._answered:
                self._journal.vouch()
                return
            await asyncio.sleep(wait)  # a zone that does not answer; one that is unpaired is waited for no more
            wait = min(2 * wait, _RETRY_MAX_S)

    async def _ask(self, zone: str) -> None:
        try:
            stub: Any = ledger_pb2_grpc.MirrorServiceStub(self._corridor.get(zone).mirror_channel)
            request = ledger_pb2.GetHeldRequest(note=self._journal.writer.committed.note)
            held = await call(stub.GetHeld(request, timeout=_ANSWER_S))
            ours = [await self._journal.check_held(zone, note) for note in (held.note, held.pending)]
            if held.frozen and any(ours):
                self._journal.frozen_by(zone, held.frozen)
        except RolledBackError:
            raise
        except TdzError as error:
            _log.warning("no answer yet to what is held of our ledger", zone=zone, error=str(error))
            return
        self._answered.add(zone)
