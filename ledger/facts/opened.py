"""Reading a body without trusting its shape: what is not as expected is absent, never an error.

Entries of kinds and members that this version does not know still verify; a table simply has less to say of them.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
from dataclasses import dataclass
from functools import lru_cache
from typing import Final

from ledger import canonical
from ledger.canonical import MAX_INTEGER, JsonValue
from ledger.entry import format_time

__all__ = ["Signed", "boolean", "compact", "items", "mapping", "moment", "number", "signed", "text"]

Object = dict[str, JsonValue]

_LAST_SECOND: Final = 253_402_300_799  # 9999-12-31


@dataclass(frozen=True, slots=True)
class Signed:
    """A DSSE envelope's statement; who signed it is the verifier's to judge."""

    issuer: str
    body: Object
    digest: str
    signatures: int


def mapping(value: JsonValue) -> Object:
    """An object, or an empty one."""
    return value if isinstance(value, dict) else {}


def items(value: JsonValue) -> list[Object]:
    """The objects of a list."""
    return [each for each in value if isinstance(each, dict)] if isinstance(value, list) else []


def text(value: JsonValue) -> str:
    """A text, or an empty one."""
    return value if isinstance(value, str) else ""


def number(value: JsonValue) -> int | None:
    """An integer, or nothing."""
    return value if type(value) is int and -MAX_INTEGER <= value <= MAX_INTEGER else None


def boolean(value: JsonValue) -> bool | None:
    """True, False or nothing."""
    return value if isinstance(value, bool) else None


def moment(value: JsonValue) -> str | None:
    """Seconds since 1970 as a time of entries, or nothing."""
    return _moment(value) if type(value) is int and 0 < value <= _LAST_SECOND else None


@lru_cache(maxsize=1024)
def _moment(seconds: int) -> str:
    return format_time(seconds * 1_000_000)


def compact(value: JsonValue) -> str:
    """A value as JSON text."""
    return canonical.encode(value).decode()


def signed(value: JsonValue) -> Signed | None:
    """The statement in a DSSE envelope, or nothing where it is none.

    The signed bytes are hashed as they are: equal digests mean that both zones hold the same statement. What is in
    it is to be read, not changed.
    """
    if not isinstance(value, dict):
        return None
    payload = value.get("payload")
    statement = _statement(payload) if isinstance(payload, str) else None
    if statement is None:
        return None
    return Signed(*statement, signatures=len(items(value.get("signatures"))))


@lru_cache(maxsize=64)  # entries that follow each other quote the same agreement
def _statement(payload: str) -> tuple[str, Object, str] | None:
    """Issuer, body and digest of a statement."""
    try:
        data = base64.b64decode(payload, validate=True)
        statement = mapping(canonical.decode(data))  # gateways sign canonical JSON and nothing else
    except (binascii.Error, ValueError):
        return None
    if not statement:
        return None
    issuer = text(mapping(statement.get("issuer")).get("zone"))
    return issuer, mapping(statement.get("body")), hashlib.sha256(data).hexdigest()
