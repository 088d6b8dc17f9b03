"""RunPeerService: what a paired gateway may ask in a run; the rules stand in `gateway.federation`."""

from __future__ import annotations

from collections.abc import AsyncIterator
from contextlib import aclosing
from typing import Any

from gateway.errors import InputError, LimitError
from gateway.federation.federation import Federation
from gateway.federation.peer import Part, Proposal
from gateway.model import limits
from gateway.server.access import caller
from gateway.v1 import run_peer_pb2, run_peer_pb2_grpc


class RunPeerService(run_peer_pb2_grpc.RunPeerServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`."""

    def __init__(self, federation: Federation) -> None:
        self._federation = federation

    def _paced(self, context: Any) -> str:
        zone: str = caller(context).identity.zone
        self._federation.house.paces.peers.take(zone)
        return zone

    async def Propose(self, request: run_peer_pb2.ProposeRequest, context: Any) -> run_peer_pb2.ProposeResponse:
        """Decide on a proposal."""
        proposal = Proposal(request.envelope, request.decisions, tuple(request.cards))
        answer = await self._federation.answering.propose(self._paced(context), proposal, request.ledger_size)
        return run_peer_pb2.ProposeResponse(
            envelope=answer.envelope, decisions=answer.decisions, ledger_size=answer.ledger_size
        )

    async def ConfirmRun(
        self, request: run_peer_pb2.ConfirmRunRequest, context: Any
    ) -> run_peer_pb2.ConfirmRunResponse:
        """Put an agreement in force."""
        said = await self._federation.answering.confirm(self._paced(context), request.agreement, request.ledger_size)
        return run_peer_pb2.ConfirmRunResponse(agreement=said.envelope, ledger_size=said.ledger_size)

    async def SendParameters(
        self, requests: AsyncIterator[run_peer_pb2.ParametersPiece], context: Any
    ) -> run_peer_pb2.SendParametersResponse:
        """Take in the coordinator's part of a round."""
        zone = self._paced(context)
        first = await anext(aiter(requests), None)
        if first is None or first.data or len(first.statement) > limits.STATEMENT_MAX:
            raise InputError("the first message has a statement and no data")
        size = await self._federation.participant.receive(
            zone, Part(first.statement, first.ledger_size, _data(requests))
        )
        return run_peer_pb2.SendParametersResponse(ledger_size=size)

    async def FetchUpdate(
        self, request: run_peer_pb2.FetchUpdateRequest, context: Any
    ) -> AsyncIterator[run_peer_pb2.ParametersPiece]:
        """Give our part of a round."""
        federation = self._federation
        statement, data = await federation.participant.give(
            self._paced(context), request.run, request.round, request.ledger_size
        )
        size = federation.house.journal.committed_size
        yield run_peer_pb2.ParametersPiece(statement=statement, ledger_size=size)
        async with aclosing(data) as pieces:
            async for piece in pieces:
                yield run_peer_pb2.ParametersPiece(data=piece)

    async def HoldRun(self, request: run_peer_pb2.HoldRunRequest, context: Any) -> run_peer_pb2.HoldRunResponse:
        """Hear that persons of the other zone look at a run, or let it go on."""
        size = await self._federation.held(
            self._paced(context), request.run, request.held_by, request.deadline, request.ledger_size
        )
        return run_peer_pb2.HoldRunResponse(ledger_size=size)

    async def EndRun(self, request: run_peer_pb2.EndRunRequest, context: Any) -> run_peer_pb2.EndRunResponse:
        """Hear that a run has ended."""
        size = await self._federation.ended(
            self._paced(context), request.run, request.state, request.reason, request.ledger_size
        )
        return run_peer_pb2.EndRunResponse(ledger_size=size)


async def _data(requests: AsyncIterator[run_peer_pb2.ParametersPiece]) -> AsyncIterator[bytes]:
    async for piece in requests:
        if piece.statement or piece.ledger_size:
            raise InputError("only the first message has a statement")
        if len(piece.data) > limits.RUN_PIECE:
            raise LimitError(f"a piece has at most {limits.RUN_PIECE} bytes")
        yield piece.data
