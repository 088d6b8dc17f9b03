"""Models to publish, publishers to sign them, and stores on real files."""

from __future__ import annotations

import datetime
import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec

from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.publishing import ModelPublishSession
from gateway.artifacts.signing import sign_model
from gateway.artifacts.statement import sign_statement
from gateway.artifacts.trust import OutsideKey, Trust
from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import key_fingerprint, new_tls_key
from gateway.model import canonical
from gateway.model.artifact import FileEntry, ModelDeclaration
from gateway.model.participant import Identity, Role
from gateway.model.submission import ModelAnnouncement, ModelPublication, ModelSeal, ModelSubmission, seal_of
from gateway.storage.chunks import ChunkStore
from gateway.storage.publishing import Published
from gateway.storage.versions import VersionStore

NOW = datetime.datetime(2026, 6, 1, 12, tzinfo=datetime.UTC)
AT = int(NOW.timestamp())
ZONE = "cyberjaya"


def weights(
    tensors: Mapping[str, tuple[str, Sequence[int], bytes]], metadata: Mapping[str, str] | None = None
) -> bytes:
    """A safetensors file of (dtype, shape, bytes) by name, in the order given."""
    header: dict[str, Any] = {} if metadata is None else {"__metadata__": dict(metadata)}
    at = 0
    for name, (dtype, shape, data) in tensors.items():
        header[name] = {"dtype": dtype, "shape": list(shape), "data_offsets": [at, at + len(data)]}
        at += len(data)
    text = json.dumps(header, separators=(",", ":")).encode()
    text += b" " * (-len(text) % 8)
    return len(text).to_bytes(8, "little") + text + b"".join(data for *_, data in tensors.values())


def raw(name: str, size: int, seed: str = "") -> tuple[str, list[int], bytes]:
    """A tensor of bytes that depend on its name and the seed."""
    import hashlib

    block = hashlib.shake_256(f"{seed}{name}".encode()).digest(min(size, 4096))
    return "U8", [size], (block * (size // max(len(block), 1) + 1))[:size]


SMALL = weights({"a": ("F32", [2, 2], bytes(16)), "b": ("I8", [3], b"abc")}, {"format": "pt"})


@dataclass
class Publisher:
    """A signer with a key, certified by a zone or not."""

    key: ec.EllipticCurvePrivateKey
    chain: tuple[x509.Certificate, ...] = ()

    def submit(
        self, files: Sequence[FileEntry], *, name: str = "m", provenance: Sequence[bytes] = (), **declared: Any
    ) -> ModelSubmission:
        """Sign the files and the statements about them, and put it all together."""
        signed = sign_model(files, name=name, key=self.key, chain=self.chain)
        given = {"format": "safetensors", "openness": "published", "end_use": "civil", **declared}
        publication = ModelPublication(id=name, title="A model", model=ModelDeclaration(**given))
        texts = [sign_statement(statement, key=self.key, chain=self.chain) for statement in provenance]
        return publication.submit(artifact=signed.artifact, files=files, signature=signed.bundle, provenance=texts)


@dataclass
class Zone:
    """A zone's CA and what is trusted of it."""

    authority: ZoneAuthority = field(default_factory=lambda: ZoneAuthority.create(ZONE, now=NOW))

    def publisher(self, name: str = "um", role: Role = Role.PARTNER, **changed: Any) -> Publisher:
        key = new_tls_key()
        given = {"now": NOW, **changed}
        certificate = self.authority.issue_signing(Identity(ZONE, role, name), key.public_key(), **given)
        return Publisher(key, (certificate, self.authority.certificate))

    @property
    def trust(self) -> Trust:
        return Trust({ZONE: (self.authority.certificate,)})


def trust_key(key: ec.EllipticCurvePrivateKey, added_at: int = AT, removed_at: int = 0) -> Trust:
    """Trust in one outside key."""
    fingerprint = key_fingerprint(key.public_key())
    return Trust({}, {fingerprint: OutsideKey(fingerprint, "a lab", key.public_key(), added_at, removed_at)})


@pytest.fixture(scope="session")
def zone() -> Zone:
    return Zone()


@pytest.fixture(scope="session")
def publisher(zone: Zone) -> Publisher:
    return zone.publisher()


@pytest.fixture
def make_model(tmp_path: Path) -> Callable[..., Path]:
    """Writes a directory of files."""

    def make(files: Mapping[str, bytes] | None = None, name: str = "model") -> Path:
        directory = tmp_path / name
        for file, data in (files or {"model.safetensors": SMALL, "config.json": b'{"hidden": 2}'}).items():
            path = directory / file
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(data)
        return directory

    return make


def parted(submission: ModelSubmission) -> tuple[ModelAnnouncement, ModelSeal]:
    """What a client sends before the runs, and after them."""
    document = submission.document()
    for name in ("artifact", "signature", "provenance"):
        del document[name]
    for file in document["files"]:
        del file["digest"]
    seal = seal_of(submission.artifact, submission.files, submission.signature, submission.provenance)
    return ModelAnnouncement.parse(canonical.encode(document)), seal


@dataclass
class Place:
    """One gateway's storage."""

    root: Path
    chunks: ChunkStore
    versions: VersionStore

    def publish(self, directory: Path, publisher: Publisher, trust: Trust, **more: Any) -> Published:
        model = ModelDirectory(directory)
        announcement, seal = parted(publisher.submit(model.scan(), **more))
        session = ModelPublishSession(self.chunks, self.versions, announcement)
        for run in model.runs([]):
            session.write(bytes(run))
        session.seal(seal, trust, AT)
        return session.finish()

    def digests(self, version: str) -> list[bytes]:
        return list(self.versions.open(version).chunks)


@pytest.fixture
def place(tmp_path: Path) -> Iterator[Place]:
    root = tmp_path / "store"
    root.mkdir()
    made = Place(root, ChunkStore(root), VersionStore(root))
    yield made
    made.chunks.close()
    made.versions.close()
