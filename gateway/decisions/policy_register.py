"""The rows behind activations: who asked for which bundle, what was activated, and how far the ledger was read.

The ledger is what happened; these rows say it in a form that a start can look up.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final

from sqlalchemy import Connection, delete, insert, select, update

from gateway.model import canonical
from gateway.model.limits import REVIEW_TTL_S
from gateway.state import StateStore
from gateway.state.schema import policy_activations, policy_approvals, policy_cursor, policy_withdrawals

_CURSOR: Final = 1


@dataclass(frozen=True, slots=True)
class Approval:
    """An administrator's word for a bundle; times are Unix seconds UTC."""

    bundle: str
    approver: str
    fingerprint: str
    document: Mapping[str, Any]
    approved_at: int

    @property
    def expires_at(self) -> int:
        """Until when it counts."""
        return self.approved_at + REVIEW_TTL_S


@dataclass(frozen=True, slots=True)
class Withdrawal:
    """A bundle that was asked for and taken back, by the administrator's URI; Unix seconds UTC."""

    bundle: str
    withdrawn_by: str
    document: Mapping[str, Any]
    withdrawn_at: int


@dataclass(frozen=True, slots=True)
class Activation:
    """One part of the policy that was activated.

    Args:
        seq: of its ledger entry.
        entry_id: of the same.
        policy: digest of the whole policy from then on; empty where what the entry commits to is lost.
        part: baseline, zone, or packs/<id>.
        bundle: SHA-256 of the signed bundle.
        revision: of the bundle.
        document: what the bundle says of itself.
        activated_at: Unix seconds UTC.
    """

    seq: int
    entry_id: str
    policy: str
    part: str
    bundle: str
    revision: int
    document: Mapping[str, Any]
    activated_at: int


class PolicyRegister:
    """Reads the rows; they are written by the effects of recorded steps."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    async def newest(self) -> Activation | None:
        """The last activation; None while the policy that the gateway started with is in force."""
        return next(iter(await self.activations(1)), None)

    async def activations(self, most: int = 1_000) -> list[Activation]:
        """The last activations, the newest first."""
        query = select(policy_activations).order_by(policy_activations.c.seq.desc()).limit(most)
        return await self._state.read(lambda connection: [_activation(row) for row in connection.execute(query)])

    async def of_part(self, part: str) -> Activation | None:
        """The last activation of a part."""
        table = policy_activations
        query = select(table).where(table.c.part == part).order_by(table.c.seq.desc()).limit(1)
        rows = await self._state.read(lambda connection: [_activation(row) for row in connection.execute(query)])
        return rows[0] if rows else None

    async def parts(self) -> list[Activation]:
        """The activation in force of each part, by part."""
        found: dict[str, Activation] = {}
        for each in await self.activations():
            if each.part:
                found.setdefault(each.part, each)
        return [found[part] for part in sorted(found)]

    async def approvals(self, now: int, bundle: str = "") -> list[Approval]:
        """Approvals that still count, of one bundle or of all, the oldest first."""
        table = policy_approvals
        query = select(table).where(table.c.approved_at > now - REVIEW_TTL_S).order_by(table.c.approved_at)
        if bundle:
            query = query.where(table.c.bundle == bundle)
        return await self._state.read(lambda connection: [_approval(row) for row in connection.execute(query)])

    async def withdrawals(self, now: int) -> list[Withdrawal]:
        """What was taken back as long ago as an approval counts, and not asked for again, the oldest first."""
        table = policy_withdrawals
        query = select(table).where(table.c.withdrawn_at > now - REVIEW_TTL_S).order_by(table.c.withdrawn_at)
        return await self._state.read(lambda connection: [_withdrawal(row) for row in connection.execute(query)])

    async def knows(self, entry_id: str) -> bool:
        """Whether an activation's entry has its row."""
        query = select(policy_activations.c.seq).where(policy_activations.c.entry_id == entry_id)
        return await self._state.read(lambda connection: connection.execute(query).one_or_none() is not None)

    async def adopt(self, activation: Activation) -> None:
        """Take over what the ledger says and no row does."""
        row = _row(activation)
        await self._state.write(lambda connection: connection.execute(insert(policy_activations).values(row)))

    async def forget(self, bundle: str, until: int) -> None:
        """No word for a bundle that was given up to a time counts any more; of any bundle where "" is named."""
        table = policy_approvals
        which = table.c.approved_at <= until, *((table.c.bundle == bundle,) if bundle else ())
        await self._state.write(lambda connection: connection.execute(delete(table).where(*which)))

    async def cursor(self) -> int:
        """So many entries of the own ledger were looked at."""
        query = select(policy_cursor.c.size).where(policy_cursor.c.id == _CURSOR)
        return await self._state.read(lambda connection: int(connection.execute(query).scalar_one_or_none() or 0))

    async def move_cursor(self, size: int) -> None:
        """So many entries are looked at now."""

        def work(connection: Connection) -> None:
            moved = connection.execute(update(policy_cursor).where(policy_cursor.c.id == _CURSOR).values(size=size))
            if not moved.rowcount:
                connection.execute(insert(policy_cursor).values(id=_CURSOR, size=size))

        await self._state.write(work)


