from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PairOutcome(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    PAIR_OUTCOME_UNSPECIFIED: _ClassVar[PairOutcome]
    PAIR_OUTCOME_PAIRED: _ClassVar[PairOutcome]
    PAIR_OUTCOME_REPLACED: _ClassVar[PairOutcome]
    PAIR_OUTCOME_UNCHANGED: _ClassVar[PairOutcome]
    PAIR_OUTCOME_CONFIRM: _ClassVar[PairOutcome]

class ScreeningResult(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SCREENING_RESULT_UNSPECIFIED: _ClassVar[ScreeningResult]
    SCREENING_RESULT_CLEAR: _ClassVar[ScreeningResult]
    SCREENING_RESULT_HIT: _ClassVar[ScreeningResult]
    SCREENING_RESULT_UNKNOWN: _ClassVar[ScreeningResult]
PAIR_OUTCOME_UNSPECIFIED: PairOutcome
PAIR_OUTCOME_PAIRED: PairOutcome
PAIR_OUTCOME_REPLACED: PairOutcome
PAIR_OUTCOME_UNCHANGED: PairOutcome
PAIR_OUTCOME_CONFIRM: PairOutcome
SCREENING_RESULT_UNSPECIFIED: ScreeningResult
SCREENING_RESULT_CLEAR: ScreeningResult
SCREENING_RESULT_HIT: ScreeningResult
SCREENING_RESULT_UNKNOWN: ScreeningResult

class GetZoneCardRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class ZoneCard(_message.Message):
    __slots__ = ("card", "fingerprint")
    CARD_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    card: bytes
    fingerprint: str
    def __init__(self, card: _Optional[bytes] = ..., fingerprint: _Optional[str] = ...) -> None: ...

class PairRequest(_message.Message):
    __slots__ = ("card", "fingerprint", "confirm")
    CARD_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    CONFIRM_FIELD_NUMBER: _ClassVar[int]
    card: bytes
    fingerprint: str
    confirm: bool
    def __init__(self, card: _Optional[bytes] = ..., fingerprint: _Optional[str] = ..., confirm: _Optional[bool] = ...) -> None: ...

class PairResponse(_message.Message):
    __slots__ = ("outcome", "peer", "changed")
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    PEER_FIELD_NUMBER: _ClassVar[int]
    CHANGED_FIELD_NUMBER: _ClassVar[int]
    outcome: PairOutcome
    peer: Peer
    changed: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, outcome: _Optional[_Union[PairOutcome, str]] = ..., peer: _Optional[_Union[Peer, _Mapping]] = ..., changed: _Optional[_Iterable[str]] = ...) -> None: ...

class UnpairRequest(_message.Message):
    __slots__ = ("zone",)
    ZONE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    def __init__(self, zone: _Optional[str] = ...) -> None: ...

class UnpairResponse(_message.Message):
    __slots__ = ("unpaired_at",)
    UNPAIRED_AT_FIELD_NUMBER: _ClassVar[int]
    unpaired_at: int
    def __init__(self, unpaired_at: _Optional[int] = ...) -> None: ...

class Peer(_message.Message):
    __slots__ = ("zone", "jurisdiction", "endpoint", "origin", "fingerprint", "serial", "paired_at", "reachable", "detail")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    PAIRED_AT_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    zone: str
    jurisdiction: str
    endpoint: str
    origin: str
    fingerprint: str
    serial: int
    paired_at: int
    reachable: bool
    detail: str
    def __init__(self, zone: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., endpoint: _Optional[str] = ..., origin: _Optional[str] = ..., fingerprint: _Optional[str] = ..., serial: _Optional[int] = ..., paired_at: _Optional[int] = ..., reachable: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class GetStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class Witness(_message.Message):
    __slots__ = ("name", "url", "vkey", "size", "cosigned_at", "needed", "reachable", "detail")
    NAME_FIELD_NUMBER: _ClassVar[int]
    URL_FIELD_NUMBER: _ClassVar[int]
    VKEY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_AT_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    REACHABLE_FIELD_NUMBER: _ClassVar[int]
    DETAIL_FIELD_NUMBER: _ClassVar[int]
    name: str
    url: str
    vkey: str
    size: int
    cosigned_at: int
    needed: bool
    reachable: bool
    detail: str
    def __init__(self, name: _Optional[str] = ..., url: _Optional[str] = ..., vkey: _Optional[str] = ..., size: _Optional[int] = ..., cosigned_at: _Optional[int] = ..., needed: _Optional[bool] = ..., reachable: _Optional[bool] = ..., detail: _Optional[str] = ...) -> None: ...

class TimeStamps(_message.Message):
    __slots__ = ("authority", "size", "stamped_at", "judged", "failure")
    AUTHORITY_FIELD_NUMBER: _ClassVar[int]
    SIZE_FIELD_NUMBER: _ClassVar[int]
    STAMPED_AT_FIELD_NUMBER: _ClassVar[int]
    JUDGED_FIELD_NUMBER: _ClassVar[int]
    FAILURE_FIELD_NUMBER: _ClassVar[int]
    authority: str
    size: int
    stamped_at: int
    judged: bool
    failure: str
    def __init__(self, authority: _Optional[str] = ..., size: _Optional[int] = ..., stamped_at: _Optional[int] = ..., judged: _Optional[bool] = ..., failure: _Optional[str] = ...) -> None: ...

class ZoneStatus(_message.Message):
    __slots__ = ("zone", "jurisdiction", "endpoint", "origin", "card_fingerprint", "peers", "ledger_size", "witnessed_size", "certificate_not_after", "now", "witnesses", "timestamps")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    JURISDICTION_FIELD_NUMBER: _ClassVar[int]
    ENDPOINT_FIELD_NUMBER: _ClassVar[int]
    ORIGIN_FIELD_NUMBER: _ClassVar[int]
    CARD_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    PEERS_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    WITNESSED_SIZE_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    NOW_FIELD_NUMBER: _ClassVar[int]
    WITNESSES_FIELD_NUMBER: _ClassVar[int]
    TIMESTAMPS_FIELD_NUMBER: _ClassVar[int]
    zone: str
    jurisdiction: str
    endpoint: str
    origin: str
    card_fingerprint: str
    peers: _containers.RepeatedCompositeFieldContainer[Peer]
    ledger_size: int
    witnessed_size: int
    certificate_not_after: int
    now: int
    witnesses: _containers.RepeatedCompositeFieldContainer[Witness]
    timestamps: TimeStamps
    def __init__(self, zone: _Optional[str] = ..., jurisdiction: _Optional[str] = ..., endpoint: _Optional[str] = ..., origin: _Optional[str] = ..., card_fingerprint: _Optional[str] = ..., peers: _Optional[_Iterable[_Union[Peer, _Mapping]]] = ..., ledger_size: _Optional[int] = ..., witnessed_size: _Optional[int] = ..., certificate_not_after: _Optional[int] = ..., now: _Optional[int] = ..., witnesses: _Optional[_Iterable[_Union[Witness, _Mapping]]] = ..., timestamps: _Optional[_Union[TimeStamps, _Mapping]] = ...) -> None: ...

class Participant(_message.Message):
    __slots__ = ("uri", "exporter", "recipient", "updated_at")
    URI_FIELD_NUMBER: _ClassVar[int]
    EXPORTER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    uri: str
    exporter: str
    recipient: str
    updated_at: int
    def __init__(self, uri: _Optional[str] = ..., exporter: _Optional[str] = ..., recipient: _Optional[str] = ..., updated_at: _Optional[int] = ...) -> None: ...

class PutParticipantRequest(_message.Message):
    __slots__ = ("id", "exporter", "recipient")
    ID_FIELD_NUMBER: _ClassVar[int]
    EXPORTER_FIELD_NUMBER: _ClassVar[int]
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    id: str
    exporter: str
    recipient: str
    def __init__(self, id: _Optional[str] = ..., exporter: _Optional[str] = ..., recipient: _Optional[str] = ...) -> None: ...

class GetParticipantRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListParticipantsRequest(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: _common_pb2.Page
    def __init__(self, page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListParticipantsResponse(_message.Message):
    __slots__ = ("participants", "next_page_token")
    PARTICIPANTS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    participants: _containers.RepeatedCompositeFieldContainer[Participant]
    next_page_token: str
    def __init__(self, participants: _Optional[_Iterable[_Union[Participant, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class ScreenParticipantRequest(_message.Message):
    __slots__ = ("id", "list_revision", "result")
    ID_FIELD_NUMBER: _ClassVar[int]
    LIST_REVISION_FIELD_NUMBER: _ClassVar[int]
    RESULT_FIELD_NUMBER: _ClassVar[int]
    id: str
    list_revision: str
    result: ScreeningResult
    def __init__(self, id: _Optional[str] = ..., list_revision: _Optional[str] = ..., result: _Optional[_Union[ScreeningResult, str]] = ...) -> None: ...
