"""OPA's bundle signature: `.signatures.json` with one JWT whose payload lists every file with its SHA-256.

https://www.openpolicyagent.org/docs/management-bundles/#signing. Of the JWS algorithms that OPA knows two are taken,
and the key alone says which: ES256 for a P-256 key, RS256 for RSA from 2,048 bits (RFC 7518, sections 3.3 and 3.4).
The header's `alg` must be that one, so neither `none` nor an HMAC with the public key as its secret is ever tried
(RFC 8725, sections 2.1 and 3.1). `keyid` names the key; a key that a token carries itself is not looked at.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
import re
from collections.abc import Mapping
from typing import Any, Final, NoReturn, TypeAlias

from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, padding, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature, encode_dss_signature

from gateway.errors import IntegrityError
from gateway.model.limits import BUNDLE_FILES_MAX

SIGNATURES: Final = ".signatures.json"
KEYID: Final = re.compile(r"[A-Za-z0-9][A-Za-z0-9_.-]{0,63}", re.ASCII)
STRUCTURED: Final = frozenset({".manifest", "data.json"})
"""Hashed by content, not by bytes, as OPA does: it stores them anew when it builds a bundle."""

PrivateKey: TypeAlias = ec.EllipticCurvePrivateKey | rsa.RSAPrivateKey
PublicKey: TypeAlias = ec.EllipticCurvePublicKey | rsa.RSAPublicKey

_COORDINATE: Final = 32
_DEPTH_MAX: Final = 32  # as canonical JSON has it
_PLUGIN: Final = "_default"  # as opa writes it
_HASH: Final = re.compile(r"[0-9a-f]{64}", re.ASCII)
_UNSIGNED: Final = "have the bundle signed by the key's holder: tdz policy bundle --key, or opa build --signing-key"
_ESCAPED: Final = {"\u2028": "\\u2028", "\u2029": "\\u2029"}


def algorithm(key: PublicKey | PrivateKey) -> str:
    """The JWS algorithm of a key; the key's kind alone decides."""
    return "ES256" if isinstance(key, ec.EllipticCurvePublicKey | ec.EllipticCurvePrivateKey) else "RS256"


def digest(name: str, content: bytes) -> str:
    """SHA-256 of a file as OPA's signature has it, hex.

    Raises:
        IntegrityError: a structured file is not JSON.
    """
    if name.rsplit("/", 1)[-1] in STRUCTURED:
        return hashlib.sha256(_walked(strict_json(content, name)).encode()).hexdigest()
    return hashlib.sha256(content).hexdigest()


def sign(files: Mapping[str, bytes], key: PrivateKey, keyid: str) -> bytes:
    """The `.signatures.json` of a bundle's other files. ES256 is deterministic here (RFC 6979): same files, same bytes.

    Args:
        files: contents by path, without the signature.
        key: P-256 or RSA.
        keyid: the name under which verifiers know the key.
    """
    payload = {
        "files": [
            {"name": name, "hash": digest(name, content), "algorithm": "SHA-256"}
            for name, content in sorted(files.items())
        ],
        "keyid": keyid,
    }
    header = {"alg": algorithm(key), "kid": keyid, "typ": "JWT"}
    signed = f"{_encoded(_compact(header))}.{_encoded(_compact(payload))}"
    if isinstance(key, rsa.RSAPrivateKey):
        signature = key.sign(signed.encode(), padding.PKCS1v15(), hashes.SHA256())
    else:
        r, s = decode_dss_signature(key.sign(signed.encode(), ec.ECDSA(hashes.SHA256(), deterministic_signing=True)))
        signature = r.to_bytes(_COORDINATE, "big") + s.to_bytes(_COORDINATE, "big")
    return _compact({"signatures": [f"{signed}.{_encoded(signature)}"]})


def verify(files: Mapping[str, bytes], keys: Mapping[str, PublicKey]) -> str:
    """Verify a bundle's signature over all of its files; the id of the key that signed.

    1. There is one signature: a JWT in compact form, every part encoded in the one way.
    2. Its key id names a key that is trusted here; header and payload do not disagree on it.
    3. The algorithm is that of the key.
    4. The signature verifies.
    5. The signed list and the bundle have the same files, each with the hash that was signed.

    Args:
        files: contents by path, `.signatures.json` included.
        keys: the trusted keys by id.

    Raises:
        IntegrityError: any of it does not hold.
    """
    # 1.
    if SIGNATURES not in files:
        raise IntegrityError("the bundle is not signed", remedy=_UNSIGNED)
    document = strict_json(files[SIGNATURES], SIGNATURES)
    if (
        not isinstance(document, dict)
        or set(document) - {"plugin"} != {"signatures"}
        or document.get("plugin", _PLUGIN) != _PLUGIN
    ):
        raise IntegrityError(f"{SIGNATURES} has the member signatures, and no plugin of its own", remedy=_UNSIGNED)
    tokens = document["signatures"]
    if not isinstance(tokens, list) or len(tokens) != 1 or not isinstance(tokens[0], str):
        raise IntegrityError(f"{SIGNATURES} holds one signature", remedy=_UNSIGNED)
    parts = tokens[0].split(".")
    if len(parts) != 3:
        raise IntegrityError("the signature is no JWT in compact form", remedy=_UNSIGNED)
    header, payload = (strict_json(_decoded(part), "the signature") for part in parts[:2])
    signature = _decoded(parts[2])
    if not isinstance(header, dict) or not set(header) <= {"alg", "kid", "typ"}:
        raise IntegrityError("the signature's header says more than alg, kid and typ", remedy=_UNSIGNED)
    if isinstance(payload, dict) and "keyid" not in payload:
        raise IntegrityError("the signature does not name its key: its payload has no keyid", remedy=_UNSIGNED)
    if not isinstance(payload, dict) or set(payload) != {"files", "keyid"}:
        raise IntegrityError("the signature's payload has files and keyid, no more and no less", remedy=_UNSIGNED)
    # 2.
    keyid = payload["keyid"]
    if not isinstance(keyid, str) or KEYID.fullmatch(keyid) is None or header.get("kid", keyid) != keyid:
        raise IntegrityError("the signature names no key, or two", remedy=_UNSIGNED)
    if (key := keys.get(keyid)) is None:
        raise IntegrityError(
            f"the bundle is signed by {keyid!r}, a key that is not trusted here",
            remedy="trust the key if you know whose it is: tdz policy trust",
        )
    # 3.
    if header.get("alg") != algorithm(key):
        raise IntegrityError(
            f"the signature's algorithm is {str(header.get('alg'))[:20]!r}, the key {keyid} signs {algorithm(key)}",
            remedy=_UNSIGNED,
        )
    # 4.
    _check(key, f"{parts[0]}.{parts[1]}".encode(), signature, keyid)
    # 5.
    _compare(files, payload["files"])
    return keyid


