"""In-toto statements and the envelopes around them: written canonically, read from anybody strictly.

Sources: in-toto Statement v1 (in-toto/attestation, spec/v1/statement.md), DSSE envelope v1.0, and the predicate of
OpenSSF Model Signing v1.0, whose subject digest is SHA-256 over the raw digests of the files in the order in which
they are listed. Nothing here does I/O or knows whom to trust.
"""

from __future__ import annotations

import base64
import binascii
import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any, Final, NoReturn, TypeVar

from cryptography import x509
from cryptography.exceptions import InvalidSignature
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding

from gateway.errors import IntegrityError
from gateway.identity.dsse import pae
from gateway.identity.keys import key_fingerprint
from gateway.model import canonical, limits
from gateway.model.artifact import FileEntry, name_order, name_problem, names_problem
from gateway.model.canonical import JsonValue

STATEMENT_TYPE: Final = "https://in-toto.io/Statement/v1"
PAYLOAD_TYPE: Final = "application/vnd.in-toto+json"
MODEL_SIGNATURE: Final = "https://model_signing/signature/v1.0"

_IGNORED_MAX: Final = 64
_SIGNATURES_MAX: Final = 4
_HEX: Final = frozenset("0123456789abcdef")
_P256_SIGNATURE_MAX: Final = 72  # DER of two integers of 33 bytes

_T = TypeVar("_T")


def malformed(what: str) -> NoReturn:
    """Refuse a statement, an envelope or a bundle.

    Raises:
        IntegrityError: always.
    """
    raise IntegrityError(f"the signature is malformed: {what}", remedy="sign the model again")


def member(value: object, name: str, kind: type[_T]) -> _T:
    """A member of an object, of that type.

    Raises:
        IntegrityError: the value is no object, or has no such member of that type.
    """
    found = value.get(name) if isinstance(value, dict) else None
    if not isinstance(found, kind) or (kind is int and isinstance(found, bool)):
        malformed(f"{name} is missing or of another type")
    return found


def read_json(text: str | bytes, most: int) -> Any:
    """Read JSON of another's making: bounded, no member twice, no NaN.

    Raises:
        IntegrityError: it is not that.
    """
    if len(text) > most:
        malformed(f"it is longer than {most} bytes")
    try:
        return json.loads(text, object_pairs_hook=_once, parse_constant=_constant)
    except (ValueError, RecursionError) as error:
        raise IntegrityError("the signature is malformed: not JSON", remedy="sign the model again") from error


