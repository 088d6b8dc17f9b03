"""Another key for the zone's ledger: made on this machine, introduced by an entry, put in its place, named on a card.

1. The next key is made under a name of its own, ``keys/log.next.key``.
2. The entry `key.rotated` is published under a checkpoint of both keys.
3. The files take their places: the next key's becomes ``log.key``, that one's ``log.old.key``.
4. A card of higher serial names the new key.

A crash leaves one of these steps undone. Until 2 is committed nothing has happened: the next rotation takes the key
that was made. From then on the ledger says which key is the newest, and `take_up` does what is left, at a gateway's
start or at the command's repeat. No private key ever leaves the machine.
"""

from __future__ import annotations

import asyncio
import os
from collections.abc import Awaitable, Callable
from pathlib import Path

from gateway.config import GatewaySettings
from gateway.errors import LedgerError
from gateway.identity.card import SignedCard
from gateway.identity.card_file import last_card, renew_card
from ledger.errors import LedgerError as LedgerFailure
from ledger.keys import create_key, load_key, next_key, old_key
from ledger.note import NoteSigner

__all__ = ["next_signer", "rotate", "take_up"]


async def rotate(
    settings: GatewaySettings, current: Callable[[], str], introduce: Callable[[NoteSigner], Awaitable[object]]
) -> SignedCard:
    """Do the four steps, or those that a crash left over.

    Args:
        current: gives the newest key of the ledger, as a vkey.
        introduce: publishes the entry; durable when it returns.

    Raises:
        LedgerError: a key file cannot be read or written.
        ConfigError: the card cannot be read.
        Exception: what `introduce` raises; the next key stays for the next try.
    """
    card = await asyncio.to_thread(last_card, settings)
    if card.card.log == current():
        await introduce(await asyncio.to_thread(next_signer, settings))  # 1. and 2.
    return await asyncio.to_thread(take_up, settings, current())


def next_signer(settings: GatewaySettings) -> NoteSigner:
    """The key that comes next: made now, or by a rotation that was cut off before its entry.

    Raises:
        LedgerError: its file cannot be read or written.
    """
    fresh = next_key(settings.layout.log_key)
    try:
        return NoteSigner(settings.origin, load_key(fresh) if fresh.exists() else create_key(fresh))
    except LedgerFailure as error:
        raise LedgerError(f"no next key for the ledger: {error.message}", remedy=error.remedy) from error


def take_up(settings: GatewaySettings, current: str) -> SignedCard:
    """Steps 3 and 4, where they are not done yet; the card in force.

    Args:
        current: the newest key of the ledger, as a vkey.

    Raises:
        LedgerError: a key file cannot be read or moved.
        ConfigError: the card cannot be read.
    """
    path = settings.layout.log_key
    fresh = next_key(path)
    try:
        if fresh.exists() and NoteSigner(settings.origin, load_key(fresh)).vkey == current:
            _place(path, fresh)  # 3.
    except LedgerFailure as error:
        raise LedgerError(f"the ledger's next key: {error.message}", remedy=error.remedy) from error
    except OSError as error:
        raise LedgerError(
            f"the ledger's key files are not in their places: {error.strerror}", remedy="mend that, then start again"
        ) from error
    card = last_card(settings)
    return card if card.card.log == current else renew_card(settings)  # 4.


def _place(path: Path, fresh: Path) -> None:
    if path.exists():  # else a crash came between the two moves
        _move(path, old_key(path))
    _move(fresh, path)


def _move(source: Path, target: Path) -> None:
    os.replace(source, target)
    handle = os.open(target.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)