def _check(key: PublicKey, signed: bytes, signature: bytes, keyid: str) -> None:
    try:
        if isinstance(key, rsa.RSAPublicKey):
            key.verify(signature, signed, padding.PKCS1v15(), hashes.SHA256())
            return
        if len(signature) != 2 * _COORDINATE:
            raise InvalidSignature
        r, s = (int.from_bytes(half, "big") for half in (signature[:_COORDINATE], signature[_COORDINATE:]))
        key.verify(encode_dss_signature(r, s), signed, ec.ECDSA(hashes.SHA256()))
    except InvalidSignature as error:
        raise IntegrityError(f"the bundle's signature is not one of {keyid}", remedy=_UNSIGNED) from error


def _compare(files: Mapping[str, bytes], listed: object) -> None:
    if not isinstance(listed, list) or len(listed) > BUNDLE_FILES_MAX:
        raise IntegrityError("the signature lists no files, or too many", remedy=_UNSIGNED)
    signed: dict[str, str] = {}
    for item in listed:
        if not isinstance(item, dict) or set(item) != {"name", "hash", "algorithm"}:
            raise IntegrityError("a file in the signature has name, hash and algorithm", remedy=_UNSIGNED)
        name, told = item["name"], item["hash"]
        if not isinstance(name, str) or not isinstance(told, str) or _HASH.fullmatch(told) is None or name in signed:
            raise IntegrityError("a file in the signature has no name or hash, or stands twice", remedy=_UNSIGNED)
        if item["algorithm"] != "SHA-256":
            raise IntegrityError(f"{name[:200]}: only SHA-256 is taken", remedy=_UNSIGNED)
        signed[name] = told
    present = files.keys() - {SIGNATURES}
    if extra := sorted(present - signed.keys()):
        raise IntegrityError(f"{extra[0]} is in the bundle, yet not in its signature", remedy=_UNSIGNED)
    if missing := sorted(signed.keys() - present):
        raise IntegrityError(f"{missing[0][:200]} is signed, yet not in the bundle", remedy=_UNSIGNED)
    for name in sorted(present):
        if digest(name, files[name]) != signed[name]:
            raise IntegrityError(f"{name} is not the file that was signed", remedy=_UNSIGNED)


def strict_json(content: bytes, name: str) -> Any:
    """A JSON value: UTF-8, no member twice, integers below 2^53 and no fractions, as both engines read alike.

    Raises:
        IntegrityError: it is none.
    """
    try:
        value = json.loads(
            content.decode("utf-8"),
            object_pairs_hook=_members,
            parse_float=_fraction,
            parse_int=_integer,
            parse_constant=_fraction,
        )
        _require_shallow(value)
        json.dumps(value, ensure_ascii=False).encode()  # a lone surrogate has no UTF-8
        return value
    except (ValueError, RecursionError) as error:
        raise IntegrityError(f"{name}: not the JSON that a bundle may hold: {error}"[:300]) from error


def _require_shallow(value: object) -> None:
    level: list[object] = [value]
    for _ in range(_DEPTH_MAX):
        level = [
            item
            for outer in level
            if isinstance(outer, dict | list)
            for item in (outer.values() if isinstance(outer, dict) else outer)
        ]
        if not level:
            return
    raise ValueError(f"nested deeper than {_DEPTH_MAX}")


def _members(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice")
    return value


def _fraction(text: str) -> NoReturn:
    raise ValueError(f"{text[:40]} is no integer")


def _integer(text: str) -> int:
    if len(text) > 17 or abs(int(text)) >= 1 << 53:
        raise ValueError("an integer past 53 bits")
    return int(text)


def _walked(value: Any) -> str:
    """The text that OPA hashes for a JSON value (`v1/bundle/hash.go`): members sorted, strings as Go writes them."""
    if isinstance(value, dict):
        return "{" + ",".join(f"{_walked(name)}:{_walked(value[name])}" for name in sorted(value)) + "}"
    if isinstance(value, list):
        return "[" + ",".join(_walked(item) for item in value) + "]"
    text = json.dumps(value, ensure_ascii=False)
    return re.sub("[\u2028\u2029]", lambda found: _ESCAPED[found[0]], text)


def _compact(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode()


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode("ascii")


def _decoded(text: str) -> bytes:
    try:
        data = base64.b64decode(text.encode("ascii") + b"=" * (-len(text) % 4), altchars=b"-_", validate=True)
    except (ValueError, binascii.Error) as error:
        raise IntegrityError("the signature is not base64url", remedy=_UNSIGNED) from error
    if _encoded(data) != text:
        raise IntegrityError("the signature is not encoded in the one way", remedy=_UNSIGNED)
    return data
