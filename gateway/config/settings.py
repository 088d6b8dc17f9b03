"""`gateway.toml` and `profile.toml`: the documented objects behind them, reading and writing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from gateway.config.address import Address, parse_host, parse_origin
from gateway.config.engine import EngineSettings, engine_lines, read_engine
from gateway.config.files import write_file
from gateway.config.layout import ZoneLayout
from gateway.config.toml import Document
from gateway.errors import ConfigError
from gateway.model import limits
from gateway.model.participant import Identity, Role, parse_zone_name

PROFILE_VARIABLE: Final = "TDZ_PROFILE"
GATEWAY_ID: Final = "gateway"

_JURISDICTIONS: Final = ("CN", "MY")


@dataclass(frozen=True, slots=True, kw_only=True)
class ServerLimits:
    """Bounds that an operator may tighten or widen; the rest stands in `gateway.model.limits`."""

    concurrent_rpcs: int = limits.CONCURRENT_RPCS
    data_bytes: int = 0  # chunks, versions and landing together; 0 leaves it to the disk


@dataclass(frozen=True, slots=True, kw_only=True)
class LedgerSettings:
    """How the zone's ledger is kept.

    Args:
        memory: a folder on tmpfs, of the gateway's user alone, that remembers what was committed last, so that a
            start within one boot need not ask; empty takes one under /run or /dev/shm, `none` keeps none.
        uncosigned_entries: so many entries without a cosignature, and nothing is opened any more.
        uncosigned_s: the same for the oldest one's age, in seconds.
    """

    memory: str = ""
    uncosigned_entries: int = limits.UNCOSIGNED_ENTRIES
    uncosigned_s: int = limits.UNCOSIGNED_S


@dataclass(frozen=True, slots=True, kw_only=True)
class GatewaySettings:
    """One gateway, as its `gateway.toml` describes it.

    Args:
        layout: the zone's directory.
        zone: the zone's name.
        jurisdiction: whose law the zone is under.
        origin: the ledger's origin, `tdz/<zone>/<label>`, fixed at init.
        listen: where the server listens; port 0 lets the system choose.
        endpoint: where partners and peers reach it; stands on the zone card.
        names: DNS names and IP addresses in the gateway's certificate.
        policy: a directory with the zone's policy bundle; None means the shipped baseline.
        limits: bounds.
        ledger: how the ledger is kept.
        engine: what evaluates the policy.
    """

    layout: ZoneLayout
    zone: str
    jurisdiction: Literal["CN", "MY"]
    origin: str
    listen: Address
    endpoint: Address
    names: tuple[str, ...]
    policy: Path | None = None
    limits: ServerLimits = field(default_factory=ServerLimits)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    engine: EngineSettings = field(default_factory=EngineSettings)

    @property
    def identity(self) -> Identity:
        """The gateway itself."""
        return Identity(self.zone, Role.GATEWAY, GATEWAY_ID)


@dataclass(frozen=True, slots=True, kw_only=True)
class Profile:
    """How one identity reaches its gateway.

    Args:
        zone: the zone's name.
        gateway: the gateway's endpoint.
        ca: the zone CA's certificate (PEM).
        cert: the identity's certificate (PEM).
        key: the identity's private key (PKCS #8 PEM); the file never leaves its owner.
        signing_key: the private key that signs models; None where the identity publishes none.
        signing_certificate: its certificate (PEM); None where the key is not certified by the zone.
    """

    zone: str
    gateway: Address
    ca: Path
    cert: Path
    key: Path
    signing_key: Path | None = None
    signing_certificate: Path | None = None


def load_settings(directory: Path) -> GatewaySettings:
    """Read `gateway.toml` of a zone's directory.

    Raises:
        ConfigError: no such file, not TOML, a key unknown, missing or wrong.
    """
    layout = ZoneLayout(directory)
    document = Document(layout.settings, remedy="make a zone with `tdz zone init`")
    zone, gateway = document.section("zone"), document.section("gateway")
    policy, bounds = document.section("policy", optional=True), document.section("limits", optional=True)
    ledger = document.section("ledger", optional=True)
    name = zone.text("name")
    endpoint = gateway.address("endpoint")
    directory_text = policy.text("directory", default="")
    settings = GatewaySettings(
        layout=layout,
        zone=zone.checked("name", parse_zone_name, name),
        jurisdiction=cast("Literal['CN', 'MY']", zone.choice("jurisdiction", _JURISDICTIONS)),
        origin=zone.checked("origin", lambda text: parse_origin(text, name), zone.text("origin")),
        listen=gateway.address("listen", any_port=True),
        endpoint=endpoint,
        names=gateway.texts("names", default=(endpoint.host,)),
        policy=directory / directory_text if directory_text else None,
        limits=ServerLimits(
            concurrent_rpcs=bounds.integer("concurrent_rpcs", 1, 100_000, default=limits.CONCURRENT_RPCS),
            data_bytes=bounds.integer("data_bytes", 0, (1 << 53) - 1, default=0),
        ),
        ledger=LedgerSettings(
            memory=ledger.text("memory", default=""),
            uncosigned_entries=ledger.integer(
                "uncosigned_entries", 1, 1_000_000_000, default=limits.UNCOSIGNED_ENTRIES
            ),
            uncosigned_s=ledger.integer("uncosigned_s", 1, 366 * 86_400, default=limits.UNCOSIGNED_S),
        ),
        engine=read_engine(document, directory),
    )
    for host in settings.names:
        gateway.checked("names", parse_host, host)
    document.finish()
    return settings


def write_settings(settings: GatewaySettings) -> None:
    """Write `gateway.toml` anew, atomically and durably.

    Raises:
        StorageError: it cannot be written.
    """
    lines = [
        "# The gateway of one zone. Keys stand in keys/; this file holds no secret.",
        "[zone]",
        f"name = {_quoted(settings.zone)}",
        f"jurisdiction = {_quoted(settings.jurisdiction)}",
        f"origin = {_quoted(settings.origin)}",
        "",
        "[gateway]",
        f"listen = {_quoted(str(settings.listen))}",
        f"endpoint = {_quoted(str(settings.endpoint))}",
        f"names = [{', '.join(_quoted(name) for name in settings.names)}]",
    ]
    in_policy, opa = engine_lines(settings.engine)
    if settings.policy is not None:
        in_policy.insert(0, f"directory = {_quoted(str(settings.policy))}")
    if in_policy:
        lines += ["", "[policy]", *in_policy]
    lines += opa
    if settings.limits != ServerLimits():
        lines += [
            "",
            "[limits]",
            f"concurrent_rpcs = {settings.limits.concurrent_rpcs}",
            f"data_bytes = {settings.limits.data_bytes}",
        ]
    if settings.ledger != LedgerSettings():
        lines += [
            "",
            "[ledger]",
            f"memory = {_quoted(settings.ledger.memory)}",
            f"uncosigned_entries = {settings.ledger.uncosigned_entries}",
            f"uncosigned_s = {settings.ledger.uncosigned_s}",
        ]
    write_file(settings.layout.settings, ("\n".join(lines) + "\n").encode(), mode=0o644)


def load_profile(path: Path) -> Profile:
    """Read a profile; its paths are relative to the profile's directory.

    Args:
        path: the file, or a directory that holds a `profile.toml`.

    Raises:
        ConfigError: no such file, not TOML, a key unknown, missing or wrong. Whether the certificate is
            usable is not looked at here.
    """
    file = path / "profile.toml" if path.is_dir() else path
    document = Document(file, remedy="name the profile.toml beside the certificate")
    top = document.section("")
    profile = Profile(
        zone=top.checked("zone", parse_zone_name, top.text("zone")),
        gateway=top.address("gateway"),
        ca=file.parent / top.text("ca"),
        cert=file.parent / top.text("cert"),
        key=file.parent / top.text("key"),
        signing_key=_optional(file.parent, top.text("signing_key", default="")),
        signing_certificate=_optional(file.parent, top.text("signing_certificate", default="")),
    )
    document.finish()
    if profile.signing_certificate is not None and profile.signing_key is None:
        raise ConfigError(f"{file}: signing_certificate without signing_key", remedy="name both, or neither")
    return profile


def _optional(directory: Path, name: str) -> Path | None:
    return directory / name if name else None


def write_profile(path: Path, profile: Profile) -> None:
    """Write a profile anew, atomically and durably; paths become relative to its directory.

    Raises:
        StorageError: it cannot be written.
    """
    lines = [
        "# How this identity reaches its gateway. key.pem never leaves its owner.",
        f"zone = {_quoted(profile.zone)}",
        f"gateway = {_quoted(str(profile.gateway))}",
        *(
            f"{name} = {_quoted(os.path.relpath(value, path.parent))}"
            for name, value in (
                ("ca", profile.ca),
                ("cert", profile.cert),
                ("key", profile.key),
                ("signing_key", profile.signing_key),
                ("signing_certificate", profile.signing_certificate),
            )
            if value is not None
        ),
    ]
    write_file(path, ("\n".join(lines) + "\n").encode(), mode=0o644)


def default_profile(environment: Mapping[str, str] | None = None) -> Path:
    """The profile that the environment variable TDZ_PROFILE names.

    Raises:
        ConfigError: it is not set.
    """
    found = (os.environ if environment is None else environment).get(PROFILE_VARIABLE, "")
    if not found:
        raise ConfigError("no profile", remedy=f"give --profile FILE or set {PROFILE_VARIABLE}")
    return Path(found)


def _quoted(text: str) -> str:
    """A TOML basic string; JSON's escapes are TOML's, but for DEL."""
    return json.dumps(text, ensure_ascii=False).replace("\x7f", "\\u007f")
