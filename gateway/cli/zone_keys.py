"""`tdz zone rotate-ledger-key` and `succeed`: another key, or another log, while the zone's gateway stands still."""

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


@app.command()
def succeed(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The zone's directory; its gateway must not run.")],
    reason: Annotated[
        str, typer.Option("--reason", help="Why the old ledger ends, one word: superseded, compromised, retired.")
    ],
    key_lost: Annotated[
        bool, typer.Option("--key-lost", help="The old ledger's key is gone, so it is not sealed.")
    ] = False,
    undelivered: Annotated[
        bool, typer.Option("--undelivered", help="Give up receipts that no other zone has taken yet.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Seal the zone's ledger and let another one follow, with a new key, a new origin and a new card.

    May be repeated after a crash.

    Example: tdz zone succeed /srv/lingang --reason compromised
    """
    with failures(as_json=as_json):
        from gateway.cli.succession import succeed_zone

        made = succeed_zone(directory, reason=reason, key_lost=key_lost, undelivered=undelivered)
        document = {
            "origin": made.origin,
            "predecessor": made.predecessor,
            "archive": str(made.archive),
            "card": str(directory / "card.json"),
            "fingerprint": made.card.fingerprint,
        }

        def human() -> None:
            console.print(f"[green]{made.origin}[/] follows {made.predecessor}")
            console.print(f"  [dim]old ledger[/]   {made.archive}")
            console.print(f"  [dim]card[/]         {directory / 'card.json'}, serial {made.card.card.serial}")
            console.print(f"  [dim]fingerprint[/]  {made.card.fingerprint}")
            console.print(f"next: [bold]tdz zone serve {directory}[/], and every paired zone admits the new card")

        emit(document, human, as_json=as_json)


def rotate_log_key(settings: GatewaySettings) -> SignedCard:
    """Rotate the ledger's key while no gateway has it open; see `gateway.server.log_key`.

    After a crash a repeat goes on at the step that is missing.

    Raises:
        LedgerError: the ledger is open elsewhere, or the last rotation is not finished.
        ConfigError: a key or the card cannot be read.
    """
    import asyncio

    from gateway.errors import LedgerError
    from gateway.server import log_key
    from ledger.errors import LedgerError as LedgerFailure
    from ledger.keys import load_signers
    from ledger.writer import LogWriter

    async def run() -> SignedCard:
        signer, *others = load_signers(settings.layout.log_key, settings.origin)
        writer = await LogWriter.open(settings.layout.ledger, signer, others=others)
        try:
            return await log_key.rotate(settings, lambda: writer.keys.current, writer.rotate)
        finally:
            await writer.close()

    try:
        return asyncio.run(run())
    except LedgerFailure as error:
        raise LedgerError(f"the ledger's key is not rotated: {error}", remedy="see the operator's guide") from error
