"""What both sides of a run compute: the sums of their own datasets and the update of a round.

A process that died is started again and given the same order; its outcome is the same bytes. What would fail again
is not tried again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.errors import ComputeError, PeerError
from gateway.federation import rows
from gateway.federation.files import OUT, RunFiles
from gateway.federation.parts import Parts
from gateway.federation.trainer import Done, Trainer

_log = structlog.get_logger()
_ATTEMPTS: Final = 3


class Computing:
    """Computes this zone's part of a round."""

    def __init__(self, files: RunFiles, trainer: Trainer, parts: Parts) -> None:
        self._files = files
        self._trainer = trainer
        self._parts = parts

    async def sums(self, row: rows.RunRow) -> Done:
        """The sums over this zone's datasets, in the file that is released as part 0."""
        work = self._parts.work(row)

        async def compute() -> Done:
            await self._trainer.prepare(work)
            return await self._trainer.sums(work, self._files.path(row.id, OUT, 0), row.spec.round_deadline_s)

        return self._measured(row, await _again(row.id, compute))

    async def update(self, row: rows.RunRow, round_: int) -> Done:
        """This zone's update of a round, in its file."""
        work, reference = self._parts.work(row), self._parts.global_(row, round_)

        async def compute() -> Done:
            await self._trainer.prepare(work)
            digest, _ = await asyncio.to_thread(self._files.measure, reference)
            scaling = await self._parts.scaling(row)
            return await self._trainer.train(
                work, round_, (reference, digest), scaling, self._parts.own(row, round_), row.spec.round_deadline_s
            )

        return self._measured(row, await _again(row.id, compute))

    def _measured(self, row: rows.RunRow, done: Done) -> Done:
        """The rows that were read are those of the manifests that both zones decided on."""
        own = self._parts.work(row).datasets
        if done.examples != sum(each.rows for each in own) or done.smallest != min(each.rows for each in own):
            raise PeerError("the training process read other rows than the datasets' versions have")
        return done


async def _again(run: str, compute: Callable[[], Awaitable[Done]]) -> Done:
    for attempt in range(1, _ATTEMPTS + 1):
        try:
            return await compute()
        except ComputeError as error:
            if type(error) is not ComputeError or attempt == _ATTEMPTS:
                raise
            _log.warning("the training process is started again", run=run, attempt=attempt, error=str(error))
    raise ComputeError("the training process died each time", remedy="see the gateway's log")
