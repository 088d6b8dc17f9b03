"""Signed notes (C2SP signed-note) and cosignatures (C2SP tlog-cosignature, Ed25519).

Parsing is strict: what was parsed, written again, gives the same bytes. A key id is a hint of four bytes; trust
rests on the verifier key that the caller brings.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Final, Protocol

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from ledger.errors import NoteError, SignatureError

__all__ = [
    "COSIGNATURE_V1",
    "ED25519",
    "MAX_NOTE_BYTES",
    "ML_DSA_44",
    "CosignatureSigner",
    "CosignatureVerifier",
    "Note",
    "NoteSigner",
    "NoteVerifier",
    "OpenedNote",
    "Signature",
    "Verified",
    "Verifier",
    "VerifierKey",
    "check_note",
    "open_note",
    "verifier",
]

ED25519: Final = 0x01
COSIGNATURE_V1: Final = 0x04
ML_DSA_44: Final = 0x06
"""Reserved: parsed in keys, not verified here yet. Its signatures are random, so compare note texts, never notes."""

MAX_NOTE_BYTES: Final = 256 * 1024
MAX_SIGNATURES: Final = 64
_MAX_TIMESTAMP: Final = 2**63 - 1
_CONTROL: Final = re.compile(r"[\x00-\x09\x0b-\x1f]")


@dataclass(frozen=True, slots=True)
class Signature:
    """One signature line: ``— <name> base64(key id || blob)``."""

    name: str
    key_id: bytes
    blob: bytes

    @property
    def line(self) -> str:
        """The line, without its newline."""
        return f"— {self.name} {base64.b64encode(self.key_id + self.blob).decode()}"

    @classmethod
    def parse(cls, line: str) -> Signature:
        """Parse one line without its newline.

        Raises:
            NoteError: not a signature line in its one form.
        """
        parts = line.split(" ")
        if len(parts) != 3 or parts[0] != "—":
            raise NoteError("not a signature line")
        _check_name(parts[1])
        raw = _decode_base64(parts[2], "signature")
        if len(raw) < 5:
            raise NoteError("a signature is shorter than its key id")
        return cls(parts[1], raw[:4], raw[4:])


@dataclass(frozen=True, slots=True)
class Note:
    """A text, which ends in a newline, and its signatures, none of them verified."""

    text: str
    signatures: tuple[Signature, ...]

    def encode(self) -> bytes:
        """The note's bytes."""
        return (self.text + "\n" + "".join(f"{each.line}\n" for each in self.signatures)).encode()

    @classmethod
    def parse(cls, data: bytes) -> Note:
        """Split a note into text and signatures.

        Raises:
            NoteError: not a note, more than 64 signatures or 256 KiB.
        """
        if len(data) > MAX_NOTE_BYTES:
            raise NoteError(f"a note has at most {MAX_NOTE_BYTES} bytes")
        try:
            whole = data.decode("utf-8")
        except UnicodeDecodeError as error:
            raise NoteError("a note is UTF-8") from error
        # SPEC signed-note: MUST NOT contain any ASCII control characters other than newline.
        if _CONTROL.search(whole):
            raise NoteError("a note holds no control characters")
        # SPEC signed-note: the text is separated from the signatures by the last empty line.
        text, separator, tail = whole.rpartition("\n\n")
        if not separator or not tail.endswith("\n"):
            raise NoteError("no signatures after an empty line")
        lines = tail[:-1].split("\n")
        if len(lines) > MAX_SIGNATURES:
            raise NoteError(f"more than {MAX_SIGNATURES} signatures")
        return cls(text + "\n", tuple(Signature.parse(line) for line in lines))


