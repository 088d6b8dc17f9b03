from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class PreviewAccessRequest(_message.Message):
    __slots__ = ("resource", "purposes", "mechanisms")
    RESOURCE_FIELD_NUMBER: _ClassVar[int]
    PURPOSES_FIELD_NUMBER: _ClassVar[int]
    MECHANISMS_FIELD_NUMBER: _ClassVar[int]
    resource: str
    purposes: _containers.RepeatedScalarFieldContainer[str]
    mechanisms: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, resource: _Optional[str] = ..., purposes: _Optional[_Iterable[str]] = ..., mechanisms: _Optional[_Iterable[str]] = ...) -> None: ...

class PreviewAccessResponse(_message.Message):
    __slots__ = ("outlooks",)
    OUTLOOKS_FIELD_NUMBER: _ClassVar[int]
    outlooks: _containers.RepeatedCompositeFieldContainer[Outlook]
    def __init__(self, outlooks: _Optional[_Iterable[_Union[Outlook, _Mapping]]] = ...) -> None: ...

class Outlook(_message.Message):
    __slots__ = ("recipient", "purpose", "effect", "zones")
    RECIPIENT_FIELD_NUMBER: _ClassVar[int]
    PURPOSE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    ZONES_FIELD_NUMBER: _ClassVar[int]
    recipient: str
    purpose: str
    effect: str
    zones: _containers.RepeatedCompositeFieldContainer[ZoneOutlook]
    def __init__(self, recipient: _Optional[str] = ..., purpose: _Optional[str] = ..., effect: _Optional[str] = ..., zones: _Optional[_Iterable[_Union[ZoneOutlook, _Mapping]]] = ...) -> None: ...

class ZoneOutlook(_message.Message):
    __slots__ = ("zone", "effect", "note", "findings", "obligations")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    EFFECT_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    FINDINGS_FIELD_NUMBER: _ClassVar[int]
    OBLIGATIONS_FIELD_NUMBER: _ClassVar[int]
    zone: str
    effect: str
    note: str
    findings: _containers.RepeatedCompositeFieldContainer[_common_pb2.Finding]
    obligations: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, zone: _Optional[str] = ..., effect: _Optional[str] = ..., note: _Optional[str] = ..., findings: _Optional[_Iterable[_Union[_common_pb2.Finding, _Mapping]]] = ..., obligations: _Optional[_Iterable[str]] = ...) -> None: ...
