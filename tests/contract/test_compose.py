"""What compose.yaml claims: each read from it, and its OPA started as it says with a real `opa`."""

from __future__ import annotations

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.config import load_settings
from gateway.decisions.example import example
from gateway.decisions.opa import OpaEngine
from gateway.decisions.policy_set import PolicySet
from gateway.model import canonical
from tests.opa_server import MEMORY, free_port, opa_or_skip

ROOT = Path(__file__).resolve().parents[2]
_ZONES = ("lingang", "cyberjaya")
_START_S = 60.0


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    return yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))


def test_there_are_two_zones_and_each_gateway_has_its_opa(document):
    assert set(document["services"]) == {name for zone in _ZONES for name in (zone, f"{zone}-opa")}
    for zone in _ZONES:
        assert list(document["services"][f"{zone}-opa"]["depends_on"]) == [zone]


def test_every_container_is_confined(document):
    for name, service in document["services"].items():
        assert service["read_only"] is True, name
        assert service["cap_drop"] == ["ALL"], name
        assert service["security_opt"] == ["no-new-privileges:true"], name
        assert service["pids_limit"] > 0, name
        assert not {"privileged", "cap_add", "network_mode", "pid", "ipc", "devices", "userns_mode"} & set(service)
        assert all(port.startswith("127.0.0.1:") for port in service.get("ports", ()))
        assert service.get("user", "10001").split(":")[0] not in ("0", "root")
        assert service["healthcheck"]["test"][0] == "CMD", "no shell"
        assert service["healthcheck"]["retries"]
        assert service["restart"] == "unless-stopped"
        assert "docker.sock" not in str(service)


def test_everything_that_is_written_stands_in_a_named_volume_of_its_zone(document):
    for zone in _ZONES:
        gateway, opa = document["services"][zone], document["services"][f"{zone}-opa"]
        assert gateway["volumes"] == [f"{zone}:/srv/zone", f"{zone}-policy:/srv/policy"]
        assert [volume for volume in opa["volumes"] if not volume.endswith(":ro")] == []
        assert opa["volumes"][0] == f"{zone}-policy:/srv/policy:ro"
        bound = [volume.split(":")[0] for volume in opa["volumes"] if volume.startswith(".")]
        assert bound
        assert all((ROOT / path).is_dir() for path in bound)
    assert set(document["volumes"]) == {name for zone in _ZONES for name in (zone, f"{zone}-policy")}
    image = (ROOT / "Dockerfile").read_text("utf-8")
    for path in ("/srv/zone", "/srv/policy"):
        assert re.search(rf"install --directory --owner=tdz --group=tdz --mode=\d+ {path}\b", image), path
    uid = re.search(r"useradd --uid (\d+)", image)
    assert uid is not None
    assert {document["services"][f"{zone}-opa"]["user"] for zone in _ZONES} == {f"{uid[1]}:{uid[1]}"}


def test_an_opa_is_reached_by_its_gateway_alone(document):
    for zone in _ZONES:
        own = f"{zone}-policy"
        assert document["networks"][own] == {"internal": True}
        members = [name for name, service in document["services"].items() if own in service["networks"]]
        assert members == [zone, f"{zone}-opa"]
        assert document["services"][f"{zone}-opa"]["networks"] == [own]
        assert "ports" not in document["services"][f"{zone}-opa"]


def test_the_images_are_pinned_and_opa_is_one_that_a_gateway_believes(document):
    for zone in _ZONES:
        version = re.fullmatch(r"openpolicyagent/opa:(\d+)\.(\d+)\.(\d+)", document["services"][f"{zone}-opa"]["image"])
        assert version is not None
        assert tuple(map(int, version.groups())) >= (1, 21, 3)


def test_secrets_come_by_file_and_opa_never_has_the_token(document):
    stated = {
        name: service["environment"] for name, service in document["services"].items() if "environment" in service
    }
    assert stated == {f"{zone}-opa": MEMORY for zone in _ZONES}  # nothing but this, and what the tests' OPA has
    assert all(set(secret) == {"file"} for secret in document["secrets"].values())
    assert "secrets/" in (ROOT / ".gitignore").read_text("utf-8").splitlines()
    for zone in _ZONES:
        gateway, opa = (
            {secret["source"].removeprefix(f"{zone}_"): secret["target"] for secret in service["secrets"]}
            for service in (document["services"][zone], document["services"][f"{zone}-opa"])
        )
        assert set(gateway) == {"opa_certificate", "opa_token"}
        assert set(opa) == {"opa_certificate", "opa_key", "opa_token_sha256"}
        assert {f"{zone}_{name}" for name in {*gateway, *opa}} <= set(document["secrets"])


