"""Zone cards: what a zone says of itself once, so that another zone's administrator can admit it.

A card file is canonical JSON `{"card": {...}, "signatures": [{"keyid", "sig"}]}`. The signatures are Ed25519 over
the DSSE pre-authentication encoding of the card's canonical bytes, by the log's key and by the statement key: a
zone holds both. The fingerprint, which administrators compare over another channel, is SHA-256 over the file.
"""

from __future__ import annotations

import base64
import binascii
import datetime
import hashlib
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final, Literal, cast

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PublicKey

from gateway.config import Address, parse_origin
from gateway.errors import ConflictError, InputError, IntegrityError, TdzError
from gateway.identity.authority import ca_subject
from gateway.identity.dsse import SIGNATURES_MAX, Envelope, Signature, key_id, pae, payload_type
from gateway.identity.keys import key_fingerprint, raw_public, require_p256
from gateway.identity.statements import Party
from gateway.identity.verifier import TrustedZone
from gateway.model.canonical import CanonicalError, JsonValue, decode, encode
from gateway.model.limits import CARD_MAX
from gateway.model.participant import parse_zone_name

CARD_KIND: Final = "zone-card"
LOG_KEY_TYPE: Final = 0x01
MIRROR_KEY_TYPE: Final = 0x04
AUTHORITIES_MAX: Final = 2
SERIAL_MAX: Final = (1 << 53) - 1

_MEMBERS: Final = (
    "ca",
    "date",
    "endpoint",
    "jurisdiction",
    "log",
    "mirror",
    "origin",
    "serial",
    "statement_key",
    "zone",
)


@dataclass(frozen=True, slots=True)
class ZoneCard:
    """A zone as it describes itself.

    Args:
        zone: the zone's name.
        jurisdiction: whose law it is under; the policy input takes it from here.
        endpoint: where its gateway is reached, host:port.
        ca: its CA's certificate, PEM; two while it is being replaced.
        origin: the origin of its ledger.
        log: the log's key, a C2SP vkey named by the origin, type 0x01.
        mirror: its mirror cosigner's key, a C2SP vkey named tdz/<zone>/mirror, type 0x04.
        statement_key: 32 bytes of Ed25519.
        serial: rises with every card of the zone.
        date: Unix seconds UTC.

    Raises:
        InputError: a member is malformed.
    """

    zone: str
    jurisdiction: Literal["CN", "MY"]
    endpoint: str
    ca: str
    origin: str
    log: str
    mirror: str
    statement_key: bytes
    serial: int
    date: int

    def __post_init__(self) -> None:
        parse_origin(self.origin, parse_zone_name(self.zone))
        Address.parse(self.endpoint)
        if self.jurisdiction not in ("CN", "MY"):
            raise InputError("the card's jurisdiction is neither CN nor MY")
        if not 1 <= self.serial <= SERIAL_MAX or not 0 < self.date <= SERIAL_MAX:
            raise InputError("the card's serial or date is out of bounds")
        if len(self.statement_key) != 32:
            raise InputError("the card's statement key is not 32 bytes")
        keys = (
            self.statement_key,
            parse_vkey(self.log, name=self.origin, key_type=LOG_KEY_TYPE),
            parse_vkey(self.mirror, name=f"tdz/{self.zone}/mirror", key_type=MIRROR_KEY_TYPE),
        )
        if len(set(keys)) != len(keys):
            raise InputError("the card names one key twice", remedy="log, mirror and statements have keys of their own")
        _authorities(self.zone, self.ca)

    @property
    def party(self) -> Party:
        """The zone as issuer or audience of statements."""
        return Party(self.zone, self.origin)

    @property
    def trusted(self) -> TrustedZone:
        """The zone as the verifier knows it; another object for each call."""
        return TrustedZone(self.zone, _authorities(self.zone, self.ca))

    def verification_key(self) -> Ed25519PublicKey:
        """The key that verifies the zone's statements."""
        return Ed25519PublicKey.from_public_bytes(self.statement_key)

    def log_key(self) -> Ed25519PublicKey:
        """The key of the zone's log."""
        raw = parse_vkey(self.log, name=self.origin, key_type=LOG_KEY_TYPE)
        return Ed25519PublicKey.from_public_bytes(raw)

    def to_json(self) -> dict[str, JsonValue]:
        """The card as JSON values."""
        return {
            "ca": self.ca,
            "date": self.date,
            "endpoint": self.endpoint,
            "jurisdiction": self.jurisdiction,
            "log": self.log,
            "mirror": self.mirror,
            "origin": self.origin,
            "serial": self.serial,
            "statement_key": base64.b64encode(self.statement_key).decode("ascii"),
            "zone": self.zone,
        }

    def changed(self, other: ZoneCard) -> tuple[str, ...]:
        """The members in which two cards differ, serial and date left out."""
        mine, theirs = self.to_json(), other.to_json()
        return tuple(name for name in mine if name not in ("serial", "date") and mine[name] != theirs[name])


