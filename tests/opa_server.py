"""A real OPA server for tests: on loopback, with TLS, a token, and the policy file that a gateway writes."""

from __future__ import annotations

import datetime
import hashlib
import ipaddress
import os
import secrets
import shutil
import signal
import socket
import ssl
import subprocess
import time
import urllib.error
import urllib.request
from dataclasses import dataclass, field
from pathlib import Path

import docker
import pytest
import yaml
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from docker.errors import DockerException
from testcontainers.core.container import DockerContainer

from gateway.config import Address, OpaSettings, write_file
from gateway.decisions.opa_bundle import OpaBundle
from gateway.decisions.policy_set import ZonePolicy

ROOT = Path(__file__).resolve().parents[1]
AUTHZ = ROOT / "deploy/opa/authz"
_START_S = 60.0


def find_opa() -> str | None:
    """The `opa` to test with: OPA_BIN, PATH, or the one beside the checkout."""
    for candidate in (os.environ.get("OPA_BIN"), shutil.which("opa"), str(ROOT.parent / "shared/bin/opa")):
        if candidate and Path(candidate).is_file():
            return candidate
    return None


def opa_or_skip() -> str:
    """The `opa` program, for tests that run it themselves."""
    found = find_opa()
    if found is None:
        pytest.skip("no OPA found: set OPA_BIN or put opa on PATH")
    return found


def make_server(folder: Path) -> OpaServer:
    """A server not started yet: by the program that is found, else in a container where a Docker engine runs."""
    found = find_opa()
    if found is None and not _docker_runs():
        pytest.skip("no OPA found: set OPA_BIN, put opa on PATH, or start a Docker engine")
    return OpaServer(found, folder)


def _docker_runs() -> bool:
    try:
        docker.from_env().ping()
    except (DockerException, OSError):
        return False
    return True


def image() -> str:
    """The image that compose.yaml pins."""
    document = yaml.safe_load((ROOT / "compose.yaml").read_text("utf-8"))
    return str(document["services"]["lingang-opa"]["image"])


MEMORY = {"GOGC": "800", "GOMEMLIMIT": "384MiB"}  # as in compose.yaml


def free_port() -> int:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return taken.getsockname()[1]


def certificate(folder: Path, name: str = "server") -> tuple[Path, Path]:
    """A self-signed certificate for 127.0.0.1 and localhost, and its key."""
    key = ec.generate_private_key(ec.SECP256R1())
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "opa")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(subject)
        .issuer_name(subject)
        .public_key(key.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - datetime.timedelta(hours=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.DNSName("localhost"), x509.IPAddress(ipaddress.ip_address("127.0.0.1"))]),
            critical=False,
        )
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    pem, private = folder / f"{name}.pem", folder / f"{name}.key"
    pem.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    private.write_bytes(
        key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    )
    return pem, private


@dataclass
class OpaServer:
    """One `opa run --server`, started as deploy/ and compose.yaml start it."""

    opa: str | None  # the program; None starts a container
    folder: Path
    port: int = field(default_factory=free_port)
    process: subprocess.Popen[bytes] | None = None
    container: DockerContainer | None = None

    def __post_init__(self) -> None:
        self.folder.mkdir(parents=True, exist_ok=True)
        self.certificate, self.key = certificate(self.folder)
        self.token_file = self.folder / "token"
        self.bundle = self.folder / "zone.tar.gz"
        self.set_token(secrets.token_urlsafe(32))

    def set_token(self, token: str) -> None:
        self.token_file.write_text(token + "\n", "ascii")
        (self.folder / "token.sha256").write_text(hashlib.sha256(token.encode()).hexdigest() + "\n", "ascii")

    @property
    def settings(self) -> OpaSettings:
        return OpaSettings(
            address=Address("127.0.0.1", self.port),
            ca=self.certificate,
            token_file=self.token_file,
            bundle=self.bundle,
            timeout_s=5.0,
        )

    def load(self, policy: ZonePolicy) -> None:
        """Put a policy where OPA loads it from, as a gateway does."""
        write_file(self.bundle, OpaBundle.of(policy).archive(), mode=0o644)

    def start(self) -> None:
        """Start, and wait until it is healthy; the bundle must be there."""
        arguments = [
            *("run", "--server", "--addr", f"127.0.0.1:{self.port}", "--skip-version-check"),
            *("--tls-cert-file", str(self.certificate), "--tls-private-key-file", str(self.key)),
            *("--min-tls-version", "1.2", "--authentication", "token", "--authorization", "basic"),
            *("--set-file", f"labels.gateway={self.folder / 'token.sha256'}"),
            *("--log-level", "error", "--watch", "--bundle", str(AUTHZ), str(self.bundle)),
        ]
        if self.opa is not None:
            with (self.folder / "opa.log").open("ab") as log:
                environment = {**os.environ, **MEMORY}
                self.process = subprocess.Popen([self.opa, *arguments], stdout=log, stderr=log, env=environment)
        else:  # on the host's network and with the host's paths, so that everything else is the same
            self.container = (
                DockerContainer(image())
                .with_command(arguments)
                .with_envs(**MEMORY)
                .with_volume_mapping(str(self.folder), str(self.folder), "ro")
                .with_volume_mapping(str(AUTHZ), str(AUTHZ), "ro")
                .with_kwargs(network_mode="host", user=f"{os.getuid()}:{os.getgid()}")
            )
            self.container.start()
        trust = ssl.create_default_context(cafile=str(self.certificate))
        deadline = time.monotonic() + _START_S
        while True:
            try:
                with urllib.request.urlopen(f"https://127.0.0.1:{self.port}/health", context=trust, timeout=5):
                    return
            except (urllib.error.URLError, ConnectionError, TimeoutError):
                ended = self.process is not None and self.process.poll() is not None
                if ended or time.monotonic() > deadline:
                    raise RuntimeError(self._log()) from None
            time.sleep(0.05)

    def _log(self) -> str:
        if self.container is not None:
            return str(self.container.get_logs())[-2_000:]
        return (self.folder / "opa.log").read_text("utf-8")[-2_000:]

    def signal(self, number: signal.Signals) -> None:
        if self.container is not None:
            self.container.get_wrapped_container().kill(signal=int(number))
        else:
            assert self.process is not None
            self.process.send_signal(number)

    def stop(self) -> None:
        if self.container is not None:
            self.container.stop()
            self.container = None
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None
