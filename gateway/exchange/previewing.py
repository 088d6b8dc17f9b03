"""Questions that ask for nothing: what both zones would say to a request, and who could get a dataset.

Nothing is negotiated, counted, kept or recorded. Across the border goes what goes there in a negotiation, and back
comes what a denial would say; how often one may ask is bounded, so that it is no oracle.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from gateway.catalog.register import Published
from gateway.decisions.inputs import own_persons, transfer_input
from gateway.decisions.mechanisms import RegisteredMechanism
from gateway.errors import ClockError, ForkError, InputError, NotFoundError, PeerError, PeerUnavailableError, TdzError
from gateway.exchange.house import House
from gateway.exchange.offers import Offered, Offers
from gateway.exchange.weighing import Question, Weighing
from gateway.flow.pace import Pace
from gateway.model import canonical, limits
from gateway.model.decision import Decision, strictest
from gateway.model.participant import Identity, Role
from gateway.model.policy_facts import Purpose, Recipient
from gateway.model.statements import Preview

_MECHANISM_PAGES: Final = 4


@dataclass(frozen=True, slots=True)
class ZoneView:
    """What one zone would decide; `decision` is None where it was not asked, and `note` says why."""

    zone: str
    decision: Decision | None = None
    note: str = ""


@dataclass(frozen=True, slots=True)
class Outlook:
    """What would come of one request.

    Args:
        recipient: URI of the institution; for an owner, `tdz://ZONE/partner/any` stands for any of that zone that is
            registered, screened clear and at home there.
        views: of the zones, the consumer's first; for an owner its own zone's alone, as the other one decides on the
            institution itself when it asks.
    """

    recipient: str
    purpose: str
    views: tuple[ZoneView, ...]

    @property
    def effect(self) -> str:
        """The stricter of both; empty where a zone was not asked and none denies."""
        effects = [view.decision.effect for view in self.views if view.decision is not None]
        effect = strictest(effects)
        return effect if effect == "deny" or len(effects) == len(self.views) else ""


class Previews:
    """Asks and answers such questions.

    Args:
        house: this zone.
        offers: what others offer.
        weighing: what this zone says to a request.
    """

    def __init__(self, house: House, offers: Offers, weighing: Weighing) -> None:
        self._house = house
        self._offers = offers
        self._weighing = weighing
        self._zones = Pace(
            "dry runs of one zone", burst=10 * limits.PREVIEWS_BURST, per_second=10 * limits.PREVIEWS_PER_S
        )

    async def ask(
        self, caller: Identity, resource: str, purposes: Sequence[Purpose], mechanisms: tuple[str, ...]
    ) -> list[Outlook]:
        """What would come of a request by the caller; for an own resource, what others would hear.

        Args:
            caller: a partner; or an administrator, for a resource of this zone.
            resource: its name.
            purposes: empty takes those of the owner's terms.
            mechanisms: references that the request would rely on; for an own resource, all registered ones that
                name it are taken.

        Raises:
            NotFoundError: nothing of this name is offered to the caller, or its own.
            PeerUnavailableError: the zone that might offer it does not answer.
            PaceError: too many questions.
        """
        house = self._house
        house.paces.previews.take(caller.uri)
        own = await self._own(caller, resource)
        if own is not None:
            return await self._for_owner(own, purposes)
        if caller.role is not Role.PARTNER:
            raise NotFoundError(f"no {resource[:80]} of this zone", remedy="tdz dataset list --own")
        offered = await self._offers.find(resource, caller.uri)
        house.journal.require_open(offered.zone)
        wanted = tuple(purposes) or offered.card.terms.purposes
        recipient = await house.recipient(caller.uri)
        ours = [await self._ours(caller, offered, purpose, recipient, mechanisms) for purpose in wanted]
        theirs = await self._theirs(caller, offered, wanted, recipient, mechanisms)
        return [
            Outlook(caller.uri, purpose, (ZoneView(house.zone, own_view), their_view))
            for purpose, own_view, their_view in zip(wanted, ours, theirs, strict=True)
        ]

    async def answer(self, zone: str, envelope: str) -> list[str]:
        """What this zone would decide for another zone's institution, as canonical JSON fit for the border.

        Raises:
            IntegrityError, PeerError: not what the peer may send.
            PaceError: too many questions of that zone or institution.
        """
        house = self._house
        self._zones.take(zone)
        body = house.read(Preview, envelope, of=zone)
        if Identity.parse(body.participant).zone != zone or body.recipient.id != body.participant:
            raise PeerError(f"{zone} asks for an institution that is not its own")
        house.paces.previews.take(body.participant)
        said = []
        for purpose in body.purposes:
            question = Question(body.participant, body.resource, body.version, purpose, body.mechanisms, body.recipient)
            _, kept = await self._weighing.decide(zone, question)
            said.append(canonical.encode(kept.decision.for_peer().to_json()).decode())
        return said

    # --- as the consumer's zone -------------------------------------------------------------------------

    async def _ours(
        self,
        caller: Identity,
        offered: Offered,
        purpose: Purpose,
        recipient: Recipient | None,
        mechanisms: tuple[str, ...],
    ) -> Decision:
        house, card = self._house, offered.card
        subject = await house.subject(card)
        document = transfer_input(
            now=house.clock(),
            purpose=purpose,
            leaves=house.peer_site(offered.zone),
            enters=house.site(),
            exporter=card.exporter,
            recipient=recipient,
            subject=subject,
            mechanisms=await house.mechanisms.serving(mechanisms),
            persons=own_persons(subject),
        )
        return (await house.decide(document)).decision

    async def _theirs(
        self,
        caller: Identity,
        offered: Offered,
        purposes: tuple[Purpose, ...],
        recipient: Recipient | None,
        mechanisms: tuple[str, ...],
    ) -> list[ZoneView]:
        house, zone = self._house, offered.zone

        def all_of(note: str) -> list[ZoneView]:
            return [ZoneView(zone, None, note)] * len(purposes)

        if recipient is None:
            return all_of("not asked: your institution is in no register, see your zone's administrator")
        if recipient.screening.result != "clear":  # which does not leave the zone, not even as a question
            return all_of("not asked: your own zone has to clear this first")
        body = Preview(
            participant=caller.uri,
            resource=offered.card.resource,
            version=offered.card.version,
            purposes=purposes,
            mechanisms=mechanisms,
            recipient=recipient,
        )
        try:
            await house.check_clock(zone)
            said = await house.peers.get(zone).preview(house.sign(body, to=zone, process=offered.card.resource))
        except (PeerUnavailableError, ClockError, ForkError) as error:
            return all_of(f"not asked: {error.message}")
        if len(said) != len(purposes):
            raise PeerError(f"{zone} answers {len(said)} of {len(purposes)} questions")
        return [ZoneView(zone, _decision(zone, each)) for each in said]

    # --- for an owner -----------------------------------------------------------------------------------

    async def _own(self, caller: Identity, resource: str) -> Published | None:
        try:
            published = await self._house.catalog.get(resource)
        except NotFoundError:
            return None
        if caller.role is Role.PARTNER and published.owner != caller.uri:
            house = self._house
            if published.known_to(caller.uri, zone=house.zone, now=house.clock()):
                raise InputError(
                    "it is of your own zone: the corridor carries what crosses a border",
                    remedy="ask its owner directly",
                )
            return None
        return published

    async def _for_owner(self, published: Published, purposes: Sequence[Purpose]) -> list[Outlook]:
        """For each zone and institution that the terms or a mechanism name: what this zone would say."""
        house, terms = self._house, published.terms
        if terms is None:
            return []
        registered = await self._naming(published)
        found = []
        for zone, uri in self._recipients(published, registered):
            for purpose in tuple(purposes) or terms.purposes:
                question = Question(
                    participant=uri,
                    resource=published.resource,
                    version=published.version,
                    purpose=purpose,
                    mechanisms=tuple(
                        each.mechanism.ref for each in registered if each.mechanism.scope.recipient_id == uri
                    )[: limits.MECHANISMS_PER_REQUEST],
                    recipient=_at_home(uri, house.card(zone).jurisdiction),
                )
                _, kept = await self._weighing.decide(zone, question)
                found.append(Outlook(uri, purpose, (ZoneView(house.zone, kept.decision),)))
        return found

    def _recipients(self, published: Published, registered: Sequence[RegisteredMechanism]) -> list[tuple[str, str]]:
        """Zones and institutions, at most so many: any of a zone that all is offered to, and those that are named."""
        terms, house = published.terms, self._house
        if terms is None:
            return []
        named = [*terms.offered_to.participants, *(each.mechanism.scope.recipient_id for each in registered)]
        found: list[tuple[str, str]] = []
        for zone in house.peers.zones():
            if zone in terms.offered_to.zones:
                found.append((zone, f"tdz://{zone}/partner/any"))
            found += [(zone, uri) for uri in named if uri.startswith(f"tdz://{zone}/partner/")]
        return list(dict.fromkeys(found))[: limits.PREVIEW_RECIPIENTS_MAX]

    async def _naming(self, published: Published) -> list[RegisteredMechanism]:
        """Registered mechanisms whose scope names a resource."""
        found: list[RegisteredMechanism] = []
        after = ""
        for _ in range(_MECHANISM_PAGES):
            page = await self._house.mechanisms.page(after)
            found += [
                each
                for each in page
                if not each.withdrawn_at and published.description.id in each.mechanism.scope.dataset_ids
            ]
            if len(page) < limits.LIST_PAGE_MAX:
                break
            after = page[-1].mechanism.ref
        return found


def _decision(zone: str, text: str) -> Decision:
    """A decision as another zone told it; it is shown, never acted on."""
    if len(text) > limits.DECISION_OUTPUT_MAX:
        raise PeerError(f"{zone} answers too much")
    try:
        decision = Decision.from_json(json.loads(text))
    except (ValueError, TdzError) as error:
        raise PeerError(f"{zone} answers with something else than a decision") from error
    if decision.zone != zone:
        raise PeerError(f"{zone} answers with another zone's decision")
    return decision.for_peer()


def _at_home(uri: str, jurisdiction: str) -> Recipient:
    """An institution as it should be: registered, screened clear, at home in its zone's country."""
    return Recipient.model_validate(
        {
            "id": uri,
            "legal_name": "any",
            "kind": "university",
            "hq_country": jurisdiction,
            "ultimate_parent_country": jurisdiction,
            "owners": [],
            "screening": {"list_revision": "any", "result": "clear"},
        }
    )
