"""DSSE envelopes (secure-systems-lab/dsse, protocol and envelope v1.0), strict and bounded.

A signature is over PAE(payload type, payload): the payload's bytes are verified as they are and parsed only
after. `keyid` is a hint without weight: which key must have signed is what the verifier is told.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import hmac
import re
from dataclasses import dataclass, replace
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.errors import IntegrityError
from gateway.identity.keys import raw_public
from gateway.model.canonical import CanonicalError, JsonValue, decode, encode
from gateway.model.limits import STATEMENT_MAX

SIGNATURES_MAX: Final = 4
SIGNATURE_BYTES: Final = 64

_TYPE: Final = re.compile(r"application/vnd\.tdz\.([a-z][a-z0-9-]{0,39})\.v1\+json")


def payload_type(kind: str) -> str:
    """The media type of a kind of statement."""
    return f"application/vnd.tdz.{kind}.v1+json"


def pae(media_type: str, payload: bytes) -> bytes:
    """The pre-authentication encoding: what is signed.

    SPEC: PAE(type, body) = "DSSEv1" + SP + LEN(type) + SP + type + SP + LEN(body) + SP + body
    """
    kind = media_type.encode()
    return b"DSSEv1 %d %s %d %s" % (len(kind), kind, len(payload), payload)


def key_id(key: Ed25519PublicKey) -> str:
    """SHA-256 in hex over the raw public key."""
    return hashlib.sha256(raw_public(key)).hexdigest()


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature: the hint, and 64 bytes of Ed25519."""

    keyid: str
    sig: bytes


@dataclass(frozen=True, slots=True)
class Envelope:
    """A payload with the signatures over it.

    Args:
        payload_type: application/vnd.tdz.<kind>.v1+json.
        payload: the signed bytes, exactly as signed.
        signatures: one to four, each by another key.
    """

    payload_type: str
    payload: bytes
    signatures: tuple[Signature, ...]

    @property
    def kind(self) -> str:
        """The kind of statement that the payload type names; untrusted until a signature was verified."""
        found = _TYPE.fullmatch(self.payload_type)
        if found is None:
            raise IntegrityError(f"the payload type {self.payload_type[:80]!r} is none of ours")
        return found[1]

    def to_json(self) -> dict[str, JsonValue]:
        """The envelope as JSON values; base64 is that of RFC 4648, section 4, with padding."""
        return {
            "payload": _base64(self.payload),
            "payloadType": self.payload_type,
            "signatures": [{"keyid": item.keyid, "sig": _base64(item.sig)} for item in self.signatures],
        }

    def to_bytes(self) -> bytes:
        """The envelope as canonical JSON text."""
        return encode(self.to_json())

    def digest(self) -> str:
        """SHA-256 in hex over the signed payload: the same with one signature and with two."""
        return hashlib.sha256(self.payload).hexdigest()

    @classmethod
    def from_json(cls, value: object, *, most: int = STATEMENT_MAX) -> Envelope:
        """Read an envelope from JSON values; encoding it again gives the same.

        Args:
            most: bytes that its JSON text may have.

        Raises:
            IntegrityError: a member is missing, extra or malformed, or the whole is longer.
        """
        document = _members(value, {"payload", "payloadType", "signatures"})
        media_type, payload, listed = document["payloadType"], document["payload"], document["signatures"]
        if not isinstance(media_type, str) or _TYPE.fullmatch(media_type) is None:
            raise IntegrityError("the envelope's payloadType is none of ours")
        if not isinstance(listed, list) or not 1 <= len(listed) <= SIGNATURES_MAX:
            raise IntegrityError(f"an envelope has 1 to {SIGNATURES_MAX} signatures")
        signatures = []
        for item in listed:
            members = _members(item, {"keyid", "sig"})
            keyid, sig = members["keyid"], _unbase64(members["sig"], "sig")
            if not isinstance(keyid, str) or re.fullmatch(r"[0-9a-f]{64}", keyid) is None:
                raise IntegrityError("a keyid is not 64 lowercase hex digits")
            if len(sig) != SIGNATURE_BYTES:
                raise IntegrityError("a signature is not 64 bytes")
            signatures.append(Signature(keyid, sig))
        if len({item.keyid for item in signatures}) != len(signatures):
            raise IntegrityError("two signatures name the same key")
        envelope = cls(media_type, _unbase64(payload, "payload", most), tuple(signatures))
        envelope.require_size(most)
        return envelope

    @classmethod
    def from_bytes(cls, data: bytes | str) -> Envelope:
        """Read an envelope from canonical JSON text.

        Raises:
            IntegrityError: too long, not canonical, or malformed.
        """
        data = data.encode() if isinstance(data, str) else data
        if len(data) > STATEMENT_MAX:
            raise IntegrityError(f"the envelope is longer than {STATEMENT_MAX} bytes")
        try:
            return cls.from_json(decode(data))
        except CanonicalError as error:
            raise IntegrityError(f"the envelope is not canonical JSON: {error}") from error

    def require_size(self, most: int = STATEMENT_MAX) -> None:
        """Refuse an envelope that is too long: by default one that no ledger entry could hold.

        Raises:
            IntegrityError: its JSON text has more bytes.
        """
        if len(self.to_bytes()) > most:
            raise IntegrityError(f"the envelope is longer than {most} bytes")

    def require_signature(self, key: Ed25519PublicKey) -> None:
        """Make sure that this key signed the payload; the order of signatures says nothing.

        Raises:
            IntegrityError: no signature by the key, or one that names the key and is not its.
        """
        message, hint, found = pae(self.payload_type, self.payload), key_id(key), False
        for item in self.signatures:
            try:
                key.verify(item.sig, message)
            except InvalidSignature:
                if hmac.compare_digest(item.keyid, hint):
                    raise IntegrityError("a signature that names the key is not its") from None
            else:
                found = True
        if not found:
            raise IntegrityError("the key did not sign the statement")

    def signed(self, key: Ed25519PrivateKey, *, most: int = STATEMENT_MAX) -> Envelope:
        """The envelope with this key's signature too, over the same bytes; unchanged where it has it.

        Raises:
            IntegrityError: a signature that names the key is not its, or there are four already.
        """
        public = key.public_key()
        hint = key_id(public)
        if any(item.keyid == hint for item in self.signatures):
            self.require_signature(public)
            return self
        if len(self.signatures) >= SIGNATURES_MAX:
            raise IntegrityError(f"an envelope has at most {SIGNATURES_MAX} signatures")
        made = Signature(hint, key.sign(pae(self.payload_type, self.payload)))
        envelope = replace(self, signatures=(*self.signatures, made))
        envelope.require_size(most)
        return envelope


def _members(value: object, names: set[str]) -> dict[str, object]:
    if not isinstance(value, dict) or set(value) != names:
        raise IntegrityError(f"expected an object with exactly {', '.join(sorted(names))}")
    return value


def _base64(data: bytes) -> str:
    return base64.b64encode(data).decode("ascii")


def _unbase64(value: object, name: str, most: int = STATEMENT_MAX) -> bytes:
    if not isinstance(value, str) or len(value) > 2 * most:
        raise IntegrityError(f"{name} is not base64")
    try:
        data = base64.b64decode(value, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError(f"{name} is not base64") from error
    if _base64(data) != value:
        raise IntegrityError(f"{name} is not base64 in its one form")
    return data
