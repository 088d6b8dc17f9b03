"""A caller's own certificate is looked at before anything is sent."""

from __future__ import annotations

import datetime
from pathlib import Path

import pytest
from cryptography.hazmat.primitives.serialization import Encoding

import gateway.sdk as tdz
from gateway.config import Profile, load_profile
from gateway.identity.authority import ZoneAuthority
from gateway.identity.keys import new_tls_key, private_pem
from gateway.model.participant import Identity, Role
from tests.unit.sdk.process import SmallZone
from tests.unit.sdk.small_gateway import ZONE


class Place:
    """A profile with files of its own, to be spoiled."""

    def __init__(self, directory: Path, small: SmallZone) -> None:
        original = load_profile(small.partner)
        self.profile = Profile(
            zone=original.zone,
            gateway=original.gateway,
            ca=directory / "ca.pem",
            cert=directory / "cert.pem",
            key=directory / "key.pem",
        )
        self.now = datetime.datetime.now(datetime.UTC)
        self.authority = ZoneAuthority.create(ZONE, now=self.now - datetime.timedelta(days=400))
        self.write(self.authority)

    def write(self, authority: ZoneAuthority, *, days_ago: int = 0, days: int = 90, zone: str = ZONE) -> None:
        """Write CA, certificate and key anew."""
        key = new_tls_key()
        start = self.now - datetime.timedelta(days=days_ago)
        certificate = authority.issue(
            Identity(zone, Role.PARTNER, "um"), key.public_key(), now=start, life=datetime.timedelta(days=days)
        )
        self.profile.ca.write_bytes(authority.pem)
        self.profile.cert.write_bytes(certificate.public_bytes(Encoding.PEM))
        self.profile.key.write_bytes(private_pem(key))
        self.profile.key.chmod(0o600)


@pytest.fixture
def place(tmp_path: Path, small_zone: SmallZone) -> Place:
    return Place(tmp_path, small_zone)


def test_an_expired_certificate_is_seen_before_connecting(place: Place) -> None:
    place.write(place.authority, days_ago=100)
    with pytest.raises(tdz.CertificateError, match="expired on") as caught:
        tdz.connect(place.profile)
    assert "--renew" in caught.value.remedy


def test_a_certificate_of_the_future_points_at_the_clock(place: Place) -> None:
    place.write(place.authority, days_ago=-10)
    with pytest.raises(tdz.CertificateError, match="not valid yet") as caught:
        tdz.connect(place.profile)
    assert "clock" in caught.value.remedy


def test_a_certificate_of_another_ca_is_seen(place: Place) -> None:
    place.profile.ca.write_bytes(ZoneAuthority.create(ZONE, now=place.now).pem)
    with pytest.raises(tdz.CertificateError) as caught:
        tdz.connect(place.profile)
    assert "enrol again" in caught.value.remedy


def test_a_key_of_another_certificate_is_seen(place: Place) -> None:
    place.profile.key.write_bytes(private_pem(new_tls_key()))
    with pytest.raises(tdz.ConfigError, match="not the key"):
        tdz.connect(place.profile)


def test_a_certificate_of_another_zone_is_seen(place: Place) -> None:
    place.write(ZoneAuthority.create("lingang", now=place.now), zone="lingang")
    with pytest.raises(tdz.CertificateError, match="of zone lingang"):
        tdz.connect(place.profile)


@pytest.mark.parametrize("name", ["ca", "cert", "key"])
def test_a_missing_file_is_named(place: Place, name: str) -> None:
    path: Path = getattr(place.profile, name)
    path.unlink()
    with pytest.raises(tdz.ConfigError, match=f"{name}.pem"):
        tdz.connect(place.profile)
