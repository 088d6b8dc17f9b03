"""OPA's signature: what it covers, and what is not taken for one."""

from __future__ import annotations

import base64
import hashlib
import hmac
import json
from collections.abc import Callable
from typing import Any

import pytest
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature

from gateway.decisions.bundles import signature
from gateway.decisions.bundles.signature import SIGNATURES, sign, verify
from gateway.errors import IntegrityError
from tests.unit.decisions.bundles import material

FILES = {
    ".manifest": b'{"revision":"1"}',
    "tdz/zone/x/rules.rego": b"package tdz.zone.x\n",
    "tdz/zone/x/data.json": '{"b":["é",1,true,null],"a":{"<":"\u2028\\b"}}'.encode(),
}


def encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()


def signed(files: dict[str, bytes] = FILES) -> dict[str, bytes]:
    return {**files, SIGNATURES: sign(files, material.key("zone"), "k")}


def keys() -> dict[str, Any]:
    return {"k": material.key("zone").public_key()}


def token(files: dict[str, bytes]) -> list[str]:
    return json.loads(files[SIGNATURES])["signatures"][0].split(".")


def forged(
    header: Callable[[dict[str, Any]], Any] = lambda h: h,
    payload: Callable[[dict[str, Any]], Any] = lambda p: p,
    wrap: Callable[[str], Any] = lambda t: {"signatures": [t]},
    mac: Callable[[bytes], bytes] | None = None,
) -> dict[str, bytes]:
    """A bundle whose token was changed and signed anew with the right key, or with something else."""
    files = signed()
    parts = [json.loads(base64.urlsafe_b64decode(part + "==")) for part in token(files)[:2]]
    text = ".".join(
        encoded(json.dumps(change(part)).encode()) for change, part in zip((header, payload), parts, strict=True)
    )
    if mac is None:
        r, s = decode_dss_signature(material.key("zone").sign(text.encode(), ec.ECDSA(hashes.SHA256())))
        end = r.to_bytes(32, "big") + s.to_bytes(32, "big")
    else:
        end = mac(text.encode())
    return {**FILES, SIGNATURES: json.dumps(wrap(f"{text}.{encoded(end)}")).encode()}


def test_a_signature_verifies_and_is_the_same_each_time() -> None:
    assert verify(signed(), keys()) == "k"
    assert signed() == signed()


def test_rsa_signs_too() -> None:
    files = {**FILES, SIGNATURES: sign(FILES, material.rsa_key(), "r")}
    assert verify(files, {"r": material.rsa_key().public_key()}) == "r"


def test_forging_as_the_tests_do_would_verify_if_nothing_were_changed() -> None:
    assert verify(forged(), keys()) == "k"


