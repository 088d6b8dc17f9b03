"""`[policy]` and `[opa]` of `gateway.toml`: which engine evaluates the policy, and how an OPA server is reached."""

from __future__ import annotations

import json
import os
from dataclasses import dataclass
from pathlib import Path
from typing import Final, Literal, cast
from urllib.parse import urlsplit

from gateway.config.address import Address
from gateway.config.toml import Document
from gateway.errors import InputError
from gateway.model import limits

_ENGINES: Final = ("embedded", "opa")
WORKERS_MAX: Final = 64


@dataclass(frozen=True, slots=True, kw_only=True)
class OpaSettings:
    """How an OPA server is reached. It speaks TLS, here as everywhere; nothing is asked in plaintext.

    Args:
        address: from the `url`, `https://host:port`.
        ca: the certificates that its server certificate must chain to (PEM); the system's where None.
        certificate: the gateway's client certificate (PEM); None where OPA asks for none.
        key: its private key (PEM).
        token_file: a file with a bearer token; None where OPA asks for none.
        timeout_s: seconds for one try; a decision's own deadline bounds all of them.
        bundle: where the gateway writes the policy that OPA loads (`opa run --watch --bundle FILE`); None where
            OPA gets the very same bundle in another way.
        failures: so many failed decisions in a row, and OPA is not asked for a while.
        rest_s: that while, in seconds; then one decision tries again.
    """

    address: Address
    ca: Path | None = None
    certificate: Path | None = None
    key: Path | None = None
    token_file: Path | None = None
    timeout_s: float = limits.OPA_TIMEOUT_S
    bundle: Path | None = None
    failures: int = limits.OPA_FAILURES
    rest_s: float = limits.OPA_REST_S


@dataclass(frozen=True, slots=True, kw_only=True)
class EngineSettings:
    """What evaluates the policy.

    Args:
        kind: the embedded engine, or an OPA server.
        workers: processes of the embedded engine at work at once; 0 takes as many as there are cores.
        waiting: decisions that may wait for the engine; one more is denied at once.
        opa: the OPA server, where `kind` says so.
    """

    kind: Literal["embedded", "opa"] = "embedded"
    workers: int = 0
    waiting: int = limits.DECISIONS_WAITING
    opa: OpaSettings | None = None

    @property
    def worker_count(self) -> int:
        """Workers to start: the setting, or the cores that this process may use, eight at most."""
        return self.workers or min(len(os.sched_getaffinity(0)), 8)


def read_engine(document: Document, directory: Path) -> EngineSettings:
    """Read the engine's part of `gateway.toml`; paths are relative to the zone's directory.

    Raises:
        ConfigError: a key is wrong, or an OPA server is named and not used.
    """
    policy = document.section("policy", optional=True)
    kind = policy.text("engine", default="embedded")
    if kind not in _ENGINES:
        policy.refuse("engine", f"is {kind[:80]!r}", f"write one of {', '.join(_ENGINES)}")
    return EngineSettings(
        kind=cast("Literal['embedded', 'opa']", kind),
        workers=policy.integer("workers", 0, WORKERS_MAX, default=0),
        waiting=policy.integer("waiting", 1, 100_000, default=limits.DECISIONS_WAITING),
        opa=_read_opa(document, directory) if kind == "opa" else None,
    )


def _read_opa(document: Document, directory: Path) -> OpaSettings:
    opa = document.section("opa")

    def path(key: str) -> Path | None:
        text = opa.text(key, default="")
        return directory / text if text else None

    certificate, key = path("certificate"), path("key")
    if (certificate is None) != (key is None):
        missing = "certificate" if certificate is None else "key"
        opa.refuse(missing, "is missing", "name certificate and key, or neither")
    url = opa.text("url")
    try:
        address = _address(url)
    except InputError as error:
        opa.refuse("url", error.message, error.remedy)
    return OpaSettings(
        address=address,
        ca=path("ca"),
        certificate=certificate,
        key=key,
        token_file=path("token_file"),
        timeout_s=opa.integer("timeout_ms", 10, 60_000, default=round(limits.OPA_TIMEOUT_S * 1e3)) / 1e3,
        bundle=path("bundle"),
        failures=opa.integer("failures", 1, 1_000, default=limits.OPA_FAILURES),
        rest_s=opa.integer("rest_ms", 10, 600_000, default=round(limits.OPA_REST_S * 1e3)) / 1e3,
    )


def _address(url: str) -> Address:
    remedy = "write it as https://host:8181"
    try:
        parts = urlsplit(url)
        host, port = parts.hostname or "", parts.port
    except ValueError as error:
        raise InputError(f"{url[:200]!r} is no URL", remedy=remedy) from error
    if parts.scheme == "http":
        raise InputError(f"{url[:200]!r} is not encrypted", remedy="give OPA a certificate and " + remedy)
    if parts.scheme != "https" or not host or parts.path not in ("", "/") or parts.query or parts.fragment:
        raise InputError(f"{url[:200]!r} is no OPA server's URL", remedy=remedy)
    if parts.username is not None or parts.password is not None:
        raise InputError("a URL with a password in it", remedy="put a token into a file and name it as token_file")
    return Address.parse(f"[{host}]:{port or 443}" if ":" in host else f"{host}:{port or 443}")


def engine_lines(settings: EngineSettings) -> tuple[list[str], list[str]]:
    """What `gateway.toml` says of the engine: lines for `[policy]`, and the table `[opa]`; empty for defaults."""
    default = EngineSettings()
    policy = [] if settings.kind == default.kind else [f"engine = {json.dumps(settings.kind)}"]
    policy += [
        f"{name} = {getattr(settings, name)}"
        for name in ("workers", "waiting")
        if getattr(settings, name) != getattr(default, name)
    ]
    if settings.opa is None:
        return policy, []
    opa = settings.opa
    table = ["", "[opa]", f"url = {_quoted(f'https://{opa.address}')}"]
    table += [
        f"{name} = {_quoted(str(value))}"
        for name in ("ca", "certificate", "key", "token_file", "bundle")
        if (value := getattr(opa, name)) is not None
    ]
    table += [
        f"timeout_ms = {round(opa.timeout_s * 1e3)}",
        f"failures = {opa.failures}",
        f"rest_ms = {round(opa.rest_s * 1e3)}",
    ]
    return policy, table


def _quoted(text: str) -> str:
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
