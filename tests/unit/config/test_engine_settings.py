"""`[policy]` and `[opa]` of gateway.toml: read strictly, written back as they were read."""

from __future__ import annotations

import dataclasses
import os
from pathlib import Path

import pytest

from gateway.config import Address, EngineSettings, OpaSettings, load_settings, write_settings
from gateway.errors import ConfigError

_ZONE = """
[zone]
name = "lingang"
jurisdiction = "CN"
origin = "tdz/lingang/2026-0000"

[gateway]
listen = "127.0.0.1:0"
endpoint = "localhost:8443"
"""
_OPA = '\n[policy]\nengine = "opa"\n\n[opa]\nurl = "https://opa.internal:8181"\n'


def _read(folder: Path, text: str) -> EngineSettings:
    (folder / "gateway.toml").write_text(_ZONE + text, "utf-8")
    return load_settings(folder).engine


def test_a_gateway_that_says_nothing_has_the_embedded_engine_with_a_worker_for_each_core(tmp_path):
    read = _read(tmp_path, "")
    assert read == EngineSettings()
    assert read.kind == "embedded"
    assert read.worker_count == min(len(os.sched_getaffinity(0)), 8)
    assert _read(tmp_path, "\n[policy]\nworkers = 3\n").worker_count == 3


def test_an_opa_server_is_read_with_its_files_beside_the_settings(tmp_path):
    files = 'ca = "a/ca.pem"\ncertificate = "c.pem"\nkey = "c.key"\n'
    files += 'token_file = "/run/secrets/token"\nbundle = "b.tar.gz"\n'
    read = _read(tmp_path, _OPA + files + "timeout_ms = 250\nfailures = 2\nrest_ms = 500\n")
    assert read.opa == OpaSettings(
        address=Address("opa.internal", 8181),
        ca=tmp_path / "a/ca.pem",
        certificate=tmp_path / "c.pem",
        key=tmp_path / "c.key",
        token_file=Path("/run/secrets/token"),
        timeout_s=0.25,
        bundle=tmp_path / "b.tar.gz",
        failures=2,
        rest_s=0.5,
    )


@pytest.mark.parametrize(
    "engine",
    [
        EngineSettings(),
        EngineSettings(workers=4, waiting=9),
        EngineSettings(kind="opa", opa=OpaSettings(address=Address("::1", 8181))),
        EngineSettings(
            kind="opa",
            waiting=3,
            opa=OpaSettings(
                address=Address("opa", 443),
                ca=Path("/x/ca.pem"),
                certificate=Path("/x/c.pem"),
                key=Path('/x/a "k".key'),
                token_file=Path("/x/t"),
                bundle=Path("/x/b.tar.gz"),
                timeout_s=0.123,
                failures=7,
                rest_s=1.5,
            ),
        ),
    ],
    ids=["default", "embedded", "opa", "opa-all"],
)
def test_what_is_written_is_read_again(tmp_path, engine):
    _read(tmp_path, "")
    settings = load_settings(tmp_path)
    write_settings(dataclasses.replace(settings, engine=engine))
    assert load_settings(tmp_path).engine == engine


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ('\n[policy]\nengine = "regorus"\n', "policy.engine"),
        ("\n[policy]\nworkers = 65\n", "policy.workers"),
        ("\n[policy]\nworkers = true\n", "policy.workers"),
        ("\n[policy]\nwaiting = 0\n", "policy.waiting"),
        ('\n[policy]\nengine = "opa"\n', r"\[opa\] is missing|opa.url"),
        ('\n[opa]\nurl = "https://opa:8181"\n', "opa is unknown"),
        (_OPA.replace("https://opa.internal:8181", "http://127.0.0.1:8181"), "not encrypted"),
        (_OPA.replace("https://opa.internal:8181", "https://opa.internal:8181/v1"), "no OPA server's URL"),
        (_OPA.replace("https://opa.internal:8181", "https://u:p@opa.internal:8181"), "password"),
        (_OPA.replace("https://opa.internal:8181", "https://opa.internal:99999"), "no URL"),
        (_OPA.replace("https://opa.internal:8181", "opa.internal:8181"), "no OPA server's URL"),
        (_OPA + 'key = "k"\n', "opa.certificate"),
        (_OPA + 'certificate = "c"\n', "opa.key"),
        (_OPA + "timeout_ms = 0\n", "opa.timeout_ms"),
        (_OPA + 'token = "secret"\n', "opa.token is unknown"),
    ],
)
def test_what_is_wrong_is_named(tmp_path, text, says):
    with pytest.raises(ConfigError, match=says) as caught:
        _read(tmp_path, text)
    assert caught.value.remedy
    assert "secret" not in str(caught.value)
