"""Zone cards, the CA's certificates, the verifier's cache, one's own certificate."""

from __future__ import annotations

import dataclasses
import datetime
import json
import time

import pytest
from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from cryptography.x509.oid import ExtendedKeyUsageOID

from gateway.config import Address, Profile, write_file
from gateway.errors import (
    CertificateError,
    ConfigError,
    ConflictError,
    InputError,
    IntegrityError,
    UnauthenticatedError,
)
from gateway.identity.authority import ZoneAuthority, make_request, serial_text
from gateway.identity.card import ZoneCard, make_vkey, parse_vkey, read_card, require_successor, sign_card
from gateway.identity.keys import load_tls_key, new_statement_key, new_tls_key, raw_public, write_private_key
from gateway.identity.own import check_own
from gateway.identity.verifier import TrustedZone, Verifier
from gateway.model.canonical import encode
from gateway.model.participant import Identity, Role

START = datetime.datetime.now(datetime.UTC)
CA, PEER_CA = ZoneAuthority.create("lingang", now=START), ZoneAuthority.create("cyberjaya", now=START)
LOG, MIRROR, STATEMENT = (new_statement_key() for _ in range(3))
ORIGIN = "tdz/lingang/2026-abcd"
PARTNER = Identity("lingang", Role.PARTNER, "ecnu")


def card(**changed):
    given = {
        "zone": "lingang",
        "jurisdiction": "CN",
        "endpoint": "gw.lingang.example:8443",
        "ca": CA.pem.decode(),
        "origin": ORIGIN,
        "log": make_vkey(ORIGIN, LOG.public_key(), 1),
        "mirror": make_vkey("tdz/lingang/mirror", MIRROR.public_key(), 4),
        "statement_key": raw_public(STATEMENT.public_key()),
        "serial": 1,
        "date": 1_800_000_000,
    }
    return ZoneCard(**{**given, **changed})


def signed(**changed):
    return sign_card(card(**changed), log=LOG.sign, statement=STATEMENT.sign)


def test_a_card_is_read_as_it_was_signed():
    made = signed()
    assert read_card(made.data) == made
    assert made.card == card()
    assert len(made.fingerprint) == 64


@pytest.mark.parametrize("member", sorted(json.loads(signed().data)["card"]))
def test_no_member_of_a_card_can_be_changed(member):
    document = json.loads(signed().data)
    other = {
        "ca": PEER_CA.pem.decode(),
        "date": 1_800_000_001,
        "endpoint": "evil.example:8443",
        "jurisdiction": "MY",
        "log": make_vkey(ORIGIN, new_statement_key().public_key(), 1),
        "mirror": make_vkey("tdz/lingang/mirror", new_statement_key().public_key(), 4),
        "origin": "tdz/lingang/2027-abcd",
        "serial": 2,
        "statement_key": json.loads(signed().data)["card"]["statement_key"].swapcase(),
        "zone": "lingan",
    }
    document["card"][member] = other[member]
    with pytest.raises(IntegrityError):
        read_card(encode(document))


def test_both_keys_must_have_signed_a_card():
    document = json.loads(signed().data)
    for signatures in ([document["signatures"][0]] * 2, document["signatures"][:1], []):
        with pytest.raises(IntegrityError):
            read_card(encode({**document, "signatures": signatures}))
    with pytest.raises(IntegrityError):
        sign_card(card(), log=LOG.sign, statement=LOG.sign)


def test_a_card_file_is_canonical_and_bounded():
    data = signed().data
    for bad in (data + b"\n", data[:-1], b"[]", b"", b'{"card":{},"signatures":[]}', b" " * 70_000):
        with pytest.raises(IntegrityError):
            read_card(bad)


def not_a_ca():
    key = new_tls_key()
    return CA.issue(PARTNER, key.public_key(), now=START).public_bytes(Encoding.PEM).decode()


@pytest.mark.parametrize(
    "changed",
    [
        {"jurisdiction": "US"},
        {"zone": "Lingang"},
        {"origin": "tdz/cyberjaya/2026-abcd"},
        {"endpoint": "nowhere"},
        {"serial": 0},
        {"serial": 1 << 53},
        {"date": 0},
        {"statement_key": b"short"},
        pytest.param({"statement_key": raw_public(LOG.public_key())}, id="statement_key-the log's"),
        {"ca": PEER_CA.pem.decode()},
        {"ca": CA.pem.decode() * 3},
        {"ca": not_a_ca()},
        {"ca": "none"},
        {"log": make_vkey(ORIGIN, LOG.public_key(), 4)},
        {"log": make_vkey("tdz/lingang/other", LOG.public_key(), 1)},
        {"mirror": make_vkey("tdz/lingang/mirror", MIRROR.public_key(), 1)},
        {"mirror": make_vkey("tdz/cyberjaya/mirror", MIRROR.public_key(), 4)},
    ],
    ids=lambda changed: f"{next(iter(changed))}-{str(next(iter(changed.values())))[:12]}",
)
def test_a_card_that_contradicts_itself_is_none(changed):
    with pytest.raises(InputError):
        card(**changed)