@dataclass(frozen=True, slots=True)
class VerifierKey:
    """A verifier key as text: ``<name>+<key id in hex>+<base64 of type and key>``."""

    name: str
    type: int
    key: bytes

    @property
    def key_id(self) -> bytes:
        """SHA-256(name || 0x0A || type || key), its first four bytes."""
        return hashlib.sha256(self.name.encode() + b"\n" + bytes([self.type]) + self.key).digest()[:4]

    def __str__(self) -> str:
        encoded = base64.b64encode(bytes([self.type]) + self.key).decode()
        return f"{self.name}+{self.key_id.hex()}+{encoded}"

    @classmethod
    def parse(cls, text: str) -> VerifierKey:
        """Parse a verifier key.

        Raises:
            NoteError: not in its one form, or its key id is not that of its key.
        """
        parts = text.split("+", 2)
        if len(parts) != 3:
            raise NoteError("a verifier key is <name>+<key id>+<base64>")
        _check_name(parts[0])
        raw = _decode_base64(parts[2], "verifier key")
        if not raw:
            raise NoteError("a verifier key without a key")
        key = cls(parts[0], raw[0], raw[1:])
        if str(key) != text:
            raise NoteError("the verifier key's id is not that of its name and key")
        return key


@dataclass(frozen=True, slots=True)
class Verified:
    """A signature that a known key made.

    ``time`` is the cosignature's in seconds since 1970, and None for a plain signature.
    """

    vkey: str
    name: str
    time: int | None
    line: str


class Verifier(Protocol):
    """Checks the signatures of one key."""

    @property
    def vkey(self) -> VerifierKey:
        """The key."""
        ...

    def verify(self, text: str, signature: Signature) -> Verified:
        """Check a signature that bears this key's name and id.

        Raises:
            SignatureError: it is not this key's over this text.
        """
        ...


class NoteVerifier:
    """Verifies plain Ed25519 note signatures (type 0x01)."""

    def __init__(self, vkey: str) -> None:
        self.vkey = _key_of_type(vkey, ED25519, "a log's key")
        self._key = _public_key(self.vkey)

    def verify(self, text: str, signature: Signature) -> Verified:
        """See :class:`Verifier`."""
        _verify(self._key, signature.blob, text.encode(), self.vkey.name)
        return Verified(str(self.vkey), self.vkey.name, None, signature.line)


class CosignatureVerifier:
    """Verifies timestamped Ed25519 cosignatures (type 0x04)."""

    def __init__(self, vkey: str) -> None:
        self.vkey = _key_of_type(vkey, COSIGNATURE_V1, "a cosigner's key")
        self._key = _public_key(self.vkey)

    def verify(self, text: str, signature: Signature) -> Verified:
        """See :class:`Verifier`."""
        if len(signature.blob) != 72:
            raise SignatureError(f"a cosignature of {self.vkey.name} has 72 bytes, not {len(signature.blob)}")
        seconds = int.from_bytes(signature.blob[:8], "big")
        # SPEC tlog-cosignature: the timestamp MUST NOT exceed 2^63 - 1.
        if seconds > _MAX_TIMESTAMP:
            raise SignatureError(f"a cosignature of {self.vkey.name} has no possible time")
        _verify(self._key, signature.blob[8:], _cosigned(text, seconds), self.vkey.name)
        return Verified(str(self.vkey), self.vkey.name, seconds, signature.line)


class NoteSigner:
    """Signs notes as a log does (type 0x01). Its repr shows the public key only.

    Args:
        name: the key's name; for a log its origin.
        key: the private key.
    """

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        _check_name(name)
        self.name = name
        self._key = key
        self._vkey = VerifierKey(name, ED25519, _raw(key))

    def __repr__(self) -> str:
        return f"NoteSigner({self.vkey})"

    @property
    def vkey(self) -> str:
        """The verifier key."""
        return str(self._vkey)

    def sign(self, text: str) -> str:
        """Return the signature line over a text, without its newline."""
        return Signature(self.name, self._vkey.key_id, self._key.sign(text.encode())).line