def approve(connection: Connection, arguments: Mapping[str, Any]) -> None:
    """The effect of an approval; again it changes nothing."""
    row = {**arguments, "document": canonical.encode(arguments["document"]).decode()}
    table = policy_approvals
    connection.execute(delete(table).where(table.c.bundle == row["bundle"], table.c.approver == row["approver"]))
    connection.execute(insert(table).values(row))
    connection.execute(delete(policy_withdrawals).where(policy_withdrawals.c.bundle == row["bundle"]))


def withdraw(connection: Connection, arguments: Mapping[str, Any]) -> None:
    """The effect of a withdrawal: no word for the bundle counts any more; again it changes nothing."""
    row = {**arguments, "document": canonical.encode(arguments["document"]).decode()}
    for table in (policy_approvals, policy_withdrawals):
        connection.execute(delete(table).where(table.c.bundle == row["bundle"]))
    over = policy_withdrawals.c.withdrawn_at <= row["withdrawn_at"] - REVIEW_TTL_S
    connection.execute(delete(policy_withdrawals).where(over))
    connection.execute(insert(policy_withdrawals).values(row))


def activate(connection: Connection, arguments: Mapping[str, Any], seq: int) -> None:
    """The effect of an activation; approvals of its bundle are spent, as are those of older ones."""
    table = policy_activations
    if connection.execute(select(table.c.seq).where(table.c.entry_id == arguments["entry_id"])).one_or_none() is None:
        connection.execute(insert(table).values(_row(Activation(seq=seq, **arguments))))
    part, revision = arguments["part"], arguments["revision"]
    for row in connection.execute(select(policy_approvals)).all():
        document = json.loads(row.document)
        old = document["part"] == part and int(document["revision"]) <= revision
        if old or row.approved_at <= arguments["activated_at"] - REVIEW_TTL_S:
            spent = policy_approvals.c.bundle == row.bundle, policy_approvals.c.approver == row.approver
            connection.execute(delete(policy_approvals).where(*spent))
    connection.execute(delete(policy_withdrawals).where(policy_withdrawals.c.bundle == arguments["bundle"]))


def _row(activation: Activation) -> dict[str, Any]:
    row = {name: getattr(activation, name) for name in Activation.__dataclass_fields__}
    return {**row, "document": canonical.encode(dict(activation.document)).decode()}


def _activation(row: Any) -> Activation:
    values = {name: getattr(row, name) for name in Activation.__dataclass_fields__}
    return Activation(**{**values, "document": json.loads(row.document)})


def _approval(row: Any) -> Approval:
    return Approval(row.bundle, row.approver, row.fingerprint, json.loads(row.document), row.approved_at)


def _withdrawal(row: Any) -> Withdrawal:
    return Withdrawal(row.bundle, row.withdrawn_by, json.loads(row.document), row.withdrawn_at)
