"""Signed models: the Sigstore bundle of OpenSSF Model Signing v1.0, made and verified.

The bundle (media type v0.3) holds a DSSE envelope around the statement of the files, and what the verifier needs
to find the key: the certificate chain of a certified key, or a hint at a public key. Source: sigstore
protobuf-specs, ``sigstore_bundle.proto``, in its JSON form. Transparency logs are not asked: what counts is whom
this gateway trusted at the time.
"""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Final

from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.artifacts.statement import (
    EnvelopeSignature,
    StatementEnvelope,
    artifact_id,
    base64_of,
    malformed,
    member,
    model_statement,
    read_json,
    sign_payload,
    signed_files,
    unbase64,
)
from gateway.artifacts.trust import Signer, Trust, untrusted
from gateway.errors import IntegrityError
from gateway.model import canonical, limits
from gateway.model.artifact import FileEntry
from gateway.model.canonical import JsonValue

BUNDLE_TYPE: Final = "application/vnd.dev.sigstore.bundle.v0.3+json"

_CERTIFICATES_MAX: Final = 4


@dataclass(frozen=True, slots=True)
class SignedModel:
    """What signing a model brings.

    Args:
        bundle: the text of the bundle.
        statement: the exact bytes that were signed.
        artifact: the artifact's id, SHA-256 in hex of the statement.
    """

    bundle: str
    statement: bytes
    artifact: str


@dataclass(frozen=True, slots=True)
class Bundle:
    """A bundle as it was read; nothing of it is verified.

    Args:
        envelope: the signed statement.
        certificate: the signing certificate, where the key is certified.
        hint: what the signer says of its public key, where it is not; may be empty.
    """

    envelope: StatementEnvelope
    certificate: x509.Certificate | None
    hint: str

    @property
    def artifact(self) -> str:
        """The id of the artifact that it is of."""
        return artifact_id(self.envelope.payload)


def sign_model(
    files: Sequence[FileEntry],
    *,
    name: str,
    key: ec.EllipticCurvePrivateKey,
    chain: Sequence[x509.Certificate] = (),
) -> SignedModel:
    """Sign the files of a model.

    Args:
        files: every file, in any order.
        name: the model's id.
        key: the publisher's signing key, P-256.
        chain: its certificate and the CA's, where the zone certified it; else the bundle hints at the key.

    Raises:
        IntegrityError: the bundle would be longer than ``limits.MODEL_SIGNATURE_MAX``.
    """
    statement = model_statement(name, files)
    material: dict[str, JsonValue] = {"tlogEntries": []}
    if chain:
        raw: list[JsonValue] = [{"rawBytes": base64_of(item.public_bytes(Encoding.DER))} for item in chain]
        material["x509CertificateChain"] = {"certificates": raw}
    else:
        pem = key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)
        material["publicKey"] = {"hint": hashlib.sha256(pem).hexdigest()}
    envelope = StatementEnvelope(statement, (EnvelopeSignature("", sign_payload(statement, key)),))
    bundle = canonical.encode(
        {"mediaType": BUNDLE_TYPE, "verificationMaterial": material, "dsseEnvelope": envelope.document()}
    )
    if len(bundle) > limits.MODEL_SIGNATURE_MAX:
        raise IntegrityError(
            f"the signature has {len(bundle)} bytes; the limit is {limits.MODEL_SIGNATURE_MAX}",
            remedy="publish fewer files, or files with shorter names",
        )
    return SignedModel(bundle.decode(), statement, artifact_id(statement))


def read_bundle(text: str) -> Bundle:
    """Read the text of a bundle, strictly.

    Raises:
        IntegrityError: too long, of another version, or malformed.
    """
    document = read_json(text, limits.MODEL_SIGNATURE_MAX)
    if member(document, "mediaType", str) != BUNDLE_TYPE:
        malformed(f"it is no Sigstore bundle of the type {BUNDLE_TYPE}")
    material = member(document, "verificationMaterial", dict)
    kinds = [name for name in ("publicKey", "x509CertificateChain", "certificate") if material.get(name) is not None]
    if len(kinds) != 1:
        malformed("it has not one public key or one certificate")
    envelope = StatementEnvelope.read(member(document, "dsseEnvelope", dict))
    if len(envelope.signatures) != 1:
        malformed("a bundle has one signature")
    found = material[kinds[0]]
    if kinds == ["publicKey"]:
        hint = found.get("hint") if isinstance(found, dict) else ""
        return Bundle(envelope, None, hint if isinstance(hint, str) else "")
    if kinds == ["x509CertificateChain"]:
        chain = member(found, "certificates", list)
        if not 1 <= len(chain) <= _CERTIFICATES_MAX:
            malformed(f"it has {len(chain)} certificates, not 1 to {_CERTIFICATES_MAX}")
        # Only the signer's own is looked at: the CA that counts is the one that we know of its zone.
        found = chain[0]
    data = unbase64(member(found, "rawBytes", str))
    if len(data) > limits.CERTIFICATE_MAX:
        malformed("a certificate is too long")
    try:
        return Bundle(envelope, x509.load_der_x509_certificate(data), "")
    except ValueError as error:
        raise IntegrityError("the signature is malformed: a certificate cannot be read") from error


def verify_bundle(bundle: Bundle, files: Sequence[FileEntry]) -> None:
    """Make sure that a bundle is of exactly these files; who signed it is not looked at.

    Raises:
        IntegrityError: the statement is malformed, or names other files or digests; the text says which.
    """
    signed = signed_files(bundle.envelope.payload)
    present = {file.name: file.digest for file in files}
    for what, names in (("is not signed", present.keys() - signed.keys()), ("is missing", signed.keys() - present)):
        if names:
            raise IntegrityError(
                f"the file {min(names)!r} {what}", remedy="sign the files as they are, or restore them"
            )
    changed = [name for name in present if present[name] != signed[name]]
    if changed:
        raise IntegrityError(
            f"the file {min(changed)!r} is not the one that was signed", remedy="restore it, or sign the model again"
        )


def verify_signer(bundle: Bundle, trust: Trust, at: int) -> Signer:
    """Who signed a bundle, by a key that was trusted at that time.

    Raises:
        IntegrityError: the signature does not hold, or by nobody whom we trusted.
    """
    if bundle.certificate is not None:
        key, signer = trust.certified(bundle.certificate, at)
        if not bundle.envelope.signed_by(key):
            raise IntegrityError("the signature does not hold", remedy="sign the model again")
        return signer
    for known in trust.outside(bundle.hint, at):
        if bundle.envelope.signed_by(known.key):
            return Signer(known.name, known.fingerprint)
    raise untrusted("the model")


def verify_model(bundle_text: str, files: Sequence[FileEntry], trust: Trust, at: int) -> Signer:
    """Verify a model's signature.

    1. The bundle is well formed.
    2. It was signed by a key that was trusted at that time.
    3. It names exactly these files with these digests.

    Args:
        bundle_text: the text of the bundle.
        files: the files with their digests as they are.
        trust: whom we trust.
        at: when the model was published, Unix seconds UTC.

    Raises:
        IntegrityError: one of these does not hold; the text says which.
    """
    bundle = read_bundle(bundle_text)  # 1.
    signer = verify_signer(bundle, trust, at)  # 2.
    verify_bundle(bundle, files)  # 3.
    return signer
