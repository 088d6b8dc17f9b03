"""Resource cards: what this zone offers to the others, and what the others' cards say they offer to us."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import AsyncIterator
from dataclasses import dataclass
from typing import Final

import structlog

from gateway.catalog.register import Published, StoredCard, listed
from gateway.errors import ClockError, IntegrityError, NotFoundError, PeerError, PeerUnavailableError, TdzError
from gateway.exchange.house import House
from gateway.model import limits
from gateway.model.statements import ResourceCard

_log = structlog.get_logger()
_PROVEN_MAX: Final = 32  # cards whose signature was verified, kept in memory until they expire or others come


@dataclass(frozen=True, slots=True)
class Offered:
    """Another zone's dataset or model as its signed card describes it."""

    zone: str
    card: ResourceCard


class Offers:
    """Cards out and in."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._proven: dict[tuple[bytes, bytes], ResourceCard] = {}

    # --- out: for a paired gateway ----------------------------------------------------------------------

    async def cards_for(self, zone: str, after: str) -> tuple[list[str], str]:
        """A page of signed cards of what is offered to anybody in a zone, and where the next begins."""
        cards: list[str] = []
        size = 0
        for published in await self._house.catalog.page(after, limits.CARDS_PAGE_MAX):
            after = published.resource
            try:
                card = await self._card(published, zone)
            except IntegrityError as error:  # too long to be told of: it must not hide the others
                _log.error("a card cannot be made", resource=published.resource, error=str(error))
                continue
            if card is not None:
                cards.append(card)
                size += len(card)
            if size > limits.CARDS_PAGE_BYTES:
                return cards, after
        more = await self._house.catalog.page(after, 1)
        return cards, after if more else ""

    async def card_for(self, zone: str, resource: str) -> str:
        """One signed card.

        Raises:
            NotFoundError: nothing of this name is offered to the zone; hidden and unknown answer alike.
        """
        try:
            card = await self._card(await self._house.catalog.get(resource), zone)
        except NotFoundError:
            card = None
        if card is None:
            raise NotFoundError(f"no {resource[:80]} is offered", remedy=listed(resource))
        return card

    async def _card(self, published: Published, zone: str) -> str | None:
        terms, house = published.terms, self._house
        if terms is None or (terms.until and house.clock() >= terms.until):
            return None
        inside = [uri for uri in terms.offered_to.participants if uri.startswith(f"tdz://{zone}/")]
        if zone not in terms.offered_to.zones and not inside:
            return None
        exporter = await house.exporter(published.owner)
        if exporter is None:
            return None  # an institution that the register does not know cannot export
        version = await house.chunks.run(lambda: house.versions.open(published.version))
        # The other zone learns of its own participants only.
        audience = terms.offered_to.model_copy(
            update={"zones": tuple(z for z in terms.offered_to.zones if z == zone), "participants": tuple(inside)}
        )
        body = ResourceCard(
            resource=published.resource,
            owner=published.owner,
            version=published.version,
            manifest=published.manifest,
            description=published.description,
            schema_message=base64.b64encode(version.schema_message).decode(),
            published_at=published.published_at,
            exporter=exporter,
            terms=terms.model_copy(update={"offered_to": audience}),
        )
        return house.sign(body, to=zone, process=published.resource, ttl=house.timing.card)

    # --- in: for our own partners -----------------------------------------------------------------------

    async def refresh(self, zone: str) -> None:
        """Take all cards of a paired zone.

        Raises:
            PeerUnavailableError: it does not answer; what was kept stays.
            PeerError: it sends what is no card.
        """
        house = self._house
        started = house.clock()
        after = ""
        named = set()
        for _ in range(limits.CARDS_PAGES_MAX):
            page, following = await house.peers.get(zone).list_cards(after)
            for envelope in page:
                try:
                    named.add((await self._keep(zone, envelope)).card.resource)
                except (IntegrityError, PeerError, ClockError) as error:
                    _log.warning("a card does not hold", zone=zone, reason=error.reason, error=str(error))
            if not following:
                break
            if following <= after:
                raise PeerError(f"the listing of {zone} does not advance")
            after = following
        await house.catalog.forget_cards(zone, named, started)

    async def visible(self, participant: str) -> AsyncIterator[Offered]:
        """Kept cards that offer something to an institution of this zone."""
        house = self._house
        for stored in await house.catalog.cards():
            offered = self._read(stored)
            if offered is not None and offered.card.terms.offers(
                zone=house.zone, participant=participant, now=house.clock()
            ):
                yield offered

    async def find(self, resource: str, participant: str) -> Offered:
        """The valid card of a dataset or model that is offered to the institution, asked for anew where none is kept.

        Raises:
            NotFoundError: no paired zone offers it to the institution.
            PeerUnavailableError: no card is kept and a zone that might have it does not answer.
        """
        house = self._house
        away: PeerUnavailableError | None = None
        for stored in await house.catalog.cards(name=resource):
            offered = self._read(stored)
            if offered is not None and self._is_for(offered, participant):
                return offered
        for zone in house.peers.zones():
            try:
                offered = await self._keep(zone, await house.peers.get(zone).get_card(resource))
            except NotFoundError:
                await house.catalog.drop_card(zone, resource)
                continue
            except PeerUnavailableError as error:
                away = error
                continue
            if self._is_for(offered, participant):
                return offered
        if away is not None:
            raise away
        raise NotFoundError(f"no {resource[:80]} is offered to you", remedy=listed(resource))

    def _is_for(self, offered: Offered, participant: str) -> bool:
        house = self._house
        return offered.card.terms.offers(zone=house.zone, participant=participant, now=house.clock())

    def _read(self, stored: StoredCard) -> Offered | None:
        """A kept card while it is valid; an expired one, or one whose signer is gone, is none."""
        if stored.expires_at <= self._house.clock():
            return None
        try:
            # The key is the signer's as it is now, so that a new zone card makes every kept card be proven anew.
            key = self._house.card(stored.zone).statement_key, hashlib.sha256(stored.envelope.encode()).digest()
            card = self._proven.get(key)
            if card is None:
                card = self._house.read(ResourceCard, stored.envelope, of=stored.zone)
                while len(self._proven) >= _PROVEN_MAX:
                    self._proven.pop(next(iter(self._proven)))
                self._proven[key] = card
        except TdzError:
            return None
        return Offered(stored.zone, card)

    async def _keep(self, zone: str, envelope: str) -> Offered:
        house = self._house
        if len(envelope) > limits.CARD_STATEMENT_MAX:
            raise PeerError(f"a card of {zone} has more than {limits.CARD_STATEMENT_MAX} bytes")
        card = house.read(ResourceCard, envelope, of=zone)
        now = house.clock()
        await house.catalog.keep_card(StoredCard(zone, card.resource, envelope, now, now + house.timing.card))
        return Offered(zone, card)
