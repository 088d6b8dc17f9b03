"""The zone's own card as a file: signed from the settings and keys as they are, with a serial that rises."""

from __future__ import annotations

import time

from gateway.config import GatewaySettings, write_file
from gateway.errors import ConfigError
from gateway.identity.card import (
    LOG_KEY_TYPE,
    MIRROR_KEY_TYPE,
    SignedCard,
    ZoneCard,
    make_vkey,
    read_card,
    sign_card,
)
from gateway.identity.keys import load_statement_key, raw_public

__all__ = ["last_card", "renew_card", "write_card"]


def last_card(settings: GatewaySettings) -> SignedCard:
    """The card that was signed last.

    Raises:
        ConfigError: it cannot be read.
        IntegrityError: it is not whole.
    """
    try:
        data = settings.layout.card.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {settings.layout.card}: {error.strerror}") from error
    return read_card(data)


def renew_card(settings: GatewaySettings) -> SignedCard:
    """Sign a card anew from the settings and keys as they are; its serial is one above the last.

    Raises:
        ConfigError: a key or the last card cannot be read.
    """
    return write_card(settings, serial=last_card(settings).card.serial + 1)


def write_card(settings: GatewaySettings, *, serial: int) -> SignedCard:
    """Sign a card and put it in the place of the last one, durably.

    Raises:
        ConfigError: a key cannot be read.
        StorageError: it cannot be written.
    """
    layout = settings.layout
    log, mirror = load_statement_key(layout.log_key), load_statement_key(layout.mirror_key)
    statement = load_statement_key(layout.statement_key)
    card = ZoneCard(
        zone=settings.zone,
        jurisdiction=settings.jurisdiction,
        endpoint=str(settings.endpoint),
        ca=layout.ca.read_text("ascii"),
        origin=settings.origin,
        log=make_vkey(settings.origin, log.public_key(), LOG_KEY_TYPE),
        mirror=make_vkey(f"tdz/{settings.zone}/mirror", mirror.public_key(), MIRROR_KEY_TYPE),
        statement_key=raw_public(statement.public_key()),
        serial=serial,
        date=int(time.time()),
    )
    signed = sign_card(card, log=log.sign, statement=statement.sign)
    write_file(layout.card, signed.data, mode=0o644)
    return signed
