"""Settings: the only reader of environment variables and settings files.

A zone's gateway lives in one directory (`ZoneLayout`), described by its `gateway.toml`; whoever calls a
gateway has a `profile.toml` beside the certificate. Both are read strictly: an unknown or missing key is an
error that names the file, the key and the remedy. Neither holds a secret; keys are files of their own, named
here by path.
"""

from gateway.config.address import Address, checked_url, parse_host, parse_origin
from gateway.config.engine import EngineSettings, OpaSettings
from gateway.config.files import write_file
from gateway.config.layout import ZoneLayout
from gateway.config.settings import (
    GATEWAY_ID,
    PROFILE_VARIABLE,
    GatewaySettings,
    LedgerSettings,
    Profile,
    ServerLimits,
    TimestampSettings,
    default_profile,
    load_profile,
    load_settings,
    write_profile,
    write_settings,
)

__all__ = [
    "GATEWAY_ID",
    "PROFILE_VARIABLE",
    "Address",
    "EngineSettings",
    "GatewaySettings",
    "LedgerSettings",
    "OpaSettings",
    "Profile",
    "ServerLimits",
    "TimestampSettings",
    "ZoneLayout",
    "checked_url",
    "default_profile",
    "load_profile",
    "load_settings",
    "parse_host",
    "parse_origin",
    "write_file",
    "write_profile",
    "write_settings",
]
