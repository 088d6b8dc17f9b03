"""The registers' rows: frozen records out of them, effects of steps into them.

Effects are plain JSON objects, so that a pending step can wait for the next start; carrying one out twice is
carrying it out once.
"""

from __future__ import annotations

import hashlib
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, Final

from cryptography import x509
from cryptography.hazmat.primitives.serialization import Encoding
from sqlalchemy import Connection, Row, and_, delete, insert, select, update
from sqlalchemy.sql import Select

from gateway.errors import StorageError
from gateway.identity.authority import serial_text
from gateway.identity.card import SignedCard, read_card
from gateway.identity.keys import key_fingerprint
from gateway.identity.signing import is_signing
from gateway.identity.verifier import TrustedZone
from gateway.model.participant import Identity
from gateway.state.schema import act_approvals, certificates, enrolment_approvals, pairings, participants


@dataclass(frozen=True, slots=True)
class CertificateRecord:
    """A certificate as the register has it; times are Unix seconds UTC, 0 where it is not revoked."""

    fingerprint: str
    serial: str
    uri: str
    key_fingerprint: str
    not_before: int
    not_after: int
    issued_at: int
    revoked_at: int
    reason: str
    pem: str

    @property
    def identity(self) -> Identity:
        """Its holder."""
        return Identity.parse(self.uri)

    @property
    def signing(self) -> bool:
        """Whether it is for signing models; else it is for TLS. Read from the certificate itself."""
        return is_signing(x509.load_pem_x509_certificate(self.pem.encode("ascii")))

    def live(self, now: int) -> bool:
        """Whether it is within its dates and not revoked."""
        return self.revoked_at == 0 and self.not_before <= now < self.not_after

    @classmethod
    def of(cls, certificate: x509.Certificate, identity: Identity, *, issued_at: int) -> CertificateRecord:
        """The record of a certificate that was just issued."""
        return cls(
            fingerprint=hashlib.sha256(certificate.public_bytes(Encoding.DER)).hexdigest(),
            serial=serial_text(certificate.serial_number),
            uri=identity.uri,
            key_fingerprint=key_fingerprint(certificate.public_key()),
            not_before=int(certificate.not_valid_before_utc.timestamp()),
            not_after=int(certificate.not_valid_after_utc.timestamp()),
            issued_at=issued_at,
            revoked_at=0,
            reason="",
            pem=certificate.public_bytes(Encoding.PEM).decode("ascii"),
        )


@dataclass(frozen=True, slots=True)
class Pairing:
    """A zone that is, or was, paired.

    Args:
        signed: its card.
        trusted: its CA as the verifier takes it; the same object as long as the card stands.
        paired_at: Unix seconds UTC.
        unpaired_at: Unix seconds UTC; 0 while it is paired.
    """

    signed: SignedCard
    trusted: TrustedZone
    paired_at: int
    unpaired_at: int

    @property
    def zone(self) -> str:
        """The zone's name."""
        return self.signed.card.zone

    @classmethod
    def of_row(cls, row: Row[Any]) -> Pairing:
        """Read a row of the table.

        Raises:
            StorageError: the stored card is not whole.
        """
        try:
            signed = read_card(bytes(row.card))
        except Exception as error:
            raise StorageError(f"the stored card of {row.zone} is damaged", remedy="pair the zone again") from error
        return cls(signed, signed.card.trusted, row.paired_at, row.unpaired_at)


def issue(record: CertificateRecord) -> dict[str, Any]:
    """Effect: the certificate is issued, and what was approved for it is spent."""
    return {"op": "issue", "certificate": asdict(record)}


def approve(uri: str, key: str, approver: str, at: int) -> dict[str, Any]:
    """Effect: an administrator approved a key for an id."""
    return {"op": "approve", "uri": uri, "key_fingerprint": key, "approver": approver, "approved_at": at}


def approve_act(act: str, approver: str, at: int) -> dict[str, Any]:
    """Effect: an administrator approved an act that needs two."""
    return {"op": "approve_act", "act": act, "approver": approver, "approved_at": at}


def revoke(record: CertificateRecord, at: int, reason: str) -> dict[str, Any]:
    """Effect: the certificate is revoked."""
    return {
        "op": "revoke",
        "fingerprint": record.fingerprint,
        "serial": record.serial,
        "zone": record.identity.zone,
        "at": at,
        "reason": reason,
    }


