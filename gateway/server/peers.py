"""The paired zones' gateways as this gateway calls them: `gateway.exchange.peer` over gRPC and mTLS."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Awaitable
from contextlib import asynccontextmanager
from typing import Any, Final, TypeVar

import grpc

from gateway import __version__
from gateway.errors import (
    DecisionUnavailableError,
    LedgerError,
    PaceError,
    PeerUnavailableError,
    StorageError,
    TdzError,
)
from gateway.exchange.peer import Answer, AppealTaken, Granted, PeerFrame
from gateway.flow.house import PeerTime
from gateway.identity.card import ZoneCard
from gateway.model import limits
from gateway.server.run_peers import RunCalls
from gateway.v1 import peer_pb2, peer_pb2_grpc
from gateway.wire import frames
from gateway.wire.channel import ClientIdentity, call, open_channel
from gateway.wire.status import from_rpc

T = TypeVar("T")

_READ: Final = "/gateway.v1.PeerService/Read"
_FRAME_DEADLINE_S: Final = 60.0  # the longest silence in an open stream


class PeerClient(RunCalls):
    """One paired gateway. Control, bulk data and the ledger each have a connection of their own.

    Args:
        card: the zone's admitted card; its CA is the only one that may name the server.
        identity: this gateway's certificate and key; the CA in it is replaced by the peer's.
    """

    def __init__(self, card: ZoneCard, identity: ClientIdentity) -> None:
        self.card = card
        mutual = ClientIdentity(ca=card.ca.encode(), certificate=identity.certificate, key=identity.key)
        self._control = open_channel(card.endpoint, mutual)
        self._data = open_channel(card.endpoint, mutual)
        self.mirror_channel = open_channel(card.endpoint, mutual)
        super().__init__(card.zone, self._control, self._data, passing=_passing, closed=_closed)
        self._stub: Any = peer_pb2_grpc.PeerServiceStub(self._control)
        self._read = self._data.unary_stream(
            _READ,
            request_serializer=peer_pb2.ReadRequest.SerializeToString,
            response_deserializer=None,  # frames are read by hand
        )

    @property
    def zone(self) -> str:
        """Its zone."""
        return self.card.zone

    async def hello(self, ledger_size: int) -> PeerTime:
        """Its clock, now."""
        request = peer_pb2.HelloRequest(time_ms=int(time.time() * 1000), ledger_size=ledger_size, version=__version__)
        answer = await self._call(self._stub.Hello(request, timeout=limits.CONNECT_DEADLINE_S))
        return PeerTime(answer.time_ms, answer.ledger_size)

    async def list_cards(self, after: str) -> tuple[list[str], str]:
        """A page of signed dataset cards."""
        answer = await self._call(
            self._stub.ListCards(peer_pb2.ListCardsRequest(after=after), timeout=limits.RPC_DEADLINE_S)
        )
        return list(answer.cards), answer.next

    async def get_card(self, resource: str) -> str:
        """One signed dataset card."""
        request = peer_pb2.GetCardRequest(resource=resource)
        return str((await self._call(self._stub.GetCard(request, timeout=limits.CONNECT_DEADLINE_S))).card)

    async def negotiate(self, envelope: str, ledger_size: int) -> Answer:
        """Round trip 1."""
        request = peer_pb2.NegotiateRequest(envelope=envelope, ledger_size=ledger_size)
        answer = await self._call(self._stub.Negotiate(request, timeout=limits.RPC_DEADLINE_S))
        return Answer(answer.decision, answer.offer, answer.ledger_size)

    async def confirm(self, agreement: str, ledger_size: int) -> Granted:
        """Round trip 2."""
        request = peer_pb2.ConfirmRequest(agreement=agreement, ledger_size=ledger_size)
        answer = await self._call(self._stub.Confirm(request, timeout=limits.RPC_DEADLINE_S))
        return Granted(answer.ticket, answer.ticket_until, answer.ledger_size)

    async def issue_ticket(self, agreement: str, transfer: str) -> Granted:
        """A new ticket for a transfer."""
        request = peer_pb2.IssueTicketRequest(agreement=agreement, transfer=transfer)
        answer = await self._call(self._stub.IssueTicket(request, timeout=limits.RPC_DEADLINE_S))
        return Granted(answer.ticket, answer.ticket_until)

    async def _call(self, pending: Awaitable[T]) -> T:
        """Await an answer; what the other gateway cannot do now is no answer."""
        try:
            return await call(pending)
        except TdzError as error:
            raise _passing(self.zone, error) from error
        except asyncio.CancelledError:
            raise _closed(self.zone) from None

    @asynccontextmanager
    async def read(
        self, ticket: str, transfer: str, first_chunk: int, ledger_size: int
    ) -> AsyncIterator[AsyncIterator[PeerFrame]]:
        """Round trip 3: the stream; leaving the context ends the call."""
        request = peer_pb2.ReadRequest(
            ticket=ticket, transfer=transfer, first_chunk=first_chunk, ledger_size=ledger_size
        )
        stream = self._read(request)
        try:
            yield _frames(self.zone, stream)
        finally:
            stream.cancel()

    async def deliver_receipt(self, receipt: str, ledger_size: int) -> tuple[str, int]:
        """The provider's receipt for the consumer's."""
        request = peer_pb2.DeliverReceiptRequest(receipt=receipt, ledger_size=ledger_size)
        answer = await self._call(self._stub.DeliverReceipt(request, timeout=limits.RPC_DEADLINE_S))
        return answer.receipt, answer.ledger_size

    async def reviewed(self, negotiation: str, review: str, decision: str, ledger_size: int) -> None:
        """Tell what reviewers answered."""
        request = peer_pb2.ReviewedRequest(
            negotiation=negotiation, review=review, decision=decision, ledger_size=ledger_size
        )
        await self._call(self._stub.Reviewed(request, timeout=limits.RPC_DEADLINE_S))

    async def appeal(self, envelope: str, ledger_size: int) -> AppealTaken:
        """An appeal."""
        request = peer_pb2.AppealRequest(envelope=envelope, ledger_size=ledger_size)
        answer = await self._call(self._stub.Appeal(request, timeout=limits.RPC_DEADLINE_S))
        return AppealTaken(answer.review, answer.deadline)

    async def end_agreement(self, agreement: str, envelope: str, ledger_size: int) -> None:
        """Tell that an agreement has ended."""
        request = peer_pb2.EndAgreementRequest(agreement=agreement, envelope=envelope, ledger_size=ledger_size)
        await self._call(self._stub.EndAgreement(request, timeout=limits.RPC_DEADLINE_S))

    async def preview(self, envelope: str) -> list[str]:
        """What it would decide."""
        request = peer_pb2.PreviewRequest(envelope=envelope)
        return list((await self._call(self._stub.Preview(request, timeout=limits.CONNECT_DEADLINE_S))).decisions)

    async def abort(self, transfer: str, reason: str, ledger_size: int) -> None:
        """Tell it that the transfer is given up."""
        request = peer_pb2.AbortRequest(transfer=transfer, reason=reason, ledger_size=ledger_size)
        await self._call(self._stub.Abort(request, timeout=limits.RPC_DEADLINE_S))

    async def close(self) -> None:
        """Close the connections."""
        for channel in (self._control, self._data, self.mirror_channel):
            await channel.close()


def _passing(zone: str, error: TdzError) -> TdzError:
    """Its full disk, its internal error or our too many calls pass, or the deadline of what was asked for does."""
    if isinstance(error, LedgerError | StorageError | DecisionUnavailableError | PaceError) or type(error) is TdzError:
        return PeerUnavailableError(f"the gateway of {zone} cannot answer now: {error.message}", remedy=error.remedy)
    return error


def _closed(zone: str) -> BaseException:
    """gRPC says by CancelledError that we closed the connection; that must not pass for a task's own end."""
    task = asyncio.current_task()
    if task is None or task.cancelling():
        return asyncio.CancelledError()
    return PeerUnavailableError(f"the connection to {zone} was closed", remedy="try again")


async def _frames(zone: str, stream: Any) -> AsyncIterator[PeerFrame]:
    while True:
        try:
            async with asyncio.timeout(_FRAME_DEADLINE_S):
                data = await stream.read()
        except grpc.aio.AioRpcError as error:
            raise _passing(zone, from_rpc(error)) from error
        except asyncio.CancelledError:
            raise _closed(zone) from None
        except TimeoutError as error:
            raise PeerUnavailableError(
                f"the other gateway sent nothing for {_FRAME_DEADLINE_S:g} s", remedy="check the link"
            ) from error
        if data is grpc.aio.EOF:
            return
        frame = frames.decode(data)
        yield PeerFrame(frame.header, frame.metadata, frame.body)
