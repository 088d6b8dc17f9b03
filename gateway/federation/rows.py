"""The federation's rows as frozen objects, and guarded changes to them.

An effect may run again after a restart, so each change says from which states it may start; where the row is
already beyond, it changes nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from functools import cached_property, lru_cache
from typing import Any, Final

from sqlalchemy import Connection, bindparam, select, update
from sqlalchemy.dialects.sqlite import insert

from gateway.errors import ConflictError, NotFoundError
from gateway.flow.house import parse_envelope
from gateway.identity.statements import read_unverified
from gateway.model import canonical, limits
from gateway.model.policy_facts import Device
from gateway.model.run import FINAL, RunEvent, RunSpec, RunState, advance
from gateway.model.run_statements import RunAgreement, RunDataset, RunUpdate
from gateway.state import StateStore
from gateway.state.schema import run_parts, run_rounds, runs

OPEN: Final = tuple(state.value for state in RunState if state not in FINAL)


@lru_cache(maxsize=32)
def _spec_of(text: str) -> RunSpec:
    """A stored run; specs are frozen, and asked for many times in one round."""
    return RunSpec.parse(text.encode())


@lru_cache(maxsize=32)
def _agreement_of(envelope: str) -> RunAgreement:
    return RunAgreement.parse(read_unverified(parse_envelope(envelope)).body)


@dataclass(frozen=True)
class RunRow:
    """One run. `document` holds datasets, cards, decisions, findings and the stored answer."""

    id: str
    side: str
    participant: str
    request_id: str
    body_digest: str
    peer_zone: str
    state: str
    held_by: str
    spec_text: str
    round: int
    bytes_out: int
    bytes_in: int
    deadline: int
    told: int
    reason: str
    agreement: str
    outcome: str
    model: str
    document: dict[str, Any]
    created_at: int
    updated_at: int

    @property
    def spec(self) -> RunSpec:
        """What was asked for."""
        return _spec_of(self.spec_text)

    @property
    def open(self) -> bool:
        """Whether it has not ended."""
        return self.state in OPEN

    @cached_property
    def datasets(self) -> tuple[RunDataset, ...]:
        """The datasets of both zones; empty before they were found."""
        return tuple(RunDataset.model_validate(each) for each in self.document.get("datasets", ()))

    def of_zone(self, zone: str) -> tuple[RunDataset, ...]:
        """The datasets of one zone."""
        return tuple(each for each in self.datasets if each.zone == zone)

    @property
    def agreed(self) -> RunAgreement:
        """The agreement; its signatures were verified before it was stored."""
        return _agreement_of(self.agreement)


@dataclass(frozen=True, slots=True)
class PartRow:
    """What one zone released in one round: `out` this zone, `in` the other; without a statement: not released yet."""

    run_id: str
    round: int
    direction: str
    digest: str
    bytes: int
    statement: str

    @property
    def announced(self) -> RunUpdate:
        """The statement that goes before it; it was verified before it was stored."""
        return RunUpdate.parse(read_unverified(parse_envelope(self.statement)).body)


@dataclass(frozen=True, slots=True)
class RoundRow:
    """One completed round."""

    run_id: str
    round: int
    document: dict[str, Any]
    milliseconds: int
    bytes: int


def devices_of(history: Sequence[RoundRow], zone: str) -> tuple[Device, ...]:
    """What a zone trained on in these rounds, as far as it is known here: each device once, in one order."""
    found = {
        canonical.encode(device): Device.model_validate(device)
        for each in history
        for part in each.document["zones"]
        if part["zone"] == zone
        for device in part["devices"]
    }
    return tuple(found[key] for key in sorted(found))


def run(connection: Connection, identifier: str) -> RunRow:
    """One run.

    Raises:
        NotFoundError: there is none.
    """
    row = connection.execute(_BY_ID, {"identifier": identifier}).mappings().one_or_none()
    if row is None:
        raise NotFoundError(f"no run {identifier[:80]}", remedy="see `tdz run list`")
    return _run(dict(row))


async def get(state: StateStore, identifier: str) -> RunRow:
    """One run.

    Raises:
        NotFoundError: there is none.
    """
    return await state.read(lambda connection: run(connection, identifier))


async def known(state: StateStore, identifier: str) -> RunRow | None:
    """A run's row, None where there is none."""
    try:
        return await get(state, identifier)
    except NotFoundError:
        return None


