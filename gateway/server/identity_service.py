"""IdentityService: enrolment, renewal and revocation over gRPC; the rules stand in `gateway.identity.enrolment`."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, Final, TypeAlias

import grpc

from gateway.errors import InputError
from gateway.identity.enrolment import Actor, Enrolment, RevocationReason, SecondKey, Waiting
from gateway.identity.registry import Registry
from gateway.identity.tables import CertificateRecord
from gateway.model.participant import Identity, Role
from gateway.server.access import caller
from gateway.v1 import identity_pb2, identity_pb2_grpc

_ROLES: Final = {
    identity_pb2.ROLE_GATEWAY: Role.GATEWAY,
    identity_pb2.ROLE_PARTNER: Role.PARTNER,
    identity_pb2.ROLE_ADMIN: Role.ADMIN,
    identity_pb2.ROLE_AUDITOR: Role.AUDITOR,
}
_SECOND_KEYS: Final = {
    identity_pb2.SECOND_KEY_UNSPECIFIED: SecondKey.REFUSE,
    identity_pb2.SECOND_KEY_RENEW: SecondKey.RENEW,
    identity_pb2.SECOND_KEY_REPLACE: SecondKey.REPLACE,
}
_REASONS: Final = {
    identity_pb2.REVOCATION_REASON_KEY_COMPROMISE: RevocationReason.KEY_COMPROMISE,
    identity_pb2.REVOCATION_REASON_AFFILIATION_CHANGED: RevocationReason.AFFILIATION_CHANGED,
    identity_pb2.REVOCATION_REASON_SUPERSEDED: RevocationReason.SUPERSEDED,
    identity_pb2.REVOCATION_REASON_CESSATION: RevocationReason.CESSATION,
    identity_pb2.REVOCATION_REASON_PRIVILEGE_WITHDRAWN: RevocationReason.PRIVILEGE_WITHDRAWN,
}

_Context: TypeAlias = grpc.aio.ServicerContext[Any, Any]


def actor(context: _Context) -> Actor:
    """The caller as the registers take it.

    Raises:
        UnauthenticatedError: the handler does not run behind the guard.
    """
    found = caller(context)
    return Actor(found.identity, found.fingerprint, found.not_before, found.not_after)


class IdentityService(identity_pb2_grpc.IdentityServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`.

    Args:
        zone: the gateway's zone.
        enrolment: the rules.
        registry: the registers.
        clock: Unix seconds UTC.
    """

    def __init__(self, zone: str, enrolment: Enrolment, registry: Registry, clock: Callable[[], float]) -> None:
        self._zone = zone
        self._enrolment = enrolment
        self._registry = registry
        self._clock = clock

    async def Approve(self, request: identity_pb2.ApproveRequest, context: _Context) -> identity_pb2.ApproveResponse:
        """Approve a key for an id."""
        role = _ROLES.get(request.role)
        if role is None:
            raise InputError("role is not set", remedy="name partner, admin or auditor")
        second_key = _SECOND_KEYS.get(request.second_key)
        if second_key is None:
            raise InputError("second_key is unknown", remedy="use renew or replace, or leave it out")
        made = await self._enrolment.approve(
            request.csr.encode(),
            Identity(self._zone, role, request.id),
            fingerprint=request.key_fingerprint,
            second_key=second_key,
            by=actor(context),
            signing=request.signing,
        )
        if isinstance(made, Waiting):
            waiting = identity_pb2.WaitingForApproval(missing=made.missing, expires_at=made.expires_at)
            return identity_pb2.ApproveResponse(waiting=waiting)
        return identity_pb2.ApproveResponse(certificate=certificate_message(made))

    async def Renew(self, request: identity_pb2.RenewRequest, context: _Context) -> identity_pb2.Certificate:
        """Renew the caller's own certificate."""
        return certificate_message(await self._enrolment.renew(request.csr.encode(), by=actor(context)))

    async def Revoke(self, request: identity_pb2.RevokeRequest, context: _Context) -> identity_pb2.RevokeResponse:
        """Revoke certificates at once."""
        reason = _REASONS.get(request.reason)
        if reason is None:
            raise InputError("reason is not set", remedy="name one of the reason codes")
        if not request.WhichOneof("certificates"):
            raise InputError("no certificate is named", remedy="give a URI or a serial number")
        revoked = await self._enrolment.revoke(uri=request.uri, serial=request.serial, reason=reason, by=actor(context))
        return identity_pb2.RevokeResponse(certificates=[certificate_message(item) for item in revoked])

    async def ListCertificates(
        self, request: identity_pb2.ListCertificatesRequest, context: _Context
    ) -> identity_pb2.ListCertificatesResponse:
        """List certificates, newest first."""
        page, token = await self._registry.list_certificates(
            now=int(self._clock()),
            uri=request.uri,
            everything=request.all,
            size=request.page.size,
            token=request.page.token,
        )
        return identity_pb2.ListCertificatesResponse(
            certificates=[certificate_message(item) for item in page], next_page_token=token
        )


def certificate_message(record: CertificateRecord) -> identity_pb2.Certificate:
    """A certificate's record as its message."""
    return identity_pb2.Certificate(
        pem=record.pem,
        uri=record.uri,
        fingerprint=record.fingerprint,
        key_fingerprint=record.key_fingerprint,
        serial=record.serial,
        not_before=record.not_before,
        not_after=record.not_after,
        revoked_at=record.revoked_at,
        reason=record.reason,
        signing=record.signing,
    )
