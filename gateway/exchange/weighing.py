"""What the provider's zone says to a request: the owner's terms and its own policy, on facts of its own registers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, Final, NamedTuple

from sqlalchemy import Connection, bindparam, or_, select

from gateway.catalog.register import Published
from gateway.decisions.inputs import KeptDecision, Persons, Subject, action_of, own_persons, transfer_input
from gateway.errors import NotFoundError
from gateway.exchange.house import House
from gateway.flow import findings
from gateway.model.negotiation import NegotiationState as State
from gateway.model.policy_facts import Purpose, Recipient
from gateway.model.policy_input import china_year
from gateway.state.schema import agreements

_DAY_S: Final = 86_400
REVOKED: Final = "revoked"
_EXPORTED: Final = select(
    agreements.c.created_at, agreements.c.persons_non_sensitive, agreements.c.persons_sensitive
).where(
    agreements.c.side == "provider",
    agreements.c.provider == bindparam("owner"),
    # What was in force and revoked later may have crossed before.
    or_(agreements.c.state == State.FINALIZED, agreements.c.reason.startswith(REVOKED)),
    agreements.c.created_at > bindparam("since"),
    agreements.c.persons_non_sensitive + agreements.c.persons_sensitive > 0,
)


@dataclass(frozen=True, slots=True)
class Question:
    """Who asks for what.

    Args:
        participant: URI of the asking institution.
        version: digest of the version that it knows of.
        mechanisms: references that it relies on.
        recipient: as its zone's register vouches for it.
    """

    participant: str
    resource: str
    version: str
    purpose: Purpose
    mechanisms: tuple[str, ...]
    recipient: Recipient

    def summary(self) -> dict[str, Any]:
        """What is kept of it where nothing could be decided on."""
        return {
            "participant": self.participant,
            "resource": self.resource,
            "version": self.version,
            "purpose": self.purpose,
            "mechanisms": list(self.mechanisms),
        }


class Asked(NamedTuple):
    """What is asked for and offered to the one who asks, and how many persons it would export."""

    published: Published
    persons: Persons
    subject: Subject


class Weighing:
    """Decides for the zone that data would leave; what is decided is recorded by whoever asks, or not at all."""

    def __init__(self, house: House) -> None:
        self._house = house

    async def decide(self, zone: str, question: Question) -> tuple[Asked | None, KeptDecision]:
        """This zone's decision, and what it is about where it is offered to the one who asks.

        Args:
            zone: of the institution that asks.
            question: what it asks.
        """
        house = self._house
        asked = {"request": question.summary()}
        try:
            published = await house.catalog.get(question.resource)
        except NotFoundError:
            return None, house.refuse(asked, findings.NOT_OFFERED)
        terms = published.terms
        if terms is None or not terms.offers(zone=zone, participant=question.participant, now=house.clock()):
            return None, house.refuse(asked, findings.NOT_OFFERED)
        if published.version != question.version:
            return None, house.refuse(asked, findings.STALE)
        subject, exporter, mechanisms, exported = await asyncio.gather(
            house.subject(published),
            house.exporter(published.owner),
            house.mechanisms.serving(question.mechanisms),
            self.exported(published.owner),
        )
        own = own_persons(subject)
        document = transfer_input(
            now=house.clock(),
            purpose=question.purpose,
            leaves=house.site(),
            enters=house.peer_site(zone),
            exporter=exporter,
            recipient=question.recipient,
            subject=subject,
            mechanisms=mechanisms,
            persons=Persons(exported.non_sensitive + own.non_sensitive, exported.sensitive + own.sensitive),
        )
        return Asked(published, own, subject), await house.decide(
            document,
            *findings.terms_findings(terms, question.purpose, action_of(subject)),
            obligations=[each.obligation() for each in terms.obligations],
        )

    async def exported(self, owner: str) -> Persons:
        """Persons the owner exports in this calendar year by agreements in force.

        Without subject keys it is the sum over agreements in force (policy-facts D); one person in two agreements
        counts twice, which is the stricter reading.

        Args:
            owner: the exporter's URI.
        """
        now = self._house.clock()
        year = china_year(now)

        def work(connection: Connection) -> tuple[int, int]:
            plain = sensitive = 0
            since = {"owner": owner, "since": now - 367 * _DAY_S}
            for created_at, plain_part, sensitive_part in connection.execute(_EXPORTED, since):
                if china_year(created_at) == year:
                    plain, sensitive = plain + plain_part, sensitive + sensitive_part
            return plain, sensitive

        return Persons(*await self._house.state.read(work))
