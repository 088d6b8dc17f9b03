from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class RotateKeyRequest(_message.Message):
    __slots__ = ("replaces", "note")
    REPLACES_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    replaces: str
    note: str
    def __init__(self, replaces: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class RotateKeyResponse(_message.Message):
    __slots__ = ("vkey", "card", "fingerprint", "finished")
    VKEY_FIELD_NUMBER: _ClassVar[int]
    CARD_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    FINISHED_FIELD_NUMBER: _ClassVar[int]
    vkey: str
    card: bytes
    fingerprint: str
    finished: bool
    def __init__(self, vkey: _Optional[str] = ..., card: _Optional[bytes] = ..., fingerprint: _Optional[str] = ..., finished: _Optional[bool] = ...) -> None: ...

class EraseValueRequest(_message.Message):
    __slots__ = ("seq", "field", "note")
    SEQ_FIELD_NUMBER: _ClassVar[int]
    FIELD_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    seq: int
    field: str
    note: str
    def __init__(self, seq: _Optional[int] = ..., field: _Optional[str] = ..., note: _Optional[str] = ...) -> None: ...

class EraseValueResponse(_message.Message):
    __slots__ = ("erasure", "missing", "expires_at")
    ERASURE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    erasure: int
    missing: int
    expires_at: int
    def __init__(self, erasure: _Optional[int] = ..., missing: _Optional[int] = ..., expires_at: _Optional[int] = ...) -> None: ...

class AcceptClockRequest(_message.Message):
    __slots__ = ("note",)
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: str
    def __init__(self, note: _Optional[str] = ...) -> None: ...

class AcceptClockResponse(_message.Message):
    __slots__ = ("seq",)
    SEQ_FIELD_NUMBER: _ClassVar[int]
    seq: int
    def __init__(self, seq: _Optional[int] = ...) -> None: ...

class PushRequest(_message.Message):
    __slots__ = ("begin", "entries", "finish")
    BEGIN_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    FINISH_FIELD_NUMBER: _ClassVar[int]
    begin: PushBegin
    entries: PushEntries
    finish: bool
    def __init__(self, begin: _Optional[_Union[PushBegin, _Mapping]] = ..., entries: _Optional[_Union[PushEntries, _Mapping]] = ..., finish: _Optional[bool] = ...) -> None: ...

class PushBegin(_message.Message):
    __slots__ = ("note", "old_size", "proof", "own_root")
    NOTE_FIELD_NUMBER: _ClassVar[int]
    OLD_SIZE_FIELD_NUMBER: _ClassVar[int]
    PROOF_FIELD_NUMBER: _ClassVar[int]
    OWN_ROOT_FIELD_NUMBER: _ClassVar[int]
    note: bytes
    old_size: int
    proof: _containers.RepeatedScalarFieldContainer[bytes]
    own_root: bytes
    def __init__(self, note: _Optional[bytes] = ..., old_size: _Optional[int] = ..., proof: _Optional[_Iterable[bytes]] = ..., own_root: _Optional[bytes] = ...) -> None: ...

class PushEntries(_message.Message):
    __slots__ = ("start", "entries")
    START_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    start: int
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, start: _Optional[int] = ..., entries: _Optional[_Iterable[bytes]] = ...) -> None: ...

class PushResponse(_message.Message):
    __slots__ = ("state", "cosigned")
    STATE_FIELD_NUMBER: _ClassVar[int]
    COSIGNED_FIELD_NUMBER: _ClassVar[int]
    state: MirrorState
    cosigned: Cosigned
    def __init__(self, state: _Optional[_Union[MirrorState, _Mapping]] = ..., cosigned: _Optional[_Union[Cosigned, _Mapping]] = ...) -> None: ...

class MirrorState(_message.Message):
    __slots__ = ("size", "have", "note")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    HAVE_FIELD_NUMBER: _ClassVar[int]
    NOTE_FIELD_NUMBER: _ClassVar[int]
    size: int
    have: int
    note: bytes
    def __init__(self, size: _Optional[int] = ..., have: _Optional[int] = ..., note: _Optional[bytes] = ...) -> None: ...

class Cosigned(_message.Message):
    __slots__ = ("size", "line")
    SIZE_FIELD_NUMBER: _ClassVar[int]
    LINE_FIELD_NUMBER: _ClassVar[int]
    size: int
    line: str
    def __init__(self, size: _Optional[int] = ..., line: _Optional[str] = ...) -> None: ...

class GetHeldRequest(_message.Message):
    __slots__ = ("note",)
    NOTE_FIELD_NUMBER: _ClassVar[int]
    note: bytes
    def __init__(self, note: _Optional[bytes] = ...) -> None: ...

class GetHeldResponse(_message.Message):
    __slots__ = ("note", "pending", "frozen")
    NOTE_FIELD_NUMBER: _ClassVar[int]
    PENDING_FIELD_NUMBER: _ClassVar[int]
    FROZEN_FIELD_NUMBER: _ClassVar[int]
    note: bytes
    pending: bytes
    frozen: str
    def __init__(self, note: _Optional[bytes] = ..., pending: _Optional[bytes] = ..., frozen: _Optional[str] = ...) -> None: ...

class FetchRequest(_message.Message):
    __slots__ = ("start",)
    START_FIELD_NUMBER: _ClassVar[int]
    start: int
    def __init__(self, start: _Optional[int] = ...) -> None: ...

class FetchResponse(_message.Message):
    __slots__ = ("start", "entries")
    START_FIELD_NUMBER: _ClassVar[int]
    ENTRIES_FIELD_NUMBER: _ClassVar[int]
    start: int
    entries: _containers.RepeatedScalarFieldContainer[bytes]
    def __init__(self, start: _Optional[int] = ..., entries: _Optional[_Iterable[bytes]] = ...) -> None: ...

class GetHeadRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class GetHeadResponse(_message.Message):
    __slots__ = ("note", "vkey", "published_size")
    NOTE_FIELD_NUMBER: _ClassVar[int]
    VKEY_FIELD_NUMBER: _ClassVar[int]
    PUBLISHED_SIZE_FIELD_NUMBER: _ClassVar[int]
    note: bytes
    vkey: str
    published_size: int
    def __init__(self, note: _Optional[bytes] = ..., vkey: _Optional[str] = ..., published_size: _Optional[int] = ...) -> None: ...
