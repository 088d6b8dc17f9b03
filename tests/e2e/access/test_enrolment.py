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
    IntegrityError,
    LedgerError,
    LimitError,
    PermissionDeniedError,
)
from gateway.identity.authority import make_request, make_request_for
from gateway.identity.card import sign_card
from gateway.identity.keys import key_fingerprint, new_statement_key
from gateway.identity.registry import Registry
from gateway.identity.verifier import TrustedZone
from gateway.model.participant import Identity, Role
from gateway.v1 import common_pb2, identity_pb2, identity_pb2_grpc, zone_pb2, zone_pb2_grpc
from gateway.wire.status import from_rpc

HERE, PEER = "lingang", "cyberjaya"
ROLES = {
    Role.PARTNER: identity_pb2.ROLE_PARTNER,
    Role.ADMIN: identity_pb2.ROLE_ADMIN,
    Role.AUDITOR: identity_pb2.ROLE_AUDITOR,
    Role.GATEWAY: identity_pb2.ROLE_GATEWAY,
}
COMPROMISE = identity_pb2.REVOCATION_REASON_KEY_COMPROMISE


async def ask(pending):
    try:
        return await pending
    except grpc.aio.AioRpcError as error:
        raise from_rpc(error) from error


class Desk:
    """One caller's stubs."""

    def __init__(self, gate, client):
        self.channel = gate.connect(client)
        self.identity = identity_pb2_grpc.IdentityServiceStub(self.channel)
        self.zone = zone_pb2_grpc.ZoneServiceStub(self.channel)

    async def approve(self, key, role, identifier, csr=None, second_key=0, fingerprint=None):
        csr = csr or make_request_for(key, Identity(HERE, role, identifier))
        return await ask(
            self.identity.Approve(
                identity_pb2.ApproveRequest(
                    csr=csr.decode(),
                    role=ROLES[role],
                    id=identifier,
                    key_fingerprint=fingerprint or key_fingerprint(key.public_key()),
                    second_key=second_key,
                )
            )
        )


@pytest.fixture
async def desks(gate):
    """Two administrators."""
    made = [Desk(gate, await gate.enrolled(Role.ADMIN, f"ops-{number}")) for number in (1, 2)]
    yield made
    for desk in made:
        await desk.channel.close()


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
    client = mill._client("ecnu", x509.load_pem_x509_certificate(certificate.pem.encode()), key)
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
async def test_revocation_is_in_force_whatever_the_ledger_says_and_is_recorded_at_the_next_start(gate, desks, failure):
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


async def test_a_certificate_is_renewed_from_two_thirds_of_its_life_on(gate, desks, mill):
    key = new_key()
    issued = (await desks[0].approve(key, Role.PARTNER, "ecnu")).certificate
    client = mill._client("ecnu", x509.load_pem_x509_certificate(issued.pem.encode()), key)
    own = Desk(gate, client)
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
    await own.channel.close()


async def test_revocation_needs_a_reason_and_something_to_revoke(gate, desks):
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


async def test_certificates_are_listed_in_pages_newest_first(gate, desks):
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


async def test_a_zone_is_paired_by_fingerprint_and_shown_in_the_status(gate, desks):
    card = gate.peer_card
    with pytest.raises(InputError, match="not the one that was given"):
        await ask(desks[0].zone.Pair(zone_pb2.PairRequest(card=card.data, fingerprint="0" * 64)))
    request = zone_pb2.PairRequest(card=card.data, fingerprint=card.fingerprint)
    paired = await ask(desks[0].zone.Pair(request))
    assert paired.outcome == zone_pb2.PAIR_OUTCOME_PAIRED
    assert (await ask(desks[0].zone.Pair(request))).outcome == zone_pb2.PAIR_OUTCOME_UNCHANGED
    status = await desks[0].zone.GetStatus(zone_pb2.GetStatusRequest())
    assert [(peer.zone, peer.jurisdiction, peer.reachable) for peer in status.peers] == [(PEER, "MY", True)]
    assert (status.ledger_size, status.witnessed_size) == (7, 5)
    assert gate.ledger.kinds() == ["zone.paired"]
    served = await desks[0].zone.GetZoneCard(zone_pb2.GetZoneCardRequest())
    assert (served.card, served.fingerprint) == (gate.card.data, gate.card.fingerprint)


async def test_the_own_card_and_a_damaged_one_are_refused(gate, desks):
    own = zone_pb2.PairRequest(card=gate.card.data, fingerprint=gate.card.fingerprint)
    with pytest.raises(ConflictError, match="own card"):
        await ask(desks[0].zone.Pair(own))
    with pytest.raises(IntegrityError):
        await ask(desks[0].zone.Pair(zone_pb2.PairRequest(card=gate.peer_card.data[:-1], fingerprint="0" * 64)))


