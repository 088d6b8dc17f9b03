"""The gateway renews its own certificate from two thirds of its life on, without a restart."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from typing import Final

import structlog

from gateway.config import GatewaySettings, write_file
from gateway.identity.enrolment import Enrolment
from gateway.identity.keys import load_tls_key
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
            await asyncio.sleep(_LOOK_S)

    async def renew_if_due(self) -> bool:
        """Renew where it is time; whether it was.

        Raises:
            LedgerError: it could not be recorded, and was not issued.
            StorageError: the new certificate could not be written; the old one stays in use.
        """
        layout = self._settings.layout
        current = load_certificate(await asyncio.to_thread(layout.gateway_certificate.read_bytes))
        due = renewable_from(
            int(current.not_valid_before_utc.timestamp()), int(current.not_valid_after_utc.timestamp())
        )
        if self._clock() < due:
            return False
        key = await asyncio.to_thread(load_tls_key, layout.gateway_key)
        record = await self._enrolment.renew_gateway(key.public_key(), self._settings.identity, self._settings.names)
        pem = record.pem.encode("ascii")
        await asyncio.to_thread(lambda: write_file(layout.gateway_certificate, pem, mode=0o644))
        self._tls.reload()
        await self._reconnect()
        _log.info("gateway certificate renewed", fingerprint=record.fingerprint, not_after=record.not_after)
        return True