@pytest.mark.parametrize(
    ("named", "files"),
    [
        ("not signed", lambda: dict(FILES)),
        ("algorithm", lambda: forged(header=lambda h: {**h, "alg": "none"})),
        ("algorithm", lambda: forged(header=lambda h: {**h, "alg": "none"}, mac=lambda _: b"")),
        ("algorithm", lambda: forged(header=lambda h: {**h, "alg": "ES384"})),
        ("algorithm", lambda: forged(header=lambda h: {**h, "alg": "RS256"})),
        (
            "algorithm",
            lambda: forged(
                header=lambda h: {**h, "alg": "HS256"},
                mac=lambda text: hmac.digest(material.pem(material.key("zone")), text, hashlib.sha256),
            ),
        ),
        ("header", lambda: forged(header=lambda h: {**h, "jwk": {"kty": "EC"}})),
        ("header", lambda: forged(header=lambda h: {**h, "crit": ["exp"]})),
        ("header", lambda: forged(header=lambda h: {**h, "x5u": "https://example.org"})),
        ("names no key, or two", lambda: forged(header=lambda h: {**h, "kid": "other"})),
        ("names no key, or two", lambda: forged(payload=lambda p: {**p, "keyid": ""})),
        ("payload", lambda: forged(payload=lambda p: {"files": p["files"]})),
        ("payload", lambda: forged(payload=lambda p: {**p, "scope": "write"})),
        ("not trusted", lambda: forged(lambda h: {**h, "kid": "m"}, lambda p: {**p, "keyid": "m"})),
        ("not one of k", lambda: forged(mac=lambda _: bytes(64))),
        ("not one of k", lambda: forged(mac=lambda _: b"")),
        ("not one of k", lambda: forged(mac=lambda _: b"\xff" * 64)),
        ("lists no files", lambda: forged(payload=lambda p: {**p, "files": {}})),
        (
            "only SHA-256",
            lambda: forged(payload=lambda p: {**p, "files": [{**f, "algorithm": "MD5"} for f in p["files"]]}),
        ),
        ("stands twice", lambda: forged(payload=lambda p: {**p, "files": p["files"] * 2})),
        ("not in its signature", lambda: forged(payload=lambda p: {**p, "files": p["files"][1:]})),
        ("not in its signature", lambda: {**signed(), "tdz/zone/x/more.rego": b"package tdz.zone.x\n"}),
        ("not in the bundle", lambda: {n: c for n, c in signed().items() if n != "tdz/zone/x/rules.rego"}),
        ("not in the bundle", lambda: {n: c for n, c in signed().items() if n != ".manifest"}),
        ("not the file", lambda: {**signed(), "tdz/zone/x/rules.rego": b"package tdz.zone.x \n"}),
        ("not the file", lambda: {**signed(), "tdz/zone/x/data.json": b'{"a":{},"b":[]}'}),
        ("one signature", lambda: forged(wrap=lambda t: {"signatures": [t, t]})),
        ("one signature", lambda: forged(wrap=lambda t: {"signatures": []})),
        ("plugin", lambda: forged(wrap=lambda t: {"signatures": [t], "plugin": "mine"})),
        ("compact form", lambda: forged(wrap=lambda t: {"signatures": [t.rpartition(".")[0]]})),
        ("base64url", lambda: forged(wrap=lambda t: {"signatures": [t + "*"]})),
        ("one way", lambda: forged(wrap=lambda t: {"signatures": [t[:-1] + ("B" if t[-1] == "A" else "h")]})),
        ("JSON", lambda: {**FILES, SIGNATURES: b'{"signatures":["a.b.c"],"signatures":["a.b.c"]}'}),
    ],
)
def test_what_is_no_signature_of_these_files_is_refused(named: str, files: Callable[[], dict[str, bytes]]) -> None:
    with pytest.raises(IntegrityError, match=named) as refused:
        verify(files(), keys())
    assert refused.value.remedy or named in ("JSON",)


def test_swapped_contents_are_refused() -> None:
    files = {**FILES, "tdz/zone/x/other.rego": b"package tdz.zone.x\n\na := 1\n"}
    whole = signed(files)
    one, other = "tdz/zone/x/rules.rego", "tdz/zone/x/other.rego"
    with pytest.raises(IntegrityError, match="not the file"):
        verify({**whole, one: whole[other], other: whole[one]}, keys())


def test_each_flipped_character_of_the_token_is_refused() -> None:
    files = signed()
    whole = ".".join(token(files))
    for place, letter in enumerate(whole):
        other = whole[:place] + ("A" if letter != "A" else "B") + whole[place + 1 :]
        with pytest.raises(IntegrityError):
            verify({**files, SIGNATURES: json.dumps({"signatures": [other]}).encode()}, keys())


def test_a_structured_file_is_hashed_by_content_so_that_its_layout_does_not_matter() -> None:
    files = signed()
    laid_out = json.dumps(json.loads(files["tdz/zone/x/data.json"]), indent=2, sort_keys=True).encode()
    assert verify({**files, "tdz/zone/x/data.json": laid_out}, keys()) == "k"


@pytest.mark.parametrize(
    "content",
    [
        b'{"a":1.5}',
        b'{"a":1e3}',
        b'{"a":9007199254740992}',
        b'{"a":99999999999999999999}',
        b'{"a":NaN}',
        b'{"a":"\\ud800"}',
        b'{"a":1,"a":2}',
        b'{"a":' + b"[" * 40 + b"]" * 40 + b"}",
        b"[" * 100_000,
        b"\xff",
        b"",
    ],
)
def test_json_that_the_engines_could_read_in_two_ways_is_refused(content: bytes) -> None:
    with pytest.raises(IntegrityError):
        signature.strict_json(content, "data.json")
