"""Revocation: an agreement ends before its date, by either institution or an administrator of either zone.

It takes effect at once on the side that revokes, before anything is recorded, so that a gateway that cannot record
ends what is open all the same; the entries follow as soon as they can be made, and the other zone is told as soon as
it can be. What was open under the agreement cannot be taken up again.
"""

from __future__ import annotations

from typing import Any

import structlog

from gateway.errors import ConflictError, InputError, NotFoundError, PeerError
from gateway.exchange import rows
from gateway.exchange.house import House
from gateway.exchange.outbox import Outbox
from gateway.exchange.pulls import Pulls
from gateway.exchange.serving import Serving
from gateway.flow.house import parse_envelope
from gateway.flow.reviewing import Voter
from gateway.flow.steps import Step
from gateway.model import limits
from gateway.model.commitment import commitment
from gateway.model.ids import uuid7
from gateway.model.negotiation import AgreementEnd
from gateway.model.negotiation import NegotiationState as State
from gateway.model.participant import Role
from gateway.model.statements import Revocation
from gateway.model.transfer import AbortReason, TransferState

_log = structlog.get_logger()


class Revoking:
    """Ends agreements.

    Args:
        house: this zone.
        outbox: tells the other zone.
        pulls: what this zone's institutions pull.
        serving: what other zones pull here.
    """

    def __init__(self, house: House, outbox: Outbox, pulls: Pulls, serving: Serving) -> None:
        self._house = house
        self._outbox = outbox
        self._pulls = pulls
        self._serving = serving

    async def revoke(self, by: Voter, agreement_id: str, note: str, salt: bytes) -> rows.AgreementRow:
        """End an agreement of the caller's, as its provider or consumer, or as an administrator; again changes nothing.

        Args:
            by: who revokes.
            agreement_id: the agreement.
            note: why; it stays in this zone's state, the entry has a commitment.
            salt: 32 random bytes for it.

        Raises:
            NotFoundError: not the caller's.
            ConflictError: it was never in force, or has ended.
            InputError: the note is missing or too long.
            StorageError: open streams were cut; the rest could not be made durable, so it has to be asked for again.
        """
        house, who = self._house, by.identity
        if not note.strip() or len(note) > limits.NOTE_MAX_CHARS:
            raise InputError(f"say why, in at most {limits.NOTE_MAX_CHARS} characters", remedy="--note TEXT")
        row = await rows.get_agreement(house.state, agreement_id)
        if who.role is Role.PARTNER and who.uri != (row.consumer if row.side == "consumer" else row.provider):
            raise NotFoundError(f"no agreement {agreement_id[:80]}", remedy="see `tdz agreement list`")
        part = "admin" if who.role is Role.ADMIN else row.side
        async with house.negotiations.hold(row.negotiation_id):
            row = await rows.get_agreement(house.state, agreement_id)
            if row.ended_as == AgreementEnd.REVOKED:
                return row
            if row.state != State.FINALIZED:
                raise ConflictError(f"the agreement is not in force: {row.state}", remedy="see `tdz agreement show`")
            body = Revocation.parse({"agreement": row.id, "by": part})
            envelope = house.sign(body, to=row.peer_zone, process=row.negotiation_id, ttl=house.timing.review)
            entry_id, reason = uuid7(), f"revoked by {house.zone}/{part}"
            said = {
                "by": who.uri if who.role is Role.PARTNER else by.fingerprint,
                "note": commitment(salt, entry_id, "/body/note", note),
            }
            mail = self._outbox.mail("revocation", row.peer_zone, row.id, envelope)
            kept = {"note": note, "salt": salt.hex(), "by": who.uri}
            await self._end(
                row, entry_id, reason, {"revocation": parse_envelope(envelope).to_json(), **said}, mail, kept
            )
        self._outbox.wake()
        await self.stop(row)
        return await rows.get_agreement(house.state, agreement_id)

    async def hear(self, zone: str, agreement_id: str, envelope: str) -> None:
        """The other zone ended an agreement; repeated, it changes nothing.

        Raises:
            NotFoundError: no such agreement with that zone.
            IntegrityError, PeerError: not what the peer may send.
        """
        house = self._house
        row = await rows.get_agreement(house.state, agreement_id)
        if row.peer_zone != zone:
            raise NotFoundError(f"no agreement {agreement_id[:80]}")
        body = house.read(Revocation, envelope, of=zone, process=row.negotiation_id)
        if body.agreement != row.id:
            raise PeerError(f"{zone} revokes another agreement than it names")
        async with house.negotiations.hold(row.negotiation_id):
            row = await rows.get_agreement(house.state, agreement_id)
            if row.state != State.TERMINATED:
                said = {"revocation": parse_envelope(envelope).to_json()}
                await self._end(row, uuid7(), f"revoked by {zone}/{body.by}", said, None, {})
        await self.stop(row)

    async def _end(
        self,
        row: rows.AgreementRow,
        entry_id: str,
        reason: str,
        said: dict[str, Any],
        mail: dict[str, Any] | None,
        kept: dict[str, str],
    ) -> None:
        """Cut what is open, end the agreement, record it: in this order, each without the next."""
        house = self._house
        (self._pulls if row.side == "consumer" else self._serving).cut(row.id)
        await house.steps.end(
            Step(
                kind="revocation",
                subject=f"agreements/{row.id}",
                body={"agreement": row.id, "version": row.version, "reason": reason, **said},
                effect="agreement.revoked",
                arguments={
                    "agreement": row.id,
                    "reason": reason,
                    "mail": mail,
                    "negotiation": row.negotiation_id,
                    "kept": kept,
                    "now": house.clock(),
                },
                closing=True,
                entry_id=entry_id,
            )
        )

    async def stop(self, agreement: rows.AgreementRow) -> None:
        """End what is open under an agreement that has ended."""
        if agreement.side == "consumer":
            await self._pulls.end_all(agreement.id, AbortReason.REVOKED)
        else:
            await self._serving.end_all(agreement.id, AbortReason.REVOKED.value)

    async def take_up(self) -> int:
        """After a restart: end what was open under agreements that were revoked; the count of it."""
        open_rows = await rows.list_transfers(
            self._house.state, where_state=[TransferState.STARTED, TransferState.SUSPENDED], size=None
        )
        ended = 0
        for row in open_rows:
            agreement = await rows.get_agreement(self._house.state, row.agreement_id)
            if agreement.state == State.TERMINATED:
                await self.stop(agreement)
                ended += 1
        return ended
