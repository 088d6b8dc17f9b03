"""Model signatures: ours and those of the reference implementation, whole and damaged, trusted and not."""

from __future__ import annotations

import base64
import datetime
import json
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from gateway.artifacts.directory import ModelDirectory
from gateway.artifacts.signing import read_bundle, sign_model, verify_model
from gateway.artifacts.statement import artifact_id, model_statement, signed_files
from gateway.artifacts.trust import Trust
from gateway.artifacts.trust_register import read_public_key
from gateway.errors import IntegrityError
from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import new_tls_key, private_pem
from gateway.model.artifact import FileEntry
from gateway.model.participant import Identity, Role
from tests.unit.artifacts.conftest import AT, NOW, ZONE, Publisher, Zone, trust_key

Make = Callable[..., Path]
VECTORS = Path(__file__).parents[2] / "vectors" / "models"
DAY = 86_400

FILES = (
    FileEntry(name="a/b.txt", bytes=1, digest="a" * 64, chunks=1),
    FileEntry(name="a.txt", bytes=1, digest="b" * 64, chunks=1),
    FileEntry(name="m.safetensors", bytes=9, digest="c" * 64, chunks=1),
)


def test_a_model_is_verified_by_the_zone_that_certified_its_signer(zone: Zone, publisher: Publisher) -> None:
    signed = sign_model(FILES, name="m", key=publisher.key, chain=publisher.chain)
    signer = verify_model(signed.bundle, FILES[::-1], zone.trust, AT)
    assert signer.name == f"tdz://{ZONE}/partner/um"
    assert signed.artifact == artifact_id(signed.statement) == read_bundle(signed.bundle).artifact


def test_the_artifact_is_known_before_it_is_signed_and_signing_again_gives_the_same(publisher: Publisher) -> None:
    first, second = (sign_model(files, name="m", key=publisher.key) for files in (FILES, FILES[::-1]))
    assert first.artifact == second.artifact == artifact_id(model_statement("m", FILES))
    assert first.bundle == second.bundle  # RFC 6979: the same files are the same version


def test_the_statement_is_the_golden_one(tmp_path: Path) -> None:
    subprocess.run([sys.executable, str(VECTORS / "generate.py"), str(tmp_path)], check=True)
    for made in sorted(tmp_path.iterdir()):
        assert made.read_bytes() == (VECTORS / made.name).read_bytes(), made.name


def changed(**values: Any) -> tuple[FileEntry, ...]:
    return (FileEntry(**{**FILES[0].document(), **values}), *FILES[1:])


@pytest.mark.parametrize(
    ("files", "word"),
    [
        (changed(digest="d" * 64), "not the one that was signed"),
        (changed(name="a/c.txt"), "is not signed"),
        (FILES[1:], "is missing"),
        ((*FILES, FileEntry(name="z.txt", bytes=0, digest="e" * 64, chunks=0)), "is not signed"),
    ],
)
def test_other_files_than_the_signed_ones_are_refused(
    zone: Zone, publisher: Publisher, files: tuple[FileEntry, ...], word: str
) -> None:
    signed = sign_model(FILES, name="m", key=publisher.key, chain=publisher.chain)
    with pytest.raises(IntegrityError, match=word):
        verify_model(signed.bundle, files, zone.trust, AT)


def refuse(bundle: str, trust: Trust, at: int = AT) -> str:
    with pytest.raises(IntegrityError) as caught:
        verify_model(bundle, FILES, trust, at)
    return caught.value.message


def test_the_signer_must_have_been_trusted_then(zone: Zone, publisher: Publisher) -> None:
    signed = sign_model(FILES, name="m", key=publisher.key, chain=publisher.chain)
    assert "outside its dates" in refuse(signed.bundle, zone.trust, AT - DAY)
    assert "outside its dates" in refuse(signed.bundle, zone.trust, AT + 91 * DAY)
    assert "not trusted here" in refuse(signed.bundle, Trust({}))
    stranger = ZoneAuthority.create(ZONE, now=NOW)
    assert "not issued by the CA" in refuse(signed.bundle, Trust({ZONE: (stranger.certificate,)}))
    fingerprint = verify_model(signed.bundle, FILES, zone.trust, AT).certificate
    revoked = Trust(zone.trust.zones, {}, {fingerprint: AT})
    assert "revoked" in refuse(signed.bundle, revoked)
    verify_model(signed.bundle, FILES, revoked, AT - 1)
    assert "revoked" in refuse(signed.bundle, Trust(zone.trust.zones, {}, {fingerprint: 0}), AT - 1)


