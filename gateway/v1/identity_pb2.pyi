from gateway.v1 import common_pb2 as _common_pb2
from google.protobuf.internal import containers as _containers
from google.protobuf.internal import enum_type_wrapper as _enum_type_wrapper
from google.protobuf import descriptor as _descriptor
from google.protobuf import message as _message
from collections.abc import Iterable as _Iterable, Mapping as _Mapping
from typing import ClassVar as _ClassVar, Optional as _Optional, Union as _Union

DESCRIPTOR: _descriptor.FileDescriptor

class Role(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    ROLE_UNSPECIFIED: _ClassVar[Role]
    ROLE_GATEWAY: _ClassVar[Role]
    ROLE_PARTNER: _ClassVar[Role]
    ROLE_ADMIN: _ClassVar[Role]
    ROLE_AUDITOR: _ClassVar[Role]

class SecondKey(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    SECOND_KEY_UNSPECIFIED: _ClassVar[SecondKey]
    SECOND_KEY_RENEW: _ClassVar[SecondKey]
    SECOND_KEY_REPLACE: _ClassVar[SecondKey]

class RevocationReason(int, metaclass=_enum_type_wrapper.EnumTypeWrapper):
    __slots__ = ()
    REVOCATION_REASON_UNSPECIFIED: _ClassVar[RevocationReason]
    REVOCATION_REASON_KEY_COMPROMISE: _ClassVar[RevocationReason]
    REVOCATION_REASON_AFFILIATION_CHANGED: _ClassVar[RevocationReason]
    REVOCATION_REASON_SUPERSEDED: _ClassVar[RevocationReason]
    REVOCATION_REASON_CESSATION: _ClassVar[RevocationReason]
    REVOCATION_REASON_PRIVILEGE_WITHDRAWN: _ClassVar[RevocationReason]
ROLE_UNSPECIFIED: Role
ROLE_GATEWAY: Role
ROLE_PARTNER: Role
ROLE_ADMIN: Role
ROLE_AUDITOR: Role
SECOND_KEY_UNSPECIFIED: SecondKey
SECOND_KEY_RENEW: SecondKey
SECOND_KEY_REPLACE: SecondKey
REVOCATION_REASON_UNSPECIFIED: RevocationReason
REVOCATION_REASON_KEY_COMPROMISE: RevocationReason
REVOCATION_REASON_AFFILIATION_CHANGED: RevocationReason
REVOCATION_REASON_SUPERSEDED: RevocationReason
REVOCATION_REASON_CESSATION: RevocationReason
REVOCATION_REASON_PRIVILEGE_WITHDRAWN: RevocationReason

class Certificate(_message.Message):
    __slots__ = ("pem", "uri", "fingerprint", "key_fingerprint", "serial", "not_before", "not_after", "revoked_at", "reason", "signing")
    PEM_FIELD_NUMBER: _ClassVar[int]
    URI_FIELD_NUMBER: _ClassVar[int]
    FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    KEY_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    NOT_BEFORE_FIELD_NUMBER: _ClassVar[int]
    NOT_AFTER_FIELD_NUMBER: _ClassVar[int]
    REVOKED_AT_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    SIGNING_FIELD_NUMBER: _ClassVar[int]
    pem: str
    uri: str
    fingerprint: str
    key_fingerprint: str
    serial: str
    not_before: int
    not_after: int
    revoked_at: int
    reason: str
    signing: bool
    def __init__(self, pem: _Optional[str] = ..., uri: _Optional[str] = ..., fingerprint: _Optional[str] = ..., key_fingerprint: _Optional[str] = ..., serial: _Optional[str] = ..., not_before: _Optional[int] = ..., not_after: _Optional[int] = ..., revoked_at: _Optional[int] = ..., reason: _Optional[str] = ..., signing: _Optional[bool] = ...) -> None: ...

class ApproveRequest(_message.Message):
    __slots__ = ("csr", "role", "id", "key_fingerprint", "second_key", "signing")
    CSR_FIELD_NUMBER: _ClassVar[int]
    ROLE_FIELD_NUMBER: _ClassVar[int]
    ID_FIELD_NUMBER: _ClassVar[int]
    KEY_FINGERPRINT_FIELD_NUMBER: _ClassVar[int]
    SECOND_KEY_FIELD_NUMBER: _ClassVar[int]
    SIGNING_FIELD_NUMBER: _ClassVar[int]
    csr: str
    role: Role
    id: str
    key_fingerprint: str
    second_key: SecondKey
    signing: bool
    def __init__(self, csr: _Optional[str] = ..., role: _Optional[_Union[Role, str]] = ..., id: _Optional[str] = ..., key_fingerprint: _Optional[str] = ..., second_key: _Optional[_Union[SecondKey, str]] = ..., signing: _Optional[bool] = ...) -> None: ...

class ApproveResponse(_message.Message):
    __slots__ = ("certificate", "waiting")
    CERTIFICATE_FIELD_NUMBER: _ClassVar[int]
    WAITING_FIELD_NUMBER: _ClassVar[int]
    certificate: Certificate
    waiting: WaitingForApproval
    def __init__(self, certificate: _Optional[_Union[Certificate, _Mapping]] = ..., waiting: _Optional[_Union[WaitingForApproval, _Mapping]] = ...) -> None: ...

class WaitingForApproval(_message.Message):
    __slots__ = ("missing", "expires_at")
    MISSING_FIELD_NUMBER: _ClassVar[int]
    EXPIRES_AT_FIELD_NUMBER: _ClassVar[int]
    missing: int
    expires_at: int
    def __init__(self, missing: _Optional[int] = ..., expires_at: _Optional[int] = ...) -> None: ...

class RenewRequest(_message.Message):
    __slots__ = ("csr",)
    CSR_FIELD_NUMBER: _ClassVar[int]
    csr: str
    def __init__(self, csr: _Optional[str] = ...) -> None: ...

class RevokeRequest(_message.Message):
    __slots__ = ("uri", "serial", "reason")
    URI_FIELD_NUMBER: _ClassVar[int]
    SERIAL_FIELD_NUMBER: _ClassVar[int]
    REASON_FIELD_NUMBER: _ClassVar[int]
    uri: str
    serial: str
    reason: RevocationReason
    def __init__(self, uri: _Optional[str] = ..., serial: _Optional[str] = ..., reason: _Optional[_Union[RevocationReason, str]] = ...) -> None: ...

class RevokeResponse(_message.Message):
    __slots__ = ("certificates",)
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    certificates: _containers.RepeatedCompositeFieldContainer[Certificate]
    def __init__(self, certificates: _Optional[_Iterable[_Union[Certificate, _Mapping]]] = ...) -> None: ...

class ListCertificatesRequest(_message.Message):
    __slots__ = ("uri", "all", "page")
    URI_FIELD_NUMBER: _ClassVar[int]
    ALL_FIELD_NUMBER: _ClassVar[int]
    PAGE_FIELD_NUMBER: _ClassVar[int]
    uri: str
    all: bool
    page: _common_pb2.Page
    def __init__(self, uri: _Optional[str] = ..., all: _Optional[bool] = ..., page: _Optional[_Union[_common_pb2.Page, _Mapping]] = ...) -> None: ...

class ListCertificatesResponse(_message.Message):
    __slots__ = ("certificates", "next_page_token")
    CERTIFICATES_FIELD_NUMBER: _ClassVar[int]
    NEXT_PAGE_TOKEN_FIELD_NUMBER: _ClassVar[int]
    certificates: _containers.RepeatedCompositeFieldContainer[Certificate]
    next_page_token: str
    def __init__(self, certificates: _Optional[_Iterable[_Union[Certificate, _Mapping]]] = ..., next_page_token: _Optional[str] = ...) -> None: ...
