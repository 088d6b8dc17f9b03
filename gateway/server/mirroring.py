"""Pushing this zone's log to a paired gateway's mirror, and taking the paired gateway's log into ours."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any, Final

import grpc
import structlog

from gateway.errors import (
    ForkError,
    InputError,
    MirrorFullError,
    PeerError,
    PeerUnavailableError,
    RolledBackError,
    TdzError,
)
from gateway.journal import Journal, PeerMirror
from gateway.model import limits
from gateway.server.access import caller
from gateway.v1 import ledger_pb2, ledger_pb2_grpc
from gateway.wire.channel import end_of
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
            failure = await self._push()
            wait = _RETRY_S if self.connected else min(2 * wait, _RETRY_MAX_S)
            self.connected = False
            if isinstance(failure, ForkError):
                self._journal.frozen_by(self._zone, failure.message)
            full = isinstance(failure, MirrorFullError)
            if full:
                self._journal.mirror_full(self._zone, failure.message)
            away = isinstance(failure, PeerUnavailableError) and not full
            level = _log.debug if away else _log.warning
            level("mirror stream ended", zone=self._zone, reason=failure.reason, error=failure.message)
            if not away:
                wait = _RETRY_MAX_S  # refused: asking again at once changes nothing
            await asyncio.sleep(wait)

    async def _push(self) -> TdzError:
        """One stream until it breaks; returns why it did, whatever it was: the next one must be opened."""
        stream = self._stub.Push()
        ended = end_of(stream)
        session = asyncio.create_task(self._session(stream), name=f"mirror-session-{self._zone}")
        try:
            # The stream's end is watched too: with nothing to push, nobody else would notice it.
            await asyncio.wait({session, ended}, return_when=asyncio.FIRST_COMPLETED)
            if not session.done():
                return await self._why(ended)
            session.result()
            return self._closed()
        except (grpc.aio.AioRpcError, asyncio.InvalidStateError):
            return await self._why(ended)
        except TdzError as error:
            return error
        except asyncio.CancelledError:
            if not session.cancelled():
                raise
            return PeerUnavailableError(f"the connection to {self._zone} was closed")
        except Exception as error:
            _log.exception("mirror stream failed", zone=self._zone)
            return TdzError(f"internal error while pushing: {type(error).__name__}")
        finally:
            stream.cancel()
            session.cancel()
            ended.cancel()
            await asyncio.gather(session, return_exceptions=True)

    async def _why(self, ended: asyncio.Future[grpc.aio.AioRpcError]) -> TdzError:
        """What the mirror ended the stream with; the write or read that failed may not say it."""
        error = await ended
        return self._closed() if error.code() is grpc.StatusCode.OK else from_rpc(error)

    def _closed(self) -> TdzError:
        return PeerUnavailableError(f"the mirror in {self._zone} closed the stream")

    async def _session(self, stream: Any) -> None:
        state = (await self._answer(stream)).state
        size = state.size
        try:
            ours = await self._journal.check_held(f"the gateway of {self._zone}", state.note)
        except RolledBackError:
            await self._show(stream, size)
            raise
        if state.note and not ours:
            raise PeerError(
                f"{self._zone} mirrors another ledger of this zone",
                remedy="its administrator admits this zone's newest card: `tdz zone pair`",
            )
        self.connected = True
        fresh = True  # ask for a cosignature even at an equal size: it says that they still hold it
        while True:
            if not fresh:
                await self._journal.newer(size)
            fresh = False
            if self._journal.committed_size < size:
                raise PeerError(f"the mirror in {self._zone} holds {size} entries of ours, we have fewer")
            batch = await self._journal.since(size, _BATCH_BYTES)
            request = ledger_pb2.PushRequest(
                begin=ledger_pb2.PushBegin(note=batch.note, old_size=size, proof=batch.proof),
                entries=ledger_pb2.PushEntries(start=size, entries=batch.entries),
            )
            start = size + len(batch.entries)
            while start < batch.size:  # what does not fit one message
                await stream.write(request)
                entries = await self._journal.entries(start, batch.size, _BATCH_BYTES)
                request = ledger_pb2.PushRequest(entries=ledger_pb2.PushEntries(start=start, entries=entries))
                start += len(entries)
            request.finish = True
            await stream.write(request)
            cosigned = (await self._answer(stream)).cosigned
            if cosigned.size != batch.size:
                raise PeerError(f"the mirror in {self._zone} cosigned another size than was sent")
            await self._journal.add_cosignature(batch.text, cosigned.line, zone=self._zone)
            size = batch.size

    async def _show(self, stream: Any, size: int) -> None:
        """Our ledger was rolled back or forked: show the mirror what we signed, so that it can judge."""
        old = min(size, self._journal.size)
        batch = await self._journal.since(old, 1)
        begin = ledger_pb2.PushBegin(
            note=batch.note, old_size=old, proof=batch.proof, own_root=await self._journal.root_at(old)
        )
        await stream.write(ledger_pb2.PushRequest(begin=begin))
        await self._answer(stream)

    async def _answer(self, stream: Any) -> ledger_pb2.PushResponse:
        try:
            async with asyncio.timeout(limits.RPC_DEADLINE_S):
                answer = await stream.read()
        except TimeoutError as error:
            raise PeerUnavailableError(f"the mirror in {self._zone} does not answer") from error
        if answer is grpc.aio.EOF:
            raise self._closed()
        found: ledger_pb2.PushResponse = answer
        return found


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
        yield _answer(mirror)
        async for request in request_iterator:
            if self._newest.get(zone) is not mine:
                raise PeerUnavailableError("a newer stream took the place of this one")
            begin, sent = request.begin, request.entries
            if len(begin.proof) > _PROOF_MAX:
                raise InputError("a consistency proof has at most 63 hashes")
            if request.HasField("begin") and request.finish:
                line = await mirror.take(begin.note, begin.old_size, list(begin.proof), sent.start, list(sent.entries))
            else:
                if request.HasField("begin"):
                    await mirror.begin(begin.note, begin.old_size, list(begin.proof), begin.own_root)
                if request.HasField("entries"):
                    await mirror.receive(sent.start, list(sent.entries))
                if not request.finish:
                    continue
                line = await mirror.finish()
            answer = _answer(mirror)
            answer.cosigned.size = mirror.size
            answer.cosigned.line = line
            yield answer

    async def GetHeld(self, request: ledger_pb2.GetHeldRequest, context: Any) -> ledger_pb2.GetHeldResponse:
        """What is held of the caller's log."""
        zone = caller(context).identity.zone
        mirror = self._journal.mirror(zone)
        frozen = mirror.frozen
        _log.info("a paired zone asks what is held of its ledger", zone=zone, size=mirror.size, frozen=bool(frozen))
        return ledger_pb2.GetHeldResponse(
            note=mirror.note, pending=mirror.pending, frozen="" if frozen is None else frozen.reason
        )

    async def Fetch(self, request: ledger_pb2.FetchRequest, context: Any) -> AsyncIterator[ledger_pb2.FetchResponse]:
        """The mirrored entries of the caller's log."""
        mirror = self._journal.mirror(caller(context).identity.zone)
        start, stop = request.start, mirror.size
        if start < 0:
            raise InputError("entries begin at 0")
        while start < stop:
            entries = await mirror.read(start, stop, _BATCH_BYTES)
            yield ledger_pb2.FetchResponse(start=start, entries=entries)
            start += len(entries)


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


def _answer(mirror: PeerMirror) -> ledger_pb2.PushResponse:
    return ledger_pb2.PushResponse(state=ledger_pb2.MirrorState(size=mirror.size, have=mirror.have, note=mirror.note))
