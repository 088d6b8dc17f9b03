"""Enrolment, renewal, revocation and pairing through the real services."""

from __future__ import annotations

import datetime
import json

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.asymmetric import ec, rsa
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID, NameOID

from gateway.errors import (
    ConflictError,
    InputError,
    LedgerError,
    LimitError,
    PermissionDeniedError,
)
from gateway.identity.authority import make_request, make_request_for
from gateway.identity.keys import key_fingerprint
from gateway.identity.registry import Registry
from gateway.identity.verifier import TrustedZone
from gateway.model.participant import Identity, Role
from gateway.v1 import common_pb2, identity_pb2

HERE, PEER = "lingang", "cyberjaya"
COMPROMISE = identity_pb2.REVOCATION_REASON_KEY_COMPROMISE


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


async def test_an_approved_partner_gets_in_and_the_ledger_knew_first(gate, desks, mill):
    key, known = new_key(), []
    gate.ledger.at_record = lambda kind: known.append(kind)
    answer = await desks[0].approve(key, Role.PARTNER, "ecnu")
    certificate = answer.certificate
    assert certificate.uri == f"tdz://{HERE}/partner/ecnu"
    assert known == ["identity.issued"]
    kind, subject, body, closing = gate.ledger.entries[-1]
    assert (kind, subject, closing) == ("identity.issued", f"certificates/{certificate.fingerprint}", False)
    assert body["identity"] == certificate.uri
    assert body["key"] == key_fingerprint(key.public_key())
    client = mill.client("ecnu", x509.load_pem_x509_certificate(certificate.pem.encode()), key)
    assert await gate.code(client) is grpc.StatusCode.OK


async def test_nothing_of_the_request_is_taken_but_its_key(gate, desks):
    key = new_key()
    greedy = (
        x509.CertificateSigningRequestBuilder()
        .subject_name(x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "tdz lingang")]))
        .add_extension(x509.BasicConstraints(ca=True, path_length=None), critical=True)
        .add_extension(
            x509.SubjectAlternativeName(
                [x509.UniformResourceIdentifier(f"tdz://{HERE}/admin/root"), x509.DNSName("localhost")]
            ),
            critical=False,
        )
        .add_extension(x509.ExtendedKeyUsage([ExtendedKeyUsageOID.SERVER_AUTH]), critical=True)
        .sign(key, hashes.SHA256())
        .public_bytes(Encoding.PEM)
    )
    answer = await desks[0].approve(key, Role.PARTNER, "ecnu", csr=greedy)
    made = x509.load_pem_x509_certificate(answer.certificate.pem.encode())
    names = made.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(f"tdz://{HERE}/partner/ecnu")]
    assert not made.extensions.get_extension_for_class(x509.BasicConstraints).value.ca
    usage = made.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CLIENT_AUTH]
    assert made.not_valid_after_utc - made.not_valid_before_utc <= datetime.timedelta(days=90, minutes=2)


@pytest.mark.parametrize("kind", ["bad signature", "RSA", "P-384", "key file", "two requests", "oversize", "text"])
async def test_a_request_that_is_no_good_is_refused(gate, desks, kind):
    key = new_key()
    good = make_request_for(key, Identity(HERE, Role.PARTNER, "ecnu"))
    other = {
        "RSA": lambda: rsa.generate_private_key(65537, 2048),
        "P-384": lambda: ec.generate_private_key(ec.SECP384R1()),
    }
    if kind == "bad signature":
        der = bytearray(x509.load_pem_x509_csr(good).public_bytes(Encoding.DER))
        der[-1] ^= 1
        csr = x509.load_der_x509_csr(bytes(der)).public_bytes(Encoding.PEM)
    elif kind in other:
        csr = make_request_for(other[kind](), Identity(HERE, Role.PARTNER, "ecnu"))
    else:
        csr = {
            "key file": b"-----BEGIN PRIVATE KEY-----\nAAAA\n-----END PRIVATE KEY-----\n",
            "two requests": good + good,
            "oversize": good + b"\n" * (16 * 1024),
            "text": b"please",
        }[kind]
    with pytest.raises(InputError):
        await desks[0].approve(key, Role.PARTNER, "ecnu", csr=csr)
    assert gate.ledger.entries == []


async def test_another_fingerprint_than_was_told_is_refused(gate, desks):
    with pytest.raises(InputError, match="not the one that was given"):
        await desks[0].approve(new_key(), Role.PARTNER, "ecnu", fingerprint="0" * 64)


