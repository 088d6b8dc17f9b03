"""ExchangeService: requests, agreements and transfers, for partners, and for those who oversee them."""

from __future__ import annotations

import asyncio
import secrets
from collections.abc import AsyncIterator
from typing import Any, Final, get_args

from gateway.errors import InputError, NotFoundError
from gateway.exchange import rows
from gateway.exchange.accounts import Account, Accounts, unknown
from gateway.exchange.consumer import Ask, Consumer
from gateway.exchange.house import House, agreement_body
from gateway.exchange.pulls import Pulls
from gateway.exchange.revoking import Revoking
from gateway.flow.reviewing import Voter
from gateway.model import limits
from gateway.model.dataset import DatasetManifest
from gateway.model.decision import Finding
from gateway.model.negotiation import NegotiationState
from gateway.model.participant import Identity, Role
from gateway.model.policy_facts import Purpose
from gateway.server.access import caller
from gateway.server.paging import newest_first, page_size, wanted_states
from gateway.v1 import common_pb2, exchange_pb2, exchange_pb2_grpc

_PURPOSES: Final = frozenset(get_args(Purpose))
_WATCH_S: Final = 0.2
_LOOK_EVERY_S: Final = 0.1  # a chunk may come every few milliseconds; its end is told at once
_RESOURCE_MAX_CHARS: Final = 100


