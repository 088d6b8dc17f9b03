"""`[decisions]` of `gateway.toml`: read strictly, written back as it is."""

from __future__ import annotations

import pytest

from gateway.cli.zone_init import init_zone
from gateway.config import Address, load_settings, write_settings
from gateway.config.decision_log import DecisionLogSettings
from gateway.errors import ConfigError


@pytest.fixture(scope="module")
def zone(tmp_path_factory):
    directory = tmp_path_factory.mktemp("settings") / "lingang"
    listen = Address.parse("127.0.0.1:7443")
    init_zone(
        directory,
        zone="lingang",
        jurisdiction="CN",
        listen=listen,
        endpoint=listen,
        names=["127.0.0.1"],
        admins=["first"],
    )
    return directory


def test_the_table_is_read_and_written_back(zone):
    settings = load_settings(zone)
    assert settings.decisions == DecisionLogSettings()
    before = settings.layout.settings.read_text()
    assert "[decisions]" not in before
    settings.layout.settings.write_text(before + "\n[decisions]\ndays = 3\nbytes = 2000000\n")
    changed = load_settings(zone)
    assert changed.decisions == DecisionLogSettings(days=3, bytes=2_000_000)
    write_settings(changed)
    assert load_settings(zone) == changed
    settings.layout.settings.write_text(before)


@pytest.mark.parametrize("line", ["days = 0", "days = 1.5", 'days = "3"', "bytes = 10", "weeks = 1"])
def test_what_is_wrong_is_refused(zone, line):
    path = load_settings(zone).layout.settings
    before = path.read_text()
    path.write_text(before + f"\n[decisions]\n{line}\n")
    with pytest.raises(ConfigError, match=line.partition(" ")[0]):
        load_settings(zone)
    path.write_text(before)
