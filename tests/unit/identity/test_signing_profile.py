"""What a profile says of its signing key is proved before anything is signed."""

from __future__ import annotations

import dataclasses
import datetime
import time

import pytest

from gateway.config import Address, Profile, load_profile, write_file, write_profile
from gateway.errors import CertificateError, ConfigError
from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import new_tls_key, write_private_key
from gateway.identity.tables import CertificateRecord
from gateway.model.participant import Identity, Role
from gateway.sdk.credentials import load_signing_identity

PARTNER = Identity("lingang", Role.PARTNER, "ecnu")


@pytest.fixture
def profile(tmp_path):
    now = datetime.datetime.now(datetime.UTC)
    authority, key = ZoneAuthority.create("lingang", now=now), new_tls_key()
    certificate = authority.issue_signing(PARTNER, key.public_key(), now=now)
    record = CertificateRecord.of(certificate, PARTNER, issued_at=int(now.timestamp()))
    assert record.signing
    write_private_key(tmp_path / "signing-key.pem", key)
    write_file(tmp_path / "signing.pem", record.pem.encode(), mode=0o644)
    write_file(tmp_path / "ca.pem", authority.pem, mode=0o644)
    made = Profile(
        zone="lingang",
        gateway=Address.parse("127.0.0.1:8443"),
        ca=tmp_path / "ca.pem",
        cert=tmp_path / "cert.pem",
        key=tmp_path / "key.pem",
        signing_key=tmp_path / "signing-key.pem",
        signing_certificate=tmp_path / "signing.pem",
    )
    write_profile(tmp_path / "profile.toml", made)
    return load_profile(tmp_path)


def test_a_certified_key_brings_its_chain(profile):
    found = load_signing_identity(profile)
    assert found.identity == PARTNER
    assert len(found.chain) == 2
    assert "key" not in repr(found).lower()


def test_a_key_without_certificate_is_one_of_nobody_that_a_zone_knows(profile):
    found = load_signing_identity(dataclasses.replace(profile, signing_certificate=None))
    assert (found.identity, found.chain) == (None, ())


def test_a_profile_without_a_signing_key_says_how_to_get_one(profile):
    with pytest.raises(ConfigError, match="no signing_key") as caught:
        load_signing_identity(dataclasses.replace(profile, signing_key=None, signing_certificate=None))
    assert "--signing" in caught.value.remedy


def test_an_expired_or_missing_certificate_and_an_open_key_are_refused(profile):
    with pytest.raises(CertificateError, match="outside its dates"):
        load_signing_identity(profile, now=int(time.time()) + 91 * 86_400)
    profile.signing_key.chmod(0o644)
    with pytest.raises(ConfigError, match="open to others"):
        load_signing_identity(profile)
    profile.signing_key.chmod(0o600)
    profile.signing_certificate.unlink()
    with pytest.raises(ConfigError, match="cannot read"):
        load_signing_identity(profile)
