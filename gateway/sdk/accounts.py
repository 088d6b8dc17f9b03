"""What a partner has of a transfer afterwards: a receipt that anybody can verify offline, and how it went."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from typing import Any, Self

from google.protobuf.message import Message

from gateway.sdk.resources import Finding, Resource
from gateway.sdk.session import Session
from gateway.v1 import exchange_pb2


@dataclass(frozen=True, slots=True)
class Receipt(Resource):
    """A file to keep: agreement and both receipts as proofs, which `tdz-ledger verify` judges with the zones' cards."""

    id: str
    proofs: bytes
    entries: int
    origin: str
    size: int

    def document(self) -> dict[str, Any]:
        """What it is, without the proofs themselves."""
        return {
            "id": self.id,
            "entries": self.entries,
            "origin": self.origin,
            "size": self.size,
            "bytes": len(self.proofs),
        }


@dataclass(frozen=True, slots=True)
class TimelineStep(Resource):
    """One entry of a ledger, told in a sentence."""

    time: str
    zone: str
    ledger_seq: int
    kind: str
    subject: str
    said: str
    effect: str
    findings: tuple[Finding, ...]
    waiting_for: str
    deadline: int


@dataclass(frozen=True, slots=True)
class Timeline(Resource):
    """How something went by both ledgers, and where it stands; `next` is the command to type."""

    id: str
    resource: str
    participant: str
    state: str
    reason: str
    steps: tuple[TimelineStep, ...]
    cut: bool
    waiting_for: str
    deadline: int
    next: str
    own_zone: str
    own_size: int
    peer_zone: str
    peer_size: int

    @classmethod
    def of(cls, message: Message) -> Self:
        """Read the wire form."""
        values = {field.name: getattr(message, field.name) for field in dataclasses.fields(cls)}
        return cls(**{**values, "steps": tuple(TimelineStep.of(step) for step in values["steps"])})


async def fetch_receipt(session: Session, transfer: str) -> Receipt:
    """The receipt of a completed transfer, by `transfers/{id}` or its id.

    Raises:
        NotFoundError: it is none of the caller's.
        ConflictError: it has not both receipts.
        PeerUnavailableError: the other zone has not cosigned it yet; try again.
    """
    message = exchange_pb2.GetTransferReceiptRequest(id=transfer.removeprefix("transfers/"))
    return Receipt.of(await session.call(session.exchange.GetTransferReceipt, message))


async def fetch_timeline(session: Session, what: str) -> Timeline:
    """How a request, an agreement or a transfer went, by `transfers/{id}` and so on or its id.

    Raises:
        NotFoundError: it is none of the caller's.
    """
    message = exchange_pb2.ExplainTransferRequest(id=what)
    return Timeline.of(await session.call(session.exchange.ExplainTransfer, message))
