"""Making a zone: CA, keys, certificates, ledger and card, complete or not at all."""

from __future__ import annotations

import asyncio
import datetime
import os
import shutil
import tempfile
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from cryptography.hazmat.primitives.asymmetric import ec, ed25519
from sqlalchemy import Connection

from gateway.config import (
    Address,
    GatewaySettings,
    Profile,
    ZoneLayout,
    write_file,
    write_profile,
    write_settings,
)
from gateway.errors import ConfigError, InputError, LedgerError
from gateway.identity import tables
from gateway.identity.authority import ZoneAuthority
from gateway.identity.card import SignedCard, read_card
from gateway.identity.card_file import write_card
from gateway.identity.enrolment import issued_body, subject_of
from gateway.identity.keys import new_statement_key, new_tls_key, raw_public, write_private_key
from gateway.identity.tables import CertificateRecord
from gateway.model.ids import uuid7
from gateway.model.participant import Identity, Role, parse_zone_name
from gateway.state import StateStore
from ledger.errors import LedgerError as LedgerFailure
from ledger.note import NoteSigner
from ledger.writer import LogWriter


@dataclass(frozen=True, slots=True)
class MadeZone:
    """A new zone: its settings, its card, and where its first administrators' profiles stand."""

    settings: GatewaySettings
    card: SignedCard
    profiles: tuple[Path, ...]


def init_zone(
    directory: Path,
    *,
    zone: str,
    jurisdiction: Literal["CN", "MY"],
    listen: Address,
    endpoint: Address,
    names: Sequence[str],
    admins: Sequence[str],
    policy: Path | None = None,
) -> MadeZone:
    """Make a zone's directory; it is there complete, or not at all.

    Args:
        directory: must not exist, or be empty.
        zone: the zone's name.
        jurisdiction: whose law it is under.
        listen: where its gateway will listen.
        endpoint: where it will be reached.
        names: DNS names and IP addresses for the gateway's certificate.
        admins: ids of the first administrators, whose certificates this issues; at least one.
        policy: a directory with the zone's policy; None means the shipped baseline.

    Raises:
        ConfigError: the directory is not free, or cannot be made.
        InputError: a name or id is malformed, twice there, or there is no administrator.
        LedgerError: the ledger cannot be made.
    """
    parse_zone_name(zone)
    holders = [Identity(zone, Role.ADMIN, admin) for admin in admins]
    if not holders or len(set(holders)) != len(holders):
        raise InputError("name each first administrator once", remedy="--admin ID, repeatable; two are best")
    target = directory.absolute()
    try:
        if target.exists() and (not target.is_dir() or any(target.iterdir())):
            raise ConfigError(f"{target} is there already", remedy="name another directory")
        target.parent.mkdir(parents=True, exist_ok=True)
        work = Path(tempfile.mkdtemp(prefix=f".{target.name}.new-", dir=target.parent))
    except OSError as error:
        raise ConfigError(f"cannot make {target}: {error.strerror}", remedy="name a writable place") from error
    try:
        log_key = new_statement_key()
        label = f"{datetime.datetime.now(datetime.UTC):%Y}-{raw_public(log_key.public_key()).hex()[:4]}"
        settings = GatewaySettings(
            layout=ZoneLayout(work),
            zone=zone,
            jurisdiction=jurisdiction,
            origin=f"tdz/{zone}/{label}",
            listen=listen,
            endpoint=endpoint,
            names=tuple(names),
            policy=policy.absolute() if policy is not None else None,
        )
        _fill(settings, holders, log_key)
        os.chmod(work, 0o755)  # noqa: S103  keys, identities, state and data inside are the owner's alone
        work.rename(target)
    except LedgerFailure as error:
        raise LedgerError(f"the ledger cannot be made: {error}") from error
    except OSError as error:
        raise ConfigError(f"cannot make {target}: {error.strerror}", remedy="name a writable place") from error
    finally:
        shutil.rmtree(work, ignore_errors=True)
    layout = ZoneLayout(directory)
    made = GatewaySettings(
        layout=layout,
        zone=settings.zone,
        jurisdiction=settings.jurisdiction,
        origin=settings.origin,
        listen=settings.listen,
        endpoint=settings.endpoint,
        names=settings.names,
        policy=settings.policy,
    )
    profiles = tuple(layout.identity(holder.id) / "profile.toml" for holder in holders)
    return MadeZone(made, read_card(layout.card.read_bytes()), profiles)


def _fill(settings: GatewaySettings, holders: Sequence[Identity], log_key: ed25519.Ed25519PrivateKey) -> None:
    layout, now = settings.layout, datetime.datetime.now(datetime.UTC)
    layout.create()
    authority = ZoneAuthority.create(settings.zone, now=now)
    write_private_key(layout.ca_key, authority.private_key())
    write_private_key(layout.log_key, log_key)
    write_private_key(layout.mirror_key, new_statement_key())
    write_private_key(layout.statement_key, new_statement_key())
    write_file(layout.ca, authority.pem, mode=0o644)
    gateway = _issue(authority, settings.identity, layout.gateway_key, layout.gateway_certificate, settings.names)
    signing = _issue(authority, settings.identity, layout.signing_key, layout.signing_certificate, (), signing=True)
    records = [gateway, signing, *(_first_admin(settings, authority, holder) for holder in holders)]
    write_settings(settings)
    write_card(settings, serial=1)
    asyncio.run(_record(settings, records, log_key))


def _first_admin(settings: GatewaySettings, authority: ZoneAuthority, holder: Identity) -> CertificateRecord:
    layout = settings.layout
    directory = layout.identity(holder.id)
    directory.mkdir(mode=0o700)
    key, certificate = directory / "key.pem", directory / "cert.pem"
    record = _issue(authority, holder, key, certificate, ())
    profile = Profile(zone=settings.zone, gateway=settings.endpoint, ca=layout.ca, cert=certificate, key=key)
    write_profile(directory / "profile.toml", profile)
    return record


def _issue(
    authority: ZoneAuthority,
    holder: Identity,
    key_file: Path,
    certificate_file: Path,
    names: Sequence[str],
    *,
    signing: bool = False,
) -> CertificateRecord:
    key: ec.EllipticCurvePrivateKey = new_tls_key()
    now = datetime.datetime.now(datetime.UTC)
    if signing:
        certificate = authority.issue_signing(holder, key.public_key(), now=now)
    else:
        certificate = authority.issue(holder, key.public_key(), now=now, names=names)
    record = CertificateRecord.of(certificate, holder, issued_at=int(now.timestamp()))
    write_private_key(key_file, key)
    write_file(certificate_file, record.pem.encode(), mode=0o644)
    return record


async def _record(
    settings: GatewaySettings, records: Sequence[CertificateRecord], log_key: ed25519.Ed25519PrivateKey
) -> None:
    """Open the ledger, record the first certificates, then register them."""
    signer = NoteSigner(settings.origin, log_key)
    LogWriter.create(settings.layout.ledger, origin=settings.origin, signer=signer)
    writer = await LogWriter.open(settings.layout.ledger, signer)
    try:
        for record in records:
            await writer.append(
                id=uuid7(),
                kind="identity.issued",
                subject=subject_of(record),
                body=issued_body(record, how="init"),
            )
    finally:
        await writer.close()
    store = await StateStore.open(settings.layout.state)
    try:
        await store.write(lambda connection: _register(connection, records))
    finally:
        await store.close()


def _register(connection: Connection, records: Sequence[CertificateRecord]) -> None:
    for record in records:
        tables.apply(connection, tables.issue(record))
