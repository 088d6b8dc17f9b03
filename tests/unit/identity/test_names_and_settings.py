"""Identities in their one form; settings and profiles that name file, key and remedy when they are wrong."""

from __future__ import annotations

import stat

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.config import (
    Address,
    GatewaySettings,
    Profile,
    ServerLimits,
    ZoneLayout,
    default_profile,
    load_profile,
    load_settings,
    write_file,
    write_profile,
    write_settings,
)
from gateway.errors import ConfigError, InputError
from gateway.model.participant import Identity, Participant, Role
from gateway.model.policy_input import Exporter, Recipient

GOOD = "tdz://lingang/partner/ecnu"


@pytest.mark.parametrize("role", list(Role))
def test_an_identity_is_its_uri(role):
    identity = Identity("lingang", role, "ecnu-2")
    assert identity.uri == f"tdz://lingang/{role}/ecnu-2"
    assert Identity.parse(identity.uri) == identity


@pytest.mark.parametrize(
    "text",
    [
        "", "tdz://", "tdz:lingang/partner/ecnu", GOOD + "/", GOOD + "?", GOOD + "#x", " " + GOOD, GOOD + "\n",
        GOOD.upper(), "TDZ" + GOOD[3:], "tdz:///partner/ecnu", "tdz://lingang/root/ecnu",
        "tdz://lingang/partner/", "tdz://lingang/partner/-x", "tdz://lingang/partner/x-", "tdz://1a/partner/x",
        "tdz://lingang/partner/..", "tdz://lingang/partner/é", "tdz://lingang/partner/" + "a" * 64,
        "tdz://" + "a" * 400 + "/partner/x", "tdz://lin gang/partner/x", "tdz://lingang:1/partner/x",
    ],
)  # fmt: skip
def test_nothing_else_is_an_identity(text):
    with pytest.raises(InputError):
        Identity.parse(text)


@given(st.text(max_size=60))
def test_whatever_parses_is_written_the_same(text):
    try:
        identity = Identity.parse(text)
    except InputError:
        return
    assert identity.uri == text


def facts(identifier):
    exporter = Exporter(
        id=identifier, legal_name="x", kind="company", sector="x", ciio="no", ftz_registered="no",
        lingang_activity="no", dpo_required="no", dpo_ref="",
    )  # fmt: skip
    recipient = Recipient.model_validate(
        {
            "id": identifier, "legal_name": "x", "kind": "company", "hq_country": "CN",
            "ultimate_parent_country": "CN", "owners": [],
            "screening": {"list_revision": "1", "result": "clear"},
        }
    )  # fmt: skip
    return exporter, recipient


def test_a_participant_is_a_partner_whose_facts_carry_its_uri():
    Participant(Identity.parse(GOOD), *facts(GOOD))
    with pytest.raises(InputError, match="not a partner"):
        Participant(Identity("lingang", Role.ADMIN, "a"), *facts(GOOD))
    with pytest.raises(InputError, match=r"exporter\.id"):
        Participant(Identity.parse(GOOD), *facts("ecnu"))


def settings(root, **changed):
    given_ = {
        "layout": ZoneLayout(root),
        "zone": "lingang",
        "jurisdiction": "CN",
        "origin": "tdz/lingang/2026-abcd",
        "listen": Address("127.0.0.1", 0),
        "endpoint": Address("gw.lingang.example", 8443),
        "names": ("gw.lingang.example", "10.0.0.1"),
    }
    return GatewaySettings(**{**given_, **changed})


@pytest.mark.parametrize(
    "changed", [{}, {"limits": ServerLimits(concurrent_rpcs=9, data_bytes=1 << 40)}, {"jurisdiction": "MY"}]
)
def test_settings_are_read_as_written(tmp_path, changed):
    made = settings(tmp_path, **changed)
    write_settings(made)
    assert load_settings(tmp_path) == made


