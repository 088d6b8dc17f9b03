"""Models on the partner's side: sign and publish a directory, verify one without a gateway."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Final

from cryptography import x509
from cryptography.exceptions import UnsupportedAlgorithm
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import load_pem_public_key

from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.provenance import read_provenance
from gateway.artifacts.signing import Bundle, read_bundle, sign_model, verify_bundle, verify_signer
from gateway.artifacts.statement import read_envelope
from gateway.artifacts.trust import OutsideKey, Trust
from gateway.config import load_profile
from gateway.errors import ConfigError, DataFileError, IntegrityError, ManifestError
from gateway.identity.keys import key_fingerprint
from gateway.identity.signing import SigningIdentity, signer_of
from gateway.model import documents, limits
from gateway.model.artifact import FileEntry
from gateway.model.canonical import CanonicalError, encode
from gateway.model.submission import ModelPublication, ModelSeal, load_model_publication, seal_of
from gateway.sdk.credentials import load_signing_identity
from gateway.sdk.model_files import PROVENANCE, SIGNATURE
from gateway.sdk.resources import Progress, Published, Resource
from gateway.sdk.session import Session
from gateway.sdk.stream import ProgressCallback
from gateway.sdk.upload import model_frames, upload
from gateway.wire import frames

OWN_FILES: Final = frozenset(
    (SIGNATURE, *(PROVENANCE.format(number) for number in range(1, limits.PROVENANCE_STATEMENTS_MAX + 1)))
)
"""What a pull puts beside a model's files: passed over when the directory is published or verified."""


@dataclass(frozen=True, slots=True)
class VerifiedModel(Resource):
    """A directory whose every file is the one that was signed; `expired` says that the certificate has ended since."""

    artifact: str
    signer: str
    files: int
    bytes: int
    expired: bool


async def publish_model(
    session: Session,
    directory: Path,
    manifest: Path | str | Mapping[str, Any],
    *,
    progress: ProgressCallback | None = None,
) -> Published:
    """Sign a directory and publish it; see `AsyncZone.publish_model`."""
    signing = await asyncio.to_thread(load_signing_identity, session.credentials.profile)
    outgoing = await asyncio.to_thread(_Outgoing, signing, directory, manifest)
    total, chunks = outgoing.announcement.bytes, outgoing.announcement.chunks

    def sent(step: Progress) -> None:
        if progress is not None:
            progress(Progress(step.chunks, -1, min(step.bytes, total), chunks, -1, total))

    return await upload(session, outgoing.announcement.encode(), outgoing.frames(), progress=sent)


class _Outgoing:
    """A directory on its way: planned now, read, hashed and sent in one go, and signed when its last run has gone.

    Raises:
        ManifestError, DataFileError, IntegrityError: what can be told before anything is sent.
    """

    def __init__(self, signing: SigningIdentity, directory: Path, manifest: Path | str | Mapping[str, Any]) -> None:
        publication, base = _publication(directory, manifest)
        ignored = set(OWN_FILES)
        if isinstance(manifest, str | Path) and Path(manifest).resolve().parent == directory.resolve():
            ignored |= {Path(manifest).name, *publication.provenance}
        self._signing = signing
        self._paths = [base / name for name in publication.provenance]
        self._provenance = [_envelope(path) for path in self._paths]
        self._files = ModelDirectory(directory, ignore=ignored)
        planned = self._files.plan()
        self.announcement: Final = publication.announce(planned)
        # As long as what will be signed: what is too long to be described is said before anything is sent.
        self._sealed([FileEntry(**file.document(), digest="0" * 64) for file in planned])

    def _sealed(self, entries: Sequence[FileEntry]) -> ModelSeal:
        signed = sign_model(entries, name=self.announcement.id, key=self._signing.key, chain=self._signing.chain)
        seal = seal_of(signed.artifact, entries, signed.bundle, self._provenance)
        self.announcement.sealed(seal).describe()
        return seal

    def frames(self) -> Iterator[tuple[bytes, int]]:
        """The frames, once; `upload` sends them."""
        entries: list[FileEntry] = []
        yield from model_frames(self._files.runs(entries))
        seal = self._sealed(entries)
        for path, envelope in zip(self._paths, self._provenance, strict=True):
            _check_statement(path, envelope, seal.artifact)
        yield frames.encode(b"", metadata=seal.encode()), 0


def _publication(directory: Path, manifest: Path | str | Mapping[str, Any]) -> tuple[ModelPublication, Path]:
    """The publication, and where its provenance files lie."""
    if isinstance(manifest, str | Path):
        path = Path(manifest)
        return load_model_publication(path), path.parent
    try:
        data = encode(dict(manifest))
    except CanonicalError as error:
        raise ManifestError(f"the manifest is no JSON document: {error}", remedy="use texts and integers") from error
    return documents.read_sent(ModelPublication, data, limits.MANIFEST_MAX), directory.parent