@dataclass(frozen=True, slots=True)
class SignedCard:
    """A card whose own two keys signed it.

    Args:
        card: what it says.
        data: the file's exact bytes.
        signatures: over the card.
    """

    card: ZoneCard
    data: bytes
    signatures: tuple[Signature, ...]

    @property
    def fingerprint(self) -> str:
        """SHA-256 in hex over the file's bytes."""
        return hashlib.sha256(self.data).hexdigest()

    def require_signature(self, key: Ed25519PublicKey) -> None:
        """Make sure that this key signed the card.

        Raises:
            IntegrityError: it did not.
        """
        payload = encode(self.card.to_json())
        Envelope(payload_type(CARD_KIND), payload, self.signatures).require_signature(key)


Sign = Callable[[bytes], bytes]


def sign_card(
    card: ZoneCard, *, log: Sign, statement: Sign, previous: tuple[Ed25519PublicKey, Sign] | None = None
) -> SignedCard:
    """Sign a card.

    Args:
        card: the card.
        log: makes the log key's Ed25519 signature over the bytes that it is given.
        statement: the same for the statement key.
        previous: a key of the last card and its signer, where both keys are new.

    Raises:
        IntegrityError: a signer is not the key that the card names.
    """
    payload = encode(card.to_json())
    message = pae(payload_type(CARD_KIND), payload)
    signatures = [
        Signature(key_id(card.log_key()), log(message)),
        Signature(key_id(card.verification_key()), statement(message)),
    ]
    if previous is not None:
        signatures.append(Signature(key_id(previous[0]), previous[1](message)))
    document: dict[str, JsonValue] = {
        "card": card.to_json(),
        "signatures": [{"keyid": item.keyid, "sig": base64.b64encode(item.sig).decode("ascii")} for item in signatures],
    }
    return read_card(encode(document))


def read_card(data: bytes) -> SignedCard:
    """Read and verify a card file: bounded, canonical, well-formed, signed by both keys that it names.

    That makes it whole, not trusted: an administrator trusts it by its fingerprint.

    Raises:
        IntegrityError: it is not.
    """
    if len(data) > CARD_MAX:
        raise IntegrityError(f"the card is longer than {CARD_MAX} bytes")
    try:
        document = decode(data)
        if not isinstance(document, dict) or set(document) != {"card", "signatures"}:
            raise IntegrityError("a card file has exactly card and signatures")
        card = _card(document["card"])
        signatures = _signatures(document["signatures"])
    except (CanonicalError, InputError) as error:
        text = error.message if isinstance(error, TdzError) else str(error)
        raise IntegrityError(f"the card is malformed: {text}", remedy="ask its zone for the file again") from error
    signed = SignedCard(card, data, signatures)
    signed.require_signature(card.log_key())
    signed.require_signature(card.verification_key())
    return signed


def require_successor(last: SignedCard, new: SignedCard) -> None:
    """Make sure that a card may replace the last one of its zone, once an administrator confirms.

    1. It is of the same zone and jurisdiction.
    2. Its serial is higher; never the same, never lower.
    3. A key of the last card, the log's or the statements', signed it.

    Raises:
        ConflictError: steps 1 or 2 failed.
        IntegrityError: step 3 failed.
    """
    # 1.
    if (new.card.zone, new.card.jurisdiction) != (last.card.zone, last.card.jurisdiction):
        raise ConflictError("the card is of another zone or jurisdiction", remedy="unpair first, then pair anew")
    # 2.
    if new.card.serial <= last.card.serial:
        raise ConflictError(
            f"the card's serial {new.card.serial} is not above {last.card.serial}, which was seen",
            remedy="ask its zone for the newest card",
        )
    # 3.
    for key in (last.card.log_key(), last.card.verification_key()):
        try:
            new.require_signature(key)
        except IntegrityError:
            continue
        return
    raise IntegrityError(
        "no key of the card in force signed the new card", remedy="unpair, then pair anew by fingerprint"
    )


