"""`tdz zone`: what is asked of a running gateway, and running it."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Annotated

import typer
from rich.markup import escape

from gateway.cli import connection, show
from gateway.cli.connection import ProfileOption
from gateway.cli.output import ExitCode, JsonOption, console, emit
from gateway.errors import InputError

if TYPE_CHECKING:
    from gateway.sdk.admin import Admin, Pairing, TimeStamps

app = typer.Typer(no_args_is_help=True)


@app.command()
def pair(
    card: Annotated[Path, typer.Argument(metavar="CARD", help="The other zone's card file.")],
    fingerprint: Annotated[
        str, typer.Option("--fingerprint", help="As its administrator told you over another channel.")
    ],
    yes: Annotated[bool, typer.Option("--yes", help="Accept the changes of a newer card.")] = False,
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """Admit another zone by its card; both zones do this.

    Example: tdz zone pair lingang.card.json --fingerprint 5d41402abc4b2a76…
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = _pair(admin, card, fingerprint, confirm=yes)
        if found.outcome == "confirm" and not as_json:
            console.print(f"[yellow]a newer card of {found.peer.zone}[/] changes {', '.join(found.changed)}")
            if typer.confirm("Admit it in place of the card in force?"):
                found = _pair(admin, card, fingerprint, confirm=True)
        emit(found.document(), lambda: _human(found), as_json=as_json)
        if found.outcome == "confirm":
            raise typer.Exit(ExitCode.INCOMPLETE)


@app.command()
def unpair(
    zone: Annotated[str, typer.Argument(metavar="ZONE", help="The paired zone's name.")],
    profile: ProfileOption = None,
    as_json: JsonOption = False,
) -> None:
    """End a pairing at once: open calls of the other zone end, new ones are refused.

    Example: tdz zone unpair lingang
    """
    with connection.admin(profile, as_json=as_json) as admin:
        ended = admin.unpair(zone)
        emit(
            {"zone": zone, "unpaired_at": ended},
            lambda: console.print(f"[yellow]unpaired[/]  {zone}  {show.moment(ended)}"),
            as_json=as_json,
        )


@app.command()
def status(profile: ProfileOption = None, as_json: JsonOption = False) -> None:
    """Show what the gateway is, whom it is paired with, and how far its ledger is.

    Example: tdz zone status
    """
    with connection.admin(profile, as_json=as_json) as admin:
        found = admin.status()

        def human() -> None:
            show.pairs(
                {
                    "jurisdiction": found.jurisdiction,
                    "endpoint": found.endpoint,
                    "ledger": f"{found.ledger_size} entries, {found.witnessed_size} cosigned ({found.origin})",
                    "card": found.card_fingerprint,
                    "certificate until": show.moment(found.certificate_not_after),
                    "gateway's clock": show.moment(found.now),
                    **({} if found.timestamps is None else {"time stamps": _stamps(found.timestamps)}),
                },
                title=found.zone,
            )
            show.table(
                ("paired with", "jurisdiction", "endpoint", "since", "reachable", ""),
                (
                    (
                        p.zone,
                        p.jurisdiction,
                        p.endpoint,
                        show.moment(p.paired_at),
                        "[green]yes[/]" if p.reachable else "[red]no[/]",
                        p.detail,
                    )
                    for p in found.peers
                ),
                empty="paired with no zone: tdz zone pair CARD --fingerprint …",
            )
            if found.witnesses:
                show.table(
                    ("witness", "url", "cosigned", "at", "needed", "answers", ""),
                    (
                        (
                            escape(w.name),
                            escape(w.url),
                            str(w.size),
                            show.moment(w.cosigned_at),
                            "yes" if w.needed else "no",
                            "[green]yes[/]" if w.reachable else "[red]no[/]",
                            escape(w.detail),
                        )
                        for w in found.witnesses
                    ),
                    empty="",
                )

        emit(found.document(), human, as_json=as_json)


def _stamps(stamps: TimeStamps) -> str:
    """How far the ledger is time-stamped, in one line."""
    newest = "none yet"
    if stamps.stamped_at:
        unjudged = "" if stamps.judged else ", not judged: name the authority's root as ca of [timestamps]"
        newest = f"{stamps.size} entries on {show.moment(stamps.stamped_at)}{unjudged}"
    failed = f"; the last try failed: {stamps.failure}" if stamps.failure else ""
    return escape(f"{newest} by {stamps.authority}{failed}")


@app.command()
def serve(
    directory: Annotated[Path, typer.Argument(metavar="DIR", help="The zone's directory, made by tdz zone init.")],
) -> None:
    """Run the zone's gateway until SIGTERM or Ctrl-C.

    Example: tdz zone serve /srv/lingang
    """
    with connection.speaking():
        from gateway.server.memory import bound_allocators

        bound_allocators()  # before anything large is loaded
        from gateway.server.process import serve as run

        run(directory)


def _pair(admin: Admin, card: Path, fingerprint: str, *, confirm: bool) -> Pairing:
    from gateway.model.limits import CARD_MAX

    try:
        with card.open("rb") as file:
            data = file.read(CARD_MAX + 1)
    except OSError as error:
        raise InputError(f"cannot read {card}: {error.strerror}", remedy="check the path") from error
    return admin.pair(data, fingerprint, confirm=confirm)


def _human(pairing: Pairing) -> None:
    peer = pairing.peer
    colour = "yellow" if pairing.outcome == "confirm" else "green"
    console.print(
        f"[{colour}]{pairing.outcome}[/]  {peer.zone} ({peer.jurisdiction}) at {peer.endpoint}, card {peer.serial}"
    )
    console.print(f"  [dim]fingerprint[/] {peer.fingerprint}")
