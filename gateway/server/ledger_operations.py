"""LedgerOperationsService: what administrators do to the zone's own log while its gateway runs.

Who asked stands on the ledger, as the fingerprint of a certificate, in an entry `approval`: before a rotation or an
erasure; behind the entry of an accepted clock, since nothing can be recorded before.
"""

from __future__ import annotations

from typing import TYPE_CHECKING, Any, Final

import structlog

from gateway.errors import ConflictError, InputError
from gateway.identity.approvals import Approvals, note_values
from gateway.model.canonical import JsonValue
from gateway.model.ids import uuid7
from gateway.server import log_key
from gateway.server.identity_service import actor
from gateway.v1 import ledger_pb2, ledger_pb2_grpc
from ledger.note import NoteSigner

if TYPE_CHECKING:
    from gateway.server.main import Gateway

_log = structlog.get_logger()
_SEQ_MAX: Final = (1 << 53) - 1


class LedgerOperationsService(ledger_pb2_grpc.LedgerOperationsServiceServicer):
    """Handlers; who may call them is declared in `gateway.server.access.roles`.

    A caller that goes away does not stop an act that was begun.

    Args:
        gateway: whose log, key files and card these are.
        approvals: of what needs two administrators.
    """

    def __init__(self, gateway: Gateway, approvals: Approvals) -> None:
        self._gateway = gateway
        self._journal = gateway.house.journal
        self._approvals = approvals
        # One after another, with the registers' steps, and awaited when the gateway stops.
        self._whole = gateway.registry.steps.exclusively

    async def RotateKey(self, request: ledger_pb2.RotateKeyRequest, context: Any) -> ledger_pb2.RotateKeyResponse:
        """Another key signs the log from now on; see `gateway.server.log_key` for the steps."""
        values = note_values(request.note)
        by = actor(context).fingerprint
        return await self._whole(lambda: self._rotate(request.replaces, values, by))

    async def _rotate(self, replaces: str, values: dict[str, JsonValue], by: str) -> ledger_pb2.RotateKeyResponse:
        journal, gateway = self._journal, self._gateway
        known = journal.writer.keys.vkeys
        if replaces != known[-1] and replaces not in known[-2:-1]:
            raise ConflictError("another key signs the ledger than the one to be replaced", remedy="look again")
        if replaces == known[-1] and gateway.card.card.log == known[-1]:
            journal.require_rotatable()

        async def introduce(new: NoteSigner) -> None:
            body: dict[str, JsonValue] = {"what": "key.rotated", "old": replaces, "new": new.vkey, "by": by}
            await journal.record("approval", "log", body, entry_id=uuid7(), closing=True, values=values)
            await journal.rotate(new)

        if replaces == known[-1] or gateway.card.card.log != known[-1]:
            gateway.card = await log_key.rotate(gateway.settings, lambda: journal.vkey, introduce)
            _log.info("another key signs the ledger", vkey=journal.vkey, card=gateway.card.fingerprint)
        return ledger_pb2.RotateKeyResponse(
            vkey=journal.vkey,
            card=gateway.card.data,
            fingerprint=gateway.card.fingerprint,
            finished=journal.finished,
        )

    async def EraseValue(self, request: ledger_pb2.EraseValueRequest, context: Any) -> ledger_pb2.EraseValueResponse:
        """Erase a value once two administrators have asked for it."""
        if not 0 <= request.seq <= _SEQ_MAX:
            raise InputError("an entry's number is not negative", remedy="tdz-ledger show")
        entry, pointer = await self._journal.kept(request.seq, request.field)
        act: dict[str, JsonValue] = {"entry": entry.id, "seq": entry.seq, "field": pointer}
        waiting = await self._approvals.give("erasure", entry.subject, act, by=actor(context), note=request.note)
        if waiting is not None:
            return ledger_pb2.EraseValueResponse(missing=waiting.missing, expires_at=waiting.expires_at)
        erasure = await self._whole(lambda: self._erase(entry.seq, pointer, act))
        return ledger_pb2.EraseValueResponse(erasure=erasure)

    async def _erase(self, seq: int, pointer: str, act: dict[str, JsonValue]) -> int:
        erased = await self._journal.erase(seq, pointer)
        await self._approvals.done("erasure", act)
        _log.info("a value of the ledger is erased", entry=seq, field=pointer, erasure=erased.seq)
        return erased.seq

    async def AcceptClock(self, request: ledger_pb2.AcceptClockRequest, context: Any) -> ledger_pb2.AcceptClockResponse:
        """Go on by the clock."""
        values = note_values(request.note)
        by = actor(context).fingerprint
        return ledger_pb2.AcceptClockResponse(seq=await self._whole(lambda: self._accept(values, by)))

    async def _accept(self, values: dict[str, JsonValue], by: str) -> int:
        accepted = await self._journal.accept_clock()
        body: dict[str, JsonValue] = {"what": "clock.corrected", "seq": accepted.seq, "by": by}
        await self._journal.record("approval", "log", body, entry_id=uuid7(), closing=True, values=values)
        _log.warning("the clock is accepted", entry=accepted.seq)
        return accepted.seq
