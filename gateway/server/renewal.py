"""The gateway renews its own certificates from two thirds of their life on, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Final

import structlog

from gateway.config import GatewaySettings, write_file
from gateway.errors import ConflictError
from gateway.identity.enrolment import Enrolment
from gateway.identity.keys import load_tls_key, new_tls_key, write_private_key
from gateway.identity.own import renewable_from
from gateway.identity.verifier import load_certificate
from gateway.server.tls import ServerTls

_log = structlog.get_logger()
_LOOK_S: Final = 3_600.0


class Renewal:
    """Renews for the key that the gateway has; on the ledger first, as every certificate.

    Args:
        settings: the gateway's.
        enrolment: issues and records.
        tls: takes the new certificate for connections made from then on.
        reconnect: lets the connections to the paired zones be made anew.
        clock: Unix seconds UTC.
    """

    def __init__(
        self,
        settings: GatewaySettings,
        enrolment: Enrolment,
        tls: ServerTls,
        reconnect: Callable[[], Awaitable[None]],
        clock: Callable[[], int],
    ) -> None:
        self._settings = settings
        self._enrolment = enrolment
        self._tls = tls
        self._reconnect = reconnect
        self._clock = clock

    async def run(self) -> None:
        """Look every hour until cancelled."""
        while True:
            await self.renew_if_due()
            await self.renew_signing_if_due()
            await asyncio.sleep(_LOOK_S)

    async def renew_if_due(self) -> bool:
        """Renew where it is time; whether it was.

        Raises:
            LedgerError: it could not be recorded, and was not issued.
            StorageError: the new certificate could not be written; the old one stays in use.
        """
        layout = self._settings.layout
        if self._clock() < await asyncio.to_thread(_due, layout.gateway_certificate):
            return False
        key = await asyncio.to_thread(load_tls_key, layout.gateway_key)
        record = await self._enrolment.renew_gateway(key.public_key(), self._settings.identity, self._settings.names)
        pem = record.pem.encode("ascii")
        await asyncio.to_thread(lambda: write_file(layout.gateway_certificate, pem, mode=0o644))
        self._tls.reload()
        await self._reconnect()
        _log.info("gateway certificate renewed", fingerprint=record.fingerprint, not_after=record.not_after)
        return True

    async def renew_signing_if_due(self) -> bool:
        """Renew the certificate of the signing key where it is time; whether it was.

        A zone that was made before gateways signed models gets key and certificate here; so does one whose
        operator removed both files, as after a revocation.

        Raises:
            LedgerError: it could not be recorded, and was not issued.
            StorageError: a file could not be written.
        """
        layout = self._settings.layout
        present = await asyncio.to_thread(layout.signing_certificate.exists)
        if present and self._clock() < await asyncio.to_thread(_due, layout.signing_certificate):
            return False
        if not await asyncio.to_thread(layout.signing_key.exists):
            await asyncio.to_thread(write_private_key, layout.signing_key, new_tls_key())
        key = await asyncio.to_thread(load_tls_key, layout.signing_key)
        try:
            record = await self._enrolment.renew_gateway(key.public_key(), self._settings.identity, signing=True)
        except ConflictError as error:
            _log.error("the signing certificate is not renewed: remove keys/signing.* and start", error=str(error))
            return False
        pem = record.pem.encode("ascii")
        await asyncio.to_thread(lambda: write_file(layout.signing_certificate, pem, mode=0o644))
        _log.info("signing certificate renewed", fingerprint=record.fingerprint, not_after=record.not_after)
        return True


def _due(certificate: Path) -> int:
    """From when on a certificate is renewed, Unix seconds UTC."""
    current = load_certificate(certificate.read_bytes())
    return renewable_from(int(current.not_valid_before_utc.timestamp()), int(current.not_valid_after_utc.timestamp()))