def test_a_policy_directory_is_relative_to_the_zones(tmp_path):
    write_settings(settings(tmp_path))
    file = tmp_path / "gateway.toml"
    file.write_text(file.read_text() + '\n[policy]\ndirectory = "rules"\n')
    assert load_settings(tmp_path).policy == tmp_path / "rules"


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('jurisdiction = "CN"', 'jurisdiction = "cn"', "zone.jurisdiction"),
        ('name = "lingang"', 'name = "Lingang"', "zone.name"),
        ('name = "lingang"', "name = 3", "zone.name"),
        ('name = "lingang"', "", "zone.name is missing"),
        ("tdz/lingang/2026-abcd", "tdz/cyberjaya/2026-abcd", "zone.origin"),
        ("gw.lingang.example:8443", "gw.lingang.example", "gateway.endpoint"),
        ("gw.lingang.example:8443", "gw.lingang.example:0", "gateway.endpoint"),
        ("gw.lingang.example:8443", "gw.lingang.example:65536", "gateway.endpoint"),
        ('"10.0.0.1"', '"10.0.0.1/8"', "gateway.names"),
        ("[gateway]", "[gatewy]", "gateway"),
        ("listen =", "colour = 1\nlisten =", "gateway.colour is unknown"),
        ("[zone]", "[zone", "not TOML"),
        ("[zone]", "[limits]\nconcurrent_rpcs = 0\n[zone]", "limits.concurrent_rpcs"),
        ("[zone]", "[limits]\nconcurrent_rpcs = true\n[zone]", "limits.concurrent_rpcs"),
    ],
)
def test_wrong_settings_name_file_key_and_remedy(tmp_path, old, new, says):
    write_settings(settings(tmp_path))
    file = tmp_path / "gateway.toml"
    file.write_text(file.read_text().replace(old, new, 1))
    with pytest.raises(ConfigError) as wrong:
        load_settings(tmp_path)
    assert str(file) in wrong.value.message
    assert says in wrong.value.message
    assert wrong.value.remedy


def test_a_missing_or_endless_file_is_said_so(tmp_path):
    with pytest.raises(ConfigError, match=r"gateway\.toml"):
        load_settings(tmp_path)
    (tmp_path / "gateway.toml").write_text("#" * 70_000)
    with pytest.raises(ConfigError, match="longer"):
        load_settings(tmp_path)


def test_a_profiles_paths_are_relative_to_it(tmp_path):
    directory = tmp_path / "identities" / "um"
    directory.mkdir(parents=True)
    profile = Profile(
        zone="lingang",
        gateway=Address("::1", 8443),
        ca=tmp_path / "ca.pem",
        cert=directory / "cert.pem",
        key=directory / "key.pem",
    )
    write_profile(directory / "profile.toml", profile)
    assert 'cert = "cert.pem"' in (directory / "profile.toml").read_text()
    for path in (directory, directory / "profile.toml"):
        loaded = load_profile(path)
        assert loaded.gateway == profile.gateway
        assert loaded.ca.resolve() == profile.ca
    moved = tmp_path / "moved"
    directory.rename(moved)
    assert load_profile(moved).key == moved / "key.pem"


def test_the_environment_names_a_default_profile(tmp_path):
    assert default_profile({"TDZ_PROFILE": "/x/profile.toml"}).name == "profile.toml"
    with pytest.raises(ConfigError, match="no profile"):
        default_profile({})


@pytest.mark.parametrize("text", ["", ":1", "a", "a:", "a:b", "a:01", "a:-1", "a b:1", "::1:8443", "[::g]:1", "a:1 "])
def test_an_address_is_host_and_port(text):
    with pytest.raises(InputError):
        Address.parse(text, any_port=True)


def test_an_address_is_written_as_it_is_read():
    for text in ("127.0.0.1:0", "[::1]:8443", "gw.example.org:65535"):
        assert str(Address.parse(text, any_port=True)) == text


def test_a_file_has_its_mode_from_the_first_byte_and_is_not_replaced_unasked(tmp_path):
    path = tmp_path / "key.pem"
    write_file(path, b"one", mode=0o600, replace=False)
    assert stat.S_IMODE(path.stat().st_mode) == 0o600
    with pytest.raises(ConfigError, match="exists"):
        write_file(path, b"two", mode=0o600, replace=False)
    write_file(path, b"three", mode=0o600)
    assert path.read_bytes() == b"three"
    assert [item.name for item in tmp_path.iterdir()] == ["key.pem"]


def test_private_directories_are_the_owners_alone(tmp_path):
    layout = ZoneLayout(tmp_path / "zone")
    layout.create()
    for directory in (layout.keys, layout.identities, layout.state.parent, layout.chunks.parent):
        assert stat.S_IMODE(directory.stat().st_mode) == 0o700
