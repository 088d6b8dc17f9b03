"""One signed bundle for both engines: a real OPA builds what we read, and serves what we sign."""

from __future__ import annotations

import json
import socket
import subprocess
import time
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import yaml

from gateway.decisions.bundles.bundle import part_roots, verify
from gateway.decisions.bundles.composition import composed
from gateway.decisions.bundles.local import local_bundle
from gateway.decisions.bundles.trust import TrustedKey
from gateway.decisions.policy_set import PolicySet, ZonePolicy, shipped
from gateway.decisions.trial import trials
from tests.conformance.policy.conftest import Decide
from tests.unit.decisions.bundles import material
from tests.unit.decisions.bundles.material import NOW, VENDOR, ZONE, key, keys, manifest

DEADLINE_S = 30.0


def policy_of(*bundles: bytes) -> ZonePolicy:
    policy = PolicySet.load().for_zone("lingang")
    for data in bundles:
        found = verify(data, keys(), zone="lingang", now=NOW)
        policy = composed(policy, found)
    return policy


@contextmanager
def serving(opa: str, folder: Path, bundles: dict[str, bytes], signed_by: dict[str, str]) -> Iterator[str]:
    """An OPA server on loopback that loads bundles from files, each verified with its key; its URL."""
    folder.mkdir()
    for name, data in bundles.items():
        (folder / f"{name}.tar.gz").write_bytes(data)
    config = {
        "bundles": {
            name: {
                "resource": f"file://{folder}/{name}.tar.gz",
                **({"signing": {"keyid": signed_by[name]}} if name in signed_by else {}),
            }
            for name in bundles
        },
        "keys": {
            VENDOR: {"algorithm": "ES256", "key": material.pem(key("vendor")).decode()},
            ZONE: {"algorithm": "ES256", "key": material.pem(key("zone")).decode()},
        },
    }
    (folder / "opa.yaml").write_text(yaml.safe_dump(config), "utf-8")
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    command = [opa, "run", "--server", "--addr", f"127.0.0.1:{port}", "-c", str(folder / "opa.yaml")]
    with (folder / "opa.log").open("wb") as log:
        process = subprocess.Popen(command, stdout=log, stderr=log)
    try:
        yield f"http://127.0.0.1:{port}"
    finally:
        process.kill()
        process.wait()


def ask(url: str, document: Any = None) -> Any:
    body = None if document is None else json.dumps({"input": document}).encode()
    request = urllib.request.Request(url, body, {"Content-Type": "application/json"})
    with urllib.request.urlopen(request, timeout=DEADLINE_S) as answer:
        return json.loads(answer.read() or b"{}")


def eventually(look: Any, failed: Any) -> Any:
    until = time.monotonic() + DEADLINE_S
    while True:
        try:
            if (found := look()) is not None:
                return found
        except OSError:  # not there yet
            found = None
        assert time.monotonic() < until, failed()
        time.sleep(0.05)


def test_the_same_signed_bundles_decide_alike_in_a_real_opa_and_in_the_embedded_engine(
    opa: str, tmp_path: Path, embedded: Decide
) -> None:
    bundles = {"baseline": material.baseline("lingang", 3), "zone": material.forbidding("lingang", 5, "public_health")}
    policy = policy_of(*bundles.values())
    documents = trials(policy, NOW)
    documents += [{**d, "request": {**d["request"], "purpose": "public_health"}} for d in documents]
    expected = embedded(policy, documents)
    assert {answer["effect"] for answer in expected} >= {"allow", "deny"}
    folder = tmp_path / "server"
    loaded = {**bundles, "local": local_bundle(policy)}
    with serving(opa, folder, loaded, {"baseline": VENDOR, "zone": ZONE}) as url:

        def ready() -> Any:
            return ask(f"{url}/health?bundles") is not None or None

        eventually(ready, lambda: (folder / "opa.log").read_text())
        answers = [ask(f"{url}/v1/data/tdz/main/decision", document)["result"] for document in documents]
    for mine, theirs in zip(expected, answers, strict=True):
        assert _sorted(mine) == _sorted(theirs)