def _once(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    value = dict(pairs)
    if len(value) != len(pairs):
        raise ValueError("a member stands twice")
    return value


def _constant(name: str) -> NoReturn:
    raise ValueError(f"{name} is not JSON")


def base64_of(data: bytes) -> str:
    """Standard base64 with padding (RFC 4648, section 4)."""
    return base64.b64encode(data).decode("ascii")


def unbase64(text: str) -> bytes:
    """The bytes of standard base64.

    Raises:
        IntegrityError: it is not that.
    """
    try:
        return base64.b64decode(text, validate=True)
    except (binascii.Error, ValueError) as error:
        raise IntegrityError("the signature is malformed: not base64", remedy="sign the model again") from error


def is_digest(text: object) -> bool:
    """Whether this is SHA-256 in lowercase hex."""
    return isinstance(text, str) and len(text) == 64 and set(text) <= _HEX


@dataclass(frozen=True, slots=True)
class EnvelopeSignature:
    """One signature of an envelope, nothing of it verified.

    Args:
        keyid: the signer's hint; may be empty.
        sig: ECDSA in DER.
        certificate: the signing certificate that came with it, where one did.
    """

    keyid: str
    sig: bytes
    certificate: x509.Certificate | None = None


@dataclass(frozen=True, slots=True)
class StatementEnvelope:
    """A DSSE envelope around an in-toto statement; the payload's bytes are exactly what is signed."""

    payload: bytes
    signatures: tuple[EnvelopeSignature, ...]

    def signed_by(self, key: ec.EllipticCurvePublicKey) -> bool:
        """Whether one of the signatures is this key's: ECDSA with SHA-256 over the PAE."""
        return any(signature_holds(key, item.sig, self.payload) for item in self.signatures)

    def document(self) -> dict[str, JsonValue]:
        """The envelope as JSON values."""
        signatures: list[JsonValue] = []
        for item in self.signatures:
            made: dict[str, JsonValue] = {"keyid": item.keyid, "sig": base64_of(item.sig)}
            if item.certificate is not None:
                made["cert"] = item.certificate.public_bytes(Encoding.PEM).decode("ascii")
            signatures.append(made)
        return {"payload": base64_of(self.payload), "payloadType": PAYLOAD_TYPE, "signatures": signatures}

    @classmethod
    def read(cls, value: object) -> StatementEnvelope:
        """Read an envelope from JSON values; members that the specification does not know are passed over.

        Raises:
            IntegrityError: a member is missing or malformed.
        """
        if member(value, "payloadType", str) != PAYLOAD_TYPE:
            malformed("the payload is no in-toto statement")
        listed = member(value, "signatures", list)
        if not 1 <= len(listed) <= _SIGNATURES_MAX:
            malformed(f"it has {len(listed)} signatures, not 1 to {_SIGNATURES_MAX}")
        signatures = []
        for item in listed:
            sig = unbase64(member(item, "sig", str))
            if not 0 < len(sig) <= _P256_SIGNATURE_MAX:
                malformed("a signature is not ECDSA on P-256")
            # DSSE: keyid is optional. `cert` is how in-toto carries the signer's certificate.
            keyid = member(item, "keyid", str) if "keyid" in item else ""
            signatures.append(EnvelopeSignature(keyid, sig, _certificate(item)))
        return cls(unbase64(member(value, "payload", str)), tuple(signatures))


def _certificate(item: dict[str, Any]) -> x509.Certificate | None:
    if not item.get("cert"):
        return None
    pem = member(item, "cert", str).encode("ascii", "replace")
    if len(pem) > limits.CERTIFICATE_MAX:
        malformed("a certificate is too long")
    try:
        return x509.load_pem_x509_certificate(pem)
    except ValueError as error:
        raise IntegrityError("the signature is malformed: a certificate cannot be read") from error


def signature_holds(key: ec.EllipticCurvePublicKey, sig: bytes, payload: bytes) -> bool:
    """Whether a signature is this key's over a statement."""
    try:
        key.verify(sig, pae(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256()))
    except InvalidSignature:
        return False
    return True


def sign_payload(payload: bytes, key: ec.EllipticCurvePrivateKey) -> bytes:
    """Sign a statement: deterministic ECDSA (RFC 6979) with SHA-256 over its PAE, in DER.

    The same files signed again with the same key are thus the same version.
    """
    return key.sign(pae(PAYLOAD_TYPE, payload), ec.ECDSA(hashes.SHA256(), deterministic_signing=True))


def sign_statement(payload: bytes, *, key: ec.EllipticCurvePrivateKey, chain: Sequence[x509.Certificate] = ()) -> str:
    """The text of a DSSE envelope around a statement.

    Args:
        payload: the statement's bytes.
        key: the signing key, P-256.
        chain: its certificate first, where the zone certified it; it goes along.
    """
    made = EnvelopeSignature(key_fingerprint(key.public_key()), sign_payload(payload, key), chain[0] if chain else None)
    return canonical.encode(StatementEnvelope(payload, (made,)).document()).decode()


def read_envelope(text: str) -> StatementEnvelope:
    """Read the text of a DSSE envelope.

    Raises:
        IntegrityError: too long or malformed.
    """
    return StatementEnvelope.read(read_json(text, limits.PROVENANCE_ENVELOPE_MAX))


def files_digest(digests: Sequence[str]) -> str:
    """The subject digest of OpenSSF Model Signing: SHA-256 over the files' raw digests, one after the other."""
    state = hashlib.sha256()
    for digest in digests:
        state.update(bytes.fromhex(digest))
    return state.hexdigest()


def model_statement(name: str, files: Sequence[FileEntry]) -> bytes:
    """The statement that a publisher signs: every file with its digest.

    A function of its arguments alone, so that the artifact's id is known before anything is signed.

    Args:
        name: the model's id.
        files: every file, in any order.
    """
    ordered = sorted(files, key=lambda file: name_order(file.name))
    resources: list[JsonValue] = [{"name": file.name, "algorithm": "sha256", "digest": file.digest} for file in ordered]
    return canonical.encode(
        {
            "_type": STATEMENT_TYPE,
            "subject": [{"name": name, "digest": {"sha256": files_digest([file.digest for file in ordered])}}],
            "predicateType": MODEL_SIGNATURE,
            "predicate": {
                "serialization": {
                    "method": "files",
                    "hash_type": "sha256",
                    "allow_symlinks": False,
                    "ignore_paths": [".git", ".gitattributes", ".github", ".gitignore"],
                },
                "resources": resources,
            },
        }
    )


def artifact_id(statement: bytes) -> str:
    """An artifact's id: SHA-256 in hex of the exact bytes of its signed statement."""
    return hashlib.sha256(statement).hexdigest()


def signed_files(payload: bytes) -> dict[str, str]:
    """Read the statement of a signed model, ours or another's, strictly.

    1. It is a statement of that predicate with one subject.
    2. The files were hashed one by one with SHA-256.
    3. Each file has a name that an artifact may hold, once, and a digest.
    4. The subject's digest is that of the files in the order in which they stand.

    Returns:
        The digest of each file by name.

    Raises:
        IntegrityError: one of these does not hold.
    """
    document = read_json(payload, limits.MODEL_SIGNATURE_MAX)
    # 1.
    if member(document, "_type", str) != STATEMENT_TYPE or member(document, "predicateType", str) != MODEL_SIGNATURE:
        malformed("it is no statement of OpenSSF Model Signing v1.0")
    subjects = member(document, "subject", list)
    if len(subjects) != 1:
        malformed("it has not one subject")
    predicate = member(document, "predicate", dict)
    # 2.
    serialization = member(predicate, "serialization", dict)
    if member(serialization, "method", str) != "files" or member(serialization, "hash_type", str) != "sha256":
        malformed("its files are not hashed whole with SHA-256")
    ignored = serialization.get("ignore_paths", [])
    member(serialization, "allow_symlinks", bool)
    if not isinstance(ignored, list) or len(ignored) > _IGNORED_MAX or not all(isinstance(x, str) for x in ignored):
        malformed("ignore_paths is not a short list of names")
    # 3.
    resources = member(predicate, "resources", list)
    if not 1 <= len(resources) <= limits.MODEL_FILES_MAX:
        malformed(f"it names {len(resources)} files, not 1 to {limits.MODEL_FILES_MAX}")
    files: dict[str, str] = {}
    for resource in resources:
        name, digest = member(resource, "name", str), member(resource, "digest", str)
        if name_problem(name) or name in files:
            malformed(f"the file {name[:80]!r} stands twice or has a name that no artifact holds")
        if member(resource, "algorithm", str) != "sha256" or not is_digest(digest):
            malformed(f"the digest of {name!r} is not SHA-256 in hex")
        files[name] = digest
    problem = names_problem(files)
    if problem:
        malformed(problem)
    # 4.
    member(subjects[0], "name", str)
    if member(member(subjects[0], "digest", dict), "sha256", str) != files_digest(list(files.values())):
        malformed("the subject's digest is not that of the files")
    return files
