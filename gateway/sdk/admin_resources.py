"""What a zone's administrators and auditors hear from their gateway, as plain frozen objects; see `resources`."""

from __future__ import annotations

import enum
import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Final, Self

from gateway.sdk.resources import Resource

_COMPOSED: Final = frozenset({"peers", "witnesses", "timestamps"})


class SecondKey(enum.StrEnum):
    """What happens to the live certificates of an id when a further key is approved."""

    REFUSE = "refuse"
    RENEW = "renew"
    REPLACE = "replace"


class Reason(enum.StrEnum):
    """Why a certificate is revoked (RFC 5280, section 5.3.1)."""

    KEY_COMPROMISE = "key-compromise"
    AFFILIATION_CHANGED = "affiliation-changed"
    SUPERSEDED = "superseded"
    CESSATION = "cessation"
    PRIVILEGE_WITHDRAWN = "privilege-withdrawn"


@dataclass(frozen=True, slots=True)
class Peer(Resource):
    """A paired zone; `reachable` and `detail` are known in a status only."""

    zone: str
    jurisdiction: str
    endpoint: str
    origin: str
    fingerprint: str
    serial: int
    paired_at: int
    reachable: bool
    detail: str


@dataclass(frozen=True, slots=True)
class Witness(Resource):
    """A witness of the zone's ledger; no quorum is reached without one that is `needed`."""

    name: str
    url: str
    vkey: str
    size: int
    cosigned_at: int
    needed: bool
    reachable: bool
    detail: str


@dataclass(frozen=True, slots=True)
class TimeStamps(Resource):
    """How an RFC 3161 authority stamps the ledger's checkpoints; `failure` says why the last try came to nothing."""

    authority: str
    size: int
    stamped_at: int
    judged: bool
    failure: str


@dataclass(frozen=True, slots=True)
class ZoneStatus(Resource):
    """What the gateway is, whom it is paired with and how far its ledger is."""

    zone: str
    jurisdiction: str
    endpoint: str
    origin: str
    card_fingerprint: str
    peers: tuple[Peer, ...]
    ledger_size: int
    witnessed_size: int
    certificate_not_after: int
    now: int
    witnesses: tuple[Witness, ...] = ()
    timestamps: TimeStamps | None = None

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        names = [name for name in cls.__dataclass_fields__ if name not in _COMPOSED]
        peers = tuple(Peer.of(peer) for peer in message.peers)
        witnesses = tuple(Witness.of(each) for each in message.witnesses)
        stamps = TimeStamps.of(message.timestamps) if message.HasField("timestamps") else None
        plain = {name: getattr(message, name) for name in names}
        return cls(peers=peers, witnesses=witnesses, timestamps=stamps, **plain)


@dataclass(frozen=True, slots=True)
class Pairing(Resource):
    """What became of a card: `paired`, `replaced`, `unchanged`, or `confirm`: nothing yet, say yes to the changes."""

    outcome: str
    peer: Peer
    changed: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Certificate(Resource):
    """A certificate as the zone's register has it; `revoked_at` 0 while it is not revoked; `signing` or for TLS."""

    pem: str
    uri: str
    fingerprint: str
    key_fingerprint: str
    serial: str
    not_before: int
    not_after: int
    revoked_at: int
    reason: str
    signing: bool


@dataclass(frozen=True, slots=True)
class Approval(Resource):
    """What an approval brought: the certificate, or how many other administrators must approve, and until when."""

    certificate: Certificate | None
    missing: int = 0
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class KeyRotation(Resource):
    """The ledger's newest key, and the card that names it; the old key's file is needed until it is `finished`."""

    vkey: str
    card: bytes
    fingerprint: str
    finished: bool

    def document(self) -> dict[str, Any]:
        """The resource as JSON values, the card as its text."""
        return {
            "vkey": self.vkey,
            "card": self.card.decode(),
            "fingerprint": self.fingerprint,
            "finished": self.finished,
        }


@dataclass(frozen=True, slots=True)
class Erasure(Resource):
    """The entry `erasure`, or how many other administrators must ask for the same, and until when."""

    erasure: int | None
    missing: int = 0
    expires_at: int = 0


@dataclass(frozen=True, slots=True)
class Participant(Resource):
    """An institution of the register; `exporter` and `recipient` are parts of the policy input."""

    uri: str
    exporter: Mapping[str, Any]
    recipient: Mapping[str, Any]
    updated_at: int

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        return cls(message.uri, json.loads(message.exporter), json.loads(message.recipient), message.updated_at)


@dataclass(frozen=True, slots=True)
class Mechanism(Resource):
    """A registered legal mechanism; `document` is the member of the policy input; `withdrawn_at` 0 while it serves."""

    ref: str
    mechanism: Mapping[str, Any]
    added_at: int
    withdrawn_at: int

    @classmethod
    def of(cls, message: Any) -> Self:
        """Read the wire form."""
        return cls(message.ref, json.loads(message.document), message.added_at, message.withdrawn_at)


@dataclass(frozen=True, slots=True)
class Signer(Resource):
    """An outside signer whose signatures on models count; `removed_at` 0 while they do."""

    fingerprint: str
    name: str
    public_key: str
    added_at: int
    removed_at: int