def pair(signed: SignedCard, at: int) -> dict[str, Any]:
    """Effect: the zone is paired by this card."""
    return {"op": "pair", "zone": signed.card.zone, "card": signed.data.decode(), "at": at}


def unpair(zone: str, at: int) -> dict[str, Any]:
    """Effect: the zone is no longer paired."""
    return {"op": "unpair", "zone": zone, "at": at}


def participant(identifier: str, facts: str, at: int) -> dict[str, Any]:
    """Effect: the register has these facts of the participant."""
    return {"op": "participant", "id": identifier, "facts": facts, "at": at}


def apply(connection: Connection, effect: Mapping[str, Any]) -> None:
    """Carry out an effect within a transaction."""
    _OPERATIONS[effect["op"]](connection, effect)


def _issue(connection: Connection, effect: Mapping[str, Any]) -> None:
    row = effect["certificate"]
    known = select(certificates.c.fingerprint).where(certificates.c.fingerprint == row["fingerprint"])
    if connection.execute(known).first() is None:
        connection.execute(insert(certificates).values(**row))
    connection.execute(
        delete(enrolment_approvals).where(
            and_(
                enrolment_approvals.c.uri == row["uri"],
                enrolment_approvals.c.key_fingerprint == row["key_fingerprint"],
            )
        )
    )


def _approve(connection: Connection, effect: Mapping[str, Any]) -> None:
    row = {name: effect[name] for name in ("uri", "key_fingerprint", "approver", "approved_at")}
    table = enrolment_approvals
    connection.execute(
        delete(table).where(
            and_(
                table.c.uri == row["uri"],
                table.c.key_fingerprint == row["key_fingerprint"],
                table.c.approver == row["approver"],
            )
        )
    )
    connection.execute(insert(table).values(**row))


def _approve_act(connection: Connection, effect: Mapping[str, Any]) -> None:
    row = {name: effect[name] for name in ("act", "approver", "approved_at")}
    table = act_approvals
    connection.execute(delete(table).where(and_(table.c.act == row["act"], table.c.approver == row["approver"])))
    connection.execute(insert(table).values(**row))


def _revoke(connection: Connection, effect: Mapping[str, Any]) -> None:
    table = certificates
    connection.execute(
        update(table)
        .where(and_(table.c.fingerprint == effect["fingerprint"], table.c.revoked_at == 0))
        .values(revoked_at=effect["at"], reason=effect["reason"])
    )


def _pair(connection: Connection, effect: Mapping[str, Any]) -> None:
    signed = read_card(effect["card"].encode())
    zone = effect["zone"]
    row = {
        "card": signed.data,
        "fingerprint": signed.fingerprint,
        "serial": signed.card.serial,
        "paired_at": effect["at"],
        "unpaired_at": 0,
    }
    if connection.execute(select(pairings.c.zone).where(pairings.c.zone == zone)).first() is None:
        connection.execute(insert(pairings).values(zone=zone, **row))
    else:
        connection.execute(update(pairings).where(pairings.c.zone == zone).values(**row))


def _unpair(connection: Connection, effect: Mapping[str, Any]) -> None:
    connection.execute(
        update(pairings)
        .where(and_(pairings.c.zone == effect["zone"], pairings.c.unpaired_at == 0))
        .values(unpaired_at=effect["at"])
    )


def _participant(connection: Connection, effect: Mapping[str, Any]) -> None:
    row = {"facts": effect["facts"], "updated_at": effect["at"]}
    if connection.execute(by_participant(effect["id"])).first() is None:
        connection.execute(insert(participants).values(id=effect["id"], **row))
    else:
        connection.execute(update(participants).where(participants.c.id == effect["id"]).values(**row))


def by_participant(identifier: str) -> Select[Any]:
    """The row of one participant."""
    return select(participants).where(participants.c.id == identifier)


_OPERATIONS: Final = {
    "issue": _issue,
    "approve": _approve,
    "approve_act": _approve_act,
    "revoke": _revoke,
    "pair": _pair,
    "unpair": _unpair,
    "participant": _participant,
}
