"""Pushing this zone's log to a paired gateway's mirror, and taking the paired gateway's log into ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import structlog

from gateway.errors import InputError, PeerError, PeerUnavailableError, TdzError
from gateway.journal import Journal
from gateway.model import limits
from gateway.server.access import caller
from gateway.v1 import ledger_pb2, ledger_pb2_grpc
from gateway.wire.status import from_rpc

_log = structlog.get_logger()
_BATCH_BYTES: Final = 768 * limits.KIB
_PROOF_MAX: Final = 63
_RETRY_S: Final = 0.1
_RETRY_MAX_S: Final = 5.0


class MirrorPusher:
    """Keeps one paired zone's mirror of our log up to date; newest checkpoint wins.

    Args:
        zone: the paired zone.
        journal: our log.
        channel: a connection of its own.
    """

    def __init__(self, zone: str, journal: Journal, channel: grpc.aio.Channel) -> None:
        self._zone = zone
        self._journal = journal
        self._stub: Any = ledger_pb2_grpc.MirrorServiceStub(channel)
        self.connected = False

    async def run(self) -> None:
        """Push until cancelled; a broken stream is opened again."""
        wait = _RETRY_S
        while True:
            stream = self._stub.Push()
            try:
                await self._session(stream)
            except grpc.aio.AioRpcError as error:
                failure: TdzError = from_rpc(error)
            except TdzError as error:
                failure = error
            finally:
                stream.cancel()
            wait = _RETRY_S if self.connected else min(2 * wait, _RETRY_MAX_S)
            self.connected = False
            level = _log.debug if isinstance(failure, PeerUnavailableError) else _log.warning
            level("mirror stream ended", zone=self._zone, reason=failure.reason, error=failure.message)
            if not isinstance(failure, PeerUnavailableError):
                wait = _RETRY_MAX_S  # refused: asking again at once changes nothing
            await asyncio.sleep(wait)

    async def _session(self, stream: Any) -> None:
        state = await self._answer(stream, "state")
        size, have = state.size, state.have
        self.connected = True
        fresh = self._journal.witnessed_size < self._journal.size  # ask for a cosignature even at an equal size
        while True:
            target, text, note = await self._journal.newer(size, same=fresh)
            fresh = False
            if target < size:
                raise PeerError(f"the mirror in {self._zone} holds {size} entries of ours, we have {target}")
            proof = await self._journal.consistency(size, target)
            await stream.write(
                ledger_pb2.PushRequest(begin=ledger_pb2.PushBegin(note=note, old_size=size, proof=proof))
            )
            start = max(size, have)
            while start < target:
                entries = await self._journal.entries(start, target, _BATCH_BYTES)
                await stream.write(ledger_pb2.PushRequest(entries=ledger_pb2.PushEntries(start=start, entries=entries)))
                start += len(entries)
            await stream.write(ledger_pb2.PushRequest(finish=ledger_pb2.PushFinish()))
            await self._answer(stream, "state")
            cosigned = await self._answer(stream, "cosigned")
            if cosigned.size != target:
                raise PeerError(f"the mirror in {self._zone} cosigned another size than was sent")
            await self._journal.add_cosignature(text, cosigned.line)
            size = have = target

    async def _answer(self, stream: Any, kind: str) -> Any:
        try:
            async with asyncio.timeout(limits.RPC_DEADLINE_S):
                answer = await stream.read()
        except TimeoutError as error:
            raise PeerUnavailableError(f"the mirror in {self._zone} does not answer") from error
        if answer is grpc.aio.EOF:
            raise PeerUnavailableError(f"the mirror in {self._zone} closed the stream")
        if answer.WhichOneof("answer") != kind:
            raise PeerError(f"the mirror in {self._zone} answers out of turn")
        return getattr(answer, kind)


class MirrorService(ledger_pb2_grpc.MirrorServiceServicer):
    """Takes the paired zones' logs: verify, keep, fsync, then cosign."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal
        self._newest: dict[str, object] = {}

    async def Push(
        self, request_iterator: AsyncIterator[ledger_pb2.PushRequest], context: Any
    ) -> AsyncIterator[ledger_pb2.PushResponse]:
        """One stream of a paired gateway; a newer one of the same zone takes its place."""
        zone = caller(context).identity.zone
        mirror = self._journal.mirror(zone)
        mine = self._newest[zone] = object()
        yield _state(mirror.size, mirror.have)
        async for request in request_iterator:
            if self._newest.get(zone) is not mine:
                raise PeerUnavailableError("a newer stream took the place of this one")
            match request.WhichOneof("step"):
                case "begin":
                    begin = request.begin
                    if len(begin.proof) > _PROOF_MAX:
                        raise InputError("a consistency proof has at most 63 hashes")
                    have = await mirror.begin(begin.note, begin.old_size, list(begin.proof))
                    yield _state(mirror.size, have)
                case "entries":
                    await mirror.receive(request.entries.start, list(request.entries.entries))
                case "finish":
                    line = await mirror.finish()
                    yield ledger_pb2.PushResponse(cosigned=ledger_pb2.Cosigned(size=mirror.size, line=line))
                case _:
                    raise InputError("a push has a step that is unknown here")


class LedgerService(ledger_pb2_grpc.LedgerServiceServicer):
    """What anybody with a certificate of this zone may read of its log."""

    def __init__(self, journal: Journal) -> None:
        self._journal = journal

    async def GetHead(self, request: ledger_pb2.GetHeadRequest, context: Any) -> ledger_pb2.GetHeadResponse:
        """The newest witnessed checkpoint."""
        return ledger_pb2.GetHeadResponse(
            note=self._journal.head().encode(),
            vkey=self._journal.vkey,
            published_size=self._journal.size,
        )


def _state(size: int, have: int) -> ledger_pb2.PushResponse:
    return ledger_pb2.PushResponse(state=ledger_pb2.MirrorState(size=size, have=have))
