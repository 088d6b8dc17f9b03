"""Keys, bundles and their mutations, for tests of several folders."""

from __future__ import annotations

import base64
import json
import time
from functools import cache
from pathlib import Path

from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.asymmetric.utils import decode_dss_signature
from cryptography.hazmat.primitives.hashes import SHA256
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.decisions.bundles import archive, signature
from gateway.decisions.bundles.bundle import build, part_roots, read_directory
from gateway.decisions.bundles.manifest import BundleManifest, Party
from gateway.decisions.bundles.signature import PrivateKey
from gateway.decisions.bundles.trust import TrustedKey
from gateway.decisions.policy_set import shipped

DAY_S = 86_400
LEGAL = 1_763_769_600  # 2025-11-22: before any day on which the tests run
NOW = int(time.time())
UNTIL = NOW + 40 * DAY_S  # well before the shipped packs end
VENDOR, ZONE = "vendor-test", "zone-test"

EMPTY = "package tdz.zone.{zone}\n\nfindings := set()\n\nobligations := set()\n"
FORBIDS = """\
package tdz.zone.{zone}

# METADATA
# title: Not for this purpose
# custom:
#   code: ZONE-PURPOSE
#   authority: house
#   cite: House rule of the test
#   remedy: Ask for another purpose
findings contains {{"code": "ZONE-PURPOSE", "effect": "deny", "fields": ["request.purpose"]}} if {{
	input.request.purpose == "{purpose}"
}}

obligations := set()
"""


@cache
def key(party: str) -> PrivateKey:
    """One P-256 key for each name."""
    return ec.generate_private_key(ec.SECP256R1())


@cache
def rsa_key() -> rsa.RSAPrivateKey:
    return rsa.generate_private_key(65_537, 2_048)


def pem(private: PrivateKey) -> bytes:
    return private.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def trusted(party: Party, keyid: str = "") -> TrustedKey:
    name = keyid or (VENDOR if party == "vendor" else ZONE)
    return TrustedKey(name, party, key(party).public_key())


def keys() -> dict[str, TrustedKey]:
    return {VENDOR: trusted("vendor"), ZONE: trusted("zone")}


def trust(folder: Path) -> None:
    """Let a zone trust both keys."""
    for party, keyid in (("vendor", VENDOR), ("zone", ZONE)):
        (folder / party).mkdir(parents=True, exist_ok=True)
        (folder / party / f"{keyid}.pem").write_bytes(pem(key(party)))


def manifest(revision: int, roots: tuple[str, ...], *, until: int = UNTIL) -> BundleManifest:
    return BundleManifest(revision, tuple(sorted(roots)), LEGAL, until)


def zone_bundle(zone: str, revision: int, text: str = EMPTY, **more: str) -> bytes:
    """A zone's own rules, signed with the zone's key."""
    root = f"tdz/zone/{zone}"
    module = text.format(zone=zone, **more) if "{zone}" in text else text
    return build({f"{root}/rules.rego": module.encode()}, manifest(revision, (root,)), key("zone"), ZONE)


def forbidding(zone: str, revision: int, purpose: str = "research") -> bytes:
    return zone_bundle(zone, revision, FORBIDS, purpose=purpose)


def baseline(zone: str, revision: int) -> bytes:
    """The shipped baseline of a zone, signed with the vendor's key."""
    roots = part_roots(shipped(), "baseline", zone)
    return build(read_directory(shipped(), roots), manifest(revision, roots), key("vendor"), VENDOR)


def advisory(revision: int) -> bytes:
    """A pack that one zone alone loads."""
    roots = ("tdz/lists/us", "tdz/packs/us")
    pack = {
        "id": "us",
        "revision": "2026112201",
        "legal_as_of": LEGAL,
        "valid_until": UNTIL,
        "parts": ["ear"],
    }
    rules = 'package tdz.packs.us.ear\n\nverdict := "pass"\n\nfindings := set()\n\nobligations := set()\n'
    files = {
        "tdz/packs/us/ear/rules.rego": rules.encode(),
        "tdz/packs/us/manifest/data.json": json.dumps(pack).encode(),
    }
    return build(files, manifest(revision, roots), key("vendor"), VENDOR)


def raw(files: dict[str, bytes], private: PrivateKey | None = None, keyid: str = ZONE) -> bytes:
    """A signed archive of any files, without a look at them."""
    signed = signature.sign(files, private or key("zone"), keyid)
    return archive.pack({**files, signature.SIGNATURES: signed})


def without_keyid(files: dict[str, bytes]) -> bytes:
    """An archive signed with the zone's key, whose signature says nowhere which key that is."""
    token: str = json.loads(signature.sign(files, key("zone"), ZONE))["signatures"][0]
    parts = [json.loads(base64.urlsafe_b64decode(f"{part}==")) for part in token.split(".")[:2]]
    bare = [{name: value for name, value in part.items() if name not in ("kid", "keyid")} for part in parts]
    text = ".".join(_encoded(json.dumps(part).encode()) for part in bare)
    r, s = decode_dss_signature(key("zone").sign(text.encode(), ec.ECDSA(SHA256())))
    signed = f"{text}.{_encoded(r.to_bytes(32, 'big') + s.to_bytes(32, 'big'))}"
    return archive.pack({**files, signature.SIGNATURES: json.dumps({"signatures": [signed]}).encode()})


def _encoded(data: bytes) -> str:
    return base64.urlsafe_b64encode(data).rstrip(b"=").decode()
