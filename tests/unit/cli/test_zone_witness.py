"""`tdz zone witness`: the policy of a zone's witnesses, changed by commands."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import pytest
from cryptography.hazmat.primitives.asymmetric.ed25519 import Ed25519PrivateKey
from typer.testing import CliRunner

from gateway.cli.app import app
from gateway.config import ZoneLayout
from ledger.note import CosignatureSigner
from ledger.policy import TrustPolicy


@pytest.fixture
def zone(fresh_zone: Path, tmp_path: Path) -> Path:
    shutil.copytree(fresh_zone, tmp_path / "lingang")
    return tmp_path / "lingang"


def run(*arguments: object, code: int = 0) -> Any:
    done = CliRunner().invoke(app, ["zone", "witness", *map(str, arguments), "--json"])
    assert done.exit_code == code, done.output
    return json.loads(done.stdout) if done.stdout else done.stderr


def key(name: str = "w.example/1") -> str:
    return CosignatureSigner(name, Ed25519PrivateKey.generate()).vkey


def test_witnesses_are_added_counted_and_removed(zone: Path) -> None:
    assert run("list", zone) == {"quorum": "none", "witnesses": []}
    keys = [key(f"w.example/{n}") for n in range(3)]
    for n, vkey in enumerate(keys):
        run("add", zone, f"w{n}", "--vkey", vkey, "--url", f"https://w{n}.example/")
    assert run("quorum", zone, 2)["quorum"] == "2"
    listed = run("list", zone)
    assert [(w["name"], w["vkey"], w["needed"]) for w in listed["witnesses"]] == [
        (f"w{n}", vkey, False) for n, vkey in enumerate(keys)
    ]
    assert run("remove", zone, "w1") == run("list", zone)
    assert [w["needed"] for w in run("list", zone)["witnesses"]] == [True, True]
    assert set(TrustPolicy(ZoneLayout(zone).witness_policy.read_text()).witnesses) == {"w0", "w2"}
    human = CliRunner().invoke(app, ["zone", "witness", "list", str(zone)])
    assert "https://w0.example/" in human.stdout


def test_a_private_authority_is_kept_once_and_must_be_one(zone: Path, tmp_path: Path) -> None:
    ca = zone / "ca.pem"
    for name in ("a", "b"):
        run("add", zone, name, "--vkey", key(), "--url", "https://w.example/", "--ca", ca)
    assert ZoneLayout(zone).witness_ca.read_text() == ca.read_text()
    (tmp_path / "no.pem").write_text("no certificate\n")
    said = run("add", zone, "c", "--vkey", key(), "--url", "https://w.example/", "--ca", tmp_path / "no.pem", code=2)
    assert "holds no certificate" in said
    assert len(run("list", zone)["witnesses"]) == 2


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (("add", "w", "--vkey", "none", "--url", "https://w.example/"), "verifier key"),
        (("add", "w", "--vkey", key(), "--url", "http://w.example/"), "not encrypted"),
        (("add", "w", "--vkey", key(), "--url", "w.example"), "no witness's URL"),
        (("add", "none", "--vkey", key(), "--url", "https://w.example/"), "taken"),
        (("remove", "w"), "no witness"),
        (("quorum", "any"), "no witness yet"),
        (("quorum", "many"), "no quorum"),
    ],
)
def test_what_is_wrong_is_said_and_changes_nothing(zone: Path, arguments: tuple[str, ...], said: str) -> None:
    action, *rest = arguments
    assert said in run(action, zone, *rest, code=2)
    assert not ZoneLayout(zone).witness_policy.exists()


def test_a_file_that_is_no_policy_and_a_place_that_is_no_zone_are_named(zone: Path, tmp_path: Path) -> None:
    ZoneLayout(zone).witness_policy.write_text("quorum nobody\n")
    assert "witnesses.tlog" in run("list", zone, code=2)
    assert "gateway.toml" in run("list", tmp_path, code=2)