def move(
    connection: Connection,
    identifier: str,
    event: RunEvent,
    *,
    document: Mapping[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Move a run by an event; members of `document` are added to its own. Whether the event fitted."""
    row = connection.execute(_STATE, {"identifier": identifier}).one_or_none()
    if row is None:
        return False
    try:
        state = advance(RunState(row.state), event).value
    except ConflictError:
        return False  # done before, or overtaken: the guard of an effect that runs again
    if document:
        values["document"] = canonical.encode(json.loads(row.document) | dict(document)).decode()
    query = update(runs).where(runs.c.id == identifier, runs.c.state == row.state)
    return connection.execute(query.values(state=state, **values)).rowcount == 1


def change(
    connection: Connection,
    identifier: str,
    states: Sequence[RunState],
    *,
    document: Mapping[str, Any] | None = None,
    **values: Any,
) -> bool:
    """Change a run without moving it, if it is in one of the states."""
    if document:
        row = connection.execute(_STATE, {"identifier": identifier}).one_or_none()
        if row is None:
            return False
        values["document"] = canonical.encode(json.loads(row.document) | dict(document)).decode()
    query = update(runs).where(runs.c.id == identifier, runs.c.state.in_([s.value for s in states]))
    return connection.execute(query.values(**values)).rowcount == 1


def put_part(connection: Connection, part: Mapping[str, Any]) -> None:
    """Keep what was released or accepted; a part that stands with a statement stays as it is."""
    statement = insert(run_parts).values(**part)
    connection.execute(
        statement.on_conflict_do_update(
            index_elements=["run_id", "round", "direction"],
            set_={name: statement.excluded[name] for name in ("digest", "bytes", "statement")},
            where=run_parts.c.statement == "",
        )
    )


def told(connection: Connection, row: RunRow) -> None:
    """The other zone knows how the run stands; what has changed meanwhile is told again."""
    same = (runs.c.id == row.id) & (runs.c.state == row.state) & (runs.c.held_by == row.held_by)
    connection.execute(update(runs).where(same).values(told=1))


def add_bytes(connection: Connection, part: Mapping[str, Any], column: str) -> None:
    """Count a part's bytes among those that crossed the border; the sums and each round once."""
    counted = {column: runs.c[column] + part["bytes"]}
    connection.execute(update(runs).where(runs.c.id == part["run_id"]).values(**counted))


def complete_round(connection: Connection, identifier: str, round_: int, **values: Any) -> bool:
    """Say that a round is completed; one that is already behind stays so."""
    query = update(runs).where(
        runs.c.id == identifier, runs.c.round == round_ - 1, runs.c.state == RunState.RUNNING.value
    )
    return connection.execute(query.values(round=round_, **values)).rowcount == 1


def put_round(connection: Connection, row: Mapping[str, Any]) -> None:
    """Keep what a completed round came to."""
    connection.execute(insert(run_rounds).values(**row).on_conflict_do_nothing())


async def part(state: StateStore, run_id: str, round_: int, direction: str) -> PartRow | None:
    """One part, None where there is none."""
    key = {"run_id": run_id, "round": round_, "direction": direction}
    row = await state.read(lambda connection: connection.execute(_PART, key).mappings().one_or_none())
    return None if row is None else PartRow(**row)


async def rounds(state: StateStore, run_id: str, size: int = limits.RUN_ROUNDS_MAX) -> list[RoundRow]:
    """The newest completed rounds, oldest first."""
    query = select(run_rounds).where(run_rounds.c.run_id == run_id).order_by(run_rounds.c.round.desc()).limit(size)
    found = await state.read(lambda connection: connection.execute(query).mappings().all())
    return [RoundRow(**(dict(row) | {"document": json.loads(row["document"])})) for row in reversed(found)]


async def listed(
    state: StateStore,
    *,
    participant: str = "",
    side: str = "",
    where_state: Sequence[str] = (),
    due: int | None = None,
    untold: bool = False,
    before: str = "",
    size: int | None = limits.LIST_PAGE_MAX,
) -> list[RunRow]:
    """Runs, newest first.

    Args:
        participant: only those that this institution started, or in which it has a dataset.
        due: only those whose deadline is before.
        untold: only those of whose end the other zone does not know yet.
    """
    query = select(runs).order_by(runs.c.id.desc()).limit(size)
    if participant:
        owner = f'"owner":"{participant}"'  # as canonical JSON has it; ids have no characters that LIKE reads
        query = query.where((runs.c.participant == participant) | runs.c.document.contains(owner, autoescape=True))
    if side:
        query = query.where(runs.c.side == side)
    if where_state:
        query = query.where(runs.c.state.in_([str(s) for s in where_state]))
    if due is not None:
        query = query.where(runs.c.deadline < due)
    if untold:
        query = query.where(runs.c.told == 0)
    if before:
        query = query.where(runs.c.id < before)
    return await state.read(lambda connection: [_run(dict(r)) for r in connection.execute(query).mappings()])


def _run(values: dict[str, Any]) -> RunRow:
    values["spec_text"] = values.pop("spec")
    return RunRow(**(values | {"document": json.loads(values["document"])}))


_BY_ID: Final = select(runs).where(runs.c.id == bindparam("identifier"))
_STATE: Final = select(runs.c.state, runs.c.document).where(runs.c.id == bindparam("identifier"))
_PART: Final = select(run_parts).where(
    run_parts.c.run_id == bindparam("run_id"),
    run_parts.c.round == bindparam("round"),
    run_parts.c.direction == bindparam("direction"),
)
