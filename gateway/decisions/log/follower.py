"""Carries decisions from the state database, where a step keeps them, into the decision log.

A decision is never held up by the log: it is durable in the transaction that precedes its ledger entry, together with
its place in the queue `decision_log_due`, and carried over within about a second. A crash between the two leaves the
place in the queue; what stood in the log already is not written twice.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable
from typing import Any, Final

import structlog
from sqlalchemy import Connection, Delete, delete, select

from gateway.decisions.log.mask import Mask
from gateway.decisions.log.record import Record
from gateway.decisions.log.segments import Segments
from gateway.decisions.policy_set import ZonePolicy
from gateway.model.decision import Decision
from gateway.model.limits import DECISION_KEPT_S
from gateway.state import StateStore
from gateway.state.schema import decision_inputs, decision_log_due

_log = structlog.get_logger()
_BATCH: Final = 500
_EVERY_S: Final = 1.0
_RETAIN_EVERY_S: Final = 3_600.0
_PURGE: Final = 1_000


class LogFollower:
    """Writes one zone's decision log.

    Args:
        state: where decisions are kept.
        segments: the log's files.
        policy: the policy in force, whose mask counts.
        days: how long records stay.
        most: bytes of all segments together.
        clock: Unix seconds UTC.
    """

    def __init__(
        self,
        state: StateStore,
        segments: Segments,
        policy: Callable[[], ZonePolicy],
        *,
        days: int,
        most: int,
        clock: Callable[[], int],
    ) -> None:
        self._state = state
        self._segments = segments
        self._policy = policy
        self._days = days
        self._most = most
        self._clock = clock
        self._unsure = True
        self._masked: tuple[str, Mask] = ("", Mask())

    async def run(self) -> None:
        """Follow until cancelled.

        Raises:
            StorageError: the log or the state cannot be read or written; nothing is lost, run it again.
        """
        retained = float("-inf")
        clock = asyncio.get_running_loop().time
        while True:
            while await self.carry():
                pass
            if clock() - retained > _RETAIN_EVERY_S:
                await self.retain()
                retained = clock()
            await asyncio.sleep(_EVERY_S)

    async def carry(self) -> int:
        """Write what is due, up to some hundred; how many there were."""
        rows = await self._state.read(_due)
        # What a crash or a failure left between the two writes is in the first batch after it.
        unsure, self._unsure = self._unsure, True
        ids = [row.due for row in rows]
        known = await asyncio.to_thread(self._segments.known, ids) if unsure else set()
        mask = self._mask()
        records = [_record(row, mask) for row in rows if row.input is not None and row.due not in known]
        if rows:
            await asyncio.to_thread(self._segments.append, records)
            await self._state.write(lambda connection: connection.execute(_strike(ids)))
        self._unsure = False
        return len(rows)

    async def retain(self) -> None:
        """Take away what is over: whole segments of the log, and inputs in the state that it has."""
        now = self._clock()
        gone = await asyncio.to_thread(self._segments.retain, days=self._days, most=self._most, now=now)
        if gone:
            _log.info("the decision log let go", segments=gone)
        while await self._state.write(lambda connection: _purge(connection, now - DECISION_KEPT_S)) == _PURGE:
            pass

    def _mask(self) -> Mask:
        policy = self._policy()
        if self._masked[0] != policy.digest:
            self._masked = policy.digest, Mask.of(policy.data, policy.zone)
        return self._masked[1]


def _strike(ids: list[str]) -> Delete:
    return delete(decision_log_due).where(decision_log_due.c.decision_id.in_(ids))


def _due(connection: Connection) -> list[Any]:
    query = (
        select(
            decision_log_due.c.decision_id.label("due"),
            decision_inputs.c.input,
            decision_inputs.c.decision,
            decision_inputs.c.salt,
            decision_inputs.c.decided_at,
        )
        .select_from(
            decision_log_due.outerjoin(decision_inputs, decision_inputs.c.decision_id == decision_log_due.c.decision_id)
        )
        .order_by(decision_log_due.c.decision_id)
        .limit(_BATCH)
    )
    return list(connection.execute(query).all())


def _record(row: Any, mask: Mask) -> Record:
    document, erased = mask.erase(json.loads(row.input))
    return Record(row.decided_at, Decision.from_json(json.loads(row.decision)), row.salt, document, erased)


def _purge(connection: Connection, before: int) -> int:
    """Delete kept decisions that nothing in the gateway asks for any more and that the log has."""
    old = (
        select(decision_inputs.c.decision_id)
        .where(decision_inputs.c.decided_at < before)
        .where(decision_inputs.c.decision_id.not_in(select(decision_log_due.c.decision_id)))
        .limit(_PURGE)
    )
    ids = [row.decision_id for row in connection.execute(old)]
    if ids:
        connection.execute(delete(decision_inputs).where(decision_inputs.c.decision_id.in_(ids)))
    return len(ids)
