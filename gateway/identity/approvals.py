"""Acts that no administrator does alone: each approval stands on the ledger, and two distinct ones let it happen.

An administrator may say why in a note. People write names into notes, and other zones mirror every entry: so the
entry only commits to the note, which can be shown to somebody and erased for good.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable, Mapping
from typing import Final

from sqlalchemy import and_, delete, select

from gateway.errors import InputError
from gateway.identity import tables
from gateway.identity.enrolment import Actor, Waiting
from gateway.identity.registry import Registry
from gateway.model.canonical import JsonValue, encode
from gateway.model.limits import NOTE_MAX, REVIEW_TTL_S
from gateway.state.schema import act_approvals

__all__ = ["ACT_APPROVALS", "Approvals", "note_values"]

ACT_APPROVALS: Final = 2


class Approvals:
    """Who approved which act.

    Args:
        registry: the registers.
        clock: Unix seconds UTC.
    """

    def __init__(self, registry: Registry, clock: Callable[[], float]) -> None:
        self._registry = registry
        self._clock = clock

    async def give(
        self, what: str, subject: str, act: Mapping[str, JsonValue], *, by: Actor, note: str
    ) -> Waiting | None:
        """Approve an act; None once two administrators have, whose certificates still are live.

        The same administrator's second approval counts as the first; it is not recorded again.

        Args:
            what: the kind of act.
            subject: what it is done to, a resource name.
            act: its arguments; with `what` they are the act. No personal data: they stand on the ledger.
            note: why, in the administrator's words; empty for none.

        Raises:
            InputError: the note is no line of text.
            LedgerError: it could not be recorded, and does not count.
        """
        values = note_values(note)
        digest = hashlib.sha256(encode({"what": what, **act})).hexdigest()

        async def work() -> Waiting | None:
            now = int(self._clock())
            approvers = await self._live(digest, now)
            if by.identity.uri not in approvers:
                await self._registry.steps.opening(
                    "approval",
                    subject,
                    {"what": what, **act, "by": by.fingerprint},
                    tables.approve_act(digest, by.identity.uri, now),
                    mending=True,
                    values=values,
                )
                approvers = await self._live(digest, now)
            missing = ACT_APPROVALS - len(approvers)
            return Waiting(missing, min(approvers.values(), default=now) + REVIEW_TTL_S) if missing > 0 else None

        return await self._registry.steps.exclusively(work)

    async def done(self, what: str, act: Mapping[str, JsonValue]) -> None:
        """The act is done: its approvals are spent."""
        digest = hashlib.sha256(encode({"what": what, **act})).hexdigest()
        await self._registry.store.write(
            lambda connection: connection.execute(delete(act_approvals).where(act_approvals.c.act == digest))
        )

    async def _live(self, digest: str, now: int) -> dict[str, int]:
        """When each administrator approved, of those that may still."""
        table = act_approvals
        rows = await self._registry.store.read(
            lambda connection: connection.execute(
                select(table).where(and_(table.c.act == digest, table.c.approved_at > now - REVIEW_TTL_S))
            ).all()
        )
        found = {}
        for row in rows:
            if any(item.live(now) for item in await self._registry.of_holder(row.approver)):
                found[row.approver] = int(row.approved_at)
        return found


def note_values(note: str) -> dict[str, JsonValue]:
    """What an entry commits to for a note: nothing for an empty one.

    Raises:
        InputError: it is longer than `NOTE_MAX` characters, or no line of text.
    """
    if len(note) > NOTE_MAX or not note.isprintable():
        raise InputError(f"a note is one line of at most {NOTE_MAX} characters", remedy="say it shorter")
    return {"note": note} if note else {}