class ExchangeService(exchange_pb2_grpc.ExchangeServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, house: House, consumer: Consumer, pulls: Pulls, revoking: Revoking) -> None:
        self._house = house
        self._revoking = revoking
        self._consumer = consumer
        self._pulls = pulls
        self._accounts = Accounts(house)

    # --- requests ---------------------------------------------------------------------------------------

    async def RequestAccess(
        self, request: exchange_pb2.RequestAccessRequest, context: Any
    ) -> exchange_pb2.AccessRequest:
        """Ask for access."""
        who, ask = caller(context).identity, _ask(request)
        self._house.paces.requests.take(who.uri)
        return _request(await self._consumer.request(who, ask), self._house.clock())

    async def GetRequest(self, request: exchange_pb2.GetRequestRequest, context: Any) -> exchange_pb2.AccessRequest:
        """Show one request."""
        row = await rows.get_negotiation(self._house.state, request.id)
        _check_visible(caller(context).identity, row.participant, row.side, "request")
        return _request(row, self._house.clock())

    async def ListRequests(
        self, request: exchange_pb2.ListRequestsRequest, context: Any
    ) -> exchange_pb2.ListRequestsResponse:
        """List requests, newest first."""
        who = caller(context).identity
        size = page_size(request.page)
        found = await rows.list_negotiations(
            self._house.state,
            participant=who.uri if who.role is Role.PARTNER else "",
            side="consumer" if who.role is Role.PARTNER else "",
            where_state=wanted_states(NegotiationState, request.state),
            held=request.held,
            before=request.page.token,
            size=size + 1,
        )
        page, token = newest_first(found, size, key=lambda row: row.id)
        return exchange_pb2.ListRequestsResponse(
            requests=[_request(row, self._house.clock()) for row in page], next_page_token=token
        )

    # --- agreements -------------------------------------------------------------------------------------

    async def GetAgreement(self, request: exchange_pb2.GetAgreementRequest, context: Any) -> exchange_pb2.Agreement:
        """Show one agreement of the caller's, as consumer or provider."""
        who = caller(context).identity
        row = await rows.get_agreement(self._house.state, request.id)
        if who.role is Role.PARTNER and who.uri not in {row.consumer, row.provider}:
            raise NotFoundError(f"no agreement {request.id[:80]}", remedy="see `tdz agreement list`")
        return _agreement(row)

    async def ListAgreements(
        self, request: exchange_pb2.ListAgreementsRequest, context: Any
    ) -> exchange_pb2.ListAgreementsResponse:
        """List agreements, newest first."""
        who = caller(context).identity
        size = page_size(request.page)
        found = await rows.list_agreements(
            self._house.state,
            party=who.uri if who.role is Role.PARTNER else "",
            before=request.page.token,
            size=size + 1,
        )
        page, token = newest_first(found, size, key=lambda row: row.id)
        return exchange_pb2.ListAgreementsResponse(agreements=[_agreement(row) for row in page], next_page_token=token)

    async def RevokeAgreement(
        self, request: exchange_pb2.RevokeAgreementRequest, context: Any
    ) -> exchange_pb2.Agreement:
        """End an agreement."""
        who = caller(context)
        self._house.paces.requests.take(who.identity.uri)
        voter = Voter(who.identity, who.fingerprint)
        return _agreement(await self._revoking.revoke(voter, request.id, request.note, secrets.token_bytes(32)))

    # --- transfers --------------------------------------------------------------------------------------

    async def OpenTransfer(
        self, request: exchange_pb2.OpenTransferRequest, context: Any
    ) -> exchange_pb2.OpenTransferResponse:
        """Give a ticket for DoGet."""
        who = caller(context)
        opened = await self._pulls.open(
            who.identity, who.fingerprint, request.agreement, request.transfer, request.first_chunk
        )
        card, manifest = opened.card, opened.card.manifest
        return exchange_pb2.OpenTransferResponse(
            ticket=opened.ticket.encode(),
            transfer=opened.transfer,
            schema=card.schema_bytes(),
            rows=manifest.rows,
            bytes=manifest.bytes,
            chunks=manifest.chunks,
            manifest=manifest.encode(),
            description=card.description.encode(),
        )

    async def GetTransfer(self, request: exchange_pb2.GetTransferRequest, context: Any) -> exchange_pb2.Transfer:
        """Show one transfer."""
        return await self._transfer(caller(context).identity, request.id)

    async def ListTransfers(
        self, request: exchange_pb2.ListTransfersRequest, context: Any
    ) -> exchange_pb2.ListTransfersResponse:
        """List transfers, newest first."""
        who = caller(context).identity
        size = page_size(request.page)
        found = await rows.list_transfers(
            self._house.state,
            participant=who.uri if who.role is Role.PARTNER else "",
            side="consumer" if who.role is Role.PARTNER else "",
            agreement_id=request.agreement,
            before=request.page.token,
            size=size + 1,
        )
        page, token = newest_first(found, size, key=lambda row: row.id)
        return exchange_pb2.ListTransfersResponse(transfers=[self._message(row) for row in page], next_page_token=token)

    async def WatchTransfer(
        self, request: exchange_pb2.WatchTransferRequest, context: Any
    ) -> AsyncIterator[exchange_pb2.Transfer]:
        """Send the transfer now and at each change until it has ended."""
        who = caller(context).identity
        last: exchange_pb2.Transfer | None = None
        while True:
            message = await self._transfer(who, request.id)
            if message != last:
                yield message
                last = message
            if message.state == "TERMINATED" or (
                message.state == "COMPLETED" and (message.peer_receipt or message.side == "provider")
            ):
                return
            arrival = self._pulls.arrival(request.id)
            if arrival is None:
                await asyncio.sleep(_WATCH_S)
            else:
                await arrival.moved(_WATCH_S)
                await arrival.ended(_LOOK_EVERY_S)

    # --- afterwards -------------------------------------------------------------------------------------

    async def GetTransferReceipt(
        self, request: exchange_pb2.GetTransferReceiptRequest, context: Any
    ) -> exchange_pb2.TransferReceipt:
        """A file that proves a completed transfer."""
        who = caller(context).identity
        row = await rows.known_transfer(self._house.state, request.id)
        if row is None or _hidden(who, row.participant, row.side):
            raise unknown(request.id)
        self._accounts.pace.take(who.uri)
        made = await self._accounts.receipt(row)
        return exchange_pb2.TransferReceipt(
            id=row.id, proofs=made.data, entries=made.entries, origin=made.origin, size=made.size
        )

    async def ExplainTransfer(
        self, request: exchange_pb2.ExplainTransferRequest, context: Any
    ) -> exchange_pb2.Timeline:
        """How something went, from both ledgers."""
        who = caller(context).identity
        told = await self._accounts.find(request.id)
        if _hidden(who, told.participant, told.side):
            raise unknown(request.id)
        self._accounts.pace.take(who.uri)
        return _timeline(request.id, await self._accounts.explain(told))

    async def _transfer(self, who: Identity, identifier: str) -> exchange_pb2.Transfer:
        row = await rows.get_transfer(self._house.state, identifier)
        _check_visible(who, row.participant, row.side, "transfer")
        return self._message(row)

    def _message(self, row: rows.TransferRow) -> exchange_pb2.Transfer:
        manifest = DatasetManifest.parse(row.manifest.encode())
        done = (row.chunks, row.rows, row.bytes)
        arrival = self._pulls.arrival(row.id) if row.side == "consumer" else None
        if arrival is not None and row.open:
            done = (arrival.chunks_done, arrival.rows_done, arrival.bytes_done)
        return exchange_pb2.Transfer(
            id=row.id,
            agreement=row.agreement_id,
            resource=f"{manifest.kind}s/{manifest.id}",
            state=row.state,
            version=row.version,
            chunks_done=done[0],
            chunks=manifest.chunks,
            rows=done[1],
            bytes=done[2],
            reason=row.reason,
            deadline=row.deadline if row.open else 0,
            receipt=row.receipt,
            peer_receipt=row.peer_receipt,
            created_at=row.created_at,
            participant=row.participant,
            side=row.side,
        )


