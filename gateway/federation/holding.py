"""Runs that wait for persons: both sides stand still, and go on once what asked for it is approved.

    this zone's policy or an owner asks    `run.held` here; the other zone is told, and waits
    the other zone's do                    its answer says so, or it takes no part for now; `run.held` here too
    approved                               the coordinator goes on where the run stands: what is not agreed on yet is
                                           decided anew by both, a part is released or sent again
    denied, or nobody answers              the run ends, in both zones

An approval allows nothing by itself: it lifts findings of fresh decisions; see docs/decisions/0021.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from typing import Any, Final

from gateway.errors import ConflictError, NotFoundError, PeerError, PeerUnavailableError
from gateway.federation import rows
from gateway.federation.ending import Ending, denied_findings
from gateway.federation.held import held_there
from gateway.federation.house import House
from gateway.federation.tasks import RunTasks
from gateway.flow.locks import KeyedLocks
from gateway.flow.review_rows import ReviewRow
from gateway.flow.reviewing import Follows
from gateway.model.ids import parse_uuid7
from gateway.model.review import TERMS, Holder, ReviewState
from gateway.model.run import RunEnd, RunEvent, RunState

_AGREED: Final = frozenset({RunState.QUEUED.value, RunState.RUNNING.value})
_DENIALS: Final = {Holder.ADMIN: RunEnd.DENIED, Holder.OWNER: RunEnd.DENIED_BY_OWNER}


class Holding:
    """Parks runs, hears of reviews in the other zone, and lets runs go on; `gateway.flow.reviewing.Waiting`.

    Args:
        house: this zone.
        ending: ends what nobody approves.
        locks: by run.
        tasks: what goes on with runs.
        drive: goes on with a run that this zone coordinates.
    """

    effect: Final = "run.reviewed"

    def __init__(
        self, house: House, ending: Ending, locks: KeyedLocks, tasks: RunTasks, drive: Callable[[str], None]
    ) -> None:
        self._house = house
        self._ending = ending
        self._locks = locks
        self._tasks = tasks
        self._drive = drive
        self._let_go: set[str] = set()  # runs that the other zone let go on before they were parked here

    # --- persons of this zone ---------------------------------------------------------------------------

    def hold(self, identifier: str) -> AbstractAsyncContextManager[None]:
        """A run's lock."""
        return self._locks.hold(identifier)

    async def follows(self, row: ReviewRow, outcome: ReviewState, now: int) -> Follows:
        """What an answer does to the run; approved, it goes on once no other review of it is open here.

        Raises:
            ConflictError: it does not wait any more.
        """
        house = self._house
        run = await rows.get(house.state, row.process_id)
        if not run.open or not run.held_by.startswith(f"{house.zone}/"):
            raise ConflictError("the run does not wait for an answer", remedy=f"tdz run show {run.id}")
        if outcome is ReviewState.OPEN:
            return Follows({}, _nothing)
        coordinates = run.side == "coordinator"
        known = not coordinates or bool(run.document.get("proposal"))
        if outcome is ReviewState.DENIED:
            event = RunEvent.FAIL if run.state in _AGREED else RunEvent.REFUSE
            reason = _DENIALS[Holder(row.holder)].value
            document: dict[str, Any] = denied_findings(run, house.zone, reason)
            values = {"reason": reason, "told": int(not known)}

            async def ended() -> None:
                await self._ending.scrub(await rows.get(house.state, run.id))

            return Follows({"event": event.value, "document": document, "values": values}, ended)
        # Whoever takes part is asked again; whoever coordinates begins anew where nothing is agreed on yet.
        told = int(coordinates and (run.state not in _AGREED or not known))

        async def goes_on() -> None:
            standing = await rows.get(house.state, run.id)
            if coordinates and standing.open and not standing.held_by:
                self._drive(run.id)

        return Follows({"event": "", "document": _anew(run), "values": self._values(run, now, told)}, goes_on)

    def _values(self, run: rows.RunRow, now: int, told: int) -> dict[str, Any]:
        until = now + self._house.timing.review
        agreed = run.state in _AGREED
        return {"deadline": min(until, run.agreed.expires_at) if agreed else until, "told": told}

    # --- persons of the other zone ----------------------------------------------------------------------

    async def park(self, row: rows.RunRow, codes: Sequence[str]) -> rows.RunRow:
        """Let a run that this zone coordinates wait, since the other zone takes no part for now; the row then.

        Args:
            row: the run.
            codes: what the other zone found; its owner is named where it is the owner that it asks.
        """
        house = self._house
        holder = Holder.OWNER if TERMS in codes else Holder.ADMIN
        said = {"round": min(row.round + 1, row.spec.rounds)}
        async with self._locks.hold(row.id):
            row = await rows.get(house.state, row.id)
            if row.id in self._let_go:  # approved meanwhile: it is driven again soon
                self._let_go.discard(row.id)
            elif row.open and not row.held_by:
                await house.steps.run(held_there(house, row, f"{row.peer_zone}/{holder}", 0, said))
        return await rows.get(house.state, row.id)

    async def hear(self, zone: str, run: str, held_by: str, deadline: int, ledger_size: int) -> int:
        """Persons of the other zone look at a run, or let it go on; repeated, it changes nothing. Our ledger's size.

        Raises:
            NotFoundError: no such run with that zone.
            PeerError: somebody is named who is no reviewer there.
            PeerUnavailableError: our mirror did not reach the peer's size, or the run is just being worked on.
        """
        house = self._house
        if held_by and held_by not in {f"{zone}/{holder.value}" for holder in Holder}:
            raise PeerError(f"{zone} names a reviewer that it cannot have")
        row = await rows.get(house.state, parse_uuid7(run))
        if row.peer_zone != zone:
            raise NotFoundError(f"no run {run}")
        await house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror)
        async with self._locks.hold(row.id):
            row = await rows.get(house.state, row.id)
            if held_by and self._takes(row, ledger_size):
                await house.steps.run(held_there(house, row, held_by, deadline, {}))
            elif not held_by and row.open and row.held_by.startswith(f"{zone}/"):
                await self._go_on(row)
            elif not held_by and row.state == RunState.SUBMITTED and not self._tasks.idle(row.id):
                # Its answer that the run waits is just being recorded, or it goes on already.
                raise PeerUnavailableError("the run is under way here", remedy="tell it again")
            elif not held_by and row.side == "coordinator" and row.state in _AGREED:
                self._let_go = {each for each in self._let_go if not self._tasks.idle(each)} | {row.id}
        if not held_by and row.side == "coordinator" and row.held_by.startswith(f"{zone}/"):
            self._drive(row.id)
        return house.journal.committed_size

    @staticmethod
    def _takes(row: rows.RunRow, ledger_size: int) -> bool:
        """Whether a run waits for the coordinator's persons; what it told before it asked again comes too late."""
        late = row.state not in _AGREED and ledger_size <= row.document.get("asked_size", 0)
        return row.open and row.side == "participant" and not row.held_by and not late

    async def _go_on(self, row: rows.RunRow) -> None:
        now = self._house.clock()
        values = self._values(row, now, 1)
        await self._house.state.write(
            lambda connection: rows.change(
                connection,
                row.id,
                [RunState(state) for state in rows.OPEN],
                document=_anew(row),
                held_by="",
                updated_at=now,
                **values,
            )
        )

    # --- nobody -----------------------------------------------------------------------------------------

    async def expire(self) -> int:
        """End runs that nobody answered for; the count of them."""
        house, ended = self._house, 0
        late = await rows.listed(house.state, where_state=rows.OPEN, due=house.clock(), size=None)
        for run in (row.id for row in late if row.held_by):
            async with self._tasks.stopped(run), self._locks.hold(run):
                row = await rows.get(house.state, run)
                if not row.open or not row.held_by or row.deadline >= house.clock():  # answered meanwhile
                    continue
                event = RunEvent.FAIL if row.state in _AGREED else RunEvent.REFUSE
                await self._ending.end(row, event, RunEnd.UNREVIEWED)
                ended += 1
        return ended


def _anew(run: rows.RunRow) -> dict[str, Any]:
    """What a run that is not agreed on yet is told with an approval: both zones decide on it as it is then."""
    return {} if run.state in _AGREED else {"stale": True, "attempt": run.document.get("attempt", 0) + 1}


async def _nothing() -> None:
    """The review stays open."""
