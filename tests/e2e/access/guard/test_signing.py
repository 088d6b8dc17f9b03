"""Signing certificates through the real services, and before the real guard, which none of them opens."""

from __future__ import annotations

import datetime

import grpc
import pytest
from cryptography import x509
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.errors import ConflictError, InputError
from gateway.identity.authority import make_request_for
from gateway.identity.keys import key_fingerprint, new_tls_key
from gateway.identity.signing import require_signing_chain, signer_of
from gateway.model.participant import Identity, Role
from gateway.v1 import identity_pb2

HERE = "lingang"
PARTNER = Identity(HERE, Role.PARTNER, "ecnu")
REPLACE, RENEW = identity_pb2.SECOND_KEY_REPLACE, identity_pb2.SECOND_KEY_RENEW


def new_key():
    return ec.generate_private_key(ec.SECP256R1())


@pytest.fixture
def approve(desks, ask):
    async def approving(key, *, signing=True, role=identity_pb2.ROLE_PARTNER, second_key=0):
        request = identity_pb2.ApproveRequest(
            csr=make_request_for(key, PARTNER).decode(),
            role=role,
            id="ecnu",
            key_fingerprint=key_fingerprint(key.public_key()),
            second_key=second_key,
            signing=signing,
        )
        return (await ask(desks[0].identity.Approve(request))).certificate

    return approving


async def test_a_signing_certificate_is_for_signing_alone_and_the_ledger_says_so(gate, approve):
    made = await approve(new_key())
    certificate = x509.load_pem_x509_certificate(made.pem.encode())
    usage = certificate.extensions.get_extension_for_class(x509.ExtendedKeyUsage).value
    assert list(usage) == [ExtendedKeyUsageOID.CODE_SIGNING]
    names = certificate.extensions.get_extension_for_class(x509.SubjectAlternativeName).value
    assert list(names) == [x509.UniformResourceIdentifier(PARTNER.uri)]
    assert made.signing
    kind, _, body, _ = gate.ledger.entries[-1]
    assert (kind, body["usage"], body["identity"]) == ("identity.issued", "signing", PARTNER.uri)
    assert signer_of(certificate) == PARTNER
    require_signing_chain(certificate, (gate.here.certificate,), int(gate.clock()))


@pytest.mark.parametrize("role", [Role.PARTNER, Role.GATEWAY])
async def test_every_method_refuses_a_signing_certificate(gate, role_walk, mill, role):
    key = new_tls_key()
    now = datetime.datetime.now(datetime.UTC)
    made = gate.here.issue_signing(Identity(HERE, role, "one"), key.public_key(), now=now)
    client = mill.client("signing", made, key)
    refused = {grpc.StatusCode.UNAUTHENTICATED, grpc.StatusCode.UNAVAILABLE}
    assert await role_walk.refused(client, gate.registrar.methods, refused) == []


@pytest.mark.parametrize(
    "usage",
    [
        (ExtendedKeyUsageOID.CLIENT_AUTH, ExtendedKeyUsageOID.CODE_SIGNING),
        (ExtendedKeyUsageOID.CODE_SIGNING, ExtendedKeyUsageOID.CLIENT_AUTH),
    ],
)
async def test_a_certificate_for_both_uses_neither_opens_nor_signs(gate, mill, usage):
    both = mill.evil(gate.here, "both", [x509.UniformResourceIdentifier(PARTNER.uri)], usage=usage)
    assert await gate.code(both) is grpc.StatusCode.UNAUTHENTICATED
    with pytest.raises(Exception, match="not for signing"):
        signer_of(both.x509)


async def test_the_key_of_one_use_is_refused_for_the_other(gate, approve):
    tls, signing = new_key(), new_key()
    await approve(tls, signing=False)
    with pytest.raises(ConflictError, match="never one for TLS"):
        await approve(tls)
    await approve(signing)
    with pytest.raises(ConflictError, match="never one for TLS"):
        await approve(signing, signing=False)


async def test_a_second_signing_key_follows_the_rules_of_second_keys_and_leaves_tls_alone(gate, approve, mill):
    tls_key, first = new_key(), new_key()
    tls = await approve(tls_key, signing=False)
    one = await approve(first)
    assert (await approve(first)).serial == one.serial  # asked again
    with pytest.raises(ConflictError, match="--renew"):
        await approve(new_key())
    await approve(new_key(), second_key=RENEW)
    await approve(new_key(), second_key=REPLACE)
    live = [c for c in await gate.registry.of_holder(PARTNER.uri) if c.live(int(gate.clock()))]
    assert sorted(c.signing for c in live) == [False, True]
    client = mill.client("ecnu", x509.load_pem_x509_certificate(tls.pem.encode()), tls_key)
    assert await gate.code(client) is grpc.StatusCode.OK


@pytest.mark.parametrize("role", [identity_pb2.ROLE_ADMIN, identity_pb2.ROLE_AUDITOR, identity_pb2.ROLE_GATEWAY])
async def test_nobody_but_a_partner_is_approved_for_signing(gate, approve, role):
    with pytest.raises(InputError):
        await approve(new_key(), role=role)
    assert gate.ledger.entries == []


async def test_a_revocation_and_the_list_know_both_kinds(gate, approve, desks, ask):
    await approve(new_key(), signing=False)
    one = await approve(new_key())
    listed = await ask(desks[0].identity.ListCertificates(identity_pb2.ListCertificatesRequest(uri=PARTNER.uri)))
    assert sorted(c.signing for c in listed.certificates) == [False, True]
    reason = identity_pb2.REVOCATION_REASON_SUPERSEDED
    gone = await ask(desks[0].identity.Revoke(identity_pb2.RevokeRequest(serial=one.serial, reason=reason)))
    assert [c.serial for c in gone.certificates] == [one.serial]
    assert gate.registry.revoked(HERE, one.serial)