def _sorted(answer: dict[str, Any]) -> dict[str, Any]:
    return {
        name: sorted(map(json.dumps, value)) if isinstance(value, list) else value for name, value in answer.items()
    }


@pytest.mark.parametrize("mutation", ["another key", "a changed rule"])
def test_opa_refuses_what_we_refuse(opa: str, tmp_path: Path, mutation: str) -> None:
    data = material.forbidding("lingang", 5)
    if mutation == "another key":
        pem = material.pem(key("vendor"))
    else:
        files = material.archive.unpack(data)
        name = "tdz/zone/lingang/rules.rego"
        data = material.archive.pack({**files, name: files[name].replace(b'"deny"', b'"info"')})
        pem = material.pem(key("zone"))
    done = _opa_verifies(opa, tmp_path, data, pem, ZONE)
    assert done.returncode != 0
    assert "verif" in done.stdout or "digest mismatch" in done.stdout, done.stdout


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_opa_verifies_what_we_sign(opa: str, tmp_path: Path, algorithm: str) -> None:
    files = {
        n: c for n, c in material.archive.unpack(material.baseline("lingang", 3)).items() if n != ".signatures.json"
    }
    private = key("vendor") if algorithm == "ES256" else material.rsa_key()
    data = material.raw(files, private, VENDOR)
    done = _opa_verifies(opa, tmp_path, data, material.pem(private), VENDOR, algorithm)
    assert done.returncode == 0, done.stderr


def _opa_verifies(
    opa: str, folder: Path, data: bytes, pem: bytes, keyid: str, algorithm: str = "ES256"
) -> subprocess.CompletedProcess[str]:
    (folder / "signed.tar.gz").write_bytes(data)
    (folder / "key.pem").write_bytes(pem)
    named = ["--verification-key", "key.pem", "--verification-key-id", keyid, "--signing-alg", algorithm]
    command = [opa, "build", "-b", "signed.tar.gz", *named, "-o", "again.tar.gz"]
    return subprocess.run(command, cwd=folder, capture_output=True, text=True, check=False)


@pytest.mark.parametrize("algorithm", ["ES256", "RS256"])
def test_we_read_what_opa_builds_and_signs_as_the_same_policy(opa: str, tmp_path: Path, algorithm: str) -> None:
    private = key("vendor") if algorithm == "ES256" else material.rsa_key()
    ours = material.archive.unpack(material.baseline("lingang", 3))
    folder = tmp_path / "baseline"
    for name, content in ours.items():
        if name != ".signatures.json":
            (folder / name).parent.mkdir(parents=True, exist_ok=True)
            (folder / name).write_bytes(content)
    _write_private(tmp_path / "vendor.key", private)
    (tmp_path / "claims.json").write_text(json.dumps({"keyid": "opa-built"}))
    signing = ["--signing-key", "vendor.key", "--signing-alg", algorithm, "--claims-file", "claims.json"]
    command = [opa, "build", "-b", str(folder), *signing, "-o", "built.tar.gz"]
    subprocess.run(command, cwd=tmp_path, check=True, capture_output=True)
    trusted = {"opa-built": TrustedKey("opa-built", "vendor", private.public_key())}
    found = verify((tmp_path / "built.tar.gz").read_bytes(), trusted, zone="lingang", now=NOW)
    assert found.manifest == manifest(3, part_roots(shipped(), "baseline", "lingang"))
    theirs = composed(PolicySet.load().for_zone("lingang"), found)
    mine = policy_of(material.baseline("lingang", 3))
    assert theirs.data == mine.data  # joined in one document, and cut again where the roots begin
    assert set(theirs.modules) == set(mine.modules)


def _write_private(path: Path, private: Any) -> None:
    from cryptography.hazmat.primitives.serialization import Encoding, NoEncryption, PrivateFormat

    path.write_bytes(private.private_bytes(Encoding.PEM, PrivateFormat.PKCS8, NoEncryption()))
