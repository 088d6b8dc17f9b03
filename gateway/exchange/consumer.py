"""The consumer's side of a negotiation: from a partner's request to an agreement in force, in two round trips.

Each negotiation is driven by one owned task, which goes on where the row stands: a partner that goes away does not
stop it, the same request again joins it, and a restart takes it up.
"""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Final

import structlog
from sqlalchemy import Connection, bindparam, insert, select

from gateway.catalog.register import listed
from gateway.errors import (
    AlreadyExistsError,
    NotFoundError,
    PeerUnavailableError,
)
from gateway.exchange import rows
from gateway.exchange.asking import Asking
from gateway.exchange.hearing import Hearing
from gateway.exchange.house import House
from gateway.exchange.offers import Offers
from gateway.flow import findings
from gateway.flow.steps import Step
from gateway.model import canonical
from gateway.model.decision import Finding
from gateway.model.ids import uuid7
from gateway.model.negotiation import NegotiationState as State
from gateway.model.participant import Identity
from gateway.state.schema import negotiations

_log = structlog.get_logger()
_CREATE: Final = insert(negotiations)
_STANDING: Final = select(negotiations.c.id, negotiations.c.body_digest).where(
    negotiations.c.side == "consumer",
    negotiations.c.participant == bindparam("participant"),
    negotiations.c.request_id == bindparam("request_id"),
)


@dataclass(frozen=True, slots=True)
class Ask:
    """What a partner asks for; checked by whoever reads the wire."""

    resource: str
    purpose: str
    mechanisms: tuple[str, ...]
    request_id: str

    def digest(self) -> str:
        """What makes two requests the same."""
        return canonical.digest(
            {"resource": self.resource, "purpose": self.purpose, "mechanisms": list(self.mechanisms)}
        )


