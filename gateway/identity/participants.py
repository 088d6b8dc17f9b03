"""The register of institutions: the facts on which policies decide, and the result of screening them.

On the ledger stands a commitment to the facts: SHA-256 over the canonical JSON of the facts and 32 random bytes
that stay here, so that nobody who mirrors the ledger can guess a screening result.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping
from typing import Any, Final, Literal, TypeVar

from pydantic import ValidationError
from sqlalchemy import Row, select

from gateway.errors import InputError, NotFoundError
from gateway.identity import tables
from gateway.identity.enrolment import Actor
from gateway.identity.registry import Registry, page_size
from gateway.model.canonical import JsonValue, digest, encode
from gateway.model.participant import Identity, Participant, Role
from gateway.model.policy_facts import Part, in_words
from gateway.model.policy_input import Exporter, Recipient, Screening
from gateway.state.schema import participants

_Part = TypeVar("_Part", bound=Part)

FACTS_MAX: Final = 64 * 1024
UNSCREENED: Final[Mapping[str, str]] = {"list_revision": "none", "result": "unknown"}


class Participants:
    """The register of one zone's institutions.

    Args:
        zone: the zone.
        registry: the registers.
        clock: Unix seconds UTC.
    """

    def __init__(self, zone: str, registry: Registry, clock: Callable[[], float]) -> None:
        self._zone = zone
        self._registry = registry
        self._clock = clock

    async def put(
        self, identifier: str, *, exporter: Mapping[str, Any], recipient: Mapping[str, Any], by: Actor
    ) -> Participant:
        """Register an institution, or replace its facts.

        Args:
            identifier: the institution's id in the zone.
            exporter: the policy input's `exporter` part; `id` is filled in.
            recipient: the policy input's `recipient` part; `id` is filled in, and `screening` where it is left
                out: the result that the register has, or "unknown" for a new institution.
            by: the administrator.

        Raises:
            InputError: a fact is missing, extra or wrong; the text names the field.
            LedgerError: it could not be recorded, and was not registered.
        """
        identity = self._identity(identifier)

        async def work() -> Participant:
            last = await self._find(identifier)
            kept = last.recipient.screening.document() if last is not None else dict(UNSCREENED)
            return await self._write(
                identity,
                {"id": identity.uri, **exporter},
                {"id": identity.uri, "screening": kept, **recipient},
                "participant.registered",
                by,
            )

        return await self._registry.steps.exclusively(work)

    async def screen(self, identifier: str, screening: Screening, *, by: Actor) -> Participant:
        """Set the result of screening an institution, with the revision of the lists.

        Raises:
            NotFoundError: it is not registered.
            LedgerError: it could not be recorded, and was not set.
        """
        identity = self._identity(identifier)

        async def work() -> Participant:
            last = await self.get(identifier)
            recipient = {**last.recipient.document(), "screening": screening.document()}
            return await self._write(identity, last.exporter.document(), recipient, "participant.screened", by)

        return await self._registry.steps.exclusively(work)

    async def get(self, identifier: str) -> Participant:
        """One institution.

        Raises:
            NotFoundError: it is not registered.
        """
        found = await self._find(identifier)
        if found is None:
            raise NotFoundError(
                f"no participant {identifier[:80]!r} in zone {self._zone}", remedy="tdz participant add ID"
            )
        return found

    async def list(self, *, size: int = 0, token: str = "") -> tuple[tuple[Participant, ...], str]:
        """A page of institutions by id, and the token of the next one.

        Raises:
            InputError: size or token is malformed.
        """
        size = page_size(size)
        after = self._identity(token).id if token else ""
        query = select(participants).where(participants.c.id > after).order_by(participants.c.id).limit(size + 1)
        rows = await self._registry.store.read(lambda connection: connection.execute(query).all())
        page = tuple(self._of_row(row) for row in rows[:size])
        return page, page[-1].identity.id if len(rows) > size else ""

    async def _find(self, identifier: str) -> Participant | None:
        query = tables.by_participant(self._identity(identifier).id)
        row = await self._registry.store.read(lambda connection: connection.execute(query).first())
        return None if row is None else self._of_row(row)

    async def _write(
        self,
        identity: Identity,
        exporter: Mapping[str, Any],
        recipient: Mapping[str, Any],
        kind: Literal["participant.registered", "participant.screened"],
        by: Actor,
    ) -> Participant:
        now = int(self._clock())
        made = Participant(
            identity, _part(Exporter, exporter, "exporter"), _part(Recipient, recipient, "recipient"), now
        )
        facts: dict[str, JsonValue] = {
            "exporter": made.exporter.document(),
            "recipient": made.recipient.document(),
            "salt": os.urandom(32).hex(),
        }
        text = encode(facts)
        if len(text) > FACTS_MAX:
            raise InputError(f"the facts are longer than {FACTS_MAX} bytes")
        body: dict[str, JsonValue] = {
            "participant": identity.uri,
            "commitment": digest(facts),
            "by": by.fingerprint,
        }
        effect = tables.participant(identity.id, text.decode(), now)
        await self._registry.steps.opening(kind, f"participants/{identity.id}", body, effect)
        return made

    def _identity(self, identifier: str) -> Identity:
        return Identity(self._zone, Role.PARTNER, identifier)

    def _of_row(self, row: Row[Any]) -> Participant:
        facts = json.loads(row.facts)
        return Participant(
            self._identity(row.id),
            Exporter.model_validate(facts["exporter"]),
            Recipient.model_validate(facts["recipient"]),
            row.updated_at,
        )


def _part(kind: type[_Part], value: Mapping[str, Any], name: str) -> _Part:
    try:
        return kind.model_validate(dict(value))
    except ValidationError as error:
        first = error.errors(include_url=False, include_input=False)[0]
        path = ".".join(str(step) for step in (name, *first["loc"]))
        raise InputError(f"{path}: {in_words(first)}", remedy="see `tdz policy example` for every field") from error
