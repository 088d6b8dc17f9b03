"""The runs that this zone's partners start: submitted, agreed on, queued, run round by round, ended.

Each run is driven by one owned task, which goes on where the row stands: a partner that goes away does not stop it,
the same request again joins it, and a restart takes it up.
"""

from __future__ import annotations

import asyncio
import contextlib

import structlog
from sqlalchemy import Connection, select

from gateway.errors import (
    AlreadyExistsError,
    ConflictError,
    LedgerError,
    LimitError,
    NotFoundError,
    PeerUnavailableError,
    PolicyError,
    ReviewError,
    StorageError,
    TdzError,
)
from gateway.federation import rows
from gateway.federation.agreeing import Agreeing
from gateway.federation.ending import EVENT_OF, Ending
from gateway.federation.files import OUTCOME, RunFiles
from gateway.federation.holding import Holding
from gateway.federation.house import House
from gateway.federation.publishing import Outcome, Outcomes
from gateway.federation.rounds import HeldThere, Late, Rounds
from gateway.federation.tasks import RunTasks
from gateway.federation.trainer import Trainer
from gateway.flow.house import parse_envelope
from gateway.flow.locks import KeyedLocks
from gateway.flow.steps import Step
from gateway.model import canonical, limits
from gateway.model.ids import parse_uuid7, uuid7
from gateway.model.participant import Identity, Role
from gateway.model.run import RunEnd, RunEvent, RunSpec, RunState
from gateway.state.schema import runs

_log = structlog.get_logger()


