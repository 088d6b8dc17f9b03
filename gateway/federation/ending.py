"""The end of a run, on both sides: what closes takes effect at once, and the other zone hears of it when it can."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import Connection

from gateway.errors import (
    ClockError,
    ConflictError,
    LedgerError,
    NotFoundError,
    PeerUnavailableError,
    StorageError,
    TdzError,
)
from gateway.federation import rows
from gateway.federation.files import OUTCOME, RunFiles
from gateway.federation.house import House
from gateway.federation.platforms import recorded_platforms
from gateway.federation.publishing import Outcome
from gateway.flow.steps import Step
from gateway.model.review import Holder, Process, denial
from gateway.model.run import RunEnd, RunEvent, RunState, end_reason

_log = structlog.get_logger()
_KIND: Final = {RunEvent.FAIL: "run.failed", RunEvent.CANCEL: "run.cancelled", RunEvent.REFUSE: "run.refused"}
EVENT_OF: Final = {
    RunState.FAILED.value: RunEvent.FAIL,
    RunState.CANCELLED.value: RunEvent.CANCEL,
    RunState.REFUSED.value: RunEvent.REFUSE,
}


class Ending:
    """Ends runs and tells the other zone."""

    def __init__(self, house: House, files: RunFiles) -> None:
        self._house = house
        self._files = files

    async def end(
        self, row: rows.RunRow, event: RunEvent, reason: str, *, round_: int = 0, by: str = "", heard: bool = False
    ) -> rows.RunRow:
        """End a run that has not ended; the row as it is then.

        Args:
            row: the run.
            event: fail, cancel or refuse.
            reason: one of `END_REASONS`; anything else becomes `other`.
            round_: the round in which it happened; 0 for none.
            by: the zone whose part was at fault; empty for none.
            heard: the other zone said so; it need not be told.
        """
        house, reason = self._house, end_reason(reason)
        told = heard or not row.peer_zone or not row.document.get("proposal", row.side == "participant")
        if row.open:
            await house.steps.run(
                Step(
                    kind=_KIND[event],
                    subject=f"runs/{row.id}",
                    body={"reason": reason, "round": round_, "by": by, "heard": heard},
                    effect="run.moved",
                    arguments={
                        "id": row.id,
                        "event": event.value,
                        "document": denied_findings(row, by, reason) if heard else {},
                        "values": {"reason": reason, "told": int(told), "updated_at": house.clock()},
                    },
                    closing=True,
                )
            )
        row = await rows.get(house.state, row.id)
        await self.scrub(row)
        return row

    async def complete(self, row: rows.RunRow, digest: str, outcome: Outcome, *, told: int) -> rows.RunRow:
        """Record that a run has come to its outcome; the row as it is then.

        Args:
            row: the run.
            digest: SHA-256 of the final parameters; empty where they do not come into this zone.
            outcome: what was published here, or nothing.
            told: 1 where the other zone knows.
        """
        house = self._house
        await house.steps.run(
            Step(
                kind="run.completed",
                subject=f"runs/{row.id}",
                body={
                    "rounds": row.spec.rounds,
                    "digest": digest,
                    "model": outcome.resource,
                    "version": outcome.version,
                    "artifact": outcome.artifact,
                    "platforms": await recorded_platforms(house, row),
                },
                effect="run.moved",
                arguments={
                    "id": row.id,
                    "event": RunEvent.RELEASE.value,
                    "values": {"outcome": digest, "model": outcome.resource, "told": told, "updated_at": house.clock()},
                },
                closing=True,
            )
        )
        row = await rows.get(house.state, row.id)
        await self.scrub(row)
        return row

    async def scrub(self, row: rows.RunRow) -> None:
        """Remove what a run that has ended left: its rows first of all."""
        if not row.open:
            keep = OUTCOME if row.state == RunState.RELEASED else ""
            await self._house.chunks.run(lambda: self._files.scrub(row.id, keep=keep))

    async def tell(self) -> int:
        """Tell the other zones of ends and reviews that they do not know of yet; the count of those that heard."""
        house, heard = self._house, 0
        known = house.journal.committed_size  # as of the rows: what they say is no later than this
        for row in await rows.listed(house.state, untold=True, size=None):
            try:
                size = await self._tell(row, known)
                await house.journal.wait_mirrored(row.peer_zone, size, house.timing.mirror, closing=True)
            except (PeerUnavailableError, LedgerError, StorageError, ClockError) as error:
                _log.debug("how a run stands is not told yet", run=row.id, error=str(error))
                continue
            except (NotFoundError, ConflictError) as error:
                _log.info("the other zone knows no such run", run=row.id, error=str(error))
            except TdzError as error:
                _log.error("the other zone refuses to hear how a run stands", run=row.id, error=str(error))
            await house.state.write(_told(row))
            heard += 1
        return heard

    async def _tell(self, row: rows.RunRow, known: int) -> int:
        house = self._house
        peer = house.peers.get(row.peer_zone)
        if row.open:
            held_by = row.held_by if row.held_by.startswith(f"{house.zone}/") else ""
            return await peer.hold_run(row.id, held_by, row.deadline, known)
        return await peer.end_run(row.id, row.state, row.reason, house.journal.committed_size)


def _told(row: rows.RunRow) -> Callable[[Connection], None]:
    def told(connection: Connection) -> None:
        rows.told(connection, row)

    return told


def denied_findings(row: rows.RunRow, zone: str, reason: str) -> dict[str, Any]:
    """What a run's document says where persons of a zone denied it; nothing where they did not."""
    holder = {RunEnd.DENIED: Holder.ADMIN, RunEnd.DENIED_BY_OWNER: Holder.OWNER}.get(reason)  # type: ignore[call-overload]
    if holder is None:
        return {}
    known = [each for each in row.document.get("findings", ()) if each["effect"] != "info"]
    return {"findings": [denial(zone, holder, process=Process.RUN).to_json(), *known]}
