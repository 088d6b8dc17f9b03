"""Issuing, renewing and revoking the zone's certificates, each step on the ledger.

On the ledger stand fingerprints of keys and certificates. Institutions and gateways are named by their URI;
administrators and auditors are persons and are never named: a person's certificate stands for the person.
"""

from __future__ import annotations

import datetime
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from cryptography.hazmat.primitives.asymmetric import ec
from sqlalchemy import and_, select

from gateway.errors import ConflictError, InputError, LedgerError, LimitError, PermissionDeniedError
from gateway.identity import tables
from gateway.identity.authority import ZoneAuthority, key_of_request
from gateway.identity.keys import key_fingerprint, require_fingerprint
from gateway.identity.own import renewable_from
from gateway.identity.registry import Registry
from gateway.identity.tables import CertificateRecord
from gateway.model.canonical import JsonValue
from gateway.model.limits import REVIEW_TTL_S
from gateway.model.participant import Identity, Role
from gateway.state.schema import enrolment_approvals

APPROVALS_FOR_ADMIN: Final = 2
LIVE_MAX: Final = 4  # certificates of one holder that may be live at once

_PERSONS: Final = frozenset({Role.ADMIN, Role.AUDITOR})


class SecondKey(StrEnum):
    """What happens to live certificates of an id that gets another key."""

    REFUSE = "refuse"
    RENEW = "renew"
    REPLACE = "replace"


class RevocationReason(StrEnum):
    """Why a certificate is revoked (RFC 5280, section 5.3.1); a code, never a story."""

    KEY_COMPROMISE = "key-compromise"
    AFFILIATION_CHANGED = "affiliation-changed"
    SUPERSEDED = "superseded"
    CESSATION = "cessation"
    PRIVILEGE_WITHDRAWN = "privilege-withdrawn"


@dataclass(frozen=True, slots=True)
class Actor:
    """Who takes a step, as a certificate proved it; times are Unix seconds UTC."""

    identity: Identity
    fingerprint: str
    not_before: int
    not_after: int


@dataclass(frozen=True, slots=True)
class Waiting:
    """An approval that is not enough yet: so many more administrators, until then (Unix seconds UTC)."""

    missing: int
    expires_at: int


def issued_body(
    record: CertificateRecord, *, how: str, approved_by: Sequence[str] = (), renews: str = ""
) -> dict[str, JsonValue]:
    """The ledger's body of `identity.issued`.

    Args:
        record: the certificate.
        how: init, approval or renewal.
        approved_by: fingerprints of the administrators' certificates.
        renews: fingerprint of the certificate with which it was renewed.
    """
    identity = record.identity
    body: dict[str, JsonValue] = {
        "zone": identity.zone,
        "role": identity.role.value,
        "certificate": record.fingerprint,
        "serial": record.serial,
        "key": record.key_fingerprint,
        "not_before": record.not_before,
        "not_after": record.not_after,
        "how": how,
        "approved_by": list(approved_by),
        "renews": renews,
    }
    if record.signing:
        body["usage"] = "signing"
    if identity.role not in _PERSONS:
        body["identity"] = identity.uri
    return body


def subject_of(record: CertificateRecord) -> str:
    """The ledger's subject of a certificate."""
    return f"certificates/{record.fingerprint}"


