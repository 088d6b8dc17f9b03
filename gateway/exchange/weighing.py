"""What the provider's zone says to a request: the owner's terms and its own policy, on facts of its own registers."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass
from typing import Any, NamedTuple

from gateway.catalog.register import Published
from gateway.decisions.inputs import KeptDecision, Persons, Subject, action_of, transfer_input
from gateway.errors import NotFoundError
from gateway.exchange.house import House
from gateway.exchange.usage import Usage, counted
from gateway.flow import findings
from gateway.model.policy_facts import Purpose, Recipient


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

    def __init__(self, house: House, usage: Usage) -> None:
        self._house = house
        self._usage = usage

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
        subject = await house.subject(published)
        exporter, mechanisms, persons = await asyncio.gather(
            house.exporter(published.owner),
            house.mechanisms.serving(question.mechanisms),
            self._usage.after(published.owner, published.version, subject),
        )
        document = transfer_input(
            now=house.clock(),
            purpose=question.purpose,
            leaves=house.site(),
            enters=house.peer_site(zone),
            exporter=exporter,
            recipient=question.recipient,
            subject=subject,
            mechanisms=mechanisms,
            persons=persons,
        )
        return Asked(published, counted(subject), subject), await house.decide(
            document,
            *findings.terms_findings(terms, question.purpose, action_of(subject)),
            obligations=[each.obligation() for each in terms.obligations],
        )
