"""A recorded step: intent durable, ledger entry durable, effect durable, in this order, also through a crash.

    state row `pending` (with the entry's id)  ->  ledger append  ->  effect, pending row gone

What only ends something may turn that round (`Steps.end`): effect with the pending row, then the append.

A start finds each pending row and does the rest: the append is repeated under the same id, which doubles nothing,
then the effect. So no effect that opens anything stands without its entry, and no entry stays without its effect.

The caller goes on once the entry is durable and the effect is handed to the state database, which does it before
anything that is handed to it later, reads included: nobody sees a state from before a step that has returned. A
caller that is cancelled waits for that too, so that whoever holds a lock around a step holds it so long.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Final

import structlog
from sqlalchemy import Connection, bindparam, delete, insert, select

from gateway.decisions.inputs import KeptDecision
from gateway.errors import LedgerError, StorageError
from gateway.journal import Journal, Recorded
from gateway.model import canonical
from gateway.model.ids import uuid7, uuid7_unix_ms
from gateway.state import StateStore
from gateway.state.schema import pending

_log = structlog.get_logger()
_INTEND: Final = insert(pending)
_STRIKE: Final = delete(pending).where(pending.c.entry_id == bindparam("of"))
Effect = Callable[[Connection, Mapping[str, Any], Any], None]
"""What a step does to rows: arguments, and where its entry stands (`Recorded`), or None where it ended first."""


@dataclass(frozen=True, slots=True)
class Step:
    """One step.

    Args:
        kind: the ledger entry's kind.
        subject: its subject, a resource name.
        body: its body.
        effect: name under which the effect was registered; "" where the entry is all.
        arguments: JSON values for the effect; kept in the pending row.
        closing: the step ends something.
        kept: the decision that the entry records, kept with the intent; its id is the entry's.
        entry_id: UUIDv7 of the event.
    """

    kind: str
    subject: str
    body: Mapping[str, Any]
    effect: str = ""
    arguments: Mapping[str, Any] = field(default_factory=dict)
    closing: bool = False
    kept: KeptDecision | None = None
    entry_id: str = ""

    def __post_init__(self) -> None:
        if not self.entry_id:
            own = uuid7() if self.kept is None else self.kept.decision.decision_id
            object.__setattr__(self, "entry_id", own)


class Steps:
    """Runs steps and finishes those that a crash interrupted.

    Args:
        state: the state database.
        journal: this zone's log.
        effects: by name; each runs in one transaction with the end of the pending row, possibly after a restart.
    """

    def __init__(self, state: StateStore, journal: Journal, effects: Mapping[str, Effect]) -> None:
        self._state = state
        self._journal = journal
        self._effects: dict[str, Effect] = {"": _nothing, **effects}
        self._running: set[asyncio.Task[None]] = set()
        self._endings: set[asyncio.Task[Recorded | None]] = set()
        self._owed: dict[str, Step] = {}

    async def run(self, step: Step) -> Recorded:
        """Do a step; a caller that is cancelled hears of it when the step cannot be undone any more.

        Raises:
            LedgerError: the entry could not be made durable; the effect did not happen. The intent is taken back
                if the entry is not there.
            StorageError: the intent could not be made durable, or effects are owed and the step ends nothing;
                nothing happened.
        """
        if self._owed and not step.closing:  # the rows are behind the ledger: nothing is opened on them
            await self.finish_owed()
        recorded: asyncio.Future[Recorded] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._whole(step, recorded), name=f"step-{step.entry_id}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(recorded)
        except asyncio.CancelledError:
            await asyncio.wait({recorded})
            recorded.exception()  # the caller has no use for it any more
            raise

    async def run_all(self, steps: Sequence[Step]) -> list[Recorded]:
        """Do steps that belong together: one transaction for their intents, one batch of entries, one for the effects.

        Each is a step of its own all the same: what a crash or an error leaves of one is finished or taken back by
        itself. The first error of any is raised once all are through; errors as `run`.
        """
        if self._owed and not all(step.closing for step in steps):
            await self.finish_owed()
        recorded: asyncio.Future[list[Recorded]] = asyncio.get_running_loop().create_future()
        task = asyncio.create_task(self._together(tuple(steps), recorded), name=f"steps-{len(steps)}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
        try:
            return await asyncio.shield(recorded)
        except asyncio.CancelledError:
            await asyncio.wait({recorded})
            recorded.exception()  # the caller has no use for it any more
            raise

    async def _together(self, steps: tuple[Step, ...], recorded: asyncio.Future[list[Recorded]]) -> None:
        """All of several steps; see `_whole`."""
        try:
            await self._state.write(_intents(steps))
            found = await asyncio.gather(*(self._record(step) for step in steps), return_exceptions=True)
        except BaseException as error:
            recorded.set_exception(error)
            if isinstance(error, Exception):
                return
            raise
        done = [(step, each) for step, each in zip(steps, found, strict=True) if not isinstance(each, BaseException)]
        effects = [self._effect(step, each) for step, each in done]

        def apply(connection: Connection) -> None:
            for effect in effects:
                effect(connection)

        applied = self._state.begin(apply)
        failed = next((each for each in found if isinstance(each, BaseException)), None)
        if failed is None:
            recorded.set_result([each for _, each in done])
        else:
            recorded.set_exception(failed)
        try:
            await applied
        except Exception as error:
            self._owed |= {step.entry_id: step for step, _ in done}
            _log.error("recorded effects are owed", entries=len(done), error=f"{type(error).__name__}")

    async def end(self, step: Step, ended: Callable[[], None] | None = None) -> Recorded | None:
        """Do a step that ends something: its effect first, durable with the intent, then the entry.

        What ends takes effect at once and is recorded as soon as it can be (ledger.md, section 5). The effect is done
        again where the entry stands late, and must change nothing then. A caller that is cancelled changes nothing.

        Args:
            step: what ends. Its body must be one that an entry can hold: what is owed for ever lets nothing open.
            ended: called once the effect is durable, before the entry.

        Returns:
            Where it stands; None where it could not be recorded: then it is owed, `finish_owed` and each start try
            again, and nothing is opened before.

        Raises:
            StorageError: intent and effect could not be made durable; nothing happened.
        """
        task = asyncio.create_task(self._ended(step, ended), name=f"step-{step.entry_id}")
        self._endings.add(task)
        task.add_done_callback(self._endings.discard)
        return await asyncio.shield(task)

    async def _ended(self, step: Step, ended: Callable[[], None] | None) -> Recorded | None:
        effect = self._effects[step.effect]

        def begin(connection: Connection) -> None:
            _intents((step,))(connection)
            effect(connection, step.arguments, None)

        await self._state.write(begin)
        if ended is not None:
            ended()
        try:
            recorded = await self._journal.record(
                step.kind, step.subject, step.body, entry_id=step.entry_id, closing=True
            )
        except LedgerError as error:
            self._owed[step.entry_id] = step
            _log.error("what has ended is not recorded yet", entry=step.entry_id, reason=error.reason)
            return None
        try:
            await self._state.write(lambda connection: connection.execute(_STRIKE, {"of": step.entry_id}))
        except StorageError as error:  # done and recorded; only the intent still stands
            self._owed[step.entry_id] = step
            _log.error("an intent is still to be struck out", entry=step.entry_id, reason=error.reason)
        return recorded

    async def finish_owed(self) -> int:
        """Do the effects that a failing state database left undone; the count of them.

        Raises:
            StorageError, LedgerError: it still fails.
        """
        owed = sorted(self._owed)
        for entry_id in owed:
            if (step := self._owed.get(entry_id)) is not None:  # another caller may be at it too
                await self._finish(step)
                self._owed.pop(entry_id, None)
        return len(owed)

    async def close(self) -> None:
        """Wait for the steps that run."""
        if running := {*self._running, *self._endings}:
            await asyncio.wait(running)

    async def _whole(self, step: Step, recorded: asyncio.Future[Recorded]) -> None:
        """All of a step. Its errors up to the entry go to the caller; after it, the effect is owed."""
        try:
            await self._intend(step)
            done = await self._record(step)
        except BaseException as error:
            recorded.set_exception(error)
            if isinstance(error, Exception):
                return
            raise
        applied = self._state.begin(self._effect(step, done))
        recorded.set_result(done)
        try:
            await applied
        except Exception as error:
            self._owed[step.entry_id] = step
            _log.error(
                "a recorded effect is owed", effect=step.effect, entry=step.entry_id, error=f"{type(error).__name__}"
            )

    async def _record(self, step: Step) -> Recorded:
        try:
            return await self._journal.record(
                step.kind, step.subject, step.body, entry_id=step.entry_id, closing=step.closing
            )
        except LedgerError:
            # A log that has ended raises here too: the intent stays, and the next start asks the log again.
            if await self._journal.find(step.entry_id) is None:
                await self._state.write(lambda connection: connection.execute(_STRIKE, {"of": step.entry_id}))
            else:
                self._owed[step.entry_id] = step
            raise

    async def _intend(self, step: Step) -> None:
        await self._state.write(_intents((step,)))

    async def recover(self) -> int:
        """Finish every step that a crash interrupted, oldest first; the count of them."""
        rows = await self._state.read(
            lambda connection: connection.execute(
                select(pending.c.entry_id, pending.c.payload)
                .where(pending.c.flow.in_(self._effects))
                .order_by(pending.c.entry_id)
            ).all()
        )
        for entry_id, payload in rows:
            document: Any = canonical.decode(payload.encode())
            await self._finish(Step(entry_id=entry_id, **document))
        return len(rows)

    async def _finish(self, step: Step) -> None:
        """What a crash or a failing database left: the append finds the entry where it stands."""
        recorded = await self._journal.record(
            step.kind, step.subject, step.body, entry_id=step.entry_id, closing=step.closing
        )
        await self._state.write(self._effect(step, recorded))

    def _effect(self, step: Step, recorded: Recorded) -> Callable[[Connection], None]:
        effect = self._effects[step.effect]

        def apply(connection: Connection) -> None:
            effect(connection, step.arguments, recorded)
            connection.execute(_STRIKE, {"of": step.entry_id})

        return apply


def _nothing(_connection: Connection, _arguments: Mapping[str, Any], _recorded: Recorded) -> None:
    """The entry is all there is."""


def _intents(steps: Sequence[Step]) -> Callable[[Connection], None]:
    """What keeps the intents of steps, with the decisions that they record, in one transaction."""
    rows = [_intent(step) for step in steps]

    def keep(connection: Connection) -> None:
        for step, row in zip(steps, rows, strict=True):
            if step.kept is not None:
                step.kept.keep(connection)
            connection.execute(_INTEND, row)

    return keep


def _intent(step: Step) -> dict[str, Any]:
    payload = canonical.encode(
        {
            "kind": step.kind,
            "subject": step.subject,
            "body": dict(step.body),
            "effect": step.effect,
            "arguments": dict(step.arguments),
            "closing": step.closing,
        }
    ).decode()
    return {
        "entry_id": step.entry_id,
        "flow": step.effect,
        "subject": step.subject,
        "payload": payload,
        "created_at": uuid7_unix_ms(step.entry_id) // 1000,
    }
