"""A second implementation of what a log and a witness do, straight from the C2SP texts; it imports nothing of ours.

Clause by clause and with no thought for speed: trees are lists of leaf hashes, proofs are the recursion of RFC 6962.
"""

from __future__ import annotations

import base64
import hashlib
import struct
from dataclasses import dataclass, field

from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey, Ed25519PublicKey
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat


def b64(data: bytes) -> str:
    return base64.b64encode(data).decode()


# --- RFC 6962, section 2.1 --------------------------------------------------------------------------------


def mth(leaves: list[bytes]) -> bytes:
    """The Merkle tree hash of leaf hashes."""
    if not leaves:
        return hashlib.sha256(b"").digest()
    if len(leaves) == 1:
        return leaves[0]
    k = 1 << (len(leaves) - 1).bit_length() - 1
    return hashlib.sha256(b"\x01" + mth(leaves[:k]) + mth(leaves[k:])).digest()


def consistency(m: int, leaves: list[bytes], whole: bool = True) -> list[bytes]:
    """SUBPROOF of section 2.1.2."""
    n = len(leaves)
    if m == n:
        return [] if whole else [mth(leaves)]
    k = 1 << (n - 1).bit_length() - 1
    if m <= k:
        return [*consistency(m, leaves[:k], whole), mth(leaves[k:])]
    return [*consistency(m - k, leaves[k:], False), mth(leaves[:k])]


def consistent(m: int, n: int, old: bytes, new: bytes, proof: list[bytes]) -> bool:
    """RFC 9162, section 2.1.4.2, step by step."""
    if m == n:
        return not proof and old == new
    path = list(proof)
    if m & (m - 1) == 0:
        path.insert(0, old)
    if not path:
        return False
    fn, sn = m - 1, n - 1
    while fn & 1:
        fn, sn = fn >> 1, sn >> 1
    fr = sr = path[0]
    for c in path[1:]:
        if sn == 0:
            return False
        if fn & 1 or fn == sn:
            fr = hashlib.sha256(b"\x01" + c + fr).digest()
            sr = hashlib.sha256(b"\x01" + c + sr).digest()
            while not fn & 1 and fn:
                fn, sn = fn >> 1, sn >> 1
        else:
            sr = hashlib.sha256(b"\x01" + sr + c).digest()
        fn, sn = fn >> 1, sn >> 1
    return (fr, sr, sn) == (old, new, 0)


# --- signed-note and tlog-cosignature ---------------------------------------------------------------------


@dataclass
class Key:
    """A named Ed25519 key of one signature type: 1 for a log, 4 for a witness."""

    name: str
    type: int
    private: Ed25519PrivateKey = field(default_factory=Ed25519PrivateKey.generate)

    @property
    def public(self) -> bytes:
        return bytes([self.type]) + self.private.public_key().public_bytes(Encoding.Raw, PublicFormat.Raw)

    @property
    def id(self) -> bytes:
        return hashlib.sha256(self.name.encode() + b"\n" + self.public).digest()[:4]

    @property
    def vkey(self) -> str:
        return f"{self.name}+{self.id.hex()}+{b64(self.public)}"

    def sign(self, text: str) -> str:
        return f"\u2014 {self.name} {b64(self.id + self.private.sign(text.encode()))}\n"

    def cosign(self, text: str, at: int) -> str:
        signature = self.private.sign(f"cosignature/v1\ntime {at}\n{text}".encode())
        return f"\u2014 {self.name} {b64(self.id + struct.pack('>Q', at) + signature)}\n"


def verify_cosignature(line: str, vkey: str, text: str) -> int:
    """The time of a cosignature line by a key; raises where it is none."""
    name, key_id, encoded = vkey.split("+", 2)
    dash, signer, blob = line.removesuffix("\n").split(" ")
    raw, public = base64.b64decode(blob, validate=True), base64.b64decode(encoded)
    assert line.endswith("\n")
    assert (dash, signer, raw[:4].hex(), public[0]) == ("\u2014", name, key_id, 4)
    (at,) = struct.unpack(">Q", raw[4:12])
    message = f"cosignature/v1\ntime {at}\n{text}".encode()
    Ed25519PublicKey.from_public_bytes(public[1:]).verify(raw[12:], message)
    return int(at)


# --- a log, and what it sends to a witness ----------------------------------------------------------------


@dataclass
class Log:
    """A log with its leaves in memory."""

    key: Key
    leaves: list[bytes] = field(default_factory=list)
    origin: str = ""

    def grow(self, count: int, salt: str = "") -> None:
        for _ in range(count):
            self.leaves.append(hashlib.sha256(b"\x00" + f"{salt}{len(self.leaves)}".encode()).digest())

    def text(self, size: int | None = None, extension: str = "") -> str:
        size = len(self.leaves) if size is None else size
        return f"{self.origin or self.key.name}\n{size}\n{b64(mth(self.leaves[:size]))}\n{extension}"

    def note(self, size: int | None = None, extension: str = "") -> bytes:
        text = self.text(size, extension)
        return f"{text}\n{self.key.sign(text)}".encode()

    def proof(self, old: int, size: int | None = None) -> list[bytes]:
        leaves = self.leaves[: len(self.leaves) if size is None else size]
        return consistency(old, leaves) if 0 < old < len(leaves) else []

    def request(self, old: int, size: int | None = None) -> bytes:
        return body(old, self.proof(old, size), self.note(size))


def body(old: int, proof: list[bytes], note: bytes) -> bytes:
    return "".join([f"old {old}\n", *(f"{b64(each)}\n" for each in proof), "\n"]).encode() + note
