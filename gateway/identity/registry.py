"""The registers of a gateway: certificates, pairings, participants; snapshots in memory for the hot path.

The verifier asks `zones` and `revoked` on every call; both are memory, brought up to date after each durable
write and before the step that wrote it is answered.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from types import MappingProxyType
from typing import Any

from cryptography import x509
from sqlalchemy import and_, desc, select, true, tuple_

from gateway.errors import InputError, NotFoundError
from gateway.identity import tables
from gateway.identity.card import read_card
from gateway.identity.steps import Effect, Recorder, Steps
from gateway.identity.tables import CertificateRecord, Pairing
from gateway.identity.verifier import TrustedZone
from gateway.model.limits import LIST_PAGE_MAX
from gateway.state import StateStore
from gateway.state.schema import certificates, pairings

DEFAULT_PAGE = 100


class Registry:
    """Certificates and pairings of one gateway's zone; the `Trust` of its verifier.

    Open it with `Registry.open`.
    """

    def __init__(self, store: StateStore, recorder: Recorder, own: TrustedZone) -> None:
        self.store = store
        self.own = own
        self.steps = Steps(store, recorder, tables.apply, self._applied)
        self._pairings: dict[str, Pairing] = {}
        self._zones: Mapping[str, TrustedZone] = MappingProxyType({own.zone: own})
        self._revoked: set[tuple[str, str]] = set()
        self._on_revoked: list[Callable[[tuple[str, ...]], None]] = []
        self._on_trust: list[Callable[[str], None]] = []

    @classmethod
    async def open(cls, store: StateStore, recorder: Recorder, own: TrustedZone, *, recover: bool = True) -> Registry:
        """Read the snapshots and finish what a crash left.

        Args:
            store: the state database.
            recorder: the ledger.
            own: the gateway's own zone.
            recover: finish it now; else the caller does so, by `steps.recover`, once the ledger may be written.

        Raises:
            StorageError: a row cannot be read.
            LedgerError: a closing step that was begun cannot be recorded.
        """
        registry = cls(store, recorder, own)
        paired, revoked = await store.read(
            lambda connection: (
                connection.execute(select(pairings)).all(),
                connection.execute(select(certificates.c.serial).where(certificates.c.revoked_at != 0)).all(),
            )
        )
        registry._pairings = {row.zone: Pairing.of_row(row) for row in paired}
        registry._revoked = {(own.zone, row.serial) for row in revoked}
        registry._publish()
        if recover:
            await registry.steps.recover()
        return registry

    def on_revoked(self, hear: Callable[[tuple[str, ...]], None]) -> None:
        """Hear of revoked certificates by fingerprint, once the revocation is durable."""
        self._on_revoked.append(hear)

    def on_trust_changed(self, hear: Callable[[str], None]) -> None:
        """Hear of zones that were paired, unpaired or got a new card, once that is durable."""
        self._on_trust.append(hear)

    @property
    def zones(self) -> Mapping[str, TrustedZone]:
        """The own zone and the paired ones by name."""
        return self._zones

    def revoked(self, zone: str, serial: str) -> bool:
        """Whether the certificate of that zone with that serial number was revoked."""
        return (zone, serial) in self._revoked

    def authorities(self) -> tuple[x509.Certificate, ...]:
        """The CA certificates of all trusted zones: the TLS pool."""
        return tuple(item for zone in self._zones.values() for item in zone.authorities)

    def peers(self) -> tuple[Pairing, ...]:
        """The paired zones by name."""
        return tuple(self._pairings[zone] for zone in sorted(self._pairings) if not self._pairings[zone].unpaired_at)

    def peer(self, zone: str) -> Pairing:
        """A paired zone.

        Raises:
            NotFoundError: it is not paired.
        """
        found = self._pairings.get(zone)
        if found is None or found.unpaired_at:
            raise NotFoundError(f"zone {zone[:80]} is not paired", remedy="tdz zone pair CARD --fingerprint F")
        return found

    def last_pairing(self, zone: str) -> Pairing | None:
        """The last card that was admitted of a zone, whether or not it is still paired."""
        return self._pairings.get(zone)

    async def of_holder(self, uri: str) -> tuple[CertificateRecord, ...]:
        """All certificates of one holder, newest first."""
        return await self._select(certificates.c.uri == uri)

    async def of_key(self, key_fingerprint: str) -> tuple[CertificateRecord, ...]:
        """All certificates of one key, newest first."""
        return await self._select(certificates.c.key_fingerprint == key_fingerprint)

    async def by_serial(self, serial: str) -> CertificateRecord:
        """One certificate.

        Raises:
            NotFoundError: no certificate has that serial number.
        """
        found = await self._select(certificates.c.serial == serial)
        if not found:
            raise NotFoundError("no certificate has that serial number", remedy="tdz identity list")
        return found[0]

    async def list_certificates(
        self, *, now: int, uri: str = "", everything: bool = False, size: int = 0, token: str = ""
    ) -> tuple[tuple[CertificateRecord, ...], str]:
        """A page of certificates, newest first, and the token of the next one.

        Args:
            now: Unix seconds UTC; certificates that are not live then are left out.
            uri: only those of this holder.
            everything: also those that expired or were revoked.
            size: at most LIST_PAGE_MAX; 0 means 100.
            token: the token of the page before.

        Raises:
            InputError: size or token is malformed.
        """
        size = page_size(size)
        conditions = [certificates.c.uri == uri] if uri else []
        if not everything:
            conditions += [certificates.c.revoked_at == 0, certificates.c.not_after > now]
        if token:
            issued, separator, fingerprint = token.partition("-")
            if not separator or not issued.isdecimal() or len(issued) > 15:
                raise InputError("the page token is malformed", remedy="take next_page_token of the page before")
            key = tuple_(certificates.c.issued_at, certificates.c.fingerprint)
            conditions.append(key < (int(issued), fingerprint))
        found = await self._select(*conditions, limit=size + 1)
        page = found[:size]
        return page, f"{page[-1].issued_at}-{page[-1].fingerprint}" if len(found) > size else ""

    async def _select(self, *conditions: Any, limit: int | None = None) -> tuple[CertificateRecord, ...]:
        query = (
            select(certificates)
            .where(and_(true(), *conditions))
            .order_by(desc(certificates.c.issued_at), desc(certificates.c.fingerprint))
            .limit(limit)
        )
        rows = await self.store.read(lambda connection: connection.execute(query).all())
        return tuple(CertificateRecord(**row._asdict()) for row in rows)

    def _applied(self, effect: Effect) -> None:
        """An effect is durable: bring the snapshots up to date, then tell who listens."""
        match effect["op"]:
            case "revoke":
                self._revoked.add((effect["zone"], effect["serial"]))
                for hear in self._on_revoked:
                    hear((effect["fingerprint"],))
            case "pair":
                signed = read_card(effect["card"].encode())
                self._pairings[effect["zone"]] = Pairing(signed, signed.card.trusted, effect["at"], 0)
                self._trust_changed(effect["zone"])
            case "unpair":
                last = self._pairings[effect["zone"]]
                self._pairings[effect["zone"]] = Pairing(last.signed, last.trusted, last.paired_at, effect["at"])
                self._trust_changed(effect["zone"])

    def _trust_changed(self, zone: str) -> None:
        self._publish()
        for hear in self._on_trust:
            hear(zone)

    def _publish(self) -> None:
        live = {zone: item.trusted for zone, item in self._pairings.items() if not item.unpaired_at}
        self._zones = MappingProxyType({**live, self.own.zone: self.own})


def page_size(asked: int) -> int:
    """The size of a page.

    Raises:
        InputError: negative or more than LIST_PAGE_MAX.
    """
    if not 0 <= asked <= LIST_PAGE_MAX:
        raise InputError(f"a page has at most {LIST_PAGE_MAX} items", remedy="ask for more pages")
    return asked or DEFAULT_PAGE
