"""`gateway.toml` and `profile.toml`: the documented objects behind them, reading and writing."""

from __future__ import annotations

import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Final, Literal, cast

from gateway.config.address import Address, checked_authority, parse_host, parse_origin
from gateway.config.decision_log import DecisionLogSettings, decision_log_lines, read_decision_log
from gateway.config.files import write_file
from gateway.config.layout import ZoneLayout
from gateway.config.toml import Document
from gateway.errors import ConfigError
from gateway.model import limits
from gateway.model.participant import Identity, Role, parse_zone_name

PROFILE_VARIABLE: Final = "TDZ_PROFILE"
GATEWAY_ID: Final = "gateway"

_JURISDICTIONS: Final = ("CN", "MY")
_STAMP_EVERY_S: Final = 86_400


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
        mirror_bytes: how many bytes of entries the mirror of each paired zone's ledger may hold here.
    """

    memory: str = ""
    uncosigned_entries: int = limits.UNCOSIGNED_ENTRIES
    uncosigned_s: int = limits.UNCOSIGNED_S
    mirror_bytes: int = limits.MIRROR_BYTES


@dataclass(frozen=True, slots=True, kw_only=True)
class TimestampSettings:
    """Who stamps the ledger's witnessed checkpoints (RFC 3161), and how often.

    Args:
        authority: its URL; empty for nobody.
        every_s: seconds between two stamps.
        ca: a PEM file with the authority's root, relative to the zone's directory; empty: signatures are not judged.
    """

    authority: str = ""
    every_s: int = _STAMP_EVERY_S
    ca: str = ""


@dataclass(frozen=True, slots=True, kw_only=True)
class ApprovalSettings:
    """Whose word lets on what policy sends to review.

    Args:
        administrators: so many different ones must approve. One alone would let one stolen laptop decide.
    """

    administrators: int = limits.REVIEW_ADMINISTRATORS


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
        policy: a directory with the policy to start with; None means the shipped one. What was activated prevails.
        policy_administrators: so many different administrators must ask for an activation of policy.
        limits: bounds.
        ledger: how the ledger is kept.
        timestamps: who stamps its checkpoints.
        approvals: who approves reviews.
        decisions: how the decision log is kept.
    """

    layout: ZoneLayout
    zone: str
    jurisdiction: Literal["CN", "MY"]
    origin: str
    listen: Address
    endpoint: Address
    names: tuple[str, ...]
    policy: Path | None = None
    policy_administrators: int = limits.POLICY_ADMINISTRATORS
    limits: ServerLimits = field(default_factory=ServerLimits)
    ledger: LedgerSettings = field(default_factory=LedgerSettings)
    timestamps: TimestampSettings = field(default_factory=TimestampSettings)
    approvals: ApprovalSettings = field(default_factory=ApprovalSettings)
    decisions: DecisionLogSettings = field(default_factory=DecisionLogSettings)

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
    ledger, stamps = document.section("ledger", optional=True), document.section("timestamps", optional=True)
    approvals = document.section("approvals", optional=True)
    authority = stamps.text("authority", default="")
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
        policy_administrators=policy.integer("administrators", 1, 10, default=limits.POLICY_ADMINISTRATORS),
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
            mirror_bytes=ledger.integer("mirror_bytes", 64 * limits.KIB, (1 << 53) - 1, default=limits.MIRROR_BYTES),
        ),
        timestamps=TimestampSettings(
            authority=stamps.checked("authority", checked_authority, authority) if authority else "",
            every_s=stamps.integer("every_s", 60, 366 * 86_400, default=_STAMP_EVERY_S),
            ca=stamps.text("ca", default=""),
        ),
        approvals=ApprovalSettings(
            administrators=approvals.integer(
                "administrators", 1, limits.REVIEW_ADMINISTRATORS_MAX, default=limits.REVIEW_ADMINISTRATORS
            ),
        ),
        decisions=read_decision_log(document),
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
    chosen = [f"directory = {_quoted(str(settings.policy))}"] if settings.policy is not None else []
    if settings.policy_administrators != limits.POLICY_ADMINISTRATORS:
        chosen.append(f"administrators = {settings.policy_administrators}")
    if chosen:
        lines += ["", "[policy]", *chosen]
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
            f"mirror_bytes = {settings.ledger.mirror_bytes}",
        ]
    if settings.timestamps != TimestampSettings():
        lines += [
            "",
            "[timestamps]",
            f"authority = {_quoted(settings.timestamps.authority)}",
            f"every_s = {settings.timestamps.every_s}",
            f"ca = {_quoted(settings.timestamps.ca)}",
        ]
    if settings.approvals != ApprovalSettings():
        lines += ["", "[approvals]", f"administrators = {settings.approvals.administrators}"]
    lines += decision_log_lines(settings.decisions)
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