def test_a_vkey_has_one_form():
    good = make_vkey(ORIGIN, LOG.public_key(), 1)
    assert parse_vkey(good, name=ORIGIN, key_type=1) == raw_public(LOG.public_key())
    name, key_id, encoded = good.split("+", 2)
    for bad in (f"{name}+{key_id}", f"{name}+00000000+{encoded}", good + "=", good + "\n", f"{name}+{key_id}+AA=="):
        with pytest.raises(InputError):
            parse_vkey(bad, name=ORIGIN, key_type=1)


def test_a_successor_is_newer_and_signed_by_a_key_of_the_last():
    last = signed()
    require_successor(last, signed(serial=2, endpoint="new.example:1"))
    with pytest.raises(ConflictError):
        require_successor(last, signed(date=1_800_000_009))
    with pytest.raises(ConflictError):
        require_successor(last, signed(serial=2, jurisdiction="MY"))
    log, statement = new_statement_key(), new_statement_key()
    changed = card(
        serial=2, log=make_vkey(ORIGIN, log.public_key(), 1), statement_key=raw_public(statement.public_key())
    )
    with pytest.raises(IntegrityError, match="no key of the card in force"):
        require_successor(last, sign_card(changed, log=log.sign, statement=statement.sign))
    vouched = sign_card(changed, log=log.sign, statement=statement.sign, previous=(LOG.public_key(), LOG.sign))
    require_successor(last, vouched)


class Trust:
    """A snapshot as the verifier reads it."""

    def __init__(self, *authorities):
        self.zones = {item.zone: TrustedZone(item.zone, (item.certificate,)) for item in authorities}
        self.gone = set()

    def revoked(self, zone, serial):
        return (zone, serial) in self.gone


class Clock:
    ahead = 0.0

    def __call__(self):
        return time.time() + self.ahead


def issued(authority=CA, identity=PARTNER, **more):
    made = authority.issue(identity, new_tls_key().public_key(), now=START, **more)
    return made, made.public_bytes(Encoding.PEM)


def test_a_certificate_has_the_extensions_of_its_role_and_no_more():
    person, _ = issued()
    gateway, _ = issued(identity=Identity("lingang", Role.GATEWAY, "gateway"), names=("gw.example", "10.0.0.1"))
    usage = x509.ExtendedKeyUsage
    assert set(person.extensions.get_extension_for_class(usage).value) == {ExtendedKeyUsageOID.CLIENT_AUTH}
    assert set(gateway.extensions.get_extension_for_class(usage).value) == {
        ExtendedKeyUsageOID.CLIENT_AUTH,
        ExtendedKeyUsageOID.SERVER_AUTH,
    }
    alternatives = x509.SubjectAlternativeName
    assert len(list(person.extensions.get_extension_for_class(alternatives).value)) == 1
    assert len(list(gateway.extensions.get_extension_for_class(alternatives).value)) == 3
    constraints = CA.certificate.extensions.get_extension_for_class(x509.BasicConstraints)
    assert constraints.critical
    assert constraints.value == x509.BasicConstraints(ca=True, path_length=0)
    assert CA.certificate.not_valid_after_utc - START > datetime.timedelta(days=3650)


def test_an_authority_names_its_own_zone_alone_and_gateways_alone_get_names():
    with pytest.raises(InputError):
        issued(identity=Identity("cyberjaya", Role.PARTNER, "um"))
    with pytest.raises(InputError):
        issued(names=("localhost",))
    with pytest.raises(InputError):
        issued(identity=Identity("lingang", Role.GATEWAY, "gateway"))


def test_no_certificate_outlives_its_ca():
    short = ZoneAuthority.create("lingang", now=START, life=datetime.timedelta(days=10))
    made, _ = issued(authority=short)
    assert made.not_valid_after_utc == short.certificate.not_valid_after_utc
    with pytest.raises(ConfigError, match="expired"):
        short.issue(PARTNER, new_tls_key().public_key(), now=START + datetime.timedelta(days=11))