class CosignatureSigner:
    """Cosigns checkpoints (type 0x04, cosignature/v1). Its repr shows the public key only.

    SPEC tlog-cosignature: the signed message does not hold the name, so a key serves one cosigner only.
    """

    def __init__(self, name: str, key: Ed25519PrivateKey) -> None:
        _check_name(name)
        self.name = name
        self._key = key
        self._vkey = VerifierKey(name, COSIGNATURE_V1, _raw(key))

    def __repr__(self) -> str:
        return f"CosignatureSigner({self.vkey})"

    @property
    def vkey(self) -> str:
        """The verifier key."""
        return str(self._vkey)

    def cosign(self, text: str, unix_seconds: int) -> str:
        """Return the cosignature line over a checkpoint's text, without its newline."""
        if not 0 <= unix_seconds <= _MAX_TIMESTAMP:
            raise NoteError(f"{unix_seconds} is no time for a cosignature")
        blob = unix_seconds.to_bytes(8, "big") + self._key.sign(_cosigned(text, unix_seconds))
        return Signature(self.name, self._vkey.key_id, blob).line


@dataclass(frozen=True, slots=True)
class OpenedNote:
    """A note with at least the signatures that were asked for."""

    text: str
    verified: tuple[Verified, ...]
    unknown: tuple[Signature, ...]


def open_note(data: bytes, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Verify a note against known keys.

    Returns:
        Its text, with the signatures of known keys; the others are counted, never trusted.

    Raises:
        NoteError: not a note.
        SignatureError: a known signer's signature is wrong, or no known signer signed.
    """
    opened = check_note(Note.parse(data), verifiers)
    # SPEC signed-note: if no signature from a known key verifies, clients MUST reject the note.
    if not opened.verified:
        raise SignatureError("no known key signed this note")
    return opened


def check_note(note: Note, verifiers: Iterable[Verifier]) -> OpenedNote:
    """Verify the signatures of known keys on a parsed note; there may be none.

    Raises:
        SignatureError: a known signer's signature is wrong.
    """
    known = {(each.vkey.name, each.vkey.key_id): each for each in verifiers}
    verified: list[Verified] = []
    unknown: list[Signature] = []
    for signature in note.signatures:
        # SPEC signed-note: name and key id together identify the key; one alone is an unknown signer.
        match = known.get((signature.name, signature.key_id))
        if match is None:
            unknown.append(signature)
        else:
            verified.append(match.verify(note.text, signature))
    return OpenedNote(note.text, tuple(verified), tuple(unknown))


def verifier(vkey: str) -> Verifier:
    """Return the verifier that a key's type asks for.

    Raises:
        NoteError: not a verifier key, or of a type that is not supported.
    """
    kind = VerifierKey.parse(vkey).type
    if kind == ED25519:
        return NoteVerifier(vkey)
    if kind == COSIGNATURE_V1:
        return CosignatureVerifier(vkey)
    raise NoteError(f"keys of type 0x{kind:02x} are not supported")


def _cosigned(text: str, seconds: int) -> bytes:
    # SPEC tlog-cosignature: two header lines, then the whole note body.
    return f"cosignature/v1\ntime {seconds}\n{text}".encode()


def _verify(key: Ed25519PublicKey, signature: bytes, message: bytes, name: str) -> None:
    try:
        key.verify(signature, message)
    except InvalidSignature as error:
        raise SignatureError(f"the signature of {name} is not over this text") from error


def _raw(key: Ed25519PrivateKey) -> bytes:
    return key.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)


def _key_of_type(vkey: str, kind: int, what: str) -> VerifierKey:
    key = VerifierKey.parse(vkey)
    if key.type != kind:
        raise NoteError(f"{what} has type 0x{kind:02x}, not 0x{key.type:02x}")
    return key


def _public_key(vkey: VerifierKey) -> Ed25519PublicKey:
    try:
        return Ed25519PublicKey.from_public_bytes(vkey.key)
    except ValueError as error:
        raise NoteError(f"{vkey.name}: not an Ed25519 key") from error


def _check_name(name: str) -> None:
    # SPEC signed-note: non-empty, no Unicode spaces, no plus.
    if not name or "+" in name or any(each.isspace() or each < " " for each in name):
        raise NoteError(f"{name!r} is not a key name")


def _decode_base64(text: str, what: str) -> bytes:
    try:
        raw = base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise NoteError(f"a {what} is not base64") from error
    if base64.b64encode(raw).decode() != text:
        raise NoteError(f"a {what} is base64 in another than its one form")
    return raw
