"""Salted commitments of what stays in its own zone: the ledger's construction (docs/ledger/keys-and-values.md)."""

from __future__ import annotations

import hashlib
import hmac

from gateway.model import canonical
from gateway.model.canonical import JsonValue


def commitment(salt: bytes, entry_id: str, pointer: str, value: JsonValue) -> str:
    """HMAC-SHA256(salt, "tdz-commit/v1\\n" id "\\n" JSON pointer "\\n" canonical JSON), in hex.

    Args:
        salt: 32 random bytes that never stand in an entry.
        entry_id: of the entry that holds it.
        pointer: where in the entry the value would stand (RFC 6901).
        value: what is committed to.
    """
    header = f"tdz-commit/v1\n{entry_id}\n{pointer}\n".encode()
    return hmac.new(salt, header + canonical.encode(value), hashlib.sha256).hexdigest()