def parse_vkey(text: str, *, name: str, key_type: int) -> bytes:
    """The 32 bytes of Ed25519 in a C2SP note verifier key `<name>+<key id>+<base64(type, key)>`.

    SPEC (signed-note): key ID = SHA-256(key name || 0x0A || signature type || public key)[:4]

    Raises:
        InputError: malformed, of another name or type.
    """
    try:
        found, digest, encoded = text.split("+", 2)
        blob = base64.b64decode(encoded, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError(f"a key of the card is no vkey: {text[:80]!r}") from error
    identifier = hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4].hex()
    one_form = base64.b64encode(blob).decode("ascii") == encoded
    if found != name or len(blob) != 33 or blob[0] != key_type or digest != identifier or not one_form:
        raise InputError(f"a key of the card is not {name}'s of type {key_type:#04x}")
    return blob[1:]


def make_vkey(name: str, key: Ed25519PublicKey, key_type: int) -> str:
    """A C2SP note verifier key."""
    blob = bytes([key_type]) + raw_public(key)
    identifier = hashlib.sha256(name.encode() + b"\n" + blob).digest()[:4].hex()
    return f"{name}+{identifier}+{base64.b64encode(blob).decode('ascii')}"


def _authorities(zone: str, pem: str) -> tuple[x509.Certificate, ...]:
    """The CA certificates of a card: self-signed, P-256, named for the zone, with no CA below them.

    Subject and key identifier are fixed by zone and key, so that no card can put a CA into the TLS pool that
    hides another zone's.
    """
    try:
        found = tuple(x509.load_pem_x509_certificates(pem.encode("ascii")))
        for certificate in found:
            key = require_p256(certificate.public_key())
            certificate.verify_directly_issued_by(certificate)
            extensions = certificate.extensions
            constraints = extensions.get_extension_for_class(x509.BasicConstraints)
            identifier = extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
            sound = (
                constraints.critical
                and constraints.value == x509.BasicConstraints(ca=True, path_length=0)
                and certificate.subject == ca_subject(zone)
                and identifier == x509.SubjectKeyIdentifier.from_public_key(key)
            )
            if not sound:
                raise InputError(f"the card's CA is not that of a zone named {zone}")
    except (ValueError, TypeError, InvalidSignature, x509.ExtensionNotFound) as error:
        raise InputError("the card's CA is not a self-signed certificate in PEM") from error
    if not 1 <= len(found) <= AUTHORITIES_MAX:
        raise InputError(f"a card has 1 to {AUTHORITIES_MAX} CA certificates")
    return found


def authority_keys(card: ZoneCard) -> frozenset[str]:
    """Fingerprints of the keys of a card's CAs."""
    return frozenset(key_fingerprint(item.public_key()) for item in _authorities(card.zone, card.ca))


def expired_authority(card: ZoneCard, now: int) -> bool:
    """Whether none of a card's CAs is within its dates."""
    when = datetime.datetime.fromtimestamp(now, tz=datetime.UTC)
    found = _authorities(card.zone, card.ca)
    return not any(item.not_valid_before_utc <= when < item.not_valid_after_utc for item in found)


def _card(value: JsonValue) -> ZoneCard:
    if not isinstance(value, dict) or set(value) != set(_MEMBERS):
        raise InputError(f"a card has exactly {', '.join(_MEMBERS)}")
    texts = {name: item for name, item in value.items() if isinstance(item, str)}
    numbers = {name: item for name, item in value.items() if type(item) is int}
    if set(numbers) != {"serial", "date"} or len(texts) + len(numbers) != len(_MEMBERS):
        raise InputError("a member of the card is of another type")
    return ZoneCard(
        zone=texts["zone"],
        jurisdiction=cast("Literal['CN', 'MY']", texts["jurisdiction"]),
        endpoint=texts["endpoint"],
        ca=texts["ca"],
        origin=texts["origin"],
        log=texts["log"],
        mirror=texts["mirror"],
        statement_key=_base64(texts["statement_key"]),
        serial=numbers["serial"],
        date=numbers["date"],
    )


def _signatures(value: JsonValue) -> tuple[Signature, ...]:
    if not isinstance(value, list) or not 2 <= len(value) <= SIGNATURES_MAX:
        raise InputError(f"a card has 2 to {SIGNATURES_MAX} signatures")
    found = []
    for item in value:
        if not isinstance(item, dict) or set(item) != {"keyid", "sig"}:
            raise InputError("a signature has exactly keyid and sig")
        keyid, sig = item["keyid"], item["sig"]
        if not isinstance(keyid, str) or not isinstance(sig, str):
            raise InputError("a signature's members are texts")
        found.append(Signature(keyid, _base64(sig)))
    return tuple(found)


def _base64(text: str) -> bytes:
    try:
        data = base64.b64decode(text, validate=True)
    except (ValueError, binascii.Error) as error:
        raise InputError("a key or signature of the card is not base64") from error
    if base64.b64encode(data).decode("ascii") != text:
        raise InputError("a key or signature of the card is not base64 in its one form")
    return data
