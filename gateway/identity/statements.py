"""Signed statements between zones: who says it, to whom, in which process, from when until when.

A statement is a DSSE envelope whose payload is canonical JSON with exactly these members: issuer and audience
(zone and ledger origin), process, issued_at, expires_at, body. Binding all of them under the signature is what
keeps a statement from working twice: at another zone, after the other zone began a new ledger, in another
negotiation, or later.
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from typing import Final

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey

from gateway.config import parse_origin
from gateway.errors import ClockError, InputError, IntegrityError
from gateway.identity.dsse import Envelope, key_id, payload_type
from gateway.model.canonical import CanonicalError, JsonValue, decode, encode
from gateway.model.limits import CLOCK_LEEWAY_S, STATEMENT_MAX
from gateway.model.participant import parse_zone_name

TIME_MAX: Final = 7_258_118_400  # 2200-01-01

_KIND: Final = re.compile(r"[a-z][a-z0-9-]{0,39}")
_PROCESS: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9._:/@+-]{0,127}")
_MEMBERS: Final = frozenset({"issuer", "audience", "process", "issued_at", "expires_at", "body"})


@dataclass(frozen=True, slots=True)
class Party:
    """One side of a statement.

    Args:
        zone: the zone's name.
        origin: the origin of its ledger.

    Raises:
        InputError: one of them is malformed, or the origin is another zone's.
    """

    zone: str
    origin: str

    def __post_init__(self) -> None:
        parse_origin(self.origin, parse_zone_name(self.zone))

    def to_json(self) -> dict[str, JsonValue]:
        """The party as JSON values."""
        return {"zone": self.zone, "origin": self.origin}


@dataclass(frozen=True, slots=True)
class Statement:
    """What a verified envelope says; times are Unix seconds UTC."""

    kind: str
    issuer: Party
    audience: Party
    process: str
    issued_at: int
    expires_at: int
    body: dict[str, JsonValue]


class StatementSigner:
    """Signs a zone's statements with its statement key.

    Args:
        issuer: the zone that speaks.
        key: its statement key; never shown.
    """

    def __init__(self, issuer: Party, key: Ed25519PrivateKey) -> None:
        self.issuer = issuer
        self._key = key

    def __repr__(self) -> str:
        return f"StatementSigner(issuer={self.issuer!r}, keyid={self.keyid})"

    @property
    def public_key(self) -> Ed25519PublicKey:
        """The key that verifies."""
        return self._key.public_key()

    @property
    def keyid(self) -> str:
        """SHA-256 in hex over the raw public key."""
        return key_id(self.public_key)

    def sign(
        self,
        kind: str,
        body: dict[str, JsonValue],
        *,
        audience: Party,
        process: str,
        issued_at: int,
        expires_at: int,
        most: int = STATEMENT_MAX,
    ) -> Envelope:
        """Make and sign a statement.

        Args:
            kind: names the payload type: application/vnd.tdz.<kind>.v1+json.
            body: what is said; canonical JSON values.
            audience: to whom.
            process: id of the negotiation, agreement or transfer that it belongs to.
            issued_at: Unix seconds UTC.
            expires_at: Unix seconds UTC, after `issued_at`.
            most: bytes that the envelope may have; more than the default has no place on a ledger.

        Raises:
            InputError: kind, process, times or body have no place in a statement.
            IntegrityError: the envelope would be longer.
        """
        if _KIND.fullmatch(kind) is None or _PROCESS.fullmatch(process) is None:
            raise InputError(f"{kind!r} or {process!r} cannot stand in a statement")
        if not 0 < issued_at < expires_at <= TIME_MAX:
            raise InputError("a statement expires after it is issued")
        try:
            payload = encode(
                {
                    "issuer": self.issuer.to_json(),
                    "audience": audience.to_json(),
                    "process": process,
                    "issued_at": issued_at,
                    "expires_at": expires_at,
                    "body": body,
                }
            )
        except CanonicalError as error:
            raise InputError(f"the statement's body has no canonical form: {error}") from error
        return Envelope(payload_type(kind), payload, ()).signed(self._key, most=most)

    def countersign(self, envelope: Envelope) -> Envelope:
        """Add this zone's signature over the same payload bytes; unchanged where it stands already.

        The caller has verified the envelope and agrees with what it says.

        Raises:
            IntegrityError: a signature in it names this key and is not its.
        """
        return envelope.signed(self._key)


def verify_statement(
    envelope: Envelope,
    kind: str,
    *,
    key: Ed25519PublicKey,
    issuer: Party,
    audience: Party,
    now: int,
    leeway: int = CLOCK_LEEWAY_S,
) -> Statement:
    """Verify a statement of another zone, or of one's own; the security procedure of statements.

    1. The payload type is that of the expected kind.
    2. The key, which the caller took from the issuer's zone card, signed the payload's bytes.
    3. The payload is canonical JSON with exactly the members of a statement.
    4. Issuer and audience are, zone and origin, those expected.
    5. It was not issued in the future, and has not expired.

    Args:
        envelope: as received.
        kind: the expected kind.
        key: the issuer's statement key.
        issuer: who must have said it.
        audience: to whom it must have been said.
        now: Unix seconds UTC.
        leeway: seconds by which the two clocks may differ.

    Raises:
        IntegrityError: steps 1 to 4 failed, or it has expired.
        ClockError: it was issued more than `leeway` after `now`.
    """
    # 1.
    if envelope.payload_type != payload_type(kind):
        raise IntegrityError(f"expected a statement of kind {kind}, not {envelope.payload_type[:80]!r}")
    # 2.
    envelope.require_signature(key)
    # 3.
    statement = _parse(kind, envelope.payload)
    # 4.
    if statement.issuer != issuer:
        raise IntegrityError(f"the {kind} statement was issued by {statement.issuer}, not {issuer}")
    if statement.audience != audience:
        raise IntegrityError(f"the {kind} statement was made for {statement.audience}, not {audience}")
    # 5.
    if statement.issued_at > now + leeway:
        raise ClockError(
            f"the {kind} statement was issued {statement.issued_at - now} s in the future",
            remedy="compare both gateways' clocks with a time server",
        )
    if statement.expires_at + leeway <= now:
        raise IntegrityError(
            f"the {kind} statement expired {now - statement.expires_at} s ago", remedy="ask for a new one"
        )
    return statement


def read_unverified(envelope: Envelope) -> Statement:
    """What an envelope claims to say, for finding the key that must verify it; believe none of it.

    Raises:
        IntegrityError: the payload is malformed.
    """
    return _parse(envelope.kind, envelope.payload)


def _parse(kind: str, payload: bytes) -> Statement:
    try:
        document = decode(payload)
    except CanonicalError as error:
        raise IntegrityError(f"the {kind} statement is not canonical JSON: {error}") from error
    if not isinstance(document, dict) or frozenset(document) != _MEMBERS:
        raise IntegrityError(f"the {kind} statement has not exactly the members of a statement")
    process, body = document["process"], document["body"]
    issued_at, expires_at = document["issued_at"], document["expires_at"]
    if not isinstance(process, str) or _PROCESS.fullmatch(process) is None:
        raise IntegrityError(f"the {kind} statement's process is malformed")
    if not isinstance(body, dict):
        raise IntegrityError(f"the {kind} statement's body is no object")
    if type(issued_at) is not int or type(expires_at) is not int or not 0 < issued_at < expires_at <= TIME_MAX:
        raise IntegrityError(f"the {kind} statement's times are malformed")
    issuer, audience = _party(kind, document["issuer"]), _party(kind, document["audience"])
    return Statement(kind, issuer, audience, process, issued_at, expires_at, body)


def _party(kind: str, value: JsonValue) -> Party:
    if isinstance(value, dict) and set(value) == {"zone", "origin"}:
        zone, origin = value["zone"], value["origin"]
        if isinstance(zone, str) and isinstance(origin, str):
            try:
                return Party(zone, origin)
            except InputError as error:
                raise IntegrityError(f"the {kind} statement names a malformed party: {error.message}") from error
    raise IntegrityError(f"the {kind} statement's issuer or audience is malformed")
