"""The provider's side of a transfer: a ticket, a fresh decision, the ledger, then the chunks as they lie."""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import AsyncGenerator, AsyncIterator
from dataclasses import dataclass
from typing import Any

import structlog

from gateway.decisions.inputs import KeptDecision, Persons, Subject, transfer_input
from gateway.errors import ConflictError, LimitError, NotFoundError
from gateway.exchange import honouring, rows
from gateway.exchange.bounds import require_room
from gateway.exchange.house import House, agreement_body
from gateway.exchange.peer import Granted, PeerFrame
from gateway.exchange.sending import Sending, Stream
from gateway.exchange.tickets import Tickets
from gateway.exchange.usage import Usage, counted
from gateway.flow import approved, findings
from gateway.flow.locks import KeyedLocks, both
from gateway.flow.steps import Step
from gateway.journal import Recorded
from gateway.model import limits
from gateway.model.described import AnyDescription, parse_description
from gateway.model.ids import parse_uuid7
from gateway.model.negotiation import NegotiationState
from gateway.model.policy_facts import Recipient
from gateway.model.statements import Agreement
from gateway.model.transfer import AbortReason, abort_reason
from gateway.model.transfer import TransferState as State
from gateway.storage.versions import Version

_log = structlog.get_logger()


@dataclass(frozen=True, slots=True)
class _Stored:
    """A stored version, as it was when the agreement was made."""

    description: AnyDescription
    version: str
    published_at: int


@dataclass(frozen=True, slots=True)
class _Asked:
    """Who receives what, as a decision on it needs them."""

    recipient: Recipient
    subject: Subject


