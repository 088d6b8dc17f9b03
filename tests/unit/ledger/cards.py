"""Zone cards and signed statements for tests, with keys of one's own."""

from __future__ import annotations

import base64
import hashlib
from typing import Any

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey

from ledger import canonical
from ledger.envelope import pae

KIND = "application/vnd.tdz.decision.v1+json"


def make_card(zone: Any, statement: Ed25519PrivateKey, **changes: Any) -> bytes:
    """The card of a zone, signed by its log's key and its statement key."""
    name = zone.signer.name.split("/")[1]
    card: dict[str, Any] = {
        "ca": "-",
        "date": 1_790_000_000,
        "endpoint": "127.0.0.1:7443",
        "jurisdiction": "CN",
        "log": zone.signer.vkey,
        "mirror": zone.cosigner.vkey,
        "origin": zone.signer.name,
        "serial": 1,
        "statement_key": base64.b64encode(statement.public_key().public_bytes_raw()).decode(),
        "zone": name,
        **changes,
    }
    message = pae("application/vnd.tdz.zone-card.v1+json", canonical.encode(card))
    signatures = [zone.signer._key.sign(message), statement.sign(message)]
    lines = [{"keyid": "0" * 64, "sig": base64.b64encode(each).decode()} for each in signatures]
    return canonical.encode({"card": card, "signatures": lines})


def statement(key: Ed25519PrivateKey, issued_at: int) -> dict[str, Any]:
    """A DSSE envelope whose payload says when it was issued."""
    payload = canonical.encode({"body": {}, "issued_at": issued_at})
    return {
        "payload": base64.b64encode(payload).decode(),
        "payloadType": KIND,
        "signatures": [
            {
                "keyid": hashlib.sha256(key.public_key().public_bytes_raw()).hexdigest(),
                "sig": base64.b64encode(key.sign(pae(KIND, payload))).decode(),
            }
        ],
    }
