"""Zone cards, as far as a verifier of ledgers needs them: whose log and whose mirror have which keys.

A card file is canonical JSON ``{"card": {...}, "signatures": [{"keyid", "sig"}]}``. Log key and statement key sign
the DSSE pre-authentication encoding of the card's canonical bytes. That makes it whole, not trusted: trust rests on
its fingerprint, SHA-256 over the file, which comes from elsewhere. Its CA certificates are not judged here.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Final

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from ledger import canonical
from ledger.canonical import CanonicalError, JsonValue
from ledger.envelope import pae, unbase64
from ledger.errors import FormatError, LedgerError, SignatureError
from ledger.note import CosignatureVerifier, NoteVerifier

__all__ = ["MAX_CARD_BYTES", "Card"]

MAX_CARD_BYTES: Final = 64 * 1024

_TYPE: Final = "application/vnd.tdz.zone-card.v1+json"
_TEXTS: Final = ("ca", "endpoint", "jurisdiction", "log", "mirror", "origin", "statement_key", "zone")
_NUMBERS: Final = ("date", "serial")


@dataclass(frozen=True, slots=True)
class Card:
    """A card whose own keys signed it.

    Args:
        zone: the zone's name.
        origin: the origin of its ledger.
        log: the key of its log.
        mirror: the key with which it cosigns others' logs.
        statement_key: 32 bytes of Ed25519, which sign its statements.
        serial: rises with each card of the zone.
        date: Unix seconds UTC.
        fingerprint: SHA-256 in hex over the file.
    """

    zone: str
    origin: str
    log: NoteVerifier
    mirror: CosignatureVerifier
    statement_key: bytes
    serial: int
    date: int
    fingerprint: str

    @property
    def line(self) -> str:
        """What was verified of it, in words."""
        try:
            date = f"{datetime.fromtimestamp(self.date, UTC):%Y-%m-%d}"
        except (ValueError, OverflowError, OSError):
            date = f"{self.date} s after 1970"
        return (
            f"card of {self.zone}, serial {self.serial}, of {date}: signed by its log and statement keys; "
            f"trust it where its fingerprint is {self.fingerprint}"
        )

    @classmethod
    def parse(cls, data: bytes) -> Card:
        """Read and verify a card file.

        Raises:
            FormatError: not a card.
            SignatureError: one of its own two keys did not sign it.
        """
        if len(data) > MAX_CARD_BYTES:
            raise FormatError(f"a zone card has at most {MAX_CARD_BYTES} bytes")
        try:
            document = canonical.decode(data)
        except CanonicalError as error:
            raise FormatError(f"the zone card is not canonical JSON: {error}") from error
        if not isinstance(document, dict) or document.keys() != {"card", "signatures"}:
            raise FormatError("a zone card file has exactly card and signatures")
        content = document["card"]
        card = cls._read(content, hashlib.sha256(data).hexdigest())
        message = pae(_TYPE, canonical.encode(content))
        signatures = _signatures(document["signatures"])
        for name, key in (("log", card.log.vkey.key), ("statement", card.statement_key)):
            if not any(_verifies(key, signature, message) for signature in signatures):
                raise SignatureError(f"the zone card is not signed by the {name} key that it names")
        return card

    @classmethod
    def _read(cls, value: JsonValue, fingerprint: str) -> Card:
        if not isinstance(value, dict) or value.keys() != {*_TEXTS, *_NUMBERS}:
            raise FormatError(f"a zone card has exactly {', '.join(sorted((*_TEXTS, *_NUMBERS)))}")
        texts = {name: each for name in _TEXTS if isinstance(each := value[name], str)}
        numbers = {name: each for name in _NUMBERS if type(each := value[name]) is int}
        if len(texts) != len(_TEXTS) or len(numbers) != len(_NUMBERS) or min(numbers.values()) < 1:
            raise FormatError("a member of the zone card has another type")
        zone, origin = texts["zone"], texts["origin"]
        try:
            log, mirror = NoteVerifier(texts["log"]), CosignatureVerifier(texts["mirror"])
        except LedgerError as error:
            raise FormatError(f"a key of the zone card: {error.message}") from error
        if log.vkey.name != origin or not origin.startswith(f"tdz/{zone}/") or mirror.vkey.name != f"tdz/{zone}/mirror":
            raise FormatError("the names of the zone card's keys are not those of its zone and origin")
        statement_key = unbase64(texts["statement_key"])
        if statement_key is None or len(statement_key) != 32:
            raise FormatError("the zone card's statement key is not 32 bytes of base64")
        if len({statement_key, log.vkey.key, mirror.vkey.key}) != 3:
            raise FormatError("the zone card names one key twice")
        return cls(zone, origin, log, mirror, statement_key, numbers["serial"], numbers["date"], fingerprint)


def _signatures(value: JsonValue) -> list[bytes]:
    found = []
    for each in value if isinstance(value, list) and len(value) <= 4 else ():
        if not isinstance(each, dict) or each.keys() != {"keyid", "sig"}:
            raise FormatError("a signature of the zone card has exactly keyid and sig")
        sig = each["sig"]
        signature = unbase64(sig) if isinstance(sig, str) else None
        if signature is None:
            raise FormatError("a signature of the zone card is not base64")
        found.append(signature)
    return found


def _verifies(key: bytes, signature: bytes, message: bytes) -> bool:
    try:
        Ed25519PublicKey.from_public_bytes(key).verify(signature, message)
    except (InvalidSignature, ValueError):
        return False
    return True
