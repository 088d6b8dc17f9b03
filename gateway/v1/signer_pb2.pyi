from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Signer(_message.Message):
    __slots__ = ("fingerprint", "name", "public_key", "added_at", "removed_at")
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    ADDED_AT_FIELD_NUMBER: _ClassVar[int]
    REMOVED_AT_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    name: str
    public_key: str
    added_at: int
    removed_at: int
    def __init__(self, fingerprint: _Optional[str] = ..., name: _Optional[str] = ..., public_key: _Optional[str] = ..., added_at: _Optional[int] = ..., removed_at: _Optional[int] = ...) -> None: ...

class AddSignerRequest(_message.Message):
    __slots__ = ("public_key", "name")
    PUBLIC_KEY_FIELD_NUMBER: _ClassVar[int]
    NAME_FIELD_NUMBER: _ClassVar[int]
    public_key: str
    name: str
    def __init__(self, public_key: _Optional[str] = ..., name: _Optional[str] = ...) -> None: ...

class ListSignersRequest(_message.Message):
    __slots__ = ("page",)
    PAGE_FIELD_NUMBER: _ClassVar[int]
    page: _common_pb2.Page
    def __init__(self, page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListSignersResponse(_message.Message):
    __slots__ = ("signers", "next_page_token")
    SIGNERS_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    signers: _containers.RepeatedCompositeFieldContainer[Signer]
    next_page_token: str
    def __init__(self, signers: _Optional[_Iterable[_Union[Signer, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...

class RemoveSignerRequest(_message.Message):
    __slots__ = ("fingerprint",)
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    fingerprint: str
    def __init__(self, fingerprint: _Optional[str] = ...) -> None: ...
