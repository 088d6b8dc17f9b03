"""What must be there before a gateway starts: its card and its state database."""

from __future__ import annotations

from pathlib import Path

import structlog

from gateway.config import GatewaySettings
from gateway.errors import ConfigError
from gateway.identity.card import SignedCard, read_card
from ledger.errors import OperationalError
from ledger.marker import Marker
from ledger.marker import marker_folder as default_folder

_log = structlog.get_logger()


def require_state(settings: GatewaySettings) -> None:
    """An empty state would forget revocations and pairings: a zone's database is made by its init and never again."""
    if not settings.layout.state.is_file():
        raise ConfigError(
            f"the state database {settings.layout.state} is gone",
            remedy="restore it from the newest backup; it holds revocations, pairings, registers and open transfers",
        )


def marker_folder(settings: GatewaySettings) -> Path | None:
    """Where this machine remembers the ledger's newest checkpoint until it boots again; None where it does not."""
    named = settings.ledger.memory
    if named == "none":
        return None
    if named:
        return Path(named)
    folder = default_folder()
    try:
        return folder if folder is None or Marker(folder, settings.origin) else None
    except OperationalError as error:
        _log.warning("this machine remembers nothing of the ledger", why=str(error))
        return None


def own_card(settings: GatewaySettings) -> SignedCard:
    try:
        data = settings.layout.card.read_bytes()
    except OSError as error:
        raise ConfigError(f"cannot read {settings.layout.card}", remedy="write it with `tdz zone card DIR`") from error
    card = read_card(data)
    if (card.card.zone, card.card.origin) != (settings.zone, settings.origin):
        raise ConfigError(f"{settings.layout.card} is the card of another zone", remedy="write it with `tdz zone card`")
    return card
