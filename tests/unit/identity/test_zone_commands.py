"""`tdz zone init`, `tdz zone card`, `tdz identity request`, as typed."""

from __future__ import annotations

import json
import stat

import pytest
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.config import ZoneLayout, load_profile, load_settings
from gateway.errors import ConfigError
from gateway.identity.authority import key_of_request
from gateway.identity.card import read_card, require_successor
from gateway.identity.keys import key_fingerprint
from gateway.identity.own import check_own
from gateway.identity.signing import load_signing

run = CliRunner()


def init(directory, *more):
    arguments = ["zone", "init", str(directory), "--zone", "lingang", "--jurisdiction", "CN"]
    return run.invoke(app, [*arguments, "--listen", "127.0.0.1:8443", "--admin", "ops-1", *more])


@pytest.fixture
def zone(tmp_path):
    result = init(tmp_path / "lingang", "--admin", "ops-2", "--json")
    assert result.exit_code == 0, result.output
    return tmp_path / "lingang", json.loads(result.stdout)


def test_a_new_zone_is_complete(zone):
    directory, document = zone
    layout, settings = ZoneLayout(directory), load_settings(directory)
    signed = read_card(layout.card.read_bytes())
    assert document["fingerprint"] == signed.fingerprint
    assert settings.origin == signed.card.origin == document["origin"]
    for path in document["profiles"]:
        own = check_own(load_profile(directory.parent / path), now=signed.card.date)
        assert own.identity.role == "admin"
    for key in layout.keys.glob("*.key"):
        assert stat.S_IMODE(key.stat().st_mode) == 0o600
    assert len(list(layout.keys.glob("*.key"))) == 6
    own = load_signing(layout.signing_key, layout.signing_certificate, layout.ca, now=signed.card.date)
    assert own.identity == settings.identity


def test_the_first_certificates_are_on_the_ledger_and_no_name_with_them(zone):
    directory, _ = zone
    newest = max((directory / "ledger/tile/entries/000.p").iterdir(), key=lambda path: int(path.name))
    bundle = newest.read_bytes()
    assert int(newest.name) == 5  # log.opened, the gateway's two, two administrators
    assert bundle.count(b'"kind":"identity.issued"') == 4
    assert bundle.count(b'"usage":"signing"') == 1
    assert b"ops-1" not in bundle
    assert b"tdz://lingang/gateway/gateway" in bundle


def test_a_zone_is_not_made_twice_nor_half(zone, tmp_path):
    directory, _ = zone
    before = (directory / "card.json").read_bytes()
    assert init(directory).exit_code == 2
    assert (directory / "card.json").read_bytes() == before
    assert init(tmp_path / "other", "--admin", "Ops").exit_code == 2
    assert init(tmp_path / "other", "--admin", "ops-1").exit_code == 2  # twice the same
    assert [item.name for item in tmp_path.iterdir()] == ["lingang"]


def test_a_card_is_shown_copied_and_renewed(zone, tmp_path):
    directory, document = zone
    shown = run.invoke(app, ["zone", "card", str(directory), "-o", str(tmp_path / "copy.json")])
    assert document["fingerprint"] in shown.stdout
    first = read_card((tmp_path / "copy.json").read_bytes())
    toml = directory / "gateway.toml"
    toml.write_text(toml.read_text().replace('endpoint = "127.0.0.1:8443"', 'endpoint = "127.0.0.1:9443"'))
    assert run.invoke(app, ["zone", "card", str(directory), "--renew"]).exit_code == 0
    second = read_card((directory / "card.json").read_bytes())
    require_successor(first, second)
    assert second.card.changed(first.card) == ("endpoint",)


def test_a_request_keeps_its_key_and_tells_its_fingerprint(tmp_path):
    arguments = ["identity", "request", "--zone", "lingang", "--id", "ecnu", "-o", str(tmp_path / "ecnu")]
    result = run.invoke(app, [*arguments, "--gateway", "127.0.0.1:8443", "--json"])
    assert result.exit_code == 0, result.output
    document = json.loads(result.stdout)
    key = key_of_request((tmp_path / "ecnu" / "request.csr").read_bytes())
    assert document["fingerprint"] == key_fingerprint(key)
    assert stat.S_IMODE((tmp_path / "ecnu" / "key.pem").stat().st_mode) == 0o600
    assert load_profile(tmp_path / "ecnu").zone == "lingang"
    again = run.invoke(app, arguments)
    assert again.exit_code == 2
    assert "exists" in again.output
    assert run.invoke(app, [*arguments[:-1], str(tmp_path / "x"), "--role", "gateway"]).exit_code == 2


def test_a_signing_key_is_a_second_one_that_the_profile_names(tmp_path):
    here = tmp_path / "ecnu"
    arguments = ["identity", "request", "--zone", "lingang", "--id", "ecnu", "-o", str(here)]
    assert run.invoke(app, [*arguments, "--gateway", "127.0.0.1:8443"]).exit_code == 0
    assert load_profile(here).signing_key is None
    result = run.invoke(app, [*arguments, "--signing", "--json"])
    assert result.exit_code == 0, result.output
    first, second = (key_of_request((here / name).read_bytes()) for name in ("request.csr", "signing.csr"))
    assert json.loads(result.stdout)["fingerprint"] == key_fingerprint(second) != key_fingerprint(first)
    assert stat.S_IMODE((here / "signing-key.pem").stat().st_mode) == 0o600
    profile = load_profile(here)
    assert (profile.signing_key, profile.signing_certificate) == (here / "signing-key.pem", here / "signing.pem")
    assert profile.key == here / "key.pem"
    assert run.invoke(app, [*arguments, "--signing", "--role", "admin"]).exit_code == 2


def test_a_certificate_without_its_key_is_no_profile(tmp_path):
    here = tmp_path / "ecnu"
    arguments = ["identity", "request", "--zone", "lingang", "--id", "ecnu", "-o", str(here)]
    run.invoke(app, [*arguments, "--gateway", "127.0.0.1:8443"])
    file = here / "profile.toml"
    file.write_text(file.read_text() + 'signing_certificate = "signing.pem"\n')
    with pytest.raises(ConfigError, match="without signing_key"):
        load_profile(here)