async def test_an_administrator_needs_two_other_administrators(gate, desks):
    key = new_key()
    first = await desks[0].approve(key, Role.ADMIN, "ops-3")
    assert first.waiting.missing == 1
    again = await desks[0].approve(key, Role.ADMIN, "ops-3")
    assert again.waiting.missing == 1  # the same administrator twice is one
    second = await desks[1].approve(key, Role.ADMIN, "ops-3")
    assert second.certificate.uri == f"tdz://{HERE}/admin/ops-3"
    assert gate.ledger.kinds() == ["approval", "approval", "identity.issued"]
    assert len(set(gate.ledger.entries[-1][2]["approved_by"])) == 2


async def test_no_administrators_name_is_on_the_ledger(gate, desks):
    key = new_key()
    await desks[0].approve(key, Role.ADMIN, "zhang-san")
    await desks[1].approve(key, Role.ADMIN, "zhang-san")
    await desks[0].approve(new_key(), Role.AUDITOR, "li-si")
    await desks[0].identity.Revoke(identity_pb2.RevokeRequest(uri=f"tdz://{HERE}/admin/zhang-san", reason=COMPROMISE))
    text = json.dumps(gate.ledger.entries)
    assert len(gate.ledger.entries) == 4
    assert not any(name in text for name in ("zhang-san", "li-si", "ops-1", "ops-2"))


async def test_approvals_of_different_keys_do_not_add_up(gate, desks):
    assert (await desks[0].approve(new_key(), Role.ADMIN, "ops-3")).waiting.missing == 1
    assert (await desks[1].approve(new_key(), Role.ADMIN, "ops-3")).waiting.missing == 1


async def test_an_old_approval_does_not_count(gate, desks):
    key = new_key()
    await desks[0].approve(key, Role.ADMIN, "ops-3")
    gate.clock.ahead = 15 * 86_400.0
    assert (await desks[1].approve(key, Role.ADMIN, "ops-3")).waiting.missing == 1


async def test_the_approval_of_a_revoked_administrator_does_not_count(gate, desks):
    key = new_key()
    await desks[0].approve(key, Role.ADMIN, "ops-3")
    await desks[1].identity.Revoke(identity_pb2.RevokeRequest(uri=f"tdz://{HERE}/admin/ops-1", reason=COMPROMISE))
    assert (await desks[1].approve(key, Role.ADMIN, "ops-3")).waiting.missing == 1


async def test_nobody_approves_their_own_certificate(gate, desks):
    with pytest.raises(PermissionDeniedError, match="their own"):
        await desks[0].approve(new_key(), Role.ADMIN, "ops-1", second_key=identity_pb2.SECOND_KEY_RENEW)


async def test_a_second_key_needs_a_word_on_the_first(gate, desks):
    old = (await desks[0].approve(new_key(), Role.PARTNER, "ecnu")).certificate
    with pytest.raises(ConflictError, match="live certificate"):
        await desks[0].approve(new_key(), Role.PARTNER, "ecnu")
    beside = await desks[0].approve(new_key(), Role.PARTNER, "ecnu", second_key=identity_pb2.SECOND_KEY_RENEW)
    assert await live(desks[0], "ecnu") == {old.serial, beside.certificate.serial}
    only = await desks[0].approve(new_key(), Role.PARTNER, "ecnu", second_key=identity_pb2.SECOND_KEY_REPLACE)
    assert await live(desks[0], "ecnu") == {only.certificate.serial}
    assert gate.ledger.kinds()[-2:] == ["identity.revoked", "identity.revoked"]


async def live(desk, identifier):
    listed = await desk.identity.ListCertificates(
        identity_pb2.ListCertificatesRequest(uri=f"tdz://{HERE}/partner/{identifier}")
    )
    return {item.serial for item in listed.certificates}


async def test_certificates_of_one_holder_are_bounded(gate, desks):
    for _ in range(4):
        await desks[0].approve(new_key(), Role.PARTNER, "ecnu", second_key=identity_pb2.SECOND_KEY_RENEW)
    with pytest.raises(LimitError):
        await desks[0].approve(new_key(), Role.PARTNER, "ecnu", second_key=identity_pb2.SECOND_KEY_RENEW)


async def test_approving_the_same_key_again_gives_the_same_certificate(gate, desks):
    key = new_key()
    first = await desks[0].approve(key, Role.PARTNER, "ecnu")
    assert await desks[1].approve(key, Role.PARTNER, "ecnu") == first
    assert gate.ledger.kinds() == ["identity.issued"]


async def test_a_key_serves_one_holder_and_never_again_after_revocation(gate, desks):
    key = new_key()
    await desks[0].approve(key, Role.PARTNER, "ecnu")
    with pytest.raises(ConflictError, match="another holder"):
        await desks[0].approve(key, Role.PARTNER, "fudan")
    await desks[0].identity.Revoke(identity_pb2.RevokeRequest(uri=f"tdz://{HERE}/partner/ecnu", reason=COMPROMISE))
    with pytest.raises(ConflictError, match="revoked"):
        await desks[0].approve(key, Role.PARTNER, "ecnu")
    with pytest.raises(ConflictError, match="a CA's"):
        await desks[0].approve(gate.here.private_key(), Role.PARTNER, "ca")