def test_docker_reads_the_file_where_there_is_a_docker_compose(tmp_path):
    docker = shutil.which("docker")
    if docker is None or subprocess.run([docker, "compose", "version"], capture_output=True, check=False).returncode:
        pytest.skip("no docker compose here")
    run = subprocess.run(
        [docker, "compose", "config", "--quiet"], cwd=ROOT, capture_output=True, text=True, check=False
    )
    assert run.returncode == 0, run.stderr


def _secrets(folder: Path) -> None:
    run = subprocess.run(
        ["sh", str(ROOT / "deploy/opa/secrets.sh"), str(folder), "localhost"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert run.returncode == 0, run.stderr


@pytest.mark.parametrize("zone", _ZONES)
async def test_opa_as_the_file_starts_it_serves_a_gateway_with_the_settings_beside_it(zone, document, tmp_path):
    """The command, the health check, the script for the secrets, and the settings: all but the container."""
    opa = opa_or_skip()
    if shutil.which("openssl") is None:
        pytest.skip("no openssl, with which the script makes certificates")
    made, shared, port = tmp_path / "secrets", tmp_path / "policy", free_port()
    shared.mkdir()
    _secrets(made)
    assert (made / "key.pem").stat().st_mode & 0o077 == 0
    assert (made / "token").stat().st_mode & 0o077 == 0
    service = document["services"][f"{zone}-opa"]
    places = {
        **{f"/run/secrets/{s['target']}": ROOT / document["secrets"][s["source"]]["file"] for s in service["secrets"]},
        **{v.split(":")[1]: ROOT / v.split(":")[0] for v in service["volumes"] if v.startswith(".")},
        "/run/secrets/opa_token": ROOT / document["secrets"][f"{zone}_opa_token"]["file"],
    }
    places = {
        inside: made / outside.name if outside.parent.name == zone else outside for inside, outside in places.items()
    }
    places["/srv/policy"] = shared

    def outside(text: str) -> str:
        for inside, path in sorted(places.items(), key=lambda place: -len(place[0])):
            text = text.replace(inside, str(path))
        return text.replace("0.0.0.0:8181", f"127.0.0.1:{port}").replace("localhost:8181", f"localhost:{port}")

    home = tmp_path / "home"
    home.mkdir()
    settings = (ROOT / document["configs"][f"{zone}_opa"]["file"]).read_text("utf-8")
    assert f"https://{zone}-opa:8181" in settings
    jurisdiction = {"lingang": "CN", "cyberjaya": "MY"}[zone]
    (home / "gateway.toml").write_text(
        f'[zone]\nname = "{zone}"\njurisdiction = "{jurisdiction}"\norigin = "tdz/{zone}/2026-0000"\n\n'
        '[gateway]\nlisten = "127.0.0.1:0"\nendpoint = "localhost:8443"\n'
        + outside(settings.replace(f"{zone}-opa:8181", "localhost:8181")),
        "utf-8",
    )
    read = load_settings(home).engine
    assert read.opa is not None
    engine = OpaEngine(PolicySet.load().for_zone(zone), read.opa, deadline_s=_START_S)
    await engine.start()  # before OPA, as `depends_on` has it: it writes the bundle
    command = [opa, *(outside(word) for word in service["command"])]
    process = subprocess.Popen(
        command, stdout=subprocess.DEVNULL, stderr=subprocess.PIPE, env={"PATH": os.environ["PATH"]}
    )
    try:
        await engine.in_force(_START_S)
        answer = await engine.evaluate(canonical.encode(example()))
        assert isinstance(answer, dict)
        assert answer["effect"] == "allow"
        assert service["healthcheck"]["test"][1] == "/opa"
        healthy = [opa, *(outside(word) for word in service["healthcheck"]["test"][2:])]
        assert subprocess.run(healthy, capture_output=True, check=False).returncode == 0
        process.kill()
        process.wait()
        assert subprocess.run(healthy, capture_output=True, check=False).returncode != 0
    finally:
        process.kill()
        process.wait()
        await engine.close()


def test_the_rules_for_opas_callers_compile_and_are_formatted():
    opa = opa_or_skip()
    for arguments in (("fmt", "--list", "--fail"), ("check", "--strict", "--bundle")):
        run = subprocess.run(
            [opa, *arguments, str(ROOT / "deploy/opa/authz")], capture_output=True, text=True, check=False
        )
        assert run.returncode == 0, run.stdout + run.stderr
