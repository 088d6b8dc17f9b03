"""The paired zones as a running gateway keeps them: clients, mirrors, pushers, and their comings and goings."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway.errors import PeerUnavailableError, TdzError
from gateway.exchange.house import House
from gateway.exchange.offers import Offers
from gateway.identity.card import ZoneCard
from gateway.server.mirroring import MirrorPusher
from gateway.server.peers import PeerClient
from gateway.server.zone_service import Reachability
from gateway.wire.channel import ClientIdentity

_log = structlog.get_logger()
_REFRESH_S: Final = 60.0
_REACH_S: Final = 3.0


class Corridor:
    """Implements `gateway.exchange.peer.Peers` over gRPC.

    Args:
        house: this zone.
        identity: gives this gateway's certificate and key, read anew after a renewal.
    """

    def __init__(self, house: House, identity: Callable[[], ClientIdentity]) -> None:
        self._house = house
        self._identity = identity
        self._clients: dict[str, PeerClient] = {}
        self._pushers: dict[str, tuple[MirrorPusher, asyncio.Task[None]]] = {}
        self._changed = asyncio.Event()
        self._lock = asyncio.Lock()

    def get(self, zone: str) -> PeerClient:
        """One paired zone's gateway.

        Raises:
            PeerUnavailableError: the zone is not paired.
        """
        try:
            return self._clients[zone]
        except KeyError:
            raise PeerUnavailableError(f"zone {zone} is not paired", remedy="tdz zone pair CARD") from None

    def zones(self) -> list[str]:
        """The paired zones."""
        return sorted(self._clients)

    async def reach(self, zone: str) -> Reachability:
        """Whether a paired gateway answers now."""
        try:
            async with asyncio.timeout(_REACH_S):
                await self.get(zone).hello(self._house.journal.committed_size)
                await self._house.check_clock(zone)
        except TimeoutError:
            return Reachability(False, "no answer")
        except TdzError as error:
            return Reachability(False, str(error))
        try:
            self._house.journal.require_open(zone)
        except TdzError as error:
            return Reachability(True, f"{error.reason}: {error}")
        pusher = self._pushers.get(zone)
        mirrored = "our ledger is mirrored there" if pusher and pusher[0].connected else "our ledger is not mirrored"
        return Reachability(True, mirrored)

    async def reconcile(self) -> None:
        """Bring clients, mirrors and pushers in line with the pairings in force."""
        async with self._lock:
            house = self._house
            wanted = {pairing.zone: pairing.signed.card for pairing in house.registry.peers()}
            since = {pairing.zone: float(pairing.paired_at) for pairing in house.registry.peers()}
            mirrors = {zone: card.mirror for zone, card in wanted.items()}
            for zone, client in list(self._clients.items()):
                card = wanted.get(zone)
                if card is not None and self._goes_on(client.card, card):
                    client.card = card
                elif card != client.card:
                    await self._drop(zone, mirrors)
            for zone, card in wanted.items():
                if zone in self._clients:
                    continue
                await house.journal.open_mirror(zone, card.log, mirrors, paired_at=since[zone])
                self._connect(card, self._identity())
            self._changed.set()

    def _goes_on(self, old: ZoneCard, new: ZoneCard) -> bool:
        """Whether all goes on as it is under a newer card: it names at most a key of the log that we follow already."""
        changed = new.changed(old)
        return not changed or (changed == ("log",) and self._house.journal.mirror(new.zone).knows(new.log))

    async def reconnect(self) -> None:
        """Connect anew with this gateway's present certificate; open streams are cut and taken up again.

        Mirrors stay open: what the peers push comes over their connections, and no call may find its mirror gone.
        """
        async with self._lock:
            identity = self._identity()
            for zone, client in list(self._clients.items()):
                await self._end_pusher(zone)
                self._connect(client.card, identity)
                await client.close()

    def _connect(self, card: ZoneCard, identity: ClientIdentity) -> None:
        client = PeerClient(card, identity)
        pusher = MirrorPusher(card.zone, self._house.journal, client.mirror_channel)
        task = asyncio.create_task(pusher.run(), name=f"mirror-{card.zone}")
        self._clients[card.zone] = client
        self._pushers[card.zone] = pusher, task

    async def _drop(self, zone: str, mirrors: dict[str, str]) -> None:
        client = self._clients.pop(zone)
        await self._end_pusher(zone)
        await client.close()
        await self._house.journal.close_mirror(zone, mirrors)

    async def _end_pusher(self, zone: str) -> None:
        _, task = self._pushers.pop(zone)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)

    async def follow_cards(self, offers: Offers) -> None:
        """Keep the paired zones' dataset cards fresh until cancelled, so that a request need not ask for them."""
        while True:
            self._changed.clear()
            for zone in self.zones():
                try:
                    await offers.refresh(zone)
                except TdzError as error:
                    _log.debug("cards not refreshed", zone=zone, reason=error.reason)
            try:
                async with asyncio.timeout(_REFRESH_S):
                    await self._changed.wait()
            except TimeoutError:
                continue

    async def close(self) -> None:
        """End pushers and connections."""
        async with self._lock:
            for _, task in self._pushers.values():
                task.cancel()
            await asyncio.gather(*(task for _, task in self._pushers.values()), return_exceptions=True)
            for client in self._clients.values():
                await client.close()
            self._pushers.clear()
            self._clients.clear()
