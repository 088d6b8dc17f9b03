from gateway.v1 import flight_pb2 as _flight_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class HelloRequest(_message.Message):
    __slots__ = ("time_ms", "ledger_size", "version")
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    time_ms: int
    ledger_size: int
    version: str
    def __init__(self, time_ms: _Optional[int] = ..., ledger_size: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class HelloResponse(_message.Message):
    __slots__ = ("time_ms", "ledger_size", "version")
    TIME_MS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    time_ms: int
    ledger_size: int
    version: str
    def __init__(self, time_ms: _Optional[int] = ..., ledger_size: _Optional[int] = ..., version: _Optional[str] = ...) -> None: ...

class ListCardsRequest(_message.Message):
    __slots__ = ("after",)
    AFTER_FIELD_NUMBER: _ClassVar[int]
    after: str
    def __init__(self, after: _Optional[str] = ...) -> None: ...

class ListCardsResponse(_message.Message):
    __slots__ = ("cards", "next")
    CARDS_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    cards: _containers.RepeatedScalarFieldContainer[str]
    next: str
    def __init__(self, cards: _Optional[_Iterable[str]] = ..., next: _Optional[str] = ...) -> None: ...

class GetCardRequest(_message.Message):
    __slots__ = ("resource",)
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    resource: str
    def __init__(self, resource: _Optional[str] = ...) -> None: ...

class GetCardResponse(_message.Message):
    __slots__ = ("card",)
    CARD_FIELD_NUMBER: _ClassVar[int]
    card: str
    def __init__(self, card: _Optional[str] = ...) -> None: ...

class NegotiateRequest(_message.Message):
    __slots__ = ("envelope", "ledger_size")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    envelope: str
    ledger_size: int
    def __init__(self, envelope: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class NegotiateResponse(_message.Message):
    __slots__ = ("decision", "offer", "ledger_size")
    DECISION_FIELD_NUMBER: _ClassVar[int]
    OFFER_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    decision: str
    offer: str
    ledger_size: int
    def __init__(self, decision: _Optional[str] = ..., offer: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class ConfirmRequest(_message.Message):
    __slots__ = ("agreement", "ledger_size")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    ledger_size: int
    def __init__(self, agreement: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class ConfirmResponse(_message.Message):
    __slots__ = ("ticket", "ticket_until", "ledger_size")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    TICKET_UNTIL_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    ticket: str
    ticket_until: int
    ledger_size: int
    def __init__(self, ticket: _Optional[str] = ..., ticket_until: _Optional[int] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class IssueTicketRequest(_message.Message):
    __slots__ = ("agreement", "transfer")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    transfer: str
    def __init__(self, agreement: _Optional[str] = ..., transfer: _Optional[str] = ...) -> None: ...

class IssueTicketResponse(_message.Message):
    __slots__ = ("ticket", "ticket_until")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    TICKET_UNTIL_FIELD_NUMBER: _ClassVar[int]
    ticket: str
    ticket_until: int
    def __init__(self, ticket: _Optional[str] = ..., ticket_until: _Optional[int] = ...) -> None: ...

class ReadRequest(_message.Message):
    __slots__ = ("ticket", "transfer", "first_chunk", "ledger_size")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    FIRST_CHUNK_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    ticket: str
    transfer: str
    first_chunk: int
    ledger_size: int
    def __init__(self, ticket: _Optional[str] = ..., transfer: _Optional[str] = ..., first_chunk: _Optional[int] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class DeliverReceiptRequest(_message.Message):
    __slots__ = ("receipt", "ledger_size")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    receipt: str
    ledger_size: int
    def __init__(self, receipt: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class DeliverReceiptResponse(_message.Message):
    __slots__ = ("receipt", "ledger_size")
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    receipt: str
    ledger_size: int
    def __init__(self, receipt: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class AbortRequest(_message.Message):
    __slots__ = ("transfer", "reason", "ledger_size")
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    transfer: str
    reason: str
    ledger_size: int
    def __init__(self, transfer: _Optional[str] = ..., reason: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class AbortResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ReviewedRequest(_message.Message):
    __slots__ = ("negotiation", "decision", "ledger_size", "review")
    NEGOTIATION_FIELD_NUMBER: _ClassVar[int]
    DECISION_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    negotiation: str
    decision: str
    ledger_size: int
    review: str
    def __init__(self, negotiation: _Optional[str] = ..., decision: _Optional[str] = ..., ledger_size: _Optional[int] = ..., review: _Optional[str] = ...) -> None: ...

class ReviewedResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class AppealRequest(_message.Message):
    __slots__ = ("envelope", "ledger_size")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    envelope: str
    ledger_size: int
    def __init__(self, envelope: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class AppealResponse(_message.Message):
    __slots__ = ("deadline", "review")
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REVIEW_FIELD_NUMBER: _ClassVar[int]
    deadline: int
    review: str
    def __init__(self, deadline: _Optional[int] = ..., review: _Optional[str] = ...) -> None: ...

class EndAgreementRequest(_message.Message):
    __slots__ = ("agreement", "envelope", "ledger_size")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    envelope: str
    ledger_size: int
    def __init__(self, agreement: _Optional[str] = ..., envelope: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class EndAgreementResponse(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PreviewRequest(_message.Message):
    __slots__ = ("envelope",)
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    envelope: str
    def __init__(self, envelope: _Optional[str] = ...) -> None: ...

class PreviewResponse(_message.Message):
    __slots__ = ("decisions",)
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    decisions: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, decisions: _Optional[_Iterable[str]] = ...) -> None: ...
