"""Who takes part: roles, identities as certificates carry them, and the institutions of a zone's register."""

from __future__ import annotations

import re
from dataclasses import dataclass
from enum import StrEnum
from typing import Final

from gateway.errors import InputError
from gateway.model.limits import ID_MAX_CHARS
from gateway.model.policy_input import Exporter, Recipient

SCHEME: Final = "tdz"
URI_MAX_CHARS: Final = 300

_ZONE: Final = re.compile(r"[a-z](?:[a-z0-9-]{0,61}[a-z0-9])?")
_ID: Final = re.compile(r"[a-z0-9](?:[a-z0-9-]{0,61}[a-z0-9])?")


class Role(StrEnum):
    """What a certificate's holder may be at its zone's gateway; exactly these four."""

    GATEWAY = "gateway"
    PARTNER = "partner"
    ADMIN = "admin"
    AUDITOR = "auditor"


@dataclass(frozen=True, slots=True, order=True)
class Identity:
    """One holder of certificates: `tdz://<zone>/<role>/<id>`, the one URI in the subject alternative name.

    Args:
        zone: `[a-z][a-z0-9-]*`, at most 63 characters, not ending in a hyphen.
        role: one of the four roles.
        id: `[a-z0-9][a-z0-9-]*`, at most 63 characters, not ending in a hyphen; also a directory's name.

    Raises:
        InputError: zone or id is not of that form.
    """

    zone: str
    role: Role
    id: str

    def __post_init__(self) -> None:
        parse_zone_name(self.zone)
        if _ID.fullmatch(self.id) is None:
            raise InputError(
                f"the id {self.id[:80]!r} is not a name of an identity",
                remedy=f"use a-z, 0-9 and hyphens inside, at most {ID_MAX_CHARS} characters",
            )

    @property
    def uri(self) -> str:
        """The identity in its only text form."""
        return f"{SCHEME}://{self.zone}/{self.role.value}/{self.id}"

    def __str__(self) -> str:
        return self.uri

    @classmethod
    def parse(cls, uri: str) -> Identity:
        """Read the one text form; nothing is trimmed, lowered, decoded or completed.

        Raises:
            InputError: any other text: upper case, a port, a query, an escape, a trailing slash.
        """
        parts = uri.split("/") if len(uri) <= URI_MAX_CHARS else []
        if len(parts) != 5 or parts[:2] != [f"{SCHEME}:", ""] or parts[3] not in _ROLES:
            raise InputError(
                f"{uri[:80]!r} is not an identity",
                remedy=f"write {SCHEME}://<zone>/<role>/<id> in lower case",
            )
        return cls(parts[2], Role(parts[3]), parts[4])


_ROLES: Final = frozenset(role.value for role in Role)


def parse_zone_name(text: str) -> str:
    """The text itself, where it is a zone's name.

    Raises:
        InputError: it is not.
    """
    if _ZONE.fullmatch(text) is None:
        raise InputError(
            f"{text[:80]!r} is not a zone's name",
            remedy=f"use a-z first, then a-z, 0-9 and hyphens inside, at most {ID_MAX_CHARS} characters",
        )
    return text


@dataclass(frozen=True, slots=True)
class Participant:
    """An institution in its zone's register, with the facts on which policies decide.

    Both parts carry the institution's URI as their `id`, so that a mechanism's `recipient_id` names one
    institution of one zone.

    Args:
        identity: a partner.
        exporter: its facts where data leaves it.
        recipient: its facts where data enters it, the screening result included.
        updated_at: Unix seconds UTC of the register's last change.

    Raises:
        InputError: the identity is no partner, or a part carries another id.
    """

    identity: Identity
    exporter: Exporter
    recipient: Recipient
    updated_at: int = 0

    def __post_init__(self) -> None:
        if self.identity.role is not Role.PARTNER:
            raise InputError(f"{self.identity.uri} is not a partner", remedy="register partners only")
        for part, found in (("exporter", self.exporter.id), ("recipient", self.recipient.id)):
            if found != self.identity.uri:
                raise InputError(
                    f"{part}.id is {found!r}, not {self.identity.uri}",
                    remedy=f"leave {part}.id out or mend it",
                )
