from gateway.v1 import common_pb2 as _common_pb2
from gateway.v1 import exchange_pb2 as _exchange_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class StartRunRequest(_message.Message):
    __slots__ = ("spec", "request_id")
    SPEC_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    spec: bytes
    request_id: str
    def __init__(self, spec: _Optional[bytes] = ..., request_id: _Optional[str] = ...) -> None: ...

class Run(_message.Message):
    __slots__ = ("id", "name", "state", "side", "participant", "peer_zone", "app", "strategy", "round", "rounds", "datasets", "history", "bytes_out", "bytes_in", "findings", "decisions", "reason", "deadline", "request_id", "created_at", "updated_at", "outcome", "model", "agreement", "held_by")
    ID_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    SIDE_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    PEER_ZONE_FIELD_NUMBER: _ClassVar[int]
    APP_FIELD_NUMBER: _ClassVar[int]
    STRATEGY_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ROUNDS_FIELD_NUMBER: _ClassVar[int]
    DATASETS_FIELD_NUMBER: _ClassVar[int]
    HISTORY_FIELD_NUMBER: _ClassVar[int]
    BYTES_OUT_FIELD_NUMBER: _ClassVar[int]
    BYTES_IN_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    REQUEST_ID_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    UPDATED_AT_FIELD_NUMBER: _ClassVar[int]
    OUTCOME_FIELD_NUMBER: _ClassVar[int]
    MODEL_FIELD_NUMBER: _ClassVar[int]
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_FIELD_NUMBER: _ClassVar[int]
    id: str
    name: str
    state: str
    side: str
    participant: str
    peer_zone: str
    app: str
    strategy: str
    round: int
    rounds: int
    datasets: _containers.RepeatedCompositeFieldContainer[RunDataset]
    history: _containers.RepeatedCompositeFieldContainer[RunRound]
    bytes_out: int
    bytes_in: int
    findings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Finding]
    decisions: _containers.RepeatedCompositeFieldContainer[_exchange_pb2.ZoneDecision]
    reason: str
    deadline: int
    request_id: str
    created_at: int
    updated_at: int
    outcome: str
    model: str
    agreement: str
    held_by: str
    def __init__(self, id: _Optional[str] = ..., name: _Optional[str] = ..., state: _Optional[str] = ..., side: _Optional[str] = ..., participant: _Optional[str] = ..., peer_zone: _Optional[str] = ..., app: _Optional[str] = ..., strategy: _Optional[str] = ..., round: _Optional[int] = ..., rounds: _Optional[int] = ..., datasets: _Optional[_Iterable[_Union[RunDataset, _Mapping]]] = ..., history: _Optional[_Iterable[_Union[RunRound, _Mapping]]] = ..., bytes_out: _Optional[int] = ..., bytes_in: _Optional[int] = ..., findings: _Optional[_Iterable[_Union[_common_pb2.Finding, _Mapping]]] = ..., decisions: _Optional[_Iterable[_Union[_exchange_pb2.ZoneDecision, _Mapping]]] = ..., reason: _Optional[str] = ..., deadline: _Optional[int] = ..., request_id: _Optional[str] = ..., created_at: _Optional[int] = ..., updated_at: _Optional[int] = ..., outcome: _Optional[str] = ..., model: _Optional[str] = ..., agreement: _Optional[str] = ..., held_by: _Optional[str] = ...) -> None: ...

class RunDataset(_message.Message):
    __slots__ = ("resource", "zone", "owner", "version")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    ZONE_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    VERSION_FIELD_NUMBER: _ClassVar[int]
    resource: str
    zone: str
    owner: str
    version: str
    def __init__(self, resource: _Optional[str] = ..., zone: _Optional[str] = ..., owner: _Optional[str] = ..., version: _Optional[str] = ...) -> None: ...

class RunRound(_message.Message):
    __slots__ = ("round", "zones", "milliseconds", "bytes")
    ROUND_FIELD_NUMBER: _ClassVar[int]
    ZONES_FIELD_NUMBER: _ClassVar[int]
    MILLISECONDS_FIELD_NUMBER: _ClassVar[int]
    BYTES_FIELD_NUMBER: _ClassVar[int]
    round: int
    zones: _containers.RepeatedCompositeFieldContainer[ZoneMetrics]
    milliseconds: int
    bytes: int
    def __init__(self, round: _Optional[int] = ..., zones: _Optional[_Iterable[_Union[ZoneMetrics, _Mapping]]] = ..., milliseconds: _Optional[int] = ..., bytes: _Optional[int] = ...) -> None: ...

class ZoneMetrics(_message.Message):
    __slots__ = ("zone", "examples", "metrics")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    METRICS_FIELD_NUMBER: _ClassVar[int]
    zone: str
    examples: int
    metrics: _containers.RepeatedCompositeFieldContainer[RunMetric]
    def __init__(self, zone: _Optional[str] = ..., examples: _Optional[int] = ..., metrics: _Optional[_Iterable[_Union[RunMetric, _Mapping]]] = ...) -> None: ...

class RunMetric(_message.Message):
    __slots__ = ("name", "value")
    NAME_FIELD_NUMBER: _ClassVar[int]
    VALUE_FIELD_NUMBER: _ClassVar[int]
    name: str
    value: str
    def __init__(self, name: _Optional[str] = ..., value: _Optional[str] = ...) -> None: ...

class GetRunRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class ListRunsRequest(_message.Message):
    __slots__ = ("state", "page")
    STATE_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    state: str
    page: _common_pb2.Page
    def __init__(self, state: _Optional[str] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListRunsResponse(_message.Message):
    __slots__ = ("runs", "next_page_token")
    RUNS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    runs: _containers.RepeatedCompositeFieldContainer[Run]
    next_page_token: str
    def __init__(self, runs: _Optional[_Iterable[_Union[Run, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WatchRunRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class CancelRunRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...
