from google.protobuf.internal import containers as _containers
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class ProposePolicyRequest(_message.Message):
    __slots__ = ("bundle",)
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    bundle: bytes
    def __init__(self, bundle: _Optional[bytes] = ...) -> None: ...

class ProposePolicyResponse(_message.Message):
    __slots__ = ("bundle", "active", "missing", "expires_at", "policy_digest")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    ACTIVE_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    bundle: PolicyBundle
    active: bool
    missing: int
    expires_at: int
    policy_digest: str
    def __init__(self, bundle: _Optional[_Union[PolicyBundle, _Mapping]] = ..., active: _Optional[bool] = ..., missing: _Optional[int] = ..., expires_at: _Optional[int] = ..., policy_digest: _Optional[str] = ...) -> None: ...

class WithdrawPolicyRequest(_message.Message):
    __slots__ = ("digest",)
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    digest: str
    def __init__(self, digest: _Optional[str] = ...) -> None: ...

class PolicyWithdrawal(_message.Message):
    __slots__ = ("bundle", "withdrawn_by", "withdrawn_at")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_BY_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWN_AT_FIELD_NUMBER: _ClassVar[int]
    bundle: PolicyBundle
    withdrawn_by: str
    withdrawn_at: int
    def __init__(self, bundle: _Optional[_Union[PolicyBundle, _Mapping]] = ..., withdrawn_by: _Optional[str] = ..., withdrawn_at: _Optional[int] = ...) -> None: ...

class PolicyWork(_message.Message):
    __slots__ = ("digest", "step", "tried", "examples")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    STEP_FIELD_NUMBER: _ClassVar[int]
    TRIED_FIELD_NUMBER: _ClassVar[int]
    EXAMPLES_FIELD_NUMBER: _ClassVar[int]
    digest: str
    step: str
    tried: int
    examples: int
    def __init__(self, digest: _Optional[str] = ..., step: _Optional[str] = ..., tried: _Optional[int] = ..., examples: _Optional[int] = ...) -> None: ...

class PolicyBundle(_message.Message):
    __slots__ = ("digest", "part", "revision", "roots", "legal_as_of", "valid_until", "keyid", "signed_by", "activated_at", "ledger_seq")
    DIGEST_FIELD_NUMBER: _ClassVar[int]
    PART_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    ROOTS_FIELD_NUMBER: _ClassVar[int]
    LEGAL_AS_OF_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_FIELD_NUMBER: _ClassVar[int]
    KEYID_FIELD_NUMBER: _ClassVar[int]
    SIGNED_BY_FIELD_NUMBER: _ClassVar[int]
    ACTIVATED_AT_FIELD_NUMBER: _ClassVar[int]
    LEDGER_SEQ_FIELD_NUMBER: _ClassVar[int]
    digest: str
    part: str
    revision: str
    roots: _containers.RepeatedScalarFieldContainer[str]
    legal_as_of: int
    valid_until: int
    keyid: str
    signed_by: str
    activated_at: int
    ledger_seq: int
    def __init__(self, digest: _Optional[str] = ..., part: _Optional[str] = ..., revision: _Optional[str] = ..., roots: _Optional[_Iterable[str]] = ..., legal_as_of: _Optional[int] = ..., valid_until: _Optional[int] = ..., keyid: _Optional[str] = ..., signed_by: _Optional[str] = ..., activated_at: _Optional[int] = ..., ledger_seq: _Optional[int] = ...) -> None: ...

class PolicyPack(_message.Message):
    __slots__ = ("id", "revision", "legal_as_of", "valid_until")
    ID_FIELD_NUMBER: _ClassVar[int]
    REVISION_FIELD_NUMBER: _ClassVar[int]
    LEGAL_AS_OF_FIELD_NUMBER: _ClassVar[int]
    VALID_UNTIL_FIELD_NUMBER: _ClassVar[int]
    id: str
    revision: str
    legal_as_of: int
    valid_until: int
    def __init__(self, id: _Optional[str] = ..., revision: _Optional[str] = ..., legal_as_of: _Optional[int] = ..., valid_until: _Optional[int] = ...) -> None: ...

class PolicyProposal(_message.Message):
    __slots__ = ("bundle", "approved_by", "proposed_at", "expires_at", "missing")
    BUNDLE_FIELD_NUMBER: _ClassVar[int]
    APPROVED_BY_FIELD_NUMBER: _ClassVar[int]
    PROPOSED_AT_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    MISSING_FIELD_NUMBER: _ClassVar[int]
    bundle: PolicyBundle
    approved_by: _containers.RepeatedScalarFieldContainer[str]
    proposed_at: int
    expires_at: int
    missing: int
    def __init__(self, bundle: _Optional[_Union[PolicyBundle, _Mapping]] = ..., approved_by: _Optional[_Iterable[str]] = ..., proposed_at: _Optional[int] = ..., expires_at: _Optional[int] = ..., missing: _Optional[int] = ...) -> None: ...

class GetPolicyStatusRequest(_message.Message):
    __slots__ = ()
    def __init__(self) -> None: ...

class PolicyStatus(_message.Message):
    __slots__ = ("zone", "policy_digest", "data_revision", "parts", "packs", "proposals", "administrators", "withheld", "withdrawals", "work", "engine")
    ZONE_FIELD_NUMBER: _ClassVar[int]
    POLICY_DIGEST_FIELD_NUMBER: _ClassVar[int]
    DATA_REVISION_FIELD_NUMBER: _ClassVar[int]
    PARTS_FIELD_NUMBER: _ClassVar[int]
    PACKS_FIELD_NUMBER: _ClassVar[int]
    PROPOSALS_FIELD_NUMBER: _ClassVar[int]
    ADMINISTRATORS_FIELD_NUMBER: _ClassVar[int]
    WITHHELD_FIELD_NUMBER: _ClassVar[int]
    WITHDRAWALS_FIELD_NUMBER: _ClassVar[int]
    WORK_FIELD_NUMBER: _ClassVar[int]
    ENGINE_FIELD_NUMBER: _ClassVar[int]
    zone: str
    policy_digest: str
    data_revision: str
    parts: _containers.RepeatedCompositeFieldContainer[PolicyBundle]
    packs: _containers.RepeatedCompositeFieldContainer[PolicyPack]
    proposals: _containers.RepeatedCompositeFieldContainer[PolicyProposal]
    administrators: int
    withheld: str
    withdrawals: _containers.RepeatedCompositeFieldContainer[PolicyWithdrawal]
    work: PolicyWork
    engine: str
    def __init__(self, zone: _Optional[str] = ..., policy_digest: _Optional[str] = ..., data_revision: _Optional[str] = ..., parts: _Optional[_Iterable[_Union[PolicyBundle, _Mapping]]] = ..., packs: _Optional[_Iterable[_Union[PolicyPack, _Mapping]]] = ..., proposals: _Optional[_Iterable[_Union[PolicyProposal, _Mapping]]] = ..., administrators: _Optional[int] = ..., withheld: _Optional[str] = ..., withdrawals: _Optional[_Iterable[_Union[PolicyWithdrawal, _Mapping]]] = ..., work: _Optional[_Union[PolicyWork, _Mapping]] = ..., engine: _Optional[str] = ...) -> None: ...
