from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RequestAccessRequest(_message.Message):
    __slots__ = ("resource", "purpose", "mechanisms", "request_id")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    MECHANISMS_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    resource: str
    purpose: str
    mechanisms: _containers.RepeatedScalarFieldContainer[str]
    request_id: str
    def __init__(self, resource: _Optional[str] = ..., purpose: _Optional[str] = ..., mechanisms: _Optional[_Iterable[str]] = ..., request_id: _Optional[str] = ...) -> None: ...

class AccessRequest(_message.Message):
    __slots__ = ("id", "resource", "purpose", "state", "effect", "held_by", "deadline", "findings", "decisions", "obligations", "agreement", "participant", "request_id", "created_at", "reason", "denied_by", "appeal", "appeal_deadline", "anew")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DENIED_BY_FIELD_NUMBER: _ClassVar[int]
    APPEAL_FIELD_NUMBER: _ClassVar[int]
    APPEAL_DEADLINE_FIELD_NUMBER: _ClassVar[int]
    ANEW_FIELD_NUMBER: _ClassVar[int]
    id: str
    resource: str
    purpose: str
    state: str
    effect: str
    held_by: str
    deadline: int
    findings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Finding]
    decisions: _containers.RepeatedCompositeFieldContainer[ZoneDecision]
    obligations: _containers.RepeatedScalarFieldContainer[str]
    agreement: str
    participant: str
    request_id: str
    created_at: int
    reason: str
    denied_by: str
    appeal: str
    appeal_deadline: int
    anew: str
    def __init__(self, id: _Optional[str] = ..., resource: _Optional[str] = ..., purpose: _Optional[str] = ..., state: _Optional[str] = ..., effect: _Optional[str] = ..., held_by: _Optional[str] = ..., deadline: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[_common_pb2.Finding, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[ZoneDecision, _Mapping]]] = ..., obligations: _Optional[_Iterable[str]] = ..., agreement: _Optional[str] = ..., participant: _Optional[str] = ..., request_id: _Optional[str] = ..., created_at: _Optional[int] = ..., reason: _Optional[str] = ..., denied_by: _Optional[str] = ..., appeal: _Optional[str] = ..., appeal_deadline: _Optional[int] = ..., anew: _Optional[str] = ...) -> None: ...

class ZoneDecision(_message.Message):
    __slots__ = ("zone", "effect", "decision_id", "ledger_seq")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    DECISION_ID_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SEQ_FIELD_NUMBER: _ClassVar[int]
    zone: str
    effect: str
    decision_id: str
    ledger_seq: int
    def __init__(self, zone: _Optional[str] = ..., effect: _Optional[str] = ..., decision_id: _Optional[str] = ..., ledger_seq: _Optional[int] = ...) -> None: ...

class GetRequestRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListRequestsRequest(_message.Message):
    __slots__ = ("state", "held", "page")
    STATE_FIELD_NUMBER: _ClassVar[int]
    HELD_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    state: str
    held: bool
    page: _common_pb2.Page
    def __init__(self, state: _Optional[str] = ..., held: _Optional[bool] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListRequestsResponse(_message.Message):
    __slots__ = ("requests", "next_page_token")
    REQUESTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    requests: _containers.RepeatedCompositeFieldContainer[AccessRequest]
    next_page_token: str
    def __init__(self, requests: _Optional[_Iterable[_Union[AccessRequest, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class Agreement(_message.Message):
    __slots__ = ("id", "resource", "version", "consumer", "provider", "purpose", "state", "obligations", "expires_at", "pulls_limit", "pulls_used", "envelope", "reason", "created_at")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CONSUMER_FIELD_NUMBER: _ClassVar[int]
    PROVIDER_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    PULLS_LIMIT_FIELD_NUMBER: _ClassVar[int]
    PULLS_USED_FIELD_NUMBER: _ClassVar[int]
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    id: str
    resource: str
    version: str
    consumer: str
    provider: str
    purpose: str
    state: str
    obligations: _containers.RepeatedScalarFieldContainer[str]
    expires_at: int
    pulls_limit: int
    pulls_used: int
    envelope: str
    reason: str
    created_at: int
    def __init__(self, id: _Optional[str] = ..., resource: _Optional[str] = ..., version: _Optional[str] = ..., consumer: _Optional[str] = ..., provider: _Optional[str] = ..., purpose: _Optional[str] = ..., state: _Optional[str] = ..., obligations: _Optional[_Iterable[str]] = ..., expires_at: _Optional[int] = ..., pulls_limit: _Optional[int] = ..., pulls_used: _Optional[int] = ..., envelope: _Optional[str] = ..., reason: _Optional[str] = ..., created_at: _Optional[int] = ...) -> None: ...

class GetAgreementRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class RevokeAgreementRequest(_message.Message):
    __slots__ = ("id", "note")
    ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id: str
    note: str
    def __init__(self, id: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class ListAgreementsRequest(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: _common_pb2.Page
    def __init__(self, page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListAgreementsResponse(_message.Message):
    __slots__ = ("agreements", "next_page_token")
    AGREEMENTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    agreements: _containers.RepeatedCompositeFieldContainer[Agreement]
    next_page_token: str
    def __init__(self, agreements: _Optional[_Iterable[_Union[Agreement, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class OpenTransferRequest(_message.Message):
    __slots__ = ("agreement", "transfer", "first_chunk")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    FIRST_CHUNK_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    transfer: str
    first_chunk: int
    def __init__(self, agreement: _Optional[str] = ..., transfer: _Optional[str] = ..., first_chunk: _Optional[int] = ...) -> None: ...

class OpenTransferResponse(_message.Message):
    __slots__ = ("ticket", "transfer", "schema", "rows", "bytes", "chunks", "manifest", "description")
    TICKET_FIELD_NUMBER: _ClassVar[int]
    TRANSFER_FIELD_NUMBER: _ClassVar[int]
    SCHEMA_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    MANIFEST_FIELD_NUMBER: _ClassVar[int]
    DESCRIPTION_FIELD_NUMBER: _ClassVar[int]
    ticket: bytes
    transfer: str
    schema: bytes
    rows: int
    bytes: int
    chunks: int
    manifest: bytes
    description: bytes
    def __init__(self, ticket: _Optional[bytes] = ..., transfer: _Optional[str] = ..., schema: _Optional[bytes] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., chunks: _Optional[int] = ..., manifest: _Optional[bytes] = ..., description: _Optional[bytes] = ...) -> None: ...

class Transfer(_message.Message):
    __slots__ = ("id", "agreement", "resource", "state", "version", "chunks_done", "chunks", "rows", "bytes", "reason", "deadline", "receipt", "peer_receipt", "created_at", "participant", "side")
    ID_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_DONE_FIELD_NUMBER: _ClassVar[int]
    CHUNKS_FIELD_NUMBER: _ClassVar[int]
    ROWS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    RECEIPT_FIELD_NUMBER: _ClassVar[int]
    PEER_RECEIPT_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    id: str
    agreement: str
    resource: str
    state: str
    version: str
    chunks_done: int
    chunks: int
    rows: int
    bytes: int
    reason: str
    deadline: int
    receipt: str
    peer_receipt: str
    created_at: int
    participant: str
    side: str
    def __init__(self, id: _Optional[str] = ..., agreement: _Optional[str] = ..., resource: _Optional[str] = ..., state: _Optional[str] = ..., version: _Optional[str] = ..., chunks_done: _Optional[int] = ..., chunks: _Optional[int] = ..., rows: _Optional[int] = ..., bytes: _Optional[int] = ..., reason: _Optional[str] = ..., deadline: _Optional[int] = ..., receipt: _Optional[str] = ..., peer_receipt: _Optional[str] = ..., created_at: _Optional[int] = ..., participant: _Optional[str] = ..., side: _Optional[str] = ...) -> None: ...

class GetTransferRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListTransfersRequest(_message.Message):
    __slots__ = ("agreement", "page")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    page: _common_pb2.Page
    def __init__(self, agreement: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListTransfersResponse(_message.Message):
    __slots__ = ("transfers", "next_page_token")
    TRANSFERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    transfers: _containers.RepeatedCompositeFieldContainer[Transfer]
    next_page_token: str
    def __init__(self, transfers: _Optional[_Iterable[_Union[Transfer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchTransferRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class GetTransferReceiptRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class TransferReceipt(_message.Message):
    __slots__ = ("id", "proofs", "entries", "origin", "size")
    ID_FIELD_NUMBER: _ClassVar[int]
    PROOFS_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    id: str
    proofs: bytes
    entries: int
    origin: str
    size: int
    def __init__(self, id: _Optional[str] = ..., proofs: _Optional[bytes] = ..., entries: _Optional[int] = ..., origin: _Optional[str] = ..., size: _Optional[int] = ...) -> None: ...

class ExplainTransferRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class TimelineStep(_message.Message):
    __slots__ = ("time", "zone", "ledger_seq", "kind", "subject", "said", "effect", "findings", "waiting_for", "deadline")
    TIME_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SEQ_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    SUBJECT_FIELD_NUMBER: _ClassVar[int]
    SAID_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    time: str
    zone: str
    ledger_seq: int
    kind: str
    subject: str
    said: str
    effect: str
    findings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Finding]
    waiting_for: str
    deadline: int
    def __init__(self, time: _Optional[str] = ..., zone: _Optional[str] = ..., ledger_seq: _Optional[int] = ..., kind: _Optional[str] = ..., subject: _Optional[str] = ..., said: _Optional[str] = ..., effect: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[_common_pb2.Finding, _Mapping]]] = ..., waiting_for: _Optional[str] = ..., deadline: _Optional[int] = ...) -> None: ...

class Timeline(_message.Message):
    __slots__ = ("id", "resource", "participant", "state", "reason", "steps", "cut", "waiting_for", "deadline", "next", "own_zone", "own_size", "peer_zone", "peer_size")
    ID_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    STEPS_FIELD_NUMBER: _ClassVar[int]
    CUT_FIELD_NUMBER: _ClassVar[int]
    WAITING_FOR_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    NEXT_FIELD_NUMBER: _ClassVar[int]
    OWN_ZONE_FIELD_NUMBER: _ClassVar[int]
    OWN_SIZE_FIELD_NUMBER: _ClassVar[int]
    PEER_ZONE_FIELD_NUMBER: _ClassVar[int]
    PEER_SIZE_FIELD_NUMBER: _ClassVar[int]
    id: str
    resource: str
    participant: str
    state: str
    reason: str
    steps: _containers.RepeatedCompositeFieldContainer[TimelineStep]
    cut: bool
    waiting_for: str
    deadline: int
    next: str
    own_zone: str
    own_size: int
    peer_zone: str
    peer_size: int
    def __init__(self, id: _Optional[str] = ..., resource: _Optional[str] = ..., participant: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., steps: _Optional[_Iterable[_Union[TimelineStep, _Mapping]]] = ..., cut: _Optional[bool] = ..., waiting_for: _Optional[str] = ..., deadline: _Optional[int] = ..., next: _Optional[str] = ..., own_zone: _Optional[str] = ..., own_size: _Optional[int] = ..., peer_zone: _Optional[str] = ..., peer_size: _Optional[int] = ...) -> None: ...