async def test_a_participant_is_registered_screened_and_committed_to(gate, desks):
    exporter = {
        "legal_name": "East China Normal University",
        "kind": "university",
        "sector": "education",
        "ciio": "no",
        "ftz_registered": "yes",
        "lingang_activity": "yes",
        "dpo_required": "no",
        "dpo_ref": "",
    }
    recipient = {
        "legal_name": "East China Normal University",
        "kind": "university",
        "hq_country": "CN",
        "ultimate_parent_country": "CN",
        "owners": [],
    }
    put = zone_pb2.PutParticipantRequest(id="ecnu", exporter=json.dumps(exporter), recipient=json.dumps(recipient))
    made = await ask(desks[0].zone.PutParticipant(put))
    assert json.loads(made.recipient)["screening"] == {"list_revision": "none", "result": "unknown"}
    assert json.loads(made.exporter)["id"] == f"tdz://{HERE}/partner/ecnu"
    screen = zone_pb2.ScreenParticipantRequest(
        id="ecnu", list_revision="2026-11", result=zone_pb2.SCREENING_RESULT_CLEAR
    )
    await ask(desks[0].zone.ScreenParticipant(screen))
    kept = await ask(desks[0].zone.PutParticipant(put))  # facts replaced, the result stays
    assert json.loads(kept.recipient)["screening"] == {"list_revision": "2026-11", "result": "clear"}
    assert await ask(desks[0].zone.GetParticipant(zone_pb2.GetParticipantRequest(id="ecnu"))) == kept
    listed = await ask(desks[0].zone.ListParticipants(zone_pb2.ListParticipantsRequest()))
    assert list(listed.participants) == [kept]
    bodies = [body for kind, _, body, _ in gate.ledger.entries if kind.startswith("participant.")]
    assert len({body["commitment"] for body in bodies}) == 3
    assert "clear" not in json.dumps(bodies)
    wrong = zone_pb2.PutParticipantRequest(
        id="ecnu", exporter=json.dumps({**exporter, "ciio": "maybe"}), recipient=json.dumps(recipient)
    )
    with pytest.raises(InputError, match=r"exporter\.ciio"):
        await ask(desks[0].zone.PutParticipant(wrong))
    for text in ("[]", "{", '{"kind":1,"kind":2}', "NaN"):
        with pytest.raises(InputError):
            await ask(
                desks[0].zone.PutParticipant(zone_pb2.PutParticipantRequest(id="ecnu", exporter=text, recipient="{}"))
            )


async def test_a_cards_own_keys_admit_its_successor_after_a_confirmation(gate, desks):
    first = gate.peer_card
    log, statement = new_statement_key(), new_statement_key()
    from dataclasses import replace

    from gateway.identity.card import make_vkey
    from gateway.identity.keys import raw_public

    card = replace(
        first.card,
        log=make_vkey(first.card.origin, log.public_key(), 1),
        statement_key=raw_public(statement.public_key()),
        serial=2,
    )
    one = sign_card(card, log=log.sign, statement=statement.sign)
    two = sign_card(replace(card, serial=3, endpoint="127.0.0.1:9443"), log=log.sign, statement=statement.sign)
    foreign_log, foreign_statement = new_statement_key(), new_statement_key()
    foreign = sign_card(
        replace(
            card,
            serial=9,
            log=make_vkey(first.card.origin, foreign_log.public_key(), 1),
            statement_key=raw_public(foreign_statement.public_key()),
        ),
        log=foreign_log.sign,
        statement=foreign_statement.sign,
    )

    async def pair(signed, confirm=False):
        return await ask(
            desks[0].zone.Pair(zone_pb2.PairRequest(card=signed.data, fingerprint=signed.fingerprint, confirm=confirm))
        )

    await pair(one)
    shown = await pair(two)
    assert shown.outcome == zone_pb2.PAIR_OUTCOME_CONFIRM
    assert list(shown.changed) == ["endpoint"]
    assert gate.registry.peer(PEER).signed == one
    assert (await pair(two, confirm=True)).outcome == zone_pb2.PAIR_OUTCOME_REPLACED
    with pytest.raises(ConflictError, match="not above"):
        await pair(one, confirm=True)
    with pytest.raises(IntegrityError, match="no key of the card in force"):
        await pair(foreign, confirm=True)
    await desks[0].zone.Unpair(zone_pb2.UnpairRequest(zone=PEER))
    with pytest.raises(ConflictError, match="not above"):
        await pair(one)  # never an older card, not even after unpairing
    assert (await pair(foreign)).outcome == zone_pb2.PAIR_OUTCOME_PAIRED  # by fingerprint, anew
