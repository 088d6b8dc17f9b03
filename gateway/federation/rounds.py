"""The coordinator's rounds: release, send, train beside the other zone, take in, check, aggregate, record.

A round begins with parameters that are on disk, and ends with those of the next one on disk and its entry on the
ledger. Whatever dies in between, the round is taken up from its beginning: what was released is sent again as it is,
what was taken in is there, and the own training gives the same bytes.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import Awaitable, Callable
from typing import Any, Final, TypeVar

import structlog

from gateway.errors import IntegrityError, LimitError, PeerUnavailableError, ReviewError, TdzError, UpdateError
from gateway.federation import rows
from gateway.federation.computing import Computing
from gateway.federation.deciding import Ruling
from gateway.federation.ending import Ending
from gateway.federation.files import IN, OUT, OUTCOME, RunFiles
from gateway.federation.house import House
from gateway.federation.parts import Parts, read, write
from gateway.federation.peer import Part
from gateway.federation.releases import Releases
from gateway.federation.trainer import Done
from gateway.flow.house import parse_envelope
from gateway.flow.locks import both, settled
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.run import RunEnd, RunEvent
from gateway.model.run_statements import RunUpdate

_log = structlog.get_logger()
_RETRY_MAX_S: Final = 2.0
T = TypeVar("T")


class Late(Exception):
    """A run must end for a reason that no error of the tree has."""

    def __init__(self, reason: RunEnd) -> None:
        super().__init__(reason.value)
        self.reason = reason


class HeldThere(Exception):
    """Persons of the other zone have to look at a part first; `codes` are of what it found."""

    def __init__(self, error: ReviewError) -> None:
        super().__init__(error.message)
        self.codes = [finding[0] for finding in error.findings]


class Rounds:
    """Runs the rounds of the runs that this zone coordinates."""

    def __init__(
        self,
        house: House,
        files: RunFiles,
        parts: Parts,
        computing: Computing,
        releases: Releases,
        ending: Ending,
    ) -> None:
        self._house = house
        self._files = files
        self._parts = parts
        self._computing = computing
        self._releases = releases
        self._ending = ending

    async def run(self, row: rows.RunRow) -> rows.RunRow:
        """All rounds that are left; the row after them, RUNNING with every round completed, or ended.

        Raises:
            TdzError: of the tree, where the run must end; an update that is refused has ended it already.
        """
        spec = row.spec
        if spec.scaling == "standard":
            await self._timed(row, 0, self._sums)
        await self._first(row)
        while row.round < spec.rounds:
            await self._timed(row, row.round + 1, self._round)
            row = await rows.get(self._house.state, row.id)
            if not row.open:
                break
        return row

    async def _timed(self, row: rows.RunRow, round_: int, work: Callable[[rows.RunRow, int], Awaitable[None]]) -> None:
        """One round within its deadline."""
        try:
            async with asyncio.timeout(row.spec.round_deadline_s) as limit:
                await work(row, round_)
        except TimeoutError:
            if not limit.expired():
                raise
            part = await rows.part(self._house.state, row.id, round_, "in")
            reason = RunEnd.PEER_AWAY if part is None and row.of_zone(row.peer_zone) else RunEnd.DEADLINE
            raise Late(reason) from None

    # --- one round --------------------------------------------------------------------------------------

    async def _sums(self, row: rows.RunRow, _round: int) -> None:
        """Round 0: both zones' sums, from which features are scaled."""
        house = self._house
        if await rows.part(house.state, row.id, 0, "in") is None:
            if row.of_zone(house.zone):
                statement = await self._released(row, "sums", 0, lambda: self._computing.sums(row))
                await self._send(row, 0, statement)
            await self._take_in(row, 0, "sums")
        await self._parts.scaling(row)

    async def _first(self, row: rows.RunRow) -> None:
        """The parameters of the first round, fixed before anything is sent."""
        if await rows.part(self._house.state, row.id, 1, "out") is not None:
            return
        path, digest, size = await self._parts.initial(row)
        out = self._files.path(row.id, OUT, 1)
        await settled(asyncio.to_thread(lambda: write(read(path), out)))
        await self._house.state.write(
            lambda connection: rows.put_part(
                connection,
                {
                    "run_id": row.id,
                    "round": 1,
                    "direction": "out",
                    "digest": digest,
                    "bytes": size,
                    "statement": "",
                },
            )
        )

    async def _round(self, row: rows.RunRow, round_: int) -> None:
        house, begun = self._house, time.monotonic()
        started = Step(kind="round.started", subject=f"runs/{row.id}", body={"round": round_})
        statement = await self._released(row, "parameters", round_, lambda: self._known(row, round_), also=[started])
        update, own = await both(self._theirs(row, round_, statement), self._ours(row, round_))
        zones = [(row.peer_zone, self._files.path(row.id, IN, round_), update.examples)]
        if own is not None:
            zones.append((house.zone, self._parts.own(row, round_), own.examples))
        digest, size = await self._parts.aggregate(row, round_, zones)
        metrics: list[dict[str, Any]] = [
            {
                "zone": row.peer_zone,
                "examples": update.examples,
                "metrics": [[each.name, each.value] for each in update.metrics],
                "devices": [each.document() for each in update.devices],
            }
        ]
        if own is not None:
            metrics.append(
                {
                    "zone": house.zone,
                    "examples": own.examples,
                    "metrics": [list(each) for each in own.metrics],
                    "devices": [each.document() for each in own.devices],
                }
            )
        sent = await rows.part(house.state, row.id, round_, "out")
        await house.steps.run(
            Step(
                kind="round.completed",
                subject=f"runs/{row.id}",
                body={
                    "round": round_,
                    "digest": digest,
                    "updates": [{"zone": row.peer_zone, "digest": update.digest, "examples": update.examples}]
                    + ([] if own is None else [{"zone": house.zone, "digest": own.digest, "examples": own.examples}]),
                },
                effect="run.round",
                arguments={
                    "round": {
                        "run_id": row.id,
                        "round": round_,
                        "document": {"zones": metrics},
                        "milliseconds": int((time.monotonic() - begun) * 1000),
                        "bytes": update.bytes + (0 if sent is None else sent.bytes),
                    },
                    "part": {
                        "run_id": row.id,
                        "round": round_ + 1,
                        "direction": "out",
                        "digest": digest,
                        "bytes": size,
                        "statement": "",
                    },
                    "deadline": row.agreed.expires_at,
                    "now": house.clock(),
                },
            )
        )
        await house.chunks.run(lambda: self._files.forget(row.id, round_))

    async def _theirs(self, row: rows.RunRow, round_: int, statement: str) -> RunUpdate:
        """The other zone's update, checked and decided on."""
        standing = await rows.part(self._house.state, row.id, round_, "in")
        if standing is not None:
            return standing.announced
        await self._send(row, round_, statement)
        return await self._take_in(row, round_, "update")

    async def _take_in(self, row: rows.RunRow, round_: int, what: str) -> RunUpdate:
        """What the other zone released: fetched, checked, decided on. What is refused ends the run."""
        announced: list[str] = []
        try:
            update, rulings = await self._fetch(row, round_, what, announced)
        except (UpdateError, IntegrityError, LimitError) as error:
            _log.error("a part is refused", run=row.id, round=round_, zone=row.peer_zone, reason=error.reason)
            await self._refuse(row, round_, announced, error)
            raise
        await self._releases.accept(row, announced[0], update, rulings, deadline=row.agreed.expires_at)
        return update

    async def _refuse(self, row: rows.RunRow, round_: int, announced: list[str], error: TdzError) -> None:
        """What is refused stands on the ledger, with the sender's own signature under it, and ends the run."""
        statement = parse_envelope(announced[0]).to_json() if announced else None
        await self._house.steps.run(
            Step(
                kind="round.refused",
                subject=f"runs/{row.id}",
                body={"round": round_, "zone": row.peer_zone, "reason": error.reason, "statement": statement},
                closing=True,
            )
        )
        await self._ending.end(row, RunEvent.FAIL, error.reason, round_=round_, by=row.peer_zone)

    async def _ours(self, row: rows.RunRow, round_: int) -> Done | None:
        return await self._computing.update(row, round_) if row.of_zone(self._house.zone) else None

    async def _known(self, row: rows.RunRow, round_: int) -> Done:
        """The parameters that open a round: the initial ones, or the aggregate with this zone's own update in it."""
        part = await rows.part(self._house.state, row.id, round_, "out")
        digest, size = await asyncio.to_thread(self._files.measure, self._files.path(row.id, OUT, round_))
        if part is None or (part.digest, part.bytes) != (digest, size):
            raise Late(RunEnd.OTHER)
        own = row.of_zone(self._house.zone)
        if round_ == 1 or not own:
            return Done(digest, size, 0, 0)
        rows_of = [each.rows for each in own]
        if round_ <= row.spec.rounds:
            return Done(digest, size, sum(rows_of), min(rows_of))
        # The other zone hears with the outcome what this one trained on, for the lineage that it publishes.
        history = await rows.rounds(self._house.state, row.id)
        devices = rows.devices_of(history, self._house.zone)[: limits.RUN_DEVICES_MAX]
        return Done(digest, size, sum(rows_of), min(rows_of), devices=devices)

    async def _released(
        self,
        row: rows.RunRow,
        what: str,
        round_: int,
        compute: Callable[[], Awaitable[Done]],
        *,
        also: list[Step] | None = None,
    ) -> str:
        """The statement of a part that this zone releases; what was released before is not decided on again."""
        standing = await rows.part(self._house.state, row.id, round_, "out")
        if standing is not None and standing.statement:
            return standing.statement
        return await self._releases.out(row, what, round_, await compute(), also=also or ())

    # --- the other zone ---------------------------------------------------------------------------------

    async def _send(self, row: rows.RunRow, round_: int, statement: str) -> None:
        """Send this zone's part, once the other zone holds the entry of its release."""
        house, path = self._house, self._files.path(row.id, OUT, round_)

        async def send() -> None:
            size = house.journal.committed_size
            await house.journal.wait_held(row.peer_zone, size, house.timing.mirror)
            peer = house.peers.get(row.peer_zone)
            part = Part(statement, size, self._files.pieces(path))
            answered = await peer.send_parameters(part, row.spec.round_deadline_s)
            await house.journal.wait_mirrored(row.peer_zone, answered, house.timing.mirror)

        await self._persist(send)

    async def _fetch(
        self, row: rows.RunRow, round_: int, what: str, announced: list[str]
    ) -> tuple[RunUpdate, list[Ruling]]:
        """The other zone's part and our decisions on it; its statement goes into `announced` when it is verified."""
        house = self._house

        async def fetch() -> tuple[RunUpdate, list[Ruling]]:
            peer = house.peers.get(row.peer_zone)
            size, deadline = house.journal.committed_size, row.spec.round_deadline_s
            async with peer.fetch_update(row.id, round_, size, deadline) as part:
                update = await self._parts.announced(row, part, what=what, round_=round_)
                announced[:] = [part.statement]
                taken, ruled = self._parts.take(row, part, update), self._releases.rule(row, update)
                _, rulings = await both(taken, ruled)
                return update, rulings

        return await self._persist(fetch)

    async def _persist(self, ask: Callable[[], Awaitable[T]]) -> T:
        """Ask again while the other zone does not answer; the round's deadline bounds it.

        Raises:
            HeldThere: it takes or gives nothing until persons of it have looked.
        """
        wait = self._house.timing.retry
        while True:
            try:
                return await ask()
            except ReviewError as error:
                raise HeldThere(error) from error
            except PeerUnavailableError as error:
                _log.debug("the other zone does not answer", error=str(error))
            await asyncio.sleep(wait)
            wait = min(2 * wait, _RETRY_MAX_S)

    # --- the outcome ------------------------------------------------------------------------------------

    async def outcome(self, row: rows.RunRow) -> tuple[str, int]:
        """Send the outcome to the other zone if the agreement names it; its digest and size."""
        last = row.spec.rounds + 1
        done = await self._known(row, last)
        if row.peer_zone in row.spec.result.zones:

            async def work(row: rows.RunRow, round_: int) -> None:
                statement = await self._released(row, "outcome", round_, lambda: self._known(row, round_))
                await self._send(row, round_, statement)

            await self._timed(row, last, work)
        source, kept = self._files.path(row.id, OUT, last), self._files.path(row.id, OUTCOME)
        await settled(asyncio.to_thread(lambda: write(read(source), kept)))
        return done.digest, done.bytes
