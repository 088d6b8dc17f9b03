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

__all__ = ["EnvelopeCheck", "KnownKey", "Pairing", "Use", "envelopes", "load_public_key", "pae", "unbase64"]

_MEMBERS: Final = {"payload", "payloadType", "signatures"}
_MOST_NESTED: Final = 4
"""Envelopes within payloads of envelopes: a request within an offer."""
_MOST_PAIRINGS: Final = 10_000


@dataclass(frozen=True, slots=True)
class KnownKey:
    """A public key and whom it speaks for. Pickles, for worker processes.

    ``raw`` is 32 bytes of Ed25519, or a P-256 key as SubjectPublicKeyInfo; ``dated`` asks for the statements' own
    times too.
    """

    name: str
    raw: bytes
    dated: bool = False

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


@dataclass(frozen=True, slots=True)
class Pairing:
    """An entry ``zone.paired``: which card of which zone it admits, by the card's fingerprint."""

    seq: int
    time: str
    zone: str
    card: str

    @classmethod
    def of(cls, seq: int, time: str, body: dict[str, JsonValue]) -> Pairing | None:
        """The pairing in an entry's body; None where it names no card."""
        zone, card = body.get("zone"), body.get("card")
        return cls(seq, time, zone, card) if isinstance(zone, str) and isinstance(card, str) else None


@dataclass(slots=True)
class Use:
    """When a key was used: the first entry with a signature of it, and its latest statement by its own time.

    ``issued`` is Unix seconds, 0 where no statement says it; ``issued_in`` is that statement's entry.
    """

    first: int
    issued: int = 0
    issued_in: int = 0

    def add(self, seq: int, issued: int, issued_in: int) -> None:
        """One more."""
        self.first = min(self.first, seq)
        if issued > self.issued:
            self.issued, self.issued_in = issued, issued_in


@dataclass(slots=True)
class EnvelopeCheck:
    """What the envelopes of a range of entries gave.

    ``faults`` are sequence numbers with what is wrong there; ``uses`` says by keyid when each known key was used;
    ``pairings`` are the range's admissions of cards, the first 10,000.
    """

    envelopes: int = 0
    verified: Counter[str] = field(default_factory=Counter)
    unknown: Counter[str] = field(default_factory=Counter)
    faults: list[tuple[int, str]] = field(default_factory=list)
    uses: dict[str, Use] = field(default_factory=dict)
    pairings: list[Pairing] = field(default_factory=list)

    def check(self, seq: int, body: dict[str, JsonValue], keys: Mapping[str, KnownKey]) -> None:
        """Verify every envelope in an entry's body.

        Args:
            keys: the known keys by keyid.
        """
        for envelope in envelopes(body):
            self.envelopes += 1
            fault = self._judge(seq, envelope, keys)
            if fault:
                self.faults.append((seq, fault))

    def add(self, other: EnvelopeCheck) -> None:
        """Add the counts of another range; its faults are the caller's to report."""
        self.envelopes += other.envelopes
        self.verified.update(other.verified)
        self.unknown.update(other.unknown)
        for keyid, use in other.uses.items():
            self.uses.setdefault(keyid, Use(use.first)).add(use.first, use.issued, use.issued_in)
        self.pairings += other.pairings[: _MOST_PAIRINGS - len(self.pairings)]

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

    def _judge(self, seq: int, envelope: dict[str, JsonValue], keys: Mapping[str, KnownKey]) -> str:
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
                issued = _issued(data) if key.dated else 0
                self.uses.setdefault(key.keyid, Use(seq)).add(seq, issued, seq)
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


def _issued(payload: bytes) -> int:
    """The time that a statement gives itself, in Unix seconds; 0 where it gives none."""
    value = _json(payload)
    issued = value.get("issued_at") if isinstance(value, dict) else None
    return issued if type(issued) is int and issued > 0 else 0


def _json(data: bytes) -> JsonValue:
    """A payload as JSON; what is none holds no envelope."""
    try:
        value: JsonValue = json.loads(data)
    except (ValueError, RecursionError):
        return None
    return value
