"""Pairing with other zones: cards admitted by fingerprint, replaced by their own keys, ended at once."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from enum import StrEnum

from gateway.errors import ConflictError, InputError
from gateway.identity import tables
from gateway.identity.card import SignedCard, authority_keys, expired_authority, read_card, require_successor
from gateway.identity.enrolment import Actor
from gateway.identity.keys import require_fingerprint
from gateway.identity.registry import Registry
from gateway.identity.tables import Pairing
from gateway.model.canonical import JsonValue


class PairOutcome(StrEnum):
    """What became of a card."""

    PAIRED = "paired"
    REPLACED = "replaced"
    UNCHANGED = "unchanged"
    CONFIRM = "confirm"


@dataclass(frozen=True, slots=True)
class Paired:
    """What became of a card.

    Args:
        outcome: with `confirm` nothing has changed yet.
        pairing: the peer as the card describes it.
        changed: the members in which it differs from the card in force.
    """

    outcome: PairOutcome
    pairing: Pairing
    changed: tuple[str, ...] = ()


class Pairings:
    """Admits and ends pairings.

    Args:
        own: the zone's own card.
        registry: the registers.
        clock: Unix seconds UTC.
    """

    def __init__(self, own: SignedCard, registry: Registry, clock: Callable[[], float]) -> None:
        self._own = own
        self._registry = registry
        self._clock = clock

    async def pair(self, data: bytes, fingerprint: str, *, confirm: bool, by: Actor) -> Paired:
        """Admit a zone by its card, or a newer card of a paired zone.

        1. The card is whole, and its fingerprint is the one that was told.
        2. It is of another zone, whose CA is neither ours nor another peer's, and is within its dates.
        3. The very card in force changes nothing.
        4. A card of a paired zone is the successor of the one in force, and is confirmed.
        5. A zone that was paired before comes back with a card that is not older than the last one.
        6. The pairing is recorded, then takes effect.

        Raises:
            IntegrityError: the card is not whole, or no key of the last one signed it.
            InputError: the fingerprint is another.
            ConflictError: own zone, a CA that is known under another name, an older card.
            LedgerError: it could not be recorded, and did not take effect.
        """
        # 1.
        signed = read_card(data)
        require_fingerprint(signed.fingerprint, fingerprint, what="the card")

        async def work() -> Paired:
            return await self._pair(signed, confirm, by)

        return await self._registry.steps.exclusively(work)

    async def unpair(self, zone: str, *, by: Actor) -> Pairing:
        """End a pairing; in force on return, the peer's open calls ended.

        Raises:
            NotFoundError: the zone is not paired.
            LedgerError: in force, but not on the ledger yet; the next start records it.
        """

        async def work() -> Pairing:
            pairing = self._registry.peer(zone)
            await self._registry.steps.closing(
                "zone.unpaired",
                f"zones/{zone}",
                {"zone": zone, "card": pairing.signed.fingerprint, "by": by.fingerprint},
                tables.unpair(zone, int(self._clock())),
            )
            ended = self._registry.last_pairing(zone)
            return pairing if ended is None else ended

        return await self._registry.steps.exclusively(work)

    async def _pair(self, signed: SignedCard, confirm: bool, by: Actor) -> Paired:
        card, now = signed.card, int(self._clock())
        # 2.
        self._require_foreign(signed, now)
        last = self._registry.last_pairing(card.zone)
        live = last is not None and not last.unpaired_at
        shown = Pairing(signed, card.trusted, now, 0)
        changed = card.changed(last.signed.card) if last is not None else ()
        # 3.
        if last is not None and live and last.signed.fingerprint == signed.fingerprint:
            return Paired(PairOutcome.UNCHANGED, last)
        if last is not None and live:
            # 4.
            require_successor(last.signed, signed)
            if not confirm:
                return Paired(PairOutcome.CONFIRM, shown, changed)
        elif last is not None:
            # 5.
            older = card.serial <= last.signed.card.serial
            if older and last.signed.fingerprint != signed.fingerprint:
                raise ConflictError(
                    f"the card's serial {card.serial} is not above {last.signed.card.serial}, which was seen",
                    remedy="ask its zone for the newest card",
                )
        # 6.
        body: dict[str, JsonValue] = {
            "zone": card.zone,
            "jurisdiction": card.jurisdiction,
            "origin": card.origin,
            "card": signed.fingerprint,
            "serial": card.serial,
            "replaces": last.signed.fingerprint if last is not None and live else "",
            "by": by.fingerprint,
        }
        await self._registry.steps.opening("zone.paired", f"zones/{card.zone}", body, tables.pair(signed, now))
        outcome = PairOutcome.REPLACED if live else PairOutcome.PAIRED
        return Paired(outcome, self._registry.peer(card.zone), changed if live else ())

    def _require_foreign(self, signed: SignedCard, now: int) -> None:
        card = signed.card
        if card.zone == self._own.card.zone:
            raise ConflictError("this is the zone's own card", remedy="give the card of the other zone")
        others = [self._own.card, *(item.signed.card for item in self._registry.peers())]
        for other in others:
            if other.zone == card.zone:
                continue
            if authority_keys(other) & authority_keys(card):
                raise ConflictError(f"the card's CA is that of zone {other.zone}", remedy="do not pair with it")
            if other.statement_key == card.statement_key:
                raise ConflictError(f"the card's key is that of zone {other.zone}", remedy="do not pair with it")
        if expired_authority(card, now):
            raise InputError("the card's CA is outside its dates", remedy="ask its zone for a newer card")