def test_an_outside_key_counts_from_when_it_was_added_until_it_was_removed() -> None:
    key = new_tls_key()
    signed = sign_model(FILES, name="m", key=key)
    assert verify_model(signed.bundle, FILES, trust_key(key), AT).name == "a lab"
    assert "no key that was trusted" in refuse(signed.bundle, trust_key(key), AT - 1)
    removed = trust_key(key, AT, AT + 10)
    verify_model(signed.bundle, FILES, removed, AT + 9)
    assert "no key that was trusted" in refuse(signed.bundle, removed, AT + 10)
    assert "no key that was trusted" in refuse(signed.bundle, trust_key(new_tls_key()))


@pytest.mark.parametrize("kind", ["tls", "other zone", "self-signed", "admin", "ca", "two uses"])
def test_a_certificate_that_is_not_for_signing_is_refused(zone: Zone, kind: str) -> None:
    key = new_tls_key()
    partner = Identity(ZONE, Role.PARTNER, "um")
    authority = zone.authority
    if kind == "tls":
        certificate = authority.issue(partner, key.public_key(), now=NOW)
    elif kind == "other zone":
        # The own CA names a holder of a zone whose CA it is not.
        other = ZoneAuthority("lingang", authority.certificate, authority.private_key())
        certificate = other.issue_signing(Identity("lingang", Role.PARTNER, "um"), key.public_key(), now=NOW)
    elif kind == "self-signed":
        certificate = ZoneAuthority.create(ZONE, now=NOW).issue_signing(partner, key.public_key(), now=NOW)
    elif kind == "ca":
        key, certificate = authority.private_key(), authority.certificate
    else:
        certificate = forged(authority, key, kind)
    signed = sign_model(FILES, name="m", key=key, chain=(certificate,))
    lingang = ZoneAuthority.create("lingang", now=NOW)
    trust = Trust({ZONE: (authority.certificate,), "lingang": (lingang.certificate,)})
    refuse(signed.bundle, trust)


def forged(authority: ZoneAuthority, key: ec.EllipticCurvePrivateKey, kind: str) -> x509.Certificate:
    from cryptography.hazmat.primitives import hashes
    from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

    uses = [ExtendedKeyUsageOID.CODE_SIGNING]
    if kind == "two uses":
        uses.append(ExtendedKeyUsageOID.CLIENT_AUTH)
    uri = f"tdz://{ZONE}/{'admin' if kind == 'admin' else 'partner'}/um"
    issuer = authority.certificate.extensions.get_extension_for_class(x509.SubjectKeyIdentifier).value
    return (
        x509.CertificateBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "um")]))
        .issuer_name(authority.certificate.subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(NOW - datetime.timedelta(minutes=1))
        .not_valid_after(NOW + datetime.timedelta(days=1))
        .add_extension(x509.BasicConstraints(ca=False, path_length=None), critical=True)
        .add_extension(x509.ExtendedKeyUsage(uses), critical=False)
        .add_extension(x509.SubjectAlternativeName([x509.UniformResourceIdentifier(uri)]), critical=False)
        .add_extension(x509.AuthorityKeyIdentifier.from_issuer_subject_key_identifier(issuer), critical=False)
        .sign(authority.private_key(), hashes.SHA256())
    )


def test_another_key_than_the_certificates_is_refused(zone: Zone, publisher: Publisher) -> None:
    signed = sign_model(FILES, name="m", key=new_tls_key(), chain=publisher.chain)
    assert "does not hold" in refuse(signed.bundle, zone.trust)


