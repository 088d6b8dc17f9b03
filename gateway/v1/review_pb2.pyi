from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ReviewKind(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVIEW_KIND_UNSPECIFIED: _ClassVar[ReviewKind]
    REVIEW_KIND_REVIEW: _ClassVar[ReviewKind]
    REVIEW_KIND_APPEAL: _ClassVar[ReviewKind]

class Verdict(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    VERDICT_UNSPECIFIED: _ClassVar[Verdict]
    VERDICT_APPROVE: _ClassVar[Verdict]
    VERDICT_DENY: _ClassVar[Verdict]
REVIEW_KIND_UNSPECIFIED: ReviewKind
REVIEW_KIND_REVIEW: ReviewKind
REVIEW_KIND_APPEAL: ReviewKind
VERDICT_UNSPECIFIED: Verdict
VERDICT_APPROVE: Verdict
VERDICT_DENY: Verdict

class Review(_message.Message):
    __slots__ = ("id", "kind", "request", "holder", "owner", "participant", "resource", "purpose", "state", "needed", "approvals", "deadline", "created_at", "lifts", "basis", "findings", "facts", "answers", "note", "peer_zone", "about")
    ID_FIELD_NUMBER: _ClassVar[int]
    KIND_FIELD_NUMBER: _ClassVar[int]
    REQUEST_FIELD_NUMBER: _ClassVar[int]
    HOLDER_FIELD_NUMBER: _ClassVar[int]
    OWNER_FIELD_NUMBER: _ClassVar[int]
    PARTICIPANT_FIELD_NUMBER: _ClassVar[int]
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    NEEDED_FIELD_NUMBER: _ClassVar[int]
    APPROVALS_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    CREATED_AT_FIELD_NUMBER: _ClassVar[int]
    LIFTS_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    FACTS_FIELD_NUMBER: _ClassVar[int]
    ANSWERS_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    PEER_ZONE_FIELD_NUMBER: _ClassVar[int]
    ABOUT_FIELD_NUMBER: _ClassVar[int]
    id: str
    kind: ReviewKind
    request: str
    holder: str
    owner: str
    participant: str
    resource: str
    purpose: str
    state: str
    needed: int
    approvals: int
    deadline: int
    created_at: int
    lifts: _containers.RepeatedScalarFieldContainer[str]
    basis: str
    findings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Finding]
    facts: str
    answers: _containers.RepeatedCompositeFieldContainer[ReviewAnswer]
    note: str
    peer_zone: str
    about: str
    def __init__(self, id: _Optional[str] = ..., kind: _Optional[_Union[ReviewKind, str]] = ..., request: _Optional[str] = ..., holder: _Optional[str] = ..., owner: _Optional[str] = ..., participant: _Optional[str] = ..., resource: _Optional[str] = ..., purpose: _Optional[str] = ..., state: _Optional[str] = ..., needed: _Optional[int] = ..., approvals: _Optional[int] = ..., deadline: _Optional[int] = ..., created_at: _Optional[int] = ..., lifts: _Optional[_Iterable[str]] = ..., basis: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[_common_pb2.Finding, _Mapping]]] = ..., facts: _Optional[str] = ..., answers: _Optional[_Iterable[_Union[ReviewAnswer, _Mapping]]] = ..., note: _Optional[str] = ..., peer_zone: _Optional[str] = ..., about: _Optional[str] = ...) -> None: ...

class ReviewAnswer(_message.Message):
    __slots__ = ("by", "verdict", "note", "at", "certificate")
    BY_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    AT_FIELD_NUMBER: _ClassVar[int]
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    by: str
    verdict: Verdict
    note: str
    at: int
    certificate: str
    def __init__(self, by: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., note: _Optional[str] = ..., at: _Optional[int] = ..., certificate: _Optional[str] = ...) -> None: ...

class ListReviewsRequest(_message.Message):
    __slots__ = ("all", "page")
    ALL_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    all: bool
    page: _common_pb2.Page
    def __init__(self, all: _Optional[bool] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListReviewsResponse(_message.Message):
    __slots__ = ("reviews", "next_page_token")
    REVIEWS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    reviews: _containers.RepeatedCompositeFieldContainer[Review]
    next_page_token: str
    def __init__(self, reviews: _Optional[_Iterable[_Union[Review, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class GetReviewRequest(_message.Message):
    __slots__ = ("id",)
    ID_FIELD_NUMBER: _ClassVar[int]
    id: str
    def __init__(self, id: _Optional[str] = ...) -> None: ...

class AnswerReviewRequest(_message.Message):
    __slots__ = ("id", "verdict", "note", "basis")
    ID_FIELD_NUMBER: _ClassVar[int]
    VERDICT_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    BASIS_FIELD_NUMBER: _ClassVar[int]
    id: str
    verdict: Verdict
    note: str
    basis: str
    def __init__(self, id: _Optional[str] = ..., verdict: _Optional[_Union[Verdict, str]] = ..., note: _Optional[str] = ..., basis: _Optional[str] = ...) -> None: ...

class AppealRequestRequest(_message.Message):
    __slots__ = ("id", "note")
    ID_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    id: str
    note: str
    def __init__(self, id: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class AppealRequestResponse(_message.Message):
    __slots__ = ("zone", "deadline")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    deadline: int
    def __init__(self, zone: _Optional[str] = ..., deadline: _Optional[int] = ...) -> None: ...
