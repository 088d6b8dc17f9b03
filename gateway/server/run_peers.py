"""A paired gateway's side of federated runs as this gateway calls it: `gateway.federation.peer` over gRPC and mTLS."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from typing import Any, TypeVar

import grpc

from gateway.errors import PeerError, TdzError
from gateway.federation.peer import Answered, Part, Proposal, Said
from gateway.model import limits
from gateway.v1 import run_peer_pb2, run_peer_pb2_grpc
from gateway.wire.channel import call, end_of
from gateway.wire.status import from_rpc

T = TypeVar("T")


class RunCalls:
    """The calls of one run.

    Args:
        zone: the paired zone.
        control: the connection for short calls.
        data: the connection for parameters.
        passing: what makes another gateway's passing trouble a PeerUnavailableError.
        closed: what a cancelled call means: our task's end, or that the connection was closed.
    """

    def __init__(
        self,
        zone: str,
        control: grpc.aio.Channel,
        data: grpc.aio.Channel,
        *,
        passing: Callable[[str, TdzError], TdzError],
        closed: Callable[[str], BaseException],
    ) -> None:
        self._zone = zone
        self._run_control: Any = run_peer_pb2_grpc.RunPeerServiceStub(control)
        self._run_data: Any = run_peer_pb2_grpc.RunPeerServiceStub(data)
        self._passing = passing
        self._closed = closed

    async def propose(self, proposal: Proposal, ledger_size: int) -> Answered:
        """Round trip 1."""
        request = run_peer_pb2.ProposeRequest(
            envelope=proposal.envelope,
            decisions=proposal.decisions,
            cards=proposal.cards,
            ledger_size=ledger_size,
        )
        answer = await self._call(self._run_control.Propose(request, timeout=limits.RPC_DEADLINE_S))
        return Answered(answer.envelope, answer.decisions, answer.ledger_size)

    async def confirm_run(self, agreement: str, ledger_size: int) -> Said:
        """Round trip 2."""
        request = run_peer_pb2.ConfirmRunRequest(agreement=agreement, ledger_size=ledger_size)
        answer = await self._call(self._run_control.ConfirmRun(request, timeout=limits.RPC_DEADLINE_S))
        return Said(answer.agreement, answer.ledger_size)

    async def send_parameters(self, part: Part, deadline_s: float) -> int:
        """Send this zone's part of a round."""

        async def pieces() -> AsyncIterator[run_peer_pb2.ParametersPiece]:
            yield run_peer_pb2.ParametersPiece(statement=part.statement, ledger_size=part.ledger_size)
            async for data in part.data:
                yield run_peer_pb2.ParametersPiece(data=data)

        pending = self._run_data.SendParameters(pieces(), timeout=deadline_s)
        return int((await self._call(_written(pending, end_of(pending)))).ledger_size)

    @asynccontextmanager
    async def fetch_update(self, run: str, round_: int, ledger_size: int, deadline_s: float) -> AsyncIterator[Part]:
        """The other zone's part of a round; leaving the context ends the call."""
        request = run_peer_pb2.FetchUpdateRequest(run=run, round=round_, ledger_size=ledger_size)
        stream = self._run_data.FetchUpdate(request, timeout=deadline_s)
        try:
            first = await self._next(stream)
            if first is None or first.data:
                raise PeerError(f"the gateway of {self._zone} sent no statement before its update")
            yield Part(first.statement, first.ledger_size, self._rest(stream))
        finally:
            stream.cancel()

    async def _rest(self, stream: Any) -> AsyncIterator[bytes]:
        while (piece := await self._next(stream)) is not None:
            if piece.statement or piece.ledger_size:
                raise PeerError(f"the gateway of {self._zone} sent a second statement")
            yield piece.data

    async def _next(self, stream: Any) -> Any:
        try:
            piece = await stream.read()
        except grpc.aio.AioRpcError as error:
            raise self._passing(self._zone, from_rpc(error)) from error
        except asyncio.CancelledError:
            raise self._closed(self._zone) from None
        return None if piece is grpc.aio.EOF else piece

    async def hold_run(self, run: str, held_by: str, deadline: int, ledger_size: int) -> int:
        """Tell it that persons look at the run here, or let it go on."""
        request = run_peer_pb2.HoldRunRequest(run=run, held_by=held_by, deadline=deadline, ledger_size=ledger_size)
        return int((await self._call(self._run_control.HoldRun(request, timeout=limits.RPC_DEADLINE_S))).ledger_size)

    async def end_run(self, run: str, state: str, reason: str, ledger_size: int) -> int:
        """Tell it that the run has ended here."""
        request = run_peer_pb2.EndRunRequest(run=run, state=state, reason=reason, ledger_size=ledger_size)
        return int((await self._call(self._run_control.EndRun(request, timeout=limits.RPC_DEADLINE_S))).ledger_size)

    async def _call(self, pending: Awaitable[T]) -> T:
        try:
            return await call(pending)
        except TdzError as error:
            raise self._passing(self._zone, error) from error
        except asyncio.CancelledError:
            raise self._closed(self._zone) from None


async def _written(pending: Awaitable[T], ended: asyncio.Future[grpc.aio.AioRpcError]) -> T:
    """The answer to a call that is written to; where it fails, as its server ended it, not the write that met that."""
    try:
        return await pending
    except grpc.aio.AioRpcError as error:
        raise await ended from error
