"""The administrators' online commands against two real gateways."""

from __future__ import annotations

import json
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import yaml
from typer.testing import CliRunner, Result

from gateway.cli.app import app
from gateway.cli.demo import material
from gateway.cli.demo.corridor import ADMIN, Corridor, ZoneProcess
from gateway.cli.output import ExitCode
from gateway.sdk import PeerUnavailableError, connect

pytestmark = pytest.mark.e2e


def run(*arguments: object, code: int = ExitCode.OK, answers: str = "") -> Result:
    result = CliRunner().invoke(app, [str(argument) for argument in arguments], input=answers)
    assert result.exit_code == code, result.output
    return result


def as_admin(zone: ZoneProcess, *arguments: object, code: int = ExitCode.OK) -> Any:
    """Run a command as the zone's administrator and read its document."""
    done = run(*arguments, "--profile", zone.profile(ADMIN), "--json", code=code)
    return json.loads(done.stdout) if done.stdout else None


@pytest.fixture(scope="module")
def corridor(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Corridor]:
    """Two running gateways that know nothing of each other."""
    with Corridor.make(tmp_path_factory.mktemp("zones")) as made:
        made.start()
        yield made


@pytest.fixture
def cyberjaya(corridor: Corridor) -> ZoneProcess:
    return corridor.zone("cyberjaya")


@pytest.fixture
def lingang(corridor: Corridor) -> ZoneProcess:
    return corridor.zone("lingang")


def enrol(zone: ZoneProcess, name: str, directory: Path) -> Path:
    """Enrol by commands alone; gives the profile."""
    made = json.loads(
        run(
            "identity", "request", "--zone", zone.name, "--id", name, "-o", directory,
            "--gateway", zone.settings.endpoint, "--json",
        ).stdout
    )  # fmt: skip
    as_admin(
        zone, "identity", "approve", made["request"], "--role", "partner", "--id", name,
        "--fingerprint", made["fingerprint"], "-o", directory / "cert.pem",
    )  # fmt: skip
    (directory / "ca.pem").write_bytes(zone.layout.ca.read_bytes())
    return directory / "profile.toml"


def test_zones_pair_by_fingerprint_and_part(corridor: Corridor, cyberjaya: ZoneProcess, lingang: ZoneProcess) -> None:
    card = lingang.layout.card
    fingerprint = json.loads(run("zone", "card", lingang.layout.root, "--json").stdout)["fingerprint"]
    wrong = run(
        "zone",
        "pair",
        card,
        "--fingerprint",
        "0" * 64,
        "--profile",
        cyberjaya.profile(ADMIN),
        code=ExitCode.OPERATIONAL,
    )
    assert "fingerprint" in wrong.stderr
    assert as_admin(cyberjaya, "zone", "pair", card, "--fingerprint", fingerprint)["outcome"] == "paired"
    assert as_admin(cyberjaya, "zone", "pair", card, "--fingerprint", fingerprint)["outcome"] == "unchanged"
    assert [peer["zone"] for peer in as_admin(cyberjaya, "zone", "status")["peers"]] == ["lingang"]
    assert as_admin(cyberjaya, "zone", "unpair", "lingang")["unpaired_at"] > 0
    assert as_admin(cyberjaya, "zone", "status")["peers"] == []


def test_an_institution_enrols_works_and_is_revoked(cyberjaya: ZoneProcess, tmp_path: Path) -> None:
    profile = enrol(cyberjaya, "clinic", tmp_path / "clinic")
    with connect(profile) as zone:
        assert zone.datasets() == []
        uri = zone.identity.uri
    listed = as_admin(cyberjaya, "identity", "list", uri)["certificates"]
    assert [each["revoked_at"] for each in listed] == [0]
    revoked = as_admin(cyberjaya, "identity", "revoke", uri, "--reason", "cessation")["certificates"]
    assert [each["uri"] for each in revoked] == [uri]
    assert as_admin(cyberjaya, "identity", "list", uri)["certificates"] == []
    refused = run("dataset", "list", "--profile", profile, code=ExitCode.OPERATIONAL)
    assert "TDZ-" in refused.stderr


