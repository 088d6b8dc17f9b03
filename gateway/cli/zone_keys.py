"""`tdz zone rotate-ledger-key`: another key for the zone's ledger, while its gateway stands still."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer

from gateway.cli.output import JsonOption, console, emit, failures

if TYPE_CHECKING:
    from gateway.config import GatewaySettings
    from gateway.identity.card import SignedCard

app = typer.Typer(no_args_is_help=True)


@app.command("rotate-ledger-key")
def rotate_ledger_key(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The zone's directory; its gateway must not run.")],
    as_json: JsonOption = False,
) -> None:
    """Have another key sign the zone's ledger, and make the card that names it. May be repeated after a crash.

    Example: tdz zone rotate-ledger-key /srv/lingang
    """
    with failures(as_json=as_json):
        from gateway.config import load_settings

        signed = rotate_log_key(load_settings(directory))

        def human() -> None:
            console.print(f"[green]rotated[/]  {signed.card.log}")
            console.print(f"  [dim]card[/]         {directory / 'card.json'}, serial {signed.card.serial}")
            console.print(f"  [dim]fingerprint[/]  {signed.fingerprint}")
            console.print("next: start the gateway, and send the card to every paired zone")
            console.print(
                f"keep keys/log.old.key until `tdz-ledger keys list {directory / 'ledger'}` says that it has ended"
            )

        document = {"card": signed.card.to_json(), "fingerprint": signed.fingerprint}
        emit(document, human, as_json=as_json)


def rotate_log_key(settings: GatewaySettings) -> SignedCard:
    """Rotate the ledger's key, put the key files in their places, sign a new card.

    1. The next key is made under a name of its own.
    2. The entry `key.rotated` is published under a checkpoint of both keys.
    3. The files take their places: the next key's becomes `log.key`, that one's `log.old.key`.
    4. The card names the new key.

    After a crash a repeat goes on at the step that is missing.

    Raises:
        LedgerError: the ledger is open elsewhere, or the last rotation is not finished.
        ConfigError: a key or the card cannot be read.
    """
    import asyncio

    from gateway.cli.zone_init import renew_card
    from gateway.errors import LedgerError
    from gateway.identity.card import LOG_KEY_TYPE, make_vkey, read_card
    from gateway.identity.keys import load_statement_key
    from ledger.errors import LedgerError as LedgerFailure
    from ledger.keys import create_key, next_key

    path = settings.layout.log_key
    fresh = next_key(path)
    try:
        if path.exists() and not fresh.exists():
            named = read_card(settings.layout.card.read_bytes()).card.log
            if make_vkey(settings.origin, load_statement_key(path).public_key(), LOG_KEY_TYPE) != named:
                return renew_card(settings)  # 4., which a crash left over
            create_key(fresh)  # 1.
        asyncio.run(_rotate(settings, fresh))  # 2.
        _place(path, fresh)  # 3.
    except LedgerFailure as error:
        raise LedgerError(f"the ledger's key is not rotated: {error}", remedy="see the operator's guide") from error
    return renew_card(settings)  # 4.


async def _rotate(settings: GatewaySettings, fresh: Path) -> None:
    from ledger.keys import load_key, load_signers
    from ledger.note import NoteSigner
    from ledger.writer import LogWriter

    signer, *others = load_signers(settings.layout.log_key, settings.origin)
    new = NoteSigner(settings.origin, load_key(fresh))
    writer = await LogWriter.open(settings.layout.ledger, signer, others=others)
    try:
        if writer.keys.current != new.vkey:
            await writer.rotate(new)
    finally:
        await writer.close()


def _place(path: Path, fresh: Path) -> None:
    import os

    from ledger.keys import old_key

    if path.exists():
        os.replace(path, old_key(path))
    os.replace(fresh, path)
    folder = os.open(path.parent, os.O_RDONLY | os.O_DIRECTORY)
    try:
        os.fsync(folder)
    finally:
        os.close(folder)