class Enrolment:
    """Issues, renews and revokes certificates of the zone.

    Args:
        authority: the zone's CA.
        registry: the registers.
        clock: Unix seconds UTC.
    """

    def __init__(self, authority: ZoneAuthority, registry: Registry, clock: Callable[[], float]) -> None:
        self._authority = authority
        self._registry = registry
        self._clock = clock

    async def approve(
        self,
        csr: bytes,
        identity: Identity,
        *,
        fingerprint: str,
        second_key: SecondKey,
        by: Actor,
        signing: bool = False,
    ) -> CertificateRecord | Waiting:
        """An administrator approves a key for an id.

        1. Of the request only the key is taken, and its fingerprint is the one that was told.
        2. The role is partner, admin or auditor; the id is of this zone.
        3. The key never was another holder's, the CA's or a revoked certificate's, nor its holder's for the other
           use: what signs models never opens a connection.
        4. Approving again what is issued gives the same certificate; a second key for the same use needs a word on
           the first.
        5. An administrator's certificate needs two administrators; nobody approves their own.
        6. The certificate is recorded, then it is issued, then replaced ones are revoked.

        Args:
            csr: the request, PEM.
            identity: the holder.
            fingerprint: of the key, as its owner told it.
            second_key: what happens to live certificates for the same use.
            by: the administrator.
            signing: for signing models; only a partner's. Else for TLS.

        Raises:
            InputError: steps 1 or 2.
            ConflictError: steps 3 or 4.
            PermissionDeniedError: step 5.
            LimitError: too many live certificates of the id.
            LedgerError: it could not be recorded, and was not issued.
        """
        # 1.
        key = key_of_request(csr)
        require_fingerprint(key_fingerprint(key), fingerprint, what="the key in the request")
        # 2.
        if identity.role is Role.GATEWAY:
            raise InputError("a gateway's certificate is made by the gateway itself", remedy="tdz zone init")
        if identity.zone != self._authority.zone:
            raise InputError(f"{identity.uri} is not of this zone")
        if signing and identity.role is not Role.PARTNER:
            raise InputError(
                f"a {identity.role.value} signs no models", remedy="leave out --signing, or name a partner"
            )

        async def work() -> CertificateRecord | Waiting:
            return await self._approve(key, identity, second_key, by, signing)

        return await self._registry.steps.exclusively(work)

    async def renew(self, csr: bytes, *, by: Actor) -> CertificateRecord:
        """The holder of a live certificate renews it, with a new key or the same.

        Raises:
            InputError: the request is malformed.
            PermissionDeniedError: gateways do not renew by RPC.
            ConflictError: before two thirds of its life, or the key was another's.
            LimitError: too many live certificates of the id.
            LedgerError: it could not be recorded, and was not issued.
        """
        key = key_of_request(csr)
        if by.identity.role is Role.GATEWAY:
            raise PermissionDeniedError("a gateway's certificate is renewed by the gateway itself")
        due = renewable_from(by.not_before, by.not_after)
        if self._now() < due:
            when = datetime.datetime.fromtimestamp(due, tz=datetime.UTC)
            raise ConflictError(f"the certificate can be renewed from {when:%Y-%m-%d} on", remedy="try then")

        async def work() -> CertificateRecord:
            now = self._now()
            await self._require_free_key(key, by.identity, signing=False)
            live = await self._live(by.identity, now, signing=False)
            for item in live:
                mine = item.key_fingerprint == key_fingerprint(key) and item.fingerprint != by.fingerprint
                if mine and now < renewable_from(item.not_before, item.not_after):
                    return item  # asked again: the answer was lost
            self._require_room(live)
            return await self._issue(key, by.identity, how="renewal", renews=by.fingerprint)

        return await self._registry.steps.exclusively(work)

    async def renew_gateway(
        self, key: ec.EllipticCurvePublicKey, identity: Identity, names: Sequence[str] = (), *, signing: bool = False
    ) -> CertificateRecord:
        """A new certificate for one of the gateway's own keys; the caller writes it to its file and reloads TLS.

        Raises:
            ConflictError: the signing key is one for TLS, or its certificate was revoked.
            LedgerError: it could not be recorded, and was not issued.
        """

        async def work() -> CertificateRecord:
            if signing:
                await self._require_free_key(key, identity, signing=True)
            return await self._issue(key, identity, how="renewal", names=names, signing=signing)

        return await self._registry.steps.exclusively(work)

    async def revoke(
        self, *, uri: str = "", serial: str = "", reason: RevocationReason, by: Actor
    ) -> tuple[CertificateRecord, ...]:
        """Revoke one certificate, or all live ones of a holder; in force on return, open calls ended.

        Raises:
            NotFoundError: no such serial number.
            ConflictError: nothing to revoke.
            LedgerError: in force, but not on the ledger yet; the next start records it.
        """

        async def work() -> tuple[CertificateRecord, ...]:
            now = self._now()
            if serial:
                found: tuple[CertificateRecord, ...] = (await self._registry.by_serial(serial),)
            else:
                found = await self._registry.of_holder(Identity.parse(uri).uri)
            live = [item for item in found if not item.revoked_at and now < item.not_after]
            if not live:
                raise ConflictError("no live certificate of that name", remedy="tdz identity list")
            await self._revoke(live, reason, by)
            return tuple([await self._registry.by_serial(item.serial) for item in live])

        return await self._registry.steps.exclusively(work)

    async def _approve(
        self, key: ec.EllipticCurvePublicKey, identity: Identity, second_key: SecondKey, by: Actor, signing: bool
    ) -> CertificateRecord | Waiting:
        now, told = self._now(), key_fingerprint(key)
        # 3.
        await self._require_free_key(key, identity, signing=signing)
        # 4.
        live = await self._live(identity, now, signing=signing)
        for item in live:
            if item.key_fingerprint == told:
                return item
        if live and second_key is SecondKey.REFUSE:
            raise ConflictError(
                f"{identity.uri} has a live certificate with another key",
                remedy="--renew keeps both, --replace revokes the old one",
            )
        # 5.
        approvers = [by.fingerprint]
        if identity.role is Role.ADMIN:
            if by.identity == identity:
                raise PermissionDeniedError(
                    "nobody approves their own certificate", remedy="ask two other administrators"
                )
            approvers += await self._other_approvals(identity, told, by, now)
            if len(approvers) < APPROVALS_FOR_ADMIN:
                await self._registry.steps.opening(
                    "approval",
                    f"keys/{told}",
                    {"what": "identity", "role": identity.role.value, "key": told, "by": by.fingerprint},
                    tables.approve(identity.uri, told, by.identity.uri, now),
                )
                return Waiting(APPROVALS_FOR_ADMIN - len(approvers), now + REVIEW_TTL_S)
        # 6.
        if second_key is not SecondKey.REPLACE:
            self._require_room(live)
        record = await self._issue(key, identity, how="approval", approved_by=approvers, signing=signing)
        if second_key is SecondKey.REPLACE:
            await self._revoke(live, RevocationReason.SUPERSEDED, by)
        return record

    async def _other_approvals(self, identity: Identity, key: str, by: Actor, now: int) -> list[str]:
        """Certificates of the other administrators who approved this key for this id and still may."""
        table = enrolment_approvals
        rows = await self._registry.store.read(
            lambda connection: connection.execute(
                select(table.c.approver).where(
                    and_(
                        table.c.uri == identity.uri,
                        table.c.key_fingerprint == key,
                        table.c.approver != by.identity.uri,
                        table.c.approved_at > now - REVIEW_TTL_S,
                    )
                )
            ).all()
        )
        found = []
        for row in rows:
            live = [item for item in await self._registry.of_holder(row.approver) if item.live(now)]
            found += [item.fingerprint for item in live[:1]]
        return found

    async def _live(self, identity: Identity, now: int, *, signing: bool) -> list[CertificateRecord]:
        """The holder's live certificates for one use, newest first."""
        found = await self._registry.of_holder(identity.uri)
        return [item for item in found if item.live(now) and item.signing == signing]

    async def _require_free_key(self, key: ec.EllipticCurvePublicKey, identity: Identity, *, signing: bool) -> None:
        told = key_fingerprint(key)
        if told in {key_fingerprint(item.public_key()) for item in self._registry.authorities()}:
            raise ConflictError("the key is a CA's", remedy="make a new key: tdz identity request")
        for item in await self._registry.of_key(told):
            if item.uri != identity.uri or item.revoked_at:
                raise ConflictError(
                    "the key was another holder's, or its certificate was revoked",
                    remedy="make a new key: tdz identity request",
                )
            if item.signing != signing:
                raise ConflictError(
                    "the holder has the key for another use: a signing key is never one for TLS",
                    remedy="make a new key: tdz identity request" + (" --signing" if signing else ""),
                )

    def _require_room(self, live: Sequence[CertificateRecord]) -> None:
        if len(live) >= LIVE_MAX:
            raise LimitError(
                f"the holder has {len(live)} live certificates", remedy="revoke old ones, or use --replace"
            )

    async def _issue(
        self,
        key: ec.EllipticCurvePublicKey,
        identity: Identity,
        *,
        how: str,
        approved_by: Sequence[str] = (),
        renews: str = "",
        names: Sequence[str] = (),
        signing: bool = False,
    ) -> CertificateRecord:
        now = datetime.datetime.fromtimestamp(self._now(), tz=datetime.UTC)
        if signing:
            certificate = self._authority.issue_signing(identity, key, now=now)
        else:
            certificate = self._authority.issue(identity, key, now=now, names=names)
        record = CertificateRecord.of(certificate, identity, issued_at=self._now())
        await self._registry.steps.opening(
            "identity.issued",
            subject_of(record),
            issued_body(record, how=how, approved_by=approved_by, renews=renews),
            tables.issue(record),
        )
        return record

    async def _revoke(self, records: Sequence[CertificateRecord], reason: RevocationReason, by: Actor) -> None:
        """Revoke all of them, whatever the ledger says to the first; then raise what it said."""
        failure: LedgerError | None = None
        for record in records:
            try:
                await self._registry.steps.closing(
                    "identity.revoked",
                    subject_of(record),
                    {
                        "certificate": record.fingerprint,
                        "serial": record.serial,
                        "reason": reason.value,
                        "revoked_by": by.fingerprint,
                    },
                    tables.revoke(record, self._now(), reason.value),
                )
            except LedgerError as error:
                failure = error
        if failure is not None:
            raise failure

    def _now(self) -> int:
        return int(self._clock())
