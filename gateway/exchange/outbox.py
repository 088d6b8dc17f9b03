"""What must reach the other zone though it may be away: receipts, aborts, reviewers' answers, revocations."""

from __future__ import annotations

import asyncio
import json
from typing import Any, Final

import structlog
from sqlalchemy import delete, select, update

from gateway.errors import (
    ClockError,
    ConflictError,
    LedgerError,
    NotFoundError,
    PeerUnavailableError,
    StorageError,
    TdzError,
)
from gateway.exchange.house import House
from gateway.flow.house import parse_envelope
from gateway.flow.steps import Step
from gateway.model.ids import uuid7
from gateway.model.statements import Receipt
from gateway.state.schema import outbox

_log = structlog.get_logger()
_BACKOFF_S: Final = (1, 1, 2, 5, 10, 30, 60)
_REFUSED_S: Final = 3_600
_BATCH: Final = 100


class Outbox:
    """Delivers until the peer has answered; survives restarts."""

    def __init__(self, house: House) -> None:
        self._house = house
        self._due = asyncio.Event()

    def mail(self, kind: str, zone: str, subject: str, payload: str) -> dict[str, Any]:
        """A row to be posted by an effect, with the transaction of what it tells of."""
        return {
            "id": uuid7(),
            "kind": kind,
            "peer_zone": zone,
            "subject": subject,
            "payload": payload,
            "attempts": 0,
            "next_at": self._house.clock(),
        }

    def wake(self) -> None:
        """Something was posted."""
        self._due.set()

    async def run(self) -> None:
        """Deliver until cancelled."""
        while True:
            self._due.clear()
            await self.deliver_due()
            try:
                async with asyncio.timeout(self._house.timing.reaper):
                    await self._due.wait()
            except TimeoutError:
                continue

    async def deliver_due(self) -> int:
        """Deliver what is due once; the count of what was delivered."""
        now = self._house.clock()
        query = select(outbox).where(outbox.c.next_at <= now).order_by(outbox.c.next_at, outbox.c.id).limit(_BATCH)
        due = await self._house.state.read(lambda connection: connection.execute(query).all())
        return sum([await self._deliver(row) for row in due])

    async def _deliver(self, mail: Any) -> bool:
        try:
            if mail.kind == "receipt":
                await self._send_receipt(mail)
            else:
                peer, size = self._house.peers.get(mail.peer_zone), self._house.journal.committed_size
                if mail.kind == "reviewed":
                    said = json.loads(mail.payload)
                    await peer.reviewed(mail.subject, said["review"], said["decision"], size)
                else:
                    tell = peer.end_agreement if mail.kind == "revocation" else peer.abort
                    await tell(mail.subject, mail.payload, size)
        except (PeerUnavailableError, LedgerError, StorageError, ClockError) as error:  # it passes, here or there
            _log.debug("not delivered yet", mail=mail.kind, transfer=mail.subject, error=str(error))
            await self._later(mail, _BACKOFF_S[min(mail.attempts, len(_BACKOFF_S) - 1)])
            return False
        except TdzError as error:
            if mail.kind == "receipt" or not isinstance(error, NotFoundError | ConflictError):
                _log.error(
                    "the peer refuses what it must hear", mail=mail.kind, transfer=mail.subject, error=str(error)
                )
                await self._later(mail, _REFUSED_S)
                return False
            _log.info("the peer knows nothing of it", mail=mail.kind, subject=mail.subject, error=str(error))
        if mail.kind != "receipt":
            await self._house.state.write(
                lambda connection: connection.execute(delete(outbox).where(outbox.c.id == mail.id))
            )
        return True

    async def _later(self, mail: Any, seconds: int) -> None:
        query = (
            update(outbox)
            .where(outbox.c.id == mail.id)
            .values(attempts=mail.attempts + 1, next_at=self._house.clock() + seconds)
        )
        await self._house.state.write(lambda connection: connection.execute(query))

    async def _send_receipt(self, mail: Any) -> None:
        """A5: the provider's receipt, verified, on our ledger."""
        house = self._house
        peer = house.peers.get(mail.peer_zone)
        envelope, size = await peer.deliver_receipt(mail.payload, house.journal.committed_size)
        theirs = house.read(Receipt, envelope, of=mail.peer_zone, process=mail.subject)
        ours = house.read(Receipt, mail.payload, of=house.zone, to=mail.peer_zone, process=mail.subject)
        if theirs.side != "provider" or not theirs.same_outcome(ours):
            raise TdzError("the provider's receipt says something else than ours")
        await house.journal.wait_mirrored(mail.peer_zone, size, house.timing.mirror, closing=True)
        await house.steps.run(
            Step(
                kind="receipt",
                subject=f"transfers/{mail.subject}",
                body={"receipt": parse_envelope(envelope).to_json()},
                effect="consumer.receipt",
                arguments={"id": mail.subject, "mail": mail.id, "receipt": envelope, "now": house.clock()},
                closing=True,
            )
        )