class Coordinator:
    """Starts and drives this zone's runs."""

    def __init__(
        self,
        house: House,
        files: RunFiles,
        trainer: Trainer,
        agreeing: Agreeing,
        rounds: Rounds,
        ending: Ending,
        outcomes: Outcomes,
        locks: KeyedLocks,
        tasks: RunTasks,
    ) -> None:
        self._house = house
        self._files = files
        self._trainer = trainer
        self._agreeing = agreeing
        self._rounds = rounds
        self._ending = ending
        self._outcomes = outcomes
        self._locks = locks
        self._tasks = tasks
        self.holding = Holding(house, ending, locks, tasks, self.drive)
        self._turn = asyncio.Semaphore(1)  # one run trains at a time

    async def start(self, caller: Identity, spec: RunSpec, request_id: str) -> rows.RunRow:
        """Record a run and let it go on by itself; the row as it is then.

        Raises:
            InputError: the training app does not take its settings.
            AlreadyExistsError: the request id was used with another body.
            ConflictError: the id of its result belongs to another institution.
            LimitError: too many open runs of the caller.
        """
        house = self._house
        app_digest = self._trainer.pin(spec)
        identifier, now = uuid7(), house.clock()
        request_id = request_id or identifier
        digest = canonical.digest(spec.document())
        await house.catalog.check_owner(f"models/{spec.result.model}", caller.uri)
        async with self._locks.hold(f"{caller.uri} {request_id}"):
            standing = await self._standing(caller.uri, request_id, digest)
            if standing is not None:
                return standing
            open_runs = await rows.listed(
                house.state, participant=caller.uri, side="coordinator", where_state=rows.OPEN
            )
            if len(open_runs) >= limits.RUNS_OPEN_MAX:
                raise LimitError(
                    f"at most {limits.RUNS_OPEN_MAX} runs of one institution are open",
                    remedy="wait until one has ended, or cancel one",
                )
            row = {
                "id": identifier,
                "side": "coordinator",
                "participant": caller.uri,
                "request_id": request_id,
                "body_digest": digest,
                "state": RunState.SUBMITTED.value,
                "spec": canonical.encode(spec.document()).decode(),
                "deadline": now + limits.RUN_CONFIRM_S,
                "document": {"app_digest": app_digest},
                "created_at": now,
                "updated_at": now,
            }
            await house.steps.run(
                Step(
                    kind="job.submitted",
                    subject=f"runs/{identifier}",
                    body={
                        "kind": "train",
                        "participant": caller.uri,
                        "purpose": spec.purpose,
                        "app": {"name": spec.app.name, "version": spec.app.version, "digest": app_digest},
                        "strategy": spec.strategy,
                        "rounds": spec.rounds,
                        "datasets": list(spec.datasets),
                        "spec_digest": digest,
                    },
                    effect="run.created",
                    arguments={"row": row},
                )
            )
        found = await rows.get(house.state, identifier)
        self.drive(identifier)
        return found

    async def _standing(self, participant: str, request_id: str, digest: str) -> rows.RunRow | None:
        def look(connection: Connection) -> rows.RunRow | None:
            query = select(runs.c.id).where(
                runs.c.side == "coordinator",
                runs.c.participant == participant,
                runs.c.request_id == request_id,
            )
            identifier = connection.execute(query).scalar_one_or_none()
            return None if identifier is None else rows.run(connection, str(identifier))

        standing = await self._house.state.read(look)
        if standing is not None and standing.body_digest != digest:
            raise AlreadyExistsError(
                f"request id {request_id[:80]} was used with another body", remedy="use a new request id"
            )
        return standing

    async def take_up(self) -> int:
        """After a restart: go on with every open run; remove what ended ones left. The count of open ones."""
        house = self._house
        for run in await asyncio.to_thread(self._files.unfinished):
            row = await rows.known(house.state, run)
            if row is not None and not row.open:
                await self._ending.scrub(row)
        open_runs = await rows.listed(house.state, where_state=rows.OPEN, size=None)
        for row in open_runs:
            if row.side == "coordinator" and not row.held_by:
                self.drive(row.id)
        return len(open_runs)

    async def expire(self) -> int:
        """Drive again what stopped for a passing reason; the count of them."""
        open_runs = await rows.listed(self._house.state, side="coordinator", where_state=rows.OPEN, size=None)
        stopped = [row for row in open_runs if not row.held_by and self._tasks.idle(row.id)]
        for row in stopped:
            self.drive(row.id)
        return len(stopped)

    # --- one run ----------------------------------------------------------------------------------------

    def drive(self, identifier: str) -> None:
        """Let a run go on where it stands; one whose last task is just ending is driven again by `expire`."""
        if self._tasks.idle(identifier) and not self._tasks.closed:
            self._tasks.begin(identifier, lambda: self._run(identifier))

    async def _run(self, identifier: str) -> rows.RunRow:
        house = self._house
        row = await rows.get(house.state, identifier)
        if row.held_by:
            return row
        if row.state == RunState.SUBMITTED:
            row = await self._agreeing.propose(row)
        if row.state == RunState.DECIDED:
            row = await self._agreeing.confirm(row)
        if row.state in {RunState.QUEUED, RunState.RUNNING}:
            async with self._turn:
                row = await self._train(row)
        return row

    async def _train(self, row: rows.RunRow) -> rows.RunRow:
        house = self._house
        reason = ""
        try:
            if row.agreed.expires_at <= house.clock():
                raise Late(RunEnd.DEADLINE)
            if row.state == RunState.QUEUED:
                row = await self._started(row)
            row = await self._rounds.run(row)
            return await self._completed(row) if row.open else row
        except (LedgerError, StorageError):
            raise  # it passes, or the process ends: the run goes on from its last completed round
        except ReviewError:
            return await rows.get(house.state, row.id)  # this zone's persons are asked: it waits
        except HeldThere as there:
            return await self.holding.park(row, there.codes)
        except Late as late:
            reason = late.reason.value
        except PolicyError:
            reason = RunEnd.POLICY.value
        except PeerUnavailableError:
            reason = RunEnd.PEER_AWAY.value
        except ConflictError:
            await self._hear_why()
            reason = RunEnd.ENDED_THERE.value
        except TdzError as error:
            reason = error.reason
            _log.error("a run ends", run=row.id, reason=error.reason, error=str(error))
        row = await rows.get(house.state, row.id)
        async with self._locks.hold(row.id):
            return await self._ending.end(row, RunEvent.FAIL, reason, round_=min(row.round + 1, row.spec.rounds))

    async def _hear_why(self) -> None:
        """Give the other zone, which has ended the run, a moment to tell why: `ended` then ends this task."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(self._house.timing.answer):
                await asyncio.Event().wait()

    async def _started(self, row: rows.RunRow) -> rows.RunRow:
        house = self._house
        await house.steps.run(
            Step(
                kind="run.started",
                subject=f"runs/{row.id}",
                body={"agreement": parse_envelope(row.agreement).to_json()},
                effect="run.moved",
                arguments={
                    "id": row.id,
                    "event": RunEvent.START.value,
                    "values": {"updated_at": house.clock()},
                },
            )
        )
        return await rows.get(house.state, row.id)

    async def _completed(self, row: rows.RunRow) -> rows.RunRow:
        digest, _ = await self._rounds.outcome(row)
        published = Outcome()
        if self._house.zone in row.spec.result.zones:
            path = self._files.path(row.id, OUTCOME)
            published = await self._outcomes.publish(row, path, digest)
        async with self._locks.hold(row.id):
            return await self._ending.complete(row, digest, published, told=0)

    # --- from outside -----------------------------------------------------------------------------------

    async def cancel(self, caller: Identity, identifier: str) -> rows.RunRow:
        """End a run at once, on whichever side it is; its partner, an owner of a dataset, or an administrator may.

        Raises:
            NotFoundError: there is none that the caller may know of.
            ConflictError: it has ended otherwise.
        """
        row = await rows.get(self._house.state, parse_uuid7(identifier))
        if caller.role is Role.PARTNER and not concerns(row, caller.uri):
            raise NotFoundError(f"no run {identifier}", remedy="see `tdz run list`")
        reason = RunEnd.ADMINISTRATOR if caller.role is Role.ADMIN else RunEnd.WITHDRAWN
        reason = RunEnd.CANCELLED if caller.uri == row.participant else reason
        if row.state == RunState.CANCELLED:
            return row
        async with self._tasks.stopped(row.id), self._locks.hold(row.id):
            row = await rows.get(self._house.state, row.id)
            if not row.open:
                raise ConflictError(f"the run is {row.state} already", remedy="nothing is left to cancel")
            return await self._ending.end(row, RunEvent.CANCEL, reason)

    async def ended(self, zone: str, run: str, state: str, reason: str) -> int:
        """The participant has ended the run: record it here too; our ledger's size that covers that.

        Raises:
            NotFoundError: no such run with this peer.
        """
        house = self._house
        row = await rows.get(house.state, parse_uuid7(run))
        if row.side != "coordinator" or row.peer_zone != zone:
            raise NotFoundError(f"no run {run}")
        if row.open:
            async with self._tasks.stopped(run), self._locks.hold(run):
                row = await rows.get(house.state, run)
                if row.open:
                    event = EVENT_OF.get(state, RunEvent.FAIL)
                    if event is RunEvent.REFUSE and row.state not in {RunState.SUBMITTED, RunState.DECIDED}:
                        event = RunEvent.FAIL
                    await self._ending.end(row, event, reason, by=zone, heard=True)
        return house.journal.committed_size


def concerns(row: rows.RunRow, uri: str) -> bool:
    """Whether an institution may know of a run: it started it, or has a dataset in it."""
    return row.participant == uri or any(each.owner == uri for each in row.datasets)
