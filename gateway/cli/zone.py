"""`tdz zone`: what needs no running gateway: making a zone, showing and renewing its card."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Literal, cast

import typer

from gateway.cli.output import JsonOption, console, emit, failures
from gateway.errors import ConfigError, InputError

if TYPE_CHECKING:
    from gateway.config import Address
    from gateway.identity.card import SignedCard

app = typer.Typer(no_args_is_help=True)

DirectoryArgument = Annotated[Path, typer.Argument(metavar="DIR", help="The zone's directory.")]


@app.command()
def init(
    directory: DirectoryArgument,
    zone: Annotated[str, typer.Option("--zone", help="The zone's name, such as lingang.")],
    jurisdiction: Annotated[str, typer.Option("--jurisdiction", help="CN or MY.")],
    admin: Annotated[list[str], typer.Option("--admin", help="Id of a first administrator; repeat it, two are best.")],
    listen: Annotated[str, typer.Option("--listen", help="Where the gateway listens, host:port.")],
    endpoint: Annotated[
        str, typer.Option("--endpoint", help="Where others reach it, host:port; left out: as --listen.")
    ] = "",
    name: Annotated[
        list[str] | None,
        typer.Option("--name", help="DNS name or IP address for the gateway's certificate; repeatable."),
    ] = None,
    policy: Annotated[
        Path | None, typer.Option("--policy", help="Directory of the zone's policy; left out: the baseline.")
    ] = None,
    as_json: JsonOption = False,
) -> None:
    """Make a zone: CA, keys, gateway certificate, first administrators, ledger and card.

    Example: tdz zone init /srv/lingang --zone lingang --jurisdiction CN --listen 0.0.0.0:8443
    --endpoint gw.lingang.example:8443 --admin ops-1 --admin ops-2
    """
    with failures(as_json=as_json):
        from gateway.cli.zone_init import init_zone
        from gateway.config import Address, parse_host

        if jurisdiction not in ("CN", "MY"):
            raise InputError(f"{jurisdiction!r} is no jurisdiction", remedy="give CN or MY")
        listens = Address.parse(listen, any_port=True)
        reached = Address.parse(endpoint or listen)
        hosts = [parse_host(host) for host in name or ()] or _names(reached)
        made = init_zone(
            directory,
            zone=zone,
            jurisdiction=cast("Literal['CN', 'MY']", jurisdiction),
            listen=listens,
            endpoint=reached,
            names=hosts,
            admins=admin,
            policy=policy,
        )
        settings = made.settings
        document = {
            "zone": settings.zone,
            "jurisdiction": settings.jurisdiction,
            "origin": settings.origin,
            "endpoint": str(settings.endpoint),
            "card": str(settings.layout.card),
            "fingerprint": made.card.fingerprint,
            "profiles": [str(path) for path in made.profiles],
        }

        def human() -> None:
            console.print(f"[green]made[/]  zone {settings.zone} ({settings.jurisdiction}) in {directory}")
            console.print(f"  [dim]ledger[/]       {settings.origin}")
            console.print(f"  [dim]card[/]         {settings.layout.card}")
            console.print(f"  [dim]fingerprint[/]  {made.card.fingerprint}")
            for path in made.profiles:
                console.print(f"  [dim]admin[/]        {path}")
            if len(made.profiles) == 1:
                console.print(
                    "[yellow]one administrator only[/]: a further administrator's certificate needs two approvals"
                )
            console.print(f"next: [bold]tdz zone serve {directory}[/]")

        emit(document, human, as_json=as_json)


@app.command()
def card(
    directory: DirectoryArgument,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Also copy the card's exact bytes there.")
    ] = None,
    renew: Annotated[
        bool, typer.Option("--renew", help="Sign a new card from gateway.toml and ca.pem as they are.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Show the zone's card and the fingerprint that the other administrator must compare.

    Example: tdz zone card /srv/lingang -o lingang.card.json
    """
    with failures(as_json=as_json):
        from gateway.config import ZoneLayout, load_settings, write_file
        from gateway.identity.card import read_card

        if renew:
            from gateway.identity.card_file import renew_card

            signed = renew_card(load_settings(directory))
        else:
            path = ZoneLayout(directory).card
            try:
                signed = read_card(path.read_bytes())
            except OSError as error:
                raise ConfigError(
                    f"cannot read {path}: {error.strerror}", remedy="make a zone with `tdz zone init`"
                ) from error
        if output is not None:
            write_file(output, signed.data, mode=0o644)
        document = {"card": signed.card.to_json(), "fingerprint": signed.fingerprint}
        emit(document, lambda: _human(signed), as_json=as_json)


@app.command()
def recover(
    directory: DirectoryArgument,
    card: Annotated[
        list[Path] | None,
        typer.Option("--card", help="Card of a zone to ask, where the state database is lost too; repeatable."),
    ] = None,
    new_origin: Annotated[
        bool, typer.Option("--new-origin", help="Open a new origin where entries are lost or the log was frozen.")
    ] = False,
    as_json: JsonOption = False,
) -> None:
    """Make a lost ledger anew from what the paired zones mirrored of it; the gateway must not run.

    Example: tdz zone recover /srv/lingang
    """
    with failures(as_json=as_json):
        from gateway.cli.recovery import recover_zone

        made = recover_zone(directory, cards=card or (), new_origin=new_origin)
        rebuilt = made.rebuilt
        lost = None if rebuilt.lost is None else {"first": rebuilt.lost[0], "last": rebuilt.lost[1]}
        document = {
            "origin": rebuilt.origin,
            "size": rebuilt.size,
            "from": made.source,
            "predecessor": rebuilt.predecessor,
            "lost": lost,
            "card": str(made.settings.layout.card),
            "fingerprint": made.card.fingerprint,
        }

        def human() -> None:
            from ledger.cli.recover import recovered_lines

            for line in recovered_lines(rebuilt):
                console.print(line)
            console.print(f"  [dim]from the mirror of[/] {made.source}")
            console.print(f"  [dim]new card[/]    {made.settings.layout.card}")
            console.print(f"  [dim]fingerprint[/] {made.card.fingerprint}")
            console.print(f"next: [bold]tdz zone serve {directory}[/], and every paired zone admits the new card")

        emit(document, human, as_json=as_json)


def _human(signed: SignedCard) -> None:
    from datetime import UTC, datetime

    shown = signed.card
    rows = {
        "zone": shown.zone,
        "jurisdiction": shown.jurisdiction,
        "endpoint": shown.endpoint,
        "ledger": shown.origin,
        "log key": shown.log,
        "mirror key": shown.mirror,
        "serial": str(shown.serial),
        "date": f"{datetime.fromtimestamp(shown.date, tz=UTC):%Y-%m-%d %H:%M} UTC",
        "fingerprint": signed.fingerprint,
    }
    for name, value in rows.items():
        console.print(f"[dim]{name:<13}[/] {value}")


def _names(endpoint: Address) -> list[str]:
    """The endpoint's host; on loopback both of its usual names."""
    return ["127.0.0.1", "localhost"] if endpoint.host in ("127.0.0.1", "localhost") else [endpoint.host]
