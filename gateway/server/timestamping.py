"""Having an RFC 3161 authority stamp the ledger's checkpoints now and then; nothing waits for it."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import Final

import structlog

from gateway.config import GatewaySettings
from gateway.errors import ConfigError
from gateway.journal import Journal
from gateway.model import limits
from gateway.v1 import zone_pb2
from ledger.errors import LedgerError as LedgerFailure
from ledger.timestamps import Timestamp, authority_name, newest_timestamp, request_timestamp

_log = structlog.get_logger()
LOOK_S: Final = 60.0
"""How often a log that did not grow is looked at again."""
RETRY_S: Final = 1.0
_RETRY_MAX_S: Final = 3_600.0
_DEADLINE_S: Final = 10.0
_CA_MAX: Final = limits.MIB


class Timestamping:
    """Stamps the newest witnessed checkpoint once in every interval in which the log grew.

    When the last stamp was made stands in the stamp itself, so that a restart changes nothing.

    Args:
        journal: our log.
        settings: with the authority, the interval and the authority's root.
        clock: Unix seconds.

    Raises:
        ConfigError: the authority's host makes no file name.
    """

    def __init__(self, journal: Journal, settings: GatewaySettings, clock: Callable[[], float]) -> None:
        self._journal = journal
        self._settings = settings.timestamps
        self._directory = settings.layout.ledger
        self._ca_file = settings.layout.root / self._settings.ca if self._settings.ca else None
        self._clock = clock
        self._newest: Timestamp | None = None
        self._failure = ""
        try:
            self._name = authority_name(self._settings.authority)
        except LedgerFailure as error:
            raise ConfigError(
                error.message, remedy="write [timestamps] authority as https://tsa.example/tsr"
            ) from error

    def standing(self) -> zone_pb2.TimeStamps:
        """The newest stamp, and why there is no newer one."""
        newest = self._newest
        return zone_pb2.TimeStamps(
            authority=self._settings.authority,
            size=(newest.size or 0) if newest is not None else 0,
            stamped_at=int(newest.time.timestamp()) if newest is not None and newest.time is not None else 0,
            judged=newest is not None and newest.trusted,
            failure=" ".join(self._failure.split())[:300],
        )

    async def run(self) -> None:
        """Stamp until cancelled; what fails is told once and tried again."""
        retry = RETRY_S
        while True:
            if self._journal.writer.witnessed is None:
                await self._journal.stirred(LOOK_S)
                continue
            try:
                wait = await asyncio.to_thread(self._step)
                retry, self._failure = RETRY_S, ""
            except (LedgerFailure, OSError) as error:
                if str(error) != self._failure:
                    self._failure = str(error)
                    _log.warning("no time stamp yet", authority=self._settings.authority, error=self._failure)
                wait, retry = retry, min(2 * retry, _RETRY_MAX_S)
            await asyncio.sleep(wait)

    def _step(self) -> float:
        """Stamp if it is time to; seconds until it may be time again. Blocking."""
        writer = self._journal.writer
        head, wanted = writer.published.checkpoint, writer.witnessed
        if self._newest is None:
            found = newest_timestamp(self._directory, head, self._name)
            self._newest = None if found is None or found.problem else found
        if wanted is None:
            return LOOK_S
        if (newest := self._newest) is not None and newest.time is not None:
            left = newest.time.timestamp() + self._settings.every_s - self._clock()
            if newest.size == wanted.checkpoint.size or left > 0:
                return min(max(left, LOOK_S), self._settings.every_s)
        ca = b""
        if self._ca_file is not None:
            with self._ca_file.open("rb") as file:
                ca = file.read(_CA_MAX)
        stamp = request_timestamp(
            self._directory, head, wanted.checkpoint, self._settings.authority, ca=ca, deadline=_DEADLINE_S
        )
        if stamp.problem:
            raise LedgerFailure(f"{stamp.file}: {stamp.problem}", remedy="remove that file; see tdz-ledger timestamp")
        self._newest = stamp
        _log.info("time-stamped", file=stamp.file, time=str(stamp.time), judged=stamp.trusted)
        return min(self._settings.every_s, LOOK_S)