class Consumer:
    """Negotiates for this zone's institutions."""

    def __init__(self, house: House, offers: Offers) -> None:
        self._house = house
        self._asking = Asking(house, offers)
        self._hearing = Hearing(house)
        self._running: dict[str, asyncio.Task[rows.NegotiationRow]] = {}
        self._closing = False

    async def request(self, caller: Identity, ask: Ask) -> rows.NegotiationRow:
        """Ask for access and wait for the outcome.

        Returns:
            The negotiation: FINALIZED with an agreement, or REQUESTED and held for review.

        Raises:
            AlreadyExistsError: the request id was used with another body.
            DeniedError: a zone refused; the findings say why.
            NotFoundError: no paired zone offers the resource to the caller.
            PeerUnavailableError: still under way at the deadline; the same request again joins it.
        """
        row = await self._create(caller, ask)
        if row.open and not row.held_by:
            task = self._drive(row.id, row=row)
            done, _ = await asyncio.wait({task}, timeout=self._house.timing.rpc)
            if not done:
                raise PeerUnavailableError(
                    "the negotiation is still under way", remedy="ask again with the same request id"
                )
            if task.cancelled():
                raise PeerUnavailableError("the gateway is stopping", remedy="ask again with the same request id")
            row = task.result()
        return self.told(row)

    def told(self, row: rows.NegotiationRow) -> rows.NegotiationRow:
        """The row if it may lead on, else the error that tells why it does not.

        Raises:
            DeniedError, NotFoundError: it ended without an agreement.
        """
        if row.state != State.TERMINATED:
            return row
        if row.document.get("unknown"):
            raise NotFoundError(f"no {row.resource} is offered to you", remedy=listed(row.resource))
        found = tuple(Finding.from_json(finding) for finding in row.document.get("findings", ()))
        last = row.document.get("decisions", [["", "", ""]])[-1]
        raise findings.raised("deny", found, decision_id=last[2], request_id=row.id)

    def go_on(self, identifier: str) -> None:
        """Go on with a negotiation that waited for persons, once its last driver has gone."""
        if self._closing:
            return  # the next start takes it up
        if (standing := self._running.get(identifier)) is not None:
            standing.add_done_callback(lambda _: self.go_on(identifier))
        else:
            self._drive(identifier)

    async def take_up(self) -> int:
        """After a restart: go on with every open negotiation; the count of them."""
        open_rows = await rows.list_negotiations(
            self._house.state,
            side="consumer",
            where_state=[State.REQUESTED, State.OFFERED, State.ACCEPTED],
            size=None,
        )
        for row in open_rows:
            if not row.held_by:
                self._drive(row.id)
        return len(open_rows)

    async def close(self) -> None:
        """Stop driving; what is open goes on after the next start."""
        self._closing = True
        tasks = list(self._running.values())
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

    async def expire(self) -> int:
        """End what passed its deadline: held reviews, requests and confirmations that came to nothing.

        Returns:
            The count of them.
        """
        now = self._house.clock()
        late = await rows.list_negotiations(
            self._house.state, where_state=[State.REQUESTED, State.ACCEPTED], due=now, size=None
        )
        due = [row for row in late if row.id not in self._running]
        for row in due:
            # As its driver, so that nothing else goes on with it meanwhile; one more try ends a confirmation.
            await asyncio.wait({self._drive(row.id, late=row.state == State.REQUESTED)})
        return len(due)

    async def _end_late(self, identifier: str) -> rows.NegotiationRow:
        async with self._house.negotiations.hold(identifier):  # a person may be answering
            return await self._end_if_late(identifier)

    async def _end_if_late(self, identifier: str) -> rows.NegotiationRow:
        house = self._house
        row = await rows.get_negotiation(house.state, identifier)
        now = house.clock()
        if row.state != State.REQUESTED or row.deadline >= now:
            return row
        why = "review expired" if row.held_by else "deadline"
        await house.steps.run(
            Step(
                kind="decision",
                subject=f"negotiations/{row.id}",
                body={"effect": "deny", "reason": why, "negotiation": row.id, "held_by": row.held_by},
                effect="consumer.ended",
                arguments={"id": row.id, "effect": "deny", "document": {"reason": why}, "now": now},
                closing=True,
            )
        )
        return await rows.get_negotiation(house.state, identifier)

    # --- one negotiation --------------------------------------------------------------------------------

    async def _create(self, caller: Identity, ask: Ask) -> rows.NegotiationRow:
        house = self._house
        now = house.clock()
        identifier = uuid7()
        request_id = ask.request_id or identifier
        row = {
            "id": identifier,
            "side": "consumer",
            "participant": caller.uri,
            "request_id": request_id,
            "body_digest": ask.digest(),
            "peer_zone": "",
            "resource": ask.resource,
            "purpose": ask.purpose,
            "state": State.REQUESTED.value,
            "deadline": now + int(house.timing.rpc) + house.timing.confirm,
            "document": canonical.encode({"mechanisms": list(ask.mechanisms)}).decode(),
            "created_at": now,
            "updated_at": now,
        }

        full = house.journal.full()

        def work(connection: Connection) -> rows.NegotiationRow:
            standing = connection.execute(
                _STANDING, {"participant": caller.uri, "request_id": request_id}
            ).one_or_none()
            if standing is None and full is not None:
                raise full  # no decision could be recorded
            if standing is None:
                connection.execute(_CREATE, row)
                return rows.negotiation(connection, identifier)
            if standing.body_digest != row["body_digest"]:
                raise AlreadyExistsError(
                    f"request id {request_id[:80]} was used with another body", remedy="use a new request id"
                )
            return rows.negotiation(connection, str(standing.id))

        return await house.state.write(work)

    def _drive(
        self, identifier: str, *, row: rows.NegotiationRow | None = None, late: bool = False
    ) -> asyncio.Task[rows.NegotiationRow]:
        """The one task that goes on with a negotiation, or ends one that is late; it gives the row it leaves.

        Args:
            identifier: the negotiation.
            row: as it stands, where nobody else can have gone on with it.
            late: end it.
        """
        if self._closing:
            raise PeerUnavailableError("the gateway is stopping", remedy="ask again with the same request id")
        task = self._running.get(identifier)
        if task is None:
            work = self._end_late(identifier) if late else self._run(identifier, row)
            task = asyncio.create_task(work, name=f"negotiation-{identifier}")
            self._running[identifier] = task
            task.add_done_callback(lambda done: self._finished(identifier, done))
        return task

    def _finished(self, identifier: str, task: asyncio.Task[rows.NegotiationRow]) -> None:
        if self._running.get(identifier) is task:
            del self._running[identifier]
        if not task.cancelled() and (error := task.exception()) is not None:
            _log.warning("negotiation stopped", negotiation=identifier, error=str(error))

    async def _run(self, identifier: str, row: rows.NegotiationRow | None) -> rows.NegotiationRow:
        house = self._house
        if row is None:
            row = await rows.get_negotiation(house.state, identifier)
        if not row.effect:
            row = await self._asking.decide(row)
        agreement = None
        if row.state == State.REQUESTED and not row.held_by:
            row, agreement = await self._hearing.negotiate(row)
        if row.state == State.ACCEPTED:
            row = await self._hearing.confirm(row, agreement or await rows.get_agreement(house.state, row.agreement_id))
        return row