MUTATIONS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another media type": lambda b: b.update(mediaType="application/vnd.dev.sigstore.bundle.v0.2+json"),
    "no material": lambda b: b.update(verificationMaterial={}),
    "two materials": lambda b: b["verificationMaterial"].update(publicKey={"hint": "x"}),
    "an empty chain": lambda b: b["verificationMaterial"].update(x509CertificateChain={"certificates": []}),
    "a long chain": lambda b: b["verificationMaterial"]["x509CertificateChain"]["certificates"].extend([{}] * 9),
    "a broken certificate": lambda b: b["verificationMaterial"].update(
        x509CertificateChain={"certificates": [{"rawBytes": "AAAA"}]}
    ),
    "another payload type": lambda b: b["dsseEnvelope"].update(payloadType="text/plain"),
    "no signature": lambda b: b["dsseEnvelope"].update(signatures=[]),
    "two signatures": lambda b: b["dsseEnvelope"]["signatures"].append(b["dsseEnvelope"]["signatures"][0]),
    "a broken signature": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="AAAA"),
    "a signature that is no base64": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="*"),
    "a long signature": lambda b: b["dsseEnvelope"]["signatures"][0].update(sig="A" * 4_000),
    "another payload": lambda b: b["dsseEnvelope"].update(payload=base64.b64encode(b"{}").decode()),
    "no payload": lambda b: b["dsseEnvelope"].pop("payload"),
    "no envelope": lambda b: b.pop("dsseEnvelope"),
    "a message signature": lambda b: b.update(messageSignature=b.pop("dsseEnvelope")),
    "a list": lambda b: b.update(dsseEnvelope=[]),
}


@pytest.mark.parametrize("mutation", MUTATIONS)
def test_a_changed_bundle_is_refused(zone: Zone, publisher: Publisher, mutation: str) -> None:
    signed = sign_model(FILES, name="m", key=publisher.key, chain=publisher.chain)
    bundle = json.loads(signed.bundle)
    MUTATIONS[mutation](bundle)
    refuse(json.dumps(bundle), zone.trust)


@pytest.mark.parametrize(
    "text", ["", "null", "[]", "{", "[" * 10_000, '{"a":1,"a":2}', "NaN", '"\\ud800"', "1" * 9_000]
)
def test_a_text_that_is_no_bundle_is_refused(zone: Zone, text: str) -> None:
    refuse(text, zone.trust)
    refuse("x" * 1_000_000, zone.trust)


STATEMENTS: dict[str, Callable[[dict[str, Any]], object]] = {
    "another type": lambda s: s.update(_type="https://in-toto.io/Statement/v0.1"),
    "another predicate": lambda s: s.update(predicateType="https://model_signing/Digests/v0.1"),
    "no subject": lambda s: s.update(subject=[]),
    "two subjects": lambda s: s["subject"].append(s["subject"][0]),
    "another subject digest": lambda s: s["subject"][0]["digest"].update(sha256="0" * 64),
    "shards": lambda s: s["predicate"]["serialization"].update(method="shards"),
    "blake3": lambda s: s["predicate"]["serialization"].update(hash_type="blake3"),
    "ignored paths without end": lambda s: s["predicate"]["serialization"].update(ignore_paths=["x"] * 100),
    "no files": lambda s: s["predicate"].update(resources=[]),
    "a file twice": lambda s: s["predicate"]["resources"].append(s["predicate"]["resources"][0]),
    "a climbing name": lambda s: s["predicate"]["resources"][0].update(name="../x"),
    "a name that differs in case": lambda s: s["predicate"]["resources"][0].update(name="A.TXT"),
    "a short digest": lambda s: s["predicate"]["resources"][0].update(digest="ab"),
    "a digest in capitals": lambda s: s["predicate"]["resources"][0].update(digest="A" * 64),
    "another algorithm": lambda s: s["predicate"]["resources"][0].update(algorithm="md5"),
    "another order": lambda s: s["predicate"]["resources"].reverse(),
    "a number for a name": lambda s: s["predicate"]["resources"][0].update(name=7),
}


