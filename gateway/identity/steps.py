"""Steps of the registers: recorded on the ledger before they take effect, finished after a crash.

An opening step (a certificate issued, a zone paired) is written down as pending, recorded, then takes effect and
is struck off in one transaction. A closing step (revoked, unpaired) takes effect and is written down as pending
in one transaction, then recorded and struck off. Its effect is data, so that the next start can finish it.

Atomicity: steps run one at a time. Cancellation: a caller that goes away does not stop a step that was begun.
"""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import Awaitable, Callable, Mapping
from typing import Any, Final, Protocol, TypeVar

from sqlalchemy import Connection, delete, insert, select

from gateway.model.canonical import JsonValue, encode
from gateway.model.ids import uuid7
from gateway.state import StateStore
from gateway.state.schema import pending

T = TypeVar("T")
FLOW: Final = "identity"

Effect = Mapping[str, Any]


class Recorder(Protocol):
    """The way to the ledger; the journal is one."""

    async def record(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, JsonValue],
        *,
        entry_id: str,
        closing: bool = False,
        values: Mapping[str, JsonValue] | None = None,
    ) -> object:
        """Append an entry; durable on return. The same id again with the same content doubles nothing.

        In the place of `values` the entry has salted commitments.

        Raises:
            LedgerError: it could not be made durable.
        """

    async def find(self, entry_id: str) -> object | None:
        """The entry of an id, None where there is none."""


class Steps:
    """Runs the steps of one gateway's registers.

    Args:
        store: the state database.
        recorder: the ledger.
        apply: carries out an effect in a transaction; doing it twice is doing it once.
        applied: hears of an effect once it is durable, in the event loop.
    """

    def __init__(
        self,
        store: StateStore,
        recorder: Recorder,
        apply: Callable[[Connection, Effect], None],
        applied: Callable[[Effect], None],
    ) -> None:
        self._store = store
        self._recorder = recorder
        self._apply = apply
        self._applied = applied
        self._lock = asyncio.Lock()
        self._tasks: set[asyncio.Task[Any]] = set()

    async def exclusively(self, work: Callable[[], Awaitable[T]]) -> T:
        """Run work that looks, decides and steps, with no other step between; it outlives its caller."""

        async def run() -> T:
            async with self._lock:
                return await work()

        task = asyncio.create_task(run())
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        return await asyncio.shield(task)

    async def opening(
        self,
        kind: str,
        subject: str,
        body: Mapping[str, JsonValue],
        effect: Effect,
        *,
        mending: bool = False,
        values: Mapping[str, JsonValue] | None = None,
    ) -> None:
        """Record, then take effect; called within `exclusively`.

        Args:
            mending: it opens nothing across the border: it may be recorded where what opens may not.
            values: what the entry only commits to; nothing of it is written down here.

        Raises:
            LedgerError: the entry could not be made durable; without the entry there is no effect.
            StorageError: the state database failed.
        """
        entry_id = uuid7()
        row = _row(entry_id, kind, subject, body, effect, closing=False)
        await self._store.write(lambda connection: connection.execute(insert(pending).values(row)))
        await self._recorder.record(kind, subject, body, entry_id=entry_id, closing=mending, values=values)
        await self._finish(entry_id, effect)

    async def closing(self, kind: str, subject: str, body: Mapping[str, JsonValue], effect: Effect) -> None:
        """Take effect at once, then record; called within `exclusively`.

        Raises:
            LedgerError: the entry is not durable yet; the step is in force, and the next start records it.
            StorageError: the state database failed; nothing happened.
        """
        entry_id = uuid7()
        row = _row(entry_id, kind, subject, body, effect, closing=True)

        def begin(connection: Connection) -> None:
            connection.execute(insert(pending).values(row))
            self._apply(connection, effect)

        await self._store.write(begin)
        self._applied(effect)
        await self._recorder.record(kind, subject, body, entry_id=entry_id, closing=True)
        await self._strike(entry_id)

    async def recover(self) -> None:
        """Finish what a crash left: opening steps that were recorded, closing steps in any case.

        Raises:
            LedgerError: the entry of a closing step cannot be made durable.
        """
        rows = await self._store.read(
            lambda connection: connection.execute(
                select(pending).where(pending.c.flow == FLOW).order_by(pending.c.entry_id)
            ).all()
        )
        for row in rows:
            step = json.loads(row.payload)
            if step["closing"]:
                await self._recorder.record(
                    step["kind"], row.subject, step["body"], entry_id=row.entry_id, closing=True
                )
                await self._finish(row.entry_id, step["effect"])
            elif await self._recorder.find(row.entry_id) is not None:
                await self._finish(row.entry_id, step["effect"])
            else:
                await self._strike(row.entry_id)

    async def close(self) -> None:
        """Wait for the steps that were begun."""
        while self._tasks:
            await asyncio.gather(*self._tasks, return_exceptions=True)

    async def _strike(self, entry_id: str) -> None:
        await self._store.write(lambda connection: _strike(connection, entry_id))

    async def _finish(self, entry_id: str, effect: Effect) -> None:
        def finish(connection: Connection) -> None:
            self._apply(connection, effect)
            _strike(connection, entry_id)

        await self._store.write(finish)
        self._applied(effect)


def _strike(connection: Connection, entry_id: str) -> None:
    connection.execute(delete(pending).where(pending.c.entry_id == entry_id))


def _row(
    entry_id: str,
    kind: str,
    subject: str,
    body: Mapping[str, JsonValue],
    effect: Effect,
    *,
    closing: bool,
) -> dict[str, object]:
    step: dict[str, JsonValue] = {
        "kind": kind,
        "body": dict(body),
        "effect": dict(effect),
        "closing": closing,
    }
    return {
        "entry_id": entry_id,
        "flow": FLOW,
        "subject": subject,
        "payload": encode(step).decode(),
        "created_at": int(time.time()),
    }
