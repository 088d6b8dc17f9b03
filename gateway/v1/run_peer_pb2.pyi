from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable
from typing import ClassVar as _ClassVar, Optional as _Optional

DESCRIPTOR: _descriptor.FileDescriptor

class ProposeRequest(_message.Message):
    __slots__ = ("envelope", "ledger_size", "decisions", "cards")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    CARDS_FIELD_NUMBER: _ClassVar[int]
    envelope: str
    ledger_size: int
    decisions: str
    cards: _containers.RepeatedScalarFieldContainer[str]
    def __init__(self, envelope: _Optional[str] = ..., ledger_size: _Optional[int] = ..., decisions: _Optional[str] = ..., cards: _Optional[_Iterable[str]] = ...) -> None: ...

class ProposeResponse(_message.Message):
    __slots__ = ("envelope", "ledger_size", "decisions")
    ENVELOPE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    DECISIONS_FIELD_NUMBER: _ClassVar[int]
    envelope: str
    ledger_size: int
    decisions: str
    def __init__(self, envelope: _Optional[str] = ..., ledger_size: _Optional[int] = ..., decisions: _Optional[str] = ...) -> None: ...

class ConfirmRunRequest(_message.Message):
    __slots__ = ("agreement", "ledger_size")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    ledger_size: int
    def __init__(self, agreement: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class ConfirmRunResponse(_message.Message):
    __slots__ = ("agreement", "ledger_size")
    AGREEMENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    agreement: str
    ledger_size: int
    def __init__(self, agreement: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class ParametersPiece(_message.Message):
    __slots__ = ("statement", "ledger_size", "data")
    STATEMENT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    DATA_FIELD_NUMBER: _ClassVar[int]
    statement: str
    ledger_size: int
    data: bytes
    def __init__(self, statement: _Optional[str] = ..., ledger_size: _Optional[int] = ..., data: _Optional[bytes] = ...) -> None: ...

class SendParametersResponse(_message.Message):
    __slots__ = ("ledger_size",)
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    ledger_size: int
    def __init__(self, ledger_size: _Optional[int] = ...) -> None: ...

class FetchUpdateRequest(_message.Message):
    __slots__ = ("run", "round", "ledger_size")
    RUN_FIELD_NUMBER: _ClassVar[int]
    ROUND_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    run: str
    round: int
    ledger_size: int
    def __init__(self, run: _Optional[str] = ..., round: _Optional[int] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class HoldRunRequest(_message.Message):
    __slots__ = ("run", "held_by", "deadline", "ledger_size")
    RUN_FIELD_NUMBER: _ClassVar[int]
    HELD_BY_FIELD_NUMBER: _ClassVar[int]
    DEADLINE_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    run: str
    held_by: str
    deadline: int
    ledger_size: int
    def __init__(self, run: _Optional[str] = ..., held_by: _Optional[str] = ..., deadline: _Optional[int] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class HoldRunResponse(_message.Message):
    __slots__ = ("ledger_size",)
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    ledger_size: int
    def __init__(self, ledger_size: _Optional[int] = ...) -> None: ...

class EndRunRequest(_message.Message):
    __slots__ = ("run", "state", "reason", "ledger_size")
    RUN_FIELD_NUMBER: _ClassVar[int]
    STATE_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    run: str
    state: str
    reason: str
    ledger_size: int
    def __init__(self, run: _Optional[str] = ..., state: _Optional[str] = ..., reason: _Optional[str] = ..., ledger_size: _Optional[int] = ...) -> None: ...

class EndRunResponse(_message.Message):
    __slots__ = ("ledger_size",)
    LEDGER_SIZE_FIELD_NUMBER: _ClassVar[int]
    ledger_size: int
    def __init__(self, ledger_size: _Optional[int] = ...) -> None: ...
