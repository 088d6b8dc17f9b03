"""The participant's rounds: take in what opens a round, train, release the update, give it as often as asked.

Each method may be called again with the same content and answers the same. The training is a task of its own: a
connection that breaks does not stop it, and the next call finds what it came to.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncGenerator, Sequence

import structlog

from gateway.errors import (
    ComputeError,
    ConflictError,
    IntegrityError,
    LedgerError,
    LimitError,
    NotFoundError,
    PeerUnavailableError,
    PolicyError,
    ReviewError,
    StorageError,
    TdzError,
    UpdateError,
)
from gateway.federation import rows
from gateway.federation.answering import patience
from gateway.federation.computing import Computing
from gateway.federation.deciding import Ruling
from gateway.federation.ending import EVENT_OF, Ending
from gateway.federation.files import OUT, OUTCOME, RunFiles
from gateway.federation.held import require_free
from gateway.federation.house import House
from gateway.federation.parts import Parts, read, write
from gateway.federation.peer import Part
from gateway.federation.publishing import Outcome, Outcomes
from gateway.federation.releases import Releases
from gateway.federation.tasks import RunTasks
from gateway.federation.trainer import Done
from gateway.flow.locks import KeyedLocks, both, settled
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.ids import parse_uuid7
from gateway.model.run import RunEnd, RunEvent, RunState
from gateway.model.run_statements import RunUpdate

_log = structlog.get_logger()


class Participant:
    """Takes part in the runs that paired zones coordinate."""

    def __init__(
        self,
        house: House,
        files: RunFiles,
        parts: Parts,
        computing: Computing,
        releases: Releases,
        ending: Ending,
        outcomes: Outcomes,
        locks: KeyedLocks,
        tasks: RunTasks,
    ) -> None:
        self._house = house
        self._files = files
        self._parts = parts
        self._computing = computing
        self._releases = releases
        self._ending = ending
        self._outcomes = outcomes
        self._locks = locks
        self._tasks = tasks

    # --- what the coordinator sends ---------------------------------------------------------------------

    async def receive(self, zone: str, part: Part) -> int:
        """Take in the coordinator's part of a round; our ledger's size that covers its acceptance.

        1. The run is this peer's and runs; the round is the one that is due, or one that was taken in.
        2. Statement, our mirror, rows, size and digest (`Parts`).
        3. The parameters follow from the round before: names, shapes, finite values, the norm bound.
        4. Our own decision, on the ledger before anything is used.

        Raises:
            NotFoundError, ConflictError: no such run, or not this round.
            UpdateError, IntegrityError, PeerError: not what may come; the run has ended then.
            DeniedError: our decision does not allow it; the run has ended then.
            ReviewError: persons of this zone have to look first; the run waits then.
        """
        house = self._house
        if len(part.statement) > limits.STATEMENT_MAX:
            raise LimitError(f"a statement has at most {limits.STATEMENT_MAX} bytes")
        announced = house.read(RunUpdate, part.statement, of=zone)
        async with self._locks.hold(announced.run):
            row = await self._due(zone, announced.run)
            what, round_ = self._next(row)
            if (announced.what, announced.round) != (what, round_):
                return await self._again(row, announced, part)
            if house.clock() >= row.agreed.expires_at:
                raise ConflictError("the run's agreement has expired", remedy="start a new run")
            try:
                update = await self._parts.announced(row, part, what=what, round_=round_)
                _, rulings = await both(self._parts.take(row, part, update), self._releases.rule(row, update))
                await self._accept(row, part.statement, update, rulings)
            except ReviewError:
                raise  # it waits: the coordinator hears so, and sends again
            except (UpdateError, IntegrityError, LimitError, PolicyError) as error:
                await self._fail(row, error, round_)
                raise
            if what != "outcome":
                self._start(row.id, round_)
            return house.journal.committed_size

    async def _due(self, zone: str, run: str) -> rows.RunRow:
        row = await rows.get(self._house.state, parse_uuid7(run))
        if row.side != "participant" or row.peer_zone != zone:
            raise NotFoundError(f"no run {run}")
        if row.state not in {RunState.QUEUED, RunState.RUNNING}:
            raise ConflictError(f"the run is {row.state}: {row.reason or 'no round is due'}")
        require_free(self._house, row)
        return row

    def _next(self, row: rows.RunRow) -> tuple[str, int]:
        """What is due: the coordinator's sums, the parameters of the next round, or the outcome."""
        spec = row.spec
        coordinator_has = bool(row.of_zone(row.peer_zone))
        if row.state == RunState.QUEUED and spec.scaling == "standard" and coordinator_has:
            return "sums", 0
        if row.round < spec.rounds:
            return "parameters", row.round + 1
        return "outcome", spec.rounds + 1

    async def _again(self, row: rows.RunRow, announced: RunUpdate, part: Part) -> int:
        """A part that was taken in before; its bytes are read and dropped, so that the caller can finish."""
        standing = await rows.part(self._house.state, row.id, announced.round, "in")
        if standing is None or standing.digest != announced.digest:
            what, round_ = self._next(row)
            raise ConflictError(f"the {what} of round {round_} are due, or a round has another digest than before")
        async for _ in part.data:
            pass
        if announced.round > row.round and announced.what != "outcome":
            self._start(row.id, announced.round)
        return self._house.journal.committed_size

    async def _accept(self, row: rows.RunRow, statement: str, update: RunUpdate, rulings: Sequence[Ruling]) -> None:
        house = self._house
        also = []
        if row.state == RunState.QUEUED:
            also.append(Step(kind="run.started", subject=f"runs/{row.id}", body={"agreement": row.id}))
        if update.what == "parameters":
            also.append(Step(kind="round.started", subject=f"runs/{row.id}", body={"round": update.round}))
        deadline = house.clock() + patience(row)
        await self._releases.accept(row, statement, update, rulings, deadline=deadline, also=also)

    # --- what the coordinator fetches -------------------------------------------------------------------

    async def give(self, zone: str, run: str, round_: int, ledger_size: int) -> tuple[str, AsyncGenerator[bytes, None]]:
        """Our part of a round, once it is released: its statement, then its bytes.

        Raises:
            NotFoundError, ConflictError: no such run, or not this round.
            ReviewError: persons of this zone have to look at it first; the run waits then.
            TdzError: the round cannot be completed here; the run has ended then.
        """
        house = self._house
        row = await self._due(zone, run)
        await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror)
        part = await rows.part(house.state, row.id, round_, "out")
        if part is None or not part.statement:
            await self._wait(row, round_)
            part = await rows.part(house.state, row.id, round_, "out")
        if part is None or not part.statement:
            raise ConflictError(f"round {round_} is not due", remedy="send its parameters first")
        # The peer must hold the entry of the release before a byte of it leaves.
        await house.journal.wait_held(zone, house.journal.committed_size, house.timing.mirror)
        return part.statement, self._files.pieces(self._files.path(row.id, OUT, round_))

    async def _wait(self, row: rows.RunRow, round_: int) -> None:
        task = self._tasks.get(row.id)
        if task is None:
            opened = await rows.part(self._house.state, row.id, round_, "in")
            silent = round_ == 0 and not row.of_zone(row.peer_zone) and row.spec.scaling == "standard"
            if (opened is None and not silent) or (silent and row.round > 0):
                return
            task = self._start(row.id, round_)
        await asyncio.wait({task})
        if task.cancelled():
            raise PeerUnavailableError("the gateway is stopping", remedy="ask again")
        task.result()

    def _start(self, run: str, round_: int) -> asyncio.Task[object]:
        return self._tasks.begin(run, lambda: self._compute(run, round_))

    async def _compute(self, run: str, round_: int) -> None:
        """Train one round and release what it gives; what ends the run is recorded."""
        house, begun = self._house, time.monotonic()
        row = await rows.get(house.state, run)
        part = await rows.part(house.state, run, round_, "out")
        if not row.open or (part is not None and part.statement):
            return
        try:
            done = await (self._computing.sums(row) if round_ == 0 else self._computing.update(row, round_))
            await self._release(row, round_, done, begun)
        except (LedgerError, StorageError, PeerUnavailableError, ReviewError):
            raise  # it passes: the coordinator asks again
        except TdzError as error:
            await self._fail(row, error, round_)
            raise

    async def _release(self, row: rows.RunRow, round_: int, done: Done, begun: float) -> None:
        house = self._house
        if round_ == 0:
            await self._releases.out(row, "sums", 0, done)
            return
        opened = await rows.part(house.state, row.id, round_, "in")
        zones = [
            {
                "zone": house.zone,
                "examples": done.examples,
                "metrics": [list(each) for each in done.metrics],
                "devices": [each.document() for each in done.devices],
            }
        ]
        completed = Step(
            kind="round.completed",
            subject=f"runs/{row.id}",
            body={"round": round_, "updates": [{"zone": house.zone, "digest": done.digest, "examples": done.examples}]},
            effect="run.round",
            arguments={
                "round": {
                    "run_id": row.id,
                    "round": round_,
                    "document": {"zones": zones},
                    "milliseconds": int((time.monotonic() - begun) * 1000),
                    "bytes": done.bytes + (0 if opened is None else opened.bytes),
                },
                "deadline": house.clock() + patience(row),
                "now": house.clock(),
            },
        )
        await self._releases.out(row, "update", round_, done, also=[completed])
        await house.chunks.run(lambda: self._files.forget(row.id, round_))

    # --- its end ----------------------------------------------------------------------------------------

    async def _fail(self, row: rows.RunRow, error: TdzError, round_: int) -> None:
        reason = RunEnd.POLICY.value if isinstance(error, PolicyError) else error.reason
        theirs = isinstance(error, UpdateError | IntegrityError | LimitError) and not isinstance(error, ComputeError)
        by = row.peer_zone if theirs else ""
        if not isinstance(error, ComputeError):
            _log.error("a run ends", run=row.id, round=round_, reason=error.reason, error=str(error))
        await self._ending.end(row, RunEvent.FAIL, reason, round_=round_, by=by)

    async def ended(self, zone: str, run: str, state: str, reason: str, ledger_size: int) -> int:
        """The coordinator has ended the run: record it here too; our ledger's size that covers that.

        Raises:
            NotFoundError: no such run of this peer.
            ConflictError: it cannot be released before its rounds are completed.
        """
        house = self._house
        row = await rows.get(house.state, parse_uuid7(run))
        if row.side != "participant" or row.peer_zone != zone:
            raise NotFoundError(f"no run {run}")
        async with self._tasks.stopped(run), self._locks.hold(run):
            row = await rows.get(house.state, run)
            if row.open and state == RunState.RELEASED:
                await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror)
                await self._complete(row)
            elif row.open:
                event = EVENT_OF.get(state, RunEvent.FAIL)
                if event is RunEvent.REFUSE and row.state not in {RunState.SUBMITTED, RunState.DECIDED}:
                    event = RunEvent.FAIL
                await self._ending.end(row, event, reason, by=zone, heard=True)
        return house.journal.committed_size

    async def _complete(self, row: rows.RunRow) -> None:
        last = row.spec.rounds + 1
        if row.round < row.spec.rounds:
            raise ConflictError("not every round is completed here")
        digest, published = "", Outcome()
        if self._house.zone in row.spec.result.zones:
            outcome = await rows.part(self._house.state, row.id, last, "in")
            if outcome is None:
                raise ConflictError("the outcome has not arrived here")
            source, kept = self._parts.global_(row, last), self._files.path(row.id, OUTCOME)
            await settled(asyncio.to_thread(lambda: write(read(source), kept)))
            digest = outcome.digest
            published = await self._outcomes.publish(row, kept, digest)
        await self._ending.complete(row, digest, published, told=1)

    async def expire(self) -> int:
        """End what the coordinator left alone past its deadline; the count of them."""
        house, ended = self._house, 0
        late = await rows.listed(house.state, side="participant", where_state=rows.OPEN, due=house.clock(), size=None)
        for run in (row.id for row in late if not row.held_by and self._tasks.idle(row.id)):
            async with self._tasks.stopped(run), self._locks.hold(run):
                row = await rows.get(house.state, run)
                if not row.open or row.held_by or row.deadline >= house.clock():  # a part has come meanwhile
                    continue
                reason = RunEnd.NOT_CONFIRMED if row.state == RunState.DECIDED else RunEnd.PEER_AWAY
                await self._ending.end(row, RunEvent.FAIL, reason)
                ended += 1
        return ended
