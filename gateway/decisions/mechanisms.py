"""The register of legal mechanisms under this zone's law: kind, scope, dates and verification come from here.

A partner names references only; what is not registered, or withdrawn, serves nobody.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any, Final

from pydantic import ValidationError
from sqlalchemy import Connection, insert, select, update

from gateway.errors import ConflictError, InputError, NotFoundError
from gateway.model import canonical, limits
from gateway.model.policy_input import Mechanism
from gateway.state import StateStore
from gateway.state.schema import mechanisms


@dataclass(frozen=True, slots=True)
class RegisteredMechanism:
    """One registered mechanism; times are Unix seconds, 0 while it serves."""

    mechanism: Mechanism
    added_at: int
    withdrawn_at: int

    @property
    def digest(self) -> str:
        """SHA-256 of its canonical document, as the ledger names it."""
        return canonical.digest(self.mechanism.document())


def withdraw(connection: Connection, arguments: Mapping[str, Any], _recorded: object) -> None:
    """Withdraw a mechanism, `ref`, at `now`: from the next decision on it serves nobody. The effect of a step."""
    query = update(mechanisms).where(mechanisms.c.ref == arguments["ref"], mechanisms.c.withdrawn_at == 0)
    connection.execute(query.values(withdrawn_at=arguments["now"]))


EFFECTS: Final = {"mechanism.withdrawn": withdraw}
"""What a recorded step does to the register."""


class MechanismRegister:
    """This zone's mechanisms. Writing is durable on return; recording on the ledger is the caller's, before."""

    def __init__(self, state: StateStore) -> None:
        self._state = state

    @staticmethod
    def parse(text: str) -> Mechanism:
        """Read one `mechanisms[]` member.

        Raises:
            InputError: it is none; the text names the first field that is wrong.
        """
        try:
            return Mechanism.model_validate(json.loads(text))
        except ValidationError as error:
            first = error.errors(include_url=False, include_input=False)[0]
            field = ".".join(str(part) for part in first["loc"])
            raise InputError(f"mechanism: {field}: {first['msg']}", remedy="see `tdz mechanism add --help`") from error
        except ValueError as error:
            raise InputError(f"mechanism: not JSON: {error}") from error

    async def add(self, mechanism: Mechanism, now: int) -> RegisteredMechanism:
        """Add one; the same document again changes nothing.

        Raises:
            ConflictError: the reference is taken by another document, or was withdrawn.
        """

        def work(connection: Connection) -> RegisteredMechanism:
            standing = _check_free(connection, mechanism)
            if standing is not None:
                return standing
            document = canonical.encode(mechanism.document()).decode()
            connection.execute(
                insert(mechanisms).values(ref=mechanism.ref, document=document, added_at=now, withdrawn_at=0)
            )
            return RegisteredMechanism(mechanism, now, 0)

        return await self._state.write(work)

    async def check_free(self, mechanism: Mechanism) -> None:
        """Refuse early what `add` would refuse, before it is recorded.

        Raises:
            ConflictError: as `add`.
        """
        await self._state.read(lambda connection: _check_free(connection, mechanism))

    async def get(self, ref: str) -> RegisteredMechanism:
        """One by its reference.

        Raises:
            NotFoundError: no such reference.
        """
        found = await self._state.read(lambda connection: _one(connection, ref))
        if found is None:
            raise NotFoundError(f"no mechanism {ref[:80]}", remedy="tdz mechanism list")
        return found

    async def page(self, after: str = "", size: int = limits.LIST_PAGE_MAX) -> list[RegisteredMechanism]:
        """A page sorted by reference."""
        query = select(mechanisms).where(mechanisms.c.ref > after).order_by(mechanisms.c.ref).limit(size)
        return await self._state.read(lambda connection: [_row(row) for row in connection.execute(query)])

    async def serving(self, refs: Sequence[str]) -> list[Mechanism]:
        """The registered, not withdrawn ones among the references; the rest is left out, which never helps."""
        if not refs:
            return []
        query = (
            select(mechanisms)
            .where(mechanisms.c.ref.in_(list(refs)), mechanisms.c.withdrawn_at == 0)
            .order_by(mechanisms.c.ref)
        )
        return await self._state.read(lambda connection: [_row(row).mechanism for row in connection.execute(query)])


def _one(connection: Connection, ref: str) -> RegisteredMechanism | None:
    row = connection.execute(select(mechanisms).where(mechanisms.c.ref == ref)).one_or_none()
    return None if row is None else _row(row)


def _check_free(connection: Connection, mechanism: Mechanism) -> RegisteredMechanism | None:
    standing = _one(connection, mechanism.ref)
    if standing is not None and (standing.mechanism != mechanism or standing.withdrawn_at):
        raise ConflictError(
            f"mechanism {mechanism.ref} exists with other content or was withdrawn", remedy="choose a new reference"
        )
    return standing


def _row(row: object) -> RegisteredMechanism:
    document = Mechanism.model_validate_json(row.document)  # type: ignore[attr-defined]
    return RegisteredMechanism(document, row.added_at, row.withdrawn_at)  # type: ignore[attr-defined]