class Serving:
    """Serves chunks to paired gateways."""

    def __init__(self, house: House, usage: Usage, tickets: Tickets) -> None:
        self._house = house
        self._usage = usage
        self._tickets = tickets
        self._locks = KeyedLocks()
        self._streams: dict[str, Stream] = {}
        self._changes = 0  # so many changes of policies and mechanisms since the start
        self._sending = Sending(house)

    async def issue_ticket(self, zone: str, agreement_id: str, transfer_id: str) -> Granted:
        """A new ticket for a transfer of an agreement in force.

        Raises:
            NotFoundError: the agreement is not this peer's.
            ConflictError: it is not in force, or the transfer id is known otherwise.
        """
        parse_uuid7(transfer_id)
        agreement = await self._in_force(zone, agreement_id)
        standing = await rows.known_transfer(self._house.state, transfer_id)
        if standing is not None and (standing.side != "provider" or standing.agreement_id != agreement_id):
            raise ConflictError("this transfer id is known with other content", remedy="use a new id")
        return await self._tickets.issue(
            *self._tickets.prepare(
                holder=f"tdz://{zone}/gateway/gateway",
                agreement=agreement.id,
                transfer=transfer_id,
                view=agreement_body(agreement.envelope).view,
                first_chunk=0,
            )
        )

    async def read(
        self, zone: str, fingerprint: str, ticket: str, transfer_id: str, first_chunk: int, ledger_size: int
    ) -> AsyncGenerator[PeerFrame, None]:
        """Open a stream and yield its frames.

        1. The ticket is the caller's, fresh and unspent.
        2. The agreement is in force and within its limits.
        3. Our mirror holds the consumer's transfer.started.
        4. This zone decides again with the policy in force.
        5. transfer.started or .resumed is on our ledger; its limits are taken with it.
        6. The chunks; the peer must cosign our entry before the deadline, or the stream stops.

        Raises:
            TicketError, ConflictError, LimitError, DeniedError, PeerUnavailableError: as above.
        """
        house = self._house
        parse_uuid7(transfer_id)
        redeemed = await self._tickets.redeem(  # 1
            ticket, holder=f"tdz://{zone}/gateway/gateway", fingerprint=fingerprint, transfer=transfer_id
        )
        async with self._locks.hold(redeemed.agreement), house.transfers.hold(transfer_id):
            agreement = await self._in_force(zone, redeemed.agreement)  # 2
            body = agreement_body(agreement.envelope)
            standing = await rows.known_transfer(house.state, transfer_id)
            version = await house.chunks.run(lambda: house.versions.open(agreement.version))
            decided_with = self._changes
            try:
                self._check(standing, agreement, body, version, first_chunk)
                mirrored = house.journal.wait_mirrored(zone, ledger_size, house.timing.mirror)
                _, asked = await both(mirrored, self._asked(agreement, version))  # 3
                async with self._turn(agreement, asked):
                    kept = await self._decide_again(agreement, body, asked)  # 4
                    kept, approvals = await honouring.for_pull(house, kept, agreement)
                    if kept.decision.effect != "allow":
                        await self._refused(transfer_id, standing, agreement, kept)
                    said = {**kept.entry(), **approved.named(approvals)}
                    recorded = await self._start(  # 5
                        transfer_id, standing, agreement, version, first_chunk, kept, asked, said
                    )
            except BaseException:
                version.chunks.close()
                raise
        stream = Stream(transfer_id, agreement.id, body.mechanisms, to_be_decided=decided_with != self._changes)
        if (older := self._streams.get(transfer_id)) is not None:
            older.superseded = True
        self._streams[transfer_id] = stream
        try:
            async for frame in self._sending.frames(stream, version, body, zone, first_chunk, recorded):  # 6
                yield frame
        finally:
            if self._streams.get(transfer_id) is stream:
                del self._streams[transfer_id]
                if not stream.whole:
                    await self._sending.cut(transfer_id)
            version.chunks.close()

    async def abort(self, zone: str, transfer_id: str, reason: str) -> None:
        """The consumer gives a transfer up; recorded once, with a reason of ours whatever the consumer wrote.

        Raises:
            NotFoundError: it is not this peer's.
        """
        row = await rows.known_transfer(self._house.state, transfer_id)
        if row is None or row.side != "provider" or row.peer_zone != zone:
            raise NotFoundError("no such transfer")
        _log.info("the consumer gives a transfer up", transfer=transfer_id, said=reason[: limits.REASON_MAX_CHARS])
        await self.end(transfer_id, abort_reason(reason, by="consumer"))

    async def end(self, transfer_id: str, reason: str, *, due: int | None = None) -> None:
        """Abort an own side of a transfer, on the ledger, unless it has ended.

        Args:
            transfer_id: the transfer.
            reason: said on the ledger, so nothing that another wrote; see `gateway.model.transfer.abort_reason`.
            due: only if its deadline is before.
        """
        house = self._house
        if (stream := self._streams.get(transfer_id)) is not None and due is None:
            stream.superseded = True
        async with house.transfers.hold(transfer_id):
            row = await rows.get_transfer(house.state, transfer_id)
            if not row.open or (due is not None and row.deadline >= due):
                return  # a receipt or a new stream came first
            if (stream := self._streams.get(transfer_id)) is not None:
                stream.superseded = True
            await house.steps.end(
                Step(
                    kind="transfer.aborted",
                    subject=f"transfers/{transfer_id}",
                    body={"agreement": row.agreement_id, "reason": reason, "version": row.version},
                    effect="provider.aborted",
                    arguments={"id": transfer_id, "reason": reason, "now": house.clock()},
                    closing=True,
                )
            )

    def decide_again(self, mechanism: str = "") -> None:
        """No further chunk of an open stream goes out before both zones decided on it again.

        Args:
            mechanism: only of streams that rely on this one, which was withdrawn; empty where another policy is in
                force.
        """
        self._changes += 1
        for stream in self._streams.values():
            stream.to_be_decided |= not mechanism or mechanism in stream.mechanisms

    def cut(self, agreement_id: str) -> None:
        """Hand no further chunk of an agreement's open streams to the transport, from now on; `end_all` records it."""
        for stream in self._streams.values():
            stream.superseded |= stream.agreement == agreement_id

    async def end_all(self, agreement_id: str, reason: str) -> None:
        """Abort every open transfer of an agreement that has ended: none of them starts after this."""
        async with self._locks.hold(agreement_id):
            open_rows = await rows.list_transfers(
                self._house.state,
                agreement_id=agreement_id,
                side="provider",
                where_state=[State.STARTED, State.SUSPENDED],
                size=None,
            )
        for row in open_rows:
            await self.end(row.id, reason)

    async def take_up(self) -> None:
        """After a restart: streams that were open are cut."""
        started = await rows.list_transfers(self._house.state, side="provider", where_state=[State.STARTED], size=None)
        for row in started:
            await self._sending.cut(row.id)

    async def expire(self) -> int:
        """Abort transfers without progress or receipt; the count of them."""
        now = self._house.clock()
        due = await rows.list_transfers(
            self._house.state, side="provider", where_state=[State.STARTED, State.SUSPENDED], due=now, size=None
        )
        for row in due:
            await self.end(row.id, AbortReason.NO_RECEIPT.value, due=now)
        return len(due)

    # --- the steps of read ------------------------------------------------------------------------------

    async def _in_force(self, zone: str, agreement_id: str) -> rows.AgreementRow:
        agreement = await rows.get_agreement(self._house.state, agreement_id)
        if agreement.side != "provider" or agreement.peer_zone != zone:
            raise NotFoundError(f"no agreement {agreement_id[:80]}")
        if agreement.state != NegotiationState.FINALIZED:
            raise ConflictError(f"the agreement is not in force: {agreement.state}", remedy="request access again")
        if agreement.expires_at <= self._house.clock():
            raise ConflictError("the agreement has expired", remedy="request access again")
        return agreement

    def _check(
        self,
        standing: rows.TransferRow | None,
        agreement: rows.AgreementRow,
        body: Agreement,
        version: Version,
        first_chunk: int,
    ) -> None:
        manifest = version.manifest
        if not 0 <= first_chunk <= manifest.chunks:
            raise LimitError(f"the version has {manifest.chunks} chunks, not {first_chunk}")
        if standing is not None:
            if standing.side != "provider" or standing.agreement_id != agreement.id:
                raise ConflictError("this transfer id is known with other content", remedy="use a new id")
            if standing.state == State.TERMINATED:
                raise ConflictError(f"the transfer has ended: {standing.reason}", remedy="start a new one")
            if standing.state == State.COMPLETED and first_chunk != manifest.chunks:
                raise ConflictError("the transfer is complete", remedy="start a new one")
            return
        require_room(agreement, body, manifest)

    async def _asked(self, agreement: rows.AgreementRow, version: Version) -> _Asked:
        house = self._house
        negotiation = await rows.get_negotiation(house.state, agreement.negotiation_id)
        stored = _Stored(
            parse_description(version.description_bytes), version.version, negotiation.document["published_at"]
        )
        return _Asked(Recipient.model_validate(negotiation.document["recipient"]), await house.subject(stored))

    @contextlib.asynccontextmanager
    async def _turn(self, agreement: rows.AgreementRow, asked: _Asked) -> AsyncIterator[None]:
        """Hold the exporter's turn from the decision to the start, where persons are counted."""
        if counted(asked.subject) == Persons(0, 0):
            yield
            return
        async with self._usage.turns.hold(agreement.provider):
            yield

    async def _decide_again(self, agreement: rows.AgreementRow, body: Agreement, asked: _Asked) -> KeptDecision:
        house = self._house
        exporter, mechanisms, persons = await asyncio.gather(
            house.exporter(agreement.provider),
            house.mechanisms.serving(body.mechanisms),
            self._usage.after(agreement.provider, agreement.version, asked.subject),
        )
        document = transfer_input(
            now=house.clock(),
            purpose=body.purpose,
            leaves=house.site(),
            enters=house.peer_site(agreement.peer_zone),
            exporter=exporter,
            recipient=asked.recipient,
            subject=asked.subject,
            mechanisms=mechanisms,
            persons=persons,
        )
        return await house.decide(document)

    async def _refused(
        self, transfer_id: str, standing: rows.TransferRow | None, agreement: rows.AgreementRow, kept: KeptDecision
    ) -> None:
        decision = kept.decision
        ended = {"id": transfer_id, "reason": AbortReason.POLICY.value, "now": self._house.clock()}
        await self._house.steps.run(
            Step(
                kind="decision" if standing is None else "transfer.aborted",
                subject=f"transfers/{transfer_id}",
                body={**kept.entry(), "agreement": agreement.id, "reason": AbortReason.POLICY.value, "effect": "deny"},
                effect="" if standing is None else "provider.aborted",
                arguments={} if standing is None else ended,
                kept=kept,
                closing=True,
            )
        )
        told = decision.for_peer()
        raise findings.raised("deny", told.findings, decision_id=told.decision_id, request_id=agreement.negotiation_id)

    async def _start(
        self,
        transfer_id: str,
        standing: rows.TransferRow | None,
        agreement: rows.AgreementRow,
        version: Version,
        first_chunk: int,
        kept: KeptDecision,
        asked: _Asked,
        said: dict[str, Any],
    ) -> Recorded:
        house = self._house
        now = house.clock()
        row = {
            "id": transfer_id,
            "side": "provider",
            "agreement_id": agreement.id,
            "participant": agreement.consumer,
            "peer_zone": agreement.peer_zone,
            "state": State.STARTED.value,
            "version": agreement.version,
            "view": agreement_body(agreement.envelope).view,
            "manifest": version.manifest_bytes.decode(),
            "first_chunk": first_chunk,
            "deadline": now + house.timing.lease,
            "created_at": now,
            "updated_at": now,
        }
        return await house.steps.run(
            Step(
                kind="transfer.started" if standing is None else "transfer.resumed",
                subject=f"transfers/{transfer_id}",
                body={
                    **said,
                    "agreement": agreement.id,
                    "version": agreement.version,
                    "view": row["view"],
                    "first_chunk": first_chunk,
                    "chunks": version.manifest.chunks,
                },
                effect="provider.started" if standing is None else "provider.resumed",
                arguments={
                    "transfer": row,
                    "pulls": 1,
                    "rows": version.manifest.rows,
                    "bytes": version.manifest.bytes,
                    "export": self._usage.row(agreement.provider, agreement.version, transfer_id, asked.subject, now),
                },
                kept=kept,
            )
        )
