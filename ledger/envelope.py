"""DSSE envelopes inside entries: found wherever they stand, verified where a key is known, counted where none is.

A signature is over PAE(payload type, payload). ``keyid`` is a hint: the SHA-256 of the key's raw bytes. Which key
speaks for whom comes from zone cards; Ed25519 and P-256 (ECDSA with SHA-256) are verified.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ec import ECDSA, SECP256R1, EllipticCurvePublicKey
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import (
    Encoding,
    PublicFormat,
    load_der_public_key,
    load_pem_public_key,
)

from ledger.canonical import JsonValue
from ledger.errors import OperationalError

__all__ = ["EnvelopeCheck", "KnownKey", "envelopes", "load_public_key", "pae", "unbase64"]

_MEMBERS: Final = {"payload", "payloadType", "signatures"}
_MOST_NESTED: Final = 4
"""Envelopes within payloads of envelopes: a request within an offer."""


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key and whom it speaks for. Pickles, for worker processes.

    ``raw`` is 32 bytes of Ed25519, or a P-256 key as SubjectPublicKeyInfo.
    """

    name: str
    raw: bytes

    @property
    def keyid(self) -> str:
        """The hint that signatures by this key carry: SHA-256 in hex over ``raw``."""
        return hashlib.sha256(self.raw).hexdigest()

    def verifies(self, signature: bytes, message: bytes) -> bool:
        """Whether the key made this signature."""
        try:
            if len(self.raw) == 32:
                Ed25519PublicKey.from_public_bytes(self.raw).verify(signature, message)
            else:
                key = load_der_public_key(self.raw)
                if not isinstance(key, EllipticCurvePublicKey):
                    return False
                key.verify(signature, message, ECDSA(SHA256()))
        except (InvalidSignature, ValueError):
            return False
        return True


@dataclass(slots=True)
class EnvelopeCheck:
    """What the envelopes of a range of entries gave.

    ``faults`` are sequence numbers with what is wrong there.
    """

    envelopes: int = 0
    verified: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)

    def check(self, seq: int, body: dict[str, JsonValue], keys: Mapping[str, KnownKey]) -> None:
        """Verify every envelope in an entry's body.

        Args:
            keys: the known keys by keyid.
        """
        for envelope in envelopes(body):
            self.envelopes += 1
            fault = self._judge(envelope, keys)
            if fault:
                self.faults.append((seq, fault))

    def add(self, other: EnvelopeCheck) -> None:
        """Add the counts of another range; its faults are the caller's to report."""
        self.envelopes += other.envelopes
        self.verified.update(other.verified)
        self.unknown.update(other.unknown)

    @property
    def lines(self) -> list[str]:
        """The counts, for people."""
        if not self.envelopes:
            return []
        lines = [f"{self.envelopes} signed statements"]
        lines += (f"  {number} signatures of {name}" for name, number in sorted(self.verified.items()))
        lines += (f"  {number} signatures of the unknown key {key}" for key, number in sorted(self.unknown.items()))
        return lines

    def as_json(self) -> JsonValue:
        """The counts as a document."""
        return {
            "found": self.envelopes,
            "unknown_signatures": dict(self.unknown),
            "verified_signatures": dict(self.verified),
        }

    def _judge(self, envelope: dict[str, JsonValue], keys: Mapping[str, KnownKey]) -> str:
        kind, payload, signatures = envelope["payloadType"], envelope["payload"], envelope["signatures"]
        data = unbase64(payload) if isinstance(payload, str) else None
        if data is None or not isinstance(kind, str) or not isinstance(signatures, list) or not signatures:
            return "an envelope is malformed"
        message = pae(kind, data)
        for each in signatures:
            keyid = each.get("keyid") if isinstance(each, dict) else None
            sig = each.get("sig") if isinstance(each, dict) else None
            signature = unbase64(sig) if isinstance(sig, str) else None
            if signature is None or not isinstance(keyid, str | None):
                return f"a signature of the envelope {kind} is malformed"
            key = keys.get(keyid or "")
            if key is None:
                self.unknown[keyid or "without a keyid"] += 1
            elif key.verifies(signature, message):
                self.verified[key.name] += 1
            else:
                return f"the signature of {key.name} is not over the envelope {kind}"
        return ""


def envelopes(value: JsonValue) -> Iterator[dict[str, JsonValue]]:
    """Every envelope in a JSON value, those inside payloads too."""
    # A stack of its own: a payload may nest deeper than this program may recurse.
    waiting: list[tuple[JsonValue, int]] = [(value, 0)]
    while waiting:
        each, nested = waiting.pop()
        if isinstance(each, dict) and each.keys() == _MEMBERS:
            yield each
            payload = each["payload"]
            data = unbase64(payload) if isinstance(payload, str) and nested < _MOST_NESTED else None
            if data is not None:
                waiting.append((_json(data), nested + 1))
        elif isinstance(each, dict):
            waiting += ((member, nested) for member in each.values())
        elif isinstance(each, list):
            waiting += ((member, nested) for member in each)
        elif isinstance(each, str) and nested < _MOST_NESTED and each.startswith('{"payload":'):
            # Statements carry envelopes that they quote as text, so that their bytes stay as they were signed.
            waiting.append((_json(each.encode()), nested + 1))


def pae(kind: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what a DSSE signature is over."""
    encoded = kind.encode()
    return b"DSSEv1 %d %b %d %b" % (len(encoded), encoded, len(payload), payload)


def unbase64(text: str) -> bytes | None:
    """The bytes, or None where it is not base64 in its one form."""
    try:
        data = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError):
        return None
    return data if base64.b64encode(data).decode() == text else None


def load_public_key(name: str, pem: bytes) -> KnownKey:
    """A public key from PEM.

    Raises:
        OperationalError: not one of Ed25519 or P-256.
    """
    try:
        key = load_pem_public_key(pem)
    except ValueError as error:
        raise OperationalError(f"{name} is not a public key in PEM") from error
    if isinstance(key, Ed25519PublicKey):
        return KnownKey(name, key.public_bytes(Encoding.Raw, PublicFormat.Raw))
    if isinstance(key, EllipticCurvePublicKey) and isinstance(key.curve, SECP256R1):
        return KnownKey(name, key.public_bytes(Encoding.DER, PublicFormat.SubjectPublicKeyInfo))
    raise OperationalError(f"{name} is neither an Ed25519 nor a P-256 key")


def _json(data: bytes) -> JsonValue:
    """A payload as JSON; what is none holds no envelope."""
    try:
        value: JsonValue = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value
