"""Canonical JSON (RFC 8785 without floats), the one form in which documents are hashed and signed.

The implementation is the ledger's, so that an auditor's tool and the gateway cannot differ.
"""

from __future__ import annotations

import hashlib

from ledger.canonical import CanonicalError, JsonValue, decode, encode

__all__ = ["CanonicalError", "JsonValue", "decode", "digest", "encode"]


def digest(value: JsonValue) -> str:
    """SHA-256 in hex over the canonical bytes of a value."""
    return hashlib.sha256(encode(value)).hexdigest()
