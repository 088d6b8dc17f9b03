"""PeerService: what a paired gateway may ask; the rules stand in `gateway.exchange`."""

from __future__ import annotations

import time
from collections.abc import AsyncIterator, Mapping
from contextlib import aclosing
from dataclasses import dataclass
from typing import Any, Final

import grpc

from gateway import __version__
from gateway.exchange.appealing import Appeals
from gateway.exchange.house import House
from gateway.exchange.offers import Offers
from gateway.exchange.previewing import Previews
from gateway.exchange.provider import Provider
from gateway.exchange.receipts import Receipts
from gateway.exchange.revoking import Revoking
from gateway.exchange.serving import Serving
from gateway.server.access import caller
from gateway.v1 import peer_pb2
from gateway.wire import frames

SERVICE: Final = "gateway.v1.PeerService"


@dataclass(frozen=True, slots=True)
class PeerFlows:
    """What PeerService hands calls to."""

    house: House
    offers: Offers
    provider: Provider
    serving: Serving
    receipts: Receipts
    appeals: Appeals
    revoking: Revoking
    previews: Previews


class PeerService:
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, flows: PeerFlows) -> None:
        self._flows = flows

    def handlers(self) -> Mapping[str, grpc.RpcMethodHandler]:
        """By method name. Read's frames are written by hand, so the service is registered by hand too."""

        def unary(method: Any, request: Any, response: Any) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(
                method, request_deserializer=request.FromString, response_serializer=response.SerializeToString
            )

        p = peer_pb2
        return {
            "Hello": unary(self.hello, p.HelloRequest, p.HelloResponse),
            "ListCards": unary(self.list_cards, p.ListCardsRequest, p.ListCardsResponse),
            "GetCard": unary(self.get_card, p.GetCardRequest, p.GetCardResponse),
            "Negotiate": unary(self.negotiate, p.NegotiateRequest, p.NegotiateResponse),
            "Confirm": unary(self.confirm, p.ConfirmRequest, p.ConfirmResponse),
            "IssueTicket": unary(self.issue_ticket, p.IssueTicketRequest, p.IssueTicketResponse),
            "Read": grpc.unary_stream_rpc_method_handler(
                self.read, request_deserializer=p.ReadRequest.FromString, response_serializer=None
            ),
            "DeliverReceipt": unary(self.deliver_receipt, p.DeliverReceiptRequest, p.DeliverReceiptResponse),
            "Reviewed": unary(self.reviewed, p.ReviewedRequest, p.ReviewedResponse),
            "Appeal": unary(self.appeal, p.AppealRequest, p.AppealResponse),
            "EndAgreement": unary(self.end_agreement, p.EndAgreementRequest, p.EndAgreementResponse),
            "Preview": unary(self.preview, p.PreviewRequest, p.PreviewResponse),
            "Abort": unary(self.abort, p.AbortRequest, p.AbortResponse),
        }

    def _paced(self, context: Any) -> str:
        """The calling zone, for a call that may add to our ledger or its tickets.

        Raises:
            PaceError: it makes too many.
        """
        zone = caller(context).identity.zone
        self._flows.house.paces.peers.take(zone)
        return zone

    async def hello(self, request: peer_pb2.HelloRequest, context: Any) -> peer_pb2.HelloResponse:
        """Say the time."""
        return peer_pb2.HelloResponse(
            time_ms=int(time.time() * 1000), ledger_size=self._flows.house.journal.committed_size, version=__version__
        )

    async def list_cards(self, request: peer_pb2.ListCardsRequest, context: Any) -> peer_pb2.ListCardsResponse:
        """A page of signed cards."""
        cards, following = await self._flows.offers.cards_for(caller(context).identity.zone, request.after)
        return peer_pb2.ListCardsResponse(cards=cards, next=following)

    async def get_card(self, request: peer_pb2.GetCardRequest, context: Any) -> peer_pb2.GetCardResponse:
        """One signed card."""
        card = await self._flows.offers.card_for(caller(context).identity.zone, request.resource)
        return peer_pb2.GetCardResponse(card=card)

    async def negotiate(self, request: peer_pb2.NegotiateRequest, context: Any) -> peer_pb2.NegotiateResponse:
        """Decide and offer, or deny."""
        answer = await self._flows.provider.negotiate(self._paced(context), request.envelope, request.ledger_size)
        return peer_pb2.NegotiateResponse(decision=answer.decision, offer=answer.offer, ledger_size=answer.ledger_size)

    async def confirm(self, request: peer_pb2.ConfirmRequest, context: Any) -> peer_pb2.ConfirmResponse:
        """Put the agreement in force."""
        granted = await self._flows.provider.confirm(self._paced(context), request.agreement, request.ledger_size)
        return peer_pb2.ConfirmResponse(
            ticket=granted.ticket, ticket_until=granted.until, ledger_size=granted.ledger_size
        )

    async def issue_ticket(self, request: peer_pb2.IssueTicketRequest, context: Any) -> peer_pb2.IssueTicketResponse:
        """A new ticket for a transfer."""
        granted = await self._flows.serving.issue_ticket(self._paced(context), request.agreement, request.transfer)
        return peer_pb2.IssueTicketResponse(ticket=granted.ticket, ticket_until=granted.until)

    async def read(self, request: peer_pb2.ReadRequest, context: Any) -> AsyncIterator[bytes]:
        """The stream of chunks."""
        stream = self._flows.serving.read(
            self._paced(context),
            caller(context).fingerprint,
            request.ticket,
            request.transfer,
            request.first_chunk,
            request.ledger_size,
        )
        async with aclosing(stream) as sent:
            async for frame in sent:
                yield frames.encode(frame.header, (frame.body,), metadata=frame.metadata)

    async def deliver_receipt(
        self, request: peer_pb2.DeliverReceiptRequest, context: Any
    ) -> peer_pb2.DeliverReceiptResponse:
        """Take a receipt, give ours."""
        receipt, size = await self._flows.receipts.take(
            caller(context).identity.zone, request.receipt, request.ledger_size
        )
        return peer_pb2.DeliverReceiptResponse(receipt=receipt, ledger_size=size)

    async def reviewed(self, request: peer_pb2.ReviewedRequest, context: Any) -> peer_pb2.ReviewedResponse:
        """Hear what reviewers answered."""
        await self._flows.appeals.hear(
            self._paced(context), request.negotiation, request.review, request.decision, request.ledger_size
        )
        return peer_pb2.ReviewedResponse()

    async def appeal(self, request: peer_pb2.AppealRequest, context: Any) -> peer_pb2.AppealResponse:
        """Take an appeal."""
        taken = await self._flows.appeals.take(self._paced(context), request.envelope)
        return peer_pb2.AppealResponse(deadline=taken.deadline, review=taken.review)

    async def end_agreement(self, request: peer_pb2.EndAgreementRequest, context: Any) -> peer_pb2.EndAgreementResponse:
        """Hear that an agreement has ended."""
        await self._flows.revoking.hear(caller(context).identity.zone, request.agreement, request.envelope)
        return peer_pb2.EndAgreementResponse()

    async def preview(self, request: peer_pb2.PreviewRequest, context: Any) -> peer_pb2.PreviewResponse:
        """Say what would be decided."""
        decisions = await self._flows.previews.answer(self._paced(context), request.envelope)
        return peer_pb2.PreviewResponse(decisions=decisions)

    async def abort(self, request: peer_pb2.AbortRequest, context: Any) -> peer_pb2.AbortResponse:
        """Hear that a transfer is given up."""
        await self._flows.serving.abort(caller(context).identity.zone, request.transfer, request.reason)
        return peer_pb2.AbortResponse()
