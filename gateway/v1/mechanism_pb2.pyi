from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Mechanism(_message.Message):
    __slots__ = ("ref", "document", "added_at", "withdrawn_at")
    REF_FIELD_NUMBER: _ClassVar[int]
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    ADDED_AT_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_AT_FIELD_NUMBER: _ClassVar[int]
    ref: str
    document: str
    added_at: int
    withdrawn_at: int
    def __init__(self, ref: _Optional[str] = ..., document: _Optional[str] = ..., added_at: _Optional[int] = ..., withdrawn_at: _Optional[int] = ...) -> None: ...

class AddMechanismRequest(_message.Message):
    __slots__ = ("document",)
    DOCUMENT_FIELD_NUMBER: _ClassVar[int]
    document: str
    def __init__(self, document: _Optional[str] = ...) -> None: ...

class ListMechanismsRequest(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: _common_pb2.Page
    def __init__(self, page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListMechanismsResponse(_message.Message):
    __slots__ = ("mechanisms", "next_page_token")
    MECHANISMS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    mechanisms: _containers.RepeatedCompositeFieldContainer[Mechanism]
    next_page_token: str
    def __init__(self, mechanisms: _Optional[_Iterable[_Union[Mechanism, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class WithdrawMechanismRequest(_message.Message):
    __slots__ = ("ref",)
    REF_FIELD_NUMBER: _ClassVar[int]
    ref: str
    def __init__(self, ref: _Optional[str] = ...) -> None: ...