def _ask(request: exchange_pb2.RequestAccessRequest) -> Ask:
    """Read a request strictly.

    Raises:
        InputError: a field is not what it may be; the text names it.
    """
    if not request.resource.startswith(("datasets/", "models/")) or len(request.resource) > _RESOURCE_MAX_CHARS:
        raise InputError(f"resource {request.resource[:80]!r} is no name", remedy="write datasets/ID or models/ID")
    if request.purpose not in _PURPOSES:
        raise InputError(
            f"purpose {request.purpose[:40]!r} is unknown", remedy=f"use one of {', '.join(sorted(_PURPOSES))}"
        )
    if len(request.mechanisms) > limits.MECHANISMS_PER_REQUEST or any(
        not 0 < len(ref) <= limits.REQUEST_ID_MAX_CHARS for ref in request.mechanisms
    ):
        raise InputError(f"mechanisms: at most {limits.MECHANISMS_PER_REQUEST} references of 1 to 128 characters")
    if len(request.request_id) > limits.REQUEST_ID_MAX_CHARS:
        raise InputError(f"request_id has at most {limits.REQUEST_ID_MAX_CHARS} characters")
    refs = tuple(sorted(set(request.mechanisms)))
    return Ask(request.resource, request.purpose, refs, request.request_id)


def _hidden(who: Identity, participant: str, side: str) -> bool:
    return who.role is Role.PARTNER and (participant != who.uri or side != "consumer")


def _check_visible(who: Identity, participant: str, side: str, name: str) -> None:
    if _hidden(who, participant, side):
        raise NotFoundError(f"no such {name} of yours", remedy=f"see `tdz {name} list`")


def _request(row: rows.NegotiationRow, now: int) -> exchange_pb2.AccessRequest:
    document = row.document
    denied: dict[str, str] = document.get("denied_by") or {}
    appeal: dict[str, Any] = document.get("appeal") or {}
    state = appeal.get("state", "")
    return exchange_pb2.AccessRequest(
        id=row.id,
        resource=row.resource,
        purpose=row.purpose,
        state=row.state,
        effect=row.effect,
        held_by=row.held_by,
        deadline=row.deadline if row.open else 0,
        findings=[_finding(Finding.from_json(finding)) for finding in document.get("findings", ())],
        decisions=[
            exchange_pb2.ZoneDecision(
                zone=decision[0],
                effect=decision[1],
                decision_id=decision[2],
                ledger_seq=decision[3] if len(decision) > 3 else document.get("seq", -1),
            )
            for decision in document.get("decisions", ())
        ],
        obligations=[obligation["kind"] for obligation in document.get("obligations", ())],
        agreement=row.agreement_id if row.state == "FINALIZED" else "",
        participant=row.participant,
        request_id=row.request_id,
        created_at=row.created_at,
        reason=document.get("reason", ""),
        denied_by=f"{denied['zone']}/{denied['by']}" if denied.get("by") else "",
        appeal="unanswered" if state == "open" and appeal["deadline"] < now else state,
        appeal_deadline=appeal.get("deadline", 0) if state == "open" else 0,
        anew=appeal.get("anew", ""),
    )


def _timeline(identifier: str, account: Account) -> exchange_pb2.Timeline:
    told, standing = account.told, account.standing
    return exchange_pb2.Timeline(
        id=identifier,
        resource=told.resource,
        participant=told.participant,
        state=standing.state,
        reason=standing.reason,
        steps=[
            exchange_pb2.TimelineStep(
                time=step.time,
                zone=step.zone,
                ledger_seq=step.seq,
                kind=step.kind,
                subject=step.subject,
                said=step.said,
                effect=step.effect,
                findings=[_finding(finding) for finding in step.findings],
                waiting_for=step.waiting_for,
                deadline=step.deadline,
            )
            for step in account.steps
        ],
        cut=account.cut,
        waiting_for=standing.waiting_for,
        deadline=standing.deadline,
        next=standing.next,
        own_zone=account.own_zone,
        own_size=account.own_size,
        peer_zone=told.peer_zone,
        peer_size=account.peer_size,
    )


def _finding(finding: Finding) -> common_pb2.Finding:
    return common_pb2.Finding(
        code=finding.code,
        effect=finding.effect,
        authority=finding.authority,
        cite=finding.cite,
        remedy=finding.remedy,
        fields=list(finding.fields),
    )


def _agreement(row: rows.AgreementRow) -> exchange_pb2.Agreement:
    body = agreement_body(row.envelope)
    return exchange_pb2.Agreement(
        id=row.id,
        resource=row.resource,
        version=row.version,
        consumer=row.consumer,
        provider=row.provider,
        purpose=body.purpose,
        state=row.state,
        obligations=[obligation.kind for obligation in body.obligations],
        expires_at=row.expires_at,
        pulls_limit=body.limits.pulls,
        pulls_used=row.pulls,
        envelope=row.envelope,
        reason=row.reason,
        created_at=row.created_at,
    )