@pytest.mark.parametrize("mutation", STATEMENTS)
def test_a_statement_that_breaks_a_rule_is_refused(mutation: str) -> None:
    statement = json.loads(model_statement("m", FILES))
    STATEMENTS[mutation](statement)
    with pytest.raises(IntegrityError):
        signed_files(json.dumps(statement).encode())


def test_bundles_of_the_reference_implementation_are_verified() -> None:
    """Signed once by model-signing 1.1.1; see tests/vectors/models/signed/NOTICE.md."""
    here = VECTORS / "signed"
    files = ModelDirectory(here / "model").scan()
    key = read_public_key((here / "key.pem").read_bytes())
    at = int((here / "signed-at").read_text())
    from gateway.artifacts.trust import OutsideKey
    from gateway.identity.keys import key_fingerprint

    known = OutsideKey(key_fingerprint(key), "the signer", key, at)
    by_key = Trust({}, {known.fingerprint: known})
    assert verify_model((here / "key.sig").read_text(), files, by_key, at).name == "the signer"
    ca = x509.load_pem_x509_certificate((here / "ca.pem").read_bytes())
    by_zone = Trust({ZONE: (ca,)})
    signer = verify_model((here / "certificate.sig").read_text(), files, by_zone, at)
    assert signer.name == f"tdz://{ZONE}/partner/um"
    for name in ("key.sig", "certificate.sig"):
        with pytest.raises(IntegrityError):
            verify_model((here / name).read_text(), files[1:], by_key if name == "key.sig" else by_zone, at)


@pytest.fixture
def reference() -> Callable[..., None]:
    """The reference implementation's command."""
    pytest.importorskip("model_signing", reason="needs model-signing, the reference implementation")

    def run(*arguments: object, fails: bool = False) -> None:
        command = [sys.executable, "-m", "model_signing", *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False)
        assert (done.returncode != 0) == fails, done.stdout + done.stderr

    return run


def test_the_reference_verifies_ours_and_we_verify_its(
    make_model: Make, tmp_path: Path, reference: Callable[..., None]
) -> None:
    here = make_model({"a/b.txt": b"x", "a.txt": b"y", "m.gguf": b"GGUF\x03\0\0\0" + bytes(16), "config.json": b"{}"})
    (here / ".gitignore").write_text("*\n")
    now = datetime.datetime.now(datetime.UTC)
    at = int(now.timestamp())
    authority, key = ZoneAuthority.create(ZONE, now=now), new_tls_key()
    certificate = authority.issue_signing(Identity(ZONE, Role.PARTNER, "um"), key.public_key(), now=now)
    pem = {
        "key.pem": private_pem(key),
        "public.pem": key.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo),
        "signing.pem": certificate.public_bytes(Encoding.PEM),
        "ca.pem": authority.pem,
    }
    for name, data in pem.items():
        (tmp_path / name).write_bytes(data)
    private, public, leaf, ca = (tmp_path / name for name in pem)
    files = ModelDirectory(here).scan()
    by_key, by_zone = trust_key(key, at), Trust({ZONE: (authority.certificate,)})
    ours, theirs = tmp_path / "ours.sig", tmp_path / "theirs.sig"

    ours.write_text(sign_model(files, name="model", key=key).bundle)
    reference("verify", "key", here, "--signature", ours, "--public_key", public)
    ours.write_text(sign_model(files, name="model", key=key, chain=(certificate,)).bundle)
    reference("verify", "certificate", here, "--signature", ours, "--certificate_chain", ca)
    reference("sign", "key", here, "--signature", theirs, "--private_key", private)
    verify_model(theirs.read_text(), files, by_key, at)
    reference(
        *("sign", "certificate", here, "--signature", theirs, "--private_key", private),
        *("--signing_certificate", leaf, "--certificate_chain", ca),
    )
    verify_model(theirs.read_text(), files, by_zone, at)
    (here / "config.json").write_text('{"changed": true}')
    reference("verify", "certificate", here, "--signature", ours, "--certificate_chain", ca, fails=True)
    with pytest.raises(IntegrityError, match=r"config\.json"):
        verify_model(theirs.read_text(), ModelDirectory(here).scan(), by_zone, at)