async def test_a_gateway_is_not_enrolled_by_approval(gate, desks):
    with pytest.raises(InputError, match="gateway itself"):
        await desks[0].approve(new_key(), Role.GATEWAY, "gateway-2")


async def test_what_the_ledger_does_not_take_is_not_issued(gate, desks):
    key = new_key()
    gate.ledger.fail = "before"
    with pytest.raises(LedgerError):
        await desks[0].approve(key, Role.PARTNER, "ecnu")
    assert await live(desks[0], "ecnu") == set()


@pytest.mark.parametrize("failure", ["before", "after"])
async def test_revocation_is_in_force_whatever_the_ledger_says_and_recorded_at_the_next_start(
    gate, desks, failure, ask
):
    client = await gate.enrolled(Role.PARTNER, "ecnu")
    gate.ledger.fail = failure
    with pytest.raises(LedgerError):
        await ask(desks[0].identity.Revoke(identity_pb2.RevokeRequest(uri=client.name, reason=COMPROMISE)))
    assert await gate.code(client) is grpc.StatusCode.UNAUTHENTICATED
    gate.ledger.fail = ""
    own = TrustedZone(HERE, (gate.here.certificate,))
    for _ in range(2):  # finishing twice is finishing once
        again = await Registry.open(gate.store, gate.ledger, own)
        assert again.revoked(HERE, f"{client.x509.serial_number:040x}")
    assert gate.ledger.kinds() == ["identity.revoked"]


@pytest.mark.parametrize(("failure", "issued"), [("before", False), ("after", True)])
async def test_an_issue_that_was_cut_is_finished_only_if_it_stands_on_the_ledger(gate, desks, failure, issued):
    key = new_key()
    gate.ledger.fail = failure
    with pytest.raises(LedgerError):
        await desks[0].approve(key, Role.PARTNER, "ecnu")
    gate.ledger.fail = ""
    await Registry.open(gate.store, gate.ledger, TrustedZone(HERE, (gate.here.certificate,)))
    assert bool(await live(desks[0], "ecnu")) is issued


async def test_a_certificate_is_renewed_from_two_thirds_of_its_life_on(gate, desks, desk, ask, mill):
    key = new_key()
    issued = (await desks[0].approve(key, Role.PARTNER, "ecnu")).certificate
    client = mill.client("ecnu", x509.load_pem_x509_certificate(issued.pem.encode()), key)
    own = desk(client)
    _, csr = make_request(Identity(HERE, Role.ADMIN, "root"))  # what it asks for does not matter
    request = identity_pb2.RenewRequest(csr=csr.decode())
    with pytest.raises(ConflictError, match="can be renewed from"):
        await ask(own.identity.Renew(request))
    gate.clock.ahead = 61 * 86_400.0
    renewed = await ask(own.identity.Renew(request))
    assert renewed.uri == issued.uri
    assert await ask(own.identity.Renew(request)) == renewed  # the answer was lost
    body = gate.ledger.entries[-1][2]
    assert (body["how"], body["renews"]) == ("renewal", issued.fingerprint)


async def test_revocation_needs_a_reason_and_something_to_revoke(gate, desks, ask):
    for request in (
        identity_pb2.RevokeRequest(uri=f"tdz://{HERE}/partner/ecnu"),
        identity_pb2.RevokeRequest(reason=COMPROMISE),
        identity_pb2.RevokeRequest(uri="ecnu", reason=COMPROMISE),
    ):
        with pytest.raises(InputError):
            await ask(desks[0].identity.Revoke(request))
    with pytest.raises(ConflictError):
        await ask(
            desks[0].identity.Revoke(identity_pb2.RevokeRequest(uri=f"tdz://{HERE}/partner/ecnu", reason=COMPROMISE))
        )


async def test_certificates_are_listed_in_pages_newest_first(gate, desks, ask):
    for number in range(5):
        await desks[0].approve(new_key(), Role.PARTNER, f"p-{number}")
    found, token = [], ""
    while True:
        page = await desks[0].identity.ListCertificates(
            identity_pb2.ListCertificatesRequest(all=True, page=common_pb2.Page(size=2, token=token))
        )
        found += [item.uri for item in page.certificates]
        token = page.next_page_token
        if not token:
            break
    assert len(found) == len(set(found)) == 7
    with pytest.raises(InputError):
        await ask(
            desks[0].identity.ListCertificates(identity_pb2.ListCertificatesRequest(page=common_pb2.Page(token="x")))
        )