def test_a_second_key_needs_renew_or_replace(cyberjaya: ZoneProcess, tmp_path: Path) -> None:
    enrol(cyberjaya, "school", tmp_path / "one")
    made = json.loads(
        run("identity", "request", "--zone", "cyberjaya", "--id", "school", "-o", tmp_path / "two", "--json").stdout
    )
    command = (
        "identity", "approve", made["request"], "--role", "partner", "--id", "school",
        "--fingerprint", made["fingerprint"],
    )  # fmt: skip
    refused = run(*command, "--profile", cyberjaya.profile(ADMIN), code=ExitCode.OPERATIONAL)
    assert "→" in refused.stderr
    assert as_admin(cyberjaya, *command, "--replace")["certificate"]["uri"] == "tdz://cyberjaya/partner/school"


def test_a_fingerprint_that_does_not_match_is_refused(cyberjaya: ZoneProcess, tmp_path: Path) -> None:
    made = json.loads(
        run("identity", "request", "--zone", "cyberjaya", "--id", "mallory", "-o", tmp_path / "m", "--json").stdout
    )
    as_admin(
        cyberjaya, "identity", "approve", made["request"], "--role", "partner", "--id", "mallory",
        "--fingerprint", "0" * 64, code=ExitCode.OPERATIONAL,
    )  # fmt: skip


def test_it_is_too_early_to_renew(cyberjaya: ZoneProcess) -> None:
    done = run("identity", "renew", "--profile", cyberjaya.profile(ADMIN), code=ExitCode.OPERATIONAL)
    assert "→" in done.stderr


def test_participants_are_added_screened_and_shown(cyberjaya: ZoneProcess, tmp_path: Path) -> None:
    enrol(cyberjaya, material.UM, tmp_path / "um")
    exporter, recipient = material.institutions()["cyberjaya"][material.UM]
    facts = tmp_path / "um.yaml"
    facts.write_text(yaml.safe_dump({"exporter": exporter, "recipient": recipient}))
    added = as_admin(cyberjaya, "participant", "add", material.UM, "--facts", facts)
    assert added["recipient"]["screening"]["result"] == "unknown"
    screened = as_admin(cyberjaya, "participant", "screen", material.UM, "--result", "clear", "--lists", "2026-11-20")
    assert screened["recipient"]["screening"] == {"list_revision": "2026-11-20", "result": "clear"}
    shown = run("participant", "show", "--profile", cyberjaya.profile(ADMIN)).stdout
    assert "Demo University" in shown
    assert "Demo University" in run("participant", "show", material.UM, "--profile", cyberjaya.profile(ADMIN)).stdout


def test_wrong_facts_name_the_field(cyberjaya: ZoneProcess, tmp_path: Path) -> None:
    exporter, recipient = material.institutions()["cyberjaya"][material.UM]
    facts = tmp_path / "um.yaml"
    facts.write_text(yaml.safe_dump({"exporter": {**exporter, "ciio": "maybe"}, "recipient": recipient}))
    done = run(
        "participant", "add", "um", "--facts", facts, "--profile", cyberjaya.profile(ADMIN), code=ExitCode.OPERATIONAL
    )
    assert "ciio" in done.stderr


def test_mechanisms_are_added_listed_and_withdrawn(lingang: ZoneProcess, tmp_path: Path) -> None:
    document = tmp_path / "contract.yaml"
    document.write_text(yaml.safe_dump(material.mechanism()))
    assert as_admin(lingang, "mechanism", "add", document)["ref"] == material.MECHANISM
    assert material.MECHANISM in run("mechanism", "list", "--profile", lingang.profile(ADMIN)).stdout
    assert as_admin(lingang, "mechanism", "withdraw", material.MECHANISM)["withdrawn_at"] > 0


def test_a_partner_may_not_administer(cyberjaya: ZoneProcess, tmp_path: Path) -> None:
    profile = enrol(cyberjaya, "curious", tmp_path / "curious")
    done = run("mechanism", "list", "--profile", profile, code=ExitCode.OPERATIONAL)
    assert "TDZ-PERMISSION" in done.stderr


def test_a_gateway_that_cannot_start_says_why(cyberjaya: ZoneProcess) -> None:
    second = ZoneProcess(cyberjaya.layout.root)
    second.launch()
    try:
        assert second.process is not None
        assert second.process.wait(60) == ExitCode.OPERATIONAL
    finally:
        second.kill()
    assert cyberjaya.running
    with cyberjaya.admin() as admin:
        assert admin.status().zone == "cyberjaya"


def test_a_stopped_gateway_is_said_not_to_answer(corridor: Corridor, lingang: ZoneProcess) -> None:
    lingang.stop()
    with lingang.admin() as admin, pytest.raises(PeerUnavailableError):
        admin.status()
    lingang.start()
    with lingang.admin() as admin:
        assert admin.status().zone == "lingang"