def _envelope(path: Path) -> str:
    try:
        with path.open("rb") as file:
            data = file.read(limits.PROVENANCE_ENVELOPE_MAX + 1)
        if len(data) > limits.PROVENANCE_ENVELOPE_MAX:
            raise ManifestError(f"{path}: a statement has at most {limits.PROVENANCE_ENVELOPE_MAX} bytes")
        return data.decode()
    except OSError as error:
        raise ManifestError(f"{path}: cannot be read: {error.strerror}", remedy="check the path") from error
    except UnicodeDecodeError as error:
        raise ManifestError(f"{path}: is no text", remedy="name a DSSE envelope in JSON") from error


def _check_statement(path: Path, envelope: str, artifact: str) -> None:
    """Refuse what would count for nothing: one statement that cannot be read makes the whole provenance unverified."""
    try:
        read_provenance(read_envelope(envelope).payload, artifact)
    except IntegrityError as error:
        raise ManifestError(
            f"{path}: {error.message}", remedy=f"name signed in-toto statements about the artifact {artifact}"
        ) from error


def verify_directory(
    directory: Path,
    *,
    key: Path | None = None,
    ca: Path | None = None,
    profile: Path | None = None,
    progress: ProgressCallback | None = None,
) -> VerifiedModel:
    """Verify a directory with its `model.sig`, without any gateway.

    Args:
        directory: the model's files.
        key: the signer's public key (PEM).
        ca: the CA certificate (PEM) of the zone that certified the signer.
        profile: whose zone's CA counts where neither is given.
        progress: called with bytes done and in all.

    Raises:
        IntegrityError: a file, the signature or its signer is not what it should be.
        ConfigError: nothing says whom to trust, or there is no signature to verify.
    """
    if not directory.is_dir():
        raise ConfigError(f"there is no directory {directory}", remedy="check the path")
    if not (directory / SIGNATURE).is_file():
        raise ConfigError(
            f"{directory} holds no {SIGNATURE}", remedy="name a directory that `tdz pull` wrote, or a model of your own"
        )
    bundle = read_bundle(_read(directory / SIGNATURE, limits.MODEL_SIGNATURE_MAX).decode("utf-8", "replace"))
    trust, at, expired = _trusted(bundle, key, ca, profile)
    signer = verify_signer(bundle, trust, at)
    told = None if progress is None else lambda done, total: progress(Progress(0, -1, done, -1, -1, total))
    try:
        entries = ModelDirectory(directory, ignore=OWN_FILES).scan(told)
    except DataFileError as error:  # what no model may hold was never signed
        raise IntegrityError(
            f"the directory is not what was signed: {error.message}", remedy="restore the files, or pull them again"
        ) from error
    verify_bundle(bundle, entries)
    return VerifiedModel(bundle.artifact, signer.name, len(entries), sum(e.bytes for e in entries), expired)


def _trusted(bundle: Bundle, key: Path | None, ca: Path | None, profile: Path | None) -> tuple[Trust, int, bool]:
    """Whom the caller trusts, and the time at which: now, or the last second of a certificate that has ended."""
    now = int(time.time())
    if key is not None:
        try:
            public = load_pem_public_key(_read(key, limits.CERTIFICATE_MAX))
        except (ValueError, UnsupportedAlgorithm) as error:
            raise ConfigError(f"{key} holds no public key in PEM", remedy="give the signer's public key") from error
        if not isinstance(public, ec.EllipticCurvePublicKey):
            raise ConfigError(f"{key} is no P-256 public key", remedy="give the signer's public key in PEM")
        found = key_fingerprint(public)
        return Trust(zones={}, keys={found: OutsideKey(found, str(key), public, 0)}), now, False
    if bundle.certificate is None:
        raise ConfigError("the model is signed by a bare key", remedy="give the signer's public key with --key")
    zone = signer_of(bundle.certificate).zone
    path = ca or _own_ca(profile, zone)
    try:
        authorities = tuple(x509.load_pem_x509_certificates(_read(path, 4 * limits.CERTIFICATE_MAX)))
    except ValueError as error:
        raise ConfigError(f"{path} holds no certificate in PEM", remedy="copy ca.pem of the signer's zone") from error
    ended = int(bundle.certificate.not_valid_after_utc.timestamp())
    return Trust(zones={zone: authorities}), min(now, ended - 1), now >= ended


def _own_ca(profile: Path | None, zone: str) -> Path:
    """The CA of the profile's zone, where that is the signer's zone."""
    if profile is None:
        raise ConfigError(
            "nothing says whom to trust", remedy="give --ca with the signer's zone CA, --key, or --profile"
        )
    found = load_profile(profile)
    if found.zone != zone:
        raise ConfigError(
            f"the model was signed in {zone}, and the profile is of {found.zone}",
            remedy=f"give the CA certificate of {zone} with --ca, or the signer's public key with --key",
        )
    return found.ca


def _read(path: Path, most: int) -> bytes:
    try:
        with path.open("rb") as file:
            data = file.read(most + 1)
    except OSError as error:
        raise ConfigError(f"cannot read {path}: {error.strerror}", remedy="check the path") from error
    if len(data) > most:
        raise IntegrityError(f"{path} is longer than {most} bytes")
    return data