def test_a_verified_certificate_is_checked_again_on_every_call():
    trust, clock = Trust(CA), Clock()
    verifier = Verifier("lingang", trust, clock)
    made, pem = issued()
    peer = verifier.verify(pem)
    assert (peer.identity, peer.serial) == (PARTNER, serial_text(made.serial_number))
    clock.ahead = 91 * 86_400.0
    with pytest.raises(CertificateError, match="expired"):
        verifier.verify(pem)
    clock.ahead = -86_400.0
    with pytest.raises(CertificateError, match="not valid yet"):
        verifier.verify(pem)
    clock.ahead = 0.0
    trust.gone.add(("lingang", peer.serial))
    with pytest.raises(CertificateError, match="revoked"):
        verifier.verify(pem)


def test_a_cached_certificate_is_verified_anew_when_its_zones_ca_changes():
    trust, clock = Trust(CA, PEER_CA), Clock()
    verifier = Verifier("lingang", trust, clock)
    _, pem = issued(PEER_CA, Identity("cyberjaya", Role.GATEWAY, "gateway"), names=("localhost",))
    verifier.verify(pem)
    other = ZoneAuthority.create("cyberjaya", now=START)
    trust.zones["cyberjaya"] = TrustedZone("cyberjaya", (other.certificate,))
    with pytest.raises(UnauthenticatedError, match="not issued"):
        verifier.verify(pem)
    trust.zones["cyberjaya"] = TrustedZone("cyberjaya", (other.certificate, PEER_CA.certificate))
    verifier.verify(pem)  # both count while one takes the other's place
    del trust.zones["cyberjaya"]
    with pytest.raises(CertificateError, match="not paired"):
        verifier.verify(pem)


def test_the_verifiers_memory_is_bounded(monkeypatch):
    monkeypatch.setattr("gateway.identity.verifier.CACHE_MAX", 3)
    verifier = Verifier("lingang", Trust(CA), Clock())
    for _ in range(5):
        verifier.verify(issued()[1])
    assert len(verifier._cache) == 3


@pytest.mark.parametrize("pem", [b"", b"x", b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n"])
def test_what_is_no_certificate_proves_nothing(pem):
    with pytest.raises(UnauthenticatedError):
        Verifier("lingang", Trust(CA), Clock()).verify(pem)


def test_two_certificates_or_an_endless_one_prove_nothing():
    _, pem = issued()
    for bad in (pem + pem, pem + b"\n" * 20_000):
        with pytest.raises(UnauthenticatedError):
            Verifier("lingang", Trust(CA), Clock()).verify(bad)


@pytest.fixture
def profile(tmp_path):
    key, _ = make_request(PARTNER)
    made = CA.issue(PARTNER, key.public_key(), now=START)
    write_private_key(tmp_path / "key.pem", key)
    write_file(tmp_path / "cert.pem", made.public_bytes(Encoding.PEM), mode=0o644)
    write_file(tmp_path / "ca.pem", CA.pem, mode=0o644)
    return Profile(
        zone="lingang",
        gateway=Address("127.0.0.1", 8443),
        ca=tmp_path / "ca.pem",
        cert=tmp_path / "cert.pem",
        key=tmp_path / "key.pem",
    )


def test_ones_own_certificate_is_looked_at_before_connecting(profile):
    now = int(time.time())
    own = check_own(profile, now=now)
    assert own.identity == PARTNER
    assert own.renewable_from() - own.not_before == (own.not_after - own.not_before) * 2 // 3
    with pytest.raises(CertificateError, match="expired on"):
        check_own(profile, now=now + 91 * 86_400)
    with pytest.raises(CertificateError, match="not valid yet"):
        check_own(profile, now=now - 86_400)
    with pytest.raises(CertificateError, match="is of zone"):
        check_own(dataclasses.replace(profile, zone="cyberjaya"), now=now)
    profile.ca.write_bytes(PEER_CA.pem)
    with pytest.raises(UnauthenticatedError, match="not issued"):
        check_own(profile, now=now)


def test_a_key_of_another_open_to_others_or_gone_is_said_so(profile):
    now = int(time.time())
    profile.key.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        check_own(profile, now=now)
    profile.key.unlink()
    with pytest.raises(ConfigError, match="cannot read the key"):
        check_own(profile, now=now)
    write_private_key(profile.key, new_tls_key())
    with pytest.raises(ConfigError, match="not the key of"):
        check_own(profile, now=now)
    with pytest.raises(ConfigError, match="exists"):
        write_private_key(profile.key, new_tls_key())
    assert load_tls_key(profile.key)


def test_an_authority_shows_no_key():
    assert repr(CA) == "ZoneAuthority(zone='lingang')"
