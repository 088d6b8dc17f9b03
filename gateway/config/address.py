"""Addresses, host names and origins, each in one text form."""

from __future__ import annotations

import ipaddress
import re
from dataclasses import dataclass
from typing import Final
from urllib.parse import urlsplit

from gateway.errors import InputError

_ORIGIN: Final = re.compile(r"tdz/[a-z0-9-]+/[a-z0-9-]+")
_HOST: Final = re.compile(r"(?=.{1,253}$)[A-Za-z0-9](?:[A-Za-z0-9.-]*[A-Za-z0-9])?")
_PORT: Final = re.compile(r"0|[1-9][0-9]{0,4}")


@dataclass(frozen=True, slots=True)
class Address:
    """Where a gateway listens or is reached.

    Args:
        host: a DNS name or an IP address, an IPv6 address without brackets.
        port: 0 to 65535; 0 lets the system choose, where that is allowed.
    """

    host: str
    port: int

    def __str__(self) -> str:
        return f"[{self.host}]:{self.port}" if ":" in self.host else f"{self.host}:{self.port}"

    @classmethod
    def parse(cls, text: str, *, any_port: bool = False) -> Address:
        """Read `host:port` or `[ipv6]:port`.

        Args:
            text: the address.
            any_port: whether port 0 is allowed.

        Raises:
            InputError: anything else.
        """
        host, separator, port = text.rpartition(":")
        if host.startswith("[") and host.endswith("]"):
            host = _ipv6(host[1:-1])
        elif _HOST.fullmatch(host) is None:
            host = ""
        lowest = 0 if any_port else 1
        if not host or not separator or not _PORT.fullmatch(port) or int(port) > 65_535:
            raise InputError(f"{text[:80]!r} is not host:port", remedy="write e.g. gw.example.org:8443")
        if int(port) < lowest:
            raise InputError(f"{text!r} has port 0", remedy="name the port under which others reach it")
        return cls(host, int(port))


def parse_origin(text: str, zone: str) -> str:
    """The text itself, where it is an origin of the zone: `tdz/<zone>/<label>`.

    Raises:
        InputError: it is not.
    """
    if _ORIGIN.fullmatch(text) is None or text.split("/")[1] != zone:
        raise InputError(f"{text[:80]!r} is not an origin of {zone}", remedy=f"write tdz/{zone}/<label>")
    return text


def parse_host(text: str) -> str:
    """The text itself, where it is a DNS name or an IP address.

    Raises:
        InputError: it is not.
    """
    if _HOST.fullmatch(text) is None and not _ipv6(text):
        raise InputError(f"{text[:80]!r} is not a host", remedy="write a DNS name or an IP address")
    return text


def _ipv6(text: str) -> str:
    try:
        return str(ipaddress.IPv6Address(text))
    except ValueError:
        return ""


def checked_url(url: str) -> str:
    """A witness's submission prefix without a last slash.

    Raises:
        InputError: it is no URL, or plain HTTP to another machine.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname or "", parts.port
    except ValueError as error:
        raise InputError(f"{url[:200]!r} is no URL", remedy="write it as https://witness.example/") from error
    if parts.scheme not in ("http", "https") or not host or parts.query or parts.fragment or parts.username:
        raise InputError(f"{url[:200]!r} is no witness's URL", remedy="write it as https://witness.example/")
    if parts.scheme == "http" and not _is_loopback(host):
        raise InputError(f"{url[:200]!r} is not encrypted", remedy="use https; http is for this machine only")
    return url.rstrip("/")


def checked_authority(url: str) -> str:
    """The URL of a time-stamping authority; HTTP will do, since its answer is signed.

    Raises:
        InputError: it is none.
    """
    try:
        parts = urlsplit(url)
        host, _ = parts.hostname, parts.port
    except ValueError as error:
        raise InputError(f"{url[:200]!r} is no URL", remedy="write it as https://tsa.example/tsr") from error
    if parts.scheme not in ("http", "https") or not host or parts.fragment or parts.username:
        raise InputError(f"{url[:200]!r} is no authority's URL", remedy="write it as https://tsa.example/tsr")
    return url


def _is_loopback(host: str) -> bool:
    try:
        return ipaddress.ip_address(host).is_loopback
    except ValueError:
        return host == "localhost"
