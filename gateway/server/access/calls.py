"""The calls that are open now, by the certificate that opened them, and how they end before their time.

A call is ended by `context.abort` in a task of its own, so that the client gets a status and its reason; only
then is the handler's task cancelled. (Cancelling it first leaves the client without any status.)
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Collection, Iterable
from dataclasses import dataclass, field
from typing import Any, Final

import grpc
import structlog

from gateway.errors import CertificateError, PeerUnavailableError, TdzError
from gateway.identity.verifier import VerifiedPeer, Verifier
from gateway.wire.status import abort

ABORT_DEADLINE_S: Final = 1.0  # a client that does not read its stream cannot hold the handler longer
ENDLESS: Final = frozenset({"/gateway.v1.MirrorService/Push"})  # goes on until one side ends it

_log = structlog.get_logger(__name__)


@dataclass(eq=False, slots=True)
class OpenCall:
    """One call between its admission and its end."""

    method: str
    peer: VerifiedPeer
    context: grpc.aio.ServicerContext[Any, Any]
    task: asyncio.Task[Any]
    ended: bool = False


@dataclass(eq=False, slots=True)
class _Holder:
    peer: VerifiedPeer
    pem: bytes
    timer: asyncio.TimerHandle
    calls: set[OpenCall] = field(default_factory=set)


class OpenCalls:
    """The registry of open calls by fingerprint; all methods belong to the server's event loop.

    Args:
        verifier: looks at a certificate again when its zone's CA changed.
        clock: Unix seconds UTC.
        endless: methods whose calls do not end by themselves.
    """

    def __init__(self, verifier: Verifier, clock: Callable[[], float], endless: Collection[str] = ENDLESS) -> None:
        self._verifier = verifier
        self._clock = clock
        self._endless = endless
        self._left = asyncio.Event()
        self._holders: dict[str, _Holder] = {}
        self._endings: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return sum(len(holder.calls) for holder in self._holders.values())

    def open(
        self, method: str, peer: VerifiedPeer, pem: bytes, context: grpc.aio.ServicerContext[Any, Any]
    ) -> OpenCall:
        """Register a call of the current task."""
        task = asyncio.current_task()
        if task is None:
            raise TdzError("a call is opened outside of a task")
        call = OpenCall(method, peer, context, task)
        holder = self._holders.get(peer.fingerprint)
        if holder is None:
            holder = _Holder(peer, pem, self._arm(peer))
            self._holders[peer.fingerprint] = holder
        holder.calls.add(call)
        return call

    def close(self, call: OpenCall) -> None:
        """Take a call out that has ended by itself."""
        self._left.set()
        holder = self._holders.get(call.peer.fingerprint)
        if holder is None:
            return
        holder.calls.discard(call)
        if not holder.calls:
            holder.timer.cancel()
            del self._holders[call.peer.fingerprint]

    def revoked(self, fingerprints: Iterable[str]) -> None:
        """End the calls of certificates that were revoked."""
        for fingerprint in fingerprints:
            self._end(fingerprint, CertificateError("the certificate was revoked", remedy="ask an administrator"))

    def trust_changed(self, zone: str) -> None:
        """End the calls of a zone's certificates that no longer prove an identity here."""
        for fingerprint, holder in list(self._holders.items()):
            if holder.peer.identity.zone == zone:
                try:
                    self._verifier.verify(holder.pem)
                except TdzError as error:
                    self._end(fingerprint, error)

    def expire(self) -> None:
        """End the calls of certificates whose time is over; a timer does this for each when it is due."""
        for fingerprint in list(self._holders):
            self._expired(fingerprint)

    async def stop(self, server: grpc.aio.Server, grace_s: float) -> None:
        """Stop a server: calls may end by themselves within the grace; what never would is ended once it is alone."""
        draining = asyncio.create_task(self._drain(), name="drain")
        await server.stop(grace_s)  # takes no call from here on
        draining.cancel()
        await asyncio.gather(draining, return_exceptions=True)
        await self.shut()

    async def _drain(self) -> None:
        while any(call.method not in self._endless for holder in self._holders.values() for call in holder.calls):
            self._left.clear()
            await self._left.wait()
        for fingerprint in list(self._holders):
            self._end(fingerprint, PeerUnavailableError("the gateway stops"))

    async def shut(self) -> None:
        """Wait until every ending that was begun is done."""
        while self._endings:
            await asyncio.gather(*self._endings, return_exceptions=True)

    def _arm(self, peer: VerifiedPeer) -> asyncio.TimerHandle:
        due = max(0.0, peer.not_after - self._clock())
        return asyncio.get_running_loop().call_later(due, self._expired, peer.fingerprint)

    def _expired(self, fingerprint: str) -> None:
        holder = self._holders.get(fingerprint)
        if holder is None:
            return
        if self._clock() >= holder.peer.not_after:
            self._end(fingerprint, CertificateError("the certificate has expired", remedy="renew it"))
        else:
            holder.timer.cancel()
            holder.timer = self._arm(holder.peer)

    def _end(self, fingerprint: str, error: TdzError) -> None:
        holder = self._holders.get(fingerprint)
        for call in list(holder.calls) if holder is not None else ():
            if not call.ended:
                call.ended = True
                ending = asyncio.create_task(_abort(call, error), name=f"end {call.method}")
                self._endings.add(ending)
                ending.add_done_callback(self._endings.discard)


async def _abort(call: OpenCall, error: TdzError) -> None:
    level = _log.debug if isinstance(error, PeerUnavailableError) else _log.warning  # a stop is nobody's fault
    level(
        "call ended",
        method=call.method,
        zone=call.peer.identity.zone,
        role=call.peer.identity.role.value,
        fingerprint=call.peer.fingerprint,
        reason=error.reason,
    )
    try:
        async with asyncio.timeout(ABORT_DEADLINE_S):
            await abort(call.context, error)
    except (grpc.aio.AbortError, TimeoutError):
        pass
    except grpc.aio.BaseError as failure:  # it ended by itself in the meantime
        _log.debug("call had ended", method=call.method, failure=type(failure).__name__)
    finally:
        call.task.cancel()
        await asyncio.wait([call.task], timeout=ABORT_DEADLINE_S)
